"""Runs an `Operation` on tensors: on the compiled core where it can, else through NumPy."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import fallback
from .activation import Array
from .config import PerformanceWarning, core, get_num_threads, native_isa
from .geometry import Shape, shape, thread_count
from .operation import Operation, as_array

if TYPE_CHECKING:
    from ._core import Plan


def create_plan(operation: Operation) -> Plan | None:
    """The filters packed for the instruction set in force; None where NumPy must do."""
    isa = native_isa()
    return core.Plan(operation, isa) if isa and operation.dtype == np.float32 else None


def create_plan_for_call(operation: Operation, out: Any) -> Plan | None:
    """The same for a single call, whose filters may be the caller's own memory: `out` must lie elsewhere."""
    if isinstance(out, np.ndarray):
        for stage in operation.every_stage:
            for argument, array in ((stage.argument, stage.filters), ("a bias", stage.bias)):
                if array is not None and _share_memory(array, out):
                    raise ValueError(f"{operation.name}: out overlaps {argument}")
    return create_plan(operation)


def threads_of(name: str, num_threads: int | None) -> int:
    return get_num_threads() if num_threads is None else thread_count(f"{name}: num_threads", num_threads)


def as_input(name: str, x: Any, dtype: np.dtype[Any] | None = None) -> Array:
    array = as_array(name, "x", x, dtype)
    if array.ndim != 4:
        raise ValueError(f"{name}: x must have 4 axes [batch, height, width, channels], not {array.shape}")
    return array


def run(operation: Operation, plan: Plan | None, x: Any, out: Any, num_threads: int | None) -> Array:
    """The result for x, in `out` where that is given.

    Called by functions and layers directly: warnings name the line that called those.
    """
    if plan is not None:
        y = plan.run(x, out, threads_of(operation.name, num_threads))
        if y is not NotImplemented:
            return y
    return _run_checked(operation, plan, x, out, num_threads)


def _run_checked(operation: Operation, plan: Plan | None, x: Any, out: Any, num_threads: int | None) -> Array:
    """The same with every check; what passes them and still is not for the core is copied."""
    name = operation.name
    x = as_input(name, x, operation.dtype)
    expected = operation.shapes(shape(f"{name}: x", x.shape))[-1]
    threads = threads_of(name, num_threads)
    if out is not None:
        check_out(name, out, expected, x)
    if plan is None:
        return fallback.run(operation, x, out)
    y = plan.run(x, out, threads)
    if y is not NotImplemented:
        return y
    warnings.warn(
        f"{name}: {'x is' if out is None else 'x and out are'} copied: only tensors with adjacent channels "
        "and whole elements between pixels, apart from each other, are used in place (strides of x "
        f"{x.strides}{'' if out is None else f', of out {out.strides}'})",
        PerformanceWarning,
        stacklevel=4,
    )
    y = plan.run(x.copy(order="C"), None, threads, strict=True)
    if out is None:
        return y
    out[...] = y
    return out  # type: ignore[no-any-return]


def run_nchw(operation: Operation, x: Array, out: Any, num_threads: int | None) -> Array:
    """The same for x and out as [batch, channels, height, width]: transposed in and out."""
    x = x.transpose(0, 2, 3, 1)
    operation = replace(operation, name=f"{operation.name} (x as NHWC)")
    if out is not None:
        n, h, w, c = operation.output_shape(x.shape)
        check_out(operation.name, out, (n, c, h, w), x)
    plan = create_plan_for_call(operation, out)
    y = run(operation, plan, x.copy(order="C"), None, num_threads).transpose(0, 3, 1, 2)
    if out is None:
        return np.ascontiguousarray(y)
    out[...] = y
    return out  # type: ignore[no-any-return]


def check_out(name: str, out: Any, expected: Shape, x: Array) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name}: out must be a NumPy array, not {type(out).__name__}")
    if out.dtype != x.dtype:
        raise TypeError(f"{name}: the dtype of out is {out.dtype} but {x.dtype} is expected")
    if out.shape != expected:
        raise ValueError(f"{name}: out has the shape {out.shape} but the result {expected} (x {x.shape})")
    if not out.flags.writeable:
        raise ValueError(f"{name}: out is read-only")
    if _overlaps_itself(out):
        raise ValueError(f"{name}: elements of out share memory (shape {out.shape}, strides {out.strides})")
    if _share_memory(x, out):
        raise ValueError(f"{name}: out overlaps x")


def _overlaps_itself(out: Array) -> bool:
    """Whether some axis, from the smallest stride on, does not step over all that lies inside it.

    Slices and transposed arrays always do; only views with made-up strides do not.
    """
    if out.size == 0:
        return False
    inner = out.itemsize
    for stride, size in sorted(zip(map(abs, out.strides), out.shape, strict=True)):
        if size > 1:
            if stride < inner:
                return True
            inner += (size - 1) * stride
    return False


def _share_memory(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except RuntimeError:  # NumPy's TooHardError: too intricate to decide: taken for an overlap
        return True
