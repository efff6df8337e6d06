"""The convolutions of `dwconv` on a tape: forward as in `dwconv.ops`, backward as in `dwconv.gradients`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from .. import gradients, ops
from ..activation import Array, parse
from ..arrays import as_array
from ..gradient_arguments import operation_name
from ..gradients_numpy import has_slope_of_output
from .elements import activate, activation_of
from .tape import record, recording
from .variables import Variable, value_of

Kind = Literal["depthwise", "conv", "pointwise"]
_FORWARD: dict[str, Callable[..., Array]] = {
    "depthwise": ops.depthwise_conv2d,
    "conv": ops.conv2d,
    "pointwise": ops.pointwise_conv2d,
}
_BACKPROP_INPUT: dict[str, Callable[..., Array]] = {
    "depthwise": gradients.depthwise_conv2d_backprop_input,
    "conv": gradients.conv2d_backprop_input,
    "pointwise": gradients.pointwise_conv2d_backprop_input,
}
_BACKPROP_FILTER: dict[str, Callable[..., Any]] = {
    "depthwise": gradients.depthwise_conv2d_backprop_filter,
    "conv": gradients.conv2d_backprop_filter,
    "pointwise": gradients.pointwise_conv2d_backprop_filter,
}
_BACKPROP: dict[str, Callable[..., tuple[Array, ...]]] = {
    "depthwise": gradients.depthwise_conv2d_backprop,
    "conv": gradients.conv2d_backprop,
    "pointwise": gradients.pointwise_conv2d_backprop,
}


def convolve(
    kind: Kind, x: Any, filters: Any, bias: Any = None, activation: Any = None, **options: Any
) -> Array:
    """One convolution; `options`: strides, padding, data_format, dilations, groups, what `kind` has of them.

    Under a tape an activation whose slope its output does not tell is computed apart.
    """
    activation = activation_of(activation)
    parsed = parse(operation_name(kind), "activation", activation)
    fused = recording() is None or has_slope_of_output(parsed)
    source = x if isinstance(x, Variable) else as_array(operation_name(kind), "x", x, None)
    images, weights, offset = value_of(source), value_of(filters), value_of(bias)
    y = _FORWARD[kind](images, weights, bias=offset, activation=activation if fused else None, **options)

    def backward(dy: Array, wanted: tuple[bool, ...]) -> list[Array | None]:
        if fused and parsed.kind != "identity":
            dy = gradients.activation_backprop(activation, dy, y=y)
        needed = {} if kind == "pointwise" else {"strides": 1, "padding": "valid"}
        shared = needed | options
        dx = dw = db = None
        if wanted[0] and wanted[1]:
            found = _BACKPROP[kind](images, weights, dy, with_bias=wanted[2], **shared)
            return [*found, None] if len(found) == 2 else [*found]
        if wanted[0]:
            dx = _BACKPROP_INPUT[kind](images.shape, weights, dy, **shared)
        if wanted[1]:
            dw = _BACKPROP_FILTER[kind](images, np.shape(weights), dy, with_bias=wanted[2], **shared)
            dw, db = dw if wanted[2] else (dw, None)
        elif wanted[2]:
            db = gradients.bias_backprop(dy, options.get("data_format", "NHWC"))
        return [dx, dw, db]

    record(y, (source, filters, bias), backward)
    return y if fused else activate(y, activation)


def separable(
    x: Any, depthwise_filter: Any, pointwise_filter: Any, bias: Any = None, activation: Any = None,
    **options: Any,
) -> Array:  # fmt: skip
    """Depthwise, then pointwise: one operation where no tape records what lies between."""
    if recording() is None:
        options |= {"bias": value_of(bias), "activation": activation_of(activation)}
        return ops.separable_conv2d(
            value_of(x), value_of(depthwise_filter), value_of(pointwise_filter), **options
        )
    between = convolve("depthwise", x, depthwise_filter, **options)
    data_format = options.get("data_format", "NHWC")
    if str(data_format).lower() in ("nhwc", "channels_last"):
        return convolve("pointwise", between, pointwise_filter, bias, activation)
    return convolve("conv", between, pointwise_filter, bias, activation, data_format=data_format)
