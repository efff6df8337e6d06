"""Whatever is computed of one value of bytes alone, element by element, is a table of 256 entries.

The table is what the graph computes of every byte, with the roundings in between: hard-swish spelled out as
Add, Clip, Mul and Div with conversions between them gives the same bits as one lookup. Where constants differ
from channel to channel, as those of a normalisation do, so do tables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import byte_tables
from ..activation import Array
from ..graph import Node
from ..nodes_integers import BYTES, is_move, same
from ..nodes_numpy import compute
from .editor import Editor

ELEMENTWISE = ("unary", "binary", "prelu", "dequantize", "quantize", "lookup")
MOST_NODES = 64  # of a function: a hostile file has chains of any length
MOST_CHANNELS = 128  # with tables of their own, which fill a first-level cache


class Function(NamedTuple):
    """`nodes`, in the order of execution, compute a value of the bytes `source`."""

    source: str
    nodes: list[Node]


def to_table(edit: Editor, node: Node) -> bool:
    """A result of bytes that is a function of one value of bytes; none at all where it changes nothing."""
    if node.op != "quantize" and not (node.op == "binary" and edit.dtype(node.output) in BYTES):
        return False
    found = function_of(edit, node)
    if found is None:
        return False
    source, target = (edit.graph.values[name] for name in (found.source, node.output))
    plain = [item.op for item in found.nodes] == ["dequantize", "quantize"]
    if plain and source.dtype == target.dtype and same(source.quantization, target.quantization):
        return edit.forward(node, source.name)
    names = {item.output for item in found.nodes}
    private = [n for n in found.nodes if all(reader.output in names for reader in edit.readers(n.output))]
    inner = [n for n in private if n.op not in ("quantize", "dequantize")]
    return edit.rewrite(
        node, "lookup", source.name, _table(edit, found), inner=inner, quantization=target.quantization
    )


def join_tables(edit: Editor, node: Node) -> bool:
    """A table of a table is one."""
    first = edit.maker(node.inputs[0], "lookup") if node.op == "lookup" else None
    if first is None or edit.reader(first.output) is not node:
        return False
    inner, outer = edit.constant(first.inputs[1]), edit.constant(node.inputs[1])
    if inner is None or outer is None:
        return False
    return edit.rewrite(
        node,
        "lookup",
        first.inputs[0],
        _behind(inner, outer),
        inner=[first],
        quantization=node["quantization"],
    )


def _behind(inner: Array, outer: Array) -> Array:
    """What `outer` makes of the entries of `inner`: of each channel, where one of them has several."""
    index = inner.view(np.uint8)
    if outer.ndim == 1:
        return outer[index]
    return np.ascontiguousarray(outer[np.arange(len(outer))[:, None], index])


def drop_table(edit: Editor, node: Node) -> bool:
    """One that changes nothing, not even what the bytes stand for."""
    table = edit.constant(node.inputs[1]) if node.op == "lookup" else None
    dtype = edit.dtype(node.inputs[0])
    if table is None or table.dtype != dtype:
        return False
    return np.array_equal(table, byte_tables.relabelled(dtype)) and edit.forward(node, node.inputs[0])


def quantize_before_move(edit: Editor, node: Node) -> bool:
    """What is moved or compared and then quantised is quantised first, where that makes it a table.

    Rounding keeps the order of numbers, so the largest of quantised ones is the quantised largest.
    """
    move = edit.maker(node.inputs[0]) if node.op == "quantize" else None
    if move is None or not _moves(move) or edit.reader(move.output) is not node:
        return False
    maker = edit.maker(move.inputs[0])
    while maker is not None and _moves(maker):
        maker = edit.maker(maker.inputs[0])
    if maker is None or maker.op == "dequantize" or maker.op not in ELEMENTWISE:
        return False
    found = function_of(edit, maker)
    if found is None or np.isnan(_table(edit, found)).any():
        return False
    value = move.inputs[0]
    first = edit.insert("quantize", value, name=node.name, **node.attributes)
    return edit.rewrite(node, move.op, first, *move.inputs[1:], inner=[move], **move.attributes)


def _moves(node: Node) -> bool:
    """Elements of one input, of which none is a new one."""
    return is_move(node) and node.op not in ("pad", "concat", "binary")


# ---- parts --------------------------------------------------------------------------------------


def function_of(edit: Editor, root: Node) -> Function | None:
    """What `root` gives as a function of one value of bytes; None: it is of several, or of floats."""
    nodes = {id(root): root}
    channels = _channels(edit, root)
    leaves: dict[str, None] = {}
    work = [root]
    while work:
        node = work.pop()
        for name in node.inputs[: 1 if node.op == "lookup" else None]:
            if edit.constant(name) is not None:
                if _numbers(edit, name, channels) is None:
                    return None
            elif edit.dtype(name) in BYTES:
                leaves[name] = None
            else:
                maker = edit.maker(name)
                if maker is None or maker.op not in ELEMENTWISE:
                    return None
                if id(maker) not in nodes:
                    nodes[id(maker)] = maker
                    work.append(maker)
        if len(nodes) > MOST_NODES:
            return None
    source = _common(edit, list(leaves), nodes)
    if source is None or edit.shape(source) != edit.shape(root.output):
        return None
    if any(edit.shape(node.output) != edit.shape(source) for node in nodes.values()):
        return None
    return Function(source, _in_order(source, list(nodes.values())))


def _in_order(source: str, nodes: list[Node]) -> list[Node]:
    """As they can be executed."""
    made = {node.output for node in nodes}
    known = {source}
    ordered: list[Node] = []
    while len(ordered) < len(nodes):
        ready = [n for n in nodes if n.output not in known and not (made & set(n.inputs)) - known]
        ordered += ready
        known.update(node.output for node in ready)
    return ordered


def _common(edit: Editor, leaves: list[str], nodes: dict[int, Node]) -> str | None:
    """The value of bytes that all leaves are tables of; `nodes` gets these tables."""
    chains = [_lookups(edit, leaf) for leaf in leaves]
    if not chains:
        return None
    shared = set.intersection(*({name for name, _ in chain} for chain in chains))
    source = next((name for name, _ in chains[0] if name in shared), None)
    for chain in chains if source is not None else []:
        for name, node in chain:
            if name == source:
                break
            assert node is not None
            nodes[id(node)] = node
    return source


def _lookups(edit: Editor, value: str) -> list[tuple[str, Node | None]]:
    """The value and its maker, where that is a table, then the same of what this one reads."""
    chain: list[tuple[str, Node | None]] = []
    while len(chain) < MOST_NODES:
        node = edit.maker(value, "lookup")
        chain.append((value, node))
        if node is None:
            break
        value = node.inputs[0]
    return chain


def _channels(edit: Editor, root: Node) -> int:
    """By how many channels constants may differ: only 1 where two values of bytes meet, which has vectors."""
    return (1, *edit.shape(root.output))[-1] if edit.dtype(root.inputs[0]).kind == "f" else 1


def _numbers(edit: Editor, name: str, channels: int) -> Array | None:
    """The one number of a constant, which has no axes then, or one for each of a few channels."""
    data = edit.constant(name)
    if data is None or not data.size:
        return None
    first = data.reshape(-1)[:1]
    if data.size == 1 or bool((data == first).all()):
        return first.reshape(())
    by_channel = data.size == data.shape[-1] == channels <= MOST_CHANNELS
    return data.reshape(-1) if by_channel else None


def _table(edit: Editor, function: Function) -> Array:
    """What the function gives for every byte, in the order of unsigned ones: [256], or [channels, 256]."""
    values, channels = edit.graph.values, (1, *edit.shape(function.source))[-1]
    constants: dict[str, Any] = {}
    tables = [node.inputs[1] for node in function.nodes if node.op == "lookup"]
    for name in {name for node in function.nodes for name in node.inputs}:
        if edit.constant(name) is not None:
            constants[name] = edit.constant(name) if name in tables else _numbers(edit, name, channels)
    by_channel = any(array.ndim > (name in tables) for name, array in constants.items())
    every = np.arange(256, dtype=np.uint8).view(values[function.source].dtype)
    known = {function.source: np.repeat(every[:, None], channels, 1) if by_channel else every}
    for node in function.nodes:
        inputs = [known[name] if name in known else constants[name] for name in node.inputs]
        known[node.output] = compute(node, inputs, [values[name].quantization for name in node.inputs])
    return np.ascontiguousarray(known[function.nodes[-1].output].T)
