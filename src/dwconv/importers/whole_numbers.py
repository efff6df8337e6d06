"""Integers that a network computes: exact in float32 inside, of the file's dtype at its edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .. import byte_tables
from ..graph import Quantization
from ..quantized import limits

MOST = 1 << 24  # every integer up to this is a float32
MOST_OF_BYTES = 4096  # whose division by the count is exact to the integer
FINITE = float(np.finfo(np.float32).max)


def arg_max(
    node: Callable[..., str],
    x: str,
    shape: Sequence[int],
    axis: int,
    *,
    least: bool = False,
    last: bool = False,
    dtype: DTypeLike = np.float32,
) -> str:
    """Where the largest of each row along `axis` is, or the least; the first or the `last`. The axis stays.

    `shape` and `dtype`, float32 or of 8 bits: of x. `node` makes nodes. Raises ValueError for an axis beyond
    what float32 counts.
    """
    count = shape[axis]
    if count > MOST:
        raise ValueError(f"an axis of {count}; {MOST} at most are counted")
    if dtype != np.float32:
        if count <= MOST_OF_BYTES and not last:
            return _arg_max_of_bytes(node, x, np.dtype(dtype), shape, axis, least)
        x = node("dequantize", x)
    if least:
        x = node("unary", x, kind="neg")
    x = node("unary", x, kind="clip", a=-FINITE, b=FINITE)  # infinities have no difference
    most = node("reduce", x, kind="max", axes=(axis,), keepdims=True)
    below = node(
        "unary", node("binary", x, most, kind="sub"), kind="sign"
    )  # 0 where it is the largest, or -1
    places = np.arange(count, dtype=np.float32)
    weights = (places if last else places[::-1]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    ranked = node("binary", node("unary", below, kind="linear", a=float(count)), weights, kind="add")
    found = node("reduce", ranked, kind="max", axes=(axis,), keepdims=True)
    return found if last else node("unary", found, kind="linear", a=-1.0, b=float(count - 1))


def _arg_max_of_bytes(
    node: Callable[..., str], x: str, dtype: np.dtype[Any], shape: Sequence[int], axis: int, least: bool
) -> str:
    """The same of 8-bit integers, the first one, along at most MOST_OF_BYTES.

    A number and its place from the end are one integer, number * count + place: one maximum finds both.
    """
    count = shape[axis]
    table = byte_tables.relabelled(dtype)[:: -1 if least else 1]
    numbers = node("lookup", x, table, quantization=Quantization(float(count), limits(dtype)[0], None))
    places = np.arange(count, dtype=np.float32)[::-1]
    places = places.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    ranked = node("binary", node("dequantize", numbers), places, kind="add")
    most = node("reduce", ranked, kind="max", axes=(axis,), keepdims=True)
    number = node("unary", node("unary", most, kind="linear", a=1 / count, b=0.5 / count), kind="floor")
    last = node("unary", number, kind="linear", a=float(count), b=float(count - 1))
    return node("binary", last, most, kind="sub")
