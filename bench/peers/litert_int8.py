"""LiteRT on 8-bit integers.

Best form: as of `litert`, of a model of int8 operators, filters with a scale for every output channel.
"""

from __future__ import annotations

from bench.peers import Runner, litert, tflite_model
from bench.quantized import Quantized


class Peer(litert.Peer):
    dtype = "int8"

    def prepare(self, problem: Quantized) -> Runner:  # type: ignore[override]
        return self.runner(tflite_model.build_int8(problem), problem.x)
