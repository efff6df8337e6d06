"""TFLite's operators on 8-bit integers as nodes. Those that only move elements are in `tflite_shapes`.

What has no integer form runs in float32 between DEQUANTIZE and QUANTIZE, unless every bit has to be that of
TensorFlow Lite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import byte_tables
from ..activation import Array
from ..graph import Quantization
from ..nine_bits import narrow
from ..nodes_integers import check, same
from ..quantized import limits
from . import tflite_ops, tflite_order
from .tflite_bytes import KINDS, as_declared, bounds_of, clamped, moved, operand, requantised, result_of
from .tflite_call import Call, UnsupportedError
from .tflite_shapes import SHAPE_OPS, pads_of


def is_integer(call: Call) -> bool:
    """Whether what it reads is of 8 bits and no constant, or what it computes, of constants too."""
    reads = any(
        call.tensor(i).kind in KINDS and call.data(i) is None for i in range(len(call)) if call.has(i)
    )
    result = call.output_tensor() if call.operator.outputs else None
    gives = result is not None and result.kind in KINDS and result.quantization is not None
    return reads or (gives and call.operator.op in INTEGERS)


def lower(call: Call) -> str | list[str]:
    op = call.operator.op
    if op in MOVES:
        return moved(call, SHAPE_OPS[op])
    if op in INTEGERS:
        return INTEGERS[op](call)
    if op in ("CAST", "SHAPE", "RANK", "ZEROS_LIKE"):
        return cast(call) if op == "CAST" else SHAPE_OPS[op](call)
    return _in_floats(call)


# ---- convolutions -------------------------------------------------------------------------------


def _weights(call: Call, i: int) -> tuple[Array, Quantization]:
    """Numbers from -255 to 255 that the weights of the file stand for, and their scales; int16."""
    tensor, data = call.tensor(i), call.known(i, "filters")
    q = tensor.quantization
    if data.dtype not in (np.int8, np.uint8) or q is None:
        raise UnsupportedError(f"filters of {tensor.kind} with 8-bit activations; INT8 is supported")
    scale, zero = np.asarray(q.scale, np.float32).reshape(-1), np.asarray(q.zero_point).reshape(-1)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"scales of {tensor.name!r} must be finite and above 0")
    low, high = limits(data.dtype)
    if len(set(zero.tolist())) != 1 or not low <= zero[0] <= high:
        raise ValueError(f"zero points of {tensor.name!r} must be one integer of {tensor.kind}")
    return data.astype(np.int16) - np.int16(zero[0]), Quantization(scale, 0, None)


def _with_filters(
    call: Call, x: str, hwio: Array, q: Quantization, bias: int, op: str = "conv", **attributes: Any
) -> str:
    """A convolution, with filters that may need 9 bits."""
    numbers = None
    if call.has(bias):
        numbers = call.known(bias, "biases").reshape(-1)
        if numbers.dtype != np.int32:
            raise UnsupportedError(f"biases of {call.tensor(bias).kind}; INT32 is supported")
    scale = Quantization(q.scale if np.size(q.scale) > 1 else np.float32(np.ravel(q.scale)[0]), 0, None)
    if np.size(q.scale) > 1:
        scale = scale._replace(axis=3)
    filters = call.b.constant(np.ascontiguousarray(narrow(hwio)), scale)
    return call.node(op, x, filters, numbers, **attributes)


def conv(call: Call) -> str:
    x, (filters, q) = operand(call), _weights(call, 1)
    if filters.ndim != 4 or len(call.b.shape(x)) != 4 or not filters.size:
        raise ValueError(f"filters {filters.shape} do not fit {call.b.shape(x)}")
    channels, (outputs, _, _, inputs) = call.b.shape(x)[3], filters.shape
    if channels % inputs or outputs % (channels // inputs):
        raise ValueError(f"filters {filters.shape} do not fit {channels} channels")
    hwio, groups = filters.transpose(1, 2, 3, 0), channels // inputs
    attributes = {**tflite_ops._window(call), **clamped(call), "groups": groups, **_product(call, x)}
    return _with_filters(call, x, hwio, q, 2, **attributes)


def depthwise(call: Call) -> str:
    x, (filters, q) = operand(call), _weights(call, 1)
    channels = call.b.shape(x)[-1]
    if filters.ndim != 4 or filters.shape[0] != 1 or filters.shape[3] % channels:
        raise ValueError(f"filters {filters.shape} do not fit {channels} channels")
    hwio = filters.transpose(1, 2, 0, 3)
    attributes = {**tflite_ops._window(call), **clamped(call), "groups": channels, **_product(call, x)}
    return _with_filters(call, x, hwio, q, 2, **attributes)


def _product(call: Call, x: str) -> dict[str, Any]:
    """TensorFlow Lite multiplies the two scales in float32 for uint8, and in FULLY_CONNECTED."""
    single = call.dtype(x) == np.uint8 or call.operator.op == "FULLY_CONNECTED"
    return {"float_product": bool(single and call.rounding == "tflite")}


def fully_connected(call: Call) -> str:
    x = operand(call)
    tflite_ops.check_dense(call)
    weights, q = _weights(call, 1)

    def multiplied(image: str, filters: Array) -> str:
        return _with_filters(call, image, filters, q, 2, **clamped(call), **_product(call, x))

    return tflite_ops.dense(call, x, weights, multiplied)


def transpose_conv(call: Call) -> str:
    x, (filters, q) = operand(call, 2), _weights(call, 1)
    attributes = tflite_ops.transposed(call, filters.shape, call.b.shape(x))
    hwio = filters.transpose(1, 2, 3, 0)
    return _with_filters(call, x, hwio, q, 3, "transpose_conv", **attributes, **clamped(call))


# ---- pools and reductions -----------------------------------------------------------------------


def average_pool(call: Call) -> str:
    return tflite_ops._pool(call, "average_pool", operand(call), **clamped(call))


def max_pool(call: Call) -> str:
    y = tflite_ops._pool(call, "max_pool", operand(call))
    result = result_of(call)
    bounds = bounds_of(call, result)
    if not bounds:
        return as_declared(call, y)
    table = byte_tables.clamp(result["dtype"], bounds["low"], bounds["high"])
    return call.node("lookup", y, table, quantization=result["quantization"])


def reduce(kind: str) -> Callable[[Call], str]:
    def made(call: Call) -> str:
        axes, keep, x = call.integers(1, "axes"), bool(call.option("KeepDims")), operand(call)
        result = result_of(call) if kind in ("mean", "sum") else {}
        if not axes:
            return requantised(call, x, result["quantization"], np.dtype(result["dtype"])) if result else x
        y = call.node("reduce", x, kind=kind, axes=tuple(axes), keepdims=keep, **result)
        return y if result else as_declared(call, y)

    return made


# ---- elementwise --------------------------------------------------------------------------------


def binary(kind: str) -> Callable[[Call], str]:
    def made(call: Call) -> str:
        if call.tensor(0).kind != call.tensor(1).kind:
            raise UnsupportedError(f"operands of {call.tensor(0).kind} and {call.tensor(1).kind}")
        return call.node("binary", operand(call, 0), operand(call, 1), kind=kind, **clamped(call))

    return made


def extreme(kind: str) -> Callable[[Call], str]:
    def made(call: Call) -> str:
        result = result_of(call)
        y, dtype = result["quantization"], np.dtype(result["dtype"])
        values = [operand(call, i) for i in (0, 1)]
        if call.rounding == "tflite" and not all(same(call.quantization(v), y) for v in values):
            raise UnsupportedError('operands of other scales than the result, with rounding="tflite"')
        return call.node("binary", *(requantised(call, v, y, dtype) for v in values), kind=kind)

    return made


def lookup(kind: str, a: float = 0.0, b: float = 0.0) -> Callable[[Call], str]:
    """A unary function: its table."""

    def made(call: Call) -> str:
        value, result = operand(call), result_of(call)
        y, x = result["quantization"], call.quantization(value)
        assert x is not None
        slope = float(call.option("Alpha", 0.0)) if kind == "leaky_relu" else a
        name = "gelu_tanh" if kind == "gelu" and call.option("Approximate") else kind
        table = _table(call, name, x, call.dtype(value), y, result["dtype"], slope, b)
        return call.node("lookup", value, table, quantization=y)

    return made


def _table(
    call: Call, kind: str, x: Quantization, x_dtype: Any, y: Quantization, dtype: Any, a: float, b: float
) -> Array:
    try:
        return byte_tables.table(kind, x, x_dtype, y, dtype, call.rounding, a, b)
    except ValueError as error:
        raise UnsupportedError(str(error)) from None


def prelu(call: Call) -> str:
    return call.node("prelu", operand(call, 0), operand(call, 1), **result_of(call))


def softmax(call: Call) -> str:
    value, beta = operand(call), np.float64(np.float32(call.option("Beta", 0.0)))
    if beta != 1.0:
        x = call.quantization(value)
        assert x is not None
        scale = beta * x.scale
        if np.float64(np.float32(scale)) != scale and call.rounding == "tflite":
            raise UnsupportedError(f'beta {beta} with rounding="tflite"; powers of two are supported')
        q = check((scale, x.zero_point), call.dtype(value))
        value = call.node("lookup", value, byte_tables.relabelled(call.dtype(value)), quantization=q)
    return call.node("softmax", value, **result_of(call))


# ---- images -------------------------------------------------------------------------------------


def resize_bilinear(call: Call) -> str:
    sizes, _ = tflite_ops._sizes(call)
    result = result_of(call)
    if call.rounding == "tflite" and result["dtype"] == "uint8":
        raise UnsupportedError('UINT8 with rounding="tflite"; INT8 is supported, and "even"')
    integers = result.pop("rounding")
    coordinates = tflite_ops._coordinates(call)
    x = call.quantization(operand(call))
    assert x is not None
    y = call.node(
        "resize", call.value(0), kind="linear", sizes=sizes, coordinates=coordinates, integers=integers,
        dtype=call.dtype(call.value(0)).name, quantization=x,
    )  # fmt: skip
    return as_declared(call, y)


def concatenation(call: Call) -> str:
    result = result_of(call)
    y, dtype = result["quantization"], np.dtype(result["dtype"])
    values = []
    for i in range(len(call)):
        value = operand(call, i)
        x = call.quantization(value)
        assert x is not None
        if call.dtype(value) == np.uint8 == dtype and not same(x, y) and call.rounding == "tflite":
            values.append(call.node("lookup", value, byte_tables.joined(x, y), quantization=y))
        else:
            values.append(requantised(call, value, y, dtype))
    if not values:
        raise ValueError("it has no inputs")
    joined = values[0] if len(values) == 1 else call.node("concat", *values, axis=call.option("Axis"))
    bounds = bounds_of(call, result)
    if not bounds:
        return joined
    table = byte_tables.clamp(dtype, bounds["low"], bounds["high"])
    return call.node("lookup", joined, table, quantization=y)


def pad(call: Call) -> str:
    """With zeros, which are the zero point, or with an integer of the same scale."""
    x = operand(call)
    value = float(call.quantization(x).zero_point)  # type: ignore[union-attr]
    if call.has(2):
        data = call.known(2, "pad value")
        if data.size != 1 or data.dtype != call.dtype(x):
            raise ValueError(f"a pad value of {data.dtype} {data.shape}")
        value = float(data.reshape(-1)[0])
    return call.node("pad", x, pads=tuple(pads_of(call)), value=value)


# ---- to and from floats -------------------------------------------------------------------------


def quantize(call: Call) -> str:
    value, result = call.value(0), result_of(call)
    dtype = call.dtype(value)
    if dtype == np.float32:
        return call.node("quantize", value, **result)
    if dtype not in KINDS.values():
        raise UnsupportedError(
            f"integers of {dtype} that are computed; FLOAT32, INT8 and UINT8 are supported"
        )
    return requantised(call, operand(call), result["quantization"], np.dtype(result["dtype"]))


def dequantize(call: Call) -> str:
    return call.node("dequantize", operand(call))


def cast(call: Call) -> str:
    """The numbers that the bytes are, whatever they stand for."""
    kind = call.output_dtype()
    value = call.value(0)
    if kind != np.float32:
        raise UnsupportedError(f"a cast of 8-bit integers to {kind}; FLOAT32 is supported")
    table = byte_tables.relabelled(call.dtype(value))
    plain = call.node("lookup", value, table, quantization=Quantization(1.0, 0, None))
    return call.node("dequantize", plain)


def _in_floats(call: Call) -> str | list[str]:
    """The operator of floats between nodes that convert."""
    op = call.operator.op
    if call.rounding == "tflite":
        raise UnsupportedError('8-bit integers with rounding="tflite"; with "even" it runs in float32')
    if op not in tflite_ops.OPS:
        raise UnsupportedError("8-bit integers; FLOAT32 is supported")
    made = tflite_ops.OPS[op](call.in_floats())
    values = [made] if isinstance(made, str) else made
    found = []
    for index, value in enumerate(values):
        integers = call.output_tensor(index).kind in KINDS
        found.append(call.node("quantize", value, **result_of(call, index)) if integers else value)
    return found


# Shape operators that take bytes as they are.
MOVES = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "PACK", "UNPACK", "SPLIT", "SPLIT_V", "SLICE",
    "STRIDED_SLICE", "REVERSE_V2", "GATHER", "MIRROR_PAD", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH",
    "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "TILE",
)  # fmt: skip
INTEGERS: dict[str, Callable[[Call], str | list[str]]] = {
    "CONV_2D": conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "TRANSPOSE_CONV": transpose_conv,
    "FULLY_CONNECTED": fully_connected,
    "AVERAGE_POOL_2D": average_pool,
    "MAX_POOL_2D": max_pool,
    "MEAN": reduce("mean"),
    "SUM": reduce("sum"),
    "REDUCE_MAX": reduce("max"),
    "REDUCE_MIN": reduce("min"),
    "ADD": binary("add"),
    "SUB": binary("sub"),
    "MUL": binary("mul"),
    "MAXIMUM": extreme("max"),
    "MINIMUM": extreme("min"),
    "RELU": lookup("relu"),
    "RELU6": lookup("relu6"),
    "RELU_N1_TO_1": lookup("clip", -1.0, 1.0),
    "RELU_0_TO_1": lookup("clip", 0.0, 1.0),
    "LEAKY_RELU": lookup("leaky_relu"),
    "LOGISTIC": lookup("sigmoid"),
    "TANH": lookup("tanh"),
    "HARD_SWISH": lookup("hard_swish"),
    "ELU": lookup("elu", 1.0, 1.0),
    "GELU": lookup("gelu"),
    "EXP": lookup("exp"),
    "ABS": lookup("abs"),
    "NEG": lookup("neg"),
    "LOG": lookup("log"),
    "SQRT": lookup("sqrt"),
    "SQUARE": lookup("square"),
    "ARG_MAX": tflite_order.arg(least=False),
    "ARG_MIN": tflite_order.arg(least=True),
    "PRELU": prelu,
    "SOFTMAX": softmax,
    "RESIZE_BILINEAR": resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": lambda call: moved(call, tflite_ops.resize_nearest),
    "CONCATENATION": concatenation,
    "PAD": pad,
    "PADV2": pad,
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
}
