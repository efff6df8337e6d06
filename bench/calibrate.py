"""When are two threads worth waking? Small layers on one thread, on several, and as the library decides.

All in one process with pinned threads, in turn and again and again, so that drift of the machine hits all
alike. Where several threads are to share whatever the work, the core is compiled with a limit of 0.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import mean, median, quantiles

from bench import compiling, machine, placement
from bench import problem as problems
from bench.peers import Runner, shim
from bench.peers import dwconv as peer
from bench.workloads import Stage, Workload

MODES = ("serial", "parallel", "decided")
LOSS = 0.05  # more than this against the better of serial and parallel is named
_SAMPLE_SECONDS = 3e-4


@dataclass
class Row:
    """Times are the least microseconds per call of each mode, `estimate` the cost model's for one thread."""

    workload: Workload
    estimate: float
    shared: bool  # as decided: by two threads or more
    times: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Of the decision, against the better of both."""
        return self._loss("parallel" if self.shared else "serial")

    @property
    def measured_loss(self) -> float:
        """Of the library that decides, which runs that code in another build and other memory."""
        return self._loss("decided")

    def loss_with(self, limit: float) -> float:
        """If an estimate were serial below so many microseconds, and else parallel."""
        return self._loss("serial" if self.estimate < limit else "parallel")

    def _loss(self, mode: str) -> float:
        return self.times[mode] / min(self.times["serial"], self.times["parallel"]) - 1


def layers() -> Iterator[Workload]:
    """Of 0.3 to 100 us on one core, of every operation, with clamps and with activations that cost more."""

    def stage(
        op: str, c: int, n: int, k: int = 1, stride: int = 1, activation: str | None = "relu6"
    ) -> Stage:
        return Stage(op, c, n, (k, k), stride, activation=activation)

    def of(size: int, *stages: Stage, residual: bool = False) -> Workload:
        return Workload("calibrate", stages, size, size, residual=residual)

    for size, c, n, activation in _POINTWISE:
        yield of(size, stage("pointwise", c, n, activation=activation))
    for size, c, k, stride, activation in _DEPTHWISE:
        yield of(size, stage("depthwise", c, c, k, stride, activation))
    for size, c, n, k, stride in _DENSE:
        yield of(size, stage("conv", c, n, k, stride, "relu6"))
    for size, c, n, stride, activation in _SEPARABLE:
        depthwise = stage("depthwise", c, c, 3, stride, activation)
        yield of(size, depthwise, stage("pointwise", c, n, activation=activation))
    for size, c, expanded, n, stride, activation in _INVERTED:
        expand = stage("pointwise", c, expanded, activation=activation)
        depthwise = stage("depthwise", expanded, expanded, 3, stride, activation)
        project = stage("pointwise", expanded, n, activation=None)
        yield of(size, expand, depthwise, project, residual=stride == 1 and c == n)


_POINTWISE = (
    *((1, c, n, "relu6") for c, n in ((24, 96), (480, 120), (48, 1152), (144, 576), (256, 512), (960, 1280))),
    *((1, c, n, "silu") for c, n in ((16, 96), (48, 1152), (144, 576), (16, 4096))),
    *((1, c, n, "hard_swish") for c, n in ((24, 960), (120, 480), (960, 1280))),
    *((size, 16, 16, "relu6") for size in (7, 14, 20, 28, 40, 56, 112)),
    *((7, c, n, "relu6") for c, n in ((32, 64), (64, 64), (96, 96), (160, 160))),
    *((14, c, n, "relu6") for c, n in ((16, 96), (48, 48), (96, 96))),
    *((7, 16, 64, "silu"), (14, 16, 96, "silu"), (14, 40, 240, "hard_swish"), (28, 16, 64, "gelu")),
)
_DEPTHWISE = (
    *((7, c, 3, 1, "relu6") for c in (32, 96, 256, 512, 1040)),
    *((14, c, 3, 1, "relu6") for c in (24, 64, 128, 240)),
    *((28, 24, 3, 1, "relu6"), (28, 64, 3, 2, "relu6"), (56, 24, 3, 2, "relu6"), (14, 120, 5, 1, "relu6")),
    *((7, 128, 3, 1, "silu"), (14, 64, 3, 1, "silu"), (14, 120, 5, 1, "hard_swish"), (56, 16, 3, 1, "silu")),
)
_DENSE = ((7, 16, 16, 3, 1), (14, 8, 16, 3, 1), (16, 3, 16, 3, 2), (32, 3, 32, 3, 2), (56, 3, 32, 3, 2))
_SEPARABLE = (
    *((7, 16, 16, 1, "relu6"), (14, 16, 32, 1, "relu6"), (14, 32, 64, 2, "relu6"), (28, 16, 32, 1, "relu6")),
    *(
        (7, 32, 32, 1, "silu"),
        (14, 32, 32, 1, "hard_swish"),
        (7, 64, 64, 1, "relu6"),
        (28, 32, 32, 2, "relu6"),
    ),
)
_INVERTED = (
    *((7, 8, 32, 8, 1, "relu6"), (7, 16, 64, 16, 1, "relu6"), (14, 8, 48, 8, 1, "relu6")),
    *(
        (7, 24, 96, 24, 1, "relu6"),
        (28, 8, 32, 8, 2, "relu6"),
        (28, 8, 16, 8, 1, "relu6"),
        (7, 32, 128, 32, 1, "relu6"),
    ),
    *((14, 16, 96, 24, 2, "relu6"), (7, 16, 64, 16, 1, "silu"), (14, 8, 48, 8, 1, "hard_swish")),
)


def measure(workloads: Sequence[Workload], threads: int, seconds: float) -> tuple[list[Row], list[float]]:
    """The rows, and the microseconds of an empty region: OpenMP's and dwconv's. Raises CompileError, Absent.

    Pins this process: to be called in one of its own.
    """
    machine.pin(threads)
    csrc = compiling.ROOT / "csrc"
    decides = shim.load(peer.build(csrc))
    path = peer.build(csrc, "-DDWC_SERIAL_NANOSECONDS=0", beside=(shim.SHIMS / "regions.c",))
    shares = shim.load(path)
    rows: list[Row] = []
    runners: list[list[Runner]] = []
    for workload in workloads:
        problem = problems.make(workload)
        of_modes = []
        for library, count in ((shares, 1), (shares, threads), (decides, threads)):
            placement.restart()
            of_modes.append(shim.prepare(library, problem, count, fuse=True))
        rows.append(Row(workload, of_modes[0].estimate_us or 0, (of_modes[-1].workers or 1) > 1))
        runners.append(of_modes)
    names = ("regions_openmp", "regions_dwconv")
    regions = [partial(getattr(shares, name), threads) for name in names]
    empty = [float("inf")] * len(names)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not rows[-1].times:
        for row, of_modes in zip(rows, runners, strict=True):
            for mode, runner in zip(MODES, of_modes, strict=True):
                least = row.times.get(mode, float("inf"))
                row.times[mode] = min(least, _sample(runner.run, least))
        empty = [min(least, _sample(run, least)) for run, least in zip(regions, empty, strict=True)]
    return rows, empty


def _sample(run: Callable[[int], None], least: float) -> float:
    """Microseconds per call, after calls that wake the threads and fill the caches."""
    loops = max(10, round(_SAMPLE_SECONDS * 1e6 / least))
    run(1 + loops // 4)
    start = time.perf_counter()
    run(loops)
    return (time.perf_counter() - start) / loops * 1e6


def text(rows: Sequence[Row], regions: Sequence[float], threads: int) -> str:
    """A table, and what follows from it."""
    lines = [
        f"{'operation':18} {'shape':32} {'estimate':>9} {'serial':>8} {'parallel':>8} {'decided':>8}  loss"
    ]
    for row in sorted(rows, key=lambda row: row.times["serial"]):
        times = " ".join(f"{row.times[mode]:8.2f}" for mode in MODES)
        loss = f"{row.loss:.0%}" if row.loss > LOSS else ""
        lines.append(
            f"{row.workload.op:18} {row.workload.shape:32} {row.estimate:9.2f} {times}"
            f"{'*' if row.shared else ' '} {loss}"
        )
    least, limit = best_limit(rows)
    gained = [row.times["parallel"] - row.times["serial"] / threads for row in rows]
    ratios = [row.estimate / row.times["serial"] for row in rows if row.times["serial"] >= 1]
    low, middle, high = quantiles(ratios, n=4)
    noise = sum(row.measured_loss > LOSS >= row.loss for row in rows)
    return "\n".join(
        [
            *lines,
            f"* decided: {threads} threads",
            f"an empty region takes {regions[0]:.2f} us in OpenMP, {regions[1]:.2f} us in dwconv",
            f"sharing costs {median(gained):.2f} us (median); {threads} threads win from "
            f"{median(gained) * threads / (threads - 1):.1f} us on",
            f"estimate / serial from 1 us on: {min(ratios):.2f} to {max(ratios):.2f}, "
            f"half of them {low:.2f} to {high:.2f}, median {middle:.2f}",
            f"layers would lose least, mean {least:.1%}, with DWC_SERIAL_NANOSECONDS of {limit * 1000:.0f}",
            f"noise: {noise} of {len(rows)} decide well, and yet lose more than {LOSS:.0%} as measured",
            verdict(rows),
        ]
    )


def over(rows: Sequence[Row]) -> list[Row]:
    """Those whose decision loses more than it may."""
    return [row for row in rows if row.loss > LOSS]


def verdict(rows: Sequence[Row]) -> str:
    losses = [row.loss for row in rows]
    wrong = len(over(rows))
    said = f"does not hold for {wrong} of {len(rows)}" if wrong else "holds"
    return (
        f"loss as decided: mean {mean(losses):.1%}, worst {max(losses):.0%}; the bound of {LOSS:.0%} {said}"
    )


def best_limit(rows: Sequence[Row]) -> tuple[float, float]:
    """The least mean loss of layers with any limit, and that in microseconds, midway between two estimates.

    Blocks go by what sharing spares, which depends on how they are cut.
    """
    of_layers = [row for row in rows if row.workload.kind != "blocks"]
    estimates = sorted({0.0, *(row.estimate for row in of_layers)})
    limits = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(estimates)), 2 * estimates[-1]]
    return min((mean(row.loss_with(limit) for row in of_layers), limit) for limit in limits)
