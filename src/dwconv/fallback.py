"""The operations in NumPy: the same results within the same bounds, for every dtype.

A convolution is a sum over the taps of its kernel. Each tap is a strided view of the input: taps that fall
into the padding are left out, so padding contributes nothing and no padded copy is made. float16 is computed
in float32 and rounded once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from . import activation
from .activation import Array
from .geometry import Window
from .operation import Operation, Stage

# Elements of the largest tensor of a chain of stages that are worked on at once: 2 MiB in float32, about the
# size of a core's level 2 cache. At least one image.
CHUNK = 2**19

Pixels: TypeAlias = tuple[slice, slice, slice]  # of the first three axes


def run(operation: Operation, x: Array, out: Array | None = None) -> Array:
    """Writes the result into `out`, or into a new array where that is None, and returns it.

    All have the dtype of the filters, any of the supported ones; `out` fits and does not overlap x.
    """
    shapes = operation.shapes(x.shape)
    adds_input = operation.adds_input(shapes[0])
    work = np.float64 if x.dtype == np.float64 else np.float32
    y = np.empty(shapes[-1], x.dtype) if out is None else out
    images = max(1, CHUNK // max(math.prod(shape[1:]) for shape in shapes))
    with np.errstate(all="ignore"):
        for first in range(0, len(x), images):
            chunk = slice(first, first + images)
            values = x[chunk].astype(work, copy=False)
            for stage in operation.stages:
                values = _run_stage(stage, values, operation.flush_denormals)
                if operation.squeeze_excite and stage is operation.stages[-2]:
                    values *= _factors(operation, values)
            if adds_input:
                values += x[chunk]
            y[chunk] = values
    return y


def _factors(operation: Operation, x: Array) -> Array:
    """Squeeze-and-excite: a factor for every image and channel, [batch, 1, 1, channels]."""
    factors: Array = x.mean((1, 2), keepdims=True)
    for stage in operation.squeeze_excite:
        factors = _run_stage(stage, factors, operation.flush_denormals)
    return factors


def _run_stage(stage: Stage, x: Array, flush_denormals: bool) -> Array:
    filters = stage.filters.astype(x.dtype, copy=False)
    if flush_denormals:
        tiny = np.finfo(stage.filters.dtype).tiny
        filters = np.where(np.abs(filters) < tiny, x.dtype.type(0), filters)
    size = [stage.window.extent(axis, x.shape[1 + axis])[0] for axis in range(2)]
    y = np.zeros((len(x), *size, stage.out_channels), x.dtype)
    if stage.kind == "depthwise":
        _add_depthwise(y, x, filters, stage.window)
    elif filters.shape[2] == 1:  # [kh, kw, 1, groups * m] and [kh, kw, groups, m] are the same memory
        _add_depthwise(y, x, filters.reshape(*filters.shape[:2], stage.groups, -1), stage.window)
    else:
        _add_dense(y, x, filters, stage.window, stage.groups)
    if stage.bias is not None:
        y += stage.bias
    return activation.apply(y, stage.activation)


def _add_depthwise(y: Array, x: Array, filters: Array, window: Window) -> None:
    products = y.reshape(*y.shape[:3], x.shape[3], -1)
    for (ky, kx), outputs, inputs in taps(window, x.shape):
        products[outputs] += x[inputs][..., np.newaxis] * filters[ky, kx]


def _add_dense(y: Array, x: Array, filters: Array, window: Window, groups: int) -> None:
    channels, outputs_per_group = filters.shape[2], filters.shape[3] // groups
    for (ky, kx), outputs, inputs in taps(window, x.shape):
        pixels = x[inputs]
        # Contiguous, whatever x is: BLAS adds up differently for other strides.
        rows = np.ascontiguousarray(pixels.reshape(-1, groups, channels).swapaxes(0, 1))
        weights = filters[ky, kx].reshape(channels, groups, outputs_per_group).swapaxes(0, 1)
        y[outputs] += (rows @ weights).swapaxes(0, 1).reshape(*pixels.shape[:3], -1)


def taps(window: Window, shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], Pixels, Pixels]]:
    """(tap, its output pixels, its input pixels) for every tap that meets the image at all."""
    spans: list[list[tuple[int, slice, slice]]] = [[], []]
    for axis in range(2):
        size, stride = shape[1 + axis], window.strides[axis]
        out, before = window.extent(axis, size)
        for tap in range(window.kernel[axis]):
            offset = tap * window.dilations[axis] - before
            first = max(0, -(offset // stride))
            last = min(out - 1, (size - 1 - offset) // stride)
            if first <= last:
                inputs = slice(first * stride + offset, last * stride + offset + 1, stride)
                spans[axis].append((tap, slice(first, last + 1), inputs))
    every = slice(None)
    for ky, out_rows, in_rows in spans[0]:
        for kx, out_columns, in_columns in spans[1]:
            yield (ky, kx), (every, out_rows, out_columns), (every, in_rows, in_columns)
