"""What does another thread gain? Every workload on one thread and on several, in turn, in one process.

On a shared host two CPUs are one core for seconds at a time, and a minimum of each is then of different
states of the machine. Two samples right after one another meet the same one: the median of their ratios
stands for a visit. Of several visits, minutes apart, the best one tells what two cores give.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import geometric_mean, quantiles

from bench import compiling, machine, placement
from bench import problem as problems
from bench.peers import Runner, shim
from bench.peers import dwconv as peer
from bench.workloads import Workload

LEAST_US = 100  # shorter work is not what is promised to scale
WANTED = {"blocks": 1.85}
WANTED_OF_LAYERS = 1.9
_SAMPLE_SECONDS = 1e-3
_LEAST_PAIRS = 8


@dataclass(frozen=True)
class Gain:
    """`serial` is the least microseconds per call on one thread; `low` and `high` are quartiles."""

    workload: Workload
    serial: float
    low: float
    median: float
    high: float

    @property
    def wanted(self) -> float:
        return WANTED.get(self.workload.kind, WANTED_OF_LAYERS)

    @property
    def reached(self) -> bool:
        return round(self.median, 2) >= self.wanted


def measure(workloads: Sequence[Workload], threads: int, seconds: float, visits: int) -> Iterator[Gain]:
    """Of those that take LEAST_US and more, `seconds` each, in every visit. Raises CompileError, Absent.

    Pins this process: to be called in one of its own.
    """
    machine.pin(threads)
    library = shim.load(peer.build(compiling.ROOT / "csrc"))
    for _ in range(visits):
        for workload in workloads:
            gain = _visit(workload, partial(shim.prepare, library, fuse=True), threads, seconds)
            if gain and gain.serial >= LEAST_US:
                yield gain


def _visit(workload: Workload, prepare: Callable[..., Runner], threads: int, seconds: float) -> Gain | None:
    problem = problems.make(workload)
    runners = []
    for count in (1, threads):
        placement.restart()
        runners.append(prepare(problem=problem, threads=count))
    serial, shared = (partial(sample, runner.run) for runner in runners)
    loops = max(1, round(_SAMPLE_SECONDS / serial(1)))
    gain = None
    if serial(loops) * 1e6 >= LEAST_US:
        gain = _gain(workload, [(serial(loops), shared(loops)) for _ in _rounds(seconds)])
    for runner in runners:
        runner.release()
    return gain


def best(gains: Iterable[Gain]) -> list[Gain]:
    """Of each workload the visit with the largest gain."""
    found: dict[Workload, Gain] = {}
    for gain in gains:
        if gain.workload not in found or found[gain.workload].median < gain.median:
            found[gain.workload] = gain
    return list(found.values())


def _rounds(seconds: float) -> Iterator[None]:
    end = time.perf_counter() + seconds
    for done in itertools.count():
        if done >= _LEAST_PAIRS and time.perf_counter() >= end:
            return
        yield


def sample(run: Callable[[int], None], loops: int) -> float:
    """Seconds per call, after one that wakes the threads and fills the caches."""
    run(1)
    start = time.perf_counter()
    run(loops)
    return (time.perf_counter() - start) / loops


def _gain(workload: Workload, pairs: Sequence[tuple[float, float]]) -> Gain:
    low, median, high = quantiles([serial / shared for serial, shared in pairs], n=4)
    return Gain(workload, min(serial for serial, _ in pairs) * 1e6, low, median, high)


def line(gain: Gain) -> str:
    return (
        f"{gain.workload.op:18} {gain.workload.shape:36} {gain.serial:10.1f} "
        f"{gain.low:5.2f} {gain.median:6.2f} {gain.high:6.2f}{'' if gain.reached else '  below'}"
    )


HEAD = f"{'operation':18} {'shape':36} {'serial, us':>10} {'low':>5} {'median':>6} {'high':>6}"


def summary(gains: Sequence[Gain], threads: int) -> str:
    """What each operation gains, and how often as much as is wanted."""
    lines = [
        f"what {threads} threads gain over one, from {LEAST_US} us on: median of pairs, and its quartiles"
    ]
    by_operation: dict[str, list[Gain]] = {}
    for gain in gains:
        by_operation.setdefault(gain.workload.op, []).append(gain)
    for op, found in by_operation.items():
        lowest = min(found, key=lambda gain: gain.median)
        mean, reached = geometric_mean(gain.median for gain in found), sum(gain.reached for gain in found)
        lines.append(
            f"{op:18} mean {mean:.2f}, {found[0].wanted} in {reached} of {len(found)}, "
            f"lowest {lowest.median:.2f} ({lowest.workload.shape})"
        )
    return "\n".join(lines)
