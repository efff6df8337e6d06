"""Convolution nodes as checked operations of one stage: what fused nodes are made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph import Graph, Node
from ..nodes import stage_of
from ..nodes_integers import BYTES, integer_operation
from ..operation import Operation, Stage


def operation_of(graph: Graph, node: Node) -> Operation | None:
    """A convolution of images by constant filters, alone or with a table; None: it is something else."""
    x = graph.values[node.inputs[0]] if node.inputs else None
    if x is None or node.op not in ("conv", "block"):
        return None
    if x.dtype in BYTES:
        return integer_operation_of(graph, node)
    return _of_floats(graph, node) if node.op == "conv" else None


def integer_operation_of(graph: Graph, node: Node) -> Operation | None:
    """The same of 8-bit integers, whose result is of them too."""
    if node.op == "block":
        operation: Operation = node["operation"]
        return operation if len(operation.stages) == 1 and operation.quantization is not None else None
    if node.op != "conv":
        return None
    x, filters = (graph.values[name] for name in node.inputs[:2])
    bias = graph.values[node.inputs[2]].data if len(node.inputs) > 2 else None
    if x.dtype not in BYTES or filters.data is None or (len(node.inputs) > 2 and bias is None):
        return None
    if node["dtype"] == "float32" or (node["float_product"] and node["rounding"] == "tflite"):
        return None  # the latter knows its own product of scales alone
    plain = Node(node.op, node.inputs, node.output, node.attributes | {"float_product": False})
    return _contiguous(integer_operation(plain, x, filters, bias))


def _of_floats(graph: Graph, node: Node) -> Operation | None:
    x = graph.values[node.inputs[0]]
    arrays = [graph.values[name].data for name in node.inputs[1:]]
    if any(array is None or array.dtype != x.dtype for array in arrays):
        return None
    filters, *bias = arrays
    assert filters is not None
    stage = stage_of(node, x.shape, np.ascontiguousarray(filters), bias[0] if bias else None)
    return _contiguous(Operation("network", stage.kind, (stage,)))


def _contiguous(operation: Operation) -> Operation:
    (stage,) = operation.stages
    made: Stage = replace(stage, filters=np.ascontiguousarray(stage.filters))
    return replace(operation, stages=(made,))
