"""A workload as an ONNX model (NCHW): what ONNX Runtime and OpenVINO load."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.problem import Array, Problem
from bench.workloads import Stage

_OPSET = 20  # the first with Gelu


def build(problem: Problem) -> bytes:
    """Input "x", output "y", shapes fixed; weights are initializers, activations what exporters write."""
    from onnx import TensorProto, checker, helper, numpy_helper

    workload = problem.workload
    nodes: list[Any] = []
    constants = [numpy_helper.from_array(np.array(value, np.float32), f"c{value}") for value in (0, 6)]

    def convolve(name: str, i: str, stage: Stage, filters: Array, bias: Array, size: tuple[int, int]) -> str:
        """Adds a stage that reads `name`, and returns the name of its output; `i` tells it from others."""
        constants.append(numpy_helper.from_array(_weights(stage, filters), f"w{i}"))
        constants.append(numpy_helper.from_array(bias, f"b{i}"))
        top, bottom, left, right = stage.pads(*size)
        window: dict[str, Any] = {
            "kernel_shape": stage.kernel,
            "strides": [stage.stride] * 2,
            "dilations": [stage.dilation] * 2,
            "pads": [top, left, bottom, right],
            "group": stage.groups,
        }
        nodes.append(helper.make_node("Conv", [name, f"w{i}", f"b{i}"], [f"conv{i}"], **window))
        name = f"conv{i}"
        for op, inputs, attributes in _activation(stage.activation, name):
            nodes.append(helper.make_node(op, inputs, [f"{op.lower()}{i}"], **attributes))
            name = f"{op.lower()}{i}"
        return name

    name = "x"
    for i, (row, size) in enumerate(zip(problem.layers, workload.sizes(), strict=False)):
        name = convolve(name, str(i), *row, size)
        if workload.squeeze_excite and i + 2 == len(problem.layers):
            nodes.append(helper.make_node("GlobalAveragePool", [name], ["mean"]))
            factor = "mean"
            for k, row in enumerate(problem.squeeze_excite):
                factor = convolve(factor, f"gate{k}", *row, (1, 1))
            nodes.append(helper.make_node("Mul", [name, factor], ["scaled"]))
            name = "scaled"
    if workload.residual:
        nodes.append(helper.make_node("Add", [name, "x"], ["sum"]))
    nodes[-1].output[0] = "y"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, nchw(workload.input_shape))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, nchw(workload.output_shape))
    graph = helper.make_graph(nodes, "workload", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def nchw(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return shape[0], shape[3], shape[1], shape[2]


def _activation(name: str | None, x: str) -> list[tuple[str, list[str], dict[str, Any]]]:
    nodes: dict[str | None, list[tuple[str, list[str], dict[str, Any]]]] = {
        None: [],
        "relu": [("Relu", [x], {})],
        "relu6": [("Clip", [x, "c0", "c6"], {})],
        "hard_swish": [("HardSwish", [x], {})],
        "hard_sigmoid": [("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5})],
        "sigmoid": [("Sigmoid", [x], {})],
        "silu": [("Sigmoid", [x], {}), ("Mul", [x, x.replace("conv", "sigmoid")], {})],
        "gelu": [("Gelu", [x], {})],
    }
    return nodes[name]


def _weights(stage: Stage, filters: Array) -> Array:
    if stage.op == "depthwise":
        filters = filters.reshape(*stage.kernel, 1, stage.out_channels)
    return np.ascontiguousarray(filters.transpose(3, 2, 0, 1))
