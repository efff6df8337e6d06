"""LSTM, GRU and RNN of ONNX. See `recurrent`. Semantics: ONNX's operator documentation, opset 7 to 22."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..activation import Array
from .channels_first import T, UnsupportedError
from .onnx_call import Call
from .recurrent import Cell, unrolled

KINDS = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu"}
DIRECTIONS = ("forward", "reverse", "bidirectional")


def _part(call: Call, index: int, direction: int, shape: tuple[int, ...]) -> Array:
    found = call.array(index, "weights")
    if found.dtype != np.float32 or found.shape[1:] != shape or len(found) <= direction:
        raise ValueError(f"input {index} is {found.dtype} {found.shape}, not float32 (directions, *{shape})")
    return np.asarray(found[direction])


def _kinds(call: Call, count: int, directions: int) -> list[list[str]]:
    """The functions of the gates, by direction."""
    default = (["sigmoid", "tanh", "tanh"] if count == 3 else ["sigmoid", "tanh"][2 - count :]) * directions
    names = [str(name).lower() for name in call.attribute("activations", default)]
    for name in names:
        if name not in KINDS:
            raise UnsupportedError(f"activations {name}; Sigmoid, Tanh and Relu are supported")
    if len(names) != count * directions:
        raise ValueError(f"{len(names)} activations; {count} for each direction are expected")
    return [names[i * count : (i + 1) * count] for i in range(directions)]


def _initial(call: Call, index: int, direction: int) -> T | None:
    """A state [batch, size]; None for zeros."""
    if not call.has(index):
        return None
    given = call.tensor(index)
    data = call.net.data(given)
    if data is not None and not data.any():
        return None
    part = call.net.slice(given, [(direction, direction + 1, 1), None, None])
    return call.net.squeeze(part, [0])


def _layer(gates: int, functions: int) -> Callable[[Call], list[T]]:
    def lower(call: Call) -> list[T]:
        net = call.net
        way, kinds = _checked(call, functions)
        ends = [
            _direction(call, i, gates, kinds[i], backwards=way == "reverse" or i == 1)
            for i in range(len(kinds))
        ]
        states = [net.concat([net.unsqueeze(h, [0, 1]) for h in found], 0) for found, _ in ends]
        last = [
            net.concat([net.unsqueeze(x, [0]) for x in of_all], 0)
            for of_all in zip(*(end for _, end in ends), strict=True)
        ]
        return [net.concat(states, 1), *last]

    return lower


def _checked(call: Call, functions: int) -> tuple[str, list[list[str]]]:
    """The direction, and the functions of each."""
    for name in ("layout", "input_forget"):
        call.refuse(name, 0, default=0)
    for name in ("clip", "activation_alpha", "activation_beta"):
        call.refuse(name, None)
    call.refuse("direction", *DIRECTIONS, default="forward")
    if call.has(7):
        raise UnsupportedError("peepholes; an LSTM without P is supported")
    if len(call.shape(0)) != 3 or len(call.shape(2)) != 3:
        raise ValueError(f"a sequence {call.shape(0)} and weights {call.shape(2)}; 3 axes are expected")
    steps = call.shape(0)[0]
    if call.has(4) and np.any(call.array(4, "sequence_lens") != steps):
        raise UnsupportedError(f"sequence_lens other than {steps}; those of the whole length are supported")
    way = call.text("direction", "forward")
    return way, _kinds(call, functions, 2 if way == "bidirectional" else 1)


def _direction(
    call: Call, index: int, gates: int, kinds: list[str], backwards: bool
) -> tuple[list[T], list[T]]:
    """The states in the order of the sequence; the last state and, of an LSTM, the last memory."""
    size = call.integer("hidden_size", call.shape(2)[-1])
    rows = gates * size
    weights = _part(call, 1, index, (rows, call.shape(0)[2])), _part(call, 2, index, (rows, size))
    bias = _part(call, 3, index, (2 * rows,)) if call.has(3) else np.zeros(2 * rows, np.float32)
    reset_after = gates == 3 and bool(call.integer("linear_before_reset"))
    cell = Cell(call.net, weights, (bias[:rows], bias[rows:]), kinds, reset_after)
    memory = _initial(call, 6, index) if gates == 4 else None
    return unrolled(cell, call.tensor(0), _initial(call, 5, index), memory, backwards)


RECURRENT: dict[str, Callable[[Call], Any]] = {"GRU": _layer(3, 2), "LSTM": _layer(4, 3), "RNN": _layer(1, 1)}
