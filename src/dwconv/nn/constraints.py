"""What optimizers make of a variable after every update: by name, with Keras's arguments and defaults, or any
callable of an array.

Semantics: `keras.constraints`. `axis`: the axes that norms are taken over; [0, 1, 2] for filters [height,
width, channels, outputs] makes it one norm for each output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..activation import Array

Constraint: TypeAlias = Callable[[Array], Any]
Axes: TypeAlias = int | Sequence[int]
EPSILON = 1e-7


def _norms(w: Array, axis: Axes) -> Array:
    axes = axis if isinstance(axis, int) else tuple(axis)
    return np.asarray(np.sqrt(np.square(w).sum(axis=axes, keepdims=True)))


@dataclass(frozen=True)
class MaxNorm:
    """Norms above `max_value` become that."""

    max_value: float = 2.0
    axis: Axes = 0

    def __call__(self, w: Array) -> Array:
        norms = _norms(w, self.axis)
        return np.asarray(w * (np.clip(norms, 0, self.max_value) / (EPSILON + norms)).astype(w.dtype))


@dataclass(frozen=True)
class MinMaxNorm:
    """Norms move into [min_value, max_value] by the share `rate`."""

    min_value: float = 0.0
    max_value: float = 1.0
    rate: float = 1.0
    axis: Axes = 0

    def __call__(self, w: Array) -> Array:
        norms = _norms(w, self.axis)
        wanted = self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return np.asarray(w * (wanted / (EPSILON + norms)).astype(w.dtype))


@dataclass(frozen=True)
class NonNeg:
    """Negative numbers become 0."""

    def __call__(self, w: Array) -> Array:
        return np.maximum(w, 0)


@dataclass(frozen=True)
class UnitNorm:
    axis: Axes = 0

    def __call__(self, w: Array) -> Array:
        return np.asarray(w / (EPSILON + _norms(w, self.axis)).astype(w.dtype))


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm

NAMES: dict[str, Callable[[], Constraint]] = {
    "max_norm": MaxNorm, "maxnorm": MaxNorm, "min_max_norm": MinMaxNorm, "non_neg": NonNeg,
    "nonneg": NonNeg, "unit_norm": UnitNorm,
}  # fmt: skip


def get(identifier: Any) -> Constraint | None:
    """Of None, a name, or a callable. Raises ValueError for an unknown name, TypeError for anything else."""
    if identifier is None:
        return None
    if isinstance(identifier, str):
        if identifier.lower() not in NAMES:
            raise ValueError(f"constraint must be one of {', '.join(NAMES)}, not {identifier!r}")
        return NAMES[identifier.lower()]()
    if isinstance(identifier, type):
        identifier = identifier()
    if callable(identifier):
        return identifier  # type: ignore[no-any-return]
    raise TypeError(f"constraint must be a name or a callable, not {identifier!r}")
