"""What lies between floats and bytes: conversions move, meet and become tables. All of it is exact."""

from __future__ import annotations

import numpy as np

from .. import byte_tables
from ..graph import Graph, Node
from ..nodes_integers import BYTES, is_move, same
from ..nodes_numpy import compute
from .editor import Editor, Rule
from .identities import IDENTITIES

MOVES = (
    "reshape", "transpose", "slice", "concat", "expand", "gather", "depth_to_space", "space_to_depth",
    "max_pool", "reduce", "resize",
)  # fmt: skip


def join_integers(graph: Graph) -> None:
    Editor(graph).sweep(*RULES)


def convert_later(edit: Editor, node: Node) -> bool:
    """What moves or compares numbers takes the bytes themselves, if it is converted nowhere else."""
    if edit.dtype(node.output).kind != "f" or node.op not in MOVES or not is_move(node):
        return False
    inputs = node.inputs[:1] if node.op == "gather" else node.inputs
    makers = [edit.maker(name, "dequantize") for name in inputs]
    if any(maker is None or edit.reader(maker.output) is not node for maker in makers):
        return False
    sources = [maker.inputs[0] for maker in makers if maker is not None]
    values = [edit.graph.values[name] for name in sources]
    if any(v.dtype not in BYTES or v.dtype != values[0].dtype for v in values):
        return False
    if not all(same(v.quantization, values[0].quantization) for v in values):
        return False
    moved = edit.insert(node.op, *sources, *node.inputs[len(inputs) :], name=node.name, **node.attributes)
    return edit.rewrite(node, "dequantize", moved)


def to_table(edit: Editor, node: Node) -> bool:
    """Bytes to floats, a function, and back: a table. Without the function too, unless nothing changes."""
    if node.op != "quantize":
        return False
    chain: list[Node] = []
    value = node.inputs[0]
    while (maker := edit.maker(value, "unary")) is not None and edit.reader(value) is not None:
        chain.insert(0, maker)
        value = maker.inputs[0]
    first = edit.maker(value, "dequantize")
    if first is None or edit.dtype(first.inputs[0]) not in BYTES:
        return False
    source = edit.graph.values[first.inputs[0]]
    target = edit.graph.values[node.output]
    if not chain and source.dtype == target.dtype and same(source.quantization, target.quantization):
        return edit.forward(node, source.name)
    every = np.arange(256, dtype=np.uint8).view(source.dtype)
    numbers = compute(first, [every], [source.quantization])
    for unary in chain:
        numbers = compute(unary, [numbers])
    table = compute(node, [numbers])
    q = target.quantization
    return edit.rewrite(node, "lookup", source.name, table, inner=[first, *chain], quantization=q)


def join_tables(edit: Editor, node: Node) -> bool:
    """A table of a table is one."""
    first = edit.maker(node.inputs[0], "lookup") if node.op == "lookup" else None
    if first is None or edit.reader(first.output) is not node:
        return False
    inner, outer = edit.constant(first.inputs[1]), edit.constant(node.inputs[1])
    if inner is None or outer is None:
        return False
    joined = outer[inner.view(np.uint8)]
    return edit.rewrite(
        node, "lookup", first.inputs[0], joined, inner=[first], quantization=node["quantization"]
    )


def drop_table(edit: Editor, node: Node) -> bool:
    """One that changes nothing, not even what the bytes stand for."""
    table = edit.constant(node.inputs[1]) if node.op == "lookup" else None
    dtype = edit.dtype(node.inputs[0])
    if table is None or table.dtype != dtype:
        return False
    return np.array_equal(table, byte_tables.relabelled(dtype)) and edit.forward(node, node.inputs[0])


def reasons(graph: Graph, log: list[tuple[str, str]]) -> None:
    """Tells what runs in float32 between bytes: its inputs are converted, and so is its result."""
    if not any(value.dtype in BYTES for value in graph.values.values()):
        return
    makers, readers = graph.producers(), graph.consumers()
    for node in graph.nodes:
        if node.op in ("quantize", "dequantize") or graph.values[node.output].dtype.kind != "f":
            continue
        if graph.values[node.inputs[0]].dtype in BYTES:
            continue
        before = [makers[name].op for name in node.inputs if name in makers]
        after = [reader.op for reader in readers[node.output]]
        if "dequantize" in before or "quantize" in after:
            log.append((node.name or node.output, f"{node.op} runs in float32: {_why(node)}"))


def _why(node: Node) -> str:
    if node.op in ("conv", "transpose_conv"):
        return "the file has no scales for all of its input, filters and result"
    if node.op in HAVE_INTEGERS:
        return "the file has no scale for its result, or none for an input"
    return "there is no form of it for bytes"


HAVE_INTEGERS = ("binary", "average_pool", "reduce", "softmax", "prelu", "resize", "unary", *MOVES)
RULES: tuple[Rule, ...] = (*IDENTITIES, convert_later, to_table, join_tables, drop_table)
