"""TFLite's operators on images and numbers as nodes. What reorders and selects is in `tflite_shapes`.

Every function takes a `Call` and gives the name of its result, or a list of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..activation import Array
from ..graph import Node
from ..nodes import complete
from ..nodes_numpy import nearest_index
from .tflite_call import Call, UnsupportedError
from .tflite_parse import Tensor

SAME = 0  # of the schema's Padding
L2_EPSILON = 1e-6  # of TFLite's kernel
MOST_RESIZED = 1 << 16  # pixels along one axis


# ---- convolutions -------------------------------------------------------------------------------


def _padding(call: Call) -> Any:
    given = call.option("Padding")
    return given if isinstance(given, tuple) else "same" if given == SAME else "valid"


def _window(call: Call) -> dict[str, Any]:
    strides = (call.option("StrideH"), call.option("StrideW"))
    dilations = (call.option("DilationHFactor", 1), call.option("DilationWFactor", 1))
    if min(strides + dilations) < 1:
        raise ValueError(f"strides of {strides} with dilations of {dilations}")
    return {"strides": strides, "padding": _padding(call), "dilations": dilations}


def _filters(call: Call, i: int) -> Array:
    filters = call.weights(i, "filters")
    if filters.ndim != 4:
        raise ValueError(f"filters {filters.shape} must have 4 axes")
    return filters


def _bias(call: Call, i: int) -> Array | None:
    """In float32. Hybrid models keep it so."""
    return call.weights(i, "biases").reshape(-1) if call.has(i) else None


def conv(call: Call) -> str:
    x, filters = call.value(0), _filters(call, 1)
    outputs, _, _, inputs = filters.shape
    channels = call.b.shape(x)[-1]
    if not inputs or channels % inputs or outputs % (channels // inputs):
        raise ValueError(f"filters {filters.shape} do not fit {channels} channels")
    hwio = np.ascontiguousarray(filters.transpose(1, 2, 3, 0))
    groups = channels // inputs
    return call.node(
        "conv", x, hwio, _bias(call, 2), groups=groups, activation=call.activation(), **_window(call)
    )


def depthwise(call: Call) -> str:
    """Filters [1, kh, kw, channels * multiplier]; the multiplier follows from the shapes, as in TFLite."""
    x, filters = call.value(0), _filters(call, 1)
    channels = call.b.shape(x)[-1]
    if filters.shape[0] != 1 or filters.shape[3] % channels:
        raise ValueError(f"filters {filters.shape} do not fit {channels} channels")
    hwio = filters.transpose(1, 2, 0, 3)
    return call.node(
        "conv", x, hwio, _bias(call, 2), groups=channels, activation=call.activation(), **_window(call)
    )


def transpose_conv(call: Call) -> str:
    filters, x = _filters(call, 1), call.value(2)
    attributes = transposed(call, filters.shape, call.b.shape(x))
    hwio = np.ascontiguousarray(filters.transpose(1, 2, 3, 0))
    return call.node("transpose_conv", x, hwio, _bias(call, 3), activation=call.activation(), **attributes)


def transpose_conv_bias(call: Call) -> str:
    """MediaPipe's own, whose options are TensorFlow Lite's struct: padding and strides as int32.

    With windows that are as large as their strides, as in its models, any padding is none.
    """
    told, filters = call.option("Custom", b""), _filters(call, 1)
    if len(told) != 12:
        raise ValueError(f"{len(told)} bytes of options, not 12")
    _, across, down = np.frombuffer(told, "<i4").tolist()
    if filters.shape[1:3] != (down, across):
        raise UnsupportedError(f"a window of {filters.shape[1:3]}; one of the strides is supported")
    hwio = np.ascontiguousarray(filters.transpose(1, 2, 3, 0))
    return call.node("transpose_conv", call.value(0), hwio, _bias(call, 2), strides=(down, across))


def transposed(call: Call, filters: tuple[int, ...], x: tuple[int, ...]) -> dict[str, Any]:
    """Of the full result, the part that a convolution of the wanted size would have read."""
    shape, strides = call.integers(0, "output shape"), (call.option("StrideH"), call.option("StrideW"))
    images = len(shape) == len(x) == len(filters) == 4
    if not images or min(shape[1:3]) < 1 or min(strides) < 1:
        raise ValueError(f"an output of {shape} with strides of {strides} does not fit {x}")
    cut, more = [], []
    for axis in range(2):
        stride, kernel, out = strides[axis], filters[1 + axis], shape[1 + axis]
        before = 0
        if _padding(call) == "same":
            before = max((-(-out // stride) - 1) * stride + kernel - out, 0) // 2
        after = (x[1 + axis] - 1) * stride + kernel - before - out
        cut.append((before, max(after, 0)))
        more.append(max(-after, 0))
    return {"strides": strides, "padding": tuple(cut), "output_padding": tuple(more)}


def fully_connected(call: Call) -> str:
    x = call.value(0)
    check_dense(call)

    def multiplied(image: str, filters: Array) -> str:
        return call.node("conv", image, filters, _bias(call, 2), activation=call.activation())

    return dense(call, x, call.weights(1, "weights"), multiplied)


def check_dense(call: Call) -> None:
    if call.option("WeightsFormat"):
        raise UnsupportedError("shuffled weights; the default format is supported")
    if call.data(1) is None:
        raise UnsupportedError("weights that are computed when it runs; BATCH_MATMUL multiplies two of these")


def dense(call: Call, x: str, weights: Array, multiplied: Callable[[str, Array], str]) -> str:
    """A 1x1 convolution, `multiplied`, over what is flattened in the order NHWC."""
    shape = call.shape(0)
    if weights.ndim != 2 or not weights.size or math.prod(shape) % weights.shape[1]:
        raise ValueError(f"weights {weights.shape} do not fit x {shape}")
    outputs, inputs = weights.shape
    keep = call.option("KeepNumDims") and len(shape) > 1
    if keep and shape[-1] != inputs:
        raise ValueError(f"weights {weights.shape} do not fit the last axis of {shape}")
    filters = np.ascontiguousarray(weights.T).reshape(1, 1, inputs, outputs)
    y = multiplied(call.reshape(x, (-1, 1, 1, inputs)), filters)
    return call.reshape(y, (*shape[:-1], outputs) if keep else (-1, outputs))


def batch_matmul(call: Call) -> str:
    a, b = call.value(0), call.value(1)
    for option, i in (("AdjX", 0), ("AdjY", 1)):
        rank = len(call.shape(i))
        if call.option(option) and rank > 1:
            turned = call.node("transpose", (a, b)[i], perm=(*range(rank - 2), rank - 1, rank - 2))
            a, b = (turned, b) if i == 0 else (a, turned)
    return call.node("matmul", a, b)


# ---- pools, reductions, resizing ----------------------------------------------------------------


def _pool(call: Call, op: str, x: str, **more: Any) -> str:
    window = _window(call) | {"kernel": (call.option("FilterHeight"), call.option("FilterWidth"))}
    if min(window["kernel"]) < 1:
        raise ValueError(f"a kernel of {window['kernel']}")
    return call.node(op, x, **window, **more)


def l2_pool(call: Call) -> str:
    mean = _pool(call, "average_pool", call.unary("square", call.value(0)))
    return call.activated(call.unary("sqrt", mean))


def reduce(kind: str) -> Callable[[Call], str]:
    def lower(call: Call) -> str:
        axes, keep = call.integers(1, "axes"), bool(call.option("KeepDims"))
        if not axes:
            return call.value(0)
        return call.node("reduce", call.value(0), kind=kind, axes=tuple(axes), keepdims=keep)

    return lower


def _sizes(call: Call) -> tuple[tuple[int, int], tuple[int, int]]:
    sizes, shape = call.integers(1, "sizes"), call.shape(0)
    if len(sizes) != 2 or not all(0 < n <= MOST_RESIZED for n in sizes) or len(shape) != 4:
        raise ValueError(f"sizes {sizes} do not fit {shape}")
    if call.option("AlignCorners") and call.option("HalfPixelCenters"):
        raise ValueError("align_corners and half_pixel_centers exclude each other")
    return (sizes[0], sizes[1]), shape[1:3]


def _coordinates(call: Call) -> str:
    if call.option("AlignCorners"):
        return "align_corners"
    return "half_pixel" if call.option("HalfPixelCenters") else "asymmetric"


def resize_bilinear(call: Call) -> str:
    sizes, _ = _sizes(call)
    return call.node("resize", call.value(0), kind="linear", sizes=sizes, coordinates=_coordinates(call))


def resize_nearest(call: Call) -> str:
    """A node, unless float32, in which TFLite computes where pixels come from, gives others."""
    sizes, before = _sizes(call)
    coordinates = _coordinates(call)
    rounding = "floor" if coordinates == "asymmetric" else "round_prefer_ceil"
    attributes = {"kind": "nearest", "sizes": sizes, "coordinates": coordinates, "rounding": rounding}
    node = Node("resize", (), "", complete("resize", attributes))
    x, same = call.value(0), True
    found = [_nearest(call, before[axis], sizes[axis]) for axis in (0, 1)]
    for axis in (0, 1):
        same &= np.array_equal(found[axis], nearest_index(node, axis, before[axis], sizes[axis]))
    if same:
        return call.node("resize", x, **attributes)
    return call.node("gather", call.node("gather", x, found[0], axis=1), found[1], axis=2)


def _nearest(call: Call, size: int, out: int) -> Array:
    one, corners, half = np.float32, call.option("AlignCorners"), call.option("HalfPixelCenters")
    scale = one(size - 1) / one(out - 1) if corners and out > 1 else one(size) / one(out)
    at = (np.arange(out, dtype=one) + one(0.5 if half else 0)) * scale
    at = np.floor(at + one(0.5)) if corners else np.floor(at)
    return np.asarray(np.clip(at, 0, size - 1), np.int64)


# ---- elementwise --------------------------------------------------------------------------------


def unary(kind: str, a: float = 0.0, b: float = 0.0) -> Callable[[Call], str]:
    return lambda call: call.unary(kind, call.value(0), a, b)


def binary(kind: str) -> Callable[[Call], str]:
    def lower(call: Call) -> str:
        a, b = call.value(0), call.value(1)
        left, right = call.data(0), call.data(1)
        if left is not None and right is not None and left.dtype.kind in "iu":
            return call.b.constant(_integers(kind, left, right))
        return call.node("binary", a, b, kind=kind, activation=call.activation())

    return lower


def _integers(kind: str, a: Array, b: Array) -> Array:
    """Of shapes. TFLite divides as C does: towards zero."""
    if kind != "div":
        functions = {
            "add": np.add,
            "sub": np.subtract,
            "mul": np.multiply,
            "max": np.maximum,
            "min": np.minimum,
            "pow": np.power,
        }
        return np.asarray(functions[kind](a, b))
    _refuse_zero(b)
    return np.asarray((np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype))


def _refuse_zero(b: Array) -> None:
    if not b.all():
        raise ValueError("an integer is divided by zero")


def floor_div(call: Call) -> str:
    left, right = call.data(0), call.data(1)
    if left is not None and right is not None:
        _refuse_zero(right)
        return call.b.constant(np.floor_divide(left, right))
    return call.unary("floor", call.node("binary", call.value(0), call.value(1), kind="div"))


def floor_mod(call: Call) -> str:
    """Of shapes; its sign is that of the divisor."""
    left, right = call.known(0, "numbers"), call.known(1, "numbers")
    _refuse_zero(right)
    return call.b.constant(np.mod(left, right))


def squared_difference(call: Call) -> str:
    return call.unary("square", call.node("binary", call.value(0), call.value(1), kind="sub"))


def add_n(call: Call) -> str:
    total = call.value(0)
    for i in range(1, len(call)):
        total = call.node("binary", total, call.value(i), kind="add")
    return total


def leaky_relu(call: Call) -> str:
    return call.unary("leaky_relu", call.value(0), call.option("Alpha", 0.0))


def prelu(call: Call) -> str:
    slope = call.weights(1, "slopes") if call.data(1) is not None else call.value(1)
    return call.node("prelu", call.value(0), slope)


def gelu(call: Call) -> str:
    return call.unary("gelu_tanh" if call.option("Approximate") else "gelu", call.value(0))


def rsqrt(call: Call) -> str:
    return call.unary("reciprocal", call.unary("sqrt", call.value(0)))


def softmax(call: Call) -> str:
    x, beta = call.value(0), call.option("Beta", 0.0)
    return call.node("softmax", x if beta == 1.0 else call.unary("linear", x, beta))


def l2_normalization(call: Call) -> str:
    """x over its length along the last axis, which counts as L2_EPSILON at least."""
    x = call.value(0)
    total = call.node("reduce", call.unary("square", x), kind="sum", axes=(-1,), keepdims=True)
    least = np.full((1,) * len(call.shape(0)), L2_EPSILON, np.float32)
    length = call.node("binary", call.unary("sqrt", total), least, kind="max")
    return call.activated(call.node("binary", x, length, kind="div"))


# ---- types --------------------------------------------------------------------------------------


def dequantize(call: Call) -> str:
    data = call.data(0)
    tensor: Tensor = call.tensor(0)
    if data is None:
        raise UnsupportedError(
            f"{tensor.kind} that is computed when it runs; constants and float networks are supported"
        )
    if data.dtype == np.float16:
        return call.b.constant(data.astype(np.float32))
    return call.b.constant(call.weights(0, "constants"))


def cast(call: Call) -> str:
    data, kind = call.data(0), call.output_dtype()
    if data is None:
        whole = call.tensor(0).kind in ("INT32", "INT64") and kind in (np.int32, np.int64)
        if kind == np.float32 or whole:  # values of other types are constants
            return call.value(0)
        raise UnsupportedError(f"a cast of activations to {kind}; FLOAT32 is supported")
    with np.errstate(all="ignore"):
        return call.b.constant(data.astype(kind))


UNARY = """
RELU RELU6 TANH HARD_SWISH ABS NEG EXP LOG SQRT SQUARE SIN COS FLOOR CEIL ROUND SIGN
"""  # of which the graph has functions of the same name
OPS: dict[str, Callable[[Call], str | list[str]]] = {
    **{name: unary(name.lower()) for name in UNARY.split()},
    "CONV_2D": conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "TRANSPOSE_CONV": transpose_conv,
    "CUSTOM:Convolution2DTransposeBias": transpose_conv_bias,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
    "AVERAGE_POOL_2D": lambda call: call.activated(_pool(call, "average_pool", call.value(0))),
    "MAX_POOL_2D": lambda call: call.activated(_pool(call, "max_pool", call.value(0))),
    "L2_POOL_2D": l2_pool,
    "MEAN": reduce("mean"),
    "SUM": reduce("sum"),
    "REDUCE_MAX": reduce("max"),
    "REDUCE_MIN": reduce("min"),
    "REDUCE_PROD": reduce("prod"),
    "RESIZE_BILINEAR": resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "ADD": binary("add"),
    "SUB": binary("sub"),
    "MUL": binary("mul"),
    "DIV": binary("div"),
    "MAXIMUM": binary("max"),
    "MINIMUM": binary("min"),
    "POW": binary("pow"),
    "FLOOR_DIV": floor_div,
    "FLOOR_MOD": floor_mod,
    "SQUARED_DIFFERENCE": squared_difference,
    "ADD_N": add_n,
    "RELU_N1_TO_1": unary("clip", -1.0, 1.0),
    "RELU_0_TO_1": unary("clip", 0.0, 1.0),
    "LEAKY_RELU": leaky_relu,
    "PRELU": prelu,
    "LOGISTIC": unary("sigmoid"),
    "ELU": unary("elu", 1.0, 1.0),
    "GELU": gelu,
    "RSQRT": rsqrt,
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": lambda call: call.node("softmax", call.value(0), log=True),
    "L2_NORMALIZATION": l2_normalization,
    "DEQUANTIZE": dequantize,
    "DENSIFY": lambda call: call.value(0),
    "CAST": cast,
}
