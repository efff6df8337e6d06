"""Transposed convolution as ordinary ones.

Along each axis, outputs `first`, `first` + stride, ... meet the same taps of the kernel, in reverse and one
input apart (or a few, with a dilation): a phase. Each pair of phases is a convolution of stride 1 with a part
of the filters, which writes every stride-th row and pixel.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from . import fallback_integers
from .activation import Array, apply, parse
from .emitter import Emitter, Place
from .graph import Node, Quantization, Value
from .nodes import DEFAULTS, SLIDING, complete, stage_of
from .nodes_integers import integer_operation
from .operation import Operation, Stage
from .views import Sizes, View

# Fewer outputs than this leave most of a vector idle in every phase: one convolution with the outputs of all
# phases, and a copy that puts them in their order, take less.
FEW_OUTPUTS = 16


class Phase(NamedTuple):
    """Of one axis: `outputs` outputs from `first` on, stride apart; inputs [start, stop) with padding around.

    `taps` are indices of the kernel in the order of the inputs, `dilation` inputs apart. Without taps, or
    without inputs, outputs are empty sums.
    """

    first: int
    outputs: int
    taps: tuple[int, ...]
    dilation: int
    start: int
    stop: int
    before: int
    after: int

    @property
    def is_empty(self) -> bool:
        return not self.taps or self.start >= self.stop


def phases(size: int, out: int, kernel: int, stride: int, dilation: int, cut: int) -> list[Phase]:
    """Output o is the sum of input i times tap k over all i * stride + k * dilation == o + cut."""
    found = []
    for first in range(min(stride, out)):
        count = -(-(out - first) // stride)
        taps = [tap for tap in range(kernel) if (first + cut - tap * dilation) % stride == 0]
        low, high = 0, 0
        if taps:
            low = (first + cut - taps[-1] * dilation) // stride
            high = (first + cut - taps[0] * dilation) // stride + count
        start, stop = max(low, 0), min(high, size)
        apart = dilation // math.gcd(stride, dilation) if len(taps) > 1 else 1
        found.append(Phase(first, count, tuple(reversed(taps)), apart, start, stop, start - low, high - stop))
    return found


def transpose_conv(e: Emitter, node: Node) -> None:
    x = e.dense(node.inputs[0])
    y = e.target(node.output)
    filters, *rest = (e.data(name) for name in node.inputs[1:])
    bias = rest[0] if rest else None
    size, (kh, kw, inputs, outputs) = x.view.shape, filters.shape
    whole = [
        node["groups"] == 1
        and filters.shape[axis] == node["strides"][axis]
        and filters.shape[axis] * size[1 + axis] == y.view.shape[1 + axis]
        and node["padding"][axis][0] == 0
        and (node["dilations"][axis] == 1 or filters.shape[axis] == 1)
        for axis in range(2)
    ]
    if all(whole) and kh * kw > 1 and outputs < FEW_OUTPUTS:
        _at_once(e, node, x, y, filters, bias)
        return
    merged = None
    if (
        whole[1] and kw > 1
    ):  # the pixels that an input gives lie side by side: they are one with more channels
        merged = y.view.reshape((*y.view.shape[:2], size[2], kw * outputs))
    strides = node["strides"]
    if merged:
        y, strides = Place(y.memory, merged), (strides[0], 1)
        filters = filters.transpose(0, 2, 1, 3).reshape(kh, 1, inputs, kw * outputs)
        bias = None if bias is None else np.tile(bias, kw)
    top, left = node["padding"][0][0], 0 if merged else node["padding"][1][0]
    dilations = (node["dilations"][0], 1 if merged else node["dilations"][1])
    out_h, out_w = y.view.shape[1:3]
    for rows in phases(size[1], out_h, filters.shape[0], strides[0], dilations[0], top):
        for columns in phases(size[2], out_w, filters.shape[1], strides[1], dilations[1], left):
            part = y.view.part(1, rows.first, out_h, strides[0]).part(2, columns.first, out_w, strides[1])
            _phase(e, node, x, Place(y.memory, part), filters, bias, rows, columns)


def _at_once(e: Emitter, node: Node, x: Place, y: Place, filters: Array, bias: Array | None) -> None:
    """Kernel and stride are the same: every input gives a block of pixels, computed as channels of one."""
    kh, kw, inputs, outputs = filters.shape
    n, h, w, _ = x.view.shape
    wide = filters.transpose(2, 0, 1, 3).reshape(1, 1, inputs, kh * kw * outputs)
    result = e.fresh((n, h, w, kh * kw * outputs), node.output)
    _convolve(e, node, x, result, wide, None if bias is None else np.tile(bias, kh * kw))
    blocks = View.whole((n, h, w, kh, kw, outputs)).transpose((0, 1, 3, 2, 4, 5))
    pixels = y.view.reshape((n, h, kh, w, kw, outputs))
    assert pixels is not None
    e.move(Place(result.memory, blocks), Place(y.memory, pixels))


def _phase(
    e: Emitter, node: Node, x: Place, y: Place, filters: Array, bias: Array | None,
    rows: Phase, columns: Phase,
) -> None:  # fmt: skip
    if rows.is_empty or columns.is_empty:
        row = e.constant(_empty_sums(e, node, filters, bias))
        e.move(Place(row.memory, row.view.expand(y.view.shape)), y)
        return
    taken = x.view.part(1, rows.start, rows.stop).part(2, columns.start, columns.stop)
    part = filters[list(rows.taps)][:, list(columns.taps)]
    padding = ((rows.before, rows.after), (columns.before, columns.after))
    _convolve(e, node, Place(x.memory, taken), y, part, bias, padding, (rows.dilation, columns.dilation))


def _convolve(
    e: Emitter, node: Node, x: Place, y: Place, filters: Array, bias: Array | None,
    padding: Any = "valid", dilations: tuple[int, int] = (1, 1),
) -> None:  # fmt: skip
    window = {"strides": (1, 1), "padding": padding, "dilations": dilations}
    of = (node.inputs[0], node.output)
    e.convolution(x, y, _operation(e, node, x.view.shape, filters, bias, window), of)


def _operation(
    e: Emitter, node: Node, x: Sizes, filters: Array, bias: Array | None, window: dict[str, Any]
) -> Operation | Stage:
    conv = Node("conv", (), node.output, complete("conv", {
        **window,
        **{name: node[name] for name in DEFAULTS["conv"] if name not in SLIDING and name in node.attributes},
    }))  # fmt: skip
    source, given = e.value(node.inputs[0]), e.value(node.inputs[1]).quantization
    if source.dtype.kind == "f":
        return stage_of(conv, x, filters, bias)
    assert given is not None
    scales = np.ravel(given.scale)
    many = np.tile(scales, filters.shape[3] // scales.size) if scales.size > 1 else scales
    weights = Value("", filters.shape, filters.dtype, np.ascontiguousarray(filters), Quantization(many, 0, 3))
    return integer_operation(conv, Value("", x, source.dtype, None, source.quantization), weights, bias)


def _empty_sums(e: Emitter, node: Node, filters: Array, bias: Array | None) -> Array:
    """Of every output channel, what the bias alone gives."""
    nothing = np.zeros((1, 1, *filters.shape[2:]), filters.dtype)
    operation = _operation(
        e, node, (1, 1, 1, filters.shape[2] * node["groups"]), nothing, bias, dict(SLIDING)
    )
    if isinstance(operation, Stage):
        row = np.zeros(filters.shape[3], np.float32) if bias is None else bias.astype(np.float32)
        return apply(row, parse("network", "activation", node["activation"]))
    x = np.zeros((1, 1, 1, filters.shape[2] * node["groups"]), operation.dtype)
    return fallback_integers.run(operation, x).reshape(-1)
