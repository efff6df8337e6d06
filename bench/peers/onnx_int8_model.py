"""A quantized workload as an ONNX model (NCHW), in the forms that converters write.

`qlinear`: QLinearConv, and ONNX Runtime's QLinearAdd. `qdq`: convolutions of floats between QuantizeLinear
and DequantizeLinear, which runtimes are to find and compute in integers; input and output are 8-bit integers
too. Saturation is the clamp of an activation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers.onnx_model import nchw
from bench.quantized import Integers, Layer, Quant, Quantized

_OPSET = 13
_MICROSOFT = "com.microsoft"


class _Graph:
    def __init__(self, kind: Any) -> None:
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper, self.kind = helper, numpy_helper, kind
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(self.numpy_helper.from_array(np.asarray(value), name))
        return name

    def quant(self, name: str, quant: Quant) -> list[str]:
        """The names of a scale and a zero point."""
        scale = self.constant(f"{name}_scale", np.float32(quant.scale))
        return [scale, self.constant(f"{name}_zero", self.kind(quant.zero_point))]

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.helper.make_node(op, inputs, [output], **attributes))
        return output


def build(problem: Quantized, form: str) -> bytes:
    """Input "x" and output "y", of the dtype of problem.x."""
    from onnx import TensorProto, checker

    graph = _Graph(problem.x.dtype.type)
    last = len(problem.layers) - 1
    name, quant = "x", graph.quant("x", problem.layers[0].input)
    if form == "qdq":
        name = graph.node("DequantizeLinear", ["x", *quant], "x_real")
    for i, (layer, size) in enumerate(zip(problem.layers, problem.workload.sizes(), strict=False)):
        output = "y" if i == last and not problem.sum else f"y{i}"
        add = _qlinear if form == "qlinear" else _qdq
        name, quant = add(graph, layer, size, name, quant, output, i == last and not problem.sum)
    if problem.sum:
        _add(graph, problem, form, name, quant)
    kind = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}[graph.kind]
    make, workload = graph.helper, problem.workload
    x = make.make_tensor_value_info("x", kind, nchw(workload.input_shape))
    y = make.make_tensor_value_info("y", kind, nchw(workload.output_shape))
    opsets = [make.make_opsetid("", _OPSET)]
    if form == "qlinear":
        opsets.append(make.make_opsetid(_MICROSOFT, 1))
    graph_proto = make.make_graph(graph.nodes, "workload", [x], [y], graph.constants)
    model = make.make_model(graph_proto, opset_imports=opsets, ir_version=8)
    checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized


def _window(layer: Layer, size: tuple[int, int]) -> dict[str, Any]:
    stage = layer.stage
    top, bottom, left, right = stage.pads(*size)
    return {
        "kernel_shape": stage.kernel,
        "strides": [stage.stride] * 2,
        "dilations": [stage.dilation] * 2,
        "pads": [top, left, bottom, right],
        "group": stage.groups,
    }


def _weights(layer: Layer) -> Integers:
    stage, filters = layer.stage, layer.filters
    if stage.op == "depthwise":
        filters = filters.reshape(*stage.kernel, 1, stage.out_channels)
    return np.ascontiguousarray(filters.transpose(3, 2, 0, 1))


def _qlinear(
    graph: _Graph, layer: Layer, size: tuple[int, int], x: str, quant: list[str], y: str, is_last: bool
) -> tuple[str, list[str]]:
    weights = [
        graph.constant(f"w_{y}", _weights(layer)),
        graph.constant(f"w_{y}_scale", layer.scales),
        graph.constant(f"w_{y}_zero", np.zeros(layer.scales.shape, np.int8)),
    ]
    after, bias = graph.quant(y, layer.output), graph.constant(f"b_{y}", layer.bias)
    graph.node("QLinearConv", [x, *quant, *weights, *after, bias], y, **_window(layer, size))
    return y, after


def _qdq(
    graph: _Graph, layer: Layer, size: tuple[int, int], x: str, quant: list[str], y: str, is_last: bool
) -> tuple[str, list[str]]:
    """Takes and gives floats, but for the last one."""
    weights = graph.constant(f"w_{y}", _weights(layer))
    scale = graph.constant(f"w_{y}_scale", layer.scales)
    zero = graph.constant(f"w_{y}_zero", np.zeros(layer.scales.shape, np.int8))
    w = graph.node("DequantizeLinear", [weights, scale, zero], f"w_{y}_real", axis=0)
    units = np.float32(layer.input.scale) * layer.scales
    bias = [graph.constant(f"b_{y}", layer.bias), graph.constant(f"b_{y}_scale", units)]
    bias.append(graph.constant(f"b_{y}_zero", np.zeros(layer.scales.shape, np.int32)))
    b = graph.node("DequantizeLinear", bias, f"b_{y}_real", axis=0)
    sums = graph.node("Conv", [x, w, b], f"{y}_sums", **_window(layer, size))
    if layer.stage.activation:  # runtimes take it for part of the convolution
        sums = graph.node("Relu", [sums], f"{y}_relu")
    after = graph.quant(y, layer.output)
    graph.node("QuantizeLinear", [sums, *after], y)
    return y if is_last else graph.node("DequantizeLinear", [y, *after], f"{y}_real"), after


def _add(graph: _Graph, problem: Quantized, form: str, name: str, quant: list[str]) -> None:
    assert problem.sum
    after = graph.quant("y", problem.sum)
    if form == "qlinear":
        first = [f"x_{part}" for part in ("scale", "zero")]
        graph.node("QLinearAdd", [name, *quant, "x", *first, *after], "y", domain=_MICROSOFT)
        return
    total = graph.node("Add", [name, "x_real"], "sum")
    graph.node("QuantizeLinear", [total, *after], "y")
