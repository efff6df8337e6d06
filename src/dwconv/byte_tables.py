"""Unary functions of bytes as tables of 256 entries by the byte as uint8, for `lookup` nodes.

"even": the function in float64, rounded to float32, times 1 / scale, halves to even, as XNNPACK's tables.
"tflite": what TensorFlow Lite's reference kernel of the function gives, which differs from one to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .activation import Array
from .fixed_point import divided, fixed, logistic, tanh, times, times_fixed
from .graph import Node, Quantization
from .quantized import limits

Numbers = Array  # int64: the bytes minus their zero point, in the order of the table


def table(
    kind: str, x: Quantization, x_dtype: Any, y: Quantization, dtype: Any, rounding: str,
    a: float = 0.0, b: float = 0.0,
) -> Array:  # fmt: skip
    """Of a `unary` node's kind, a and b; ValueError where TensorFlow Lite has no such function of bytes."""
    if rounding == "tflite":
        found = EXACT.get(kind)
        if found is None:
            raise ValueError(f'{kind} of bytes has no reference in TensorFlow Lite; rounding="even" has it')
        return found(_numbers(x, x_dtype), x, y, np.dtype(dtype), a, b)
    with np.errstate(all="ignore"):
        real = (_numbers(x, x_dtype).astype(np.float32) * np.float32(x.scale)).astype(np.float64)
        value = _unary(kind, real, a, b).astype(np.float32)
        t = value * (np.float32(1) / np.float32(y.scale)) + np.float32(y.zero_point)
        t = np.where(np.isnan(t), np.float32(y.zero_point), t)
        return np.asarray(np.rint(np.clip(t, *limits(np.dtype(dtype)))).astype(dtype))


def requantization(x: Quantization, x_dtype: Any, y: Quantization, dtype: Any, rounding: str) -> Array:
    """The same number with another scale, zero point or dtype. "even": as ONNX's two nodes."""
    numbers = _numbers(x, x_dtype)
    if rounding == "tflite":
        ratio = np.float64(np.float32(x.scale)) / np.float64(np.float32(y.scale))
        return _bytes(times(numbers, ratio), y, np.dtype(dtype))
    from .nodes_numpy_integers import quantize

    return quantize(numbers.astype(np.float32) * np.float32(x.scale), y, dtype, "even")


def clamp(x_dtype: Any, low: int, high: int) -> Array:
    """The same byte, within bounds."""
    return np.asarray(np.clip(_every(x_dtype), low, high).astype(x_dtype))


def relabelled(x_dtype: Any) -> Array:
    """The same byte: what follows reads another scale."""
    return np.asarray(_every(x_dtype).astype(x_dtype))


def joined(x: Quantization, y: Quantization) -> Array:
    """What TensorFlow Lite's concatenation makes of uint8 with another scale."""
    scale = np.float32(x.scale) * (np.float32(1) / np.float32(y.scale))
    bias = np.float32(-x.zero_point) * scale
    t = (np.arange(256).astype(np.float32) * scale + bias).astype(np.float64)
    return _bytes(_away(t), y, np.dtype(np.uint8))


# ---- parts --------------------------------------------------------------------------------------


def _every(dtype: Any) -> Array:
    return np.asarray(np.arange(256, dtype=np.uint8).view(dtype).astype(np.int64))


def _numbers(x: Quantization, dtype: Any) -> Numbers:
    return np.asarray(_every(dtype) - x.zero_point)


def _bytes(rounded: Array, y: Quantization, dtype: np.dtype[Any]) -> Array:
    return np.asarray(np.clip(rounded.astype(np.int64) + y.zero_point, *limits(dtype)).astype(dtype))


def _away(t: Any) -> Array:
    """Halves away from 0."""
    found: Array = np.copysign(np.floor(np.abs(t) + 0.5), t)
    return found


def _unary(kind: str, x: Array, a: float, b: float) -> Array:
    from .nodes_numpy import NUMPY

    return NUMPY["unary"](Node("unary", (), "", {"kind": kind, "a": a, "b": b}), x)


# ---- TensorFlow Lite's --------------------------------------------------------------------------


def _of_floats(kind: str) -> Callable[..., Array]:
    """A table that TensorFlow Lite makes itself, in float32."""

    def made(n: Numbers, x: Quantization, y: Quantization, dtype: Any, a: float, b: float) -> Array:
        real = np.float32(x.scale) * n.astype(np.float32)
        value = FLOATS[kind](real)
        with np.errstate(all="ignore"):
            t = value * (np.float32(1) / np.float32(y.scale))
        return _bytes(_away(np.clip(t.astype(np.float64), -(2.0**30), 2.0**30)), y, dtype)

    return made


def _in_double(kind: str, a: float = 0.0, b: float = 0.0) -> Callable[[Array], Array]:
    """The C library's functions of float32, which round their results well."""
    return lambda x: _unary(kind, x.astype(np.float64), a, b).astype(np.float32)


def _logistic(x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-x.astype(np.float64)).astype(np.float32)))


FLOATS: dict[str, Callable[[Array], Array]] = {
    "logistic": _logistic,
    "tanh": _in_double("tanh"),
    "elu": _in_double("elu", 1.0, 1.0),
    "gelu": _in_double("gelu"),
    "gelu_tanh": _in_double("gelu_tanh"),
    "exp": _in_double("exp"),
}


def _in_fixed_point(function: Callable[[Array, int], Array], bits: int) -> Callable[..., Array]:
    """With 4 integer bits, then `bits` of the result; what lies beyond the bits of x is the least or most.

    So on microcontrollers. Of uint8, which they lack, and in newer versions for servers it is a table.
    """

    def made(n: Numbers, x: Quantization, y: Quantization, dtype: Any, a: float, b: float) -> Array:
        if dtype == np.uint8:
            return _of_floats(function.__name__)(n, x, y, dtype, a, b)
        mantissa, shift = (int(part) for part in fixed(np.float64(x.scale) * 2.0**27))
        radius = math.floor(15 * 2.0**27 / 2.0**shift)
        inside = np.abs(n) < radius
        raw = function(times_fixed(np.where(inside, n, 0), mantissa, shift), 4)
        found = divided(raw, 31 - bits) + y.zero_point
        least, most = limits(dtype)
        found = np.where(inside, np.clip(found, least, most), np.where(n > 0, most, least))
        return np.asarray(found.astype(dtype))

    return made


def _relu(low: float, high: float) -> Callable[..., Array]:
    def made(n: Numbers, x: Quantization, y: Quantization, dtype: Any, a: float, b: float) -> Array:
        return clipped(n, x, y, dtype, low, high)

    return made


def clipped(n: Numbers, x: Quantization, y: Quantization, dtype: Any, low: float, high: float) -> Array:
    scale = np.float32(y.scale)
    bounds = [y.zero_point + _away(np.float64(np.float32(v) / scale)) for v in (low, high)]
    found = times(n, np.float32(x.scale) / scale) + y.zero_point
    least, most = limits(dtype)
    return np.asarray(np.clip(found, max(least, bounds[0]), min(most, bounds[1])).astype(dtype))


def _leaky_relu(n: Numbers, x: Quantization, y: Quantization, dtype: Any, a: float, b: float) -> Array:
    scales = np.float32(x.scale), np.float32(y.scale)
    slope = np.float32(scales[0] * np.float32(a)) / scales[1]
    below = np.sign(slope) * times(n, abs(slope))
    return _bytes(np.where(n >= 0, times(n, scales[0] / scales[1]), below), y, dtype)


def _hard_swish(n: Numbers, x: Quantization, y: Quantization, dtype: Any, a: float, b: float) -> Array:
    """In 16-bit fixed point: x on the scale of the result, times a factor that runs from 0 to 1."""
    fine = np.float32(1 / 128) * np.float32(x.scale)
    out_factor, out_shift = _short(fine / np.float32(y.scale))
    if out_shift > 0:
        raise ValueError("hard_swish: the scale of its result is too small for TensorFlow Lite")
    factor, shift = _short(fine / np.float32(3 / 32768))
    raised = n << 7
    before = _times_short(raised, out_factor)
    gate = _short_range(raised << max(shift - 1, 0)) if shift > 0 else raised
    gate = _times_short(gate, factor)
    gate = _short_range(gate << 1) if shift > 0 else divided(gate, -shift)
    gate = (gate + 2**15) >> 1
    product = gate * before
    shortened = np.where(product >= 0, product >> 15, -((-product) >> 15))
    return _bytes(divided(shortened, -out_shift), y, dtype)


def _short(factor: Any) -> tuple[int, int]:
    mantissa, shift = (int(part) for part in fixed(factor))
    return min((mantissa + 2**15) >> 16, 2**15 - 1), shift


def _short_range(x: Array) -> Array:
    return np.clip(x, -(2**15), 2**15 - 1)


def _times_short(x: Array, factor: int) -> Array:
    product = x * factor
    nudged = product + np.where(product >= 0, 2**14, 1 - 2**14)
    return _short_range(np.where(nudged >= 0, nudged >> 15, -((-nudged) >> 15)))


EXACT: dict[str, Callable[..., Array]] = {
    **{kind: _of_floats(kind) for kind in FLOATS if kind != "logistic"},
    "sigmoid": _in_fixed_point(logistic, 8),
    "tanh": _in_fixed_point(tanh, 7),
    "relu": _relu(0.0, np.inf),
    "relu6": _relu(0.0, 6.0),
    "clip": clipped,
    "leaky_relu": _leaky_relu,
    "hard_swish": _hard_swish,
}  # fmt: skip
