"""The numbers of a workload in 8-bit integers, made from those in float32, and the result that is exact.

What images and filters are, scales and zero points included, is what a converter makes of a float network:
filters symmetric, with a scale for every output channel; the input, as after relu, from 0 on; outputs from 0
on after an activation, so that saturation is the clamp and no library pays for one; others over their range.
Numbers are int8; `Quantized.unsigned` is the same problem in uint8, all images and zero points 128 more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import problem as floats
from bench.workloads import Stage, Workload

Integers = NDArray[Any]


class Quant(NamedTuple):
    """The integer q stands for scale * (q - zero_point)."""

    scale: float
    zero_point: int


class Layer(NamedTuple):
    """A stage with its filter (int8, dwconv's layout), bias (int32, in units of both scales), the scales of
    its filter by output channel, and what its input and its output stand for."""

    stage: Stage
    filters: Integers
    bias: Integers
    scales: NDArray[np.float32]
    input: Quant
    output: Quant

    @property
    def factors(self) -> NDArray[np.float32]:
        """What sums are multiplied by, in the order in which ONNX Runtime and XNNPACK round it."""
        factors: NDArray[np.float32] = np.float32(self.input.scale) * self.scales
        factors /= np.float32(self.output.scale)
        return factors


@dataclass(frozen=True)
class Quantized:
    """x is NHWC; `sum` is what the output stands for after a residual."""

    workload: Workload
    x: Integers
    layers: list[Layer]
    sum: Quant | None = None

    @property
    def output(self) -> Quant:
        return self.sum or self.layers[-1].output

    def unsigned(self) -> Quantized:
        def up(quant: Quant) -> Quant:
            return Quant(quant.scale, quant.zero_point + 128)

        layers = [layer._replace(input=up(layer.input), output=up(layer.output)) for layer in self.layers]
        x = (self.x.astype(np.int16) + 128).astype(np.uint8)
        return Quantized(self.workload, x, layers, up(self.sum) if self.sum else None)


def make(workload: Workload, seed: int = 0) -> tuple[Quantized, Integers]:
    """The problem and its exact result."""
    source = floats.make(workload, seed)
    image = np.maximum(source.x, 0)
    quant = _range(image, "relu")
    x = y = np.clip(np.rint(image / np.float32(quant.scale)) - 128, -128, 127).astype(np.int8)
    first, layers = quant, []
    for stage, weights, bias in source.layers:
        scales = np.abs(weights).reshape(-1, stage.out_channels).max(axis=0) / np.float32(127)
        filters = np.rint(weights.reshape(*weights.shape[:2], -1, stage.out_channels) / scales).astype(
            np.int8
        )
        units = np.float32(quant.scale) * scales
        whole = np.rint(bias / units).astype(np.int32)
        layer = Layer(stage, filters.reshape(weights.shape), whole, scales, quant, quant)
        sums = _sums(y, layer)
        layer = layer._replace(output=_range(sums * units, stage.activation))
        y, quant = _rounded(sums, layer), layer.output
        layers.append(layer)
    if not workload.residual:
        return Quantized(workload, x, layers), y
    real = _real(x, first) + _real(y, quant)
    total = _range(real, None)
    return Quantized(workload, x, layers, total), _added(x, first, y, quant, total)


def reference(problem: Quantized) -> Integers:
    """By none of the code under measurement: sums in float64, which are exact, rounded once."""
    y = problem.x
    for layer in problem.layers:
        y = _rounded(_sums(y, layer), layer)
    if problem.sum:
        y = _added(problem.x, problem.layers[0].input, y, problem.layers[-1].output, problem.sum)
    return y


def _range(real: NDArray[Any], activation: str | None) -> Quant:
    """Of int8, for such numbers, which an activation makes 0 at least, and relu6 6 at most."""
    if activation:
        most = float(real.max())
        most = min(most, 6.0) if activation == "relu6" else most
        return Quant(float(np.float32(max(most, 1e-3) / 255)), -128)
    low, high = min(float(real.min()), 0.0), max(float(real.max()), 1e-3)
    scale = float(np.float32((high - low) / 255))
    return Quant(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def _real(q: Integers, quant: Quant) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = quant.scale * (q.astype(np.float64) - quant.zero_point)
    return numbers


def _sums(x: Integers, layer: Layer) -> NDArray[np.float64]:
    wide = x.astype(np.float64) - layer.input.zero_point
    return floats.convolve(wide, layer.stage, layer.filters.astype(np.float64)) + layer.bias


def _rounded(sums: NDArray[np.float64], layer: Layer) -> Integers:
    rounded = np.rint(sums.astype(np.float32) * layer.factors) + layer.output.zero_point
    return _saturated(rounded)


def _added(a: Integers, of_a: Quant, b: Integers, of_b: Quant, total: Quant) -> Integers:
    """XNNPACK's sum, in integers: factors of 20 bits, halves upwards."""
    ratios = [np.float32(of.scale) / np.float32(total.scale) for of in (of_a, of_b)]
    shift = 20 - int(np.frexp(max(ratios))[1]) + 1
    by = [round(float(ratio) * 2**shift) for ratio in ratios]
    wide = (a.astype(np.int64) - of_a.zero_point) * by[0] + (b.astype(np.int64) - of_b.zero_point) * by[1]
    rounded = ((wide + (1 << (shift - 1))) >> shift) + total.zero_point
    return _saturated(rounded)


def _saturated(numbers: NDArray[Any]) -> Integers:
    clipped: Integers = np.clip(numbers, -128, 127).astype(np.int8)
    return clipped


# ---- files -------------------------------------------------------------------------------------------


def save(problem: Quantized, expected: Integers | None, folder: Path) -> None:
    arrays: dict[str, Any] = {"x": problem.x, "sum": np.array(problem.sum or ())}
    for i, layer in enumerate(problem.layers):
        arrays |= {
            f"{name}{i}": np.asarray(value) for name, value in layer._asdict().items() if name != "stage"
        }
    if expected is not None:
        arrays["expected"] = expected
    np.savez(folder / "quantized.npz", **arrays)


def load(workload: Workload, folder: Path) -> tuple[Quantized, Integers | None]:
    with np.load(folder / "quantized.npz") as stored:
        arrays = dict(stored)

    def quant(values: NDArray[Any]) -> Quant:
        return Quant(float(values[0]), int(values[1]))

    layers = [
        Layer(
            stage,
            *(arrays[f"{name}{i}"] for name in ("filters", "bias", "scales")),
            *(quant(arrays[f"{name}{i}"]) for name in ("input", "output")),
        )
        for i, stage in enumerate(workload.stages)
    ]
    total = quant(arrays["sum"]) if arrays["sum"].size else None
    return Quantized(workload, arrays["x"], layers, total), arrays.get("expected")


def error(got: Integers, expected: Integers) -> float:
    """The largest difference; infinite where shapes differ."""
    if got.shape != expected.shape:
        return float("inf")
    return float(np.abs(got.astype(np.int16) - expected.astype(np.int16)).max())


def tolerance(workload: Workload) -> float:
    """Libraries round sums in several ways, by 1 apart, and the next stage sees the difference."""
    return float(len(workload.stages) + workload.residual)


def clamped(workloads: Sequence[Workload]) -> list[Workload]:
    """Workloads as int8 has them: activations that are no clamps are tables, in graphs operations of their
    own, and are left out; so are blocks with a squeeze-and-excite."""
    counts: dict[Workload, int] = {}
    for workload in workloads:
        if not workload.squeeze_excite:
            once = replace(workload.quantized(), count=1)
            counts[once] = counts.get(once, 0) + workload.count
    return [replace(workload, count=count) for workload, count in counts.items()]
