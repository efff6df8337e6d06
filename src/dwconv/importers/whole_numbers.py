"""Integers that a network computes: exact in float32 inside, of the file's dtype at its edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike

from ..nodes import MOST_COUNTED

MOST_SORTED = 128  # each is some six nodes


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
    if count > MOST_COUNTED:
        raise ValueError(f"an axis of {count}; {MOST_COUNTED} at most are counted")
    if dtype != np.float32:
        x = node("dequantize", x)
    if count == 1:  # there is one place: 0
        return node("unary", x, kind="clip", a=0.0, b=0.0)
    if least:
        x = node("unary", x, kind="neg")
    if last:
        slices: list[tuple[int, int, int] | None] = [None] * len(shape)
        slices[axis] = (count - 1, -count - 1, -1)
        x = node("slice", x, slices=slices)
    found = node("reduce", x, kind="argmax", axes=(axis,), keepdims=True)
    return node("unary", found, kind="linear", a=-1.0, b=float(count - 1)) if last else found


def top_k(
    node: Callable[..., str], x: str, shape: Sequence[int], axis: int, k: int, *, least: bool = False
) -> tuple[str, str]:
    """The k largest along `axis`, or the least, in order, and where they are; equals are in their order.

    x is float32. One after another: each is found as `arg_max` does, and then ranks below all others. NaN has
    no order. Raises ValueError for more than there are.
    """
    if not 1 <= k <= shape[axis]:
        raise ValueError(f"the first {k} of an axis of {shape[axis]}")
    places = np.arange(shape[axis], dtype=np.float32).reshape(-1, *(1,) * (len(shape) - axis - 1))
    finite = float(np.finfo(np.float32).max)  # so that what was found ranks below what is -inf
    ranked = node("unary", node("unary", x, kind="neg") if least else x, kind="clip", a=-finite, b=finite)
    values, found = [], []
    for _ in range(k):
        found.append(arg_max(node, ranked, shape, axis))
        chosen = node("binary", places, found[-1], kind="equal")
        kept = node("binary", x, chosen, kind="keep")
        values.append(node("reduce", kept, kind="sum", axes=(axis,), keepdims=True))
        if len(found) < k:
            below = node("binary", np.float32(-np.inf), chosen, kind="keep")
            ranked = node("binary", ranked, below, kind="add")
    return node("concat", *values, axis=axis), node("concat", *found, axis=axis)
