"""TFLite's comparisons, and what is chosen by them: a BOOL that is computed is 1 and 0 in float32.

The arithmetic is that of `masks`: what is not chosen may be anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .tflite_call import Call, UnsupportedError

COMPARISONS = {
    "GREATER": ("greater", np.greater), "GREATER_EQUAL": ("greater_or_equal", np.greater_equal),
    "LESS": ("greater", np.less), "LESS_EQUAL": ("greater_or_equal", np.less_equal),
    "EQUAL": ("equal", np.equal), "NOT_EQUAL": ("equal", np.not_equal),
}  # fmt: skip
LOGIC = {"LOGICAL_AND": ("min", np.logical_and), "LOGICAL_OR": ("max", np.logical_or)}


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


def negated(call: Call, mask: str) -> str:
    return call.unary("linear", mask, -1.0, 1.0)


def _compare(op: str) -> Callable[[Call], str]:
    kind, function = COMPARISONS[op]

    def lower(call: Call) -> str:
        found = _known(call, function)
        if found is not None:
            return found
        a, b = _number(call, 0), _number(call, 1)
        a, b = (b, a) if op.startswith("LESS") else (a, b)
        found = call.node("binary", a, b, kind=kind)
        return negated(call, found) if op == "NOT_EQUAL" else found

    return lower


def _logic(op: str) -> Callable[[Call], str]:
    kind, function = LOGIC[op]

    def lower(call: Call) -> str:
        found = _known(call, function)
        return found or call.node("binary", _mask(call, 0), _mask(call, 1), kind=kind)

    return lower


def _not(call: Call) -> str:
    return _known(call, np.logical_not) or negated(call, _mask(call, 0))


def select(call: Call) -> str:
    """SELECT takes a vector of truth values for whole elements of the first axis too."""
    found = _known(call, np.where)
    if found is not None:
        return found
    mask, rank = _mask(call, 0), len(call.shape(1))
    sizes = call.b.shape(mask)
    if call.operator.op == "SELECT" and len(sizes) == 1 and rank > 1:
        mask = call.reshape(mask, (sizes[0], *(1,) * (rank - 1)))
    sides = ((1, mask), (2, negated(call, mask)))
    kept = [call.node("binary", _number(call, i), by, kind="keep") for i, by in sides]
    return call.node("binary", *kept, kind="add")


MASK_OPS: dict[str, Callable[[Call], Any]] = {
    **{op: _compare(op) for op in COMPARISONS},
    **{op: _logic(op) for op in LOGIC},
    "LOGICAL_NOT": _not,
    "SELECT": select,
    "SELECT_V2": select,
}
# What else takes a BOOL that is computed.
ON_MASKS = (*MASK_OPS, "CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE")
