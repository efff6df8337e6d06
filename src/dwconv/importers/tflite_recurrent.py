"""TFLite's LSTM over sequences, of floats, unrolled. See `recurrent`, whose order of gates is another.

What it ends with is what the next run begins with, as in TensorFlow Lite: `Network.reset` begins anew.
"""

from __future__ import annotations

import numpy as np

from ..activation import Array
from .channels_first import ChannelsFirst, T
from .channels_first import UnsupportedError as NotExpressed
from .recurrent import Cell, unrolled
from .tflite_call import Call, UnsupportedError
from .tflite_variables import Variables

STATE = 18  # the first input that is a state: the output, then the memory
# Inputs of the gates input, output, forget, cell: their weights, those of the state, and biases.
WEIGHTS, OF_STATE, BIASES = (1, 4, 2, 3), (5, 8, 6, 7), (12, 15, 13, 14)
KINDS = {1: "relu", 3: "relu6", 4: "tanh"}


def lstm(call: Call, variables: Variables) -> str:
    for what, inputs in {"peepholes": (9, 10, 11), "projection": (16, 17), "norms": range(20, 24)}.items():
        if any(call.has(i) for i in inputs):
            raise UnsupportedError(f"{what}; an LSTM without is supported")
    if not call.has(1) or not call.has(5):
        raise UnsupportedError("one gate for input and forget; four gates are supported")
    if call.dtype(call.value(0)) != np.float32 or any(call.tensor(i).kind != "FLOAT32" for i in WEIGHTS):
        raise UnsupportedError("8-bit integers; FLOAT32 is supported")
    kind, shape = int(call.option("FusedActivationFunction")), call.shape(0)
    if kind not in KINDS:
        raise UnsupportedError(f"activation {kind}; {', '.join(KINDS.values())} are supported")
    if len(shape) != 3:
        raise ValueError(f"a sequence {shape}; 3 axes are expected")
    w, r, b = (_joined(call, inputs) for inputs in (WEIGHTS, OF_STATE, BIASES))
    units = len(w) // 4
    if w.shape != (4 * units, shape[2]) or r.shape != (4 * units, units) or b.shape != (4 * units,):
        raise ValueError(f"weights {w.shape} and {r.shape} and biases {b.shape} do not fit {shape}")
    order = (0, 1, 2) if call.option("TimeMajor", False) else (1, 0, 2)
    net = ChannelsFirst()
    net.builder, net.label = call.b, call.label
    states = [variables.begin(call.b, call.label, (shape[order[1]], units)) for _ in range(2)]
    cell = Cell(net, (w, r), (b, np.zeros_like(b)), ("sigmoid", KINDS[kind], KINDS[kind]))
    cell.most = float(call.option("CellClip", 0.0))
    h, c = (T(state, (0, 1)) for state in states)
    try:
        found, last = unrolled(cell, T(call.value(0), order), h, c)
    except NotExpressed as error:
        raise UnsupportedError(str(error)) from None
    for state, value in zip(states, last, strict=True):
        variables.become(state, net.plain(value))
    sequence = net.concat([net.unsqueeze(y, [0]) for y in found], 0)
    return net.plain(net.transpose(sequence, order))


def _joined(call: Call, inputs: tuple[int, ...]) -> Array:
    return np.concatenate([call.weights(i, "weights") for i in inputs])
