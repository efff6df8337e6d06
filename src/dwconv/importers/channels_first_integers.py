"""What `ChannelsFirst` has for 8-bit integers: conversions, and convolutions that round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import byte_tables
from ..activation import Array
from ..graph import Quantization
from ..nine_bits import narrow
from ..nodes_integers import BYTES, same
from .channels_first import ChannelsFirst, T, _two, stored
from .logical import Pairs


class Rounding:
    """Of a convolution: what its result is, and the integers that it is clamped to."""

    def __init__(self, y: Quantization, dtype: Any, low: int | None = None, high: int | None = None) -> None:
        self.y, self.dtype, self.low, self.high = y, np.dtype(dtype), low, high

    def of(self, dtype: np.dtype[Any]) -> dict[str, Any]:
        """Attributes of a node that gives the other of int8 and uint8, which `other` turns into this one."""
        move = 0 if dtype == self.dtype else 128 if dtype == np.uint8 else -128
        return {
            "dtype": dtype.name,
            "quantization": self.y._replace(zero_point=self.y.zero_point + move),
            "low": None if self.low is None else self.low + move,
            "high": None if self.high is None else self.high + move,
        }


class Integers:
    """Over a `ChannelsFirst`."""

    def __init__(self, net: ChannelsFirst) -> None:
        self.net = net

    def quantization(self, x: T) -> Quantization | None:
        return self.net.graph.values[x.value].quantization

    def is_bytes(self, x: T) -> bool:
        return self.net.dtype(x) in BYTES

    def quantize(self, x: T, q: Quantization, dtype: Any) -> T:
        return T(self.net._node("quantize", x.value, quantization=q, dtype=np.dtype(dtype).name), x.perm)

    def dequantize(self, x: T, q: Quantization) -> T:
        return T(self.net._node("dequantize", self.labelled(x, q).value), x.perm)

    def labelled(self, x: T, q: Quantization) -> T:
        """The same bytes, which stand for other numbers where another node thought so."""
        known = self.quantization(x)
        if known is not None and same(known, q):
            return x
        return self.lookup(x, byte_tables.relabelled(self.net.dtype(x)), q)

    def lookup(self, x: T, table: Array, q: Quantization) -> T:
        return T(self.net._node("lookup", x.value, table, quantization=q), x.perm)

    def other(self, x: T, rounding: Rounding) -> T:
        """In the dtype that was wanted: the same numbers."""
        dtype = self.net.dtype(x)
        if dtype == rounding.dtype:
            return x
        every = np.arange(256, dtype=np.uint8) ^ np.uint8(128)
        return self.lookup(x, every.view(rounding.dtype), rounding.y)

    def conv(
        self,
        x: T,
        filters: Array,
        scale: Array,
        bias: Array | None,
        rounding: Rounding,
        *,
        strides: Sequence[int],
        pads: Pairs | None,
        dilations: Sequence[int],
        groups: int,
        auto_pad: str,
    ) -> T:
        """`filters` [outputs, inputs / groups, ...]: up to 9 bits; `scale`: one, or one for each output."""
        net, spatial = self.net, len(x.perm) - 2
        if filters.ndim != len(x.perm):
            raise ValueError(f"filters {filters.shape} do not fit x {net.shape(x)}")
        filters = filters if filters.ndim == 4 else filters[:, :, None, :]
        strides, dilations = _two(strides[-spatial:]), _two(dilations[-spatial:])
        x, padding = net._padding(x, pads, auto_pad, (filters.shape[2:], strides, dilations))
        window = {"strides": strides, "padding": padding, "dilations": dilations, "groups": groups}
        value = self._convolved(net._image(x), filters.transpose(2, 3, 1, 0), scale, bias, rounding, window)
        return self.other(net._from_image(value, len(x.perm)), rounding)

    def conv_transpose(
        self, x: T, filters: Array, scale: Array, bias: Array | None, rounding: Rounding, **window: Any
    ) -> T:
        """`filters` [inputs, outputs / groups, ...] as of `conv`; `window` as of floats."""
        hwio, made = self.net.transposed(x, filters, **window)
        op = "transpose_conv"
        value = self._convolved(self.net._image(x), hwio, scale, bias, rounding, made, op)
        return self.other(self.net._from_image(value, len(x.perm)), rounding)

    def _convolved(
        self,
        x: str,
        hwio: Array,
        scale: Array,
        bias: Array | None,
        rounding: Rounding,
        window: dict[str, Any],
        op: str = "conv",
    ) -> str:
        if not hwio.size:
            raise ValueError(f"filters {hwio.shape} are empty")
        q = Quantization(scale if scale.size > 1 else scale.reshape(-1)[0], 0, 3 if scale.size > 1 else None)
        weights = self.net.builder.constant(np.ascontiguousarray(narrow(hwio)), q)
        dtype = self.net.graph.values[x].dtype
        return self.net._node(op, x, weights, bias, **window, **rounding.of(dtype))

    def linear(self, x: T, matrix: Array, scale: Array, bias: Array | None, rounding: Rounding) -> T:
        """x @ matrix [inputs, outputs] over the last axis: a 1x1 convolution."""
        net, sizes = self.net, self.net.shape(x)
        if not sizes or matrix.ndim != 2 or sizes[-1] != matrix.shape[0]:
            raise ValueError(f"weights {matrix.shape} do not fit x {sizes}")
        order = [axis for axis in x.order if axis != len(sizes) - 1] + [len(sizes) - 1]
        value = net._ordered(x, order)
        outer = [sizes[axis] for axis in order[:-1]]
        batch, rest = (outer[0], outer[1:]) if len(outer) > 1 else (outer[0] if outer else 1, [])
        image = net._reshape(value, (batch, 1, math.prod(rest), matrix.shape[0]))
        y = self._convolved(image, matrix.reshape(1, 1, *matrix.shape), scale, bias, rounding, {})
        return self.other(stored(net._reshape(y, (*outer, matrix.shape[1])), order), rounding)
