"""Activations: their names and numbers, and what they compute with NumPy.

The definitions are those of `tf.nn` and Keras (`leaky_relu` has TensorFlow's slope of 0.2, `hard_sigmoid` is
relu6(x + 3) / 6), "gelu" is the exact form with erf. NaN gives NaN.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.polynomial import chebyshev

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
ActivationLike: TypeAlias = (
    Literal[
        "relu",
        "relu6",
        "leaky_relu",
        "hard_sigmoid",
        "hard_swish",
        "sigmoid",
        "silu",
        "tanh",
        "gelu",
        "gelu_tanh",
        "linear",
        "swish",
        "hard_silu",
    ]
    | tuple[Literal["leaky_relu"], float]
    | tuple[Literal["clip"], float, float]
    | None
)

PLAIN = ("relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh", "gelu", "gelu_tanh")
# What Keras and PyTorch call the same functions, in lower case. Not "leakyrelu", whose slope differs between
# them.
SYNONYMS = {
    "linear": "identity",
    "swish": "silu",
    "hard_silu": "hard_swish",
    "hardswish": "hard_swish",
    "hardsigmoid": "hard_sigmoid",
}
LEAKY_SLOPE = 0.2
RULE = f"None, {str(PLAIN)[1:-1]}, 'leaky_relu', ('leaky_relu', slope) or ('clip', low, high)"


class Activation(NamedTuple):
    """`a` and `b` are the slope of "leaky_relu" or the bounds of "clip"."""

    kind: str = "identity"
    a: float = 0.0
    b: float = 0.0

    @property
    def normal(self) -> ActivationLike:
        """The shortest form that `parse` makes this of."""
        if self.kind == "identity":
            return None
        if self.kind == "clip":
            return "clip", self.a, self.b
        if self.kind == "leaky_relu" and self.a != LEAKY_SLOPE:
            return "leaky_relu", self.a
        return self.kind  # type: ignore[return-value]


def parse(name: str, argument: str, value: Any) -> Activation:
    """Of None, a name in any case, ("leaky_relu", slope) or ("clip", low, high).

    Raises TypeError or ValueError for anything else.
    """
    where = f"{name}: {argument}"
    if value is None:
        return Activation()
    if isinstance(value, str):
        word, numbers = value, []
    elif isinstance(value, tuple | list) and value and isinstance(value[0], str):
        word, numbers = value[0], [_number(where, item) for item in value[1:]]
    else:
        raise TypeError(f"{where} must be {RULE}, not {value!r}{_name_instead(value)}")
    kind = SYNONYMS.get(word.lower(), word.lower())
    if kind in ("identity", *PLAIN) and not numbers:
        return Activation(kind)
    if kind == "leaky_relu" and len(numbers) <= 1:
        slope = numbers[0] if numbers else LEAKY_SLOPE
        if math.isnan(slope):
            raise ValueError(f"{where}: the slope of 'leaky_relu' must not be NaN")
        return Activation(kind, slope)
    if kind == "clip" and len(numbers) == 2:
        low, high = numbers
        if not low <= high:
            raise ValueError(f"{where}: 'clip' needs low <= high, not {low} and {high}")
        return Activation(kind, low, high)
    raise ValueError(f"{where} must be {RULE}, not {value!r}")


def _name_instead(value: Any) -> str:
    """What to pass instead of a function or a layer of another library, which cannot be looked into."""
    if not callable(value):
        return ""
    word = getattr(value, "__name__", type(value).__name__)
    kind = SYNONYMS.get(word.lower(), word.lower())
    if kind == "gelu":
        return "; pass the name of the form that it computes, 'gelu' (with erf) or 'gelu_tanh'"
    return f"; pass its name, {kind!r}" if kind in PLAIN else ""


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"{where} must have numbers after its name, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{where} must have numbers after its name that fit a float") from None


def apply(x: Array, activation: Activation) -> Array:
    """activation(x), elementwise, in the dtype of x; may overwrite x.

    The smooth ones go through float64: float32 results are then right to the last place.
    """
    kind, one = activation.kind, x.dtype.type
    if kind == "identity":
        return x
    if kind == "relu":
        return np.maximum(x, 0, out=x)
    if kind == "relu6":
        return np.clip(x, 0, 6, out=x)
    if kind == "clip":
        return np.clip(x, one(activation.a), one(activation.b), out=x)
    if kind == "leaky_relu":
        return np.where(x < 0, x * one(activation.a), x)
    if kind == "hard_sigmoid":
        return np.asarray(np.clip(x + 3, 0, 6) / 6)
    if kind == "hard_swish":
        return np.asarray(x * (np.clip(x + 3, 0, 6) / 6))
    return _smooth(x.astype(np.float64, copy=False), kind).astype(x.dtype, copy=False)


def _smooth(x: Array, kind: str) -> Array:
    if kind == "sigmoid":
        return _sigmoid(x)
    if kind == "silu":
        return _weighted(x, _sigmoid(x))
    if kind == "tanh":
        return np.tanh(x)
    if kind == "gelu":
        tail = 0.5 * _erfc(np.minimum(np.abs(x), 40.0) * math.sqrt(0.5))
        return _weighted(x, np.where(x < 0, tail, 1 - tail))
    return _weighted(x, _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def _weighted(x: Array, p: Array) -> Array:
    """x * p, and the limit 0 where x is -infinity and p, which falls faster than x grows, is 0."""
    return np.where(p == 0, 0.0, x * p)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# Chebyshev series of (1 + 2 z) exp(z^2) erfc(z) in u = (z - 3.75) / (z + 3.75), -1 <= u <= 1: the form of
# Shepherd and Laframboise (Mathematics of Computation 36, 1981); coefficients by interpolation with 40
# digits.
_ERFCX = (
    1.1775789345674017, -0.004590054580646478, -0.08424913336651792, 0.05920993999819189,
    -0.026658668435305753, 0.009074997670705265, -0.002413163540417608, 0.0004907758365258086,
    -6.916973302501207e-05, 4.13902798607301e-06, 7.74038306619849e-07, -2.1886401049234394e-07,
    1.0764999465670918e-08, 4.521959811218295e-09, -7.754400208831287e-10, -6.318088340886352e-11,
    2.8687950109306088e-11, 1.945586854533813e-13, -9.65469674850448e-13, 3.2525481473391416e-14,
    3.347811947573427e-14, -1.8645628848747663e-15, -1.2507950537812196e-15,
)  # fmt: skip


def _erfc(z: Array) -> Array:
    """erfc(z) for z >= 0 within 6e-14 of its value, relatively; NumPy has none."""
    series = chebyshev.chebval((z - 3.75) / (z + 3.75), _ERFCX)
    return np.asarray(series / (1 + 2 * z) * np.exp(-z * z))
