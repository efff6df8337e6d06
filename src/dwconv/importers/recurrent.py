"""Recurrent layers, which readers of text and of sound end with: unrolled, as the length is known.

What depends on inputs alone is one product for all steps. A step is a product with the state before it, and
the gates, in the order of ONNX: of an LSTM input, output, forget, cell; of a GRU update, reset, hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..activation import Array
from .channels_first import ChannelsFirst, T, UnsupportedError

MOST_STEPS = 1024  # each is some ten nodes


class Cell:
    """A layer in one direction: weights [gates * size, inputs] and [.., size], biases [gates * size].

    `kinds`: the functions of the gates, as `unary` has them: 3 of an LSTM, 2 of a GRU, 1 of a plain one.
    `reset_after`: of a GRU, whose reset gate scales the product with the state instead of the state.
    """

    def __init__(
        self,
        net: ChannelsFirst,
        weights: tuple[Array, Array],
        biases: tuple[Array, Array],
        kinds: Sequence[str],
        reset_after: bool = False,
    ) -> None:
        self.net, self.kinds, self.reset_after = net, kinds, reset_after
        (self.w, self.r), (self.wb, self.rb) = weights, biases
        self.size = self.r.shape[1]
        self.most = 0.0  # what the memory of an LSTM is clipped to; 0: not

    def inputs(self, x: T) -> T:
        """W x + biases, [steps, batch, gates * size]; with `reset_after` the last gate lacks that of R."""
        added = self.rb.copy()
        added[len(added) - int(self.reset_after) * self.size :] = 0
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
    c = net.unary("clip", c, -cell.most, cell.most) if cell.most else c
    return cell.times(cell.gate(open_, 1, 2), net.unary(squash, c)), c


def _gru_step(cell: Cell, inputs: T, h: T | None) -> T:
    net, (gate, candidate) = cell.net, cell.kinds
    open_ = net.unary(gate, cell.plus(cell.gate(inputs, 0, 2), cell.of_state(h, 0, 2)))  # update, reset
    update, reset = cell.gate(open_, 0, 1), cell.gate(open_, 1, 2)
    if cell.reset_after:
        state = cell.of_state(h, 2, 3, bias=True)
        state = None if state is None else cell.times(reset, state)
    else:
        state = None if h is None else cell.of_state(cell.times(reset, h), 2, 3)
    new = net.unary(candidate, cell.plus(cell.gate(inputs, 2, 3), state))
    change = new if h is None else net.binary("sub", new, h)
    return net.binary("sub", new, cell.times(update, change))  # (1 - update) * new + update * h


def _rnn_step(cell: Cell, inputs: T, h: T | None) -> T:
    return cell.net.unary(cell.kinds[0], cell.plus(inputs, cell.of_state(h)))


def unrolled(
    cell: Cell, x: T, h: T | None = None, c: T | None = None, backwards: bool = False
) -> tuple[list[T], list[T]]:
    """Of x [steps, batch, inputs]: the states [batch, size] in the order of the sequence, and the last state,
    of an LSTM the last memory too. None: zeros."""
    net, steps = cell.net, cell.net.shape(x)[0]
    if steps > MOST_STEPS:
        raise UnsupportedError(f"{steps} steps; at most {MOST_STEPS} are supported")
    inputs, found = cell.inputs(x), []
    for step in reversed(range(steps)) if backwards else range(steps):
        now = net.squeeze(net.slice(inputs, [(step, step + 1, 1), None, None]), [0])
        if len(cell.kinds) == 3:
            h, c = _lstm_step(cell, now, h, c)
        else:
            h = _gru_step(cell, now, h) if len(cell.kinds) == 2 else _rnn_step(cell, now, h)
        found.append(h)
    return found[::-1] if backwards else found, [found[-1]] if c is None else [found[-1], c]
