"""Operations of 8-bit integers for `dwconv verify` and `info`: those of floats with other weights and scales.

Results are those of the reference, bit for bit, on every instruction set and through NumPy.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from . import fallback_integers
from .activation import Array
from .config import core
from .geometry import Shape
from .operation import Operation, Stage
from .quantized import (
    DTYPES,
    Formula,
    GateQuantization,
    OperationQuantization,
    Quantization,
    StageQuantization,
    is_clamp,
    limits,
)

SPREAD = 64.0  # of outputs around their zero point: some are clamped


class Integers:
    """Makes operations; dtypes, roundings, zero points and those of filters take turns."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(2)
        self._made = 0

    def of(self, operation: Operation, x: Shape) -> Operation:
        """The operation with other weights, of integers; `x` says whether a residual is added."""
        dtype = DTYPES["uint8" if self._made % 2 else "int8"]
        whole = OperationQuantization(dtype, self._quantization(0.05, dtype), "even")
        if self._made % 4 == 3:
            whole = replace(whole, rounding="tflite")
        self._made += 1
        stages, q = [], whole.input
        for stage in operation.stages:
            if operation.squeeze_excite and stage is operation.stages[-1]:
                operation, gate = self._gated(operation, q, dtype)
                whole, q = replace(whole, gate=gate), gate.scaled
            stages.append(self._stage(stage, q, dtype))
            found = stages[-1].quantization
            assert found is not None
            q = found.output
        if operation.adds_input(x):
            whole = replace(whole, sum=self._quantization(q.scale + whole.input.scale, dtype))
        return replace(operation, stages=tuple(stages), quantization=whole)

    def _gated(
        self, operation: Operation, q: Quantization, dtype: np.dtype[np.generic]
    ) -> tuple[Operation, GateQuantization]:
        mean = self._quantization(q.scale / 4, dtype)
        squeeze = self._stage(operation.squeeze_excite[0], mean, dtype)
        assert squeeze.quantization is not None
        excite = self._stage(operation.squeeze_excite[1], squeeze.quantization.output, dtype)
        assert excite.quantization is not None
        scaled = self._quantization(q.scale * excite.quantization.output.scale * 8, dtype)
        formula: Formula = "float" if self._made % 3 else "integer"
        made = replace(operation, squeeze_excite=(squeeze, excite))
        return made, GateQuantization(mean, scaled, formula)

    def _quantization(self, scale: float, dtype: np.dtype[np.generic]) -> Quantization:
        """The zero point is at an end in two of four cases."""
        low, high = limits(dtype)
        inner = int(self._rng.integers(low, high + 1))
        zero_point = int(self._rng.choice([low, high, inner, inner]))
        return Quantization(float(np.float32(scale)), zero_point)

    def _stage(self, stage: Stage, x: Quantization, dtype: np.dtype[np.generic]) -> Stage:
        rng = self._rng
        filters = rng.integers(-128, 128, stage.filters.shape, np.int8)
        if self._made % 3 == 0:  # bytes less a zero point, few of them beyond int8
            filters = np.maximum(filters + np.int16(14), -113)
        scales = rng.uniform(0.001, 0.02, stage.out_channels).astype(np.float32)
        depth = math.prod(filters.shape[:2]) * (1 if stage.kind == "depthwise" else filters.shape[2])
        deviation = x.scale * 0.01 * math.sqrt(depth) * 74 * 74  # 74: that of a uniform byte
        output = self._quantization(deviation / SPREAD, dtype)
        plain = is_clamp(stage.activation)
        before = None if plain else self._quantization(deviation / SPREAD, dtype)
        return replace(
            stage,
            filters=filters,
            bias=rng.integers(-(2**16), 2**16, stage.out_channels).astype(np.int32),
            quantization=StageQuantization(scales, output, before),
        )


def image(operation: Operation, shape: Shape) -> Array:
    low, high = limits(operation.dtype)
    return np.random.default_rng(1).integers(low, high + 1, shape).astype(operation.dtype)


def reference(operation: Operation, x: Array) -> Array:
    if core is None:
        return fallback_integers.run(operation, x)
    y = np.empty(operation.output_shape(x.shape), operation.output_dtype)
    core.reference(operation, x, y)
    return y
