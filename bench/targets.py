"""The project's targets, layer by layer: which rows of dwconv meet them, and by how much the others miss.

A share is of the roofline on one thread: multiply-adds on real taps at the measured peak, or the bytes of
input, weights and output at the measured bandwidth, whichever takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import networks, tables
from bench.limits import peak
from bench.workloads import Workload

_SCALES_FROM_US = 100


@dataclass(frozen=True)
class Target:
    """`wanted` is a share of the roofline, or how many times as fast as one thread."""

    name: str
    wanted: float
    applies: Callable[[Workload], bool]
    of_threads: int = 1


def _window(least: int, most: int, strides: Sequence[int] = (1, 2)) -> Callable[[Workload], bool]:
    """Depthwise with square windows of this size, without dilation or multiplier, of whole half vectors."""

    def applies(workload: Workload) -> bool:
        stage = workload.stages[0]
        height, width = stage.kernel
        square = workload.op == "depthwise" and height == width and least <= height <= most
        plain = stage.stride in strides and stage.dilation == 1 and stage.out_channels == stage.in_channels
        return square and plain and stage.in_channels % 8 == 0

    return applies


def _product(applies: Callable[[int, int], bool]) -> Callable[[Workload], bool]:
    """Pointwise layers by inputs and outputs, of images: a single pixel is bound by reading its weights."""

    def of(workload: Workload) -> bool:
        stage = workload.stages[0]
        pixels = workload.batch * workload.height * workload.width
        return workload.op == "pointwise" and pixels > 1 and applies(stage.in_channels, stage.out_channels)

    return of


def _wide_block(workload: Workload) -> bool:
    products = [s for s in workload.stages if s.op == "pointwise"]
    wide = all(min(s.in_channels, s.out_channels) >= 64 for s in products)
    return workload.op in tables.BLOCKS and workload.height < 256 and wide


def _large_block(workload: Workload) -> bool:
    return workload.op in tables.BLOCKS and workload.height >= 256


_wide = _product(lambda inputs, outputs: min(inputs, outputs) >= 64)

TARGETS = (
    Target("blocks, 64 inputs and outputs and more, below 256x256", 0.95, _wide_block),
    Target("blocks from 256x256 on", 0.90, _large_block),
    Target("depthwise 3x3", 0.95, _window(3, 3, [1])),
    Target("depthwise 3x3, stride 2", 0.85, _window(3, 3, [2])),
    Target("depthwise 5x5 to 11x11", 0.92, _window(5, 11)),
    Target("depthwise 13x13 to 31x31", 0.85, _window(13, 31)),
    Target("pointwise, 64 inputs and outputs and more", 0.98, _wide),
    Target("pointwise, 16 inputs", 0.95, _product(lambda inputs, outputs: inputs == 16)),
    Target("pointwise, 24 outputs", 0.90, _product(lambda inputs, outputs: outputs == 24)),
    Target("first layers", 0.85, lambda w: w.op == "conv" and w.stages[0].in_channels == 3),
    Target(f"two threads against one, {_SCALES_FROM_US} us and more", 1.9, lambda w: True, of_threads=2),
)

FORCED_AVX2 = (
    Target("blocks, 64 inputs and outputs and more, below 256x256", 0.92, _wide_block),
    Target("depthwise 3x3", 0.80, _window(3, 3, [1])),
    Target("pointwise, 64 inputs and outputs and more", 0.98, _wide),
)

INT8 = (
    Target("pointwise, 96 inputs and outputs and more", 0.92, _product(lambda *both: min(both) >= 96)),
    Target("pointwise, 16 to 32 inputs", 0.50, _product(lambda inputs, outputs: 16 <= inputs <= 32)),
    Target(f"two threads against one, {_SCALES_FROM_US} us and more", 1.9, lambda w: True, of_threads=2),
)


def judge(
    table: pd.DataFrame, mine: str, limits: dict[str, Any] | None, wanted: Sequence[Target]
) -> pd.DataFrame:
    """A line for each layer or block under each target: target, wanted, op, shape, us, reached, met."""
    known = {(w.network, w.op, w.shape): w for name in networks.NETWORKS for w in networks.expand(name)}
    rows = table[table["peer"] == mine].drop_duplicates(["op", "shape", "threads"])
    alone = rows[rows["threads"] == 1].set_index(["op", "shape"])
    dtype = "int8" if mine.startswith("dwconv-int8") else "float32"
    top = peak(limits, 1, dtype) if limits else float("inf")
    found = []
    for row in rows.itertuples():
        workload = known.get((row.network, row.op, row.shape))
        for target in wanted:
            if row.threads != target.of_threads or not workload or not target.applies(workload):
                continue
            reached = row.roofline_share
            if target.of_threads > 1:
                if (row.op, row.shape) not in alone.index:
                    continue
                single = alone.loc[row.op, row.shape]
                # Two cores have twice the multiply-adds, but not twice the memory.
                scales = single.flops / top / 1e3 > 0.99 * single.roofline_us
                us = (
                    single.best_us if limits and scales and single.best_us > _SCALES_FROM_US else float("nan")
                )
                reached = us / row.best_us
            # Every table has two digits: what rounds to the target meets it.
            met = round(reached, 2) >= target.wanted
            found.append((target.name, target.wanted, row.op, row.shape, row.best_us, reached, met))
    columns = ["target", "wanted", "op", "shape", "us", "reached", "met"]
    judged = pd.DataFrame(found, columns=columns).dropna(subset="reached")
    names = [target.name for target in wanted]
    return judged.sort_values(
        ["target", "reached"], key=lambda c: c.map(names.index) if c.name == "target" else c
    )
