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
    name, size = "x", workload.sizes()[0]
    for i, stage in enumerate(workload.stages):
        constants += [
            numpy_helper.from_array(_weights(stage, problem.filters[i]), f"w{i}"),
            numpy_helper.from_array(problem.biases[i], f"b{i}"),
        ]
        top, bottom, left, right = stage.pads(*size)
        window: dict[str, Any] = {
            "kernel_shape": stage.kernel,
            "strides": [stage.stride] * 2,
            "dilations": [stage.dilation] * 2,
            "pads": [top, left, bottom, right],
            "group": stage.groups,
        }
        nodes.append(helper.make_node("Conv", [name, f"w{i}", f"b{i}"], [f"conv{i}"], **window))
        name, size = f"conv{i}", stage.output_size(*size)
        for op, inputs in _activation(stage.activation, name):
            nodes.append(helper.make_node(op, inputs, [f"{op.lower()}{i}"]))
            name = f"{op.lower()}{i}"
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


def _activation(name: str | None, x: str) -> list[tuple[str, list[str]]]:
    nodes = {
        None: [],
        "relu": [("Relu", [x])],
        "relu6": [("Clip", [x, "c0", "c6"])],
        "hard_swish": [("HardSwish", [x])],
        "silu": [("Sigmoid", [x]), ("Mul", [x, x.replace("conv", "sigmoid")])],
        "gelu": [("Gelu", [x])],
    }
    return nodes[name]


def _weights(stage: Stage, filters: Array) -> Array:
    if stage.op == "depthwise":
        filters = filters.reshape(*stage.kernel, 1, stage.out_channels)
    return np.ascontiguousarray(filters.transpose(3, 2, 0, 1))
