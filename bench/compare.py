"""What got slower between two results, beyond the drift of the machine and the noise of both."""

from __future__ import annotations

import pandas as pd

from bench import tables
from bench.peers import is_ours
from bench.schema import Results

# Fewer rows of unchanged peers say more about these rows than about the machine.
_ENOUGH_FOR_DRIFT = 10
AGREE = 0.05


def pairs(old: Results, new: Results) -> pd.DataFrame:
    """The rows of both, in the order of the new result; columns of the old one end in `_old`."""
    before, after = (tables.frame(results.rows) for results in (old, new))
    return after.merge(before, on=[*tables.KEY, "peer"], suffixes=("", "_old"))


def drift(both: pd.DataFrame) -> float:
    """By how much the machine itself got slower: the median of new / old time over other peers' rows.

    Only of peers whose version is the same in both; 1 where these are too few.
    """
    same = both[~both["peer"].map(is_ours) & (both["version"] == both["version_old"])]
    ratios = (same["min_us"] / same["min_us_old"]).dropna()
    return float(ratios.median()) if len(ratios) >= _ENOUGH_FOR_DRIFT else 1.0


def changes(both: pd.DataFrame, threshold: float = 0.05) -> pd.DataFrame:
    """Rows that the old result timed, the slowest first: `ratio` is new / old time without the drift.

    A row that no longer works is infinitely slower. What counts leaves 1 by more than the threshold and the
    uncertainty of both minima.
    """
    found = both[both["min_us_old"].notna()]
    ratio = (found["min_us"] / found["min_us_old"] / drift(both)).fillna(float("inf"))
    margin = 1 + threshold + found[["noise", "noise_old"]].sum(axis=1)
    found = found.assign(ratio=ratio, slower=ratio > margin, faster=ratio < 1 / margin)
    return found.sort_values("ratio", ascending=False, kind="stable")


def agreement(old: Results, new: Results) -> tuple[int, int]:
    """How many rows of other peers have the same ratio to dwconv in both, within AGREE; and of how many."""
    ratios = []
    for results in (old, new):
        times = tables.wide(tables.frame(results.rows))
        others = times[[peer for peer in times.columns if not is_ours(peer)]]
        ratios.append(
            others.div(times[tables.ours(times)], axis=0).stack() if tables.ours(times) else pd.Series()
        )
    change = (ratios[1] / ratios[0]).dropna()
    return int(change.between(1 / (1 + AGREE), 1 + AGREE).sum()), len(change)


def text(old: Results, new: Results, threshold: float = 0.05) -> str:
    both = pairs(old, new)
    found = changes(both, threshold)
    lines = []
    for row in found[found["slower"] | found["faster"]].itertuples():
        timed = row.min_us == row.min_us
        word = ("slower" if row.slower else "faster") if timed else row.status
        us = f"{row.min_us:.1f}" if timed else "-"
        name = f"{row.network} {row.op} {row.shape}, {row.threads} thread(s), {row.peer}"
        lines.append(f"{word:8} {row.ratio:6.2f}x  {row.min_us_old:.1f} -> {us} us  {name}")
    if old.machine["cpu"] != new.machine["cpu"]:
        lines.append(f"different machines: {old.machine['cpu']}, {new.machine['cpu']}")
    lines.append(f"drift of the machine, taken out of the ratios: {drift(both) - 1:+.1%}")
    agreeing, total = agreement(old, new)
    if total:
        lines.append(
            f"ratios of other peers to dwconv: {agreeing / total:.0%} of {total} agree within {AGREE:.0%}"
        )
    slower, faster = found["slower"].sum(), found["faster"].sum()
    lines.append(f"{len(found)} rows compared: {slower} slower, {faster} faster, the rest within the noise")
    return "\n".join(lines)
