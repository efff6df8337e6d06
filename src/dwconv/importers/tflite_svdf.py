"""TFLite's SVDF: a dense layer of a low rank, whose results of the last runs are weighted along time.

It becomes a 1x1 convolution, which makes a row of `filters` numbers, and a convolution of one channel group
for each unit over the last `memory` rows. These are a state as variables are: [batch, memory, 1, filters].

    row[f]  = sum over inputs of x * feature[f]
    y[unit] = activation(bias[unit] + sum over its filters and rows of row * time[f])

Of 8-bit integers a row is whole numbers, scaled and rounded to those of the dtype of the state, as TensorFlow
Lite's kernel has them; they and the sums over time run in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import byte_tables
from ..activation import Array
from ..graph import Quantization
from .tflite_bytes import operand, result_of
from .tflite_call import Call, UnsupportedError
from .tflite_parse import Tensor
from .tflite_variables import Variables

STATE = 4  # the input that is the state
WHOLE = {"INT8": np.int8, "INT16": np.int16}


def svdf(call: Call, variables: Variables) -> str:
    x, rank = call.shape(0), int(call.option("Rank"))
    feature, time = call.known(1, "feature weights").shape, call.known(2, "time weights").shape
    fits = len(x) == len(feature) == len(time) == 2 and rank > 0 and feature == (time[0], x[1])
    if not fits or 0 in time or time[0] % rank:
        raise ValueError(f"weights {feature} and {time} of rank {rank} do not fit x {x}")
    (batch, inputs), (filters, memory), units = x, time, time[0] // rank
    if call.tensor(STATE).shape != (batch, memory * filters):
        raise ValueError(
            f"a state {call.tensor(STATE).shape} of {memory} rows of {filters} does not fit x {x}"
        )
    parts = _Floats(call) if call.dtype(call.value(0)) == np.float32 else _Whole(call)
    image = call.reshape(parts.x, (batch, 1, 1, inputs))
    row = call.node("conv", image, np.ascontiguousarray(parts.feature.T[None, None]), None)
    row = call.reshape(parts.rounded(row), (batch, 1, 1, filters))
    state = variables.begin(call.b, call.label, (batch, memory, 1, filters))
    last = [call.node("slice", state, slices=(None, (1, None, 1), None, None))] if memory > 1 else []
    rows = call.node("concat", *last, row, axis=1) if last else row
    variables.become(state, rows)
    weights = parts.time.reshape(units, rank, memory).transpose(2, 1, 0)[:, None]  # [memory, 1, rank, units]
    window = {"groups": units, "activation": call.activation()}
    y = call.node("conv", rows, np.ascontiguousarray(weights), parts.bias(units), **window)
    return parts.result(call.reshape(y, (batch, units)))


class _Floats:
    def __init__(self, call: Call) -> None:
        self.call = call
        self.x = call.value(0)
        self.feature, self.time = (call.weights(i, "weights") for i in (1, 2))

    def rounded(self, row: str) -> str:
        return row

    def bias(self, units: int) -> Array | None:
        return self.call.weights(3, "biases") if self.call.has(3) else None

    def result(self, y: str) -> str:
        return y


class _Whole(_Floats):
    """With 8-bit activations: integers as float32. Scales are multiplied in float32, too."""

    def __init__(self, call: Call) -> None:
        if call.rounding == "tflite":
            raise UnsupportedError('8-bit integers with rounding="tflite"; with "even" it runs in float32')
        self.call, value = call, operand(call)
        feature, time, state = (call.tensor(i) for i in (1, 2, STATE))
        if feature.kind != "INT8" or time.kind not in WHOLE or state.kind not in WHOLE:
            told = f"weights of {feature.kind} and {time.kind}, and a state of {state.kind}"
            raise UnsupportedError(f"{told}; INT8, and INT16 for the last two, are supported")
        q = call.quantization(value)
        assert q is not None
        plain = Quantization(1.0, q.zero_point, None)
        table = byte_tables.relabelled(call.dtype(value))
        self.x = call.node("dequantize", call.node("lookup", value, table, quantization=plain))
        self.to_state = np.float32(q.scale) * _scale(feature) / _scale(state)
        self.of_sums = _scale(state) * _scale(time)
        self.limits = np.iinfo(WHOLE[state.kind])
        self.feature = call.known(1, "weights").astype(np.float32)
        self.time = call.known(2, "weights").astype(np.float32) * self.of_sums

    def rounded(self, row: str) -> str:
        call = self.call
        scaled = call.node("binary", row, call.b.constant(np.float32(self.to_state)), kind="mul")
        return call.unary("clip", call.unary("round", scaled), self.limits.min, self.limits.max)

    def bias(self, units: int) -> Array | None:
        if not self.call.has(3):
            return None
        data = self.call.known(3, "biases").reshape(-1)
        if data.dtype != np.int32 or data.size != units:
            raise ValueError(f"biases of {data.dtype} {data.shape} do not fit {units} units")
        return np.asarray(data.astype(np.float32) * self.of_sums)

    def result(self, y: str) -> str:
        return self.call.node("quantize", y, **result_of(self.call))


def _scale(tensor: Tensor) -> Any:
    q = tensor.quantization
    scale = 0.0 if q is None or np.size(q.scale) != 1 else float(np.ravel(q.scale)[0])
    if q is None or not 0 < scale < np.inf or np.any(q.zero_point):
        raise ValueError(f"{tensor.name!r} needs one scale above 0, and 0 as its zero point")
    return np.float32(scale)
