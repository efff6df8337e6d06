"""ATen operations on a `ChannelsFirst`: convolutions, products and norms.

Others stand in `torch_images`, `torch_elements` and `torch_shapes`. A function gets the network and the
arguments of the operation's schema by name (`x` for `self` and `input`). Tensors that are known are arrays.
It returns a tensor, or a tuple with None for a result that dwconv does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np

from ..activation import Array
from .channels_first import ChannelsFirst, T, UnsupportedError

Op: TypeAlias = Callable[..., Any]
F = TypeVar("F", bound=Op)
V = TypeVar("V")
OPS: dict[str, Op] = {}  # by name, or name.overload


def op(*names: str) -> Callable[[F], F]:
    def register(function: F) -> F:
        for name in names:
            OPS[name] = function
        return function

    return register


def many(value: int | Sequence[int], spatial: int) -> tuple[int, ...]:
    """One number for each spatial axis."""
    items = (value,) if isinstance(value, int | float) else tuple(value)
    return items * spatial if len(items) == 1 else items


def on_batch(net: ChannelsFirst, x: T, spatial: int, run: Callable[[T], T]) -> T:
    """`run` on an image without a batch too, as PyTorch has it."""
    if len(x.perm) == spatial + 2:
        return run(x)
    if len(x.perm) != spatial + 1:
        raise UnsupportedError(f"an image of shape {net.shape(x)}; {spatial + 2} axes are supported")
    y = run(net.reshape(x, (1, *net.shape(x))))
    return net.reshape(y, net.shape(y)[1:])


def pairs(padding: Sequence[int]) -> list[tuple[int, int]]:
    return [(size, size) for size in padding]


# ---- convolutions -----------------------------------------------------------------------------


@op("conv1d", "conv2d")
def conv(
    net: ChannelsFirst, x: T, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> T:
    shape = net.shape(weight) if isinstance(weight, T) else weight.shape
    spatial = len(shape) - 2
    strides, dilations = many(stride, spatial), many(dilation, spatial)
    if padding == "valid":
        pads = pairs((0,) * spatial)
    elif padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilations, shape[2:], strict=True)]
        pads = [(total // 2, total - total // 2) for total in totals]
    else:
        pads = pairs(many(padding, spatial))
    return on_batch(
        net, x, spatial,
        lambda x: net.conv(x, weight, bias, strides=strides, pads=pads, dilations=dilations, groups=groups),
    )  # fmt: skip


@op("conv_transpose1d", "conv_transpose2d")
def conv_transpose(
    net: ChannelsFirst,
    x: T,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> T:
    spatial = len(net.shape(weight) if isinstance(weight, T) else weight.shape) - 2
    return on_batch(
        net, x, spatial,
        lambda x: net.conv_transpose(
            x, weight, bias, strides=many(stride, spatial), pads=pairs(many(padding, spatial)),
            output_padding=many(output_padding, spatial), dilations=many(dilation, spatial), groups=groups,
        ),
    )  # fmt: skip


@op("convolution")
def convolution(net: ChannelsFirst, transposed: bool, output_padding: Any, **rest: Any) -> T:
    return conv_transpose(net, output_padding=output_padding, **rest) if transposed else conv(net, **rest)


# ---- products ---------------------------------------------------------------------------------


@op("linear")
def linear(net: ChannelsFirst, x: T, weight: Any, bias: Any) -> T:
    if isinstance(weight, np.ndarray):
        return net.linear(x, weight.T, bias)
    y = net.matmul(x, net.transpose(weight, (1, 0)))
    return y if bias is None else net.binary("add", y, bias)


@op("matmul")
def matmul(net: ChannelsFirst, x: Any, other: Any) -> T:
    return net.matmul(tensor(net, x), tensor(net, other))


@op("mm", "bmm", "mv", "dot")
def mm(net: ChannelsFirst, x: Any, **other: Any) -> T:
    return matmul(net, x, *other.values())


@op("addmm", "baddbmm")
def addmm(net: ChannelsFirst, x: Any, beta: float, alpha: float, **factors: Any) -> T:
    left, right = (tensor(net, factor) for factor in factors.values())
    fixed = net.data(right)
    if fixed is not None and fixed.ndim == 2 and not isinstance(x, T) and x.ndim == 1 and alpha == beta == 1:
        return net.linear(left, fixed, x)
    product = scaled(net, net.matmul(left, right), alpha)
    return product if beta == 0 else net.binary("add", product, scaled(net, x, beta))


def attention(
    net: ChannelsFirst,
    query: T,
    key: T,
    value: T,
    attn_mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    **_: Any,
) -> T:
    if enable_gqa:
        raise UnsupportedError("enable_gqa; keys of as many heads as queries are supported")
    query, key, value = tensor(net, query), tensor(net, key), tensor(net, value)
    shape, rank = net.shape(key), len(key.perm)
    if is_causal:
        attn_mask = np.tri(net.shape(query)[-2], shape[-2], dtype=bool)
    factor = 1 / math.sqrt(shape[-1]) if scale is None else scale
    turned = net.transpose(key, (*range(rank - 2), rank - 1, rank - 2))
    weights = net.matmul(scaled(net, query, factor), turned)
    if isinstance(attn_mask, np.ndarray) and attn_mask.dtype == bool:
        attn_mask = np.where(attn_mask, np.float32(0), np.float32(-np.inf))
    if attn_mask is not None:
        weights = net.binary("add", weights, attn_mask)
    return net.matmul(net.softmax(weights, -1), value)


OPS["scaled_dot_product_attention"] = attention
OPS["_scaled_dot_product_flash_attention_for_cpu"] = lambda net, **given: (attention(net, **given), None)


def tensor(net: ChannelsFirst, x: T | Array) -> T:
    return x if isinstance(x, T) else net.constant(x)


def number(value: Any) -> Any:
    """A tensor, or an array of float32 that is broadcast to it."""
    return value if isinstance(value, T) else np.asarray(value, np.float32)


def scaled(net: ChannelsFirst, x: V, factor: float) -> V:
    if factor == 1:
        return x
    y = net.binary("mul", x, number(factor)) if isinstance(x, T) else number(x) * np.float32(factor)
    return cast(V, y)


# ---- norms ------------------------------------------------------------------------------------


@op("batch_norm")
def batch_norm(
    net: ChannelsFirst,
    x: T,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    eps: float,
    training: bool = False,
    **_: Any,
) -> T:
    if training or running_mean is None:
        raise UnsupportedError(
            "batch norm of the batch's own mean; running_mean and running_var are supported"
        )
    channels = np.ones(net.shape(x)[1], np.float32)
    scale, shift = channels if weight is None else weight, 0 * channels if bias is None else bias
    return net.batch_norm(x, scale, shift, running_mean, running_var, eps)


@op("_native_batch_norm_legit_no_training")
def native_batch_norm(net: ChannelsFirst, **given: Any) -> Any:
    return batch_norm(net, **given), None, None


@op("_native_batch_norm_legit.no_stats")
def batch_statistics(net: ChannelsFirst, x: T, weight: Any, bias: Any, eps: float, **_: Any) -> Any:
    """What instance norm is made of: a batch of one, whose mean is that of every channel."""
    if net.shape(x)[0] != 1:
        raise UnsupportedError(
            "batch norm of the batch's own mean; running_mean and running_var are supported"
        )
    return net.instance_norm(x, weight, bias, eps), None, None


@op("instance_norm")
def instance_norm(
    net: ChannelsFirst, x: T, use_input_stats: bool, eps: float, weight: Any, bias: Any, **rest: Any
) -> T:
    if not use_input_stats:
        return batch_norm(net, x, weight, bias, rest["running_mean"], rest["running_var"], eps)
    return net.instance_norm(x, weight, bias, eps)


@op("layer_norm")
def layer_norm(
    net: ChannelsFirst, x: T, normalized_shape: Sequence[int], weight: Any, bias: Any, eps: float, **_: Any
) -> T:
    return net.layer_norm(x, range(-len(normalized_shape), 0), weight, bias, eps)


@op("native_layer_norm")
def native_layer_norm(net: ChannelsFirst, **given: Any) -> Any:
    return layer_norm(net, **given), None, None


@op("group_norm")
def group_norm(net: ChannelsFirst, x: T, num_groups: int, weight: Any, bias: Any, eps: float, **_: Any) -> T:
    return net.group_norm(x, num_groups, weight, bias, eps)


@op("native_group_norm")
def native_group_norm(
    net: ChannelsFirst, x: T, group: int, weight: Any, bias: Any, eps: float, **_: Any
) -> Any:
    return net.group_norm(x, group, weight, bias, eps), None, None


@op("_fused_rms_norm")
def rms_norm(
    net: ChannelsFirst, x: T, normalized_shape: Sequence[int], weight: Any, eps: float | None
) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    square = net.reduce("mean", net.unary("square", x), axes)
    epsilon = np.finfo(np.float32).eps if eps is None else eps
    root = net.unary("sqrt", net.unary("linear", square, 1.0, epsilon))
    y = net.binary("div", x, root)
    return (y if weight is None else net.binary("mul", y, weight)), None


OPS["rms_norm"] = lambda net, **given: rms_norm(net, **given)[0]


def known(value: Any) -> Array:
    if isinstance(value, T):
        raise UnsupportedError("parameters computed at run time; constant ones are supported")
    return np.asarray(value)
