"""Tensors as parts of memory: shape, strides and offset, and what can be made of them without a copy.

Strides and offsets count elements. An axis of size 1 has the stride that makes it contiguous with the axes
after it, so that equal parts of memory are equal views, whatever they were made from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

Sizes: TypeAlias = tuple[int, ...]


def contiguous_strides(shape: Sequence[int]) -> Sizes:
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


class View(NamedTuple):
    """Elements [i, j, ...] at offset + i * strides[0] + j * strides[1] + ... of some memory."""

    shape: Sizes
    strides: Sizes
    offset: int = 0

    @classmethod
    def whole(cls, shape: Iterable[int]) -> View:
        sizes = tuple(shape)
        return cls(sizes, contiguous_strides(sizes))

    @classmethod
    def of(cls, axes: Iterable[tuple[int, int]], offset: int) -> View:
        """Of (size, stride) of every axis."""
        given = list(axes)
        strides: list[int] = []
        after = 1  # the stride of an axis outside of the one before
        for size, stride in reversed(given):
            strides.append(after if size == 1 else stride)
            after = size * strides[-1]
        return cls(tuple(size for size, _ in given), tuple(reversed(strides)), offset)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        return self.strides == contiguous_strides(self.shape)

    @property
    def has_unit_stride(self) -> bool:
        """Whether the last axis is contiguous."""
        return not self.shape or self.strides[-1] == 1

    @property
    def is_apart(self) -> bool:
        """Whether no two elements share memory, as far as strides tell in order of their size."""
        reach = 0
        for stride, size in sorted((abs(t), n) for n, t in self._axes() if n > 1):
            if stride <= reach:
                return False
            reach += stride * (size - 1)
        return True

    def _axes(self) -> list[tuple[int, int]]:
        return list(zip(self.shape, self.strides, strict=True))

    def transpose(self, perm: Sequence[int]) -> View:
        axes = self._axes()
        return View.of((axes[axis] for axis in perm), self.offset)

    def slice(self, slices: Sequence[slice]) -> View:
        """One slice for each axis; no axis becomes empty."""
        axes, offset = [], self.offset
        for (size, stride), item in zip(self._axes(), slices, strict=True):
            start, _, step = item.indices(size)
            axes.append((len(range(*item.indices(size))), stride * step))
            offset += start * stride
        return View.of(axes, offset)

    def part(self, axis: int, start: int, stop: int, step: int = 1) -> View:
        """Elements start, start + step, ... of one axis."""
        slices = [slice(None)] * len(self.shape)
        slices[axis] = slice(start, stop, step)
        return self.slice(slices)

    def expand(self, shape: Sequence[int]) -> View:
        """As np.broadcast_to."""
        missing = len(shape) - len(self.shape)
        given = [(1, 0)] * missing + self._axes()
        axes = [
            (size, 0 if old == 1 and size > 1 else stride)
            for size, (old, stride) in zip(shape, given, strict=True)
        ]
        return View.of(axes, self.offset)

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements in the same order; None: no strides give that."""
        # Axes that one stride runs through are one axis, whatever the shape; new axes must divide such runs.
        runs: list[tuple[int, int]] = []
        for size, stride in self._axes():
            if size == 1:
                continue
            if runs and runs[-1][1] == size * stride:
                runs[-1] = (runs[-1][0] * size, stride)
            else:
                runs.append((size, stride))
        axes: list[tuple[int, int]] = []
        left, inner = 1, 1  # what is left of the run, and the stride of its last elements
        for size in shape:
            if size > 1 and left == 1:
                left, inner = runs.pop(0)
            if left % size:
                return None
            left //= size
            axes.append((size, left * inner))
        return View.of(axes, self.offset)
