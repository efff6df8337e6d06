"""ONNX operations on images: convolutions, pooling, resizing, norms, products. See also `onnx_ops`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .channels_first import T, UnsupportedError
from .cubic import cubic
from .onnx_call import Call

MOST = 2**31 - 1
MOST_LRN = 1024  # channels: its convolution has their square


def _spatial(call: Call, x: T) -> int:
    """How many axes follow batch and channels: 1 or 2."""
    count = len(x.perm) - 2
    if count not in (1, 2):
        raise UnsupportedError(f"{count} spatial axes; 1 and 2 are supported")
    return count


def _sizes(call: Call, name: str, count: int, default: Sequence[int] | None = None) -> list[int]:
    """An attribute with one number of at least 1 for each spatial axis."""
    values = call.ints(name)
    if values is None:
        values = list(default or (1,) * count)
    if len(values) != count or not all(1 <= value <= MOST for value in values):
        raise ValueError(f"{name} {values} do not fit {count} spatial axes")
    return values


def _pads(call: Call, count: int) -> list[tuple[int, int]]:
    values = call.ints("pads") or [0] * (2 * count)
    if len(values) != 2 * count or not all(-MOST <= value <= MOST for value in values):
        raise ValueError(f"pads {values} do not fit {count} spatial axes")
    return list(zip(values[:count], values[count:], strict=True))


def _conv(call: Call) -> T:
    x = call.tensor(0)
    count, filters = _spatial(call, x), call.array(1, "filters")
    _kernel(call, filters.shape, count)
    return call.net.conv(
        x,
        call.tensor(1),
        call.tensor(2) if call.has(2) else None,
        strides=_sizes(call, "strides", count),
        pads=_pads(call, count),
        dilations=_sizes(call, "dilations", count),
        groups=_groups(call),
        auto_pad=call.text("auto_pad", "NOTSET"),
    )


def _groups(call: Call) -> int:
    groups = call.integer("group", 1)
    if not 1 <= groups <= MOST:
        raise ValueError(f"group {groups}")
    return groups


def _kernel(call: Call, filters: Sequence[int], count: int) -> list[int]:
    if len(filters) != count + 2:
        raise ValueError(f"filters {tuple(filters)} do not fit {count} spatial axes")
    kernel = _sizes(call, "kernel_shape", count, filters[2:])
    if kernel != list(filters[2:]):
        raise ValueError(f"kernel_shape {kernel} does not fit filters {tuple(filters)}")
    return kernel


def _conv_transpose(call: Call) -> T:
    x = call.tensor(0)
    window = transposed(call, x, call.array(1, "filters").shape)
    return call.net.conv_transpose(x, call.tensor(1), call.tensor(2) if call.has(2) else None, **window)


def transposed(call: Call, x: T, filters: Sequence[int]) -> dict[str, Any]:
    """The window of a transposed convolution, as auto_pad and output_shape make it."""
    count = _spatial(call, x)
    kernel = _kernel(call, filters, count)
    strides, dilations = _sizes(call, "strides", count), _sizes(call, "dilations", count)
    more = call.ints("output_padding") or [0] * count
    if len(more) != count or not all(0 <= value <= MOST for value in more):
        raise ValueError(f"output_padding {more} does not fit {count} spatial axes")
    full = [
        (size - 1) * stride + (k - 1) * dilation + 1
        for size, stride, k, dilation in zip(call.net.shape(x)[2:], strides, kernel, dilations, strict=True)
    ]
    pads, auto, wanted = _pads(call, count), call.text("auto_pad", "NOTSET"), call.ints("output_shape")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * stride for size, stride in zip(call.net.shape(x)[2:], strides, strict=True)]
    if wanted is not None:
        wanted = wanted[-count:]
        pads = []
        for axis in range(count):
            total = full[axis] + more[axis] - wanted[axis]
            if total < 0:  # rows of zeros at the end, as output_padding makes them
                more[axis] -= total
                total = 0
            small, large = total // 2, total - total // 2
            pads.append((small, large) if auto == "SAME_UPPER" else (large, small))
    return {
        "strides": strides, "pads": pads, "output_padding": more, "dilations": dilations,
        "groups": _groups(call),
    }  # fmt: skip


def _pool(kind: str) -> Callable[[Call], T]:
    def lower(call: Call) -> T:
        x = call.tensor(0)
        count = _spatial(call, x)
        if call.attribute("kernel_shape") is None:
            raise ValueError("kernel_shape is missing")
        kernel = _sizes(call, "kernel_shape", count)
        more: dict[str, Any] = {"ceil_mode": bool(call.integer("ceil_mode"))}
        if kind == "average":
            more["count_include_pad"] = bool(call.integer("count_include_pad"))
        return call.net.pool(
            kind,
            x,
            kernel,
            strides=_sizes(call, "strides", count),
            pads=_pads(call, count),
            dilations=_sizes(call, "dilations", count),
            auto_pad=call.text("auto_pad", "NOTSET"),
            **more,
        )

    return lower


def _global_pool(kind: str) -> Callable[[Call], T]:
    def lower(call: Call) -> T:
        x = call.tensor(0)
        if len(x.perm) < 3:
            raise ValueError(f"{call.net.shape(x)} has no spatial axes")
        return call.net.global_pool(kind, x)

    return lower


# ---- resizing -----------------------------------------------------------------------------------


def _resize(call: Call) -> T:
    x, net, rank = call.tensor(0), call.net, len(call.shape(0))
    call.seen |= {"mode", "coordinate_transformation_mode", "nearest_mode", "antialias", "scales"}
    call.seen |= {"keep_aspect_ratio_policy"}
    axes = [net.axis(x, axis) for axis in call.ints("axes") or range(rank)]
    old = [net.shape(x)[axis] for axis in axes]
    scales, sizes = _targets(call, axes, old)
    changed = [i for i, size in enumerate(old) if sizes[i] != size or (scales and scales[i] != 1)]
    if not changed:
        return x
    call.refuse("mode", "nearest", "linear", "cubic", default="nearest")
    kind = call.text("mode", "nearest")
    how = "half_pixel" if call.opset > 10 else "asymmetric"
    call.refuse(
        "coordinate_transformation_mode", "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric",
        "half_pixel_symmetric", default=how,
    )  # fmt: skip
    how = call.text("coordinate_transformation_mode", how)
    if how == "align_corners" and scales and any(old[i] * scales[i] % 1 for i in changed):
        raise UnsupportedError("align_corners with scales that give no whole size; sizes are supported")
    if call.integer("antialias") and any(sizes[i] < old[i] for i in changed):
        raise UnsupportedError("antialias of a smaller image; it is supported where images grow")
    if kind == "cubic":
        a, exclude = call.number("cubic_coeff_a", -0.75), bool(call.integer("exclude_outside"))
        return cubic(net, x, axes, sizes, scales or None, how=how, a=a, exclude_outside=exclude)
    to: dict[str, Any] = {"coordinates": how, "sizes": [sizes[i] for i in changed]}
    if kind == "nearest":
        rounding = "round_prefer_floor" if call.opset > 10 else "floor"
        call.refuse(
            "nearest_mode", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil", default=rounding
        )
        to["rounding"] = call.text("nearest_mode", rounding)
    if scales:
        to["scales"] = [scales[i] for i in changed]
    return _resized(call, x, [axes[i] for i in changed], kind, to)


def _targets(call: Call, axes: list[int], old: list[int]) -> tuple[list[float], list[int]]:
    """(scales, sizes) of axes; no scales where they are those of the sizes, which are exact."""
    empty = np.zeros(0, np.float32)
    if call.opset > 10:
        scales, wanted = (
            call.array(i, what) if call.has(i) else empty for i, what in ((2, "scales"), (3, "sizes"))
        )
    elif call.has(1):
        scales, wanted = call.array(1, "scales"), empty
    else:
        scales, wanted = np.array(call.attribute("scales", []), np.float32), empty
    if bool(scales.size) == bool(wanted.size) or scales.size + wanted.size != len(axes):
        raise ValueError(f"scales {scales.tolist()} or sizes {wanted.tolist()} do not fit {len(axes)} axes")
    if scales.size:
        if not all(0 < scale < MOST for scale in scales.tolist()):
            raise ValueError(f"scales {scales.tolist()}")
        factors = scales.astype(np.float32)
        whole = np.floor(factors * np.array(old, np.float32))  # in float32 5 * 1.8 is 9
        exact = np.array_equal((whole / np.array(old)).astype(np.float32), factors)
        return ([] if exact else factors.tolist()), [int(size) for size in whole]
    sizes = [int(size) for size in wanted]
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return [], sizes
    ratios = [new / size for new, size in zip(sizes, old, strict=True)]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [ratio] * len(axes), [math.floor(size * ratio + 0.5) for size in old]


def _resized(call: Call, x: T, changed: list[int], kind: str, to: dict[str, Any]) -> T:
    """Those axes become height and width, or width alone: transpositions cost nothing."""
    net, rank = call.net, len(x.perm)
    if len(changed) > 2:
        raise UnsupportedError(f"{len(changed)} axes at once; 1 and 2 are supported")
    if len(changed) == 1 and rank == 4 and changed[0] > 1:  # with the other axis of an image
        other = 5 - changed[0]
        order = sorted((other, changed[0]))
        for name, same in (("sizes", net.shape(x)[other]), ("scales", 1.0)):
            if name in to:
                to[name] = [same if axis == other else to[name][0] for axis in order]
        changed = order
    rest = [axis for axis in range(rank) if axis not in changed]
    y = net.transpose(x, [*rest, *changed])
    sizes = net.shape(y)
    outer = sizes[: len(rest)]
    flat = (outer[0] if len(outer) > 1 else 1, math.prod(outer[1:] if len(outer) > 1 else outer))
    y = net.resize(net.reshape(y, (*flat, *sizes[len(rest) :])), kind, **to)
    y = net.reshape(y, (*outer, *net.shape(y)[2:]))
    return net.transpose(y, [[*rest, *changed].index(axis) for axis in range(rank)])


def _depth_to_space(call: Call) -> T:
    call.refuse("mode", "DCR", "CRD", default="DCR")
    return call.net.depth_to_space(
        call.tensor(0), call.integer("blocksize"), call.text("mode", "DCR").lower()
    )


def _space_to_depth(call: Call) -> T:
    call.refuse("mode", "DCR", "CRD", default="DCR")
    net, x, block = call.net, call.tensor(0), call.integer("blocksize")
    if call.text("mode", "DCR") == "DCR":
        return net.space_to_depth(x, block)
    batch, channels, height, width = net.shape(x)
    if block < 1 or height % block or width % block:
        raise ValueError(f"a block of {block} does not divide {height} x {width} pixels")
    y = net.reshape(x, (batch, channels, height // block, block, width // block, block))
    y = net.transpose(y, (0, 1, 3, 5, 2, 4))
    return net.reshape(y, (batch, channels * block**2, height // block, width // block))


# ---- norms --------------------------------------------------------------------------------------


def _batch_norm(call: Call) -> T:
    call.refuse("training_mode", 0, default=0)
    call.refuse("spatial", 1, default=1)
    if call.opset < 7:
        call.refuse("is_test", 1, default=0)
    scale, bias, mean, var = (call.array(index, "parameters") for index in range(1, 5))
    return call.net.batch_norm(call.tensor(0), scale, bias, mean, var, call.number("epsilon", 1e-5))


def _instance_norm(call: Call) -> T:
    return call.net.instance_norm(
        call.tensor(0), call.tensor(1), call.tensor(2), call.number("epsilon", 1e-5)
    )


def _group_norm(call: Call) -> T:
    net, x, scale, bias = call.net, call.tensor(0), call.tensor(1), call.tensor(2)
    call.refuse("stash_type", 1, default=1)
    groups = call.integer("num_groups")
    if call.opset < 21:  # one for each group
        if groups < 1 or net.shape(x)[1] % groups:
            raise ValueError(f"{net.shape(x)[1]} channels cannot be in {groups} groups")
        each = net.shape(x)[1] // groups
        scale, bias = (
            net.reshape(net.expand(net.reshape(p, (-1, 1)), (groups, each)), (-1,)) for p in (scale, bias)
        )
    return net.group_norm(x, groups, scale, bias, call.number("epsilon", 1e-5))


def _layer_norm(call: Call) -> T:
    x = call.tensor(0)
    call.refuse("stash_type", 1, default=1)
    axes = range(call.net.axis(x, call.integer("axis", -1)), len(x.perm))
    return call.net.layer_norm(x, axes, call.tensor(1), call.optional(2), call.number("epsilon", 1e-5))


def _rms_norm(call: Call) -> T:
    net, x = call.net, call.tensor(0)
    call.refuse("stash_type", 1, default=1)
    axes = range(net.axis(x, call.integer("axis", -1)), len(x.perm))
    power = net.unary(
        "linear", net.reduce("mean", net.unary("square", x), axes), 1.0, call.number("epsilon", 1e-5)
    )
    return net.binary("mul", net.binary("div", x, net.unary("sqrt", power)), call.tensor(1))


def _mean_variance(call: Call) -> T:
    net, x, axes = call.net, call.tensor(0), call.ints("axes")
    axes = [0, 2, 3] if axes is None else axes
    centred = net.binary("sub", x, net.reduce("mean", x, axes))
    deviation = net.unary("sqrt", net.reduce("mean", net.unary("square", centred), axes))
    return net.binary("div", centred, net.unary("linear", deviation, 1.0, 1e-9))


def _lp_norm(call: Call) -> T:
    net, x, axis = call.net, call.tensor(0), call.integer("axis", -1)
    call.refuse("p", 1, 2, default=2)
    before, after = ("abs", "") if call.integer("p", 2) == 1 else ("square", "sqrt")
    total = net.reduce("sum", net.unary(before, x), [axis])
    norm = net.unary(after, total) if after else total
    return net.binary("div", x, net.binary("max", norm, np.finfo(np.float32).tiny))  # 0 / 0 is 0


def _lrn(call: Call) -> T:
    """The sum over neighbouring channels is a 1x1 convolution with a band of ones."""
    net, x, size = call.net, call.tensor(0), call.integer("size", 1)
    channels = net.shape(x)[1]
    if channels > MOST_LRN:
        raise UnsupportedError(f"{channels} channels; at most {MOST_LRN} are supported")
    offset = np.arange(channels) - np.arange(channels)[:, None]
    band = ((offset >= -((size - 1) // 2)) & (offset <= size // 2)).astype(np.float32)
    total = net.conv(net.unary("square", x), band.reshape(channels, channels, *(1,) * _spatial(call, x)))
    scale = net.unary("linear", total, call.number("alpha", 1e-4) / max(size, 1), call.number("bias", 1.0))
    return net.binary("div", x, net.binary("pow", scale, np.float32(call.number("beta", 0.75))))


# ---- products -----------------------------------------------------------------------------------


def _matmul(call: Call) -> T:
    return call.net.matmul(call.tensor(0), call.tensor(1))


def _gemm(call: Call) -> T:
    net = call.net
    a, b = (
        net.transpose(x, (1, 0)) if call.integer(name) else x
        for x, name in ((call.tensor(0), "transA"), (call.tensor(1), "transB"))
    )
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    known, bias = net.data(b), call.optional(2)
    if bias is not None and beta != 1:
        bias = net.unary("linear", bias, beta)
    if known is not None and net.data(a) is None:
        weights = known * np.float32(alpha) if alpha != 1 else known
        plain = bias is not None and net.data(bias) is not None and net.shape(bias) == weights.shape[1:]
        y = net.linear(a, weights, bias if plain else None)
        return y if plain or bias is None else net.binary("add", y, bias)
    y = net.matmul(a, b)
    y = net.unary("linear", y, alpha) if alpha != 1 else y
    return y if bias is None else net.binary("add", y, bias)


WINDOWS: dict[str, Callable[[Call], Any]] = {
    "AveragePool": _pool("average"),
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("max"),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LRN": _lrn,
    "LpNormalization": _lp_norm,
    "MatMul": _matmul,
    "MaxPool": _pool("max"),
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms_norm,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Upsample": _resize,
}
