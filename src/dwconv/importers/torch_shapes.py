"""ATen operations that move elements: reshapes, slices, joins, pads. See `dwconv.importers.torch_ops`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..activation import Array
from .channels_first import ChannelsFirst, T, UnsupportedError
from .torch_ops import op, tensor

# ---- what does nothing ------------------------------------------------------------------------


@op(
    "contiguous", "clone", "alias", "detach", "detach_", "lift_fresh_copy", "lift_fresh", "positive",
    "type_as", "as_strided", "resolve_conj", "resolve_neg",
)  # fmt: skip
def same(net: ChannelsFirst, x: T, **_: Any) -> T:
    """The dtype of the result, and the strides that as_strided has, are checked by the reader."""
    return x


@op("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout", "native_dropout")
def dropout(net: ChannelsFirst, x: T, train: bool | None = False, **_: Any) -> T:
    if train:
        raise UnsupportedError("dropout in training; call module.eval()")
    return x


# ---- shapes -----------------------------------------------------------------------------------


@op("view", "_unsafe_view", "reshape", "_reshape_copy", "view_copy")
def view(
    net: ChannelsFirst, x: T, size: Sequence[int] | None = None, shape: Sequence[int] | None = None
) -> T:
    return net.reshape(x, (size if size is not None else shape) or ())


@op("view_as", "reshape_as")
def view_as(net: ChannelsFirst, x: T, other: Any) -> T:
    return net.reshape(x, shape_of(net, other))


def shape_of(net: ChannelsFirst, x: T | Array) -> tuple[int, ...]:
    return net.shape(x) if isinstance(x, T) else x.shape


@op("flatten")
def flatten(net: ChannelsFirst, x: T, start_dim: int, end_dim: int) -> T:
    return net.flatten(x, start_dim, end_dim) if x.perm else net.reshape(x, (1,))


@op("unflatten")
def unflatten(net: ChannelsFirst, x: T, dim: int, sizes: Sequence[int]) -> T:
    shape, dim = net.shape(x), net.axis(x, dim)
    known = -math.prod(sizes)
    inner = [shape[dim] // known if size == -1 else size for size in sizes]
    return net.reshape(x, (*shape[:dim], *inner, *shape[dim + 1 :]))


@op("squeeze")
def squeeze(net: ChannelsFirst, x: T, dim: Any = None) -> T:
    """Axes of another size than 1 stay."""
    axes = range(len(x.perm)) if dim is None else [dim] if isinstance(dim, int) else dim
    return net.squeeze(x, [axis for axis in axes if net.shape(x)[axis] == 1]) if x.perm else x


@op("unsqueeze")
def unsqueeze(net: ChannelsFirst, x: T, dim: int) -> T:
    return net.unsqueeze(x, [dim])


@op("permute")
def permute(net: ChannelsFirst, x: T, dims: Sequence[int]) -> T:
    return net.transpose(x, [net.axis(x, axis) for axis in dims])


@op("transpose", "swapaxes", "swapdims")
def transpose(net: ChannelsFirst, x: T, **axes: int) -> T:
    first, second = axes.values()
    perm = list(range(len(x.perm)))
    perm[first], perm[second] = perm[second], perm[first]
    return net.transpose(x, perm)


@op("t", "numpy_T")
def turned(net: ChannelsFirst, x: T) -> T:
    return net.transpose(x, range(len(x.perm))[::-1])


@op("movedim", "moveaxis")
def movedim(net: ChannelsFirst, x: T, source: Any, destination: Any) -> T:
    pairs = [
        [net.axis(x, axis) for axis in ([given] if isinstance(given, int) else given)]
        for given in (source, destination)
    ]
    perm = [axis for axis in range(len(x.perm)) if axis not in pairs[0]]
    for to, axis in sorted(zip(pairs[1], pairs[0], strict=True)):
        perm.insert(to, axis)
    return net.transpose(x, perm)


@op("expand", "broadcast_to")
def expand(net: ChannelsFirst, x: T, size: Sequence[int], **_: Any) -> T:
    old = (1,) * (len(size) - len(x.perm)) + net.shape(x)
    return net.expand(x, [have if want == -1 else want for have, want in zip(old, size, strict=True)])


@op("expand_as")
def expand_as(net: ChannelsFirst, x: T, other: Any) -> T:
    return net.expand(x, shape_of(net, other))


@op("repeat", "tile")
def repeat(net: ChannelsFirst, x: T, **given: Sequence[int]) -> T:
    (repeats,) = given.values()
    rank = max(len(repeats), len(x.perm))
    x = net.reshape(x, ((1,) * (rank - len(x.perm)) + net.shape(x)))
    return net.tile(x, [1] * (rank - len(repeats)) + list(repeats))


# ---- joins and parts --------------------------------------------------------------------------


@op("cat", "concat", "concatenate")
def cat(net: ChannelsFirst, tensors: Sequence[Any], dim: int) -> T:
    kept = [tensor(net, x) for x in tensors if shape_of(net, x) != (0,)]
    return net.concat(kept, dim)


@op("stack")
def stack(net: ChannelsFirst, tensors: Sequence[Any], dim: int) -> T:
    return net.concat([net.unsqueeze(tensor(net, x), [dim]) for x in tensors], dim)


@op("slice")
def sliced(net: ChannelsFirst, x: T, dim: int, start: int | None, end: int | None, step: int) -> T:
    """What reaches to the end of an axis does so whatever its size."""
    size = net.shape(x)[dim]
    begin, stop, _ = slice(start, end, step).indices(size)
    if end is None or end >= size:
        slices: list[Any] = [None] * len(x.perm)
        slices[dim] = (start or None, None, step)
        return net.slice(x, slices)
    return part(net, x, dim, begin, stop, step)


def part(net: ChannelsFirst, x: T, dim: int, start: int, stop: int, step: int = 1) -> T:
    slices: list[Any] = [None] * len(x.perm)
    slices[dim] = (start, stop, step)
    return net.slice(x, slices)


@op("narrow")
def narrow(net: ChannelsFirst, x: T, dim: int, start: int, length: int) -> T:
    start = int(start) % net.shape(x)[dim] if start < 0 else int(start)
    return part(net, x, dim, start, start + length)


@op("select")
def select(net: ChannelsFirst, x: T, dim: int, index: int) -> T:
    index %= net.shape(x)[dim]
    return net.squeeze(part(net, x, dim, index, index + 1), [dim])


@op("slice_scatter")
def slice_scatter(
    net: ChannelsFirst, x: Any, src: Any, dim: int, start: int | None, end: int | None, step: int
) -> T:
    """x with `src` in the place of a slice."""
    x, src = tensor(net, x), tensor(net, src)
    size = net.shape(x)[dim]
    begin, stop, _ = slice(start, end).indices(size)
    if step != 1:
        raise UnsupportedError(f"steps of {step}; steps of 1 are supported")
    pieces = [part(net, x, dim, 0, begin)] if begin else []
    pieces.append(src)
    pieces += [part(net, x, dim, stop, size)] if stop < size else []
    return net.concat(pieces, dim)


@op("select_scatter")
def select_scatter(net: ChannelsFirst, x: Any, src: Any, dim: int, index: int) -> T:
    x = tensor(net, x)
    dim = net.axis(x, dim)
    index %= net.shape(x)[dim]
    return slice_scatter(net, x, net.unsqueeze(tensor(net, src), [dim]), dim, index, index + 1, 1)


@op("copy")
def copied(net: ChannelsFirst, x: Any, src: Any, **_: Any) -> T:
    return net.expand(tensor(net, src), shape_of(net, x))


@op("unbind")
def unbind(net: ChannelsFirst, x: T, dim: int) -> tuple[T, ...]:
    return tuple(select(net, x, dim, index) for index in range(net.shape(x)[dim]))


@op("split", "split_with_sizes", "tensor_split", "unsafe_split", "unsafe_split_with_sizes")
def split(
    net: ChannelsFirst, x: T, dim: int, split_size: Any = None, split_sizes: Any = None
) -> tuple[T, ...]:
    total, sizes = net.shape(x)[dim], split_size if split_sizes is None else split_sizes
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    ends = np.cumsum(sizes).tolist()
    return tuple(part(net, x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True))


@op("chunk", "unsafe_chunk")
def chunk(net: ChannelsFirst, x: T, chunks: int, dim: int) -> tuple[T, ...]:
    return split(net, x, dim, -(-net.shape(x)[dim] // chunks))


@op("flip")
def flip(net: ChannelsFirst, x: T, dims: Sequence[int]) -> T:
    slices: list[Any] = [None] * len(x.perm)
    for dim in dims:
        slices[dim] = (None, None, -1)
    return net.slice(x, slices)


@op("roll")
def roll(net: ChannelsFirst, x: T, shifts: Any, dims: Any) -> T:
    if not dims:
        return net.reshape(roll(net, net.reshape(x, (-1,)), shifts, [0]), net.shape(x))
    for shift, dim in zip(shifts, dims, strict=True):
        size, dim = net.shape(x)[dim], dim % len(x.perm)
        cut = -shift % size
        if cut:
            x = net.concat([part(net, x, dim, cut, size), part(net, x, dim, 0, cut)], dim)
    return x


@op("index_select")
def index_select(net: ChannelsFirst, x: T, dim: int, index: Any) -> T:
    return net.gather(x, indices_of(index), dim)


@op("index")
def index(net: ChannelsFirst, x: T, indices: Sequence[Any]) -> T:
    given = [(axis, item) for axis, item in enumerate(indices) if item is not None]
    if len(given) != 1:
        raise UnsupportedError("indices of several axes; those of one axis are supported")
    axis, item = given[0]
    return net.gather(x, indices_of(item), axis)


def indices_of(index: Any) -> Array:
    if isinstance(index, T):
        raise UnsupportedError("indices computed at run time; constant ones are supported")
    found = np.asarray(index)
    if found.dtype != bool:
        return found
    if found.ndim != 1:
        raise UnsupportedError("a mask of several axes; one of one axis is supported")
    return found.nonzero()[0]


# ---- pads -------------------------------------------------------------------------------------


@op("constant_pad_nd")
def constant_pad(net: ChannelsFirst, x: T, pad: Sequence[int], value: float = 0.0) -> T:
    return padded(net, x, pad, "constant", value)


@op("reflection_pad1d", "reflection_pad2d")
def reflection_pad(net: ChannelsFirst, x: T, padding: Sequence[int]) -> T:
    return padded(net, x, padding, "reflect")


@op("replication_pad1d", "replication_pad2d")
def replication_pad(net: ChannelsFirst, x: T, padding: Sequence[int]) -> T:
    return padded(net, x, padding, "edge")


@op("pad")
def pad_any(net: ChannelsFirst, x: T, pad: Sequence[int], mode: str, value: float | None) -> T:
    if mode == "circular":
        return wrapped(net, x, pad)
    kind = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    return padded(net, x, pad, kind, value or 0.0)


def padded(net: ChannelsFirst, x: T, pad: Sequence[int], mode: str, value: float = 0.0) -> T:
    """`pad` begins with the last axis: before, after."""
    found = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)][::-1]
    pads = [(0, 0)] * (len(x.perm) - len(found)) + found
    return net.pad(x, pads, mode, value)


def wrapped(net: ChannelsFirst, x: T, pad: Sequence[int]) -> T:
    """With what lies at the other end of each axis."""
    for i in range(0, len(pad), 2):
        dim, (before, after) = len(x.perm) - 1 - i // 2, pad[i : i + 2]
        size = net.shape(x)[dim]
        if min(before, after) < 0:
            raise UnsupportedError("circular pads below 0; pads of at least 0 are supported")
        ends = [part(net, x, dim, size - before, size), x, part(net, x, dim, 0, after)]
        x = net.concat([p for p, kept in zip(ends, (before, True, after), strict=True) if kept], dim)
    return x
