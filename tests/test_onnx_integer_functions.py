"""What stands between conversions in quantised ONNX files: tables, means, transposed convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper = onnx.helper

from onnx_chains import Chain, after_passes, every_byte, floats, model, ort  # noqa: E402


@pytest.mark.parametrize("dividing", ["Div", "Mul"])
def test_a_spelled_out_hard_swish_is_one_table_of_the_same_bits(dividing: str) -> None:
    c, x = Chain(), every_byte(0.05, 11)
    q = c.convert("x", 0.05, 11)
    c.constants |= {"low": np.float32(0), "high": np.float32(6)}
    a = c.node("Clip", c.node("Add", q, c.number(3.0)), "low", "high")
    b = c.convert(c.node("Mul", c.convert(a, 6 / 255, -128), q), 0.11, -104)
    y = c.convert(c.node(dividing, b, c.number(6.0 if dividing == "Div" else 1 / 6)), 0.021, -109)
    content = c.content(y, x.shape)
    net = dwconv.Network.from_onnx(content)
    assert np.array_equal(net(x), ort(content, x))
    assert len(np.unique(net(x))) > 60
    assert after_passes(net, x.shape) == ["quantize", "lookup", "dequantize"]


def test_functions_of_two_values_or_by_row_are_no_tables() -> None:
    c = Chain()
    q = c.convert("x", 0.05, 3)
    c.constants["w"] = np.linspace(0.5, 2, 9, dtype=np.float32)[:, None]
    one = c.convert(c.node("Sigmoid", q), 1 / 256, -128)
    two = c.convert(c.node("Transpose", q, perm=[0, 1, 3, 2]), 0.05, 3)
    two = c.convert(c.node("Transpose", two, perm=[0, 1, 3, 2]), 0.05, 3)
    mixed = c.convert(
        c.node(
            "Mul", c.convert(c.node("AveragePool", two, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 0.04, 0), one
        ),
        0.03,
        0,
    )
    y = c.convert(c.node("Mul", mixed, "w"), 0.05, 9)
    content = c.content(y)
    net = dwconv.Network.from_onnx(content)
    steps = np.abs(net(floats(5)) - ort(content, floats(5))) / np.float32(0.05)
    assert np.rint(steps).max() <= 2
    assert (steps > 0.5).mean() < 0.02
    reasons = net.summary()
    assert "binary runs in float32: its constant differs along an axis" in reasons


def test_functions_by_channel_are_tables_of_each_channel() -> None:
    c = Chain()
    q = c.convert("x", 0.05, 3)
    c.constants |= {
        "shift": np.array([-0.7, 0.1, 2], np.float32)[:, None, None],
        "slope": np.array([0.5, -1, 0.01], np.float32)[:, None, None],
    }
    q = c.node("MaxPool", q, kernel_shape=[2, 2])  # channels are the last axis from here on
    a = c.convert(c.node("Add", c.node("Sigmoid", q), "shift"), 0.02, -11)
    b = c.convert(c.node("PRelu", c.node("Mul", a, "slope"), "slope"), 0.013, 4)
    content = c.content(b)
    net = dwconv.Network.from_onnx(content)
    assert np.array_equal(net(floats(5)), ort(content, floats(5)))
    after = after_passes(net)
    assert after.count("lookup") == 1
    assert not {"unary", "binary", "prelu"} & set(after)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("groups", "window"), [
    (1, {"strides": [2, 2]}),
    (1, {"strides": [3, 1], "pads": [1, 0, 2, 1], "output_padding": [1, 0]}),
    (3, {"strides": [2, 1], "dilations": [1, 2], "auto_pad": "SAME_UPPER"}),
])  # fmt: skip
def test_transposed_convolutions_are_of_integers(
    groups: int, window: dict[str, Any], per_channel: bool
) -> None:
    rng, c = np.random.default_rng(4), Chain()
    q = c.convert("x", 0.05, 3)
    scales = rng.uniform(0.01, 0.03, 4 if per_channel else ()).astype(np.float32)
    c.constants |= {
        "w": rng.integers(-127, 128, (3, 4, 2, 3)).astype(np.int8), "ws": scales,
        "wz": np.zeros(scales.shape, np.int8), "b": rng.uniform(-1, 1, 4 * groups).astype(np.float32),
    }  # fmt: skip
    c.nodes.append(helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=1))
    y = c.node("Relu", c.node("ConvTranspose", q, "wf", "b", group=groups, **window))
    content = c.content(c.convert(y, 0.06, -100))
    net = dwconv.Network.from_onnx(content)
    steps = np.rint(np.abs(net(floats(6)) - ort(content, floats(6))) / np.float32(0.06))
    assert steps.max() <= 1  # where the bias was rounded to integers, and sums of floats meet a tie
    assert (steps > 0).mean() < 0.05
    integers = groups == 1 or not per_channel
    assert after_passes(net).count("dequantize") == (1 if integers else 2)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "ReduceMean", "AveragePool", "padded"])
def test_means_between_conversions_are_of_integers(op: str) -> None:
    c = Chain()
    q = c.convert("x", 0.05, 3)
    told = {"ReduceMean": {"axes": [2, 3]}, "AveragePool": {"kernel_shape": [3, 2]}}.get(op, {})
    if op == "padded":
        told = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}
    y = c.convert(c.node("AveragePool" if op == "padded" else op, q, **told), 0.0213, -5)
    content = c.content(y)
    net = dwconv.Network.from_onnx(content)
    steps = np.rint(np.abs(net(floats(6)) - ort(content, floats(6))) / np.float32(0.0213))
    assert steps.max() <= 1  # where sums in another order meet a tie
    assert (steps > 0).mean() < 0.02
    assert after_passes(net).count("dequantize") == (2 if op == "padded" else 1)
    assert ("padding counts in its mean" in net.summary()) == (op == "padded")


def test_the_largest_of_quantised_numbers_is_quantised_before() -> None:
    c = Chain()
    q = c.convert("x", 0.05, 3)
    y = c.node("MaxPool", c.node("Div", q, c.number(-6.0)), kernel_shape=[2, 2], pads=[1, 1, 0, 0])
    content = c.content(c.convert(y, 0.004, 20))
    net = dwconv.Network.from_onnx(content)
    assert np.array_equal(net(floats(7)), ort(content, floats(7)))
    assert "unary" not in after_passes(net)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("node", [
    ("Resize", ["q", "", "scales"], {"mode": "nearest", "nearest_mode": "floor"}),
    ("Resize", ["q", "", "scales"], {"mode": "linear"}),
    ("ArgMax", ["q"], {"axis": 1}),
    ("ArgMin", ["q"], {"axis": 2, "keepdims": 0}),
])  # fmt: skip
def test_operations_of_bytes_without_a_scale(node: tuple[str, list[str], dict[str, Any]], dtype: Any) -> None:
    op, inputs, attributes = node
    made = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(op, inputs, ["r" if op == "Resize" else "y"], **attributes),
    ]
    constants = {"s": np.float32(0.05), "z": dtype(9), "scales": np.array([1, 1, 2, 2], np.float32)}
    if op == "Resize":
        made.append(helper.make_node("DequantizeLinear", ["r", "s", "z"], ["y"]))
        content = model(made, constants)
    else:
        del constants["scales"]
        content = model(made, constants, y=onnx.TensorProto.INT64)
    net = dwconv.Network.from_onnx(content)
    np.testing.assert_array_equal(net(floats(8)), ort(content, floats(8)))
