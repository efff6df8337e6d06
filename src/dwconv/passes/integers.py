"""What lies between floats and bytes: conversions move, meet and become tables. All of it is exact."""

from __future__ import annotations

import numpy as np

from ..emit_problems import _integers as problems_of
from ..graph import Graph, Node, Value
from ..nodes import pool_geometry
from ..nodes_integers import BYTES, is_move, same
from ..nodes_numpy_integers import dequantize, quantize
from .byte_functions import drop_table, join_tables, quantize_before_move, to_table
from .editor import Editor, Rule
from .identities import IDENTITIES
from .scalars import clip_of

MOVES = (
    "reshape", "transpose", "slice", "concat", "pad", "expand", "gather", "depth_to_space", "space_to_depth",
    "max_pool", "reduce", "resize",
)  # fmt: skip


def join_integers(graph: Graph) -> None:
    Editor(graph).sweep(*RULES)


def convert_later(edit: Editor, node: Node) -> bool:
    """What moves or compares numbers takes the bytes themselves."""
    if edit.dtype(node.output).kind != "f" or node.op not in MOVES or not is_move(node):
        return False
    inputs = node.inputs[:1] if node.op == "gather" else node.inputs
    makers = [edit.maker(name, "dequantize") for name in inputs]
    if any(maker is None for maker in makers):
        return False
    sources = [maker.inputs[0] for maker in makers if maker is not None]
    values = [edit.graph.values[name] for name in sources]
    if any(v.dtype not in BYTES or v.dtype != values[0].dtype for v in values):
        return False
    if not all(same(v.quantization, values[0].quantization) for v in values):
        return False
    attributes = dict(node.attributes)
    if node.op == "pad" and node["mode"] == "constant":
        number = _byte_of(node["value"], values[0])
        if number is None:
            return False
        attributes["value"] = number
    moved = edit.insert(node.op, *sources, *node.inputs[len(inputs) :], name=node.name, **attributes)
    return edit.rewrite(node, "dequantize", moved)


def _byte_of(number: float, like: Value) -> float | None:
    """The byte that stands for exactly this number in a value like that."""
    exact = np.array(number, np.float32)
    assert like.quantization is not None
    byte = quantize(exact, like.quantization, like.dtype, "even")
    return float(byte) if dequantize(byte, like.quantization) == exact else None


def convert_earlier(edit: Editor, node: Node) -> bool:
    """What is concatenated and then converted is converted first: its parts may be bytes already."""
    joined = edit.maker(node.inputs[0], "concat") if node.op == "quantize" else None
    if joined is None or edit.reader(joined.output) is not node:
        return False
    if not any(edit.maker(name, "dequantize") for name in joined.inputs):
        return False
    parts = [edit.insert("quantize", name, name=node.name, **node.attributes) for name in joined.inputs]
    return edit.rewrite(node, "concat", *parts, inner=[joined], axis=joined["axis"])


def join_binary(edit: Editor, node: Node) -> bool:
    """Two values of bytes, an operation of floats, maybe a clamp, and back: one node that does all of it."""
    if node.op != "quantize" or node["rounding"] != "even":
        return False
    value, clamp = node.inputs[0], edit.maker(node.inputs[0], "unary")
    bounds = None if clamp is None else clip_of(clamp)
    if clamp is not None and bounds is not None and edit.reader(clamp.output) is node:
        value = clamp.inputs[0]
    else:
        clamp, bounds = None, None
    maker = edit.maker(value, "binary")
    if maker is None or maker["activation"] is not None or edit.reader(value) not in (node, clamp):
        return False
    if maker["kind"] not in ("add", "sub", "mul", "div"):
        return False
    converted = [edit.maker(name, "dequantize") for name in maker.inputs]
    dtype = edit.dtype(node.output)
    sources = [found.inputs[0] for found in converted if found is not None]
    if len(sources) < 2 or any(edit.dtype(name) != dtype for name in sources):
        return False
    q = node["quantization"]
    low = high = None
    if bounds is not None:
        with np.errstate(over="ignore"):
            numbers = np.array(bounds, np.float32)
        low, high = (int(n) for n in quantize(numbers, q, dtype, "even"))
    inner = [maker, *([clamp] if clamp is not None else [])]
    return edit.rewrite(
        node, "binary", *sources, inner=inner, kind=maker["kind"], formula="float", dtype=dtype.name,
        quantization=q, low=low, high=high,
    )  # fmt: skip


def join_mean(edit: Editor, node: Node) -> bool:
    """A mean or sum of floats between conversions takes the bytes, whose sum is exact."""
    maker = edit.maker(node.inputs[0]) if node.op == "quantize" and node["rounding"] == "even" else None
    if maker is None or maker.op not in ("reduce", "average_pool") or is_move(maker):
        return False
    first = edit.maker(maker.inputs[0], "dequantize")
    if first is None or edit.reader(maker.output) is not node:
        return False
    if maker.op == "reduce" and maker["kind"] not in ("mean", "sum"):
        return False
    told = {"dtype": node["dtype"], "quantization": node["quantization"], "rounding": "even"}
    attributes = maker.attributes | told
    if maker.op == "average_pool" and maker["count_include_pad"]:
        geometry = pool_geometry(maker, edit.shape(first.inputs[0])[1:3])  # type: ignore[arg-type]
        if any(before or after for _, before, after in geometry):
            return False
        attributes["count_include_pad"] = False
    source = first.inputs[0]
    made = Node(maker.op, (source,), node.output, attributes)
    if edit.dtype(source) != edit.dtype(node.output) or any(problems_of(edit.graph, made)):
        return False
    return edit.rewrite(node, maker.op, source, inner=[maker], **attributes)


RULES: tuple[Rule, ...] = (
    *IDENTITIES, convert_later, convert_earlier, quantize_before_move, to_table, join_binary, join_mean,
    join_tables, drop_table,
)  # fmt: skip
