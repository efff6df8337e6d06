"""What lies between floats and bytes: conversions move, meet and become tables. All of it is exact."""

from __future__ import annotations

import numpy as np

from .. import byte_tables
from ..graph import Graph, Node
from ..nodes_integers import BYTES, is_move, same
from ..nodes_numpy import compute
from ..nodes_numpy_integers import quantize
from .editor import Editor, Rule
from .identities import IDENTITIES
from .scalars import clip_of

MOVES = (
    "reshape", "transpose", "slice", "concat", "expand", "gather", "depth_to_space", "space_to_depth",
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
    moved = edit.insert(node.op, *sources, *node.inputs[len(inputs) :], name=node.name, **node.attributes)
    return edit.rewrite(node, "dequantize", moved)


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
            both = "dequantize" in before and "quantize" in after
            log.append((node.name or node.output, f"{node.op} runs in float32: {_why(node, both)}"))


def _why(node: Node, both: bool) -> str:
    if both:
        return "the file has it in float32 between conversions, and no integer form of it gives the same bits"
    if node.op in ("conv", "transpose_conv"):
        return "the file has no scales for all of its input, filters and result"
    if node.op in HAVE_INTEGERS:
        return "the file has no scale for its result, or none for an input"
    return "there is no form of it for bytes"


HAVE_INTEGERS = ("binary", "average_pool", "reduce", "softmax", "prelu", "resize", "unary", *MOVES)
RULES: tuple[Rule, ...] = (
    *IDENTITIES, convert_later, convert_earlier, join_binary, to_table, join_tables, drop_table,
)  # fmt: skip
