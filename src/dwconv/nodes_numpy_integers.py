"""What nodes of a network compute on 8-bit integers, bit for bit, with NumPy: the oracle. See `dwconv.graph`.

With rounding "even" sums are rounded as in layers: one product in float32, half to even (docs/int8.md). With
"tflite" each op is the reference kernel of TensorFlow Lite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import fallback_integers, fixed_point
from .activation import Array
from .fixed_point import times
from .graph import Node, Quantization, Value
from .nodes import axes_of, live_taps, pool_geometry, resize_shape
from .nodes_integers import integer_operation
from .quantized import limits

Given = Sequence[Quantization | None]
SOFTMAX_BITS = 23  # of an exponential with rounding "even": whole numbers that float32 has


def compute(node: Node, quantizations: Given, inputs: Sequence[Array]) -> Array | None:
    """The node's result; None where its op is the same for integers as for floats."""
    if node.op == "quantize":
        return quantize(inputs[0], _output(node), node["dtype"], node["rounding"])
    function = FUNCTIONS.get(node.op)
    if function is None or inputs[0].dtype.kind not in "iu" or node.attributes.get("kind") == "nearest":
        return None
    if "dtype" in node.attributes and node["quantization"] is None:
        return None
    return function(node, quantizations, *inputs)


# ---- parts --------------------------------------------------------------------------------------


def _output(node: Node) -> Quantization:
    found: Quantization = node["quantization"]
    return found


def _given(quantizations: Given, index: int) -> Quantization:
    found = quantizations[index]
    if found is None:
        raise ValueError(f"its input {index} has no scale")
    return found


def _twice(node: Node) -> bool:
    return bool(node["integers" if node.op == "resize" else "rounding"] == "tflite")


def _ratio(*scales: Any) -> np.float32:
    """Products of all but the last, over the last: rounded to float32 one by one."""
    product = np.float32(scales[0])
    for scale in scales[1:-1]:
        product = np.float32(product * np.float32(scale))
    found: np.float32 = np.float32(product / np.float32(scales[-1]))
    return found


def scaled(total: Array, factor: Any) -> Array:
    """F: sums in int32 times a float32, halves to even."""
    with np.errstate(all="ignore"):
        t = total.astype(np.int32).astype(np.float32) * np.asarray(factor, np.float32)
        return np.rint(np.clip(t, np.float32(-(2.0**30)), np.float32(2.0**30))).astype(np.int64)


def _finished(node: Node, total: Array) -> Array:
    """With the zero point, within the clamp and the dtype."""
    low, high = limits(np.dtype(node["dtype"]))
    low = low if node.attributes.get("low") is None else max(low, node["low"])
    high = high if node.attributes.get("high") is None else min(high, node["high"])
    return np.asarray(np.clip(total + _output(node).zero_point, low, high).astype(node["dtype"]))


# ---- to and from floats -------------------------------------------------------------------------


def quantize(x: Array, q: Quantization, dtype: Any, rounding: str) -> Array:
    """x / scale in float32, rounded halves to even, or with "tflite" away from 0; NaN is the zero point."""
    kind = np.dtype(dtype)
    with np.errstate(all="ignore"):
        t = np.asarray(x, np.float32) / np.float32(q.scale)
        t = np.where(np.isnan(t), np.float32(0), np.clip(t, np.float32(-(2.0**30)), np.float32(2.0**30)))
    if rounding == "tflite":
        rounded = np.copysign(np.floor(np.abs(t.astype(np.float64)) + 0.5), t)
    else:
        rounded = np.rint(t)
    return np.asarray(np.clip(rounded.astype(np.int64) + q.zero_point, *limits(kind)).astype(kind))


def dequantize(x: Array, q: Quantization) -> Array:
    """(x - zero point) * scale in float32."""
    return np.asarray((x.astype(np.int64) - q.zero_point).astype(np.float32) * np.float32(q.scale))


def _lookup(node: Node, quantizations: Given, x: Array, table: Array) -> Array:
    index = np.ascontiguousarray(x).view(np.uint8)
    return np.asarray(table[index] if table.ndim == 1 else table[np.arange(len(table)), index])


# ---- sums of products ---------------------------------------------------------------------------


def _conv(node: Node, quantizations: Given, x: Array, filters: Array, bias: Array | None = None) -> Array:
    of_x, of_filters = _value(x, quantizations[0]), _value(filters, quantizations[1])
    return fallback_integers.run(integer_operation(node, of_x, of_filters, bias), x)


def _value(array: Array, q: Quantization | None) -> Value:
    return Value("", array.shape, array.dtype, array, q)


def _transpose_conv(
    node: Node, quantizations: Given, x: Array, filters: Array, bias: Array | None = None
) -> Array:
    """Sums in float64, which are exact, and then as a convolution."""
    from .nodes_numpy import NUMPY

    q, w, y = _given(quantizations, 0), _given(quantizations, 1), _output(node)
    plain = Node(node.op, (), "", node.attributes | {"activation": None})
    numbers = x.astype(np.float64) - q.zero_point
    total = NUMPY[node.op](plain, numbers, filters.astype(np.float64)).astype(np.int64)
    total = total if bias is None else total + bias
    weights = np.asarray(w.scale, np.float32).reshape(-1)
    if _twice(node):
        product = np.float64(np.float32(q.scale)) * weights.astype(np.float64)
        return _finished(node, times(total, product / np.float64(np.float32(y.scale))))
    with np.errstate(all="ignore"):
        return _finished(node, scaled(total, np.float32(q.scale) * weights / np.float32(y.scale)))


# ---- two values ---------------------------------------------------------------------------------


def binary(node: Node, quantizations: Given, a: Array, b: Array) -> Array:
    qa, qb, qy = _given(quantizations, 0), _given(quantizations, 1), _output(node)
    kind = node["kind"]
    if kind in ("max", "min"):  # of one scale: bytes are compared
        return np.asarray((np.maximum if kind == "max" else np.minimum)(a, b))
    if node["formula"] == "float":
        from .nodes_numpy import BINARY

        with np.errstate(all="ignore"):
            total = BINARY[kind](dequantize(a, qa), dequantize(b, qb))
        zero = Quantization(qy.scale, 0)
        return _finished(node, quantize(total, zero, np.int32, "even").astype(np.int64))
    x, y = a.astype(np.int64) - qa.zero_point, b.astype(np.int64) - qb.zero_point
    if kind == "mul":
        if _twice(node):
            return _finished(node, times(x * y, _ratio(qa.scale, qb.scale, qy.scale)))
        return _finished(node, scaled(x * y, _ratio(qa.scale, qb.scale, qy.scale)))
    sign = -1 if kind == "sub" else 1
    return _finished(
        node, _sum_twice(x, qa, y, qb, qy, sign) if _twice(node) else _sum(x, qa, y, qb, qy, sign)
    )


def _sum_twice(x: Array, qa: Quantization, y: Array, qb: Quantization, qy: Quantization, sign: int) -> Array:
    a, b, c = (np.float32(q.scale) for q in (qa, qb, qy))
    double = np.float64(2 * max(a, b))
    left, right = times(x << 20, a / double), times(y << 20, b / double)
    return times(left + sign * right, double / np.float64(np.float32(2.0**20) * c))


def _sum(x: Array, qa: Quantization, y: Array, qb: Quantization, qy: Quantization, sign: int) -> Array:
    """Whole factors of 21 bits, ties to plus infinity."""
    with np.errstate(over="ignore"):
        ratios = np.array([qa.scale, qb.scale], np.float32) / np.float32(qy.scale)
    ratios = np.minimum(ratios, np.float32(2.0**30))  # beyond, all but 0 saturates
    shift = min(max(21 - int(np.frexp(ratios.max())[1]), 1), 62)  # beyond, all is 0
    m = [int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios]
    return np.asarray((x * m[0] + sign * y * m[1] + (1 << (shift - 1))) >> shift)


def _prelu(node: Node, quantizations: Given, x: Array, slope: Array) -> Array:
    q, w, y = _given(quantizations, 0), _given(quantizations, 1), _output(node)
    numbers, slopes = x.astype(np.int64) - q.zero_point, slope.astype(np.int64) - w.zero_point
    apply: Callable[[Array, Any], Array] = times if _twice(node) else scaled
    above = apply(numbers, _ratio(q.scale, y.scale))
    below = apply(numbers * slopes, _ratio(q.scale, w.scale, y.scale))
    return _finished(node, np.where(numbers >= 0, above, below))


# ---- pools and reductions -----------------------------------------------------------------------


def _max_pool(node: Node, quantizations: Given, x: Array) -> Array:
    from .nodes_numpy import NUMPY

    return np.asarray(NUMPY[node.op](node, x.astype(np.float32)).astype(x.dtype))


def _average_pool(node: Node, quantizations: Given, x: Array) -> Array:
    """Of the raw integers with "tflite", whose input and output have one scale; padding never counts."""
    q, y = _given(quantizations, 0), _output(node)
    zero = 0 if _twice(node) else q.zero_point
    total, count = window_sums(node, x.astype(np.int64) - zero)
    if _twice(node):
        half = count // 2
        mean = np.where(total > 0, (total + half) // count, -((half - total) // count))
        return _finished(node, mean - y.zero_point)
    with np.errstate(all="ignore"):
        factors = _ratio(q.scale, y.scale) * (np.float32(1) / count.astype(np.float32))
    return _finished(node, scaled(total, factors))


def window_sums(node: Node, x: Array) -> tuple[Array, Array]:
    """Of each window: the sum of what lies inside the image, and how much that is [1, height, width, 1]."""
    (out_h, top, _), (out_w, left, _) = pool_geometry(node, x.shape[1:3])
    (kh, kw), (sh, sw), (dh, dw) = node["kernel"], node["strides"], node["dilations"]
    total = np.zeros((len(x), out_h, out_w, x.shape[3]), np.int64)
    count = np.zeros((1, out_h, out_w, 1), np.int64)
    rows, columns = np.arange(out_h) * sh - top, np.arange(out_w) * sw - left
    for _, out_y, in_y in live_taps(rows, kh, dh, x.shape[1]):
        for _, out_x, in_x in live_taps(columns, kw, dw, x.shape[2]):
            total[:, out_y[:, None], out_x] += x[:, in_y[:, None], in_x]
            count[:, out_y[:, None], out_x] += 1
    return total, np.maximum(count, 1)


def reduced(node: Node, quantizations: Given, x: Array) -> Array:
    axes, kind, keep = axes_of(node, x.ndim), node["kind"], node["keepdims"]
    if kind in ("max", "min"):
        return np.asarray((np.max if kind == "max" else np.min)(x, axis=axes, keepdims=keep))
    q, y = _given(quantizations, 0), _output(node)
    total = (x.astype(np.int64) - q.zero_point).sum(axis=axes, keepdims=keep)
    count = math.prod(x.shape[axis] for axis in axes) if kind == "mean" else 1
    if _twice(node):
        return _finished(node, fixed_point.times_fixed(total, *mean_factor(q, y, count)))
    factor = _ratio(q.scale, y.scale)
    return _finished(node, scaled(total, factor * (np.float32(1) / np.float32(count))))


def mean_factor(q: Quantization, y: Quantization, count: int) -> tuple[int, int]:
    """(mantissa, shift) of TensorFlow Lite's quantised mean: the division is part of the mantissa."""
    ratio = np.float64(np.float32(q.scale)) / np.float64(np.float32(y.scale))
    mantissa, shift = (int(part) for part in fixed_point.fixed(ratio))
    if count > 1:
        more = min(count.bit_length() - 1, 32, 31 + shift)
        mantissa, shift = (mantissa << more) // count, shift - more
    return mantissa, shift


# ---- softmax ------------------------------------------------------------------------------------


def softmax_table(q: Quantization, rounding: str) -> Array:
    """int32 [256]: the exponential of -difference * scale, by the difference from the largest.

    "even": with 23 bits after the point. "tflite": with 31, and -1 from where on results are 0 by rule.
    """
    scale = float(np.float32(q.scale))
    differences = np.arange(256, dtype=np.int64)
    if rounding == "even":
        return np.asarray(np.rint(np.exp(-differences * scale) * 2.0**SOFTMAX_BITS), np.int32)
    mantissa, shift = (int(part) for part in fixed_point.fixed(min(scale * 2.0**26, 2.0**31 - 1)))
    if shift < 0:
        raise ValueError(f"softmax: the scale {scale} of its input is too small for TensorFlow Lite")
    most = math.floor(31 * 2.0**26 / 2.0**shift)
    inside = differences <= most
    scaled_differences = fixed_point.multiplied(-np.where(inside, differences, 0) << shift, mantissa)
    return np.where(inside, fixed_point.exp(scaled_differences, 5), -1).astype(np.int32)


def _softmax(node: Node, quantizations: Given, x: Array) -> Array:
    q, y = _given(quantizations, 0), _output(node)
    rows = np.moveaxis(x.astype(np.int64), node["axis"], -1)
    table = softmax_table(q, node["rounding"]).astype(np.int64)
    powers = table[rows.max(-1, keepdims=True) - rows]
    found = _shares_twice(powers) if _twice(node) else _shares(powers, y)
    return np.asarray(np.moveaxis(_finished(node, found), -1, node["axis"]))


def _shares(powers: Array, y: Quantization) -> Array:
    factors = (1.0 / (powers.sum(-1, keepdims=True) * np.float64(np.float32(y.scale)))).astype(np.float32)
    return scaled(powers, factors)


def _shares_twice(powers: Array) -> Array:
    """Over the sum, with 8 bits; the scale of the result is 1/256 by TensorFlow Lite's rule."""
    live = powers >= 0
    totals = np.where(live, fixed_point.divided(powers, 12), 0).sum(-1, keepdims=True)
    found = np.zeros_like(powers)
    for total in np.unique(totals):
        headroom = 32 - int(total).bit_length()
        factor = int(fixed_point.reciprocal_of_one_plus((int(total) << headroom) - 2**31))
        share = fixed_point.divided(fixed_point.multiplied(powers, factor), 12 - headroom + 31 - 8)
        found = np.where((totals == total) & live, share, found)
    return found


# ---- resizing -----------------------------------------------------------------------------------


def resize_taps(node: Node, axis: int, size: int, out: int) -> tuple[Array, Array, Array]:
    """Lower index, upper index and the whole weight of the upper one, of 2^10 with "tflite", of 2^11 else."""
    kind = node["coordinates"]
    corners = kind == "align_corners" and out > 1
    i = np.arange(out, dtype=np.int64)
    if _twice(node):
        over, under = (size - 1, out - 1) if corners else (size, out)
        scale = (1024 * over + under // 2) // under
        at = i * scale + (scale // 2 - 512 if kind == "half_pixel" else 0)
        low = np.clip(np.where(at >= 0, at // 1024, 0), 0, size - 1)
        high = np.clip((at + 1023) // 1024, 0, size - 1)
        return low, np.maximum(high, low), at - 1024 * low
    one = np.float32
    ratio = one(size - corners) / one(out - corners)
    position = i.astype(one) * ratio
    if kind == "half_pixel":
        position = position + (one(0.5) * ratio - one(0.5))
    position = np.clip(position, one(0), one(size - 1))
    low = position.astype(np.int64)
    weight = np.rint((position - low.astype(one)) * one(2048)).astype(np.int64)
    return low, np.minimum(low + 1, size - 1), weight


def _resize(node: Node, quantizations: Given, x: Array) -> Array:
    _, out_h, out_w, _ = resize_shape(node, _value(x, None))
    top, bottom, wy = resize_taps(node, 0, x.shape[1], out_h)
    left, right, wx = resize_taps(node, 1, x.shape[2], out_w)
    bits = 10 if _twice(node) else 11
    wy, wx = wy[None, :, None, None], wx[None, None, :, None]
    numbers = x.astype(np.int64)
    rows = (numbers[:, top] << bits) + (numbers[:, bottom] - numbers[:, top]) * wy
    total = (rows[:, :, left] << bits) + (rows[:, :, right] - rows[:, :, left]) * wx
    half = 1 << (2 * bits - 1)
    if _twice(node):
        total = np.where(total > 0, (total + half) >> 2 * bits, -((half - total) >> 2 * bits))
    else:
        total = (total + half) >> 2 * bits
    return np.asarray(np.clip(total, *limits(x.dtype)).astype(x.dtype))


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "block": lambda node, quantizations, x: fallback_integers.run(node["operation"], x),
    "dequantize": lambda node, quantizations, x: dequantize(x, _given(quantizations, 0)),
    "lookup": _lookup,
    "conv": _conv,
    "transpose_conv": _transpose_conv,
    "binary": binary,
    "prelu": _prelu,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "reduce": reduced,
    "softmax": _softmax,
    "resize": _resize,
}
