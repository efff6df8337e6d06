"""What large weights or activations cost: by name, with Keras's arguments and defaults, or any object with
`__call__(w)`, the loss, and `gradient(w)`.

Semantics: `keras.regularizers`. `tf.contrib.layers.l2_regularizer(s)` of TensorFlow 1 is `l2(s / 2)` here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..activation import Array

DEFAULT = 0.01


class Regularizer(Protocol):
    def __call__(self, w: Array, /) -> Any: ...

    def gradient(self, w: Array, /) -> Array: ...


@dataclass(frozen=True)
class L1L2:
    """l1 * sum(|w|) + l2 * sum(w^2)."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name in ("l1", "l2"):
            value = getattr(self, name)
            if not np.isfinite(value) or value < 0:
                raise ValueError(f"regularizer: {name} must be a finite number from 0 on, not {value!r}")

    def __call__(self, w: Array) -> Any:
        wide = np.asarray(w, np.float64)
        return w.dtype.type(self.l1 * np.abs(wide).sum() + self.l2 * np.square(wide).sum())

    def gradient(self, w: Array) -> Array:
        one = w.dtype.type
        return np.asarray(one(self.l1) * np.sign(w) + one(2 * self.l2) * w)


def l1(l1: float = DEFAULT) -> L1L2:
    return L1L2(l1=l1)


def l2(l2: float = DEFAULT) -> L1L2:
    return L1L2(l2=l2)


def l1_l2(l1: float = DEFAULT, l2: float = DEFAULT) -> L1L2:
    return L1L2(l1, l2)


NAMES = {"l1": l1, "l2": l2, "l1_l2": l1_l2, "l1l2": l1_l2}


def get(identifier: Any) -> Regularizer | None:
    """Of None, a name, or an object as above; one of Keras becomes its counterpart.

    Raises ValueError for an unknown name, TypeError for what has no gradient.
    """
    if identifier is None:
        return None
    if isinstance(identifier, str):
        if identifier.lower() not in NAMES:
            raise ValueError(f"regularizer must be one of {', '.join(NAMES)}, not {identifier!r}")
        return NAMES[identifier.lower()]()
    if isinstance(identifier, type):
        identifier = identifier()
    if callable(identifier) and hasattr(identifier, "gradient"):
        return identifier  # type: ignore[no-any-return]
    if type(identifier).__name__ in ("L1", "L2", "L1L2"):  # of Keras
        return L1L2(float(getattr(identifier, "l1", 0.0)), float(getattr(identifier, "l2", 0.0)))
    raise TypeError(
        f"regularizer must be a name or have `__call__(w)` and `gradient(w)`, not {identifier!r}: "
        "nn.regularizers.l1_l2(l1=..., l2=...) has both"
    )
