"""ONNX Runtime's CPU provider on 8-bit integers.

The variant says how a graph is written: `u8` and `s8` are QLinearConv on unsigned and on signed images, `qdq`
the convolutions of floats, on unsigned ones, that it turns into the same. Best form: all graph optimisations,
input and output bound once. It computes in NHWC and transposes at both ends of the graph: see the slope.
"""

from __future__ import annotations

import numpy as np

from bench.peers import Absent, Runner, onnx_int8_model, onnx_model, onnxruntime
from bench.quantized import Integers, Quantized


class Peer(onnxruntime.Peer):
    dtype = "int8"

    def __init__(self, variant: str, threads: int) -> None:
        super().__init__(variant, threads)
        if variant not in ("u8", "s8", "qdq"):
            raise Absent(f"no variant {variant}: u8, s8, qdq")
        self.variant = variant

    def prepare(self, problem: Quantized) -> Runner:  # type: ignore[override]
        own = problem if self.variant == "s8" else problem.unsigned()
        model = onnx_int8_model.build(own, "qdq" if self.variant == "qdq" else "qlinear")
        session = self.session(model)
        image = np.ascontiguousarray(own.x.transpose(0, 3, 1, 2))
        x = self.ort.OrtValue.ortvalue_from_numpy(image)
        shape = onnx_model.nchw(own.workload.output_shape)
        y = self.ort.OrtValue.ortvalue_from_shape_and_type(shape, own.x.dtype.type, "cpu")
        run = self.bound(session, x, y)

        def output() -> Integers:
            return signed(y.numpy().transpose(0, 2, 3, 1))

        return Runner(run, output, keep=(image, x))


def signed(y: Integers) -> Integers:
    """As int8, whatever the peer computed."""
    return np.ascontiguousarray(y) if y.dtype == np.int8 else (y.astype(np.int16) - 128).astype(np.int8)
