"""What `Network.summary` and `Network.profile` print: plain text, a line for each node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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


def summary(name: str, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], bound: Bound) -> str:
    columns = [*_node_columns(bound), *_memory_columns(bound)]
    return "\n".join([*_heading(name, inputs, outputs), *_lines(columns), *_footing(bound)])


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
        (["node", *(_short(node.name or node.output) for node in graph.nodes)], "<"),
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


def _short(name: str) -> str:
    return name if len(name) <= WIDEST else f"...{name[3 - WIDEST :]}"


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
    """Its stages, one after another, as they were fused."""
    parts = [_stage(stage) for stage in operation.stages]
    if operation.squeeze_excite:
        gate = " ".join(_activation(operation.squeeze_excite[1].activation.normal))
        parts.insert(-1, f"squeeze-excite {gate}".strip())
    if operation.residual:
        parts.append("add")
    return " + ".join(parts)


def _stage(stage: Stage) -> str:
    window = stage.window
    words = [
        stage.kind,
        *_sliding(window.kernel, window.strides, window.dilations, stage.kind == "pointwise"),
    ]
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
