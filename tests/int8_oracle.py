"""Quantized convolutions in plain NumPy, written from their definitions and from nothing of the package.

A convolution of integers is a sum over taps of w * (x - zero point), taps in the padding adding 0, then
rounding: `rounded_even` in float32, `rounded_tflite` in 64-bit integers, as TensorFlow Lite has it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class Case(NamedTuple):
    """A random convolution: arguments of a layer, and an input."""

    x: np.ndarray
    filters: np.ndarray  # [kernel_h, kernel_w, channels / groups, outputs]
    bias: np.ndarray | None
    filter_scale: np.ndarray
    x_quant: tuple[float, int]
    y_quant: tuple[float, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    groups: int

    @property
    def depthwise(self) -> bool:
        return self.groups == self.x.shape[3]


def sums(case: Case) -> np.ndarray:
    """Exact sums, int64, of the padded difference."""
    x = case.x.astype(np.int64) - case.x_quant[1]
    x = np.pad(x, ((0, 0), *case.padding, (0, 0)))
    kh, kw, depth, outputs = case.filters.shape
    (sy, sx), (dy, dx) = case.strides, case.dilations
    height = (x.shape[1] - (kh - 1) * dy - 1) // sy + 1
    width = (x.shape[2] - (kw - 1) * dx - 1) // sx + 1
    y = np.zeros((len(x), height, width, outputs), np.int64)
    for out in range(outputs):
        group = out // (outputs // case.groups)
        for ky in range(kh):
            for kx in range(kw):
                pixels = x[:, ky * dy :, kx * dx :][
                    :, : (height - 1) * sy + 1 : sy, : (width - 1) * sx + 1 : sx
                ]
                channels = pixels[..., group * depth : (group + 1) * depth]
                y[..., out] += channels @ case.filters[ky, kx, :, out].astype(np.int64)
    return y if case.bias is None else y + case.bias


def rounded_even(acc: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """`factor`: float32, (x scale * filter scale) / y scale."""
    assert factor.dtype == np.float32
    return np.rint(acc.astype(np.int32).astype(np.float32) * factor).astype(np.int64)


def rounded_tflite(acc: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """`factor`: float64. QuantizeMultiplier, then MultiplyByQuantizedMultiplier, a number at a time."""
    parameters = [_multiplier(float(m)) for m in np.broadcast_to(factor, acc.shape[-1:])]
    flat = acc.reshape(-1, acc.shape[-1])
    y = [[_times(int(a), *p) for a, p in zip(row, parameters, strict=True)] for row in flat]
    return np.array(y, np.int64).reshape(acc.shape)


def _multiplier(factor: float) -> tuple[int, int]:
    fraction, shift = math.frexp(factor)
    mantissa = math.floor(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (0, 0) if shift < -31 else (mantissa, shift)


def _times(acc: int, mantissa: int, shift: int) -> int:
    product = max(-(2**31), min(2**31 - 1, acc * 2 ** max(shift, 0))) * mantissa
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    exponent = max(-shift, 0)
    mask = 2**exponent - 1
    return (high >> exponent) + ((high & mask) > (mask >> 1) + (high < 0))


def factors(case: Case, rounding: str) -> np.ndarray:
    if rounding == "tflite":
        return (
            np.float64(np.float32(case.x_quant[0]))
            * np.float64(case.filter_scale)
            / np.float32(case.y_quant[0]).astype(np.float64)
        )
    return np.float32(case.x_quant[0]) * case.filter_scale / np.float32(case.y_quant[0])


def expected(
    case: Case, rounding: str = "even", low: int | None = None, high: int | None = None
) -> np.ndarray:
    limits = np.iinfo(case.x.dtype)
    rounded = (rounded_tflite if rounding == "tflite" else rounded_even)(sums(case), factors(case, rounding))
    y = rounded + case.y_quant[1]
    return np.clip(y, limits.min if low is None else low, limits.max if high is None else high).astype(
        case.x.dtype
    )


def random_case(rng: Any, depthwise: bool | None = None, kind: str = "mixed") -> Case:
    """kind: "mixed", "extremes" (bytes at both ends alone), "ties" (scales that are powers of two) or "wide"
    (filters of int16: bytes less a zero point, of all outputs or of each)."""
    dtype = rng.choice([np.int8, np.uint8])
    limits = np.iinfo(dtype)
    depthwise = bool(rng.integers(2)) if depthwise is None else depthwise
    kernel = rng.integers(1, 6, 2) if rng.integers(3) else rng.choice([1, 3, 5, 7], 1).repeat(2)
    dilations, strides = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
    padding = rng.integers(0, 5, (2, 2))
    span = (kernel - 1) * dilations + 1
    size = np.maximum(rng.integers(1, 12, 2), span - padding.sum(1))
    if depthwise:
        channels = int(rng.choice([1, 2, 3, 5, 8, 16, 17, 33, 64, 70]))
        groups, outputs = channels, channels * int(rng.choice([1, 1, 2, 3, 8]))
    else:
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        channels, outputs = (
            groups * int(rng.choice([1, 2, 3, 4, 7, 16, 33])),
            groups * int(rng.choice([1, 2, 5, 16, 33, 65])),
        )
    shape = (int(rng.integers(1, 4)), *map(int, size), channels)
    ends = [limits.min, limits.max]
    x = rng.choice(ends, shape) if kind == "extremes" else rng.integers(limits.min, limits.max + 1, shape)
    wide = (int(kernel[0]), int(kernel[1]), channels // groups, outputs)
    w = rng.choice([-128, 127], wide) if kind == "extremes" else rng.integers(-128, 128, wide)
    if kind == "wide":  # few weights beyond int8, or many; in their thousands 255 is among them
        low, high = ((120, 130), (0, 1), (0, 256))[rng.integers(3)]
        w = w + 128 - rng.integers(low, high, outputs if rng.integers(2) else 1)
    w = w.astype(np.int16 if kind == "wide" else np.int8)
    bias = rng.integers(-(2**18), 2**18, outputs).astype(np.int32) if rng.integers(3) else None
    zeros = rng.choice([limits.min, limits.max, *rng.integers(limits.min, limits.max + 1, 3)], 2)
    depth = math.prod(wide[:3])
    if kind == "ties":
        scale = np.float32(2.0 ** rng.integers(-4, 0, outputs))
        x_scale, y_scale = 1.0, float(2.0 ** rng.integers(0, 6))
    else:
        scale = rng.uniform(0.001, 0.02, outputs).astype(np.float32)
        x_scale = float(np.float32(rng.uniform(0.005, 0.1)))
        y_scale = float(np.float32(x_scale * scale.mean() * math.sqrt(depth) * rng.uniform(20, 200)))
    if rng.integers(4) == 0:
        scale = scale[:1]
    return Case(
        x.astype(dtype), w, bias, scale, (x_scale, int(zeros[0])), (y_scale, int(zeros[1])),
        (int(strides[0]), int(strides[1])), (int(dilations[0]), int(dilations[1])),
        ((int(padding[0, 0]), int(padding[0, 1])), (int(padding[1, 0]), int(padding[1, 1]))), groups,
    )  # fmt: skip


def layer_of(case: Case, layers: Any, **more: Any) -> Any:
    """The layer of `layers`, the package, that computes the case."""
    given = {
        "bias": case.bias, "strides": case.strides, "dilations": case.dilations, "padding": case.padding,
        "dtype": case.x.dtype.name, "filter_scale": case.filter_scale, "input_quantization": case.x_quant,
        "output_quantization": case.y_quant, **more,
    }  # fmt: skip
    if case.depthwise:
        filters = case.filters.reshape(*case.filters.shape[:2], case.x.shape[3], -1)
        return layers.DepthwiseConv2D(filters, **given)
    return layers.Conv2D(case.filters, groups=case.groups, **given)
