"""Filters of 9 bits, which uint8 with a zero point can be, as sums of two of 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..activation import Array

LEAST, MOST = -128, 127


def fits(filters: Array) -> bool:
    return bool(filters.size and filters.min() >= LEAST and filters.max() <= MOST)


def split(node: Callable[..., str], x: str, hwio: Array, groups: int) -> tuple[str, Array]:
    """(x, filters): the second part is over channels of x that are there twice. `node` makes nodes."""
    first = np.clip(hwio, LEAST, MOST)
    rest = hwio - first
    if groups == 1:
        again = np.flatnonzero(rest.any((0, 1, 3)))
        twice = node("concat", x, node("gather", x, again, axis=3), axis=3)
        return twice, np.concatenate([first, rest[:, :, again]], 2)
    inputs = hwio.shape[2]
    channels = np.arange(groups * inputs).reshape(groups, inputs)
    twice = node("gather", x, np.concatenate([channels, channels], 1).reshape(-1), axis=3)
    return twice, np.concatenate([first, rest], 2)
