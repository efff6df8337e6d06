"""Sparse constants of TFLite as dense arrays."""

from __future__ import annotations

import math

import numpy as np

from ..activation import Array
from ..graph import MOST_FOLDED
from .tflite_parse import Sparsity


def densified(values: Array, shape: tuple[int, ...], sparsity: Sparsity) -> Array:
    """The array of which `values` are the nonzero elements. Raises ValueError if they do not fit.

    Levels stand for axes in the order of traversal: first those of the tensor, counted in blocks, then those
    within a block. At each level every position so far splits into those that the level lists.
    """
    total = math.prod(shape)
    if min(shape, default=0) < 0 or total > MOST_FOLDED:
        raise ValueError(f"a sparse constant of {shape} is negative or too large")
    sizes = _level_sizes(shape, sparsity)
    coordinates = [np.zeros(1, np.int64) for _ in sizes]
    for level, (_, segments, indices) in enumerate(sparsity.levels):
        count = len(coordinates[0])
        axis, size = sparsity.order[level], sizes[sparsity.order[level]]
        if segments is None or indices is None:
            if count * size > total:
                raise ValueError("a sparse constant lists more than its shape holds")
            parents, here = np.repeat(np.arange(count), size), np.tile(np.arange(size), count)
        else:
            parents, here = _listed(segments, indices, count, size)
        coordinates = [c[parents] for c in coordinates]
        coordinates[axis] = here
    if len(values) != len(coordinates[0]):
        raise ValueError(f"a sparse constant has {len(values)} values for {len(coordinates[0])} places")
    for block, axis in enumerate(sparsity.block_map):
        coordinates[axis] = coordinates[axis] * sizes[len(shape) + block] + coordinates[len(shape) + block]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(coordinates[: len(shape)])] = values
    return dense


def _level_sizes(shape: tuple[int, ...], sparsity: Sparsity) -> list[int]:
    """Positions along each axis that a level stands for: axes in blocks, then within a block."""
    rank, blocks = len(shape), len(sparsity.block_map)
    axes = range(rank + blocks)
    fits = sorted(sparsity.order) == list(axes) and len(sparsity.levels) == len(axes) and rank > 0
    if (
        not fits
        or len(set(sparsity.block_map)) < blocks
        or any(not 0 <= a < rank for a in sparsity.block_map)
    ):
        raise ValueError(f"a sparse constant of {shape} has levels that do not fit it")
    sizes = [*shape, *(0 for _ in range(blocks))]
    for axis, (size, segments, _) in zip(sparsity.order, sparsity.levels, strict=True):
        if axis >= rank:
            target = sparsity.block_map[axis - rank]
            if segments is not None or size < 1 or shape[target] % size:
                raise ValueError(f"a sparse constant of {shape} has blocks of {size} on axis {target}")
            sizes[axis] = size
            sizes[target] = shape[target] // size
    for axis, (size, segments, _) in zip(sparsity.order, sparsity.levels, strict=True):
        if segments is None and size != sizes[axis]:
            raise ValueError(f"a sparse constant of {shape} has {size} positions where {sizes[axis]} fit")
    return sizes


def _listed(segments: Array, indices: Array, count: int, size: int) -> tuple[Array, Array]:
    """(parent, position) of all that a compressed level lists."""
    lengths = np.diff(segments)
    if len(segments) != count + 1 or segments[0] != 0 or segments[-1] != len(indices) or (lengths < 0).any():
        raise ValueError("a sparse constant has segments that do not fit its indices")
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        raise ValueError(f"a sparse constant has indices outside [0, {size})")
    return np.repeat(np.arange(count), lengths), indices
