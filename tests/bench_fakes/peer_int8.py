"""The same on 8-bit integers; its variant is by how much its outputs are off: `bench_fakes.peer_int8@1`."""

from __future__ import annotations

import numpy as np

from bench import quantized
from bench.peers import Runner
from bench_fakes import peer


class Peer(peer.Peer):
    dtype = "int8"

    def prepare(self, problem: quantized.Quantized) -> Runner:  # type: ignore[override]
        expected = quantized.reference(problem)
        away = np.where(expected < 0, int(self.variant), -int(self.variant))

        def run(loops: int) -> None:
            for _ in range(loops):
                sum(range(100))

        return Runner(run, (expected + away).astype(np.int8).copy)
