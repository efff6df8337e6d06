"""LSTM, GRU and RNN of ONNX, which readers of text and of sound end with: unrolled, as the length is known.

What depends on inputs alone is one product for all steps. A step is a product with the state before it, and
the gates. Semantics: ONNX's operator documentation, opset 7 to 22.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..activation import Array
from .channels_first import T, UnsupportedError
from .onnx_call import Call

MOST_STEPS = 1024  # each is some ten nodes
KINDS = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu"}
DIRECTIONS = ("forward", "reverse", "bidirectional")


class Cell:
    """A layer in one direction: constants in the order of ONNX's gates, and the functions of the gates."""

    def __init__(self, call: Call, direction: int, gates: int, kinds: list[str]) -> None:
        size = call.integer("hidden_size", call.shape(2)[-1])
        self.net, self.size, self.kinds = call.net, size, kinds
        rows = gates * size
        self.w = _part(call, 1, direction, (rows, call.shape(0)[2]))
        self.r = _part(call, 2, direction, (rows, size))
        bias = _part(call, 3, direction, (2 * rows,)) if call.has(3) else np.zeros(2 * rows, np.float32)
        self.wb, self.rb = bias[:rows], bias[rows:]

    def inputs(self, x: T, separate: int = 0) -> T:
        """W x + biases, [steps, batch, gates * size]. The last `separate` gates lack biases of the state."""
        added = self.rb.copy()
        added[len(added) - separate * self.size :] = 0
        return self.net.linear(x, np.ascontiguousarray(self.w.T), self.wb + added)

    def of_state(self, h: T | None, first: int = 0, last: int | None = None, bias: bool = False) -> T | None:
        """R h of some of the gates; None for a state of zeros that adds nothing."""
        rows = slice(first * self.size, None if last is None else last * self.size)
        if h is None and not bias:
            return None
        h = self.net.constant(np.zeros((1, self.size), np.float32)) if h is None else h
        return self.net.linear(h, np.ascontiguousarray(self.r[rows].T), self.rb[rows] if bias else None)

    def plus(self, a: T, b: T | None) -> T:
        return a if b is None else self.net.binary("add", a, b)

    def times(self, a: T, b: T) -> T:
        return self.net.binary("mul", a, b)

    def gate(self, x: T, first: int, last: int) -> T:
        return self.net.slice(x, [None, (first * self.size, last * self.size, 1)])


def _lstm_step(cell: Cell, inputs: T, h: T | None, c: T | None) -> tuple[T, T | None]:
    net, (gate, candidate, squash) = cell.net, cell.kinds
    both = cell.plus(inputs, cell.of_state(h))
    open_ = net.unary(gate, cell.gate(both, 0, 3))  # input, output, forget
    added = cell.times(cell.gate(open_, 0, 1), net.unary(candidate, cell.gate(both, 3, 4)))
    c = added if c is None else net.binary("add", cell.times(cell.gate(open_, 2, 3), c), added)
    return cell.times(cell.gate(open_, 1, 2), net.unary(squash, c)), c


def _gru_step(cell: Cell, inputs: T, h: T | None, reset_after: bool) -> T:
    net, (gate, candidate) = cell.net, cell.kinds
    open_ = net.unary(gate, cell.plus(cell.gate(inputs, 0, 2), cell.of_state(h, 0, 2)))  # update, reset
    update, reset = cell.gate(open_, 0, 1), cell.gate(open_, 1, 2)
    if reset_after:
        state = cell.of_state(h, 2, 3, bias=True)
        state = None if state is None else cell.times(reset, state)
    else:
        state = None if h is None else cell.of_state(cell.times(reset, h), 2, 3)
    new = net.unary(candidate, cell.plus(cell.gate(inputs, 2, 3), state))
    change = new if h is None else net.binary("sub", new, h)
    return net.binary("sub", new, cell.times(update, change))  # (1 - update) * new + update * h


def _rnn_step(cell: Cell, inputs: T, h: T | None) -> T:
    return cell.net.unary(cell.kinds[0], cell.plus(inputs, cell.of_state(h)))


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
    if steps > MOST_STEPS:
        raise UnsupportedError(f"{steps} steps; at most {MOST_STEPS} are supported")
    way = call.text("direction", "forward")
    return way, _kinds(call, functions, 2 if way == "bidirectional" else 1)


def _direction(
    call: Call, index: int, gates: int, kinds: list[str], backwards: bool
) -> tuple[list[T], list[T]]:
    """The states in the order of the sequence; the last state and, of an LSTM, the last memory."""
    net, steps = call.net, call.shape(0)[0]
    cell = Cell(call, index, gates, kinds)
    reset_after = gates == 3 and bool(call.integer("linear_before_reset"))
    inputs = cell.inputs(call.tensor(0), separate=int(reset_after))
    h, c = _initial(call, 5, index), _initial(call, 6, index) if gates == 4 else None
    found: list[T] = []
    for step in reversed(range(steps)) if backwards else range(steps):
        now = net.squeeze(net.slice(inputs, [(step, step + 1, 1), None, None]), [0])
        if gates == 4:
            h, c = _lstm_step(cell, now, h, c)
        else:
            h = _gru_step(cell, now, h, reset_after) if gates == 3 else _rnn_step(cell, now, h)
        found.append(h)
    return found[::-1] if backwards else found, [found[-1]] if c is None else [found[-1], c]


RECURRENT: dict[str, Callable[[Call], Any]] = {"GRU": _layer(3, 2), "LSTM": _layer(4, 3), "RNN": _layer(1, 1)}
