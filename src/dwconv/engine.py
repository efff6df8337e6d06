"""Runs an `Operation` on tensors: on the compiled core where it can, else through NumPy."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from . import fallback, fallback_integers
from .activation import Array
from .arrays import as_array, check_apart, check_out
from .config import PerformanceWarning, core, get_num_threads, native_isa
from .geometry import shape, thread_count
from .layouts import check_axes, checked_shapes
from .operation import Operation
from .quantized import as_integers

if TYPE_CHECKING:
    from ._core import Plan


def create_plan(operation: Operation) -> Plan | None:
    """The filters packed for the instruction set in force; None where NumPy must do."""
    isa = native_isa()
    native = operation.quantization is not None or operation.dtype == np.float32
    return core.Plan(operation, isa) if isa and native else None


def create_plan_for_call(operation: Operation, out: Any) -> Plan | None:
    """The same for a single call, whose filters may be the caller's own memory: `out` must lie elsewhere."""
    if isinstance(out, ndarray):
        for stage in operation.every_stage:
            check_apart(operation.name, out, stage.given)
    return create_plan(operation)


def run(operation: Operation, plan: Plan | None, x: Any, out: Any, num_threads: int | None) -> Array:
    """The result for x, in `out` where that is given.

    Plain arrays go to the core, which leaves to the checks what it cannot address. Everything else is checked
    first: the core would see the memory of a masked array, and not its mask.
    """
    if num_threads is None:
        threads = get_num_threads()
    else:
        threads = thread_count(f"{operation.name}: num_threads", num_threads)
    if plan is not None and type(x) is ndarray and (out is None or type(out) is ndarray):
        y = plan.run(x, out, threads)
        if y is not NotImplemented:
            return y
    return _run_checked(operation, plan, x, out, threads)


def _run_checked(operation: Operation, plan: Plan | None, x: Any, out: Any, threads: int) -> Array:
    """The same with every check; what passes them and still is not for the core is copied."""
    name = operation.name
    x = _input(operation, x)
    check_axes(operation, x.shape)
    expected = checked_shapes(operation, shape(f"{name}: x", x.shape))[-1]
    if out is not None:
        check_out(name, out, expected, x, operation.output_dtype)
    if plan is None:
        if operation.quantization is not None:
            return fallback_integers.run(operation, x, out)
        return fallback.run(operation, x, out)
    y = plan.run(x, out, threads)
    if y is not NotImplemented:
        return y
    warnings.warn(
        f"{name}: {'x is' if out is None else 'x and out are'} copied: only tensors with adjacent channels "
        "and whole elements between pixels, apart from each other, are used in place (strides of x "
        f"{x.strides}{'' if out is None else f', of out {out.strides}'})",
        PerformanceWarning,
        stacklevel=_frames_of_the_package(),
    )
    y = plan.run(x.copy(order="C"), None, threads, strict=True)
    if out is None:
        return y
    out[...] = y
    return out  # type: ignore[no-any-return]


def _input(operation: Operation, x: Any) -> Array:
    """Integers never meet the layers of numbers, nor numbers those of integers."""
    if operation.quantization is None:
        return as_array(operation.name, "x", x, operation.dtype)
    return as_integers(operation.name, "x", x, operation.dtype)


def _frames_of_the_package() -> int:
    """How many calls up, from the caller of this, the code is that called the package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_globals.get("__package__") == __package__:
        frame, level = frame.f_back, level + 1
    return level


def run_nchw(operation: Operation, x: Array, out: Any, num_threads: int | None) -> Array:
    """The same for x and out as [batch, channels, height, width]: transposed in and out."""
    check_axes(operation, x.shape, nchw=True)
    x = x.transpose(0, 2, 3, 1)
    operation = replace(operation, name=f"{operation.name} (x as NHWC)")
    n, h, w, c = checked_shapes(operation, shape(f"{operation.name}: x", x.shape), nchw=True)[-1]
    if out is not None:
        check_out(operation.name, out, (n, c, h, w), x)
    plan = create_plan_for_call(operation, out)
    y = run(operation, plan, x.copy(order="C"), None, num_threads).transpose(0, 3, 1, 2)
    if out is None:
        return np.ascontiguousarray(y)
    out[...] = y
    return out  # type: ignore[no-any-return]
