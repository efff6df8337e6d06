"""ONNX's dynamic quantisation: DynamicQuantizeLinear, ConvInteger, MatMulInteger.

Scales are known only when it runs, so it runs in float32, on whole numbers: sums are exact as long as they
stay below 2^24, and the sum of two such sums is as exact as the conversion to float32 that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..activation import Array
from .channels_first import T, UnsupportedError
from .onnx_call import Call
from .onnx_windows import _groups, _kernel, _pads, _sizes, _spatial

MOST = 2**24
LEVELS = 255


def _dynamic_quantize(call: Call) -> list[T]:
    """(whole numbers from 0 to 255, scale, zero point), all in float32."""
    net, x = call.net, call.tensor(0)
    high = net.unary("relu", net.reshape(net.reduce("max", x, None), ()))
    low = net.unary("neg", net.unary("relu", net.unary("neg", net.reshape(net.reduce("min", x, None), ()))))
    reach = net.binary("sub", high, low)
    scale = net.binary("div", reach, np.array(LEVELS, np.float32))
    scale = net.binary("max", scale, np.array(np.finfo(np.float32).tiny, np.float32))  # of zeros alone
    zero = net.unary("neg", net.binary("div", low, scale))
    zero = net.unary("round", net.unary("clip", zero, 0, LEVELS))
    numbers = net.binary("add", net.unary("round", net.binary("div", x, scale)), zero)
    return [net.unary("clip", numbers, 0, LEVELS), scale, zero]


def _numbers(call: Call, index: int, zero: int) -> T:
    """x minus its zero point, in float32."""
    value = call.values[index]
    if not isinstance(value, T) or call.net.dtype(value) != np.float32:
        raise UnsupportedError("integers that DynamicQuantizeLinear did not make")
    if not call.has(zero):
        return value
    point = call.values[zero]
    if isinstance(point, np.ndarray):
        if point.size != 1:
            raise UnsupportedError(f"zero points {point.shape} of x; one is supported")
        point = point.reshape(()).astype(np.float32)
    return call.net.binary("sub", value, point)


def _weights(call: Call, zero: int, axis: int) -> Array:
    data = call.array(1, "weights")
    if data.dtype not in (np.int8, np.uint8):
        raise UnsupportedError(f"weights of {data.dtype}; int8 and uint8 are supported")
    if not call.has(zero):
        return data.astype(np.float32)
    point = call.array(zero, "zero points").reshape(-1)
    if point.size not in (1, data.shape[axis]):
        raise ValueError(f"zero points {point.shape} do not fit {data.shape}")
    shape = [-1 if a == axis % data.ndim else 1 for a in range(data.ndim)]
    return data.astype(np.float32) - point.astype(np.float32).reshape(shape)


def _parts(weights: Array, axis: int, outputs: int) -> list[slice]:
    """One or two ranges of inputs, along `axis`, whose sums are exact; `outputs`: the axis of these."""
    others = tuple(a for a in range(weights.ndim) if a not in (axis, outputs % weights.ndim))
    by_input = np.moveaxis(np.abs(weights).sum(others, keepdims=True), axis, 0) * LEVELS
    if by_input.sum(0).max() < MOST:
        return [slice(None)]
    half = weights.shape[axis] // 2
    for part in (by_input[:half], by_input[half:]):
        if not part.size or part.sum(0).max() >= MOST:
            raise UnsupportedError("sums of products that may pass 2^25, which float32 does not hold exactly")
    return [slice(0, half), slice(half, None)]


def _conv_integer(call: Call) -> T:
    net, x = call.net, _numbers(call, 0, 2)
    count, groups = _spatial(call, x), _groups(call)
    filters = _weights(call, 3, 0)
    _kernel(call, filters.shape, count)
    settings: dict[str, Any] = {
        "strides": _sizes(call, "strides", count),
        "pads": _pads(call, count),
        "dilations": _sizes(call, "dilations", count),
        "auto_pad": call.text("auto_pad", "NOTSET"),
    }
    parts = _parts(filters, 1, 0)
    if len(parts) == 1 or groups > 1:
        if len(parts) > 1:
            raise UnsupportedError("groups whose sums may pass 2^24, which float32 does not hold exactly")
        return net.conv(x, filters, groups=groups, **settings)
    sums = []
    for part in parts:
        slices: list[Any] = [None] * len(x.perm)
        slices[1] = (part.start, part.stop, 1)
        sums.append(net.conv(net.slice(x, slices), np.ascontiguousarray(filters[:, part]), **settings))
    return net.binary("add", *sums)


def _matmul_integer(call: Call) -> T:
    net, x = call.net, _numbers(call, 0, 2)
    if isinstance(call.values[1], T):
        raise UnsupportedError("a product of two activations")
    matrix = _weights(call, 3, -1)
    if matrix.ndim != 2:
        raise UnsupportedError(f"weights {matrix.shape}; a matrix is supported")
    sums = []
    for part in _parts(matrix, 0, 1):
        slices: list[Any] = [None] * len(x.perm)
        slices[-1] = (part.start, part.stop, 1)
        piece = x if part == slice(None) else net.slice(x, slices)
        sums.append(net.linear(piece, np.ascontiguousarray(matrix[part])))
    return sums[0] if len(sums) == 1 else net.binary("add", *sums)


DYNAMIC_OPS: dict[str, Callable[[Call], Any]] = {
    "DynamicQuantizeLinear": _dynamic_quantize,
    "ConvInteger": _conv_integer,
    "MatMulInteger": _matmul_integer,
}
