"""ONNX models that tests make, and what onnxruntime computes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

NEWEST = 21


def node(op: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> Any:
    return onnx.helper.make_node(op, inputs, outputs, name=f"{op} {outputs[0]}", **attributes)


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str | None]],
    constants: dict[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = NEWEST,
) -> Any:
    """A ModelProto: inputs of float32; outputs without a shape."""
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "tested",
        [make(name, 1, shape) for name, shape in inputs.items()],
        [make(name, 1, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=min(10, max(4, opset - 7)))


def single(op: str, *arrays: Any, opset: int = NEWEST, shape: Sequence[int] = (), **attributes: Any) -> Any:
    """One node with an input x of `shape` and constants; None where an input is missing."""
    names = [f"c{i}" if array is not None else "" for i, array in enumerate(arrays)]
    constants = {name: array for name, array in zip(names, arrays, strict=True) if name}
    return model([node(op, ["x", *names], **attributes)], {"x": shape}, constants, opset=opset)


def expected(proto: Any, *arrays: Any) -> list[Any]:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, arrays, strict=True))))


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shape_arithmetic() -> Any:
    """x resized to the size of another tensor, and flattened: as exporters spell it."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], strides=[2, 2], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "two", "four"], ["hw"]),
        node("Shape", ["c"], ["cs"]),
        node("Slice", ["cs", "zero", "two"], ["nc"]),
        node("Concat", ["nc", "hw"], ["target"], axis=0),
        node("Resize", ["c", "", "", "target"], ["r"], mode="linear"),
        node("Gather", ["s", "zero"], ["n"]),
        node("Concat", ["n", "minus"], ["flat"], axis=0),
        node("Reshape", ["r", "flat"], ["y"]),
    ]
    numbers = {"zero": [0], "two": [2], "four": [4], "minus": [-1]}
    constants = {name: np.array(value) for name, value in numbers.items()} | {"w": noise(4, 3, 3, 3)}
    return model(nodes, {"x": ("n", 3, "h", "w")}, constants, opset=13)
