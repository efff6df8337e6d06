"""python -m bench.agreement WEIGHTS: MobileNetV2 in 8-bit integers beside itself in floats, on photographs.

WEIGHTS: torchvision's mobilenet_v2-b0353104.pth. Crops of photographs that scikit-image, scikit-learn and
matplotlib ship are normalised as for ImageNet. Networks are quantised on crops of some photographs and
compared with the one in floats on other crops: in how many the largest score is of the same class, and the
signal to noise of the scores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dwconv
from bench.compiling import ROOT
from bench.problem import Array

PHOTOGRAPHS = {
    "skimage": [
        f"data/{n}"
        for n in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
    ],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
}
MEAN, STD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZE = 224


def photographs() -> list[Path]:
    found = []
    for package, names in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found += [path for name in names if (path := Path(spec.origin).parent / name).is_file()]
    return found


def crops(paths: list[Path], each: int, seed: int) -> Array:
    """Squares of 40 to 100 % of the shorter side, anywhere; NCHW."""
    from PIL import Image

    rng, found = np.random.default_rng(seed), []
    for path in paths:
        photo = Image.open(path).convert("RGB")
        for _ in range(each):
            size = int(rng.uniform(0.4, 1) * min(photo.size))
            left, top = (int(rng.integers(0, most - size + 1)) for most in photo.size)
            square = photo.crop((left, top, left + size, top + size)).resize((SIZE, SIZE))
            found.append(np.asarray(square, np.float32).transpose(2, 0, 1) / 255)
    mean, std = (np.array(n, np.float32)[:, None, None] for n in (MEAN, STD))
    return np.asarray((np.stack(found) - mean) / std)


def scores(call: Callable[[Array], Any], images: Array) -> Array:
    return np.concatenate([np.asarray(call(image)) for image in images[:, None]])


def module(weights: Path) -> Any:
    import torch

    sys.path.insert(0, str(ROOT / "tests"))
    from models_torch import MobileNetV2  # type: ignore[import-not-found]

    made = MobileNetV2().eval()
    made.load_state_dict(torch.load(weights, map_location="cpu"))
    return made


def ours(net: dwconv.Network, samples: Array) -> Iterator[tuple[str, Callable[[Array], Any]]]:
    plain = {"equalise": False, "fit_filters": False}
    ways: dict[str, dict[str, Any]] = {
        "dwconv": {},
        'dwconv, method="mse"': {"method": "mse"},
        'dwconv, method="minmax"': {"method": "minmax"},
        "dwconv, equalise=False": {"equalise": False},
        "dwconv, fit_filters=False": {"fit_filters": False},
        "dwconv, neither": plain,
        'dwconv, neither, method="minmax"': {**plain, "method": "minmax"},
    }
    for name, options in ways.items():
        yield name, net.quantized(samples, **options)


def theirs(model: Any, samples: Array) -> Iterator[tuple[str, Callable[[Array], Any]]]:
    """ONNX Runtime's static quantiser: signed, filters by channel; each of its methods for ranges."""
    import onnxruntime
    import torch
    from onnxruntime import quantization as tools
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(tools.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(samples[:, None])

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            return None if image is None else {"x": image}

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, made = (str(Path(folder) / f"{n}.onnx") for n in ("plain", "ready", "made"))
        example = torch.zeros(1, 3, SIZE, SIZE)
        torch.onnx.export(model, (example,), plain, dynamo=False, opset_version=17, input_names=["x"])
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        for method in ("MinMax", "Percentile"):
            with contextlib.redirect_stdout(sys.stderr):  # where it tells how far it is
                tools.quantize_static(
                    ready, made, Images(), quant_format=tools.QuantFormat.QDQ, per_channel=True,
                    activation_type=tools.QuantType.QInt8, weight_type=tools.QuantType.QInt8,
                    calibrate_method=getattr(tools.CalibrationMethod, method),
                )  # fmt: skip
            session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
            yield f"onnxruntime, {method}", partial(_run, session)


def _run(session: Any, x: Array) -> Any:
    return session.run(None, {"x": x})[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--each", type=int, default=8, help="crops of each photograph")
    options = parser.parse_args()
    import torch

    model, paths = module(options.weights), photographs()
    net = dwconv.Network.from_torch(model, torch.zeros(1, 3, SIZE, SIZE))
    samples = crops(paths[::2], options.each, 1)
    held_out = {"same photographs": crops(paths[::2], 20, 2), "other photographs": crops(paths[1::2], 20, 3)}
    wanted = {name: scores(net, images) for name, images in held_out.items()}
    print(f"{len(samples)} samples of {len(paths[::2])} photographs; {len(paths)} photographs in all\n")
    print("| | " + " | ".join(f"{name}: same class | signal to noise" for name in held_out) + " |")
    print("|:--|" + "--:|" * (2 * len(held_out)))
    for maker in (ours(net, samples), theirs(model, samples)):
        for name, call in maker:
            cells = []
            for where, images in held_out.items():
                y, e = scores(call, images), wanted[where]
                noise = float(((y - e) ** 2).sum())
                cells.append(f"{100 * np.mean(y.argmax(1) == e.argmax(1)):.1f} %")
                cells.append(f"{10 * np.log10(float((e * e).sum()) / noise):.1f} dB")
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
