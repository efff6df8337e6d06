"""Resizing by cubic interpolation, an axis at a time: four rows that are gathered, each times its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..activation import Array
from ..graph import Node
from ..nodes_numpy import coordinates
from .logical import Logical, T


def cubic_weight(distance: Array, a: float) -> Array:
    """Keys's kernel: R. Keys, Cubic convolution interpolation for digital image processing, 1981."""
    d = np.abs(distance)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def cubic(
    net: Logical,
    x: T,
    axes: Sequence[int],
    sizes: Sequence[int],
    scales: Sequence[float] | None = None,
    *,
    how: str = "half_pixel",
    a: float = -0.75,
    exclude_outside: bool = False,
) -> T:
    """`how`: coordinates as `resize` of `dwconv.graph` has them. Beyond the edge lies the pixel at the edge,
    or with exclude_outside nothing, and the other weights grow."""
    to: dict[str, Any] = {"coordinates": how, "scales": None if scales is None else tuple(scales)}
    for position, (axis, out) in enumerate(zip(axes, sizes, strict=True)):
        size = net.shape(x)[axis]
        at = coordinates(Node("resize", (), "", to), position, size, out)
        if out == size and np.array_equal(at, np.arange(size)):
            continue
        x = _along(net, x, axis, at, a, exclude_outside)
    return x


def _along(net: Logical, x: T, axis: int, at: Array, a: float, exclude_outside: bool) -> T:
    size, rank = net.shape(x)[axis], len(x.perm)
    rows = np.floor(at).astype(np.int64) + np.arange(-1, 3)[:, None]
    weights = cubic_weight(rows - at, a)
    if exclude_outside:
        weights[(rows < 0) | (rows >= size)] = 0
        weights /= weights.sum(0)
    found = None
    for index, weight in zip(np.clip(rows, 0, size - 1), weights, strict=True):
        shape = (len(at), *(1,) * (rank - axis - 1))
        part = net.binary("mul", net.gather(x, index, axis), weight.astype(np.float32).reshape(shape))
        found = part if found is None else net.binary("add", found, part)
    assert found is not None
    return found
