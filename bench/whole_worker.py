"""The worker of `python -m bench whole`: one process per peer, which holds one network at a time.

Speaks the protocol of bench/worker.py, and shares its timing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

from bench import whole_models
from bench.whole_peers import PEERS, Runner
from bench.worker import calibrate, memory_peak, serve


class Worker:
    def __init__(self, peer: str, threads: int, variant: str) -> None:
        self.make, self.threads, self.variant = PEERS[peer], threads, variant
        self.runner: Runner | None = None
        self.loops = 1

    def prepare(self, model: str, outputs: str) -> dict[str, Any]:
        """Loads the network, runs it once and writes what it gives to the file `outputs`."""
        self.runner = None
        loaded = whole_models.load(model)
        before = memory_peak(reset=True)
        start = time.perf_counter()
        self.runner = self.make(loaded, self.threads, self.variant)
        self.runner.run(1)
        seconds = time.perf_counter() - start
        peak = memory_peak() - before
        np.savez(outputs, *(np.asarray(y) for y in self.runner.output()))
        self.loops = max(1, calibrate(self.runner, 0.05))
        return {
            "first_ms": seconds * 1e3,
            "peak_bytes": peak,
            "workspace": self.runner.scratch_bytes,
            "others": self.runner.others() if self.runner.others else None,
        }

    def sample(self, seconds: float) -> dict[str, Any]:
        """Milliseconds per run, samples of at least 50 ms for so many seconds; after one to warm up."""
        assert self.runner is not None
        self.runner.run(1)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            self.runner.run(self.loops)
            times.append((time.perf_counter() - start) / self.loops * 1e3)
        return {"ms": times}


def main(name: str, threads: str, cpus: str) -> None:
    answers = os.fdopen(os.dup(1), "w")  # libraries print to standard output
    os.dup2(2, 1)
    os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    peer, _, variant = name.partition("@")
    answers.write(json.dumps({"status": "ok"}) + "\n")
    answers.flush()
    serve(Worker(peer, int(threads), variant), sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
