"""OpenVINO's CPU plugin on 8-bit integers.

The variant says whether images are unsigned (`u8`) or signed (`s8`). Best form: as of `openvino`, of
convolutions between FakeQuantize operators, as its own converter writes them, which it turns into integer
primitives where it has them: `kernels` names them. From a graph with QuantizeLinear and DequantizeLinear it
takes float32 primitives for the first layers, because the scale of the input then moves into the filter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers import Absent, Runner, openvino
from bench.peers.onnxruntime_int8 import signed
from bench.quantized import Integers, Layer, Quant, Quantized


class Peer(openvino.Peer):
    dtype = "int8"

    def __init__(self, variant: str, threads: int) -> None:
        super().__init__(variant, threads)
        if variant not in ("u8", "s8"):
            raise Absent(f"no variant {variant}: u8, s8")
        self.variant = variant

    def prepare(self, problem: Quantized) -> Runner:  # type: ignore[override]
        own = problem if self.variant == "s8" else problem.unsigned()
        runner, compiled = self.compiled(self._model(own), own.x, own.workload.output_shape)

        def output() -> Integers:
            return signed(runner.output())

        return Runner(runner.run, output, ", ".join(_primitives(compiled)), keep=runner.keep)

    def _model(self, problem: Quantized) -> Any:
        self.ops: Any = self.openvino.opset13
        height, width = problem.workload.sizes()[0]
        low, high = _ends(problem)
        shape = [problem.workload.batch, problem.x.shape[3], height, width]
        x = self.ops.parameter(shape, dtype=problem.x.dtype.type)
        first = problem.layers[0].input
        ends = self._real(first, low, high)
        y = image = self._fake(self.ops.convert(x, "f32"), (low, high), ends)
        last = problem.layers[-1]
        for layer, size in zip(problem.layers, problem.workload.sizes(), strict=False):
            y, ends = self._convolution(layer, y, size), self._real(layer.output, low, high)
            is_output = layer is last and not problem.sum
            y = self._fake(y, ends, (low, high) if is_output else ends)
        if problem.sum:
            y = self._fake(self.ops.add(y, image), self._real(problem.sum, low, high), (low, high))
        return self.openvino.Model([self.ops.convert(y, "i8" if low else "u8")], [x])

    def _convolution(self, layer: Layer, x: Any, size: tuple[int, int]) -> Any:
        stage, ops, count = layer.stage, self.ops, layer.stage.out_channels
        top, bottom, left, right = stage.pads(*size)
        window = [stage.stride] * 2, [top, left], [bottom, right], [stage.dilation] * 2
        wide: tuple[int, ...]
        if stage.op == "depthwise":
            filters = layer.filters.transpose(2, 3, 0, 1)[:, :, np.newaxis]
            wide, convolve = (stage.in_channels, count // stage.in_channels, 1, 1, 1), ops.group_convolution
        else:
            filters, wide, convolve = layer.filters.transpose(3, 2, 0, 1), (count, 1, 1, 1), ops.convolution
        integers = ops.convert(ops.constant(np.ascontiguousarray(filters)), "f32")
        weights = ops.multiply(integers, ops.constant(layer.scales.reshape(wide)))
        real = (np.float32(layer.input.scale) * layer.scales * layer.bias).astype(np.float32)
        y = ops.add(convolve(x, weights, *window), ops.constant(real.reshape(1, count, 1, 1)))
        return ops.relu(y) if stage.activation else y

    def _real(self, quant: Quant, low: int, high: int) -> tuple[float, float]:
        return quant.scale * (low - quant.zero_point), quant.scale * (high - quant.zero_point)

    def _fake(self, x: Any, before: tuple[float, float], after: tuple[float, float]) -> Any:
        ends = (self.ops.constant(np.float32(end)) for end in (*before, *after))
        return self.ops.fake_quantize(x, *ends, 256)


def _ends(problem: Quantized) -> tuple[int, int]:
    limits = np.iinfo(problem.x.dtype)
    return int(limits.min), int(limits.max)


def _primitives(compiled: Any) -> list[str]:
    """What computes the convolutions, and in what numbers."""
    info = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    found = [(of["layerType"].astype(str), of["primitiveType"].astype(str)) for of in info]
    return [primitive for kind, primitive in found if "onvolution" in kind]
