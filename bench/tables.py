"""What results say, as plain data: who is faster by how much, networks, losses. Reports only dress it up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.peers import is_ours
from bench.schema import Row
from bench.stats import geometric_mean

LAYERS = ("depthwise", "pointwise", "conv")


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


def peers(rows: Iterable[Row]) -> list[str]:
    """Those with a row, in order of measurement."""
    return list(dict.fromkeys(row.peer for row in rows))


def ours(rows: Iterable[Row]) -> str | None:
    """The form of dwconv that is compared: the first that was measured."""
    return next((peer for peer in peers(rows) if is_ours(peer)), None)


def mean_speedups(found: Sequence[Group], mine: str, other: str) -> dict[str, float]:
    """Geometric mean of the other's time / our time, per operation, over what both could run."""
    ratios: dict[str, list[float]] = {}
    for group in found:
        a, b = group.best_us(mine), group.best_us(other)
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


def losses(found: Sequence[Group], mine: str) -> list[Group]:
    """Where a peer is faster, the worst first."""
    slower = [group for group in found if (group.speedup(mine) or 1) < 1]
    return sorted(slower, key=lambda group: group.speedup(mine) or 1)
