"""What variables start with: by name, with Keras's arguments and defaults, or any callable of a shape.

    initializers.get("he_normal"); HeNormal(seed=1); lambda shape, dtype: np.ones(shape, dtype)

Without a seed, numbers come from one generator, which `set_seed` starts anew. With one, an initialiser gives
the same numbers for the same shape every time, as in Keras 3.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from ..activation import Array

Initializer: TypeAlias = Callable[..., Any]
_generator = np.random.default_rng()


def set_seed(seed: int | None) -> None:
    """Starts the numbers of initialisers without a seed, and of `Dropout`, anew; None: unpredictably."""
    global _generator
    _generator = np.random.default_rng(seed)


def generator(seed: int | None = None) -> np.random.Generator:
    return _generator if seed is None else np.random.default_rng(seed)


def fans(shape: Sequence[int]) -> tuple[float, float]:
    """(inputs that a result depends on, results that depend on an input), as TensorFlow counts them.

    Filters are [height, width, inputs, outputs], depthwise ones too, of which the inputs of one result are
    height * width alone: TensorFlow and Keras count their channels all the same.
    """
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    window = math.prod(shape[:-2])
    return float(window * shape[-2]), float(window * shape[-1])


@dataclass(frozen=True)
class Constant:
    """`value`: a number, or an array of the shape of the variable."""

    value: Any = 0.0

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        value = np.asarray(self.value, dtype)
        return np.full(shape, value) if value.ndim == 0 else value.reshape(shape)


@dataclass(frozen=True)
class Zeros:
    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Ones:
    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        return np.ones(shape, dtype)


@dataclass(frozen=True)
class RandomNormal:
    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        return generator(self.seed).normal(self.mean, self.stddev, tuple(shape)).astype(dtype)


@dataclass(frozen=True)
class RandomUniform:
    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        return generator(self.seed).uniform(self.minval, self.maxval, tuple(shape)).astype(dtype)


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal numbers, those beyond two standard deviations drawn again. TensorFlow 1's `stddev` was 1."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        rng = generator(self.seed)
        numbers = np.asarray(rng.standard_normal(tuple(shape)))
        while (beyond := np.abs(numbers) > 2).any():
            numbers[beyond] = rng.standard_normal(int(beyond.sum()))
        return (self.mean + self.stddev * numbers).astype(dtype)


# The standard deviation of a normal distribution cut off at two of its standard deviations.
TRUNCATED_STDDEV = 0.87962566103423978


@dataclass(frozen=True)
class VarianceScaling:
    """Numbers of variance scale / fan, where `mode` says which fan.

    Sources: Glorot and Bengio (AISTATS 2010), He et al. (ICCV 2015); `VarianceScaling` of Keras.
    """

    scale: float = 1.0
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal"
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"VarianceScaling: scale must be positive, not {self.scale!r}")
        if self.mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"VarianceScaling: mode must be fan_in, fan_out or fan_avg, not {self.mode!r}")
        if self.distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                "VarianceScaling: distribution must be truncated_normal, untruncated_normal or uniform, "
                f"not {self.distribution!r}"
            )

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return RandomUniform(-limit, limit, self.seed)(shape, dtype)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, stddev, self.seed)(shape, dtype)
        return TruncatedNormal(0.0, stddev / TRUNCATED_STDDEV, self.seed)(shape, dtype)


@dataclass(frozen=True)
class _Scaled:
    seed: int | None = None
    settings: ClassVar[tuple[float, Any, Any]]

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        return VarianceScaling(*self.settings, self.seed)(shape, dtype)


class GlorotUniform(_Scaled):
    settings = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    settings = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    settings = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    settings = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    settings = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    settings = (1.0, "fan_in", "truncated_normal")


@dataclass(frozen=True)
class Orthogonal:
    """`gain` times a matrix [all axes but the last, the last] with orthogonal rows or columns.

    Source: Saxe et al. (ICLR 2014).
    """

    gain: float = 1.0
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: the variable needs at least two axes, not {tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        flat = generator(self.seed).standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(flat)
        q *= np.sign(np.diag(r))  # makes it uniform over all such matrices
        return (self.gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


NAMES: dict[str, Callable[[], Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "xavier_uniform": GlorotUniform,
    "xavier_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
}


def get(identifier: Any) -> Initializer:
    """Of a name, a number or array for `Constant`, or a callable of (shape, dtype=) or (shape).

    None: "glorot_uniform", TensorFlow's default. What callables give is checked for its shape. Raises
    ValueError for an unknown name, TypeError for anything else.
    """
    if identifier is None:
        return GlorotUniform()
    if isinstance(identifier, str):
        if identifier.lower() not in NAMES:
            raise ValueError(f"initializer must be one of {', '.join(NAMES)}, not {identifier!r}")
        return NAMES[identifier.lower()]()
    if isinstance(identifier, type):
        identifier = identifier()
    if callable(identifier):
        return identifier if type(identifier).__module__ == __name__ else _checked(identifier)
    if isinstance(identifier, int | float | np.ndarray | list | tuple | np.generic):
        return Constant(identifier)
    raise TypeError(f"initializer must be a name, a callable or numbers, not {identifier!r}")


@dataclass(frozen=True)
class _checked:  # noqa: N801 (it is used as a function)
    """A foreign callable, with or without an argument `dtype`."""

    function: Initializer

    def __call__(self, shape: Sequence[int], dtype: Any = np.float32) -> Array:
        try:
            parameters: Any = inspect.signature(self.function).parameters.values()
        except (TypeError, ValueError):
            parameters = ()
        takes_dtype = any(p.name == "dtype" or p.kind is p.VAR_KEYWORD for p in parameters)
        keywords = {"dtype": np.dtype(dtype).name} if takes_dtype else {}
        found = np.asarray(self.function(tuple(shape), **keywords), dtype)
        if found.shape != tuple(shape):
            raise ValueError(f"initializer gave the shape {found.shape} where {tuple(shape)} was asked for")
        return found
