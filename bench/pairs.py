"""Times of a few variants of one workload, in turn and in one process: drift of the machine hits all alike.

On a shared host two CPUs are one core for seconds at a time, and minima may be of different states of the
machine. Samples right after one another meet the same one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import CDLL
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import compiling, placement
from bench import problem as problems
from bench.peers import Runner, shim
from bench.peers import dwconv as peer
from bench.workloads import Workload

_LEAST_ROUNDS = 8


def core(*flags: str, **options: Any) -> CDLL:
    """The library of this source tree. Raises CompileError, Absent."""
    return shim.load(peer.build(compiling.ROOT / "csrc", *flags, **options))


@contextmanager
def prepared(*variants: tuple[CDLL, Workload, int, bool]) -> Iterator[list[Runner]]:
    """A runner for each library, workload, number of threads, and whether blocks are one operation."""
    runners = []
    for library, workload, threads, fuse in variants:
        placement.restart()
        runners.append(shim.prepare(library, problems.make(workload), threads, fuse=fuse))
    yield runners
    for runner in runners:
        runner.release()


def measure(runs: Sequence[Callable[[int], None]], sample: float, seconds: float) -> NDArray[np.float64]:
    """Microseconds per call, [round, variant]; samples of `sample` seconds, 8 rounds at least."""
    loops = [max(1, round(sample / max(_sample(run, 1), 1e-7))) for run in runs]
    end, rounds = time.perf_counter() + seconds, []
    for done in itertools.count():
        if done >= _LEAST_ROUNDS and time.perf_counter() >= end:
            break
        rounds.append([_sample(run, count) for run, count in zip(runs, loops, strict=True)])
    return np.array(rounds) * 1e6


def _sample(run: Callable[[int], None], loops: int) -> float:
    """Seconds per call, after some that wake the threads and fill the caches."""
    run(1 + loops // 4)
    start = time.perf_counter()
    run(loops)
    return (time.perf_counter() - start) / loops
