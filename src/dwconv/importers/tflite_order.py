"""TFLite's operators on the order of numbers. See `whole_numbers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .tflite_call import Call, UnsupportedError
from .whole_numbers import MOST_SORTED, arg_max, top_k


def arg(least: bool) -> Callable[[Call], str]:
    def lower(call: Call) -> str:
        (axis,), shape = call.integers(1, "axis"), call.shape(0)
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"there is no axis {axis} in {len(shape)}")
        axis %= len(shape)
        value = call.value(0)
        found = arg_max(call.node, value, shape, axis, least=least, dtype=call.dtype(value))
        return call.reshape(found, (*shape[:axis], *shape[axis + 1 :]))

    return lower


def first_k(call: Call) -> list[str]:
    (k,), shape, value = call.integers(1, "count"), call.shape(0), call.value(0)
    if k > MOST_SORTED or call.dtype(value) != np.float32:
        raise UnsupportedError(f"{k} of {call.dtype(value)}; {MOST_SORTED} of float32 are supported")
    return list(top_k(call.node, value, shape, len(shape) - 1, k))


ORDER_OPS: dict[str, Callable[[Call], Any]] = {
    "ARG_MAX": arg(least=False),
    "ARG_MIN": arg(least=True),
    "TOPK_V2": first_k,
}
