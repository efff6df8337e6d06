"""A table of bytes behind a convolution of bytes is applied where its results are written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph import Graph, Node
from ..nodes_integers import BYTES
from ..operation import Operation
from ..quantized import Quantization
from .editor import Editor
from .stages import integer_operation_of


def fuse_lookups(graph: Graph) -> None:
    Editor(graph).sweep(fuse_lookup)


def fuse_lookup(edit: Editor, node: Node) -> bool:
    """Becomes a block of one stage. Of two tables the second one is that of the first one's entries."""
    maker = edit.maker(node.inputs[0]) if node.op == "lookup" else None
    table = edit.constant(node.inputs[1]) if maker is not None else None
    y = edit.graph.values[node.output].quantization
    if maker is None or table is None or y is None or edit.reader(maker.output) is not node:
        return False
    if table.ndim > 1 or table.dtype != edit.dtype(maker.output) or table.dtype not in BYTES:
        return False
    operation = integer_operation_of(edit.graph, maker)
    if operation is None or len(operation.stages) != 1:
        return False
    (stage,) = operation.stages
    q = stage.quantization
    assert q is not None
    result = Quantization(float(y.scale), int(y.zero_point))
    before = q.before
    if q.table is not None:
        table = np.ascontiguousarray(table[q.table.view(np.uint8)])
    told = replace(q, output=result, activation_input=before, table=np.ascontiguousarray(table))
    fused: Operation = replace(operation, stages=(replace(stage, quantization=told),))
    return edit.rewrite(node, "block", maker.inputs[0], inner=[maker], operation=fused)
