"""Strides, padding, dilations and shapes: what is accepted, what follows from it, and what errors say.

The rules are those of TensorFlow's convolutions, plus explicit padding and free mixes of stride and dilation.
The C core checks the same rules; the messages come from here.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

Pair: TypeAlias = tuple[int, int]
Shape: TypeAlias = tuple[int, int, int, int]
Padding: TypeAlias = Literal["valid", "same"] | tuple[Pair, Pair]

# What callers may write for them.
Integers: TypeAlias = Sequence[SupportsIndex] | npt.NDArray[np.integer[Any]]
StepsLike: TypeAlias = SupportsIndex | Integers
PaddingLike: TypeAlias = (
    Literal["valid", "same", "VALID", "SAME"] | SupportsIndex | Integers | Sequence[Integers]
)
DataFormat: TypeAlias = Literal["NHWC", "NCHW", "nhwc", "nchw", "channels_last", "channels_first"]

# "NHWC", "NCHW" and what Keras calls them, in lower case -> whether channels come first.
CHANNELS_FIRST = {"nhwc": False, "channels_last": False, "nchw": True, "channels_first": True}

MAX_SIZE = 2**31 - 1  # of any size, stride, dilation or padding: the products of two fit 64 bits
MAX_THREADS = 1024  # what is above is a mistake


def integer(where: str, value: Any, low: int = 1, high: int = MAX_SIZE) -> int:
    """`value` as an int in [low, high]. `where` begins the message, as in "conv2d: strides"."""
    if isinstance(value, bool):
        raise TypeError(f"{where} must be an integer, not {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{where} must be an integer, not {value!r}") from None
    if not low <= number <= high:
        raise ValueError(f"{where} must be between {low} and {high}, not {number}")
    return number


def thread_count(where: str, value: Any) -> int:
    count = integer(where, value, 1, MAX_THREADS)
    return value if isinstance(value, int) else count  # a subclass tells whose threads


def data_format(name: str, value: Any) -> bool:
    """True for "NCHW", False for "NHWC", in any case; Keras's names too."""
    if isinstance(value, str) and value.lower() in CHANNELS_FIRST:
        return CHANNELS_FIRST[value.lower()]
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name}: data_format must be 'NHWC' or 'NCHW', not {value!r}")


def _is_number(value: Any) -> bool:
    """Whether `value` stands for one number: an int, a NumPy scalar or an array of no axes."""
    return hasattr(value, "__index__") and getattr(value, "ndim", 0) == 0


def _items(where: str, value: Any, rule: str) -> list[Any]:
    if isinstance(value, str | bytes):
        raise TypeError(f"{where} must be {rule}, not {value!r}")
    try:
        return list(value)
    except TypeError:
        raise TypeError(f"{where} must be {rule}, not {value!r}") from None


def steps(name: str, argument: str, value: Any, nchw: bool = False) -> Pair:
    """Strides or dilations: an int, (height, width), or one number per axis of the data format."""
    where = f"{name}: {argument}"
    if _is_number(value):
        number = integer(where, value)
        return number, number
    pattern = "[1, 1, h, w]" if nchw else "[1, h, w, 1]"
    if isinstance(value, str) and value.lower() in ("valid", "same"):
        raise TypeError(f"{where} must be an integer, (h, w) or {pattern}; {value!r} is for padding")
    items = _items(where, value, f"an integer, (h, w) or {pattern}")
    numbers = [integer(where, item) for item in items]
    if len(numbers) == 4:
        outer, inner = (numbers[:2], numbers[2:]) if nchw else (numbers[::3], numbers[1:3])
        if outer == [1, 1]:
            return inner[0], inner[1]
    elif len(numbers) == 2:
        return numbers[0], numbers[1]
    raise ValueError(f"{where} must be an integer, (h, w) or {pattern}, not {value!r}")


def padding(name: str, value: Any, nchw: bool = False) -> Padding:
    """Any accepted form as "valid", "same" or ((top, bottom), (left, right))."""
    where = f"{name}: padding"
    pattern = "[[0, 0], [0, 0], [t, b], [l, r]]" if nchw else "[[0, 0], [t, b], [l, r], [0, 0]]"
    rule = f"'valid', 'same', an integer, (h, w), ((top, bottom), (left, right)) or {pattern}"
    if isinstance(value, str):
        lower = value.lower()
        if lower == "valid":
            return "valid"
        if lower == "same":
            return "same"
        raise ValueError(f"{where} must be {rule}, not {value!r}")
    if _is_number(value):
        size = integer(where, value, 0)
        return (size, size), (size, size)
    items = _items(where, value, rule)
    if items and all(_is_number(item) for item in items):
        numbers = [integer(where, item, 0) for item in items]
        if len(numbers) == 2:
            return (numbers[0], numbers[0]), (numbers[1], numbers[1])
        raise ValueError(f"{where} must be {rule}, not {value!r}")
    sides = [_items(where, item, rule) for item in items]
    if len(sides) in (2, 4) and all(len(side) == 2 for side in sides):
        pairs = [(integer(where, before, 0), integer(where, after, 0)) for before, after in sides]
        if len(pairs) == 2:
            return pairs[0], pairs[1]
        outer, inner = (pairs[:2], pairs[2:]) if nchw else (pairs[::3], pairs[1:3])
        if outer == [(0, 0), (0, 0)]:
            return inner[0], inner[1]
    raise ValueError(f"{where} must be {rule}, not {value!r}")


class Window(NamedTuple):
    """How a kernel slides: everything that decides the size of an output."""

    kernel: Pair
    strides: Pair = (1, 1)
    padding: Padding = "valid"
    dilations: Pair = (1, 1)

    def span(self, axis: int) -> int:
        """The effective kernel: distance from its first to its last tap, both counted."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def extent(self, axis: int, size: int) -> tuple[int, int]:
        """(output size, padding before) of one axis; a size below 1 means that the kernel does not fit."""
        stride, span = self.strides[axis], self.span(axis)
        if self.padding == "same":
            out = -(-size // stride)
            return out, max((out - 1) * stride + span - size, 0) // 2
        before, after = (0, 0) if self.padding == "valid" else self.padding[axis]
        return (size + before + after - span) // stride + 1, before

    def output_size(self, name: str, height: int, width: int) -> Pair:
        """Raises ValueError where the dilated kernel is larger than the padded input."""
        out_h, out_w = self.extent(0, height)[0], self.extent(1, width)[0]
        if out_h < 1 or out_w < 1:
            raise ValueError(
                f"{name}: the kernel spans {self.span(0)}x{self.span(1)} but the padded input is smaller "
                f"(input {height}x{width}, kernel {self.kernel}, dilations {self.dilations}, "
                f"padding {self.padding!r})"
            )
        if max(out_h, out_w) > MAX_SIZE:
            raise ValueError(f"{name}: an output of {out_h}x{out_w} is too large")
        return out_h, out_w


def shape(where: str, value: Any) -> Shape:
    """Four sizes [batch, height, width, channels]; only the batch may be 0."""
    sizes = _items(where, value, "4 sizes [batch, height, width, channels]")
    if len(sizes) != 4:
        raise ValueError(f"{where} must have 4 axes [batch, height, width, channels], not {tuple(sizes)}")
    batch, height, width, channels = (integer(where, size, 0) for size in sizes)
    if 0 in (height, width, channels):
        raise ValueError(f"{where} must not have an empty height, width or channels axis, not {tuple(sizes)}")
    return batch, height, width, channels
