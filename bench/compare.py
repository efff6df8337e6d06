"""What got slower between two results, with the noise of both taken into account."""

from __future__ import annotations

from dataclasses import dataclass

from bench.schema import Results, Row


@dataclass(frozen=True)
class Change:
    """`ratio` is new time / old time; it counts if it leaves 1 by more than `margin`."""

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


def changes(old: Results, new: Results, threshold: float = 0.05) -> list[Change]:
    """Rows that both results timed, the slowest change first. A row that no longer works counts as infinitely
    slower.

    The margin is the threshold plus the uncertainty of both minima.
    """
    before = {(row.key, row.peer): row for row in old.rows}
    found = []
    for row in new.rows:
        earlier = before.get((row.key, row.peer))
        if earlier is None or earlier.min_us is None:
            continue
        ratio = row.min_us / earlier.min_us if row.min_us else float("inf")
        found.append(Change(earlier, row, ratio, threshold + (earlier.noise or 0) + (row.noise or 0)))
    return sorted(found, key=lambda change: -change.ratio)


def text(found: list[Change]) -> str:
    lines = []
    for change in found:
        if not (change.slower or change.faster):
            continue
        row = change.new
        word = row.status if row.min_us is None else "slower" if change.slower else "faster"
        new = f"{row.min_us:.1f}" if row.min_us else "-"
        name = f"{row.network} {row.op} {row.shape}, {row.threads} thread(s), {row.peer}"
        lines.append(f"{word:8} {change.ratio:6.2f}x  {change.old.min_us:.1f} -> {new} us  {name}")
    slower, faster = sum(c.slower for c in found), sum(c.faster for c in found)
    lines.append(f"{len(found)} rows compared: {slower} slower, {faster} faster, the rest within the noise")
    return "\n".join(lines)
