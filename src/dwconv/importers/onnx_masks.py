"""ONNX operations on truth values that are computed at run time. See `masks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..activation import Array
from . import masks
from .channels_first import T
from .onnx_call import Call


def _marked(call: Call, mask: T) -> T:
    call.net.masks.add(mask.value)
    return mask


def _mask(call: Call, index: int) -> T | Array:
    if not call.has(index):
        raise ValueError(f"input {index} is missing")
    value = call.values[index]
    if isinstance(value, T):
        if value.value not in call.net.masks:
            raise ValueError(f"input {index} is no truth value")
        return value
    if value.dtype != np.bool_:
        raise ValueError(f"input {index} is {value.dtype}, not bool")
    return np.asarray(value, np.float32)


def _compare(kind: str) -> Callable[[Call], T]:
    return lambda call: _marked(call, masks.compare(call.net, kind, call.tensor(0), call.tensor(1)))


def _logic(function: Callable[..., T]) -> Callable[[Call], T]:
    return lambda call: _marked(call, function(call.net, _mask(call, 0), _mask(call, 1)))


def _not(call: Call) -> T:
    _mask(call, 0)
    return _marked(call, masks.negated(call.net, call.tensor(0)))


def where(call: Call) -> T:
    mask = _mask(call, 0)
    if isinstance(mask, T):
        return masks.select(call.net, mask, call.tensor(1), call.tensor(2))
    return call.net.where(mask != 0, call.tensor(1), call.tensor(2))


def to_mask(call: Call) -> T:
    """Of a Cast to bool."""
    x = call.tensor(0)
    return (
        x
        if x.value in call.net.masks
        else _marked(call, masks.compare(call.net, "not_equal", x, np.float32(0)))
    )


MASKS: dict[str, Callable[[Call], Any]] = {
    "And": _logic(masks.both),
    "Equal": _compare("equal"),
    "Greater": _compare("greater"),
    "GreaterOrEqual": _compare("greater_equal"),
    "Less": _compare("less"),
    "LessOrEqual": _compare("less_equal"),
    "Not": _not,
    "Or": _logic(masks.either),
    "Where": where,
    "Xor": _logic(masks.one_of),
}
