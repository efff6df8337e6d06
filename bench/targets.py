"""The project's targets, layer by layer: which rows of dwconv meet them, and by how much the others miss.

A share is of the roofline on one thread: multiply-adds on real taps at the measured peak, or the bytes of
input, weights and output at the measured bandwidth, whichever takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import networks
from bench.limits import best_isa
from bench.markdown import header, line, plain
from bench.schema import Results, Row
from bench.stats import geometric_mean
from bench.tables import BLOCKS, Group
from bench.workloads import Workload

_SCALES_FROM_US = 100


@dataclass(frozen=True)
class Target:
    """`wanted` is a share of the roofline, or how many times as fast as one thread."""

    name: str
    wanted: float
    applies: Callable[[Workload], bool]
    of_threads: int = 1


@dataclass(frozen=True)
class Figure:
    row: Row
    reached: float


@dataclass(frozen=True)
class Verdict:
    target: Target
    met: list[Figure]
    missed: list[Figure]  # the farthest first


def _window(least: int, most: int, stride: int | None = None) -> Callable[[Workload], bool]:
    """Depthwise with square windows of this size, without dilation or multiplier, of whole half vectors."""

    def applies(workload: Workload) -> bool:
        stage = workload.stages[0]
        height, width = stage.kernel
        return (
            workload.op == "depthwise"
            and height == width
            and least <= height <= most
            and stage.stride in ((stride,) if stride else (1, 2))
            and stage.dilation == 1
            and stage.out_channels == stage.in_channels
            and stage.in_channels % 8 == 0
        )

    return applies


def _product(applies: Callable[[int, int], bool]) -> Callable[[Workload], bool]:
    """Pointwise layers by inputs and outputs, of images: a single pixel is bound by reading its weights."""

    def of(workload: Workload) -> bool:
        stage = workload.stages[0]
        pixels = workload.batch * workload.height * workload.width
        return workload.op == "pointwise" and pixels > 1 and applies(stage.in_channels, stage.out_channels)

    return of


def _block(large: bool) -> Callable[[Workload], bool]:
    """Blocks of images of 224x224, and of 256x256 and 512x512: there the block itself sees that many rows."""

    def applies(workload: Workload) -> bool:
        products = [s for s in workload.stages if s.op == "pointwise"]
        wide = all(min(s.in_channels, s.out_channels) >= 64 for s in products)
        return workload.op in BLOCKS and (workload.height >= 256 if large else workload.height < 256 and wide)

    return applies


def _first_layer(workload: Workload) -> bool:
    return workload.op == "conv" and workload.stages[0].in_channels == 3


def _any(workload: Workload) -> bool:
    return True


_wide = _product(lambda inputs, outputs: min(inputs, outputs) >= 64)

TARGETS = (
    Target("blocks, 64 inputs and outputs and more, below 256x256", 0.95, _block(large=False)),
    Target("blocks from 256x256 on", 0.90, _block(large=True)),
    Target("depthwise 3x3", 0.95, _window(3, 3, stride=1)),
    Target("depthwise 3x3, stride 2", 0.85, _window(3, 3, stride=2)),
    Target("depthwise 5x5 to 11x11", 0.92, _window(5, 11)),
    Target("depthwise 13x13 to 31x31", 0.85, _window(13, 31)),
    Target("pointwise, 64 inputs and outputs and more", 0.98, _wide),
    Target("pointwise, 16 inputs", 0.95, _product(lambda inputs, outputs: inputs == 16)),
    Target("pointwise, 24 outputs", 0.90, _product(lambda inputs, outputs: outputs == 24)),
    Target("first layers", 0.85, _first_layer),
    Target(f"two threads against one, {_SCALES_FROM_US} us and more", 1.9, _any, of_threads=2),
)

FORCED_AVX2 = (
    Target("blocks, 64 inputs and outputs and more, below 256x256", 0.92, _block(large=False)),
    Target("depthwise 3x3", 0.80, _window(3, 3, stride=1)),
    Target("pointwise, 64 inputs and outputs and more", 0.98, _wide),
)


def verdicts(
    found: Sequence[Group], mine: str, limits: dict[str, Any] | None, targets: Sequence[Target] = TARGETS
) -> list[Verdict]:
    """Of the targets that any of these rows fall under."""
    workloads = {(w.network, w.op, w.shape): w for name in networks.NETWORKS for w in networks.expand(name)}
    rows = [
        (workload, row)
        for group in found
        if (row := group.rows.get(mine)) and (workload := workloads.get((row.network, row.op, row.shape)))
    ]
    judged = []
    for target in targets:
        relevant = [row for workload, row in rows if target.applies(workload)]
        figures = list(_speedups(relevant, target, limits) if target.of_threads > 1 else _shares(relevant))
        if figures:
            # Shares have two digits in every table: what rounds to the target meets it.
            met = [f for f in figures if round(f.reached, 2) >= target.wanted]
            missed = [f for f in figures if round(f.reached, 2) < target.wanted]
            judged.append(Verdict(target, met, sorted(missed, key=lambda f: f.reached)))
    return judged


def bound(row: Row, limits: dict[str, Any] | None) -> str:
    """What the roofline of a row is made of: "multiply-adds" or "bytes"."""
    if not limits or not row.roofline_us:
        return ""
    peak = limits["isa"][best_isa(limits)][str(row.threads)]["gflops"]
    return "multiply-adds" if row.flops / peak / 1e3 > 0.99 * row.roofline_us else "bytes"


def _shares(rows: Iterable[Row]) -> Iterable[Figure]:
    for row in rows:
        if row.threads == 1 and row.roofline_share:
            yield Figure(row, row.roofline_share)


def _speedups(rows: Sequence[Row], target: Target, limits: dict[str, Any] | None) -> Iterable[Figure]:
    """Where multiply-adds bound the layer: two cores have twice as many, but not twice the memory."""
    alone = {(row.op, row.shape): row for row in rows if row.threads == 1}
    for row in rows:
        single = alone.get((row.op, row.shape))
        if row.threads != target.of_threads or not single or not row.best_us or not single.best_us:
            continue
        if single.best_us > _SCALES_FROM_US and bound(single, limits) == "multiply-adds":
            yield Figure(row, single.best_us / row.best_us)


def section(
    results: Results, found: Sequence[Group], mine: str, level: str, wanted: Sequence[Target]
) -> Iterable[str]:
    """Of the document: a line for every target, and below a fold one for every layer that misses it."""
    judged = verdicts(found, mine, results.limits, wanted)
    if not judged:
        return
    yield f"{level} Targets"
    yield ""
    yield (
        "What the project set itself, as a share of the roofline on one thread or as the gain of a second "
        "thread, for every layer and block once. [limits.md](limits.md) says what holds up those that miss, "
        "and what was tried. The roofline takes activations for free."
    )
    yield ""
    yield from header("what", "target", "reached", "mean", "lowest", "where")
    for verdict in judged:
        figures = [*verdict.met, *verdict.missed]
        lowest = min(figures, key=lambda figure: figure.reached)
        mean = geometric_mean([figure.reached for figure in figures])
        head = verdict.target.name, _reached(verdict.target, verdict.target.wanted)
        met = f"{len(verdict.met)} of {len(figures)}"
        levels = (_reached(verdict.target, value) for value in (mean, lowest.reached))
        yield line(*head, met, *levels, lowest.row.shape)
    missed = [(verdict.target, figure) for verdict in judged for figure in verdict.missed]
    yield ""
    yield f"<details><summary>All {len(missed)} that miss a target</summary>"
    yield ""
    yield "Bound: what the roofline of the layer is made of."
    yield ""
    yield from header("target", "layer", "us", "reached", "missed by", "bound")
    for target, figure in missed:
        row = figure.row
        short = _reached(target, target.wanted - figure.reached)
        us = f"{row.best_us:.1f}" if row.best_us else ""
        what = f"{plain(row.op)} {row.shape}"
        reached = _reached(target, figure.reached)
        yield line(target.name, what, us, reached, short, bound(row, results.limits))
    yield from ("", "</details>", "")


def _reached(target: Target, value: float) -> str:
    return f"{value:.2f}x" if target.of_threads > 1 else f"{value:.0%}"
