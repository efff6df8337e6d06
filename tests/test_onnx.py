"""ONNX models: the results of onnxruntime in every opset."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxruntime", reason="needs onnxruntime")

import onnx

from dwconv import onnx_backend
from dwconv.importers.onnx import read
from onnx_models import expected, model, node, noise, shape_arithmetic, single

MODELS = Path(__file__).parents[2] / "shared" / "models"
BOUND = 1e-4  # of the largest output


def assert_same(proto: Any, *arrays: Any) -> None:
    """dwconv and onnxruntime agree."""
    found = onnx_backend.prepare(proto).run(arrays)
    for ours, theirs in zip(found, expected(proto, *arrays), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        largest = np.abs(theirs[np.isfinite(theirs)]).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUND * largest)


def assert_single(op: str, shape: tuple[int, ...], *arrays: Any, opset: int = 21, **attributes: Any) -> None:
    assert_same(single(op, *arrays, opset=opset, shape=shape, **attributes), noise(*shape))


# ---- real files ---------------------------------------------------------------------------------


def text_like(*shape: int) -> Any:
    """Dark strokes on a light ground, so that a detector of text finds something."""
    x = np.ones(shape, np.float32)
    for column in range(12, shape[3] - 12, 12):
        x[:, :, shape[2] // 4 : shape[2] // 2, column : column + 4] = -1
        x[:, :, shape[2] // 3 : shape[2] // 3 + 4, column : column + 8] = -1
    return x + 0.05 * noise(*shape)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", [(1, 3, 48, 192), (2, 3, 48, 100)]),
        ("ch_PP-OCRv4_det_infer.onnx", [(1, 3, 96, 160), (1, 3, 64, 64)]),
    ],
)
def test_real_files_match_onnxruntime(name: str, shapes: list[tuple[int, ...]]) -> None:
    if not (MODELS / name).exists():
        pytest.skip(f"shared/models/{name} is absent")
    proto = onnx.load(MODELS / name)
    for shape in shapes:
        assert_same(proto, text_like(*shape))


def test_images_stay_channels_last_from_end_to_end() -> None:
    path = MODELS / "ch_PP-OCRv4_det_infer.onnx"
    if not path.exists():
        pytest.skip(f"shared/models/{path.name} is absent")
    graph = read(path).lower({"x": (1, 3, 64, 64)})
    assert [n.attributes["perm"] for n in graph.nodes if n.op == "transpose"] == [(0, 2, 3, 1)]


# ---- operations in all their opsets ---------------------------------------------------------------

FILTERS = noise(6, 2, 3, 3, seed=1)
CONVOLUTIONS = [
    {"strides": [2, 1], "pads": [1, 0, 2, 1]},
    {"dilations": [2, 3], "pads": [2, 3, 2, 3]},
    {"strides": [3, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 3], "auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID"},
]


@pytest.mark.parametrize("window", CONVOLUTIONS, ids=str)
def test_convolution(window: dict[str, Any]) -> None:
    assert_single("Conv", (2, 4, 11, 10), FILTERS, noise(6), group=2, kernel_shape=[3, 3], **window)
    assert_single("Conv", (2, 6, 11, 10), noise(12, 1, 3, 3), group=6, **window)


def test_convolution_of_sequences() -> None:
    assert_single("Conv", (2, 4, 11), noise(6, 2, 3), noise(6), group=2, strides=[2], pads=[1, 0])
    assert_single("ConvTranspose", (2, 4, 5), noise(4, 3, 3), strides=[2], pads=[1, 0], output_padding=[1])
    assert_single("MaxPool", (2, 4, 11), kernel_shape=[3], strides=[2], pads=[1, 1])
    assert_single("AveragePool", (2, 4, 11), kernel_shape=[3], ceil_mode=1, strides=[2])


@pytest.mark.parametrize(
    "window",
    [
        {"strides": [2, 3], "pads": [1, 0, 1, 2], "output_padding": [1, 0]},
        {"strides": [3, 2], "output_shape": [17, 13]},
        {"strides": [3, 2], "output_shape": [14, 13], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"dilations": [2, 2], "group": 2},
    ],
    ids=str,
)
def test_transposed_convolution(window: dict[str, Any]) -> None:
    assert_single(
        "ConvTranspose", (1, 4, 5, 6), noise(4, 3, 3, 3), noise(3 * window.get("group", 1)), **window
    )


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("window", [{"pads": [1, 1, 0, 1]}, {"auto_pad": "SAME_LOWER"}, {}], ids=str)
def test_pooling(op: str, ceil: int, window: dict[str, Any]) -> None:
    for include in (0, 1) if op == "AveragePool" else (None,):
        more = {} if include is None else {"count_include_pad": include}
        shape = (2, 3, 9, 8)
        assert_single(op, shape, kernel_shape=[3, 2], strides=[2, 2], ceil_mode=ceil, **window, **more)


UNARY = [
    ("Clip", 9, (), {"min": -0.5, "max": 0.25}),
    ("Clip", 11, (np.float32(-0.5), np.float32(0.25)), {}),
    ("Clip", 13, (None, np.float32(0.25)), {}),
    ("HardSigmoid", 13, (), {"alpha": 0.2}),
    ("HardSigmoid", 13, (), {"alpha": 1 / 6}),
    ("HardSwish", 14, (), {}),
    ("Elu", 13, (), {"alpha": 0.7}),
    ("Selu", 13, (), {}),
    ("Celu", 12, (), {"alpha": 0.7}),
    ("LeakyRelu", 13, (), {"alpha": 0.3}),
    ("PRelu", 9, (noise(3, 1, 1),), {}),
    ("Softplus", 13, (), {}),
    ("Softsign", 13, (), {}),
    ("Gelu", 20, (), {"approximate": "tanh"}),
    ("Gelu", 20, (), {}),
    ("Mish", 18, (), {}),
    ("Erf", 13, (), {}),
    ("Pow", 13, (np.float32(2),), {}),
    ("Mul", 13, (noise(3, 1, 5),), {}),
    ("Max", 13, (noise(4, 1), noise(1)), {}),
    ("BatchNormalization", 9, (noise(3), noise(3), noise(3), noise(3) ** 2), {}),
    ("BatchNormalization", 15, (noise(3), noise(3), noise(3), noise(3) ** 2), {"epsilon": 1e-3}),
    ("InstanceNormalization", 13, (noise(3), noise(3)), {}),
    ("LayerNormalization", 17, (noise(4, 5), noise(4, 5)), {"axis": -2}),
    ("LRN", 13, (), {"size": 3, "alpha": 0.5}),
    ("Softmax", 11, (), {"axis": 1}),
    ("Softmax", 13, (), {"axis": 1}),
    ("LogSoftmax", 11, (), {}),
    ("LogSoftmax", 13, (), {}),
    ("Pad", 9, (), {"pads": [0, 0, 1, 2, 0, 1, 0, 0], "mode": "constant", "value": 0.5}),
    ("Pad", 11, (np.array([0, 0, 1, 2, 0, 1, 0, -1]), np.float32(0.5)), {}),
    ("Pad", 13, (np.array([0, 0, 1, 2, 0, 0, 1, 0]),), {"mode": "reflect"}),
    ("Pad", 18, (np.array([1, 2, 0, 3]), None, np.array([-1, 2])), {"mode": "edge"}),
    ("Slice", 9, (), {"starts": [1, -3], "ends": [1000, -1], "axes": [1, 3]}),
    ("Slice", 13, (np.array([-1, 0]), np.array([-100, 2**62]), np.array([2, 3]), np.array([-2, 2])), {}),
    ("Squeeze", 11, (), {"axes": [0]}),
    ("Squeeze", 13, (np.array([0]),), {}),
    ("Unsqueeze", 11, (), {"axes": [1, 5]}),
    ("Unsqueeze", 13, (np.array([1, -1]),), {}),
    ("ReduceSum", 11, (), {"axes": [1, -1], "keepdims": 0}),
    ("ReduceSum", 13, (np.array([1, -1]),), {"keepdims": 0}),
    ("ReduceMean", 13, (), {"axes": [2, 3]}),
    ("ReduceMean", 18, (np.array([2, 3]),), {}),
    ("ReduceL2", 18, (np.array([1]),), {}),
    ("ReduceLogSumExp", 18, (np.array([1]),), {"keepdims": 0}),
    ("ReduceMax", 18, (), {}),
    ("Flatten", 13, (), {"axis": 2}),
    ("Reshape", 13, (np.array([0, -1, 2]),), {}),
    ("Transpose", 13, (), {}),
    ("Expand", 13, (np.array([2, 1, 1, 1, 1]),), {}),
    ("Tile", 13, (np.array([2, 1, 3, 1]),), {}),
    ("Gather", 13, (np.array([[2, -1], [0, 1]]),), {"axis": 1}),
    ("DepthToSpace", 13, (), {"blocksize": 1, "mode": "CRD"}),
    ("GlobalAveragePool", 13, (), {}),
    ("GlobalMaxPool", 13, (), {}),
    ("MatMul", 13, (noise(5, 7),), {}),
    ("MatMul", 13, (noise(3, 5, 2),), {}),
    ("Dropout", 9, (), {"ratio": 0.3}),
    ("Dropout", 13, (np.float32(0.3),), {}),
    ("Upsample", 9, (np.array([1, 1, 2, 3], np.float32),), {"mode": "nearest"}),
    ("Upsample", 9, (np.array([1, 1, 2, 3], np.float32),), {"mode": "linear"}),
]


@pytest.mark.parametrize(("op", "opset", "constants", "attributes"), UNARY, ids=lambda v: str(v)[:24])
def test_operation_in_its_opset(op: str, opset: int, constants: tuple[Any, ...], attributes: Any) -> None:
    assert_single(op, (1, 3, 4, 5), *constants, opset=opset, **attributes)


@pytest.mark.parametrize(
    "blocks", [("DepthToSpace", {"mode": m}) for m in ("DCR", "CRD")] + [("SpaceToDepth", {})]
)
def test_blocks(blocks: tuple[str, dict[str, str]]) -> None:
    assert_single(blocks[0], (2, 8, 4, 6), blocksize=2, opset=13, **blocks[1])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("how", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("to", [[1, 3, 8, 15], [1, 3, 2, 7], [1, 3, 4, 11]], ids=str)
def test_resize(mode: str, how: str, to: list[int]) -> None:
    sizes = np.array(to)
    assert_single(
        "Resize", (1, 3, 4, 5), None, None, sizes, opset=13, mode=mode, coordinate_transformation_mode=how
    )


@pytest.mark.parametrize("scales", [(2, 1.5), (0.5, 1), (1, 1.8)])
@pytest.mark.parametrize("how", ["half_pixel", "asymmetric", "pytorch_half_pixel"])
def test_resize_by_scales(scales: tuple[float, float], how: str) -> None:
    factors = np.array([1, 1, *scales], np.float32)
    for mode, more in (("linear", {}), ("nearest", {"nearest_mode": "ceil"})):
        more |= {"mode": mode, "coordinate_transformation_mode": how}
        assert_single("Resize", (1, 3, 4, 5), np.zeros(0, np.float32), factors, opset=11, **more)
        if how == "asymmetric":
            assert_single("Resize", (1, 3, 4, 5), factors, opset=10, mode=mode)


def test_products() -> None:
    for transposed in (0, 1):
        w = noise(7, 5) if transposed else noise(5, 7)
        assert_single("Gemm", (3, 5), w, noise(7), transB=transposed, alpha=0.5, beta=2.0)
    assert_single("Gemm", (5, 3), noise(5, 7), noise(3, 1), transA=1)
    two = model([node("MatMul", ["a", "b"])], {"a": (2, 3, 4), "b": (2, 4, 5)})
    assert_same(two, noise(2, 3, 4), noise(2, 4, 5))


def test_split_in_every_form() -> None:
    for opset, constants, attributes in (
        (11, {}, {"axis": 1, "split": [1, 2]}),
        (13, {"s": np.array([1, 2])}, {"axis": 1}),
        (18, {}, {"axis": 3, "num_outputs": 2}),
    ):
        nodes = [node("Split", ["x", *constants], ("a", "b"), **attributes)]
        proto = model(nodes, {"x": (1, 3, 4, 5)}, constants, ("a", "b"), opset)
        assert_same(proto, noise(1, 3, 4, 5))


def test_selection_by_a_constant_mask_keeps_infinities() -> None:
    mask = noise(3, 1, 5) > 0
    proto = model(
        [node("Where", ["m", "x", "c"])],
        {"x": (1, 3, 4, 5)},
        {"m": mask, "c": np.float32(-math.inf)},
    )
    assert_same(proto, noise(1, 3, 4, 5))


def test_arithmetic_on_shapes_is_done_for_every_size() -> None:
    proto = shape_arithmetic()
    for shape in ((1, 3, 8, 10), (2, 3, 7, 5)):
        assert_same(proto, noise(*shape))
    graph = read(proto.SerializeToString()).lower({"x": (1, 3, 8, 10)})
    assert [n.op for n in graph.nodes] == ["transpose", "conv", "resize", "transpose", "reshape"]


def test_channel_shuffle_and_attention_of_old_exports() -> None:
    nodes = [
        node("Reshape", ["x", "split"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["b", "x4"], ["c"]),
        node("Conv", ["c", "w"], ["y"]),
    ]
    constants = {
        "split": np.array([1, 2, 4, 4, 6]), "x4": np.array([1, 8, 4, 6]), "w": noise(8, 8, 1, 1),
    }  # fmt: skip
    assert_same(model(nodes, {"x": (1, 8, 4, 6)}, constants), noise(1, 8, 4, 6))


def test_half_precision_weights_become_float32() -> None:
    nodes = [node("Cast", ["h"], ["w"], to=1), node("Conv", ["x", "w"])]
    proto = model(nodes, {"x": (1, 3, 4, 5)}, {"h": noise(2, 3, 1, 1).astype(np.float16)})
    assert_same(proto, noise(1, 3, 4, 5))
