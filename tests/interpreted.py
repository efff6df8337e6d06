"""Runs a `dwconv.program.Program` with NumPy: a test of its views, and of what a step may read and write.

Memory begins as NaN, so that what is read before it is written shows in the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from dwconv import fallback, nodes_numpy
from dwconv.graph import Graph, Node
from dwconv.nodes import complete
from dwconv.program import Program, Step

FUNCTIONS = {
    "negate": "neg", "plus": "add", "minus": "sub", "times": "mul", "divide": "div", "maximum": "max",
    "minimum": "min", "power": "pow", "largest": "max", "smallest": "min", "product": "prod",
    "place_of_largest": "argmax", "bilinear": "linear",
}  # fmt: skip
IN_PLACE = ("unary", "binary")
DENSE = ("convolution", "pool", "resize")


def evaluate(graph: Graph, inputs: Mapping[str, Any], dtype: Any = np.float32) -> list[np.ndarray]:
    """The outputs of a graph node by node."""
    values = {name: np.asarray(x, dtype) for name, x in inputs.items()}
    for name, value in graph.values.items():
        if value.data is not None:
            floating = np.issubdtype(value.dtype, np.floating)
            values[name] = value.data.astype(dtype) if floating else value.data
    for node in graph.nodes:
        values[node.output] = nodes_numpy.compute(node, [values[name] for name in node.inputs])
    return [values[name] for name in graph.outputs]


def interpret(program: Program, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of a program step by step."""
    arrays: list[np.ndarray] = []
    for tensor in program.tensors:
        if tensor.storage == "view":
            owner = program.tensors[tensor.base]
            assert owner.storage != "view"
            arrays.append(_part(arrays[tensor.base].reshape(-1), tensor.view))
        elif tensor.storage == "input":
            arrays.append(np.ascontiguousarray(inputs[tensor.name], np.float32))
        elif tensor.storage == "constant":
            assert tensor.data is not None
            assert tensor.data.shape == tensor.shape
            assert tensor.data.flags.c_contiguous
            arrays.append(tensor.data)
        else:
            arrays.append(np.full(tensor.shape, np.nan, np.float32))
    for step in program.steps:
        _check(program, step)
        y = arrays[step.output]
        y[...] = _compute(step, [arrays[index] for index in step.inputs], y.shape)
    return [arrays[i] for i, tensor in enumerate(program.tensors) if tensor.storage == "output"]


def _part(memory: np.ndarray, view: Any) -> np.ndarray:
    reach = [stride * (size - 1) for size, stride in zip(view.shape, view.strides, strict=True)]
    assert view.offset + sum(r for r in reach if r < 0) >= 0
    assert view.offset + sum(r for r in reach if r > 0) < memory.size
    return as_strided(memory[view.offset :], view.shape, [4 * stride for stride in view.strides])


def _check(program: Program, step: Step) -> None:
    """What csrc/dwconv_network.h asks of a node."""
    output = program.tensors[step.output]
    assert output.view.is_apart
    assert program.tensors[program.memory(step.output)].storage in ("workspace", "output")
    for index in step.inputs:
        same = program.tensors[index].view == output.view and step.kind in IN_PLACE
        if program.memory(index) == program.memory(step.output) and not same:
            assert not _elements(program, index) & _elements(program, step.output)
    if step.kind in DENSE:
        for index in (*step.inputs, step.output):
            view = program.tensors[index].view
            assert len(view.shape) == 4
            assert view.strides[3] == 1
            assert all(stride or size == 1 for stride, size in zip(view.strides, view.shape, strict=True))
    if step.kind in ("softmax", "layer_norm"):
        assert all(program.tensors[index].view.has_unit_stride for index in (*step.inputs, step.output))
    assert len(step.inputs) <= 4
    assert max(len(program.tensors[i].shape) for i in (*step.inputs, step.output)) <= 6


def _elements(program: Program, index: int) -> set[int]:
    memory = np.arange(program.tensors[program.memory(index)].view.size, dtype=np.float32)
    return set(_part(memory, program.tensors[index].view).ravel().astype(int).tolist())


def _compute(step: Step, inputs: list[np.ndarray], shape: tuple[int, ...]) -> Any:
    if step.kind == "convolution":
        return fallback.run(step.operation, np.ascontiguousarray(inputs[0]))
    if step.kind == "copy":
        assert inputs[0].shape == shape
        return inputs[0].copy()
    if step.kind == "fill":
        return np.float32(step.parameters[0])
    node = Node(*_as_node(step, inputs, shape))
    node.attributes = complete(node.op, node.attributes)
    if step.kind == "gather":
        inputs = [inputs[0], step.indices]
    return nodes_numpy.activated(nodes_numpy.compute(node, inputs), step.activation.normal)


def _as_node(step: Step, inputs: list[np.ndarray], shape: tuple[int, ...]) -> Any:
    function = FUNCTIONS.get(step.function or "", step.function)
    if step.kind == "unary":
        if function == "same_value":
            return "reshape", (), "", {"shape": shape}
        return "unary", (), "", {"kind": function, "a": step.parameters[0], "b": step.parameters[1]}
    if step.kind == "binary":
        return ("prelu", (), "", {}) if function == "prelu" else ("binary", (), "", {"kind": function})
    if step.kind == "reduce":
        axes = [a for a, (x, y) in enumerate(zip(inputs[0].shape, shape, strict=True)) if x != y]
        return "reduce", (), "", {"kind": function, "axes": axes}
    if step.kind == "pool":
        return _pool_node(step, inputs[0].shape, shape)
    if step.kind == "resize":
        return "resize", (), "", {
            "kind": function, "sizes": shape[1:3], "scales": step.parameters or None,
            "coordinates": step.coordinates, "rounding": step.rounding,
        }  # fmt: skip
    if step.kind == "softmax":
        return "softmax", (), "", {"log": step.function == "logarithm"}
    if step.kind == "layer_norm":
        return "layer_norm", (), "", {"epsilon": step.parameters[0]}
    return step.kind, (), "", {"axis": step.axis} if step.kind == "gather" else {}


def _pool_node(step: Step, x: tuple[int, ...], y: tuple[int, ...]) -> Any:
    window = step.window
    assert window is not None
    floors = [window.extent(a, x[1 + a])[0] for a in range(2)]
    attributes: dict[str, Any] = {
        "kernel": window.kernel, "strides": window.strides, "padding": window.padding,
        "dilations": window.dilations, "ceil_mode": any(f != n for f, n in zip(floors, y[1:3], strict=True)),
    }  # fmt: skip
    if step.function == "mean":
        return "average_pool", (), "", {**attributes, "count_include_pad": step.counts_padding}
    return "max_pool", (), "", attributes
