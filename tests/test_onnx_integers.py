"""Quantised ONNX models in their three forms beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.nodes_numpy import interpret

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
helper, numpy_helper = onnx.helper, onnx.numpy_helper
KINDS = {np.dtype(np.int8): onnx.TensorProto.INT8, np.dtype(np.uint8): onnx.TensorProto.UINT8}

from onnx_chains import FLOAT, SHAPE, after_passes, floats, model, ort  # noqa: E402


def convolution(form: str, activations: Any, weights: Any, per_channel: bool, seed: int = 0) -> bytes:
    """conv, relu, as QDQ or as QLinearConv."""
    rng = np.random.default_rng(seed)
    kind, w_kind = np.dtype(activations), np.dtype(weights)
    info = np.iinfo(w_kind)
    scales = rng.uniform(0.01, 0.03, 5 if per_channel else ()).astype(np.float32)
    zero = np.int64(0 if w_kind == np.int8 else rng.integers(100, 150))
    constants = {
        "xs": np.float32(0.03), "xz": kind.type(7), "ys": np.float32(0.11), "yz": kind.type(20),
        "w": rng.integers(info.min, info.max + 1, (5, 3, 3, 3)).astype(w_kind), "ws": scales,
        "wz": np.full(scales.shape, zero, w_kind), "b": rng.integers(-900, 900, 5).astype(np.int32),
        "bs": np.asarray(np.float32(0.03) * scales), "bz": np.zeros(scales.shape, np.int32),
    }  # fmt: skip
    first = helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"])
    last = helper.make_node("DequantizeLinear", ["r", "ys", "yz"], ["y"])
    window = {"pads": [1, 0, 1, 2], "strides": [2, 1]}
    if form == "qop":
        names = ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
        nodes = [helper.make_node("QLinearConv", names, ["r"], **window)]
        return model([first, *nodes, last], {k: v for k, v in constants.items() if k not in ("bs", "bz")})
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], axis=0),
        helper.make_node("Conv", ["xf", "wf", "bf"], ["c"], **window),
        helper.make_node("Relu", ["c"], ["a"]),
        helper.make_node("QuantizeLinear", ["a", "ys", "yz"], ["r"]),
    ]
    return model([first, *nodes, last], constants)


def ops(net: dwconv.Network) -> list[str]:
    source: Any = net._source
    return [node.op for node in source.lower({"x": net.inputs[0].shape}).nodes]


@pytest.mark.parametrize("form", ["qdq", "qop"])
@pytest.mark.parametrize(
    ("activations", "weights", "per_channel"),
    [("int8", "int8", True), ("uint8", "int8", True), ("uint8", "uint8", False), ("int8", "int8", False)],
)
def test_convolutions_are_integers_and_those_of_onnx_runtime(
    form: str, activations: str, weights: str, per_channel: bool
) -> None:
    different = 0
    for seed in range(4):
        content = convolution(form, activations, weights, per_channel, seed)
        net = dwconv.Network.from_onnx(content)
        assert ops(net).count("dequantize") == 1
        got, expected = net(floats(seed)), ort(content, floats(seed))
        steps = np.rint((got - expected) / np.float32(0.11))
        assert np.abs(steps).max() <= (1 if form == "qdq" else 0)
        different += int((steps != 0).sum())
    assert different <= 4  # of 2240: QDQ rounds float sums


def qlinear(op: str, count: int, domain: str = "com.microsoft", **attributes: Any) -> bytes:
    """One operation of ONNX Runtime on `count` equal inputs of uint8."""
    constants = {"xs": np.float32(0.04), "xz": np.uint8(120), "ys": np.float32(0.06), "yz": np.uint8(90)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node(op, ["q", "xs", "xz"] * count + ["ys", "yz"], ["r"], domain=domain, **attributes),
        helper.make_node("DequantizeLinear", ["r", "ys", "yz"], ["y"]),
    ]
    return model(nodes, constants)


@pytest.mark.parametrize(
    ("op", "count", "attributes"),
    [
        ("QLinearAdd", 2, {}), ("QLinearMul", 2, {}), ("QLinearSigmoid", 1, {}),
        ("QLinearLeakyRelu", 1, {"alpha": 0.2}), ("QLinearGlobalAveragePool", 1, {"channels_last": 0}),
        ("QLinearAveragePool", 1, {"kernel_shape": [2, 3], "strides": [2, 1]}),
    ],
)  # fmt: skip
def test_operations_of_onnx_runtime(op: str, count: int, attributes: dict[str, Any]) -> None:
    content = qlinear(op, count, **attributes)
    got, expected = dwconv.Network.from_onnx(content)(floats(1)), ort(content, floats(1))
    steps = np.abs(np.rint((got - expected) / np.float32(0.06)))
    assert got.shape == expected.shape
    assert steps.max() <= 1  # where the two orders of float products meet a tie
    assert (steps > 0).mean() < 0.02


def test_functions_and_moves_between_conversions_are_tables_and_moves_of_bytes() -> None:
    q = ["s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *q], ["a"]),
        helper.make_node("DequantizeLinear", ["a", *q], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", *q], ["d"]),
        helper.make_node("DequantizeLinear", ["d", *q], ["e"]),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2]),
        helper.make_node("Transpose", ["f"], ["g"], perm=[0, 2, 3, 1]),
        helper.make_node("QuantizeLinear", ["g", *q], ["h"]),
        helper.make_node("DequantizeLinear", ["h", *q], ["y"]),
    ]
    content = model(nodes, {"s": np.float32(0.02), "z": np.int8(-3)})
    net = dwconv.Network.from_onnx(content)
    assert np.array_equal(net(floats(2)), ort(content, floats(2)))
    after = after_passes(net)
    assert after.count("dequantize") == 1
    assert "lookup" in after
    assert "unary" not in after


@pytest.mark.parametrize(("value", "conversions"), [(0.0, 1), (0.1, 1), (0.13, 2)])
def test_padding_with_what_a_byte_stands_for_is_one_of_bytes(value: float, conversions: int) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "s", "z"], ["b"]),
        helper.make_node("Pad", ["b", "p", "v"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["d", "s", "z"], ["y"]),
    ]
    pads = np.array([0, 0, 1, 2, 0, 1, 0, 3], np.int64)
    constants = {"s": np.float32(0.05), "z": np.int8(-3), "p": pads, "v": np.float32(value)}
    content = model(nodes, constants)
    net = dwconv.Network.from_onnx(content)
    assert np.array_equal(net(floats(2)), ort(content, floats(2)))
    assert after_passes(net).count("dequantize") == conversions


def test_inputs_and_outputs_of_bytes() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("QuantizeLinear", ["b", "s", "z"], ["y"]),
    ]
    kind = onnx.TensorProto.UINT8
    content = model(nodes, {"s": np.float32(0.1), "z": np.uint8(99)}, kind, kind)
    x = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    net = dwconv.Network.from_onnx(content)
    assert (net.inputs[0].dtype, net.outputs[0].dtype) == (np.uint8, np.uint8)
    assert np.array_equal(net(x), ort(content, x))


def test_an_output_of_another_type_than_the_file_says_is_refused() -> None:
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])]
    constants = {"s": np.float32(0.1), "z": np.uint8(99)}
    content = model(nodes, constants, onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT)
    with pytest.raises(dwconv.UnsupportedModel, match="computed as another type"):
        dwconv.Network.from_onnx(content)


@pytest.mark.parametrize("weights", ["uint8", "int8"])
def test_dynamic_quantisation_is_exact_in_float32(weights: str) -> None:
    rng = np.random.default_rng(0)
    info = np.iinfo(weights)
    w = rng.integers(info.min, info.max + 1, (6, 3, 3, 3)).astype(weights)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("ConvInteger", ["q", "w", "z", "wz"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["c"], ["f"], to=1),
        helper.make_node("Mul", ["s", "ws"], ["t"]),
        helper.make_node("Mul", ["f", "t"], ["y"]),
    ]
    zero = np.array(128 if weights == "uint8" else 0, weights)
    content = model(nodes, {"w": w, "wz": zero, "ws": np.float32(0.02)})
    for x in (floats(3), np.zeros(SHAPE, np.float32), np.abs(floats(4))):
        net, expected = dwconv.Network.from_onnx(content), ort(content, x)
        source: Any = net._source
        assert np.array_equal(interpret(source.lower({"x": SHAPE}), {"x": x})["y"], expected)
        np.testing.assert_allclose(net(x), expected, rtol=1e-6, atol=0)  # factors in another order


def test_sums_that_float32_does_not_hold_are_refused_by_name() -> None:
    w = np.full((4, 600, 5, 5), 127, np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("ConvInteger", ["q", "w", "z"], ["c"], name="large"),
        helper.make_node("Cast", ["c"], ["y"], to=1),
    ]
    with pytest.raises(dwconv.UnsupportedModel, match=r"'large' \(ConvInteger.*2\^25"):
        dwconv.Network.from_onnx(model(nodes, {"w": w}, shape=(1, 600, 8, 8)))


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["xs", "ys", "ws"])
def test_a_scale_that_is_none_is_a_value_error(scale: float, name: str) -> None:
    proto = onnx.load_from_string(convolution("qop", "int8", "int8", True))
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            array = np.full_like(numpy_helper.to_array(tensor), scale)
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    with pytest.raises(ValueError, match="scale"):
        dwconv.Network.from_onnx(proto.SerializeToString())


def test_quantisers_of_onnx_runtime(tmp_path: Path) -> None:
    """A network that onnxruntime.quantization made, in both static forms: QLinear is the same bit for bit."""
    tools = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(0)
    weights = {
        "w0": rng.standard_normal((8, 3, 3, 3)) * 0.3, "w1": rng.standard_normal((8, 1, 3, 3)) * 0.4,
        "w2": rng.standard_normal((6, 8, 1, 1)) * 0.4, "b": rng.standard_normal(8),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["c"]),
        helper.make_node("Conv", ["c", "w1"], ["d"], pads=[1] * 4, group=8),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("Conv", ["e", "w2"], ["f"]),
        helper.make_node("GlobalAveragePool", ["f"], ["y"]),
    ]
    shape = (1, 3, 16, 12)
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(model(nodes, {k: v.astype(np.float32) for k, v in weights.items()}, shape=shape))

    class Samples(tools.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.items = iter([{"x": floats(seed, shape)} for seed in range(4)])

        def get_next(self) -> Any:
            return next(self.items, None)

    for form in (tools.QuantFormat.QOperator, tools.QuantFormat.QDQ):
        path = tmp_path / f"{form.name}.onnx"
        tools.quantize_static(str(plain), str(path), Samples(), quant_format=form, per_channel=True)
        net, content = dwconv.Network.from_onnx(path), path.read_bytes()
        got = np.concatenate([net(floats(seed, shape)).ravel() for seed in range(9)])
        expected = np.concatenate([ort(content, floats(seed, shape)).ravel() for seed in range(9)])
        assert (got != expected).mean() <= (0 if form.name == "QOperator" else 0.1)
        assert np.abs(got - expected).max() <= 0.02 * np.ptp(expected)


def test_an_output_that_is_a_constant_of_integers_comes_in_the_dtype_of_the_file() -> None:
    weights = np.arange(-4, 4, dtype=np.int8).reshape(2, 4)
    cast = helper.make_node("Cast", ["w"], ["y"], to=onnx.TensorProto.INT8)
    for declared, expected in ((FLOAT, np.float32), (onnx.TensorProto.INT8, np.int8)):
        y = dwconv.Network.from_onnx(model([cast], {"w": weights}, y=declared))(floats(0))
        assert y.dtype == expected
        np.testing.assert_array_equal(y, weights)
