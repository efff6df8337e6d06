"""Quantized operations in NumPy: the same bits as the compiled core.

Sums of products of 8-bit integers are exact in float64, which BLAS adds up; they are checked to fit int32
when a layer is made. What follows is arithmetic of float32, or of 64-bit integers, in the order of
docs/int8.md.
"""

from __future__ import annotations

import math

import numpy as np

from .activation import Array
from .fallback import CHUNK, _add_dense, _add_depthwise
from .fixed_point import fixed, times_fixed
from .graph import Node
from .graph import Quantization as NodeQuantization
from .operation import Operation, Stage
from .quantized import Quantization, bounds, dequantize, factors, is_clamp, limits, table_of


def run(operation: Operation, x: Array, out: Array | None = None) -> Array:
    """Writes the result into `out`, or into a new array where that is None, and returns it."""
    shapes = operation.shapes(x.shape)
    y = np.empty(shapes[-1], operation.output_dtype) if out is None else out
    images = max(1, CHUNK // max(math.prod(shape[1:]) for shape in shapes))
    for first in range(0, len(x), images):
        chunk = slice(first, first + images)
        y[chunk] = _run_chunk(operation, x[chunk])
    return y


def _run_chunk(operation: Operation, x: Array) -> Array:
    whole = operation.quantization
    assert whole is not None
    values, q = x, whole.input
    for stage in operation.stages:
        assert stage.quantization is not None
        if whole.gate is not None and stage is operation.stages[-1]:
            values, q = gated(operation, values, q), whole.gate.scaled
        values = run_stage(operation, stage, values, q)
        q = stage.quantization.output
    if whole.sum is not None:
        values = add(values, q, x, whole.input, whole.sum, whole.rounding == "tflite")
        q = whole.sum
    if whole.float_output:
        return dequantize(values, *q)
    return values


def sums(stage: Stage, x: Array, x_zero: int) -> Array:
    """The exact sums, int64; padding adds nothing."""
    numbers = x.astype(np.float64) - x_zero
    filters = stage.filters.astype(np.float64)
    size = [stage.window.extent(axis, x.shape[1 + axis])[0] for axis in range(2)]
    y = np.zeros((len(x), *size, stage.out_channels))
    if stage.kind == "depthwise":
        _add_depthwise(y, numbers, filters, stage.window)
    elif filters.shape[2] == 1:
        filters = filters.reshape(*filters.shape[:2], stage.groups, -1)
        _add_depthwise(y, numbers, filters, stage.window)
    else:
        _add_dense(y, numbers, filters, stage.window, stage.groups)
    exact = y.astype(np.int64)
    return exact if stage.bias is None else np.asarray(exact + stage.bias)


def run_stage(operation: Operation, stage: Stage, x: Array, x_quantization: Quantization) -> Array:
    whole, q = operation.quantization, stage.quantization
    assert whole is not None
    assert q is not None
    dtype, twice = whole.dtype, whole.rounding == "tflite"
    if q.clamp is not None:
        low, high = q.clamp
    elif q.table is not None or not is_clamp(stage.activation):
        low, high = limits(dtype)
    else:
        low, high = bounds(stage.activation, q.before, dtype, whole.rounding)
    total, zero = sums(stage, x, x_quantization.zero_point), q.before.zero_point
    if twice:
        scales = np.float64(x_quantization.scale) * q.filter_scale.astype(np.float64)
        rounded = times_fixed(total, *fixed(scales / np.float64(q.before.scale)))
        y = np.clip(rounded + zero, low, high)
    else:
        scaled = total.astype(np.int32).astype(np.float32) * factors(x_quantization, q)
        y = np.rint(np.clip(scaled, np.float32(low - zero), np.float32(high - zero))).astype(np.int64) + zero
    y = np.asarray(y.astype(dtype))
    if q.table is None and is_clamp(stage.activation):
        return y
    return np.asarray(table_of(stage.activation, q, dtype)[y.view(np.uint8)])


# ---- squeeze-and-excite -----------------------------------------------------------------------


def gated(operation: Operation, x: Array, q: Quantization) -> Array:
    """x times the factors of its channels: as the nodes of a network compute the mean and the product."""
    from . import nodes_numpy_integers as nodes

    whole = operation.quantization
    assert whole is not None
    assert whole.gate is not None
    gate = whole.gate
    alike = {"dtype": x.dtype.name, "rounding": whole.rounding}
    mean = Node("reduce", (), "", {
        "kind": "mean", "axes": (1, 2), "keepdims": True, "quantization": _node(gate.mean), **alike,
    })  # fmt: skip
    factors, p = nodes.reduced(mean, [_node(q)], x), gate.mean
    for stage in operation.squeeze_excite:
        assert stage.quantization is not None
        factors = run_stage(operation, stage, factors, p)
        p = stage.quantization.output
    product = Node("binary", (), "", {
        "kind": "mul", "formula": gate.product, "quantization": _node(gate.scaled), **alike,
    })  # fmt: skip
    return nodes.binary(product, [_node(q), _node(p)], x, factors)


def _node(q: Quantization) -> NodeQuantization:
    return NodeQuantization(q.scale, q.zero_point, None)


# ---- residuals --------------------------------------------------------------------------------


def add(a: Array, qa: Quantization, b: Array, qb: Quantization, qy: Quantization, twice: bool) -> Array:
    """a + b, as XNNPACK, or as TensorFlow Lite."""
    first, second = a.astype(np.int64), b.astype(np.int64)
    if twice:
        double = 2.0 * max(qa.scale, qb.scale)
        x = times_fixed((first - qa.zero_point) << 20, *fixed(qa.scale / double))
        y = times_fixed((second - qb.zero_point) << 20, *fixed(qb.scale / double))
        total = times_fixed(x + y, *fixed(double / (2.0**20 * qy.scale)))
    else:
        ratios = np.array([qa.scale, qb.scale], np.float32) / np.float32(qy.scale)
        shift = 21 - int(np.frexp(ratios.max())[1])
        m = [int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios]
        start = (1 << (shift - 1)) - m[0] * qa.zero_point - m[1] * qb.zero_point
        total = (start + first * m[0] + second * m[1]) >> shift
    return np.asarray(np.clip(total + qy.zero_point, *limits(a.dtype)).astype(a.dtype))
