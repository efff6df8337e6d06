"""Networks of floats as networks of 8-bit integers, from samples: `Network.quantized`.

1. The passes that fold constants and fuse clamps run; other activations stay nodes, which become tables.
2. Channels between two convolutions are scaled to use the same range (`dwconv.equalising`).
3. Samples run through the graph in floats: ranges of values, what filters see.
4. Values that a node only moves or compares share one scale with its result; 0 is always exact.
5. Nodes with a form in integers take it. Filters are symmetric with a scale for each output channel, and
   are rounded for what the samples show (`dwconv.fitting`); biases take up the mean of what that leaves out.
6. Samples run through both graphs: the signal to noise of every node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from . import calibration, equalising
from .activation import Array
from .calibration import Probe, Sample, Statistics
from .graph import Graph, Quantization
from .nodes_integers import BYTES
from .quantized import integer_dtype
from .quantizing import Range, quantization_of
from .quantizing_graph import WITH_FILTERS, Writer, folded, keeps_scale, reason_for_float
from .sources import GraphSource, TensorInfo

if TYPE_CHECKING:
    from .network import Network

Watch: TypeAlias = Callable[[Iterable[Any], int], Iterable[Any]]  # shows how far a loop is
MOST_COMPARED = 16  # samples that the report is made of


class NodeError(NamedTuple):
    """What a node gives, beside the same of the network of floats.

    `snr_db`: 10 log10 of the sum of squares over that of differences, of all that came before included.
    `reason`: why the node is in float32; None: it is in integers.
    """

    name: str
    op: str
    snr_db: float
    reason: str | None


class Report(tuple[NodeError, ...]):
    """A `NodeError` for each node, in the order of execution; printed, a table."""

    __slots__ = ()

    def __str__(self) -> str:
        lines = [f"{'node':48} {'op':15} {'signal to noise':>15}"]
        for row in self:
            name = row.name if len(row.name) <= 48 else f"{row.name[:45]}..."
            told = "" if row.reason is None else f"  float32: {row.reason}"
            lines.append(f"{name:48} {row.op:15} {row.snr_db:12.1f} dB{told}")
        worst = min((row for row in self if not math.isnan(row.snr_db)), key=lambda r: r.snr_db, default=None)
        if worst is not None:
            lines.append(f"least: {worst.snr_db:.1f} dB at {worst.name!r}")
        return "\n".join(lines)


def quantized(
    net: Network, samples: Any, *, method: str = "percentile", percentile: float = 99.99,
    keep_float: Sequence[str] | str = (), bias_correction: bool = True, equalise: bool = True,
    fit_filters: bool = True, dtype: Any = "int8",
    edges: str = "float32", watch: Watch = lambda items, count: items,
) -> tuple[GraphSource, Report]:  # fmt: skip
    """See `Network.quantized`."""
    name = f"{net.name}: quantized"
    kind = _checked(name, method, percentile, dtype, edges)
    infos = net.inputs
    calls = calibration.read_samples(name, infos, samples)
    shapes = {info.name: array.shape for info, array in zip(infos, calls[0], strict=True)}
    source = net._source.lower(shapes)
    _check_graph(name, source)
    graph = folded(source)
    kept = _kept(name, graph, keep_float)
    if equalise:
        _equalise(name, graph, calls, watch)
    groups = _groups(graph, kept)
    scales, stats = _scales(name, graph, groups, kind, calls, method, percentile, watch)
    writer = Writer(graph, scales, kind, stats.moments, bias_correction, fit_filters)
    in_bytes = edges != "float32"
    for item in graph.inputs:
        writer.add_input(item, in_bytes)
    reasons = [writer.write(node, kept.get(node.output)) for node in graph.nodes]
    if not any(reason is None for reason in reasons):
        raise ValueError(
            f"{name}: no node has a form in integers: {reasons[0] if reasons else 'it has none'}"
        )
    for item in graph.outputs:
        writer.add_output(item, in_bytes)
    made = _source(writer.b.graph, infos)
    report = _report(graph, writer, reasons, calls[:MOST_COMPARED], watch)
    return made, report


# ---- checks -------------------------------------------------------------------------------------


def _checked(name: str, method: str, percentile: float, dtype: Any, edges: str) -> np.dtype[Any]:
    if method not in calibration.METHODS:
        raise ValueError(f"{name}: method must be one of {', '.join(calibration.METHODS)}, not {method!r}")
    if not 50 < percentile <= 100:
        raise ValueError(f"{name}: percentile must be above 50 and at most 100, not {percentile!r}")
    kind = integer_dtype(name, dtype)
    if kind is None:
        raise ValueError(f"{name}: dtype must be 'int8' or 'uint8', not None")
    if edges not in ("float32", kind.name):
        raise ValueError(f"{name}: edges must be 'float32' or the dtype, {kind.name!r}, not {edges!r}")
    return kind


def _check_graph(name: str, graph: Graph) -> None:
    if any(value.dtype in BYTES for value in graph.values.values()):
        raise ValueError(f"{name}: the network has 8-bit integers already")
    if graph.states:
        raise ValueError(f"{name}: the network has state variables, whose ranges samples do not show")


def _kept(name: str, graph: Graph, keep_float: Sequence[str] | str) -> dict[str, str]:
    """The values of nodes that stay in float32, and why."""
    asked = [keep_float] if isinstance(keep_float, str) else list(keep_float)
    filtered = [node for node in graph.nodes if node.op in WITH_FILTERS]
    found: dict[str, str] = {}
    for word in asked:
        if word in ("first", "last") and filtered:
            nodes = [filtered[0 if word == "first" else -1]]
        else:
            nodes = [n for n in graph.nodes if word in (n.name, n.output, *n.name.split(" + "))]
        if not nodes:
            names = ", ".join(repr(n.name or n.output) for n in filtered[:8])
            raise ValueError(
                f"{name}: keep_float: there is no node {word!r}; there are 'first', 'last', {names}"
                f"{', ...' if len(filtered) > 8 else ''}"
            )
        found.update((node.output, f"keep_float has {word!r}") for node in nodes)
    return found


def _equalise(name: str, graph: Graph, calls: list[Sample], watch: Watch) -> None:
    names = [first.output for first, _ in equalising.pairs_of(graph)]
    if names:
        probe = Probe(graph, names, name)
        equalising.equalise(graph, calibration.largest(probe, watch(calls, len(calls)), names))


# ---- scales -------------------------------------------------------------------------------------


def _groups(graph: Graph, kept: dict[str, str]) -> dict[str, list[str]]:
    """Values that may be bytes, those of one scale together, by the name of one of them."""
    root = {name: name for name, value in graph.values.items() if value.dtype == np.float32}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    for node in graph.nodes:
        if keeps_scale(node) and node.output not in kept and reason_for_float(graph, node) is None:
            for name in node.inputs[:1] if node.op == "gather" else node.inputs:
                root[find(name)] = find(node.output)
    groups: dict[str, list[str]] = {}
    for name in root:
        groups.setdefault(find(name), []).append(name)
    return groups


def _scales(
    name: str, graph: Graph, groups: dict[str, list[str]], kind: np.dtype[Any], calls: list[Sample],
    method: str, percentile: float, watch: Watch,
) -> tuple[dict[str, Quantization], Statistics]:  # fmt: skip
    live = {*graph.inputs, *(node.output for node in graph.nodes)}
    convolutions = {
        node.output: (node, graph.values[node.inputs[1]].shape)
        for node in graph.nodes
        if node.op == "conv" and node.inputs[0] in live and graph.values[node.inputs[1]].data is not None
    }
    ranged = [item for members in groups.values() for item in members if item in live]
    probe = Probe(graph, [*ranged, *(node.inputs[0] for node, _ in convolutions.values())], name)
    stats = calibration.measure(probe, watch(calls, len(calls)), ranged, convolutions)
    ranges: dict[str, Range] = {}
    for item, members in groups.items():
        lows = [stats.low.get(m, 0.0) if m in live else _low(graph, m) for m in members]
        highs = [stats.high.get(m, 0.0) if m in live else _high(graph, m) for m in members]
        ranges[item] = min(lows), max(highs)
    _widen_for_pads(graph, groups, ranges)
    if method != "minmax":
        kept = set(graph.outputs)  # of scores the largest count
        found = {
            item: [m for m in members if m in live]
            for item, members in groups.items()
            if kept.isdisjoint(members)
        }
        inner = {item: members for item, members in found.items() if members}
        ranges |= calibration.clipped_ranges(
            probe, watch(calls, len(calls)), inner, ranges, method, percentile
        )
        _widen_for_pads(graph, groups, ranges)
    scales: dict[str, Quantization] = {}
    for item, members in groups.items():
        q = quantization_of(name, f"the range of {item!r}", ranges[item], kind)
        scales.update(dict.fromkeys(members, Quantization(q.scale, q.zero_point)))
    return scales, stats


def _low(graph: Graph, name: str) -> float:
    return _extreme(graph.values[name].data, np.min)


def _high(graph: Graph, name: str) -> float:
    return _extreme(graph.values[name].data, np.max)


def _extreme(data: Array | None, of: Callable[[Array], Any]) -> float:
    """0 where a constant has no range: nodes of infinities stay in floats."""
    value = 0.0 if data is None or not data.size else float(of(data))
    return value if math.isfinite(value) else 0.0


def _widen_for_pads(graph: Graph, groups: dict[str, list[str]], ranges: dict[str, Range]) -> None:
    owner = {member: item for item, members in groups.items() for member in members}
    for node in graph.nodes:
        if node.op == "pad" and node["mode"] == "constant" and math.isfinite(node["value"]):
            item = owner.get(node.output)
            if item is not None:
                low, high = ranges[item]
                ranges[item] = min(low, node["value"]), max(high, node["value"])


# ---- results ------------------------------------------------------------------------------------


def _source(graph: Graph, infos: Sequence[TensorInfo]) -> GraphSource:
    """An open batch stays open; other sizes are those of the samples."""
    shown = []
    for info in infos:
        value = graph.values[info.name]
        batch = (None,) if info.shape[:1] == (None,) else value.shape[:1]
        shown.append(TensorInfo(info.name, (*batch, *value.shape[1:]), value.dtype, value.quantization))
    return GraphSource(graph, shown)


def _report(
    graph: Graph, writer: Writer, reasons: list[str | None], calls: list[Sample], watch: Watch
) -> Report:
    b = writer.b
    pairs = {}
    for node in graph.nodes:
        name = writer.bytes.get(node.output) or writer.floats[node.output]
        pairs[node.output] = b._name(name)
    before = Probe(graph, pairs, "floats")
    after = Probe(b.graph, pairs.values(), "integers")
    signal, noise = dict.fromkeys(pairs, 0.0), dict.fromkeys(pairs, 0.0)
    for call in watch(calls, len(calls)):
        wanted = before.run(call)
        given = [_as_input(b.graph, name, x) for name, x in zip(b.graph.inputs, call, strict=True)]
        found = after.run(given)
        for name, other in pairs.items():
            y = wanted[name].astype(np.float64)
            signal[name] += float((y * y).sum())
            noise[name] += float(((y - _numbers(b.graph, other, found[other])) ** 2).sum())
    rows = []
    for node, reason in zip(graph.nodes, reasons, strict=True):
        snr = _decibel(signal[node.output], noise[node.output])
        rows.append(NodeError(node.name or node.output, node.op, snr, reason))
    return Report(rows)


def _as_input(graph: Graph, name: str, x: Array) -> Array:
    from .nodes_numpy_integers import quantize

    value = graph.values[name]
    if value.dtype not in BYTES or x.dtype in BYTES:
        return x
    assert value.quantization is not None
    return quantize(x, value.quantization, value.dtype, "even")


def _numbers(graph: Graph, name: str, array: Array) -> Array:
    q = graph.values[name].quantization
    if array.dtype not in BYTES or q is None:
        return array.astype(np.float64)
    return np.asarray((array.astype(np.float64) - q.zero_point) * float(q.scale))


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf
