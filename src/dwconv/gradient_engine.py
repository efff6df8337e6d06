"""Runs gradients: on the compiled core where it can, else through NumPy."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from . import gradients_numpy
from .activation import Activation, Array
from .config import PerformanceWarning, core, get_num_threads, native_isa
from .engine import frames_of_the_package
from .geometry import thread_count
from .gradients_numpy import Convolution


def threads_of(name: str, value: Any) -> int:
    return get_num_threads() if value is None else thread_count(f"{name}: num_threads", value)


@lru_cache(512)
def gradient_of(conv: Convolution, isa: str | None) -> Any:
    return core.Gradient(conv, isa)


def _isa(array: Array) -> str | None:
    return native_isa() if array.dtype == np.float32 else None


def input_gradient(conv: Convolution, filters: Array, dy: Array, out: Array | None, threads: int) -> Array:
    """In `out`, or in a new array where that is None."""
    isa = _isa(dy)
    if not isa:
        return gradients_numpy.backprop_input(
            conv, filters, dy, np.empty(conv.x, dy.dtype) if out is None else out
        )
    gradient, filters = gradient_of(conv, isa), np.ascontiguousarray(filters)
    result = gradient.of_input(filters, dy, out, threads)
    if result is not NotImplemented:
        return result  # type: ignore[no-any-return]
    _warn(conv.name, "out_backprop or out")
    dx = gradient.of_input(filters, dy.copy(order="C"), None, threads)
    if out is None:
        return dx  # type: ignore[no-any-return]
    out[...] = dx
    return out


def filter_gradient(
    conv: Convolution, x: Array, dy: Array, with_bias: bool, threads: int
) -> tuple[Array, Array | None]:
    """Of the shape `conv.filters`, and that of the bias where it is wanted: in one pass."""
    isa = _isa(x)
    if not isa:
        bias = gradients_numpy.backprop_bias(dy) if with_bias else None
        return gradients_numpy.backprop_filter(conv, x, dy), bias
    gradient = gradient_of(conv, isa)
    result = gradient.of_filter(x, dy, True, with_bias, threads)
    if result is NotImplemented:
        _warn(conv.name, "x or out_backprop")
        result = gradient.of_filter(x.copy(order="C"), dy.copy(order="C"), True, with_bias, threads)
    return result  # type: ignore[no-any-return]


def both_gradients(
    conv: Convolution, filters: Array, x: Array, dy: Array, out: Array | None, with_bias: bool, threads: int
) -> tuple[Array, Array, Array | None]:
    """Of the input (see `input_gradient`), the filter and the bias: of a depthwise layer in one walk."""
    isa = _isa(dy)
    if isa:
        gradient = gradient_of(conv, isa)
        result = gradient.of_both(np.ascontiguousarray(filters), x, dy, out, with_bias, threads)
        if result is not NotImplemented:
            return result  # type: ignore[no-any-return]
    dw, db = filter_gradient(conv, x, dy, with_bias, threads)
    return input_gradient(conv, filters, dy, out, threads), dw, db


def bias_gradient(name: str, dy: Array, threads: int) -> Array:
    isa = _isa(dy)
    if not isa:
        return gradients_numpy.backprop_bias(dy)
    gradient = gradient_of(Convolution.identity(name, dy.shape), isa)
    result = gradient.of_filter(dy, dy, False, True, threads)
    if result is NotImplemented:
        _warn(name, "out_backprop")
        dy = dy.copy(order="C")
        result = gradient.of_filter(dy, dy, False, True, threads)
    return result[1]  # type: ignore[no-any-return]


def activation_gradient(
    dy: Array, values: Array, activation: Activation, from_output: bool, out: Array | None, threads: int
) -> Array:
    isa = _isa(dy)
    if not isa:
        dx = gradients_numpy.backprop_activation(dy, values, activation, from_output)
    else:
        contiguous = [np.ascontiguousarray(array) for array in (dy, values)]
        dx = out if out is not None and out.flags.c_contiguous else np.empty(dy.shape, dy.dtype)
        core.activation_gradient(activation, contiguous[1], from_output, contiguous[0], dx, threads, isa)
    if out is None or dx is out:
        return dx
    out[...] = dx
    return out


def _warn(name: str, what: str) -> None:
    warnings.warn(
        f"{name}: {what} is copied: only tensors with adjacent channels and whole elements between pixels "
        "are used in place",
        PerformanceWarning,
        stacklevel=frames_of_the_package(),
    )
