"""What there is to compute in a graph: multiply-adds, node by node."""

from __future__ import annotations

import math

from . import explain
from .graph import Graph, Node
from .nodes import conv_window


def multiply_adds(graph: Graph) -> int:
    return sum(of_node(graph, node) for node in graph.nodes)


def of_node(graph: Graph, node: Node) -> int:
    """Of convolutions and products of matrices, on real taps: padding is left out. Other nodes have none."""
    shapes = [graph.values[name].shape for name in node.inputs]
    y = graph.values[node.output].shape
    if node.op == "conv":
        window, (batch, height, width, _) = conv_window(node, shapes[1]), shapes[0]
        taps = explain.real_taps(window, 0, height) * explain.real_taps(window, 1, width)
        return int(batch * taps * shapes[1][2] * y[3])
    if node.op == "transpose_conv":  # taps that are cut off count too
        return math.prod(shapes[0][:3]) * math.prod(shapes[1])
    if node.op == "block":
        return explain.multiply_adds(node["operation"], shapes[0])  # type: ignore[arg-type]
    if node.op == "matmul":
        return math.prod(y) * shapes[0][-1]
    return 0
