"""ATen operations that pool, resize and shuffle images. See `dwconv.importers.torch_ops`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..activation import Array
from ..graph import Node
from ..nodes import complete
from ..nodes_numpy import nearest_index
from .channels_first import ChannelsFirst, T, UnsupportedError
from .cubic import cubic
from .torch_ops import many, on_batch, op, pairs, scaled, tensor


@op("max_pool1d", "max_pool2d")
def max_pool(
    net: ChannelsFirst, x: T, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> T:
    return pool(net, "max", x, kernel_size, stride, padding, dilations=dilation, ceil_mode=ceil_mode)


@op("max_pool2d_with_indices")
def max_pool_with_indices(net: ChannelsFirst, **given: Any) -> Any:
    return max_pool(net, **given), None


@op("avg_pool1d", "avg_pool2d")
def avg_pool(
    net: ChannelsFirst,
    x: T,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> T:
    if divisor_override and ceil_mode:
        raise UnsupportedError("divisor_override with ceil_mode; either is supported")
    more = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad or bool(divisor_override)}
    y = pool(net, "average", x, kernel_size, stride, padding, **more)
    if divisor_override:
        y = scaled(net, y, math.prod(many(kernel_size, len(x.perm) - 2)) / divisor_override)
    return y


def pool(
    net: ChannelsFirst,
    kind: str,
    x: T,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilations: Any = 1,
    **more: Any,
) -> T:
    spatial = 1 if isinstance(kernel, Sequence) and len(kernel) == 1 else 2
    size = many(kernel, spatial)
    window: dict[str, Any] = {
        "strides": many(stride, spatial) if isinstance(stride, int) or len(stride) else size,
        "pads": pairs(many(padding, spatial)),
        "dilations": many(dilations, spatial),
    }
    if kind == "average":
        del window["dilations"]
    return on_batch(net, x, spatial, lambda x: net.pool(kind, x, size, **window, **more))


@op("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def adaptive_avg_pool(net: ChannelsFirst, x: T, output_size: Any) -> T:
    return adaptive(net, "average", x, output_size)


@op("adaptive_max_pool1d", "adaptive_max_pool2d")
def adaptive_max_pool(net: ChannelsFirst, x: T, output_size: Any) -> Any:
    return adaptive(net, "max", x, output_size), None


def adaptive(net: ChannelsFirst, kind: str, x: T, output_size: Any) -> T:
    """Window i of n spans [floor(i * size / n), ceil((i + 1) * size / n)): a pool if all are alike."""
    spatial = 1 if isinstance(output_size, Sequence) and len(output_size) == 1 else 2
    sizes = net.shape(x)[-spatial:]
    outs = many(output_size, spatial)
    if outs == (1,) * spatial:
        axes = tuple(range(len(x.perm) - spatial, len(x.perm)))
        return net.reduce("mean" if kind == "average" else "max", x, axes)
    windows = [
        [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]
        for size, out in zip(sizes, outs, strict=True)
    ]
    shared = [uniform(w) for w in windows]
    if None not in shared:
        kernel, stride = zip(*shared, strict=True)
        return pool(net, kind, x, kernel, stride, (0,) * spatial)
    if kind == "max":
        raise UnsupportedError(
            f"windows of several sizes, {sizes} -> {outs}; sizes that divide are supported"
        )
    for axis, (size, spans) in enumerate(zip(sizes, windows, strict=True)):
        means = np.zeros((size, len(spans)), np.float32)
        for i, (begin, end) in enumerate(spans):
            means[begin:end, i] = 1 / (end - begin)
        perm = list(range(len(x.perm)))
        perm[-1], perm[axis - spatial] = perm[axis - spatial], perm[-1]
        x = net.transpose(net.matmul(net.transpose(x, perm), tensor(net, means)), perm)
    return x


def uniform(windows: list[tuple[int, int]]) -> tuple[int, int] | None:
    """(size, step) that all windows share."""
    sizes = {end - begin for begin, end in windows}
    steps = {b[0] - a[0] for a, b in pairwise(windows)} or {1}
    return (sizes.pop(), steps.pop()) if len(sizes) == len(steps) == 1 else None


@op("upsample_nearest1d", "upsample_nearest2d")
def upsample_nearest(net: ChannelsFirst, x: T, **given: Any) -> T:
    """Index floor(i * step), with a step rounded to float32, as PyTorch has it."""
    sizes, scales = resized(net, x, **given)
    how: dict[str, Any] = {"sizes": sizes, "scales": scales, "coordinates": "asymmetric", "rounding": "floor"}
    node = Node("resize", (), "", complete("resize", how | {"kind": "nearest"}))
    wanted = []
    for axis, size in enumerate(net.shape(x)[2:]):
        scale = None if scales is None else scales[axis]
        out = math.floor(size * (scale or 1)) if sizes is None else sizes[axis]
        wanted.append(nearest_of(size, out, scale))
    found = [nearest_index(node, axis, net.shape(x)[2 + axis], len(rows)) for axis, rows in enumerate(wanted)]
    if all(map(np.array_equal, found, wanted)):
        return net.resize(x, "nearest", **how)
    for axis, rows in enumerate(wanted):  # rounding lands on the other side of a whole number
        x = net.gather(x, rows, 2 + axis)
    return x


def nearest_of(size: int, out: int, scale: float | None) -> Array:
    step = np.float32(1 / scale) if scale else np.float32(size) / np.float32(out)
    return np.asarray(np.minimum((np.arange(out, dtype=np.float32) * step).astype(np.int64), size - 1))


@op("_upsample_nearest_exact1d", "_upsample_nearest_exact2d")
def upsample_nearest_exact(net: ChannelsFirst, x: T, **given: Any) -> T:
    sizes, scales = resized(net, x, **given)
    return net.resize(
        x, "nearest", sizes=sizes, scales=scales, coordinates="half_pixel", rounding="round_prefer_ceil"
    )


@op("upsample_linear1d", "upsample_bilinear2d")
def upsample_linear(net: ChannelsFirst, x: T, align_corners: bool, **given: Any) -> T:
    sizes, scales = resized(net, x, **given)
    coordinates = "align_corners" if align_corners else "half_pixel"
    return net.resize(x, "linear", sizes=sizes, scales=scales, coordinates=coordinates)


@op("upsample_bicubic2d")
def upsample_cubic(net: ChannelsFirst, x: T, align_corners: bool, **given: Any) -> T:
    sizes, scales = resized(net, x, **given)
    how = "align_corners" if align_corners else "half_pixel"
    if sizes is None:
        assert scales is not None
        sizes = tuple(math.floor(n * f) for n, f in zip(net.shape(x)[2:], scales, strict=True))
    return cubic(net, x, (2, 3), sizes, scales, how=how)


def resized(
    net: ChannelsFirst,
    x: T,
    output_size: Sequence[int] | None,
    scale_factors: Sequence[float] | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
    scales: float | None = None,
) -> tuple[tuple[int, ...] | None, tuple[float, ...] | None]:
    """Sizes and scales of the node: scales alone where the module has them: sizes then follow the input."""
    size = net.shape(x)[2:]
    given = tuple(scale_factors or [f for f in (scales_h, scales_w, scales) if f is not None])
    if output_size is None:
        return None, given
    exact = all(n * f == out for n, f, out in zip(size, given, output_size, strict=False))
    return tuple(output_size), None if exact else given


# ---- channels and pixels ----------------------------------------------------------------------


@op("pixel_shuffle")
def pixel_shuffle(net: ChannelsFirst, x: T, upscale_factor: int) -> T:
    return on_batch(net, x, 2, lambda x: net.depth_to_space(x, upscale_factor, "crd"))


@op("pixel_unshuffle")
def pixel_unshuffle(net: ChannelsFirst, x: T, downscale_factor: int) -> T:
    def run(x: T) -> T:
        """The channel is the last part of the new channels in space_to_depth, and the first in PyTorch."""
        channels, y = net.shape(x)[1], net.space_to_depth(x, downscale_factor)
        return shuffled(net, y, net.shape(y)[1] // channels)

    return on_batch(net, x, 2, run)


@op("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(net: ChannelsFirst, x: T, groups: int) -> T:
    return shuffled(net, x, groups)


def shuffled(net: ChannelsFirst, x: T, groups: int) -> T:
    batch, channels, *size = net.shape(x)
    y = net.reshape(x, (batch, groups, channels // groups, *size))
    y = net.transpose(y, (0, 2, 1, *range(3, len(y.perm))))
    return net.reshape(y, (batch, channels, *size))
