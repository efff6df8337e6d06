"""Whole networks to measure: model files, and networks written as PyTorch modules (tests/models_torch.py).

A model is given by a name: a path, or that of a module. A path may be of ONNX or TFLite; a module is handed
to PyTorch as it is, to dwconv by `Network.from_torch`, to ONNX Runtime and OpenVINO as the ONNX file that
PyTorch's exporter makes of it.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.compiling import ROOT
from bench.problem import Array

FILES = ROOT.parent / "shared" / "models"  # not part of the project: `python -m bench whole PATH` takes any

# Model files, with the shapes of their dynamic inputs.
KNOWN: dict[str, dict[str, tuple[int, ...]]] = {
    "ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 640, 640)},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (1, 3, 48, 192)},
    "palm_detection_lite.tflite": {},
    "vww_96_float.tflite": {},
}
# Modules of tests/models_torch.py, and the detector of examples/mobilenet_yolo.py.
MODULES = (
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "xception", "convnext_tiny"),
    *("shufflenet_v2", "regnet_x_400mf"),
)


@dataclass
class Model:
    name: str
    path: Path | None = None  # of a file
    module: Any = None  # in eval mode, channels_last
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        return self.path.suffix if self.path else ""

    def image(self) -> Array:
        """The input of a module, NCHW."""
        image: Array = random(*_modules().example(self.name).shape)
        return image

    def onnx(self) -> Path:
        """The file, or what PyTorch exports of the module."""
        if self.path:
            return self.path
        import torch

        path = Path(tempfile.mkdtemp(prefix="dwconv-")) / f"{self.name}.onnx"
        example = torch.from_numpy(self.image())
        torch.onnx.export(self.module, (example,), str(path), dynamo=False, opset_version=17)
        return path


def names(given: list[str]) -> list[str]:
    """What was asked for, or all that are there."""
    return paths(given) or [str(FILES / name) for name in KNOWN if (FILES / name).is_file()] + list(MODULES)


def paths(given: list[str]) -> list[str]:
    """The same with the folder of files that are known by their names alone."""
    return [str(FILES / name) if name in KNOWN and not Path(name).exists() else name for name in given]


def load(name: str) -> Model:
    if name not in MODULES:
        path = Path(name)
        return Model(path.name, path, shapes=KNOWN.get(path.name, {}))
    import torch

    return Model(name, module=_modules().build(name).to(memory_format=torch.channels_last))


def _modules() -> Any:
    """tests/models_torch.py, which is no package."""
    sys.path.insert(0, str(ROOT / "tests"))
    import models_torch  # type: ignore[import-not-found]

    return models_torch


def random(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    """The same for every peer; integers over all of their range."""
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return rng.standard_normal(shape, np.float32)
