"""The arguments of gradients of convolutions, checked: what the functions of `dwconv.gradients` share."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import gradient_engine
from .activation import Array
from .arrays import as_array, check_apart, check_out
from .build import Sliding
from .geometry import Shape, integer, shape
from .gradients_numpy import Convolution

LAYOUTS = {
    "depthwise": "[kernel height, kernel width, channels, multiplier]",
    "conv": "[kernel height, kernel width, channels / groups, outputs]",
    "pointwise": "[channels, outputs] or [1, 1, channels, outputs]",
}


def operation_name(kind: str) -> str:
    """That of the forward function: it begins messages."""
    return "conv2d" if kind == "conv" else f"{kind}_conv2d"


def input_gradient(
    kind: str, input_sizes: Any, filters: Any, out_backprop: Any, sliding: Sliding, groups: Any,
    out: Array | None, num_threads: Any,
) -> Array:  # fmt: skip
    name = f"{operation_name(kind)}_backprop_input"
    dy = tensor(name, "out_backprop", out_backprop, None, sliding.nchw)
    weights = as_array(name, "filters", filters, dy.dtype)
    sizes = _sizes(f"{name}: input_sizes", input_sizes)
    if sliding.nchw and len(sizes) == 4:
        sizes = sizes[0], *sizes[2:], sizes[1]
    conv = _convolution(name, kind, "input_sizes", shape(f"{name}: input_sizes", sizes), "filters",
                        weights.shape, dy, sliding, groups)  # fmt: skip
    threads = gradient_engine.threads_of(name, num_threads)
    nhwc = _as_nhwc(out, sliding.nchw)
    if nhwc is not None:
        check_out(name, nhwc, conv.x, dy, argument="out_backprop")
        check_apart(name, nhwc, [("filters", weights)])
    dx = gradient_engine.input_gradient(
        conv, weights.reshape(conv.filters), dy, None if sliding.nchw else nhwc, threads
    )
    if not sliding.nchw:
        return dx
    return into(out, np.ascontiguousarray(dx.transpose(0, 3, 1, 2)))


def filter_gradient(
    kind: str, x: Any, filter_sizes: Any, out_backprop: Any, sliding: Sliding, groups: Any, with_bias: Any,
    out: Array | None, num_threads: Any,
) -> Array | tuple[Array, Array]:  # fmt: skip
    name = f"{operation_name(kind)}_backprop_filter"
    x = tensor(name, "x", x, None, sliding.nchw)
    dy = tensor(name, "out_backprop", out_backprop, x.dtype, sliding.nchw)
    sizes = _sizes(f"{name}: filter_sizes", filter_sizes)
    conv = _convolution(name, kind, "x", shape(f"{name}: x", x.shape), "filter_sizes", sizes, dy, sliding,
                        groups)  # fmt: skip
    threads = gradient_engine.threads_of(name, num_threads)
    if out is not None:
        check_out(name, out, sizes, x)
        check_apart(name, out, [("out_backprop", dy)])
    dw, db = gradient_engine.filter_gradient(conv, x, dy, bool(with_bias), threads)
    dw = into(out, dw.reshape(sizes))
    return dw if db is None else (dw, db)


def both_gradients(
    kind: str, x: Any, filters: Any, out_backprop: Any, sliding: Sliding, groups: Any, with_bias: Any,
    out: Array | None, num_threads: Any,
) -> tuple[Array, ...]:  # fmt: skip
    name = f"{operation_name(kind)}_backprop"
    x = tensor(name, "x", x, None, sliding.nchw)
    weights = as_array(name, "filters", filters, x.dtype)
    dy = tensor(name, "out_backprop", out_backprop, x.dtype, sliding.nchw)
    conv = _convolution(name, kind, "x", shape(f"{name}: x", x.shape), "filters", weights.shape, dy, sliding,
                        groups)  # fmt: skip
    threads = gradient_engine.threads_of(name, num_threads)
    nhwc = _as_nhwc(out, sliding.nchw)
    if nhwc is not None:
        check_out(name, nhwc, conv.x, x)
        check_apart(name, nhwc, [("filters", weights), ("out_backprop", dy)])
    dx, dw, db = gradient_engine.both_gradients(
        conv, weights.reshape(conv.filters), x, dy, None if sliding.nchw else nhwc, bool(with_bias), threads
    )
    if sliding.nchw:
        dx = into(out, np.ascontiguousarray(dx.transpose(0, 3, 1, 2)))
    dw = dw.reshape(weights.shape)
    return (dx, dw) if db is None else (dx, dw, db)


def _convolution(
    name: str, kind: str, x_argument: str, x: Shape, argument: str, filters: tuple[int, ...], dy: Array,
    sliding: Sliding, groups: Any,
) -> Convolution:  # fmt: skip
    """The forward convolution of these shapes. Raises where they do not fit together."""
    layout = LAYOUTS[kind]
    sizes = (1, 1, *filters) if kind == "pointwise" and len(filters) == 2 else filters
    if len(sizes) != 4 or 0 in sizes or (kind == "pointwise" and sizes[:2] != (1, 1)):
        raise ValueError(f"{name}: {argument} must be {layout} without an empty axis, not {filters}")
    kernel_h, kernel_w, inputs, last = sizes
    groups = integer(f"{name}: groups", groups)
    outputs = inputs * last if kind == "depthwise" else last
    if outputs % groups:
        raise ValueError(
            f"{name}: groups={groups} must divide {outputs} output channels ({argument} {filters})"
        )
    if inputs * groups != x[3]:
        grouped = f" in {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{name}: {argument} {'expect' if argument == 'filters' else 'expects'} {inputs * groups} "
            f"channels{grouped} but {x_argument} has {x[3]} (NHWC: {x_argument} {x}, {argument} {filters})"
        )
    window = sliding.window(name, kernel_h, kernel_w)
    y = x[0], *window.output_size(name, x[1], x[2]), outputs
    if dy.shape != y:
        raise ValueError(
            f"{name}: out_backprop has the shape {dy.shape} but the forward pass gives {y} "
            f"(NHWC: {x_argument} {x}, {argument} {filters}, strides {window.strides}, padding "
            f"{window.padding!r}, dilations {window.dilations})"
        )
    return Convolution(name, kind == "depthwise", x, (kernel_h, kernel_w, inputs, last), y, window, groups)


def _sizes(where: str, value: Any) -> tuple[int, ...]:
    try:
        items = list(value)
    except TypeError:
        raise TypeError(f"{where} must be a sequence of sizes, not {value!r}") from None
    return tuple(integer(where, item, 0) for item in items)


def tensor(name: str, argument: str, value: Any, dtype: np.dtype[Any] | None, nchw: bool) -> Array:
    """As NHWC."""
    array = as_array(name, argument, value, dtype)
    if array.ndim != 4:
        axes = "[batch, channels, height, width]" if nchw else "[batch, height, width, channels]"
        raise ValueError(f"{name}: {argument} must have 4 axes {axes}, not {array.shape}")
    return array.transpose(0, 2, 3, 1).copy(order="C") if nchw else array


def _as_nhwc(out: Any, nchw: bool) -> Any:
    return out.transpose(0, 2, 3, 1) if nchw and isinstance(out, np.ndarray) and out.ndim == 4 else out


def into(out: Array | None, result: Array) -> Array:
    if out is None:
        return result
    out[...] = result
    return out
