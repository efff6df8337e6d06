"""Batch normalization and a clamp behind it as one operation, forward and backward, of NHWC tensors.

y = activation((x - mean) / sqrt(variance + epsilon) * gamma + beta) for every channel, the last axis. The
bits of results are the same with any number of threads. float32 runs native; NumPy computes float64, and
float16 in float32. Source: Ioffe and Szegedy (ICML 2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import gradient_engine, gradients_numpy
from .activation import Activation, ActivationLike, Array, apply, parse
from .arrays import TensorLike, as_array, check_apart, check_out, type_name
from .config import core, native_isa

Moments = tuple[Array, Array]
CLAMPS = ("identity", "relu", "relu6", "clip")


def batch_norm(
    x: TensorLike,
    gamma: TensorLike | None = None,
    beta: TensorLike | None = None,
    *,
    epsilon: float = 1e-3,
    moments: Moments | None = None,
    activation: ActivationLike = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """(y, mean, variance).

    `x`: [..., channels]; `gamma`, `beta`: [channels], or None for 1 and 0. `moments`: (mean, variance),
    [channels] each, to normalise with; None: those of x, the variance divided by the number of pixels.
    `activation`: None, "relu", "relu6" or ("clip", low, high). Raises ValueError for shapes that do not fit,
    for an x without pixels that has moments to be found, and for other activations; TypeError for dtypes.
    Semantics: `tf.nn.batch_normalization` of `tf.nn.moments`, and PyTorch's `batch_norm`.

    >>> import numpy as np
    >>> y, mean, variance = batch_norm(np.array([[1], [3]], np.float32), epsilon=0.0)
    >>> y.tolist(), mean.tolist(), variance.tolist()
    ([[-1.0], [1.0]], [2.0], [1.0])
    """
    name = "batch_norm"
    x = as_array(name, "x", x, None)
    p = _Problem.of(name, x, gamma, beta, epsilon, activation)
    threads = gradient_engine.threads_of(name, num_threads)
    if moments is None and x.size == 0:
        raise ValueError(f"{name}: x is empty ({x.shape}): there are no pixels to find moments of")
    if moments is None:
        mean, variance = (np.empty(x.shape[-1:], p.work) for _ in range(2))
    else:
        mean, variance = _moments(name, moments, x.shape[-1], p)
    arrays = p.gamma, p.beta, mean, variance
    y = np.empty(x.shape, x.dtype) if out is None else _checked(name, out, x, arrays)
    isa = native_isa() if x.dtype == np.float32 else None
    if isa and x.size:
        kernel = core.BatchNorm(x.shape[-1], p.epsilon, p.activation, moments is not None, isa)
        into = _images(y)
        in_place = np.may_share_memory(into, y)
        if not in_place or kernel.forward(_images(x), *arrays, into, threads) is NotImplemented:
            dense = np.empty(into.shape, x.dtype)
            y[...] = kernel.forward(_images(x.copy("C")), *arrays, dense, threads).reshape(x.shape)
    else:
        _forward(p, x, mean, variance, moments is None, y)
    return y, mean, variance


def batch_norm_backprop(
    out_backprop: TensorLike,
    x: TensorLike,
    gamma: TensorLike | None,
    beta: TensorLike | None,
    moments: Moments,
    *,
    epsilon: float = 1e-3,
    activation: ActivationLike = None,
    fixed: bool = False,
    wanted: tuple[bool, bool, bool] = (True, True, True),
    out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of x, [..., channels], of gamma and of beta, [channels], each None where not `wanted`.

    `out_backprop`: of the shape and dtype of x. `moments`: what the forward pass gave, or where `fixed` what
    it was given: then they are constants. `out`: where the gradient of x goes, apart from all that is read.
    Where the clamp stopped a value, its corners included, nothing passes. Raises as `batch_norm` does.
    Semantics: PyTorch's `native_batch_norm_backward`.

    >>> import numpy as np
    >>> x = np.array([[1], [3]], np.float32)
    >>> _, mean, variance = batch_norm(x, epsilon=0.0)
    >>> batch_norm_backprop(np.float32([[1], [1]]), x, None, None, (mean, variance), epsilon=0.0)[0].tolist()
    [[0.0], [0.0]]
    """
    name = "batch_norm_backprop"
    x = as_array(name, "x", x, None)
    dy = as_array(name, "out_backprop", out_backprop, x.dtype)
    if dy.shape != x.shape:
        raise ValueError(f"{name}: x and out_backprop must have one shape, not {x.shape} and {dy.shape}")
    p = _Problem.of(name, x, gamma, beta, epsilon, activation)
    threads = gradient_engine.threads_of(name, num_threads)
    mean, variance = _moments(name, moments, x.shape[-1], p)
    arrays = p.gamma, p.beta, mean, variance
    if out is not None:
        check_apart(name, _checked(name, out, x, arrays), [("out_backprop", dy)])
    dx = (np.empty(x.shape, x.dtype) if out is None else out) if wanted[0] else None
    dgamma, dbeta = (np.empty(x.shape[-1:], p.work) if flag else None for flag in wanted[1:])
    isa = native_isa() if x.dtype == np.float32 else None
    if not isa or not x.size:
        return _backward(p, dy, x, mean, variance, fixed, dx, dgamma, dbeta)
    kernel = core.BatchNorm(x.shape[-1], p.epsilon, p.activation, fixed, isa)
    into = None if dx is None else _images(dx)
    in_place = dx is None or np.may_share_memory(into, dx)
    images = _images(x), *arrays, _images(dy)
    if not in_place or kernel.backward(*images, into, dgamma, dbeta, threads) is NotImplemented:
        dense = None if into is None else np.empty(into.shape, x.dtype)
        copies = _images(x.copy("C")), *arrays, _images(dy.copy("C"))
        kernel.backward(*copies, dense, dgamma, dbeta, threads)
        if dx is not None and dense is not None:
            dx[...] = dense.reshape(x.shape)
    return dx, dgamma, dbeta


# ---- what they share --------------------------------------------------------------------------


class _Problem(NamedTuple):
    gamma: Array | None
    beta: Array | None
    epsilon: float
    activation: Activation
    work: type[np.floating[Any]]  # dtype of what belongs to channels

    @classmethod
    def of(cls, name: str, x: Array, gamma: Any, beta: Any, epsilon: Any, activation: Any) -> _Problem:
        parsed = parse(name, "activation", activation)
        if parsed.kind not in CLAMPS:
            raise ValueError(f"{name}: activation must be None, 'relu', 'relu6' or ('clip', low, high)")
        if x.ndim < 1 or x.shape[-1] == 0:
            raise ValueError(f"{name}: x must be [..., channels] with one channel or more, not {x.shape}")
        epsilon = float(epsilon)
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"{name}: epsilon must be 0 or more, not {epsilon}")
        work = gradients_numpy.work_dtype(x.dtype)
        return cls(
            _of_channels(name, "gamma", gamma, x.shape[-1], work),
            _of_channels(name, "beta", beta, x.shape[-1], work),
            epsilon,
            parsed,
            work,
        )

    @property
    def bounds(self) -> tuple[float, float]:
        a = self.activation
        most = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0), "clip": (a.a, a.b)}
        return most.get(a.kind, (-math.inf, math.inf))


def _of_channels(name: str, argument: str, value: Any, channels: int, dtype: Any) -> Array | None:
    if value is None:
        return None
    array: Array = np.ascontiguousarray(as_array(name, argument, value, None), dtype)
    if array.shape != (channels,) or np.ndim(value) == 0:  # NumPy makes an axis of a number
        raise ValueError(f"{name}: {argument} must be [channels], ({channels},), not {np.shape(value)}")
    return array


def _moments(name: str, moments: Any, channels: int, p: _Problem) -> Moments:
    if not isinstance(moments, tuple | list) or len(moments) != 2:
        raise TypeError(f"{name}: moments must be (mean, variance), not {type_name(moments)}")
    found = [_of_channels(name, "moments", value, channels, p.work) for value in moments]
    return found[0], found[1]  # type: ignore[return-value]


def _checked(name: str, out: Array, x: Array, arrays: Sequence[Array | None]) -> Array:
    """`out` for a result like x, apart from what is read."""
    check_out(name, out, x.shape, x)
    names = ("gamma", "beta", "mean", "variance")
    check_apart(name, out, [(n, a) for n, a in zip(names, arrays, strict=True) if a is not None])
    return out


def _images(x: Array) -> Array:
    """As [batch, height, width, channels], without a copy where that is possible."""
    return x if x.ndim == 4 else x.reshape(1, 1, -1, x.shape[-1])


# ---- NumPy ------------------------------------------------------------------------------------


def _forward(p: _Problem, x: Array, mean: Array, variance: Array, learns: bool, y: Array) -> None:
    wide = x.astype(p.work, copy=False)
    axes = tuple(range(x.ndim - 1))
    with np.errstate(all="ignore"):
        if learns:
            mean[...] = wide.mean(axes, np.float64)
            variance[...] = np.square(wide - mean).mean(axes, np.float64)
        y[...] = apply(_normal(p, wide, mean, variance), p.activation)


def _normal(p: _Problem, x: Array, mean: Array, variance: Array) -> Array:
    """Before the clamp."""
    normal = (x - mean) * _factor(p, variance)
    return normal if p.beta is None else normal + p.beta


def _factor(p: _Problem, variance: Array) -> Array:
    inverse = 1 / np.sqrt(variance + p.work(p.epsilon))
    return np.asarray(inverse if p.gamma is None else inverse * p.gamma)


def _backward(
    p: _Problem, dy: Array, x: Array, mean: Array, variance: Array, fixed: bool, dx: Array | None,
    dgamma: Array | None, dbeta: Array | None,
) -> tuple[Array | None, Array | None, Array | None]:  # fmt: skip
    wide, axes = x.astype(p.work, copy=False), tuple(range(x.ndim - 1))
    low, high = p.bounds
    with np.errstate(all="ignore"):
        normal, factor = _normal(p, wide, mean, variance), _factor(p, variance)
        stopped = ((normal <= low) & (low > -math.inf)) | ((normal >= high) & (high < math.inf))
        passed = np.where(stopped, p.work(0), dy.astype(p.work, copy=False))
        inverse = 1 / np.sqrt(variance + p.work(p.epsilon))
        even = (wide - mean) * inverse
        total, along = (terms.sum(axes, np.float64) for terms in (passed, passed * even))
        if dgamma is not None:
            dgamma[...] = along
        if dbeta is not None:
            dbeta[...] = total
        if dx is not None:
            count = max(1, x.size // x.shape[-1])
            share, slope = ((terms / count).astype(p.work) for terms in (total, along))
            common = 0 if fixed else share + even * slope
            dx[...] = factor * (passed - common)
    return dx, dgamma, dbeta
