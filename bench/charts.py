"""The pictures of a report: the roofline with all measurements on it, the speed-up over the best peer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import tables
from bench.limits import best_isa
from bench.peers import is_ours
from bench.schema import Results

_OURS, _THEIRS, _LOST = "#0b6e4f", "#8d99ae", "#c8553d"
_MOST_BARS = 60


def draw(results: Results, folder: Path) -> list[Path]:
    """roofline.png (if limits were measured) and speedup.png (if dwconv and a peer were); what was drawn."""
    import matplotlib

    matplotlib.use("Agg")
    found = [path for path in (_roofline(results, folder), _speedup(results, folder)) if path]
    return found


def _roofline(results: Results, folder: Path) -> Path | None:
    if not results.limits:
        return None
    import matplotlib.pyplot as plt

    threads = min(row.threads for row in results.rows)
    limit = results.limits["isa"][best_isa(results.limits)][str(threads)]
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    _roofs(axes, limit, results.machine["caches"])
    mine = tables.ours(results.rows)
    for group in tables.groups(results.rows):
        if group.first.threads != threads:
            continue
        for row in group.rows.values():
            if row.gflops and (row.peer == mine or not is_ours(row.peer)):
                ours = row.peer == mine
                size, color, layer, label = (22, _OURS, 3, "dwconv") if ours else (8, _THEIRS, 2, "peers")
                intensity = row.flops / row.bytes
                axes.scatter(intensity, row.gflops, s=size, color=color, zorder=layer, label=label)
    axes.set(xscale="log", yscale="log", xlabel="operations per byte that must move", ylabel="GFLOP/s")
    axes.set_title(f"Roofline, {threads} core(s)", loc="left")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), frameon=False, loc="lower right")
    return _save(figure, folder / "roofline.png")


def _roofs(axes: Any, limit: dict[str, Any], caches: dict[str, int]) -> None:
    intensities = [2 ** (i / 4) for i in range(-8, 34)]
    names = {limit["bandwidth"][0]["bytes"]: "L1", limit["bandwidth"][-1]["bytes"]: "memory"}
    if "L2" in caches:
        names[max(s["bytes"] for s in limit["bandwidth"] if s["bytes"] <= caches["L2"] / 2)] = "L2"
    for step in limit["bandwidth"]:
        if step["bytes"] in names:
            roof = [min(limit["gflops"], step["copy"] / 1e9 * x) for x in intensities]
            axes.plot(intensities, roof, color="black", linewidth=0.8)
            axes.annotate(names[step["bytes"]], (intensities[0], roof[0]), fontsize=8, va="bottom")
    peak = limit["gflops"]
    axes.annotate(f"{peak:.0f} GFLOP/s", (intensities[-1], peak), fontsize=8, ha="right", va="bottom")


def _speedup(results: Results, folder: Path) -> Path | None:
    import matplotlib.pyplot as plt

    mine = tables.ours(results.rows)
    groups = [g for g in tables.groups(results.rows) if mine and g.speedup(mine)]
    if not mine or not groups:
        return None
    # The costliest first: where a network spends its time.
    groups = sorted(groups, key=lambda g: -g.first.count * (g.best_us(mine) or 0))[:_MOST_BARS]
    groups.sort(key=lambda g: g.speedup(mine) or 0)
    ratios = [g.speedup(mine) or 0 for g in groups]
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.19 * len(groups)), layout="constrained")
    axes.barh(
        range(len(groups)), ratios, color=[_OURS if ratio >= 1 else _LOST for ratio in ratios], height=0.7
    )
    names = [
        f"{g.first.shape}" + (f", {g.first.threads} threads" if g.first.threads > 1 else "") for g in groups
    ]
    axes.set_yticks(range(len(groups)), names, fontsize=7)
    for i, (group, ratio) in enumerate(zip(groups, ratios, strict=True)):
        best = group.best_peer
        text = f" {ratio:.2f} {best.peer if best else ''}"
        axes.annotate(text, (max(ratio, 1), i), fontsize=6, va="center")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set(xlabel="time of the best peer / time of dwconv", ylim=(-0.7, len(groups) - 0.3))
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, folder / "speedup.png")


def _save(figure: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=140)
    plt.close(figure)
    return path
