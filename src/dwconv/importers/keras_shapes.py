"""Operations of `keras.ops` that reorder and select, as nodes. See `keras_ops`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .keras_graph import Net, T, UnsupportedError, operates


def _expanded(net: Net, x: T, axes: Any) -> T:
    given = [axes] if isinstance(axes, int) else list(axes)
    rank = net.rank(x) + len(given)
    added = {axis % rank for axis in given}
    rest = iter(net.shape(x))
    return net.reshape(x, [1 if axis in added else next(rest) for axis in range(rank)])


@operates("ExpandDims")
def expand_dims(net: Net, op: Any, x: T) -> T:
    return _expanded(net, x, op.axis)


@operates("Squeeze")
def squeeze(net: Net, op: Any, x: T) -> T:
    shape = net.shape(x)
    if op.axis is None:
        gone = {axis for axis, n in enumerate(shape) if n == 1}
    else:
        gone = {net.axis(x, axis) for axis in ([op.axis] if isinstance(op.axis, int) else op.axis)}
    return net.reshape(x, [n for i, n in enumerate(shape) if i not in gone])


@operates("Reshape")
def reshape(net: Net, op: Any, x: T) -> T:
    return net.reshape(x, [int(n) for n in op.newshape])


@operates("Ravel")
def ravel(net: Net, op: Any, x: T) -> T:
    return net.reshape(x, (-1,))


@operates("Transpose")
def transpose(net: Net, op: Any, x: T) -> T:
    axes = range(net.rank(x))[::-1] if op.axes is None else op.axes
    return net.node("transpose", x, perm=tuple(net.axis(x, axis) for axis in axes))


@operates("Swapaxes")
def swapaxes(net: Net, op: Any, x: T) -> T:
    perm = list(range(net.rank(x)))
    a, b = net.axis(x, op.axis1), net.axis(x, op.axis2)
    perm[a], perm[b] = perm[b], perm[a]
    return net.node("transpose", x, perm=tuple(perm))


@operates("Moveaxis")
def moveaxis(net: Net, op: Any, x: T) -> T:
    sources = [op.source] if isinstance(op.source, int) else list(op.source)
    targets = [op.destination] if isinstance(op.destination, int) else list(op.destination)
    moved = {net.axis(x, t): net.axis(x, s) for s, t in zip(sources, targets, strict=True)}
    rest = iter(axis for axis in range(net.rank(x)) if axis not in moved.values())
    perm = [moved[axis] if axis in moved else next(rest) for axis in range(net.rank(x))]
    return net.node("transpose", x, perm=tuple(perm))


@operates("Concatenate")
def concatenate(net: Net, op: Any, xs: Sequence[Any]) -> T:
    tensors = [net.tensor(x) for x in xs]
    axis = net.axis(tensors[0], 0 if op.axis is None else op.axis)
    return tensors[0] if len(tensors) == 1 else net.node("concat", *tensors, axis=axis)


@operates("Stack")
def stack(net: Net, op: Any, x: Sequence[Any]) -> T:
    tensors = [net.tensor(item) for item in x]
    axis = op.axis % (net.rank(tensors[0]) + 1)
    parts = [_expanded(net, item, axis) for item in tensors]
    return parts[0] if len(parts) == 1 else net.node("concat", *parts, axis=axis)


@operates("Split")
def split(net: Net, op: Any, x: T) -> list[T]:
    axis, given = net.axis(x, op.axis), op.indices_or_sections
    size = net.shape(x)[axis]
    if isinstance(given, int):
        if size % given:
            raise ValueError(f"axis {axis} of {net.shape(x)} does not split into {given} parts")
        given = range(size // given, size, size // given)
    bounds = [0, *(int(n) for n in given), size]
    return [_sliced(net, x, {axis: (a, b, 1)}) for a, b in pairwise(bounds)]


def _sliced(net: Net, x: T, slices: dict[int, tuple[int | None, int | None, int]]) -> T:
    return net.node("slice", x, slices=tuple(slices.get(axis) for axis in range(net.rank(x))))


@operates("Unstack")
def unstack(net: Net, op: Any, x: T) -> list[T]:
    axis = net.axis(x, op.axis)
    rest = [n for i, n in enumerate(net.shape(x)) if i != axis]
    return [net.reshape(_sliced(net, x, {axis: (i, i + 1, 1)}), rest) for i in range(net.shape(x)[axis])]


@operates("GetItem")
def get_item(net: Net, op: Any, x: T, key: Any) -> T:
    """x[key] with integers, slices, None and an ellipsis."""
    keys = list(key) if isinstance(key, tuple | list) else [key]
    if not all(item is None or item is Ellipsis or isinstance(item, int | slice) for item in keys):
        raise UnsupportedError("an index that is no integer, slice, None or ellipsis")
    taken = sum(item is not None and item is not Ellipsis for item in keys)
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    at = keys.index(Ellipsis)
    keys[at : at + 1] = [slice(None)] * (net.rank(x) - taken)
    slices: dict[int, tuple[int | None, int | None, int]] = {}
    shape: list[int | None] = []  # None: the size that is left of the axis
    axis = 0
    for item in keys:
        if item is None:
            shape.append(1)
            continue
        if isinstance(item, int):
            slices[axis] = (item, item + 1 if item != -1 else None, 1)
        else:
            if item != slice(None):
                slices[axis] = (item.start, item.stop, 1 if item.step is None else item.step)
            shape.append(None)
        axis += 1
    y = _sliced(net, x, slices) if slices else x
    if shape == [None] * net.rank(x):
        return y
    axes = (item for item in keys if item is not None)
    kept = iter([n for n, item in zip(net.shape(y), axes, strict=True) if not isinstance(item, int)])
    return net.reshape(y, [next(kept) if n is None else n for n in shape])


@operates("Slice")
def slice_(net: Net, op: Any, inputs: T, start_indices: Any) -> T:
    bounds = zip(np.asarray(start_indices).tolist(), op.shape, strict=True)
    return _sliced(net, inputs, {axis: (int(a), int(a) + int(n), 1) for axis, (a, n) in enumerate(bounds)})


@operates("Flip")
def flip(net: Net, op: Any, x: T) -> T:
    axes = range(net.rank(x)) if op.axis is None else [op.axis] if isinstance(op.axis, int) else op.axis
    return _sliced(net, x, {net.axis(x, axis): (-1, None, -1) for axis in axes})


@operates("Take")
def take(net: Net, op: Any, x: T, indices: Any) -> T:
    if isinstance(indices, T) or op.axis is None:
        raise UnsupportedError("indices that are computed, or no axis; constant ones along one are supported")
    axis = net.axis(x, op.axis)
    at = np.asarray(indices).astype(np.int64)
    return net.node("gather", x, np.where(at < 0, at + net.shape(x)[axis], at), axis=axis)


@operates("Pad")
def pad(net: Net, op: Any, x: T, constant_values: Any = None) -> T:
    if op.mode not in ("constant", "reflect", "edge"):
        raise UnsupportedError(f"mode={op.mode!r}; 'constant', 'reflect' and 'edge' are supported")
    width = np.broadcast_to(np.asarray(op.pad_width, np.int64), (net.rank(x), 2))
    pads = tuple((int(a), int(b)) for a, b in width)
    more = {"value": float(constant_values or 0)} if op.mode == "constant" else {}
    return net.node("pad", x, pads=pads, mode=op.mode, **more)


@operates("BroadcastTo")
def broadcast_to(net: Net, op: Any, x: T) -> T:
    return net.node("expand", x, shape=tuple(int(n) for n in op.shape))


@operates("Repeat", "Tile")
def repeat(net: Net, op: Any, x: T) -> T:
    """Gathered by index, so that the batch may be any."""
    inner = type(op).__name__ == "Repeat"
    if inner:
        if not isinstance(op.repeats, int) or op.axis is None:
            raise UnsupportedError("repeats per element; one integer and an axis are supported")
        counts = {net.axis(x, op.axis): op.repeats}
    else:
        given = [op.repeats] if isinstance(op.repeats, int) else list(op.repeats)
        if len(given) > net.rank(x):
            x = _expanded(net, x, range(len(given) - net.rank(x)))
        first = net.rank(x) - len(given)
        counts = {first + i: int(n) for i, n in enumerate(given)}
    for axis, count in counts.items():
        if count != 1:
            at = np.arange(net.shape(x)[axis])
            x = net.node("gather", x, np.repeat(at, count) if inner else np.tile(at, count), axis=axis)
    return x
