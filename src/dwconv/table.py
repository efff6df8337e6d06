"""What `Network.summary` and `Network.profile` print: plain text, a line for each node."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .activation import parse
from .feeds import shown
from .graph import Graph, Node
from .nodes import conv_window
from .operation import Operation, Stage
from .sources import TensorInfo
from .work import of_node

if TYPE_CHECKING:
    from .bound import Bound, Measured

WIDEST = 36  # of a node's name; its end tells more than its begin
WIDTH = 110  # of lines below the table
MOST_NOTES = 20


def summary(name: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], bound: Bound) -> str:
    columns = [*_node_columns(bound), *_memory_columns(bound)]
    told = [*_fused(bound), *_unfused(bound)]
    return "\n".join([*_heading(name, inputs, outputs), *_lines(columns), *told, *_footing(bound)])


def profile(
    name: str,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    bound: Bound,
    measured: Measured,
    gflops: float | None,
) -> str:
    """`gflops`: the limit; None: shares are of the time of all nodes."""
    macs = [of_node(bound.graph, node) for node in bound.graph.nodes]
    timed = list(zip(macs, measured.nodes, strict=True))
    total = sum(measured.nodes)
    columns = [
        *_node_columns(bound),
        (["us", *(f"{1e6 * t:.1f}" for t in measured.nodes)], ">"),
        (["time", *(f"{t / total:.1%}" if total else "" for t in measured.nodes)], ">"),
        (["GMAC/s", *(f"{m / t / 1e9:.1f}" if m and t else "" for m, t in timed)], ">"),
    ]
    lines = [
        "",
        f"{1e6 * measured.whole:.1f} us a call, median of {measured.runs}; "
        f"the nodes, timed one by one, {1e6 * total:.1f} us",
    ]
    if gflops is not None:
        shares = (f"{_share(m, t, gflops):.0%}" if m and t else "" for m, t in timed)
        columns.append((["limit", *shares], ">"))
        share = _share(bound.macs, measured.whole, gflops)
        lines.append(f"{share:.0%} of the limit, multiply-adds at {gflops:g} GFLOP/s")
    return "\n".join([*_heading(name, inputs, outputs), *_lines(columns), *lines, *_footing(bound)])


def _share(macs: int, seconds: float, gflops: float) -> float:
    return 2 * macs / seconds / gflops / 1e9


# ---- columns ------------------------------------------------------------------------------------


def _node_columns(bound: Bound) -> list[tuple[list[str], str]]:
    """Each with its heading first, and how it is aligned."""
    graph = bound.graph
    shapes = ("x".join(map(str, graph.values[node.output].shape)) or "1" for node in graph.nodes)
    macs = (of_node(graph, node) for node in graph.nodes)
    return [
        (["", *map(str, range(len(graph.nodes)))], ">"),
        (["node", *(_short(_parts(node)) for node in graph.nodes)], "<"),
        (["operation", *(operation(graph, node) for node in graph.nodes)], "<"),
        (["shape", *shapes], "<"),
        (["kernel", *bound.runner.kernels()], "<"),
        (["MMAC", *(f"{count / 1e6:.2f}" if count else "" for count in macs)], ">"),
    ]


def _memory_columns(bound: Bound) -> list[tuple[list[str], str]]:
    values = [bound.graph.values[node.output] for node in bound.graph.nodes]
    sizes = (str(math.prod(value.shape) * value.dtype.itemsize) for value in values)
    offsets = ("" if offset is None else str(offset) for offset in bound.runner.offsets())
    return [(["offset", *offsets], ">"), (["bytes", *sizes], ">")]


def _parts(node: Node) -> list[str]:
    """The nodes of the model file that it stands for, by name. A converter joins what it fused with ";"."""
    return [part.split(";")[-1] for part in (node.name or node.output).split(" + ")]


def _short(parts: Sequence[str]) -> str:
    name, more = parts[0], f" +{len(parts) - 1}" if len(parts) > 1 else ""
    room = WIDEST - len(more)
    return (name if len(name) <= room else f"...{name[3 - room :]}") + more


def _fused(bound: Bound) -> Iterator[str]:
    """Of every node that stands for several of the model file, which."""
    found = [(index, _parts(node)) for index, node in enumerate(bound.graph.nodes)]
    fused = [(index, parts) for index, parts in found if len(parts) > 1]
    if fused:
        yield from ("", "fused into one node:")
    for index, parts in fused:
        yield from _wrapped(f"{index:4}  ", ", ".join(parts))


def _unfused(bound: Bound) -> Iterator[str]:
    """Why passes left nodes alone, and which."""
    reasons: dict[str, list[str]] = {}
    for name, reason in bound.notes:
        reasons.setdefault(reason, []).append(name.split(";")[-1])
    if reasons:
        yield from ("", "not fused:")
    for reason, names in list(reasons.items())[:MOST_NOTES]:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield from _wrapped("  ", f"{', '.join(names[:3])}{more}: {reason}")
    if len(reasons) > MOST_NOTES:
        yield f"  and {len(reasons) - MOST_NOTES} more reasons"


def _wrapped(begin: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin), break_on_hyphens=False
    )


def operation(graph: Graph, node: Node) -> str:
    """In the words of the field: "depthwise 3x3 stride 2 relu6"."""
    if node.op == "block":
        return _block(node["operation"])
    if node.op == "conv":
        return _conv(graph, node)
    words = [node.op.replace("_", " ")]
    if node.op in ("unary", "binary", "reduce", "resize"):
        words = [str(node["kind"])] if node.op in ("unary", "binary") else [*words, str(node["kind"])]
    if node.op in ("max_pool", "average_pool"):
        words += _sliding(node["kernel"], node["strides"], node["dilations"])
    if node.op == "transpose_conv":
        words += _sliding(graph.values[node.inputs[1]].shape[:2], node["strides"], node["dilations"])
    return " ".join([*words, *_activation(node.attributes.get("activation"))])


def _conv(graph: Graph, node: Node) -> str:
    filters, channels = graph.values[node.inputs[1]].shape, graph.values[node.inputs[0]].shape[3]
    groups, window = node["groups"], conv_window(node, filters)
    depthwise = groups == channels and filters[2] == 1 and (groups > 1 or filters[3] == 1)
    pointwise = groups == 1 and window.kernel == (1, 1)
    kind = "depthwise" if depthwise else "pointwise" if pointwise else "conv"
    words = [kind, *_sliding(window.kernel, window.strides, window.dilations, pointwise)]
    if not depthwise and groups > 1:
        words.append(f"groups {groups}")
    return " ".join([*words, *_activation(node["activation"])])


def _sliding(kernel: Any, strides: Any, dilations: Any, pointwise: bool = False) -> Iterable[str]:
    if not pointwise:
        yield f"{kernel[0]}x{kernel[1]}"
    for word, (height, width) in (("stride", strides), ("dilation", dilations)):
        if (height, width) != (1, 1):
            yield f"{word} {height}" if height == width else f"{word} {height}x{width}"


def _activation(value: Any) -> list[str]:
    activation = parse("network", "activation", value)
    if activation.kind == "identity":
        return []
    if activation.kind == "clip":
        return [f"clip {activation.a:g}..{activation.b:g}"]
    return [f"leaky_relu {activation.a:g}" if activation.kind == "leaky_relu" else activation.kind]


def _block(operation: Operation) -> str:
    """Its stages in order, as they were fused: "1x1 relu6 > dw 3x3/2 relu6 > 1x1 + add"."""
    parts = [_stage(stage) for stage in operation.stages]
    if operation.squeeze_excite:
        gate = " ".join(_activation(operation.squeeze_excite[1].activation.normal))
        parts.insert(-1, f"se {gate}".strip())
    return " > ".join(parts) + (" + add" if operation.residual else "")


def _stage(stage: Stage) -> str:
    (height, width), strides = stage.window.kernel, stage.window.strides
    words = [f"dw {height}x{width}" if stage.kind == "depthwise" else f"{height}x{width}"]
    if strides != (1, 1):
        words[0] += f"/{strides[0]}" if strides[0] == strides[1] else f"/{strides[0]}x{strides[1]}"
    if stage.window.dilations != (1, 1):
        words.append(f"dilation {stage.window.dilations[0]}x{stage.window.dilations[1]}")
    return " ".join([*words, *_activation(stage.activation.normal)])


# ---- text ---------------------------------------------------------------------------------------


def _heading(name: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> list[str]:
    lines = [name]
    for word, infos in (("input", inputs), ("output", outputs)):
        lines += [f"  {word:<8}{shown(info)}" for info in infos]
    return [*lines, ""]


def _footing(bound: Bound) -> list[str]:
    runner = bound.runner
    runs = f"native, {runner.isa}" if runner.isa else f"NumPy ({runner.reason})"
    count = f"{len(bound.graph.nodes)} nodes, {bound.macs / 1e6:.2f} MMAC, {runs}"
    place = (
        f"workspace {runner.workspace_bytes:,} bytes (no placement needs less than {runner.lower_bound:,})"
    )
    return ["", count, f"{place}, weights {runner.weight_bytes:,} bytes"]


def _lines(columns: Sequence[tuple[Sequence[str], str]]) -> list[str]:
    """Empty columns are left out."""
    shown = [(cells, align) for cells, align in columns if any(cells[1:])]
    widths = [max(map(len, cells)) for cells, _ in shown]
    count = len(columns[0][0])
    lines = []
    for row in range(count):
        cells = (f"{cells[row]:{align}{width}}" for (cells, align), width in zip(shown, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines
