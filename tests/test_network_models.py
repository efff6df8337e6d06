"""Real model files as networks: the core against NumPy, saved, in another layout, in another batch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
import exactness
from oracles import backends, using

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
# A package, a file, and the shapes that the test gives it.
FILES = [
    ("onnx", "ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 96)),
    ("onnx", "ch_PP-OCRv4_det_infer.onnx", (1, 3, 64, 96)),
    ("tflite", "palm_detection_lite.tflite", (1, 192, 192, 3)),
    ("tflite", "vww_96_float.tflite", (2, 96, 96, 3)),
]


def load(package: str, name: str) -> dwconv.Network:
    pytest.importorskip(package)
    if not (MODELS / name).exists():
        pytest.skip(f"there is no {name}")
    return dwconv.load(MODELS / name)


def outputs(y: Any) -> list[Any]:
    return list(y.values()) if isinstance(y, dict) else [y]


def image(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(("package", "name", "shape"), FILES)
def test_the_core_agrees_with_numpy(package: str, name: str, shape: tuple[int, ...]) -> None:
    net, x = load(package, name), image(shape)
    with using("numpy"):
        expected = outputs(net(x))
    for isa in set(backends()) - {"numpy"}:
        with using(isa):
            assert net.bind(shape).backend == "native"
            for y, exact in zip(outputs(net(x)), expected, strict=True):
                np.testing.assert_allclose(y, exact, rtol=0, atol=1e-4 * float(np.abs(exact).max()))


@pytest.mark.parametrize(("package", "name", "shape"), FILES[:2])
def test_the_core_is_as_near_to_float64_as_other_libraries(
    package: str, name: str, shape: tuple[int, ...]
) -> None:
    """Within half of what a network may be off, or within twice of what the nearest peer is."""
    pytest.importorskip("onnxruntime")
    net, x = load(package, name), image(shape)
    feeds = {net.inputs[0].name: x}
    expected = exactness.exact(net, feeds)
    peers = [
        exactness.distances(peer(MODELS / name, feeds), expected)
        for peer in exactness.PEERS[f".{package}"].values()
    ]
    for index, ours in enumerate(exactness.distances(outputs(net(x)), expected)):
        assert ours <= max(5e-5, 2 * min(shares[index] for shares in peers))


@pytest.mark.parametrize(("package", "name", "shape"), FILES)
def test_saved_models_give_the_same_bits(
    package: str, name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    net, x = load(package, name), image(shape)
    net.save(tmp_path / "net.npz")
    again = dwconv.load(tmp_path / "net.npz")
    assert (again.name, again.inputs, again.outputs) == (net.name, net.inputs, net.outputs)
    for y, same in zip(outputs(again(x)), outputs(net(x)), strict=True):
        np.testing.assert_array_equal(y, same)


@pytest.mark.parametrize(("package", "name", "shape"), FILES[:2])
def test_layout_of_nchw_models(package: str, name: str, shape: tuple[int, ...]) -> None:
    net, x = load(package, name), image(shape)
    turned = net.bind(shape).layout("NHWC")
    assert turned.inputs[0].shape == (None, None, None, 3)
    for y, same in zip(outputs(turned(x.transpose(0, 2, 3, 1))), outputs(net(x)), strict=True):
        np.testing.assert_allclose(y.transpose(0, 3, 1, 2) if y.ndim == 4 else y, same, rtol=0, atol=1e-5)
    assert turned.workspace_bytes <= net.workspace_bytes


def test_a_batch_of_a_model_with_one_image() -> None:
    net, x = load("tflite", "palm_detection_lite.tflite"), image((2, 192, 192, 3))
    with pytest.raises(ValueError, match="the batch differs"):
        net(x)
    both = outputs(net.bind(x.shape)(x))
    for index in range(2):
        for y, one in zip(both, outputs(net(x[index : index + 1])), strict=True):
            np.testing.assert_array_equal(y[index], one[0])


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("onnx", "dwconv.Network.from_onnx(b'')"),
        ("tflite", "dwconv.Network.from_tflite(b'')"),
        ("torch", "dwconv.Network.from_torch(None, None)"),
        ("keras", "dwconv.Network.from_keras(None)"),
    ],
)
def test_a_missing_package_is_named_with_the_remedy(package: str, call: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None; import dwconv; {call}"
    if importlib.util.find_spec(f"dwconv.importers.{package}") is None:
        pytest.skip(f"there is no importer for {package}")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    error = result.stderr.splitlines()[-1]
    assert error.startswith("ImportError: ")
    assert f"needs the package {package}: pip install " in error
    assert f"dwconv[{package}]" in error


def test_importing_the_package_imports_no_other(tmp_path: Path) -> None:
    code = "import sys, dwconv; print({'onnx', 'tflite', 'torch', 'keras', 'PIL'} & sys.modules.keys())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
