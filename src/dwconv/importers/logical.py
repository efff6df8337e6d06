"""Tensors whose axes are stored in another order than the model's: transpositions are free until needed.

A tensor is a value and the stored axis of each of its logical axes. Images go through a network as NHWC; a
reshape that splits or joins axes that are neighbours in memory stays one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..activation import Array
from ..graph import Budget, Builder, Graph, Node, Value
from ..nodes import reshape_shape
from .whole_numbers import MOST_SORTED, arg_max, top_k

Pairs: TypeAlias = Sequence[tuple[int, int]]  # (before, after) of every axis
Slice: TypeAlias = tuple[int | None, int | None, int | None]


class UnsupportedError(ValueError):
    """What an operation would need and dwconv does not have."""


class T(NamedTuple):
    """Logical axis i is axis perm[i] of `value`."""

    value: str
    perm: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The logical axes as they are stored."""
        return tuple(sorted(range(len(self.perm)), key=self.perm.__getitem__))


def stored(value: str, order: Sequence[int]) -> T:
    """The tensor whose logical axes are stored in this order."""
    return T(value, tuple(sorted(range(len(order)), key=order.__getitem__)))


def channels_last(rank: int) -> tuple[int, ...]:
    """The order in which images [batch, channels, ...] are stored."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


class Logical:
    """Operations over any axes. `label`: what the model file calls the nodes that follow."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.builder = Builder(budget)
        self.label = ""
        self.whole: set[str] = set()  # values of integers, which are float32 here
        self.masks: set[str] = set()  # truth values, which are 0 and 1 here
        self._made: dict[tuple[Any, ...], str] = {}
        self._reshaped: dict[str, str] = {}  # by the result of a reshape: what it was made of

    @property
    def graph(self) -> Graph:
        return self.builder.graph

    # ---- values ---------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> T:
        """In the order that the model's caller passes: stored as it is."""
        return T(self.builder.input(name, shape, dtype), tuple(range(len(shape))))

    def constant(self, array: Any) -> T:
        array = np.asarray(array)
        return T(self.builder.constant(array), tuple(range(array.ndim)))

    def output(self, name: str, x: T) -> None:
        """In logical order."""
        self.builder.output(name, self.plain(x))

    def shape(self, x: T) -> tuple[int, ...]:
        sizes = self.builder.shape(x.value)
        return tuple(sizes[axis] for axis in x.perm)

    def data(self, x: T) -> Array | None:
        """The constant in logical order; None for what is known only at run time."""
        data = self.builder.data(x.value)
        return None if data is None else data.transpose(x.perm)

    def dtype(self, x: T) -> np.dtype[Any]:
        return self.builder.graph.values[x.value].dtype

    def plain(self, x: T) -> str:
        """The value in logical order."""
        return self._ordered(x, range(len(x.perm)))

    def nhwc(self, x: T) -> str:
        """The value of [batch, channels, height, width] stored NHWC."""
        return self._ordered(x, channels_last(len(x.perm)))

    def _node(self, op: str, *inputs: Any, **attributes: Any) -> str:
        return self.builder.node(op, *inputs, name=self.label, **attributes)

    def _tensor(self, x: T | Array) -> T:
        return x if isinstance(x, T) else self.constant(x)

    def _known(self, x: T | Array, what: str) -> Array:
        data = self.data(x) if isinstance(x, T) else np.asarray(x)
        if data is None:
            raise UnsupportedError(f"{what} computed at run time; constant ones are supported")
        return data

    def _ordered(self, x: T, order: Iterable[int]) -> str:
        """The value with its logical axes stored in this order."""
        perm = tuple(x.perm[axis] for axis in order)
        if perm == tuple(range(len(perm))):
            return x.value
        key = ("transpose", x.value, perm)
        if key not in self._made:
            sizes, data = self.builder.shape(x.value), self.builder.data(x.value)
            moved = [axis for axis in perm if sizes[axis] != 1]
            if data is not None:
                self._made[key] = self.builder.constant(np.ascontiguousarray(data.transpose(perm)))
            elif moved == sorted(moved):
                self._made[key] = self._reshape(x.value, [sizes[axis] for axis in perm])
            else:
                self._made[key] = self._node("transpose", x.value, perm=perm)
        return self._made[key]

    def _reshape(self, value: str, shape: Sequence[int]) -> str:
        """Of stored axes; a reshape of a reshape is one."""
        while value in self._reshaped and self.builder.shape(value) != tuple(shape):
            value = self._reshaped[value]
        if self.builder.shape(value) == tuple(shape):
            return value
        key = ("reshape", value, tuple(shape))
        if key not in self._made:
            self._made[key] = self._node("reshape", value, shape=tuple(shape))
            self._reshaped[self._made[key]] = value
        return self._made[key]

    # ---- elementwise ----------------------------------------------------------------------------

    def unary(self, kind: str, x: T, a: float = 0.0, b: float = 0.0) -> T:
        return T(self._node("unary", x.value, kind=kind, a=float(a), b=float(b)), x.perm)

    def binary(self, kind: str, a: T | Array, b: T | Array) -> T:
        """Broadcast in logical order, stored as the larger of the two."""
        return self._broadcast(lambda *values: self._node("binary", *values, kind=kind), a, b)

    def prelu(self, x: T, slope: T | Array) -> T:
        """slope is broadcast to x in logical order: [channels, 1, 1] for one per channel."""
        slope = self._tensor(slope)
        if np.broadcast_shapes(self.shape(x), self.shape(slope)) != self.shape(x):
            raise ValueError(f"a slope of {self.shape(slope)} does not fit {self.shape(x)}")
        values = self._against(x.order, x), self._against(x.order, slope)
        return self._whole_rank(self._node("prelu", *values), x.perm)

    def where(self, mask: Array, a: T | Array, b: T | Array) -> T:
        """a where the constant mask is true, b elsewhere: a selection, so that NaN is not spread."""
        a, b = self._tensor(a), self._tensor(b)
        full = np.broadcast_shapes(mask.shape, self.shape(a), self.shape(b))
        if mask.all() or not mask.any():
            return self.expand(a if mask.all() else b, full)
        sizes = (*(1,) * (len(full) - mask.ndim), *mask.shape)
        over = [axis for axis, size in enumerate(sizes) if size != 1]
        order = [axis for axis in range(len(full)) if axis not in over] + over
        flat = [
            self.flatten(self.transpose(self.expand(x, full), order), len(full) - len(over), -1)
            for x in (a, b)
        ]
        at = np.arange(mask.size)
        picked = self.gather(self.concat(flat, -1), np.where(mask.reshape(-1), at, at + mask.size), -1)
        y = self.reshape(picked, [full[axis] for axis in order])
        return self.transpose(y, [order.index(axis) for axis in range(len(full))])

    def _broadcast(self, make: Callable[..., str], *inputs: T | Array) -> T:
        tensors = [self._tensor(x) for x in inputs]
        lead = max(tensors, key=self._weight)
        return self._whole_rank(make(*(self._against(lead.order, x) for x in tensors)), lead.perm)

    def _whole_rank(self, value: str, perm: tuple[int, ...]) -> T:
        """`_against` leaves out first axes of 1 of constants, which what is computed of these alone lacks."""
        sizes = self.builder.shape(value)
        return T(self._reshape(value, (*(1,) * (len(perm) - len(sizes)), *sizes)), perm)

    def _weight(self, x: T) -> tuple[Any, ...]:
        """What the order of a result is taken from has the most of this."""
        known = self.builder.data(x.value) is not None
        return len(x.perm), not known, math.prod(self.shape(x)), x.perm != tuple(range(len(x.perm)))

    def _against(self, order: Sequence[int], x: T) -> str:
        """x as stored next to a tensor with this order; its missing axes are the first ones."""
        missing = len(order) - len(x.perm)
        value = self._ordered(x, [axis - missing for axis in order if axis >= missing])
        sizes = self.shape(x)
        shape = [1 if axis < missing else sizes[axis - missing] for axis in order]
        data = self.builder.data(value)
        if data is None:
            return self._reshape(value, shape)
        while shape and shape[0] == 1:
            del shape[0]
        return value if data.shape == tuple(shape) else self._reshape(value, shape)

    # ---- axes -----------------------------------------------------------------------------------

    def axis(self, x: T, axis: int) -> int:
        """Counted from the first. Raises ValueError where there is none."""
        rank = len(x.perm)
        if not -rank <= axis < rank:
            raise ValueError(f"there is no axis {axis} in {self.shape(x)}")
        return int(axis) % rank

    def transpose(self, x: T, perm: Sequence[int]) -> T:
        if sorted(perm) != list(range(len(x.perm))):
            raise ValueError(f"perm {tuple(perm)} does not fit {self.shape(x)}")
        return T(x.value, tuple(x.perm[axis] for axis in perm))

    def reshape(self, x: T, shape: Sequence[int]) -> T:
        """-1 follows from the others, 0 is the input's. Axes not split or joined keep their place."""
        old = self.shape(x)
        new = list(
            reshape_shape(Node("reshape", (), "", {"shape": tuple(shape)}), Value("", old, np.dtype("f4")))
        )
        pairs = _joined(old, new)
        pairs.sort(key=lambda pair: min(x.perm[axis] for axis in pair[0]))
        before = [axis for pair in pairs for axis in pair[0]]
        ones = [axis for axis, size in enumerate(old) if size == 1]
        in_place = [axis for axis in x.order if old[axis] != 1] == before
        value = x.value if in_place else self._ordered(x, [*ones, *before])
        order = _with_ones([axis for pair in pairs for axis in pair[1]], len(new))
        return stored(self._reshape(value, [new[axis] for axis in order]), order)

    def flatten(self, x: T, first: int = 0, last: int = -1) -> T:
        """Axes first to last, both counted, as one."""
        sizes = self.shape(x)
        first, last = (self.axis(x, axis) for axis in (first, last))
        joined = math.prod(sizes[first : last + 1])
        return self.reshape(x, (*sizes[:first], joined, *sizes[last + 1 :]))

    def squeeze(self, x: T, axes: Iterable[int] | None = None) -> T:
        """Without these axes of size 1; None: without all of them."""
        sizes = self.shape(x)
        if axes is None:
            return self.reshape(x, [size for size in sizes if size != 1])
        gone = {self.axis(x, axis) for axis in axes}
        if any(sizes[axis] != 1 for axis in gone):
            raise ValueError(f"axes {sorted(gone)} of {sizes} are not of size 1")
        return self.reshape(x, [size for axis, size in enumerate(sizes) if axis not in gone])

    def unsqueeze(self, x: T, axes: Iterable[int]) -> T:
        """Axes of size 1, counted in the result."""
        given = list(axes)
        rank = len(x.perm) + len(given)
        added = {axis % rank for axis in given if -rank <= axis < rank}
        if len(added) != len(given):
            raise ValueError(f"axes {given} cannot be added to {self.shape(x)}")
        rest = iter(self.shape(x))
        return self.reshape(x, [1 if axis in added else next(rest) for axis in range(rank)])

    def concat(self, tensors: Sequence[T], axis: int) -> T:
        """Stored in the order that most elements have."""
        if not tensors:
            raise ValueError("nothing to concatenate")
        if len({len(x.perm) for x in tensors}) > 1:
            raise ValueError(f"{[self.shape(x) for x in tensors]} differ in their number of axes")
        votes: dict[tuple[int, ...], int] = {}
        for x in tensors:
            if self.builder.data(x.value) is None:
                votes[x.perm] = votes.get(x.perm, 0) + math.prod(self.shape(x))
        perm = max(votes, key=lambda p: (votes[p], p), default=tensors[0].perm)
        lead = T("", perm)
        values = [self._ordered(x, lead.order) for x in tensors]
        if len(values) == 1:
            return T(values[0], perm)
        return T(self._node("concat", *values, axis=perm[self.axis(tensors[0], axis)]), perm)

    def slice(self, x: T, slices: Sequence[Slice | None]) -> T:
        """(start, stop, step) of every logical axis; None: all of it."""
        if len(slices) != len(x.perm):
            raise ValueError(f"{len(slices)} slices do not fit {self.shape(x)}")
        every = [
            None if item is None or range(size)[slice(*item)] == range(size) else item
            for item, size in zip(slices, self.shape(x), strict=True)
        ]
        if not any(every):
            return x
        return T(self._node("slice", x.value, slices=tuple(every[axis] for axis in x.order)), x.perm)

    def pad(self, x: T, pads: Pairs, mode: str = "constant", value: float = 0.0) -> T:
        """(before, after) of every logical axis; negative ones cut."""
        if len(pads) != len(x.perm):
            raise ValueError(f"{len(pads)} pairs of pads do not fit {self.shape(x)}")
        sizes = self.shape(x)
        cut = [(max(-a, 0), size - max(-b, 0), 1) for (a, b), size in zip(pads, sizes, strict=True)]
        x = self.slice(x, cut)
        if not any(max(pair) > 0 for pair in pads):
            return x
        grown = tuple((max(int(pads[axis][0]), 0), max(int(pads[axis][1]), 0)) for axis in x.order)
        return T(self._node("pad", x.value, pads=grown, mode=mode, value=float(value)), x.perm)

    def expand(self, x: T, shape: Sequence[int]) -> T:
        """Broadcast with `shape` as NumPy does; axes of either may be 1."""
        full = np.broadcast_shapes(self.shape(x), tuple(int(size) for size in shape))
        if full == self.shape(x):
            return x
        missing = len(full) - len(x.perm)
        order = [*range(missing), *(axis + missing for axis in x.order)]
        value = self._against(order, x)
        return stored(self._node("expand", value, shape=tuple(full[axis] for axis in order)), order)

    def tile(self, x: T, repeats: Sequence[int]) -> T:
        sizes = self.shape(x)
        if len(repeats) != len(sizes) or any(count < 1 for count in repeats):
            raise ValueError(f"repeats {tuple(repeats)} do not fit {sizes}")
        for axis, (count, size) in enumerate(zip(repeats, sizes, strict=True)):
            if count == 1:
                continue
            now = self.shape(x)
            if size == 1:
                x = self.expand(x, (*now[:axis], count, *now[axis + 1 :]))
            else:
                x = self.concat([x] * count, axis)
        return x

    def gather(self, x: T, indices: T | Array, axis: int = 0) -> T:
        """Constant indices, which may be negative; their axes take the place of `axis`."""
        axis = self.axis(x, axis)
        size = self.shape(x)[axis]
        at = self._known(indices, "indices").astype(np.int64)
        at = np.where(at < 0, at + size, at)
        value = self._node("gather", x.value, at, axis=x.perm[axis])
        order: list[int] = []
        for old in x.order:
            shifted = old if old < axis else old + at.ndim - 1
            order += range(axis, axis + at.ndim) if old == axis else [shifted]
        return stored(value, order)

    def reduce(self, kind: str, x: T, axes: Iterable[int] | None, keepdims: bool = True) -> T:
        """kind: mean, sum, max, min or prod; axes None: all."""
        gone = {self.axis(x, axis) for axis in (range(len(x.perm)) if axes is None else axes)}
        if not gone:
            return x
        at = tuple(sorted(x.perm[axis] for axis in gone))
        value = self._node("reduce", x.value, kind=kind, axes=at, keepdims=bool(keepdims))
        if keepdims:
            return T(value, x.perm)
        kept = [axis for axis in range(len(x.perm)) if axis not in gone]
        return stored(value, [kept.index(axis) for axis in x.order if axis not in gone])

    def arg(self, x: T, axis: int, keepdims: bool, *, least: bool = False, last: bool = False) -> T:
        """Where the largest along an axis is; see `whole_numbers`."""
        axis = self.axis(x, axis)
        sizes = self.builder.shape(x.value)
        found = T(arg_max(self._node, x.value, sizes, x.perm[axis], least=least, last=last), x.perm)
        found = found if keepdims else self.squeeze(found, [axis])
        self.whole.add(found.value)
        return found

    def top_k(self, x: T, axis: int, k: int, *, least: bool = False) -> tuple[T, T]:
        """The largest along an axis, and where they are; see `whole_numbers`."""
        if k > MOST_SORTED:
            raise UnsupportedError(f"the first {k}; at most {MOST_SORTED} are sorted")
        at, sizes = x.perm[self.axis(x, axis)], self.builder.shape(x.value)
        values, places = top_k(self._node, x.value, sizes, at, k, least=least)
        self.whole.add(places)
        return T(values, x.perm), T(places, x.perm)

    def softmax(self, x: T, axis: int = -1, log: bool = False) -> T:
        return T(self._node("softmax", x.value, axis=x.perm[self.axis(x, axis)], log=log), x.perm)


def _joined(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The fewest axes of both, in order, that have the same product; axes of size 1 are left out."""
    left = [axis for axis, size in enumerate(old) if size != 1]
    right = [axis for axis, size in enumerate(new) if size != 1]
    pairs = []
    while left:
        a, b = [left.pop(0)], [right.pop(0)]
        have, want = old[a[0]], new[b[0]]
        while have != want:
            if have < want:
                a.append(left.pop(0))
                have *= old[a[-1]]
            else:
                b.append(right.pop(0))
                want *= new[b[-1]]
        pairs.append((a, b))
    return pairs


def _with_ones(order: Sequence[int], rank: int) -> list[int]:
    """Those of `order` in this order, and the others, of size 1, so that channels are last if they can be."""
    last = channels_last(rank)
    if [axis for axis in last if axis in order] == list(order):
        return list(last)
    full = list(order)
    for axis in range(rank):
        if axis not in order:
            full.insert(full.index(axis - 1) + 1 if axis else 0, axis)
    return full
