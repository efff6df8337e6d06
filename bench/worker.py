"""One process per peer: holds the library and its prepared workloads, and times calls when told to.

`python -m bench.worker PEER THREADS CPUS` reads requests as JSON lines from its standard input and answers
each with one JSON line. OpenMP runtimes must not meet in one process, and a peer that crashes must not take
the run with it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from bench import folders, placement
from bench.peers import Absent, Peer, Runner, Unsupported, peer_class

# Refilling the outer cache takes some 1 ms, which no longer shows in calls of this length.
_LONG_SECONDS = 0.1


class Worker:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.runners: dict[str, Runner] = {}
        self.folders: dict[str, Path] = {}
        self.loops: dict[str, int] = {}  # calls that fill a sample; 0: one call is long
        self.evictor: np.ndarray[Any, Any] | None = None

    def prepare(self, key: str, folder: str) -> dict[str, Any]:
        """Prepares, runs once, and compares with the reference; a wrong result is dropped and never timed."""
        problem, expected = folders.load(Path(folder))
        placement.restart()
        before = memory_peak(reset=True)
        start = time.perf_counter()
        runner = self.peer.prepare(problem)
        runner.run(1)
        seconds = time.perf_counter() - start
        peak = max(0, memory_peak() - before)
        error, correct = folders.judge(problem.workload, runner.output(), expected)
        if correct:
            self.runners[key], self.folders[key] = runner, Path(folder)
        else:
            runner.release()
        return {
            "first_call_us": seconds * 1e6,
            "peak_bytes": peak,
            "error": min(error, sys.float_info.max),
            "correct": correct,
            "kernels": runner.kernels,
            "scratch_bytes": runner.scratch_bytes,
        }

    def renew(self, key: str) -> dict[str, Any]:
        """Prepares anew in other memory, which the old runner's still being there ensures."""
        problem, _ = folders.load(self.folders[key])
        runner = self.peer.prepare(problem)
        runner.run(1)
        self.runners[key].release()
        self.runners[key] = runner
        return {}

    def sample(self, key: str, samples: int, seconds: float, cold_bytes: int = 0) -> dict[str, Any]:
        """Microseconds per call, `samples` times over at least `seconds` each; after one call to warm up.

        cold_bytes > 0: instead, single calls, each after reading that many bytes of other memory.
        """
        runner = self.runners[key]
        loops = 1 if cold_bytes else self._warm_up(key, seconds)
        times = []
        for _ in range(samples):
            if cold_bytes:
                self._evict(cold_bytes)
            start = time.perf_counter()
            runner.run(loops)
            times.append((time.perf_counter() - start) / loops * 1e6)
            if times[-1] * loops > 10e6 * seconds:
                break  # one call alone takes over ten samples' time
        return {"us": times}

    def drop(self, key: str) -> dict[str, Any]:
        self.loops.pop(key, None)
        runner = self.runners.pop(key, None)
        if runner:
            runner.release()
        return {}

    def describe(self) -> dict[str, Any]:
        return self.peer.describe()

    def _warm_up(self, key: str, seconds: float) -> int:
        """The calls that fill a sample, some of them made."""
        runner = self.runners[key]
        if key not in self.loops:
            self.loops[key] = calibrate(runner, seconds)
        loops = self.loops[key]
        if loops:
            runner.run(max(1, loops // 4))
        return max(1, loops)

    def _evict(self, size: int) -> None:
        """Reads other memory on every core of this worker: the inner caches are each core's own.

        Written to, it makes the same call take now as long and now half of it, even if the lines of its
        tensors were flushed besides; after reading three times the outer cache, minimum and median agree to
        a tenth.
        """
        if self.evictor is None or self.evictor.nbytes != size:
            self.evictor = np.ones(size // 8, np.int64)
        if not hasattr(os, "sched_setaffinity"):
            self.evictor.max()
            return
        cpus = os.sched_getaffinity(0)
        for cpu in cpus:
            os.sched_setaffinity(0, [cpu])
            self.evictor.max()
        os.sched_setaffinity(0, cpus)


def calibrate(runner: Any, seconds: float) -> int:
    """Calls that fill a sample; 0 if a single one is so long that it needs no other before it to warm up.

    A few doublings also bring the core up to speed.
    """
    loops = 1
    while True:
        start = time.perf_counter()
        runner.run(loops)
        taken = time.perf_counter() - start
        if loops == 1 and taken > _LONG_SECONDS:
            return 0
        if taken >= seconds / 2:
            return max(1, round(loops * seconds / taken))
        loops = min(loops * 8, max(loops + 1, int(loops * seconds / max(taken, 1e-7))))


def memory_peak(reset: bool = False) -> int:
    """The largest resident size in bytes; `reset` starts a new peak at the present size. 0: unknown."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def serve(worker: object, requests: IO[str], answers: IO[str]) -> None:
    """Answers requests until the input ends. A failure of the library is an answer, not an end."""
    for line in requests:
        request = json.loads(line)
        method = getattr(worker, request.pop("call"))
        try:
            answer = {"status": "ok", **method(**request)}
        except Unsupported as reason:
            answer = {"status": "unsupported", "message": str(reason)}
        except Exception as problem:
            answer = {"status": "failed", "message": f"{type(problem).__name__}: {problem}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main(name: str, threads: str, cpus: str) -> None:
    # Libraries print to standard output; only answers may appear on the pipe.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    peer, variant = peer_class(name)
    try:
        worker = Worker(peer(variant, int(threads)))
    except (Absent, ImportError) as reason:
        answers.write(json.dumps({"status": "absent", "message": str(reason)}) + "\n")
        return
    answers.write(json.dumps({"status": "ok", **worker.describe()}) + "\n")
    answers.flush()
    serve(worker, sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
