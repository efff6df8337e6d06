"""ONNX nodes of constants alone, as where a state begins, are computed when a file is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv

onnx = pytest.importorskip("onnx")
rng = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("op", "shapes", "function"),
    [
        ("Gemm", [(1, 4), (4, 3), (3,)], lambda a, b, c: a @ b + c),  # the first step of an unrolled LSTM
        ("Add", [(1, 3), (3,)], np.add),
        ("Add", [(1, 1, 3), (1, 3)], np.add),
        ("PRelu", [(1, 3), (3,)], lambda x, slope: np.where(x < 0, x * slope, x)),
        ("Max", [(1, 1, 3), (1, 3), (3,)], lambda *arrays: np.maximum.reduce(np.broadcast_arrays(*arrays))),
    ],
)
def test_first_axes_of_one_stay(op: str, shapes: list[tuple[int, ...]], function: Any) -> None:
    arrays = [numbers(*shape) for shape in shapes]
    names = [f"c{i}" for i in range(len(arrays))]
    nodes = [
        onnx.helper.make_node(op, names, ["made"]),
        onnx.helper.make_node("Add", ["x", "made"], ["y"]),
        onnx.helper.make_node("Relu", ["made"], ["z"]),
    ]
    told = [onnx.helper.make_tensor_value_info(name, 1, None) for name in "yz"]
    given = [onnx.helper.make_tensor_value_info("x", 1, (2, 3))]
    constants = [onnx.numpy_helper.from_array(a, name) for a, name in zip(arrays, names, strict=True)]
    graph = onnx.helper.make_graph(nodes, "g", given, told, constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    x, made = numbers(2, 3), np.asarray(function(*arrays), np.float32)
    found = dwconv.Network.from_onnx(model.SerializeToString())(x)
    assert found["z"].shape == made.shape
    np.testing.assert_allclose(found["y"], x + made, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["z"], np.maximum(made, 0), rtol=1e-5, atol=1e-6)
