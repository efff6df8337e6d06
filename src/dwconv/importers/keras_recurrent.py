"""Recurrent layers of Keras, unrolled. See `recurrent`, whose order of gates is another."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..activation import Array
from . import recurrent
from .channels_first import ChannelsFirst
from .channels_first import T as Ordered
from .keras_graph import Net, T, UnsupportedError, array, handles

KINDS = {
    keras.activations.sigmoid: "sigmoid", keras.activations.tanh: "tanh", keras.activations.relu: "relu",
    keras.activations.hard_sigmoid: "hard_sigmoid", keras.activations.silu: "silu",
}  # fmt: skip


def _kind(function: Any) -> str:
    if function not in KINDS:
        raise UnsupportedError(f"the activation {function}; {', '.join(KINDS.values())} are supported")
    return KINDS[function]


def _cell(ordered: ChannelsFirst, layer: Any) -> recurrent.Cell:
    cell, lstm = layer.cell, isinstance(layer, keras.layers.LSTM)
    kinds, reset_after = [_kind(cell.activation)], False
    if lstm:
        kinds = [_kind(cell.recurrent_activation), *kinds, *kinds]
    elif isinstance(layer, keras.layers.GRU):
        kinds, reset_after = [_kind(cell.recurrent_activation), *kinds], bool(cell.reset_after)
    w, r = array(cell.kernel).T, array(cell.recurrent_kernel).T
    bias = np.zeros((2, len(w)), np.float32)
    if cell.use_bias:
        given = array(cell.bias)
        bias[: given.ndim] = given

    def by_gate(x: Array) -> Array:
        """Keras's LSTM has the order input, forget, cell, output."""
        if not lstm:
            return x
        i, f, c, o = np.split(x, 4)
        return np.concatenate((i, o, f, c))

    parts = [by_gate(x) for x in (w, r, *bias)]
    return recurrent.Cell(ordered, (parts[0], parts[1]), (parts[2], parts[3]), kinds, reset_after)


def _states(net: Net, layer: Any, x: T) -> tuple[list[T], list[T]]:
    """The states in the order in which they are computed, and the last ones."""
    if layer.stateful:
        raise UnsupportedError("stateful=True; layers that begin with zeros are supported")
    ordered = ChannelsFirst()
    ordered.builder, ordered.label = net.b, net.label
    sequence = Ordered(x.value, (1, 0, 2))
    found, last = recurrent.unrolled(_cell(ordered, layer), sequence, backwards=layer.go_backwards)
    found = found[::-1] if layer.go_backwards else found
    return [T(ordered.plain(h)) for h in found], [T(ordered.plain(h)) for h in last]


def _sequence(net: Net, states: list[T]) -> T:
    """[batch, steps, size] of states [batch, size]."""
    batch, size = net.shape(states[0])
    return net.node("concat", *(net.reshape(h, (batch, 1, size)) for h in states), axis=1)


@handles("LSTM", "GRU", "SimpleRNN")
def recurrent_layer(net: Net, layer: Any, x: T) -> Any:
    states, last = _states(net, layer, x)
    y = _sequence(net, states) if layer.return_sequences else states[-1]
    return [y, *last] if layer.return_state else y


@handles("Bidirectional")
def bidirectional(net: Net, layer: Any, x: T) -> Any:
    plain = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
    ways = (layer.forward_layer, layer.backward_layer)
    if any(type(way) not in plain for way in ways):
        raise UnsupportedError(f"{type(ways[0]).__name__}; LSTM, GRU and SimpleRNN are supported")
    found = [_states(net, way, x) for way in ways]
    if layer.return_sequences:
        ends = [
            _sequence(net, states[::-1] if way.go_backwards != ways[0].go_backwards else states)
            for way, (states, _) in zip(ways, found, strict=True)
        ]
    else:
        ends = [states[-1] for states, _ in found]
    last = [h for _, states in found for h in states] if layer.return_state else []
    if layer.merge_mode is None:
        return [*ends, *last]
    if layer.merge_mode == "concat":
        y = net.node("concat", *ends, axis=-1)
    else:
        y = net.binary("mul" if layer.merge_mode == "mul" else "add", *ends)
        y = net.unary("linear", y, 0.5) if layer.merge_mode == "ave" else y
    return [y, *last] if last else y
