"""Gradients in NumPy: sums over the taps of a kernel, as in `dwconv.fallback`, and the slopes of activations.

Taps that fall into the padding are left out. float16 is computed in float32 and rounded once, at the end.
Sums over pixels go over chunks of whole images, in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .activation import Activation, Array, apply
from .fallback import CHUNK, taps
from .geometry import Shape, Window


@dataclass(frozen=True, slots=True)
class Convolution:
    """A forward convolution, whose gradients are asked for: its shapes, checked.

    `filters` is [kernel_h, kernel_w, channels, multiplier] where `depthwise`, else [kernel_h, kernel_w,
    channels / groups, outputs].
    """

    name: str
    depthwise: bool
    x: Shape
    filters: Shape
    y: Shape
    window: Window
    groups: int

    @classmethod
    def identity(cls, name: str, y: tuple[int, ...]) -> Convolution:
        """A pointwise one from y to y, for the gradient of a bias alone."""
        shape = y[0], y[1], y[2], y[3]
        return cls(name, True, shape, (1, 1, y[3], 1), shape, Window((1, 1)), 1)

    def images(self) -> Iterator[slice]:
        """Chunks of at most `fallback.CHUNK` elements of the larger tensor, or of one image."""
        count = max(1, CHUNK // max(math.prod(self.x[1:]), math.prod(self.y[1:])))
        return (slice(first, first + count) for first in range(0, self.x[0], count))


def work_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    return np.float64 if dtype == np.float64 else np.float32


def backprop_input(conv: Convolution, filters: Array, dy: Array, out: Array) -> Array:
    """Writes the gradient of x into `out`, of the dtype of both."""
    work = work_dtype(dy.dtype)
    weights = filters.astype(work, copy=False)
    with np.errstate(all="ignore"):
        for chunk in conv.images():
            dx = np.zeros((len(dy[chunk]), *conv.x[1:]), work)
            add = _add_depthwise_input if conv.depthwise else _add_dense_input
            add(conv, dx, weights, dy[chunk].astype(work, copy=False))
            out[chunk] = dx
    return out


def _add_depthwise_input(conv: Convolution, dx: Array, weights: Array, dy: Array) -> None:
    products = dy.reshape(*dy.shape[:3], conv.x[3], -1)
    for (ky, kx), outputs, inputs in taps(conv.window, dx.shape):
        dx[inputs] += (products[outputs] * weights[ky, kx]).sum(-1)


def _add_dense_input(conv: Convolution, dx: Array, weights: Array, dy: Array) -> None:
    for (ky, kx), outputs, inputs in taps(conv.window, dx.shape):
        rows = _grouped(dy[outputs], conv.groups)
        matrices = _matrices(weights[ky, kx], conv.groups).swapaxes(1, 2)
        dx[inputs] += (rows @ matrices).swapaxes(0, 1).reshape(dx[inputs].shape)


def backprop_filter(conv: Convolution, x: Array, dy: Array) -> Array:
    """The gradient of the filter, of the dtype of both."""
    work = work_dtype(x.dtype)
    dw = np.zeros(conv.filters, work)
    with np.errstate(all="ignore"):
        for chunk in conv.images():
            add = _add_depthwise_filter if conv.depthwise else _add_dense_filter
            add(conv, dw, x[chunk].astype(work, copy=False), dy[chunk].astype(work, copy=False))
        return np.asarray(dw.astype(x.dtype, copy=False))


def _add_depthwise_filter(conv: Convolution, dw: Array, x: Array, dy: Array) -> None:
    products = dy.reshape(*dy.shape[:3], conv.x[3], -1)
    for (ky, kx), outputs, inputs in taps(conv.window, x.shape):
        dw[ky, kx] += (x[inputs][..., np.newaxis] * products[outputs]).sum((0, 1, 2))


def _add_dense_filter(conv: Convolution, dw: Array, x: Array, dy: Array) -> None:
    for (ky, kx), outputs, inputs in taps(conv.window, x.shape):
        columns = _grouped(x[inputs], conv.groups).swapaxes(1, 2)
        dw[ky, kx] += (columns @ _grouped(dy[outputs], conv.groups)).swapaxes(0, 1).reshape(dw.shape[2:])


def _grouped(pixels: Array, groups: int) -> Array:
    """[groups, pixels, channels / groups], contiguous: BLAS adds up differently for other strides."""
    return np.ascontiguousarray(pixels.reshape(-1, groups, pixels.shape[-1] // groups).swapaxes(0, 1))


def _matrices(weights: Array, groups: int) -> Array:
    """[channels / groups, outputs] as [groups, channels / groups, outputs / groups]."""
    return np.asarray(weights.reshape(len(weights), groups, -1).swapaxes(0, 1))


def backprop_bias(dy: Array) -> Array:
    """The sum over batch, height and width."""
    total = dy.sum((0, 1, 2), dtype=work_dtype(dy.dtype))
    return np.asarray(total.astype(dy.dtype, copy=False))


# ---- activations ------------------------------------------------------------------------------

FROM_OUTPUT = ("identity", "relu", "relu6", "clip", "hard_sigmoid", "sigmoid", "tanh")


def has_slope_of_output(activation: Activation) -> bool:
    """Whether the output tells the derivative: not where inputs of different slopes give the same one."""
    return activation.kind in FROM_OUTPUT or (activation.kind == "leaky_relu" and activation.a > 0)


def backprop_activation(dy: Array, values: Array, activation: Activation, from_output: bool) -> Array:
    """dy times the derivative at `values`, inputs or outputs of the activation; 0 where that is 0."""
    work = work_dtype(dy.dtype)
    with np.errstate(all="ignore"):
        slope = (slope_of_output if from_output else slope_of_input)(
            values.astype(work, copy=False), activation
        )
        return np.asarray(np.where(slope == 0, dy.dtype.type(0), dy * slope).astype(dy.dtype, copy=False))


def slope_of_output(y: Array, activation: Activation) -> Array:
    """The derivative of the activation where its output is y, in the dtype of y."""
    kind, one = activation.kind, y.dtype.type
    if kind == "identity":
        return np.ones_like(y)
    if kind == "sigmoid":
        return np.asarray(y * (1 - y))
    if kind == "tanh":
        return np.asarray(1 - y * y)
    if kind == "leaky_relu":
        return np.asarray(np.where(y > 0, one(1), one(activation.a)))
    if kind == "hard_sigmoid":
        return np.asarray(_inside(y, 0, 1) * one(1 / 6))
    bounds = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0), "clip": (activation.a, activation.b)}
    return _inside(y, *bounds[kind])


def slope_of_input(x: Array, activation: Activation) -> Array:
    """The derivative of the activation at x, in the dtype of x; the smooth ones go through float64."""
    kind, one = activation.kind, x.dtype.type
    if kind == "hard_sigmoid":
        return np.asarray(_inside(x, -3, 3) * one(1 / 6))
    if kind == "hard_swish":
        slope = np.where(x < 3, x * one(1 / 3) + one(0.5), one(1))
        return np.asarray(np.where(x <= -3, one(0), slope))
    if kind in ("identity", "relu", "relu6", "clip", "leaky_relu"):
        return slope_of_output(x, activation)
    wide = x.astype(np.float64, copy=False)
    return np.asarray(_smooth_slope(wide, kind).astype(x.dtype, copy=False))


def _inside(y: Array, low: float, high: float) -> Array:
    """1 between the bounds; an infinite one is none."""
    inside = np.ones(y.shape, bool)
    if low > -math.inf:
        inside &= y > y.dtype.type(low)
    if high < math.inf:
        inside &= y < y.dtype.type(high)
    return np.asarray(inside.astype(y.dtype))


def _smooth_slope(x: Array, kind: str) -> Array:
    if kind in ("sigmoid", "tanh"):
        return slope_of_output(apply(x.copy(), Activation(kind)), Activation(kind))
    finite = np.clip(x, -700.0, 700.0)  # beyond, the slope is 0 or 1, and products would be inf * 0
    if kind == "silu":
        p = apply(finite.copy(), Activation("sigmoid"))
        slope = p * (1 + finite * (1 - p))
    elif kind == "gelu":
        bell = np.exp(-0.5 * finite * finite) * (1 / math.sqrt(2 * math.pi))
        nonzero = np.where(finite == 0, 1.0, finite)
        below = np.where(finite == 0, 0.5, apply(nonzero.copy(), Activation("gelu")) / nonzero)
        slope = below + finite * bell
    else:  # x * sigmoid(2 u(x))
        scale = math.sqrt(2 / math.pi)
        p = apply(2 * scale * (finite + 0.044715 * finite**3), Activation("sigmoid"))
        slope = p + finite * p * (1 - p) * 2 * scale * (1 + 3 * 0.044715 * finite**2)
    return np.where(np.isnan(x), x, slope)
