"""Integers that networks compute: where the largest score is, as int32 or int64 at their outputs."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.graph import UnsupportedModel

SHAPE = (2, 5, 6, 7)
rng = np.random.default_rng(0)


def scores() -> np.ndarray:
    """With equal ones, and infinities."""
    found = rng.integers(-3, 3, SHAPE).astype(np.float32)
    found[0, 0] = -np.inf
    return found


def onnx_net(nodes: Sequence[Sequence[Any]], outputs: dict[str, int]) -> dwconv.Network:
    """nodes: (operation, inputs, output, attributes)."""
    onnx = pytest.importorskip("onnx")
    made = [onnx.helper.make_node(op, inputs, [output], **more) for op, inputs, output, more in nodes]
    told = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    given = [onnx.helper.make_tensor_value_info("x", 1, SHAPE)]
    graph = onnx.helper.make_graph(made, "g", given, told)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    return dwconv.Network.from_onnx(model.SerializeToString())


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(("op", "function"), [("ArgMax", np.argmax), ("ArgMin", np.argmin)])
def test_onnx_gives_numpys_indices(op: str, function: Any, axis: int) -> None:
    net = onnx_net([(op, ["x"], "y", {"axis": axis, "keepdims": 0})], {"y": 7})
    x = scores()[1:].repeat(2, 0)
    y = net(x)
    assert net.outputs[0].dtype == y.dtype == np.int64
    np.testing.assert_array_equal(y, function(x, axis))


def test_the_last_of_equals_kept_axes_and_casts() -> None:
    last = {"axis": 1, "keepdims": 1, "select_last_index": 1}
    nodes = [
        ("ArgMax", ["x"], "y", last),
        ("Cast", ["y"], "narrow", {"to": 6}),
        ("Cast", ["y"], "real", {"to": 1}),
        ("Mul", ["real", "real"], "squares", {}),
    ]
    net = onnx_net(nodes, {"y": 7, "narrow": 6, "squares": 1})
    x = scores()
    x[0, 0] = 0
    found, expected = net(x), 4 - np.argmax(x[:, ::-1], 1)[:, None]
    for name, dtype, value in (
        ("y", "i8", expected),
        ("narrow", "i4", expected),
        ("squares", "f4", expected**2),
    ):
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], value)
    outs = {name: np.empty_like(array) for name, array in found.items()}
    net(x, out=outs)
    np.testing.assert_array_equal(outs["y"], expected)


def test_saved_and_pickled_networks_give_integers(tmp_path: Path) -> None:
    net = onnx_net([("ArgMax", ["x"], "y", {"axis": 1})], {"y": 7})
    x = scores()
    net.save(tmp_path / "net.npz")
    for other in (dwconv.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net)), net.layout("NHWC")):
        given = x if other.inputs[0].shape == SHAPE else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        y = other(given)
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y.reshape(net(x).shape), net(x))
    assert "int64" in net.profile(seconds=0.01)


def test_arithmetic_of_integers_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="integers computed at run time"):
        onnx_net([("ArgMax", ["x"], "i", {"axis": 1}), ("Add", ["i", "i"], "y", {})], {"y": 7})
    with pytest.raises(UnsupportedModel, match="computed as another type"):
        onnx_net([("Relu", ["x"], "y", {})], {"y": 7})


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8", "UINT8"])
@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
def test_tflite_agrees_with_litert(kind: str, op: str) -> None:
    models = pytest.importorskip("tflite_models")
    m = models.Writer()
    quantised = {} if kind == "FLOAT32" else {"scale": 0.5, "zero": 3}
    given = m.input("x", SHAPE, kind, **quantised)
    axis = m.constant(np.array(3, np.int32))
    y = m.op(
        op, [given, axis], "ArgMaxOptions" if op == "ARG_MAX" else "ArgMinOptions", OutputType=4, kind="INT64"
    )
    z = m.op("RESHAPE", [y, m.constant(np.array([2, 1, 30], np.int32))], "ReshapeOptions", kind="INT64")
    content = m.content([z])
    net = dwconv.Network.from_tflite(content)
    x = scores() if kind == "FLOAT32" else rng.integers(0, 5, SHAPE).astype(kind.lower())
    (expected,) = models.litert(content, {"x": x})
    assert net.outputs[0].dtype == expected.dtype
    np.testing.assert_array_equal(net(x), expected)


def test_tflite_sorts_as_litert() -> None:
    models = pytest.importorskip("tflite_models")
    m = models.Writer()
    given, k = m.input("x", SHAPE), m.constant(np.array(4, np.int32))
    ends = m.op("TOPK_V2", [given, k], "TopKV2Options", outputs=[m.tensor(), m.tensor(kind="INT32")])
    content, x = m.content(ends), scores()
    net = dwconv.Network.from_tflite(content)
    for found, expected in zip(net(x).values(), models.litert(content, {"x": x}), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("count", [1, 3, 21, 4096, 4097])
def test_bytes_give_the_first_place_of_all_numbers(count: int, op: str, kind: str) -> None:
    models = pytest.importorskip("tflite_models")
    m = models.Writer()
    given = m.input("x", (256, count), kind, scale=0.5, zero=3)
    options = "ArgMaxOptions" if op == "ARG_MAX" else "ArgMinOptions"
    net = dwconv.Network.from_tflite(
        m.content([m.op(op, [given, m.constant(np.array(1, np.int32))], options, OutputType=4, kind="INT64")])
    )
    x = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None], (256, count)).copy()
    for row in range(256):  # one better, at every tenth of the places and at the ends, twice
        at = row % 11 * (count - 1) // 10
        x[row, at] = x[row, -1] = min(row + 1, 255) if op == "ARG_MAX" else max(row - 1, 0)
    x = x if kind == "UINT8" else (x ^ 0x80).view(np.int8)
    function = np.argmax if op == "ARG_MAX" else np.argmin
    np.testing.assert_array_equal(net(x), function(x, axis=1))
