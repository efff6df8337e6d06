"""A peer that computes nothing itself and fails as its variant says: `bench_fakes.peer@hang`."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from bench.peers import Absent, Runner, Unsupported
from bench.problem import Problem, reference


class Peer:
    reorders = False

    def __init__(self, variant: str, threads: int) -> None:
        self.variant = variant
        if variant == "absent":
            raise Absent("not on this machine")
        if variant == "dead":
            os._exit(3)

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {"FAKE_PEER_THREADS": str(threads)}

    def describe(self) -> dict[str, Any]:
        print("libraries talk on standard output")
        affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        return {
            "version": "1.0",
            "threads": os.environ["FAKE_PEER_THREADS"],
            "cpus": affinity,
            "pid": os.getpid(),
        }

    def prepare(self, problem: Problem) -> Runner:
        if self.variant == "unsupported":
            raise Unsupported("no such operation")
        if self.variant == "raise":
            raise ArithmeticError("cannot pack")
        if self.variant == "hang":
            time.sleep(3600)
        expected = reference(problem)
        if self.variant == "forks":  # as libraries do that report their use to their makers
            if os.fork() == 0:
                time.sleep(3600)
            os._exit(4)
        if self.variant == "wrong":
            expected = expected + np.float32(0.01)
        if self.variant == "nan":
            expected = expected * np.float32(np.nan)
        calls = 0

        def run(loops: int) -> None:
            nonlocal calls
            calls += loops
            if self.variant == "crash" and calls > 1:  # once it is timed
                os.abort()
            for _ in range(loops):
                sum(range(100))

        return Runner(run, expected.copy, kernels="fake")
