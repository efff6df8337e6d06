"""The pictures of a report: speed-ups over each library, over the best one, and the roofline.

Every library has one colour and one marker in all of them, which also differ in lightness: for print.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import tables
from bench.limits import best_isa
from bench.peers import is_ours
from bench.schema import Results

_STYLES = {  # in the order of PEERS
    "dwconv": ("#00875f", "o"),
    "onednn": ("#1f3b73", "s"),
    "onednn-fused": ("#7f9bd1", "s"),
    "torch": ("#c73e1d", "^"),
    "torch-functional": ("#f0a58f", "^"),
    "onnxruntime": ("#6d2e8c", "D"),
    "openvino": ("#d9a400", "v"),
    "litert": ("#4da3c7", "P"),
    "tensorflow": ("#5b4636", "X"),
}
_OTHER = ("#8a8a8a", ".")
_LOST = "#c73e1d"
_MOST_BARS = 40


@dataclass(frozen=True)
class Picture:
    path: Path
    title: str


def draw(results: Results, folder: Path) -> list[Picture]:
    """What the result has data for: speedup.png and workloads.png need a peer, roofline.png the limits."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
        }
    )
    threads = min(row.threads for row in results.rows)
    found = [g for g in tables.distinct(tables.groups(results.rows)) if g.first.threads == threads]
    mine = tables.ours(results.rows)
    on = f"{threads} thread{'s' if threads > 1 else ''}"
    pictures = []
    if mine and any(group.speedup(mine) for group in found):
        pictures.append(_save(*_speedups(found, mine, on), folder / "speedup.png"))
        pictures.append(_save(*_workloads(found, mine, on), folder / "workloads.png"))
    if results.limits:
        limit = results.limits["isa"][best_isa(results.limits)][str(threads)]
        figure, title = _roofline(found, mine, on)
        _roofs(figure.axes[0], limit, tables.levels(results.limits, results.machine["caches"], str(threads)))
        pictures.append(_save(figure, title, folder / "roofline.png"))
    return pictures


def _speedups(found: list[tables.Group], mine: str, on: str) -> tuple[Any, str]:
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    ops = list(dict.fromkeys(group.first.op for group in found))
    peers = [p for p in tables.peers(r for g in found for r in g.rows.values()) if not is_ours(p)]
    means = {peer: tables.mean_speedups(found, mine, peer) for peer in peers}
    figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
    left, ticks = 0.0, []
    for op in ops:
        shown = [peer for peer in peers if op in means[peer]]
        for i, peer in enumerate(shown):
            height = means[peer][op]
            axes.bar(left + i, height, 0.85, color=_style(peer)[0])
            axes.annotate(f"{height:.1f}", (left + i, height), ha="center", va="bottom", fontsize=7)
        ticks.append(left + (len(shown) - 1) / 2)
        left += len(shown) + 1
    axes.axhline(1, color="black", linewidth=1)
    axes.set_xticks(ticks, [op.replace("_", " ") for op in ops])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("time of the library / time of dwconv")
    handles = [Rectangle((0, 0), 1, 1, color=_style(peer)[0]) for peer in peers]
    figure.legend(handles, peers, frameon=False, loc="outside lower center", ncols=4)
    title = "How many times faster dwconv is than each library"
    axes.set_title(f"{title}\n", fontsize=11)
    note = f"geometric mean over all workloads, {on}; above the line dwconv is faster, below it slower"
    axes.annotate(note, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8)
    return figure, title


def _workloads(found: list[tables.Group], mine: str, on: str) -> tuple[Any, str]:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    compared = [g for g in found if g.speedup(mine)]
    # The costliest: where networks spend their time.
    shown = sorted(compared, key=lambda g: -g.first.count * (g.best_us(mine) or 0))[:_MOST_BARS]
    shown.sort(key=lambda g: g.speedup(mine) or 0)
    ratios = [g.speedup(mine) or 0 for g in shown]
    figure, axes = plt.subplots(figsize=(9, 1.3 + 0.17 * len(shown)), layout="constrained")
    for i, (group, ratio) in enumerate(zip(shown, ratios, strict=True)):
        won, best = ratio >= 1, group.best_peer
        color = _style("dwconv")[0] if won else _LOST
        axes.barh(i, ratio - 1, 0.75, left=1, color=color, hatch=None if won else "////", edgecolor="white")
        text = f"{ratio:.2f}  {best.peer if best else ''}"
        axes.annotate(
            text, (ratio, i), (4 if won else -4, 0), textcoords="offset points", fontsize=6.5, va="center",
            ha="left" if won else "right",
        )  # fmt: skip
    axes.set_yticks(
        range(len(shown)), [f"{g.first.op.replace('_', ' ')} {g.first.shape}" for g in shown], fontsize=6.5
    )
    axes.axvline(1, color="black", linewidth=1)
    axes.set(ylim=(-0.7, len(shown) - 0.3), xlabel="time of the fastest other library / time of dwconv")
    axes.set_xscale("log")
    axes.set_xlim(min(*ratios, 1) / 1.25, max(*ratios, 1) * 1.2)
    axes.xaxis.set_major_locator(FixedLocator([0.125, 0.25, 0.5, 0.7, 1, 1.5, 2, 3, 4, 8, 16]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    title = "dwconv against the fastest other library, workload by workload"
    several = f"the {len(shown)} costliest of {len(compared)}" if len(shown) < len(compared) else "all"
    axes.set_title(f"{title}\n", fontsize=11)
    note = f"{several} workloads, {on}; to the right dwconv is faster, to the left the library that is named"
    axes.annotate(note, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8)
    return figure, title


def _roofline(found: list[tables.Group], mine: str | None, on: str) -> tuple[Any, str]:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter

    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    for peer in tables.peers(r for g in found for r in g.rows.values()):
        marks = [(row, row.gflops) for g in found if (row := g.rows.get(peer)) and row.gflops]
        if is_ours(peer) and peer != mine:
            continue
        color, marker = _style(peer)
        size, layer, alpha = (24, 3, 1) if peer == mine else (14, 2, 0.7)
        points = [row.flops / row.bytes for row, _ in marks], [gflops for _, gflops in marks]
        axes.scatter(
            *points, s=size, c=color, marker=marker, zorder=layer, alpha=alpha, linewidths=0, label=peer
        )
    axes.set(xscale="log", yscale="log", ylabel="GFLOP/s")
    axes.set_xlabel("operations per byte that must move")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    title = "How near the limit of the machine each library comes"
    axes.set_title(f"{title}\n", fontsize=11)
    note = f"one mark per workload, {on}; higher is better, the lines are what memory and arithmetic allow"
    axes.annotate(note, (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points", fontsize=8)
    return figure, title


def _roofs(axes: Any, limit: dict[str, Any], levels: Iterable[tuple[str, dict[str, Any]]]) -> None:
    peak = limit["gflops"]
    low, high = axes.get_xlim()
    for name, step in levels:
        rate = step["copy"] / 1e9
        if low * rate > peak:
            continue  # no workload here is bound by this level
        axes.plot([low, peak / rate, high], [low * rate, peak, peak], color="black", linewidth=0.8, zorder=1)
        axes.annotate(name, (low, low * rate), (3, 9), textcoords="offset points", fontsize=8, rotation=36)
    axes.annotate(
        f"{peak:.0f} GFLOP/s", (high, peak), (0, 2), textcoords="offset points", ha="right", fontsize=8
    )
    axes.set_xlim(low, high)


def _style(peer: str) -> tuple[str, str]:
    base = peer.partition("@")[0]
    return _STYLES.get("dwconv" if is_ours(peer) else base, _OTHER)


def _save(figure: Any, title: str, path: Path) -> Picture:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=110, pil_kwargs={"optimize": True})
    plt.close(figure)
    return Picture(path, title)
