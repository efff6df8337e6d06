"""TFLite's comparisons, and what is chosen by them: a BOOL that is computed is 1 and 0 in float32.

The arithmetic is that of `masks`: what is not chosen may be anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import masks
from .tflite_call import Call, UnsupportedError

COMPARISONS = {
    "GREATER": np.greater, "GREATER_EQUAL": np.greater_equal, "LESS": np.less, "LESS_EQUAL": np.less_equal,
    "EQUAL": np.equal, "NOT_EQUAL": np.not_equal,
}  # fmt: skip
LOGIC = {"LOGICAL_AND": (masks.both, np.logical_and), "LOGICAL_OR": (masks.either, np.logical_or)}


def _mask(call: Call, i: int) -> str:
    if call.tensor(i).kind != "BOOL":
        raise ValueError(f"input {i} is {call.tensor(i).kind}, not BOOL")
    data = call.data(i)
    if data is not None:
        return call.b.constant(np.asarray(data, np.float32))
    if call.dtype(call.value(i)) != np.float32:
        raise UnsupportedError("a BOOL that is an input of the network; computed ones are supported")
    return call.value(i)


def _number(call: Call, i: int) -> str:
    if call.dtype(call.value(i)) != np.float32 or call.tensor(i).kind == "BOOL":
        raise UnsupportedError(f"{call.tensor(i).kind} compared at run time; FLOAT32 is supported")
    return call.value(i)


def _known(call: Call, function: Callable[..., Any]) -> str | None:
    """Of constants, such as shapes."""
    data = [call.data(i) for i in range(len(call))]
    return None if any(x is None for x in data) else call.b.constant(np.asarray(function(*data)))


def _compare(op: str) -> Callable[[Call], str]:
    def lower(call: Call) -> str:
        found = _known(call, COMPARISONS[op])
        return found or masks.compare(call, op.lower(), _number(call, 0), _number(call, 1))

    return lower


def _logic(op: str) -> Callable[[Call], str]:
    combine, function = LOGIC[op]

    def lower(call: Call) -> str:
        return _known(call, function) or combine(call, _mask(call, 0), _mask(call, 1))

    return lower


def _not(call: Call) -> str:
    return _known(call, np.logical_not) or masks.negated(call, _mask(call, 0))


def select(call: Call) -> str:
    """SELECT takes a vector of truth values for whole elements of the first axis too."""
    found = _known(call, np.where)
    if found is not None:
        return found
    mask, rank = _mask(call, 0), len(call.shape(1))
    sizes = call.b.shape(mask)
    if call.operator.op == "SELECT" and len(sizes) == 1 and rank > 1:
        mask = call.reshape(mask, (sizes[0], *(1,) * (rank - 1)))
    return masks.select(call, mask, _number(call, 1), _number(call, 2))


MASK_OPS: dict[str, Callable[[Call], Any]] = {
    **{op: _compare(op) for op in COMPARISONS},
    **{op: _logic(op) for op in LOGIC},
    "LOGICAL_NOT": _not,
    "SELECT": select,
    "SELECT_V2": select,
}
# What else takes a BOOL that is computed.
ON_MASKS = (*MASK_OPS, "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE")
