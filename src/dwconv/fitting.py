"""Filters rounded so that what they give on samples changes least, instead of each weight to the nearest.

One input of a filter after the other is rounded, and those that are left take up its error as far as they go
together in the samples: GPTQ of Frantar et al. (2022), which is Optimal Brain Surgeon in a fixed order.
Biases take up the mean of what is left over.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .activation import Array
from .graph import Node
from .nodes import conv_window

MOST_INPUTS = 1536  # of a filter: the inverse takes the cube of it
ROWS = 512  # that a sample gives at most
DAMPING = 0.01  # of the mean variance: what few samples show is not certain


class Moments:
    """Of the inputs of a convolution's filters, group by group: means, and means of products."""

    def __init__(self) -> None:
        self.rows = 0
        self.total: Array = np.zeros(())
        self.products: Array | None = np.zeros(())

    def add(self, node: Node, filters: tuple[int, ...], x: Array) -> None:
        rows = inputs_of(node, filters, x).astype(np.float32)  # [groups, rows, inputs]
        self.total = self.total + rows.sum(1, dtype=np.float64)
        if rows.shape[2] > MOST_INPUTS:
            self.products = None
        elif self.products is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # then there is no spread
                self.products = self.products + np.matmul(rows.transpose(0, 2, 1), rows)
        self.rows += rows.shape[1]

    @property
    def means(self) -> Array:
        return np.asarray(self.total / self.rows)

    def spread(self, corrected: bool) -> Array | None:
        """[groups, inputs, inputs], about the means if biases take these up; None: too many, or infinite."""
        if self.products is None:
            return None
        means = self.means if corrected else np.zeros_like(self.means)
        if not np.isfinite(self.products).all():
            return None
        return np.asarray(self.products / self.rows - means[:, :, None] * means[:, None, :])


def inputs_of(node: Node, filters: tuple[int, ...], x: Array) -> Array:
    """[groups, rows, taps * inputs of a group]: what some outputs, evenly spread over the images, see."""
    window, groups = conv_window(node, filters), int(node["groups"])
    pads = []
    for axis, size in enumerate(x.shape[1:3]):
        out, before = window.extent(axis, size)
        pads.append((before, max((out - 1) * window.strides[axis] + window.span(axis) - size - before, 0)))
    if any(before or after for before, after in pads):
        x = np.pad(x, ((0, 0), *pads, (0, 0)))
    spans = (window.span(0), window.span(1))
    seen = sliding_window_view(x, spans, (1, 2))[:, :: window.strides[0], :: window.strides[1]]
    seen = seen[..., :: window.dilations[0], :: window.dilations[1]]  # [n, y, x, channels, kh, kw]
    outputs = int(np.prod(seen.shape[:3]))
    chosen = np.linspace(0, outputs - 1, min(outputs, ROWS)).astype(np.int64)
    rows = seen[np.unravel_index(chosen, seen.shape[:3])].transpose(0, 2, 3, 1)  # [rows, kh, kw, channels]
    split = rows.reshape(len(rows), -1, groups, x.shape[3] // groups).transpose(2, 0, 1, 3)
    return np.asarray(split.reshape(groups, len(rows), -1))


def fitted(filters: Array, scales: Array, spread: Array) -> Array:
    """int8 [kh, kw, inputs, outputs] of floats, for a scale of each output and `Moments.spread`.

    Raises numpy.linalg.LinAlgError where rounding has left no spread to invert.
    """
    groups, inputs = spread.shape[:2]
    count = filters.shape[3] // groups
    left = filters.reshape(inputs, groups, count).transpose(1, 0, 2).astype(np.float64)
    left = left / scales.reshape(groups, 1, count)  # in steps
    variances = np.einsum("gii->gi", spread)
    damping = DAMPING * variances.mean(1, keepdims=True) + 1e-12
    order = np.argsort(-variances, axis=1)  # what counts most first, while there are others to take up errors
    rows = np.arange(groups)[:, None]
    ordered = spread[rows[:, :, None], order[:, :, None], order[:, None, :]]
    ordered = ordered + damping[:, :, None] * np.eye(inputs)
    # The rows of the upper factor of the inverse say how the error of one input spreads over those after it.
    factor = np.linalg.cholesky(np.linalg.inv(ordered)).transpose(0, 2, 1)
    left = left[rows, order]
    rounded = np.empty_like(left)
    for i in range(inputs):
        rounded[:, i] = np.clip(np.rint(left[:, i]), -127, 127)
        error = (left[:, i] - rounded[:, i]) / factor[:, i, i, None]
        left[:, i + 1 :] -= factor[:, i, i + 1 :, None] * error[:, None, :]
    result = np.empty_like(rounded)
    result[rows, order] = rounded
    return np.asarray(result.transpose(1, 0, 2).reshape(filters.shape).astype(np.int8))


def drift(error: Array, means: Array) -> Array:
    """By output, the mean of what the errors of its filters leave out."""
    groups, inputs = means.shape
    parts = error.reshape(inputs, groups, error.shape[3] // groups)
    return np.asarray(np.einsum("igo,gi->go", parts, means).reshape(-1))
