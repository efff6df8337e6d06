"""ATen operations on elements: activations, arithmetic, reductions. See `dwconv.importers.torch_ops`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .channels_first import ChannelsFirst, T, UnsupportedError
from .torch_ops import OPS, known, number, op, scaled, tensor

# ---- activations ------------------------------------------------------------------------------

SAME = "relu relu6 silu sigmoid tanh abs neg exp log sqrt reciprocal square erf floor ceil sign sin cos"
OTHER = {"hardswish": "hard_swish", "hardsigmoid": "hard_sigmoid", "special_erf": "erf", "sgn": "sign"}
KINDS = {name: name for name in SAME.split()} | OTHER


def _same(kind: str) -> Any:
    return lambda net, x: net.unary(kind, x)


OPS.update({name: _same(kind) for name, kind in KINDS.items()})


@op("round")
def rounded(net: ChannelsFirst, x: T, decimals: int = 0) -> T:
    if decimals:
        raise UnsupportedError("decimals; whole numbers are supported")
    return net.unary("round", x)


@op("rsqrt")
def rsqrt(net: ChannelsFirst, x: T) -> T:
    return net.unary("reciprocal", net.unary("sqrt", x))


@op("hardtanh")
def hardtanh(net: ChannelsFirst, x: T, min_val: float, max_val: float) -> T:
    return clipped(net, x, min_val, max_val)


@op("clamp", "clip")
def clamp(net: ChannelsFirst, x: T, min: Any = None, max: Any = None) -> T:
    if isinstance(min, T | np.ndarray) or isinstance(max, T | np.ndarray):
        x = x if min is None else net.binary("max", x, number(min))
        return x if max is None else net.binary("min", x, number(max))
    return clipped(net, x, -math.inf if min is None else min, math.inf if max is None else max)


@op("clamp_min")
def clamp_min(net: ChannelsFirst, x: T, min: Any) -> T:
    return clamp(net, x, min)


@op("clamp_max")
def clamp_max(net: ChannelsFirst, x: T, max: Any) -> T:
    return clamp(net, x, None, max)


def clipped(net: ChannelsFirst, x: T, low: float, high: float) -> T:
    if low > high:
        raise UnsupportedError(f"bounds {low} and {high}, the lower one first")
    kind = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}.get((low, high))
    return net.unary(kind, x) if kind else net.unary("clip", x, low, high)


@op("leaky_relu")
def leaky_relu(net: ChannelsFirst, x: T, negative_slope: float) -> T:
    return net.unary("leaky_relu", x, negative_slope)


@op("rrelu")
def rrelu(net: ChannelsFirst, x: T, lower: float, upper: float, training: bool = False, **_: Any) -> T:
    if training:
        raise UnsupportedError("random slopes; call module.eval()")
    return net.unary("leaky_relu", x, (lower + upper) / 2)


@op("prelu", "_prelu_kernel")
def prelu(net: ChannelsFirst, x: T, weight: Any) -> T:
    slope = known(weight)
    if slope.ndim == 1 and len(x.perm) > 1:
        slope = slope.reshape(-1, *(1,) * (len(x.perm) - 2))
    return net.prelu(x, slope)


@op("elu", "celu")
def elu(net: ChannelsFirst, x: T, alpha: float, scale: float = 1.0, input_scale: float = 1.0) -> T:
    return net.unary("elu", scaled(net, x, input_scale), alpha * scale, scale / input_scale)


OPS["celu"] = lambda net, x, alpha: elu(net, x, alpha, 1.0, 1 / alpha)
# Klambauer et al., Self-Normalizing Neural Networks, arXiv 1706.02515.
OPS["selu"] = lambda net, x: elu(net, x, 1.6732632423543772, 1.0507009873554805)


@op("gelu")
def gelu(net: ChannelsFirst, x: T, approximate: str) -> T:
    return net.unary("gelu_tanh" if approximate == "tanh" else "gelu", x)


@op("softplus")
def softplus(net: ChannelsFirst, x: T, beta: float, threshold: float) -> T:
    if threshold < 17:  # beyond it, the logarithm is its argument in float32
        raise UnsupportedError(f"a threshold of {threshold}; 17 and more are supported")
    return scaled(net, net.unary("softplus", scaled(net, x, beta)), 1 / beta)


@op("mish")
def mish(net: ChannelsFirst, x: T) -> T:
    return net.binary("mul", x, net.unary("tanh", net.unary("softplus", x)))


@op("log_sigmoid")
def log_sigmoid(net: ChannelsFirst, x: T) -> T:
    return net.unary("neg", net.unary("softplus", net.unary("neg", x)))


@op("log_sigmoid_forward")
def log_sigmoid_forward(net: ChannelsFirst, x: T) -> Any:
    return log_sigmoid(net, x), None


@op("threshold")
def threshold(net: ChannelsFirst, x: T, threshold: float, value: float) -> T:
    if threshold != value:
        raise UnsupportedError("a value other than the threshold; the same is supported")
    return net.unary("clip", x, threshold, math.inf)


@op("glu")
def glu(net: ChannelsFirst, x: T, dim: int) -> T:
    half = net.shape(x)[dim] // 2
    parts: list[T] = []
    for slices in ([None] * len(x.perm) for _ in range(2)):
        slices[dim] = (len(parts) * half, (len(parts) + 1) * half, 1)  # type: ignore[call-overload]
        parts.append(net.slice(x, slices))
    return net.binary("mul", parts[0], net.unary("sigmoid", parts[1]))


@op("softmax", "_softmax", "_safe_softmax")
def softmax(net: ChannelsFirst, x: T, dim: int, **_: Any) -> T:
    return net.softmax(x, dim)


@op("log_softmax", "_log_softmax")
def log_softmax(net: ChannelsFirst, x: T, dim: int, **_: Any) -> T:
    return net.softmax(x, dim, log=True)


# ---- arithmetic -------------------------------------------------------------------------------


@op("add")
def add(net: ChannelsFirst, x: Any, other: Any, alpha: float) -> T:
    return net.binary("add", number(x), scaled(net, number(other), alpha))


@op("sub", "subtract")
def sub(net: ChannelsFirst, x: Any, other: Any, alpha: float) -> T:
    return net.binary("sub", number(x), scaled(net, number(other), alpha))


@op("rsub")
def rsub(net: ChannelsFirst, x: Any, other: Any, alpha: float) -> T:
    return sub(net, other, x, alpha)


@op("mul", "multiply")
def mul(net: ChannelsFirst, x: Any, other: Any) -> T:
    return net.binary("mul", number(x), number(other))


@op("div", "divide", "true_divide")
def div(net: ChannelsFirst, x: Any, other: Any, rounding_mode: str | None = None) -> T:
    if rounding_mode == "trunc":
        raise UnsupportedError("rounding_mode 'trunc'; None and 'floor' are supported")
    y = net.binary("div", number(x), number(other))
    return net.unary("floor", y) if rounding_mode else y


@op("maximum")
def maximum(net: ChannelsFirst, x: Any, other: Any) -> T:
    return net.binary("max", number(x), number(other))


@op("minimum")
def minimum(net: ChannelsFirst, x: Any, other: Any) -> T:
    return net.binary("min", number(x), number(other))


@op("pow")
def power(net: ChannelsFirst, x: Any, exponent: Any) -> T:
    if isinstance(x, T) and not isinstance(exponent, T | np.ndarray):
        if exponent == 2:
            return net.unary("square", x)
        if exponent in (0.5, -0.5):
            return net.unary("sqrt", x) if exponent > 0 else rsqrt(net, x)
        if exponent == -1:
            return net.unary("reciprocal", x)
    return net.binary("pow", number(x), number(exponent))


@op("addcmul")
def addcmul(net: ChannelsFirst, x: Any, tensor1: Any, tensor2: Any, value: float) -> T:
    return add(net, x, mul(net, tensor1, tensor2), value)


@op("addcdiv")
def addcdiv(net: ChannelsFirst, x: Any, tensor1: Any, tensor2: Any, value: float) -> T:
    return add(net, x, div(net, tensor1, tensor2), value)


@op("lerp")
def lerp(net: ChannelsFirst, x: Any, end: Any, weight: Any) -> T:
    return add(net, x, mul(net, weight, sub(net, end, x, 1)), 1)


# ---- reductions -------------------------------------------------------------------------------


def _axes(dim: Any) -> tuple[int, ...] | None:
    if dim is None or dim == []:
        return None
    return (dim,) if isinstance(dim, int) else tuple(dim)


def _reduction(kind: str) -> Any:
    def run(net: ChannelsFirst, x: T, dim: Any = None, keepdim: bool = False, **_: Any) -> T:
        axes = _axes(dim)
        return net.reduce(kind, x, axes, keepdim)

    return run


for _name, _kind in {"mean": "mean", "sum": "sum", "amax": "max", "amin": "min", "prod": "prod"}.items():
    OPS[_name] = _reduction(_kind)
OPS["max"], OPS["min"] = OPS["amax"], OPS["amin"]
OPS["max.other"], OPS["min.other"] = maximum, minimum


@op("max.dim")
def max_of(net: ChannelsFirst, **given: Any) -> Any:
    return OPS["amax"](net, **given), None


@op("min.dim")
def min_of(net: ChannelsFirst, **given: Any) -> Any:
    return OPS["amin"](net, **given), None


@op("topk")
def top_k(net: ChannelsFirst, x: T, k: int, dim: int, largest: bool, **_: Any) -> Any:
    return net.top_k(x, dim, k, least=not largest)[0], None


@op("var")
def variance(
    net: ChannelsFirst,
    x: T,
    dim: Any = None,
    correction: Any = None,
    keepdim: bool = False,
    unbiased: bool = True,
) -> T:
    shape = net.shape(x)
    axes = _axes(dim) or tuple(range(len(shape)))
    less = int(unbiased) if correction is None else correction
    count = math.prod(shape[axis] for axis in axes)
    if count <= less:
        raise UnsupportedError(f"the variance of {count} elements; more than {less} are supported")
    centred = net.binary("sub", x, net.reduce("mean", x, axes, True))
    return scaled(
        net, net.reduce("mean", net.unary("square", centred), axes, keepdim), count / (count - less)
    )


@op("std")
def deviation(net: ChannelsFirst, **given: Any) -> T:
    return net.unary("sqrt", variance(net, **given))


@op("var_mean")
def variance_and_mean(net: ChannelsFirst, x: T, dim: Any = None, keepdim: bool = False, **rest: Any) -> Any:
    return variance(net, x, dim, keepdim=keepdim, **rest), OPS["mean"](net, x, dim, keepdim)


@op("logsumexp")
def logsumexp(net: ChannelsFirst, x: T, dim: Any, keepdim: bool = False) -> T:
    most = net.reduce("max", x, _axes(dim))
    total = net.reduce("sum", net.unary("exp", net.binary("sub", x, most)), _axes(dim))
    y = net.binary("add", most, net.unary("log", total))
    return y if keepdim else net.squeeze(y, _axes(dim))


@op("linalg_vector_norm", "norm")
def vector_norm(
    net: ChannelsFirst, x: T, ord: Any = None, dim: Any = None, keepdim: bool = False, **rest: Any
) -> T:
    order = rest.get("p", ord)
    axes: Sequence[int] = _axes(dim) or tuple(range(len(x.perm)))
    if order in (2, None):
        return net.unary("sqrt", net.reduce("sum", net.unary("square", x), axes, keepdim))
    if order in (1, math.inf):
        return net.reduce("sum" if order == 1 else "max", net.unary("abs", x), axes, keepdim)
    raise UnsupportedError(f"a norm of order {order}; 1, 2 and infinity are supported")


@op("full_like", "zeros_like", "ones_like", "new_full", "new_zeros", "new_ones")
def filled(net: ChannelsFirst, x: T, size: Any = None, fill_value: float = 0.0, **_: Any) -> T:
    return tensor(net, np.full(net.shape(x) if size is None else size, fill_value, np.float32))


OPS["ones_like"] = OPS["new_ones"] = lambda net, x, size=None, **_: filled(net, x, size, 1.0)
