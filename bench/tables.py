"""What results say, as plain data: who is faster by how much, networks, losses. Reports only dress it up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench import networks
from bench.limits import best_isa
from bench.peers import is_ours
from bench.schema import Row
from bench.stats import geometric_mean
from bench.workloads import Workload

LAYERS = ("depthwise", "pointwise", "conv")
BLOCKS = ("separable", "inverted_residual")


@dataclass(frozen=True)
class Group:
    """The rows of one workload at one thread count."""

    rows: dict[str, Row]

    @property
    def first(self) -> Row:
        return next(iter(self.rows.values()))

    def best_us(self, peer: str) -> float | None:
        row = self.rows.get(peer)
        return row.best_us if row else None

    @property
    def best_peer(self) -> Row | None:
        timed = [row for row in self.rows.values() if row.best_us and not is_ours(row.peer)]
        return min(timed, key=lambda row: row.best_us or 0, default=None)

    def speedup(self, ours: str) -> float | None:
        """Time of the best peer / our time."""
        mine, best = self.best_us(ours), self.best_peer
        return best.best_us / mine if mine and best and best.best_us else None


def groups(rows: Iterable[Row]) -> list[Group]:
    """In order of measurement."""
    found: dict[tuple[str, str, str, int], dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.key, {})[row.peer] = row
    return [Group(rows) for rows in found.values()]


def blocks_first(found: Iterable[Group]) -> list[Group]:
    """What the project is for before the single layers; otherwise as they came."""
    return sorted(found, key=lambda g: BLOCKS.index(g.first.op) if g.first.op in BLOCKS else len(BLOCKS))


def ordered(rows: Iterable[Row]) -> list[Group]:
    """Network after network, the blocks of each before its layers: the order of every report."""
    parts = split(groups(rows), "network").values()
    return [group for part in parts for group in blocks_first(part)]


def peers(rows: Iterable[Row]) -> list[str]:
    """Those with a row, in order of measurement."""
    return list(dict.fromkeys(row.peer for row in rows))


def able(found: Sequence[Group]) -> list[str]:
    """The peers that can express any of these, whatever came of it."""
    rows = [row for group in found for row in group.rows.values() if row.status != "unsupported"]
    order = peers(row for group in found for row in group.rows.values())
    return [peer for peer in order if any(row.peer == peer for row in rows)]


def ours(rows: Iterable[Row]) -> str | None:
    """The form of dwconv that is compared: the first that was measured."""
    return next((peer for peer in peers(rows) if is_ours(peer)), None)


def mean_speedups(
    found: Sequence[Group], mine: str, other: str, single_calls: bool = False
) -> dict[str, float]:
    """Geometric mean of the other's time / our time, per operation, over what both could run.

    `single_calls`: of calls of a single layer, where otherwise a slope may be the better figure.
    """

    def time(group: Group, peer: str) -> float | None:
        row = group.rows.get(peer)
        return row.min_us if row and single_calls else group.best_us(peer)

    ratios: dict[str, list[float]] = {}
    for group in found:
        a, b = time(group, mine), time(group, other)
        if a and b:
            ratios.setdefault(group.first.op, []).append(b / a)
    return {op: geometric_mean(values) for op, values in ratios.items()}


def network_totals(found: Sequence[Group]) -> dict[tuple[str, int], dict[str, float]]:
    """(network, threads) -> peer -> microseconds of all its layers, one call after another.

    Only peers that ran every layer have a total; "roofline" is the sum of the limits.
    """
    totals: dict[tuple[str, int], dict[str, float]] = {}
    names = list(dict.fromkeys(peer for group in found for peer in group.rows))
    for group in found:
        if group.first.op not in LAYERS:
            continue
        total = totals.setdefault(
            (group.first.network, group.first.threads), dict.fromkeys([*names, "roofline"], 0.0)
        )
        for peer in names:
            time = group.best_us(peer)
            total[peer] += group.first.count * time if time else float("inf")
        total["roofline"] += group.first.count * (group.first.roofline_us or float("inf"))
    return {key: {p: t for p, t in total.items() if t < float("inf")} for key, total in totals.items()}


def whole_networks(
    found: Sequence[Group], mine: str | None
) -> tuple[list[str], dict[tuple[str, int], dict[str, float]]]:
    """Columns and rows of a table of network_totals, with one more column for ours as blocks."""
    totals = {key: total for key, total in network_totals(found).items() if key[0] not in networks.SETS}
    if mine:
        for key, fused in _with_blocks(found, mine).items():
            if key in totals and fused != totals[key][mine]:
                totals[key] = {f"{mine}, blocks": fused, **totals[key]}
    names = {name for total in totals.values() for name in total}
    first = [f"{mine}, blocks", *dict.fromkeys(peer for group in found for peer in group.rows), "roofline"]
    return [name for name in first if name in names], totals


def _with_blocks(found: Sequence[Group], mine: str) -> dict[tuple[str, int], float]:
    """(network, threads) -> our microseconds where every block of the network is one operation.

    Nothing where a block or a layer outside was not measured.
    """
    times = {group.first.key: group.best_us(mine) or float("inf") for group in found}
    totals = {}
    for (network, threads), total in network_totals(found).items():
        if mine in total and network in networks.NETWORKS:
            called = _with_blocks_called(networks.NETWORKS[network]())
            fused = sum(times.get((network, w.op, w.shape, threads), float("inf")) for w in called)
            if fused < float("inf"):
                totals[network, threads] = fused
    return totals


def _with_blocks_called(found: Iterable[Workload]) -> Iterable[Workload]:
    """A network's blocks without the layers that follow each and that it is made of, and its other layers."""
    inside = 0
    for workload in found:
        if inside:
            inside -= 1
            continue
        if workload.kind == "blocks":
            inside = len(workload.stages + workload.squeeze_excite)
        yield workload


def losses(found: Sequence[Group], mine: str) -> list[Group]:
    """Where a peer is faster, the worst first."""
    slower = [group for group in found if (group.speedup(mine) or 1) < 1]
    return sorted(slower, key=lambda group: group.speedup(mine) or 1)


@dataclass(frozen=True)
class Standing:
    """Of `count` workloads dwconv is the fastest in `won`; `mean` and `worst` are of best peer / dwconv."""

    count: int
    won: int
    mean: float
    worst: Group


def standing(found: Iterable[Group], mine: str) -> Standing | None:
    """None where nobody else was measured."""
    compared = [(speedup, group) for group in found if (speedup := group.speedup(mine))]
    if not compared:
        return None
    speedups = [speedup for speedup, _ in compared]
    worst = min(compared, key=lambda pair: pair[0])[1]
    won = sum(speedup >= 1 for speedup in speedups)
    return Standing(len(compared), won, geometric_mean(speedups), worst)


def split(found: Iterable[Group], *fields: str) -> dict[tuple[Any, ...], list[Group]]:
    """The groups by the values of fields of their rows, in order of measurement."""
    parts: dict[tuple[Any, ...], list[Group]] = {}
    for group in found:
        parts.setdefault(tuple(getattr(group.first, name) for name in fields), []).append(group)
    return parts


def distinct(found: Iterable[Group]) -> list[Group]:
    """Every workload once, however many networks hold it, blocks first: what means over all are taken of."""
    return blocks_first({(g.first.op, g.first.shape, g.first.threads): g for g in found}.values())


def peer_details(described: dict[str, Any]) -> str:
    """What a peer says of itself, or why it is absent, in one line."""
    if "absent" in described:
        return f"absent ({described['absent'].splitlines()[0]})"
    version = str(described.get("version", ""))
    return ", ".join([version, *(f"{k} {v}" for k, v in described.items() if k != "version" and v)])


def costs(rows: Iterable[Row]) -> dict[str, tuple[float, float]]:
    """peer -> the median first call in microseconds, and the most memory that one took, in bytes.

    Freed memory is often still the worker's own when the next workload comes: only the most says something.
    """
    first: dict[str, list[Row]] = {}
    for row in rows:
        if row.first_call_us is not None:
            first.setdefault(row.peer, []).append(row)
    return {
        peer: (median(r.first_call_us or 0 for r in found), max(r.peak_bytes or 0 for r in found))
        for peer, found in first.items()
    }


@dataclass(frozen=True)
class Memory:
    """What blocks take beside weights, in bytes: as one operation with scratch, and as layers.

    `scratch` and `between` are the most that is needed beside input and output, `with_maps` and `as_layers`
    the most with them; each is of the block that takes most, `largest` the one of `between`. In `less` of
    `count` blocks, scratch is less than the maps between layers; `mean` is the geometric mean of the ratio.
    """

    count: int
    less: int
    mean: float
    scratch: int
    between: int
    with_maps: int
    as_layers: int
    largest: Row


def block_memory(found: Iterable[Group], mine: str) -> Memory | None:
    """None without a block whose scratch is known."""
    blocks = [
        (row, row.scratch_bytes)
        for group in found
        if group.first.op in BLOCKS and (row := group.rows.get(mine)) and row.scratch_bytes is not None
    ]
    if not blocks:
        return None
    return Memory(
        len(blocks),
        sum(scratch < row.between_bytes for row, scratch in blocks),
        geometric_mean([scratch / row.between_bytes for row, scratch in blocks]),
        max(scratch for _, scratch in blocks),
        max(row.between_bytes for row, _ in blocks),
        max(row.map_bytes + scratch for row, scratch in blocks),
        max(row.layers_bytes for row, _ in blocks),
        max((row for row, _ in blocks), key=lambda row: row.between_bytes),
    )


@dataclass(frozen=True)
class Fusing:
    """`mean` and `worst` are of time as separate layers / time as one operation, over `count` blocks."""

    count: int
    mean: float
    worst: Group


def as_layers(mine: str) -> str:
    """The peer that computes blocks by the same form of dwconv, layer by layer."""
    base, at, variant = mine.partition("@")
    return f"{base}-layers{at}{variant}"


def gain(group: Group, mine: str) -> float | None:
    """Of fusing a block: below 1, its separate layers are faster. None where one of both was not timed."""
    fused, layers = group.best_us(mine), group.best_us(as_layers(mine))
    return layers / fused if fused and layers else None


def fusing(found: Iterable[Group], mine: str) -> Fusing | None:
    """None without a block that was measured both ways."""
    gains = [(value, group) for group in found if (value := gain(group, mine))]
    if not gains:
        return None
    worst = min(gains, key=lambda pair: pair[0])[1]
    return Fusing(len(gains), geometric_mean([value for value, _ in gains]), worst)


def losses_by_fusing(found: Iterable[Group], mine: str, margin: float) -> list[Group]:
    """Blocks whose layers are faster by more than the margin, a share, the worst first."""
    lost = [(value, group) for group in found if (value := gain(group, mine)) and value < 1 - margin]
    return [group for _, group in sorted(lost, key=lambda pair: pair[0])]


def levels(
    limits: dict[str, Any], caches: dict[str, int], cores: str
) -> Iterable[tuple[str, dict[str, Any]]]:
    """L1, L2, L3 and memory, and the rates of a buffer that surely lies there."""
    ladder = limits["isa"][best_isa(limits)][cores]["bandwidth"]
    for level, size in caches.items():
        inside = [step for step in ladder if step["bytes"] <= size / 2]
        if inside:
            yield level, inside[-1]
    yield "memory", ladder[-1]
