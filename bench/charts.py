"""The pictures of a report: how much faster dwconv is than each library, and the roofline."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench import limits, report, tables
from bench.peers import is_ours
from bench.schema import Results

COLORS = [f"C{i}" for i in (2, 0, 1, 3, 4, 5, 6, 7, 8, 9)] * 2


def draw(results: Results, table: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Titles and files: speedup.png needs a peer, roofline.png the limits. On the fewest threads measured."""
    import matplotlib

    matplotlib.use("Agg")
    threads = int(table["threads"].min())
    table = table[table["threads"] == threads]
    times = tables.distinct(tables.wide(table))
    pictures = {}
    if tables.ours(times) and not tables.speedups(times).empty:
        title, pictures_path = _speedups(times, threads, folder / "speedup.png")
        pictures[title] = pictures_path
    if results.limits:
        title, pictures_path = _roofline(results, table, threads, folder / "roofline.png")
        pictures[title] = pictures_path
    return pictures


def _speedups(times: pd.DataFrame, threads: int, path: Path) -> tuple[str, Path]:
    means = tables.against_each(times).droplevel("threads")
    means = means[[not is_ours(peer) for peer in means.index]]
    means.columns = [op.replace("_", " ") for op in means.columns]
    title = "How many times faster dwconv is than each library"
    axes = means.T.plot.bar(figsize=(9, 4), rot=0, width=0.85, colormap="tab10", title=title)
    for bars in axes.containers:
        axes.bar_label(bars, fmt=lambda height: f"{height:.1f}" if height > 0 else "", fontsize=7)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_ylabel("time of the library / time of dwconv")
    axes.set_xlabel(
        f"geometric mean over all workloads, {threads} thread(s); above the line dwconv is faster"
    )
    return title, _save(axes, path)


def _roofline(results: Results, table: pd.DataFrame, threads: int, path: Path) -> tuple[str, Path]:
    assert results.limits is not None
    points = table[table["gflops"].notna()].assign(intensity=table["flops"] / table["bytes"])
    mine = next(filter(is_ours, points["peer"]), None)
    title = "How near the limit of the machine each library comes"
    axes = None
    for peer, part in points.groupby("peer", sort=False):
        if not is_ours(str(peer)) or peer == mine:
            axes = part.plot.scatter(
                "intensity", "gflops", s=24 if peer == mine else 12, label=peer, ax=axes, loglog=True,
                color=COLORS[len(axes.collections) if axes else 0], figsize=(9, 5.2), title=title,
            )  # fmt: skip
    assert axes is not None
    peak = limits.peak(results.limits, threads, results.settings.get("dtype", "float32"))
    low, high = axes.get_xlim()
    for level, step in report.levels(results.limits, results.machine["caches"], str(threads)):
        rate = step["copy"] / 1e9
        if low * rate <= peak:  # else no workload here is bound by this level
            axes.plot(
                [low, peak / rate, high], [low * rate, peak, peak], color="black", linewidth=0.8, zorder=1
            )
            axes.annotate(level, (low, low * rate), fontsize=8)
    axes.set_xlim(low, high)
    axes.set(
        xlabel=f"operations per byte that must move, {threads} thread(s)", ylabel="1e9 operations per second"
    )
    return title, _save(axes, path)


def _save(axes: object, path: Path) -> Path:
    figure = axes.figure  # type: ignore[attr-defined]
    figure.savefig(path, dpi=110, bbox_inches="tight", pil_kwargs={"optimize": True})
    figure.clf()
    return path
