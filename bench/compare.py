"""What got slower between two results, beyond the drift of the machine and the noise of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from bench import tables
from bench.peers import is_ours
from bench.schema import Results, Row

# Fewer rows of unchanged peers say more about these rows than about the machine.
_ENOUGH_FOR_DRIFT = 10
AGREE = 0.05


@dataclass(frozen=True)
class Change:
    """`ratio` is new time / old time without the drift; it counts if it leaves 1 by more than `margin`."""

    old: Row
    new: Row
    ratio: float
    margin: float

    @property
    def slower(self) -> bool:
        return self.ratio > 1 + self.margin

    @property
    def faster(self) -> bool:
        return self.ratio < 1 / (1 + self.margin)


def drift(old: Results, new: Results) -> float:
    """By how much the machine itself got slower: the median of new / old time over other peers' rows.

    Only of peers whose version is the same in both; 1 where these are too few.
    """
    ratios = [
        now.min_us / earlier.min_us
        for earlier, now in _pairs(old, new)
        if now.min_us and earlier.min_us and not is_ours(now.peer) and now.version == earlier.version
    ]
    return median(ratios) if len(ratios) >= _ENOUGH_FOR_DRIFT else 1.0


def changes(old: Results, new: Results, threshold: float = 0.05) -> list[Change]:
    """Rows that both results timed, the slowest change first. A row that no longer works counts as infinitely
    slower.

    The margin is the threshold plus the uncertainty of both minima.
    """
    found, common = [], drift(old, new)
    for earlier, row in _pairs(old, new):
        if earlier.min_us is None:
            continue
        ratio = row.min_us / earlier.min_us / common if row.min_us else float("inf")
        found.append(Change(earlier, row, ratio, threshold + (earlier.noise or 0) + (row.noise or 0)))
    return sorted(found, key=lambda change: -change.ratio)


def agreement(old: Results, new: Results) -> tuple[int, int]:
    """How many rows of other peers have the same ratio to dwconv in both results, to within AGREE; and of how
    many.
    """
    mine = tables.ours(new.rows)
    before, after = (
        {(g.first.key, peer): ratio for g in tables.groups(r.rows) for peer, ratio in _ratios(g, mine)}
        for r in (old, new)
    )
    both = [after[key] / before[key] for key in after if key in before]
    return sum(1 / (1 + AGREE) <= change <= 1 + AGREE for change in both), len(both)


def text(old: Results, new: Results, threshold: float = 0.05) -> str:
    found = changes(old, new, threshold)
    lines = []
    for change in found:
        if not (change.slower or change.faster):
            continue
        row = change.new
        word = row.status if row.min_us is None else "slower" if change.slower else "faster"
        us = f"{row.min_us:.1f}" if row.min_us else "-"
        name = f"{row.network} {row.op} {row.shape}, {row.threads} thread(s), {row.peer}"
        lines.append(f"{word:8} {change.ratio:6.2f}x  {change.old.min_us:.1f} -> {us} us  {name}")
    if old.machine["cpu"] != new.machine["cpu"]:
        lines.append(f"different machines: {old.machine['cpu']}, {new.machine['cpu']}")
    lines.append(f"drift of the machine, taken out of the ratios: {drift(old, new) - 1:+.1%}")
    agreeing, total = agreement(old, new)
    if total:
        lines.append(
            f"ratios of other peers to dwconv: {agreeing / total:.0%} of {total} agree within {AGREE:.0%}"
        )
    slower, faster = sum(c.slower for c in found), sum(c.faster for c in found)
    lines.append(f"{len(found)} rows compared: {slower} slower, {faster} faster, the rest within the noise")
    return "\n".join(lines)


def _pairs(old: Results, new: Results) -> Iterable[tuple[Row, Row]]:
    """The rows of both, in the order of the new result."""
    before = {(row.key, row.peer): row for row in old.rows}
    for row in new.rows:
        if (row.key, row.peer) in before:
            yield before[row.key, row.peer], row


def _ratios(group: tables.Group, mine: str | None) -> Iterable[tuple[str, float]]:
    ours = group.best_us(mine) if mine else None
    for row in group.rows.values():
        if ours and row.best_us and not is_ours(row.peer):
            yield row.peer, row.best_us / ours
