"""oneDNN on 8-bit integers, of the same package as `onednn`.

The variant says whether images are unsigned (`u8`) or signed (`s8`), weights are signed in both. Best form:
as of `onednn`, with a scale for every output channel; zero points that are 0 are not mentioned.
"""

from __future__ import annotations

from bench.peers import Absent, Runner, onednn, shim
from bench.peers.onnxruntime_int8 import signed
from bench.quantized import Integers, Quantized


class Peer(onednn.Peer):
    dtype = "int8"
    source = "onednn_int8.c"

    def __init__(self, variant: str, threads: int) -> None:
        super().__init__("", threads)
        if variant not in ("u8", "s8"):
            raise Absent(f"no variant {variant}: u8, s8")
        self.variant = variant

    def prepare(self, problem: Quantized) -> Runner:  # type: ignore[override]
        own = problem if self.variant == "s8" else problem.unsigned()
        runner = shim.prepare(self.shim, own, self.threads)
        copy = runner.output

        def output() -> Integers:
            return signed(copy())

        runner.output = output
        return runner
