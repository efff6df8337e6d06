"""ONNX operations on 8-bit integers: QuantizeLinear, DequantizeLinear, and the QLinear family of ONNX and of
ONNX Runtime (com.microsoft). What no integer operation computes runs in float32 between conversions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nodes_numpy_integers
from ..activation import Array
from ..graph import Quantization
from ..nodes_integers import BYTES, check
from ..quantized import limits
from .channels_first import T, UnsupportedError
from .channels_first_integers import Integers, Rounding
from .onnx_call import Call
from .onnx_ops import OPS
from .onnx_windows import WINDOWS, _groups, _kernel, _pads, _sizes, _spatial, transposed

MICROSOFT = "com.microsoft"
FLOATS = OPS | WINDOWS


# ---- scales -------------------------------------------------------------------------------------


def _dtype(call: Call, zero: int, what: Any = None) -> np.dtype[Any]:
    """That of a zero point, uint8 where there is none; of 8 bits."""
    found = (
        what if what is not None else call.array(zero, "zero points").dtype if call.has(zero) else np.uint8
    )
    dtype = np.dtype(found)
    if dtype not in BYTES:
        raise UnsupportedError(f"integers of {dtype}; int8 and uint8 are supported")
    return dtype


def _scalar(call: Call, scale: int, zero: int, dtype: Any) -> Quantization:
    """A scale and zero point that hold for a whole tensor."""
    scales = call.array(scale, "scales")
    zeros = call.array(zero, "zero points") if call.has(zero) else np.zeros((), np.dtype(dtype))
    if scales.size != 1 or zeros.size != 1:
        raise UnsupportedError(f"scales {scales.shape} of activations; one scale is supported")
    if scales.dtype.kind != "f" or (call.has(zero) and zeros.dtype != dtype):
        raise ValueError(f"a scale of {scales.dtype} with a zero point of {zeros.dtype}, of {dtype}")
    return check((scales.reshape(-1)[0], zeros.reshape(-1)[0]), dtype)


def _bytes(call: Call, index: int, scale: int, zero: int) -> T:
    """An input of bytes, which stand for what the node says."""
    value = call.values[index] if call.has(index) else None
    integers = Integers(call.net)
    if isinstance(value, np.ndarray) and value.dtype in BYTES:
        q = _scalar(call, scale, zero, value.dtype)
        return T(call.net.builder.constant(value, q), tuple(range(value.ndim)))
    if not isinstance(value, T) or not integers.is_bytes(value):
        raise UnsupportedError(f"input {index}, which is no int8 or uint8")
    return integers.labelled(value, _scalar(call, scale, zero, call.net.dtype(value)))


def _weights(call: Call, index: int, scale: int, zero: int, axis: int) -> tuple[Array, Array]:
    """(numbers of 9 bits, scales: one, or one for each position of the axis), constant."""
    data = call.array(index, "weights")
    if data.dtype not in BYTES:
        raise UnsupportedError(f"weights of {data.dtype}; int8 and uint8 are supported")
    scales = np.asarray(call.array(scale, "scales"), np.float32).reshape(-1)
    zeros = call.array(zero, "zero points").reshape(-1) if call.has(zero) else np.zeros(1, data.dtype)
    count = data.shape[axis] if data.ndim else 1
    if scales.size not in (1, count) or zeros.size not in (1, count) or zeros.dtype != data.dtype:
        raise ValueError(f"scales {scales.shape} and zero points {zeros.shape} do not fit {data.shape}")
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scales must be finite and above 0")
    shape = [-1 if a == axis % max(data.ndim, 1) else 1 for a in range(data.ndim)]
    return data.astype(np.int16) - zeros.astype(np.int16).reshape(shape if zeros.size > 1 else ()), scales


def _rounding(call: Call, scale: int, zero: int) -> Rounding:
    """Of the result, with the bounds of an activation that was fused."""
    dtype = _dtype(call, zero)
    y = _scalar(call, scale, zero, dtype)
    bounds = call.attribute("fused_clip")
    if bounds is None:
        return Rounding(y, dtype)
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ValueError(f"fused_clip {bounds!r}")
    numbers = np.clip(np.array(bounds, np.float32), np.float32(-3e38), np.float32(3e38))
    low, high = (int(n) for n in nodes_numpy_integers.quantize(numbers, y, dtype, "even"))
    return Rounding(y, dtype, low, max(low, high))


def _bias(call: Call, index: int, outputs: int) -> Array | None:
    if not call.has(index):
        return None
    bias = call.array(index, "biases").reshape(-1)
    if bias.dtype != np.int32 or bias.size not in (1, outputs):
        raise ValueError(f"biases of {bias.dtype} {bias.shape} do not fit {outputs} outputs")
    return np.ascontiguousarray(np.broadcast_to(bias, (outputs,)))


# ---- conversions --------------------------------------------------------------------------------


def _quantize(call: Call) -> T:
    _refuse_blocks(call)
    x, kind = call.tensor(0), call.integer("output_dtype")
    kinds = {0: None, 2: np.uint8, 3: np.int8}
    if kind not in kinds:
        raise UnsupportedError(f"output_dtype {kind}; int8 and uint8 are supported")
    dtype = _dtype(call, 2, kinds[kind] if not call.has(2) else None)
    return Integers(call.net).quantize(x, _scalar(call, 1, 2, dtype), dtype)


def _dequantize(call: Call) -> T:
    _refuse_blocks(call)
    return Integers(call.net).dequantize(_bytes(call, 0, 1, 2), _scalar(call, 1, 2, _bytes_dtype(call)))


def _bytes_dtype(call: Call) -> np.dtype[Any]:
    value = call.values[0]
    return call.net.dtype(value) if isinstance(value, T) else value.dtype


def _refuse_blocks(call: Call) -> None:
    call.attribute("axis")
    call.attribute("precision")
    call.refuse("block_size", 0, default=0)


def _along(call: Call, array: Array, shape: tuple[int, ...]) -> Array:
    """Scales or zero points of one axis, to be broadcast to a shape."""
    if array.ndim == 0 or array.size == 1:
        return array.reshape(())
    axis = call.integer("axis", 1)
    if array.ndim != 1 or not -len(shape) <= axis < len(shape) or shape[axis] != array.size:
        raise ValueError(f"scales {array.shape} do not fit axis {axis} of {shape}")
    return array.reshape([-1 if a == axis % len(shape) else 1 for a in range(len(shape))])


def dequantized(call: Call) -> Array:
    """Of constants."""
    _refuse_blocks(call)
    data, scale = call.array(0), call.array(1, "scales")
    if data.dtype not in (np.int8, np.uint8, np.int32, np.int16, np.uint16):
        raise UnsupportedError(f"integers of {data.dtype}; int8 and uint8 are supported")
    call.budget.take(data.shape)
    numbers = data.astype(np.int64)
    if call.has(2):
        numbers = numbers - _along(call, call.array(2).astype(np.int64), data.shape)
    return np.asarray(numbers.astype(np.float32) * _along(call, scale.astype(np.float32), data.shape))


def quantized(call: Call) -> Array:
    """Of constants."""
    _refuse_blocks(call)
    data = call.array(0)
    kinds = {0: None, 2: np.uint8, 3: np.int8}
    dtype = _dtype(call, 2, kinds.get(call.integer("output_dtype")) if not call.has(2) else None)
    call.budget.take(data.shape)
    scale = _along(call, call.array(1, "scales").astype(np.float32), data.shape)
    zero: Any = _along(call, call.array(2).astype(np.int64), data.shape) if call.has(2) else 0
    scaled = np.rint(data.astype(np.float32) / scale)
    scaled = np.where(np.isnan(scaled), np.float32(0), np.clip(scaled, -(2.0**30), 2.0**30))
    return np.asarray(np.clip(scaled.astype(np.int64) + zero, *limits(dtype)).astype(dtype))


# ---- sums of products ---------------------------------------------------------------------------


def _qlinear_conv(call: Call) -> T:
    x = _bytes(call, 0, 1, 2)
    count = _spatial(call, x)
    filters, scale = _weights(call, 3, 4, 5, 0)
    _kernel(call, filters.shape, count)
    return Integers(call.net).conv(
        x,
        filters,
        scale,
        _bias(call, 8, filters.shape[0]),
        _rounding(call, 6, 7),
        strides=_sizes(call, "strides", count),
        pads=_pads(call, count),
        dilations=_sizes(call, "dilations", count),
        groups=_groups(call),
        auto_pad=call.text("auto_pad", "NOTSET"),
    )


def _qlinear_conv_transpose(call: Call) -> T:
    """What `onnx_qdq` makes, with the inputs of QLinearConv; filters are those of ConvTranspose."""
    x = _bytes(call, 0, 1, 2)
    filters, scale = _weights(call, 3, 4, 5, 1)
    window = transposed(call, x, filters.shape)
    if scale.size > 1:
        scale = np.tile(scale, window["groups"])
    bias = _bias(call, 8, filters.shape[1] * window["groups"])
    return Integers(call.net).conv_transpose(x, filters, scale, bias, _rounding(call, 6, 7), **window)


def _qlinear_matmul(call: Call) -> T:
    x = _bytes(call, 0, 1, 2)
    if isinstance(call.values[3], T) or call.array(3).ndim != 2:
        b = _bytes(call, 3, 4, 5)
        integers, rounding = Integers(call.net), _rounding(call, 6, 7)
        product = call.net.matmul(_real(call, x), _real(call, b))
        return integers.quantize(product, rounding.y, rounding.dtype)
    matrix, scale = _weights(call, 3, 4, 5, 1)
    return Integers(call.net).linear(x, matrix, scale, None, _rounding(call, 6, 7))


def _qgemm(call: Call) -> T:
    """A, its scale and zero point, B likewise, C in int32, scale and zero point of the result."""
    x = _bytes(call, 0, 1, 2)
    if call.number("alpha", 1.0) != 1.0:
        raise UnsupportedError("alpha; 1 is supported")
    if call.integer("transA"):
        x = call.net.transpose(x, (1, 0))
    turned = call.integer("transB")
    matrix, scale = _weights(call, 3, 4, 5, 0 if turned else 1)
    matrix = matrix.T if turned else matrix
    if not call.has(7):
        raise UnsupportedError("a result in float32; one of 8 bits is supported")
    bias = _bias(call, 6, matrix.shape[1])
    return Integers(call.net).linear(x, matrix, scale, bias, _rounding(call, 7, 8))


def _real(call: Call, x: T) -> T:
    q = Integers(call.net).quantization(x)
    assert q is not None
    return Integers(call.net).dequantize(x, q)


# ---- operations of ONNX Runtime -----------------------------------------------------------------


def _between(op: str, inputs: Sequence[tuple[int, int, int]], result: tuple[int, int]) -> Callable[[Call], T]:
    """An operation of floats between conversions. Inputs: (value, scale, zero point)."""

    def lower(call: Call) -> T:
        values = [_real(call, _bytes(call, *item)) for item in inputs]
        rounding = _rounding(call, *result)
        opset = call.integer("opset", call.base) if op == "Softmax" else call.base
        plain = Call(call.net, call.budget, call.node, opset, values, call.base)
        y = FLOATS[op](plain)
        call.seen |= plain.seen
        return Integers(call.net).quantize(y, rounding.y, rounding.dtype)

    return lower


def _qlinear_concat(call: Call) -> T:
    """Scale and zero point of the result, then those of each input after it."""
    rounding, integers = _rounding(call, 0, 1), Integers(call.net)
    if len(call.values) % 3 != 2 or len(call.values) < 5:
        raise ValueError(f"{len(call.values)} inputs are no triples")
    parts = []
    for index in range(2, len(call.values), 3):
        x = _real(call, _bytes(call, index, index + 1, index + 2))
        parts.append(integers.quantize(x, rounding.y, rounding.dtype))
    return call.net.concat(parts, call.integer("axis"))


def _global_average(call: Call) -> T:
    call.refuse("channels_last", 0, default=0)
    x, rounding = _real(call, _bytes(call, 0, 1, 2)), _rounding(call, 3, 4)
    y = call.net.global_pool("mean", x)
    return Integers(call.net).quantize(y, rounding.y, rounding.dtype)


def _average(call: Call) -> T:
    call.refuse("channels_last", 0, default=0)
    return _between("AveragePool", [(0, 1, 2)], (3, 4))(call)


def _resize(call: Call) -> T:
    """Of bytes the nearest ones, or those between them, whose fractions ONNX Runtime cuts off."""
    x = call.tensor(0)
    if call.net.dtype(x) not in BYTES or call.text("mode", "nearest") == "nearest":
        found: T = FLOATS["Resize"](call)
        return found
    net, integers, dtype = call.net, Integers(call.net), call.net.dtype(x)
    numbers = Quantization(1.0, 0)
    y = _on(call, "Resize", integers.dequantize(x, numbers))
    if dtype == np.int8:
        negative = net.unary("neg", net.unary("floor", net.unary("relu", net.unary("neg", y))))
        y = net.binary("add", net.unary("floor", net.unary("relu", y)), negative)
    else:
        y = net.unary("floor", y)
    q = integers.quantization(x)
    y = integers.quantize(y, numbers, dtype)
    return y if q is None else integers.labelled(y, q)


def _arg(op: str) -> Callable[[Call], T]:
    """The order of bytes is that of what they stand for."""

    def lower(call: Call) -> T:
        x = call.tensor(0)
        if call.net.dtype(x) not in BYTES:
            found: T = FLOATS[op](call)
            return found
        return _on(call, op, Integers(call.net).dequantize(x, Quantization(1.0, 0)))

    return lower


def _on(call: Call, op: str, x: T) -> T:
    """The node with another first input, of floats."""
    plain = Call(call.net, call.budget, call.node, call.opset, [x, *call.values[1:]], call.base)
    y: T = FLOATS[op](plain)
    call.seen |= plain.seen
    return y


INTEGER_OPS: dict[str, Callable[[Call], Any]] = {
    "ArgMax": _arg("ArgMax"),
    "ArgMin": _arg("ArgMin"),
    "Resize": _resize,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
}
INTEGER_FOLD: dict[str, Callable[[Call], Any]] = {
    "QuantizeLinear": quantized,
    "DequantizeLinear": dequantized,
}
MICROSOFT_OPS: dict[str, Callable[[Call], Any]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "QGemm": _qgemm,
    "QLinearConvTranspose": _qlinear_conv_transpose,
    "QLinearAdd": _between("Add", [(0, 1, 2), (3, 4, 5)], (6, 7)),
    "QLinearMul": _between("Mul", [(0, 1, 2), (3, 4, 5)], (6, 7)),
    "QLinearSigmoid": _between("Sigmoid", [(0, 1, 2)], (3, 4)),
    "QLinearLeakyRelu": _between("LeakyRelu", [(0, 1, 2)], (3, 4)),
    "QLinearSoftmax": _between("Softmax", [(0, 1, 2)], (3, 4)),
    "QLinearAveragePool": _average,
    "QLinearGlobalAveragePool": _global_average,
    "QLinearConcat": _qlinear_concat,
    "QLinearReduceMean": _between("ReduceMean", [(0, 1, 2)], (3, 4)),
}
# Operations of ONNX that take bytes as they are.
ON_BYTES = (
    "ArgMax", "ArgMin", "Resize",
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "DequantizeLinear", "QLinearConv",
    "QLinearMatMul", "ConvInteger", "MatMulInteger", "Shape", "Size", "Dropout",
)  # fmt: skip
