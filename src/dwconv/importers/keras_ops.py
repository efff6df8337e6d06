"""Operations of `keras.ops` as nodes: what the user's own layers and functions are made of.

Handlers have the arguments of the operation's `call`; what else it was made with are its attributes.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from .keras_graph import ACTIVATIONS, OPERATIONS, Handler, Net, T, UnsupportedError, operates
from .keras_layers import _channels_last, scaled

SELU = 1.0507009873554805, 1.6732632423543772  # scale, alpha


def unary(kind: str, a: float = 0.0, b: float = 0.0) -> Handler:
    return lambda net, op, x: net.unary(kind, x, a, b)


def binary(kind: str) -> Handler:
    return lambda net, op, x1, x2: net.binary(kind, x1, x2)


def reduction(kind: str) -> Handler:
    return lambda net, op, x: net.reduce(kind, x, op.axis, op.keepdims)


UNARY = {
    "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "silu",
    "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_swish", "Softplus": "softplus", "Absolute": "abs",
    "Abs": "abs", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Square": "square", "Negative": "neg",
    "Reciprocal": "reciprocal", "Erf": "erf", "Floor": "floor", "Ceil": "ceil", "Sign": "sign", "Sin": "sin",
    "Cos": "cos",
}  # fmt: skip
BINARY = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "Divide": "div", "TrueDivide": "div",
    "Maximum": "max", "Minimum": "min", "Power": "pow",
}  # fmt: skip
REDUCE = {
    "Mean": "mean", "Sum": "sum", "Max": "max", "Amax": "max", "Min": "min", "Amin": "min", "Prod": "prod",
}  # fmt: skip
OPERATIONS.update({name: unary(kind) for name, kind in UNARY.items()})
OPERATIONS.update({name: binary(kind) for name, kind in BINARY.items()})
OPERATIONS.update({name: reduction(kind) for name, kind in REDUCE.items()})
OPERATIONS["HardTanh"] = unary("clip", -1.0, 1.0)
OPERATIONS["Selu"] = unary("elu", SELU[0] * SELU[1], SELU[0])


# ---- elementwise --------------------------------------------------------------------------------


@operates("ReLU")
def relu(net: Net, op: Any, x: T) -> T:
    """keras.activations.relu: one that leaks, saturates or begins later."""
    if op.threshold:
        raise UnsupportedError(f"threshold={op.threshold}; 0 is supported")
    most = math.inf if op.max_value is None else float(op.max_value)
    if op.negative_slope:
        y = net.unary("leaky_relu", x, op.negative_slope)
        return y if most == math.inf else net.unary("clip", y, -math.inf, most)
    return net.unary("relu", x) if most == math.inf else net.unary("clip", x, 0.0, most)


@operates("LeakyRelu")
def leaky_relu(net: Net, op: Any, x: T) -> T:
    return net.unary("leaky_relu", x, op.negative_slope)


@operates("Elu")
def elu(net: Net, op: Any, x: T) -> T:
    return net.unary("elu", x, op.alpha, 1.0)


@operates("Gelu")
def gelu(net: Net, op: Any, x: T) -> T:
    return net.unary("gelu_tanh" if op.approximate else "gelu", x)


@operates("Rsqrt")
def rsqrt(net: Net, op: Any, x: T) -> T:
    return net.unary("reciprocal", net.unary("sqrt", x))


@operates("Softsign")
def softsign(net: Net, op: Any, x: T) -> T:
    return net.binary("div", x, net.unary("linear", net.unary("abs", x), 1.0, 1.0))


@operates("Mish")
def mish(net: Net, op: Any, x: T) -> T:
    return net.binary("mul", x, net.unary("tanh", net.unary("softplus", x)))


ACTIVATIONS[keras.activations.hard_silu] = unary("hard_swish")
ACTIVATIONS[keras.activations.mish] = mish


@operates("LogSigmoid")
def log_sigmoid(net: Net, op: Any, x: T) -> T:
    return net.unary("neg", net.unary("softplus", net.unary("neg", x)))


@operates("Clip")
def clip(net: Net, op: Any, x: T) -> T:
    low, high = (np.asarray(bound, np.float32) for bound in (op.x_min, op.x_max))
    if low.size == 1 and high.size == 1:
        return net.unary("clip", x, float(low.reshape(())), float(high.reshape(())))
    return net.binary("min", net.binary("max", x, low), high)


@operates("Softmax", "LogSoftmax")
def softmax(net: Net, op: Any, x: T) -> T:
    log = type(op).__name__ == "LogSoftmax"
    if not isinstance(op.axis, int):
        raise UnsupportedError(f"axis={op.axis}; one axis is supported")
    return net.node("softmax", x, axis=net.axis(x, op.axis), log=log)


@operates("Cast")
def cast(net: Net, op: Any, x: T) -> T:
    if str(op.dtype) != "float32":
        raise UnsupportedError(f"a cast to {op.dtype}; float32 is supported")
    return x


# ---- norms --------------------------------------------------------------------------------------


def _axes(net: Net, x: T, axis: Any) -> list[int]:
    return [net.axis(x, a) for a in ([axis] if isinstance(axis, int) else axis)]


def _square_mean(net: Net, x: T, axes: list[int]) -> T:
    return net.reduce("mean", net.unary("square", x), axes, True)


def _over_root(net: Net, x: T, square: T, epsilon: float) -> T:
    return net.binary("div", x, net.unary("sqrt", net.unary("linear", square, 1.0, epsilon)))


@operates("LayerNorm")
def layer_norm(net: Net, op: Any, x: T, gamma: Any = None, beta: Any = None) -> T:
    axes, shape = _axes(net, x, op.axis), net.shape(x)
    if op.rms_scaling:
        return _affine(net, _over_root(net, x, _square_mean(net, x, axes), op.epsilon), axes, gamma, None)
    if axes == [len(shape) - 1]:
        scale = np.ones(shape[-1], np.float32) if gamma is None else np.asarray(gamma, np.float32)
        offset = np.zeros(shape[-1], np.float32) if beta is None else np.asarray(beta, np.float32)
        return net.node("layer_norm", x, scale.reshape(-1), offset.reshape(-1), epsilon=float(op.epsilon))
    centred = net.binary("sub", x, net.reduce("mean", x, axes, True))
    normal = _over_root(net, centred, _square_mean(net, centred, axes), op.epsilon)
    return _affine(net, normal, axes, gamma, beta)


def _affine(net: Net, x: T, axes: list[int], gamma: Any, beta: Any) -> T:
    shape = [n if axis in axes else 1 for axis, n in enumerate(net.shape(x))]
    for kind, given in (("mul", gamma), ("add", beta)):
        if given is not None:
            x = net.binary(kind, x, np.asarray(given, np.float32).reshape(shape))
    return x


@operates("RMSNorm")
def rms_norm(net: Net, op: Any, x: T, scale: Any = None) -> T:
    axes = _axes(net, x, op.axis)
    epsilon = 1e-7 if op.epsilon is None else op.epsilon
    return _affine(net, _over_root(net, x, _square_mean(net, x, axes), epsilon), axes, scale, None)


@operates("Normalize")
def normalize(net: Net, op: Any, x: T) -> T:
    """x over its length, which counts as epsilon at least."""
    if op.order != 2:
        raise UnsupportedError(f"order={op.order}; 2 is supported")
    epsilon = 1e-7 if op.epsilon is None else op.epsilon
    total = net.reduce("sum", net.unary("square", x), _axes(net, x, op.axis), True)
    length = net.unary("clip", net.unary("sqrt", total), epsilon, math.inf)
    return net.binary("div", x, length)


@operates("BatchNorm")
def batch_norm(net: Net, op: Any, x: T, mean: Any, variance: Any, offset: Any = None, scale: Any = None) -> T:
    if any(isinstance(item, T) for item in (mean, variance, offset, scale)):
        raise UnsupportedError("statistics that are computed when it runs; constant ones are supported")
    shape = [n if axis in _axes(net, x, op.axis) else 1 for axis, n in enumerate(net.shape(x))]
    factor = 1 / np.sqrt(np.asarray(variance, np.float64) + op.epsilon)
    factor = factor if scale is None else factor * scale
    shift = (0 if offset is None else offset) - np.asarray(mean) * factor
    return scaled(net, x, factor.reshape(shape), np.asarray(shift).reshape(shape))


@operates("Moments")
def moments(net: Net, op: Any, x: T) -> list[T]:
    axes = _axes(net, x, op.axes)
    mean = net.reduce("mean", x, axes, True)
    variance = _square_mean(net, net.binary("sub", x, mean), axes)
    if op.keepdims:
        return [mean, variance]
    kept = [n for axis, n in enumerate(net.shape(x)) if axis not in axes]
    return [net.reshape(item, kept) for item in (mean, variance)]


@operates("Var", "Std")
def variance(net: Net, op: Any, x: T) -> T:
    axes = list(range(net.rank(x))) if op.axis is None else _axes(net, x, op.axis)
    square = net.unary("square", net.binary("sub", x, net.reduce("mean", x, axes, True)))
    found = net.reduce("mean", square, axes, op.keepdims)
    return net.unary("sqrt", found) if type(op).__name__ == "Std" else found


# ---- products -----------------------------------------------------------------------------------


@operates("Matmul")
def matmul(net: Net, op: Any, x1: Any, x2: Any) -> T:
    if isinstance(x1, T) and not isinstance(x2, T) and np.ndim(x2) == 2 and net.rank(x1) >= 2:
        weights, shape = np.asarray(x2, np.float32), net.shape(x1)  # a dense layer
        image = net.reshape(x1, (0, 1, int(np.prod(shape[1:-1], dtype=np.int64)), shape[-1]))
        return net.reshape(net.node("conv", image, weights[None, None]), (0, *shape[1:-1], weights.shape[1]))
    return net.node("matmul", net.tensor(x1), net.tensor(x2))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


@operates("Conv", "DepthwiseConv")
def conv(net: Net, op: Any, inputs: T, kernel: Any) -> T:
    _channels_last(op)
    if isinstance(kernel, T) or net.rank(inputs) != 4:
        raise UnsupportedError("filters that are computed, or no image; layers of Conv1D are supported")
    filters = np.asarray(kernel, np.float32)
    if type(op).__name__ == "DepthwiseConv":
        filters = filters.reshape(*filters.shape[:2], 1, -1)
    groups = net.shape(inputs)[3] // filters.shape[2]
    strides, dilations = _pair(op.strides), _pair(op.dilation_rate)
    window = {"strides": strides, "dilations": dilations, "padding": op.padding.lower()}
    return net.node("conv", inputs, filters, groups=groups, **window)


@operates("MaxPool", "AveragePool")
def pool(net: Net, op: Any, inputs: T) -> T:
    _channels_last(op)
    if net.rank(inputs) != 4:
        raise UnsupportedError("a pool of what is no image; layers of pools are supported")
    size = _pair(op.pool_size)
    strides = size if op.strides is None else _pair(op.strides)
    kind = "max_pool" if type(op).__name__ == "MaxPool" else "average_pool"
    return net.node(kind, inputs, kernel=size, strides=strides, padding=op.padding.lower())


@operates("Resize")
def resize(net: Net, op: Any, images: T) -> T:
    _channels_last(op)
    sizes = tuple(int(n) for n in op.size)
    before = net.shape(images)[1:3]
    plain = not op.crop_to_aspect_ratio and not op.pad_to_aspect_ratio
    shrinks = op.antialias and any(a < b for a, b in zip(sizes, before, strict=True))
    if op.interpolation != "bilinear" or shrinks or not plain or net.rank(images) != 4:
        kind = repr(op.interpolation)
        raise UnsupportedError(f"interpolation={kind}; 'bilinear' without antialias is supported")
    return net.node("resize", images, kind="linear", sizes=sizes, coordinates="half_pixel")


@operates("DepthToSpace", "SpaceToDepth")
def blocks(net: Net, op: Any, x: T) -> T:
    _channels_last(op)
    kind = "depth_to_space" if type(op).__name__ == "DepthToSpace" else "space_to_depth"
    return net.node(kind, x, block=op.block_size)
