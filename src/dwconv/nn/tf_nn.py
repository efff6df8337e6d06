"""Functions with the arguments of `tf.nn`, which compute at once, on arrays, and are differentiated by tapes.

`import dwconv.tensorflow as tf` runs programs that use them.
"""

from __future__ import annotations

from typing import Any

from .. import gradients
from ..activation import Array
from . import convolution
from .elements import tensor
from .tape import record
from .variables import value_of


def depthwise_conv2d(
    input: Any, filter: Any, strides: Any, padding: Any, data_format: str | None = None,
    dilations: Any = None, name: str | None = None, *, rate: Any = None,
) -> Array:  # fmt: skip
    """`dwconv.depthwise_conv2d` with the arguments of `tf.nn.depthwise_conv2d`. `rate`: what TensorFlow 1
    calls `dilations`. Dilations work with any strides, which TensorFlow refuses.

    >>> import numpy as np
    >>> x, kernel = np.ones((1, 4, 4, 2), np.float32), np.ones((2, 2, 2, 1), np.float32)
    >>> depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID").shape
    (1, 3, 3, 2)
    """
    return convolution.convolve("depthwise", input, filter, **_options(strides, padding, data_format,
                                                                       dilations, rate))  # fmt: skip


def conv2d(
    input: Any, filters: Any = None, strides: Any = 1, padding: Any = "VALID",
    data_format: str | None = "NHWC", dilations: Any = None, name: str | None = None, *, filter: Any = None,
) -> Array:  # fmt: skip
    """`dwconv.conv2d` with the arguments of `tf.nn.conv2d`; `filter`: TensorFlow 1's name of `filters`."""
    filters = _one_of("conv2d", "filters", filters, "filter", filter)
    return convolution.convolve("conv", input, filters, **_options(strides, padding, data_format, dilations))


def separable_conv2d(
    input: Any, depthwise_filter: Any, pointwise_filter: Any, strides: Any, padding: Any,
    data_format: str | None = None, dilations: Any = None, name: str | None = None, *, rate: Any = None,
) -> Array:  # fmt: skip
    """`dwconv.separable_conv2d` with the arguments of `tf.nn.separable_conv2d`; `rate` as above."""
    options = _options(strides, padding, data_format, dilations, rate)
    return convolution.separable(input, depthwise_filter, pointwise_filter, **options)


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Array:
    """value + bias, one number for each channel. Semantics: TensorFlow's `tf.nn.bias_add`."""
    key, source = tensor("bias_add", "value", value)
    first = data_format is not None and str(data_format).upper() in ("NCHW", "CHANNELS_FIRST")
    other, offset = tensor("bias_add", "bias", bias)
    channels = source.shape[1 if first else -1] if source.ndim > 1 else -1
    if offset.shape != (channels,):
        raise ValueError(f"bias_add: bias must have the shape ({channels},), not {offset.shape}")
    y = source + (offset.reshape(-1, *[1] * (source.ndim - 2)) if first else offset)
    axes = tuple(axis for axis in range(source.ndim) if axis != (1 if first else source.ndim - 1))
    return record(y, [key, other], lambda dy, _: [dy, dy.sum(axes)])


def depthwise_conv2d_backprop_input(
    input_sizes: Any, filter: Any, out_backprop: Any, strides: Any, padding: Any,
    data_format: str | None = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Array:  # fmt: skip
    """`dwconv.depthwise_conv2d_backprop_input` with the arguments of `tf.nn`'s."""
    return gradients.depthwise_conv2d_backprop_input(
        input_sizes, value_of(filter), out_backprop, strides, padding, *_layout(data_format, dilations)
    )


def depthwise_conv2d_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any, padding: Any,
    data_format: str | None = "NHWC", dilations: Any = (1, 1, 1, 1), name: str | None = None,
) -> Array:  # fmt: skip
    """`dwconv.depthwise_conv2d_backprop_filter` with the arguments of `tf.nn`'s."""
    found: Any = gradients.depthwise_conv2d_backprop_filter(
        input, filter_sizes, out_backprop, strides, padding, *_layout(data_format, dilations)
    )
    return found  # type: ignore[no-any-return]


def conv2d_backprop_input(
    input_sizes: Any, filter: Any = None, out_backprop: Any = None, strides: Any = 1, padding: Any = "VALID",
    use_cudnn_on_gpu: bool = True, data_format: str | None = "NHWC", dilations: Any = (1, 1, 1, 1),
    name: str | None = None, filters: Any = None,
) -> Array:  # fmt: skip
    """`dwconv.conv2d_backprop_input` with the arguments of `tf.compat.v1.nn`'s."""
    filter = _one_of("conv2d_backprop_input", "filter", filter, "filters", filters)
    return gradients.conv2d_backprop_input(
        input_sizes, value_of(filter), out_backprop, strides, padding, *_layout(data_format, dilations)
    )


def conv2d_backprop_filter(
    input: Any, filter_sizes: Any, out_backprop: Any, strides: Any = 1, padding: Any = "VALID",
    use_cudnn_on_gpu: bool = True, data_format: str | None = "NHWC", dilations: Any = (1, 1, 1, 1),
    name: str | None = None,
) -> Array:  # fmt: skip
    """`dwconv.conv2d_backprop_filter` with the arguments of `tf.compat.v1.nn`'s."""
    found: Any = gradients.conv2d_backprop_filter(
        input, filter_sizes, out_backprop, strides, padding, *_layout(data_format, dilations)
    )
    return found  # type: ignore[no-any-return]


def _options(
    strides: Any, padding: Any, data_format: Any, dilations: Any, rate: Any = None
) -> dict[str, Any]:
    if dilations is not None and rate is not None:
        raise ValueError("pass one of dilations and rate, which are the same")
    dilations = rate if dilations is None else dilations
    layout, dilations = _layout(data_format, dilations)
    return {"strides": strides, "padding": padding, "data_format": layout, "dilations": dilations}


def _layout(data_format: Any, dilations: Any) -> tuple[Any, Any]:
    return "NHWC" if data_format is None else data_format, 1 if dilations is None else dilations


def _one_of(name: str, first: str, value: Any, second: str, other: Any) -> Any:
    if (value is None) == (other is None):
        raise TypeError(f"{name}: pass one of {first} and {second}, which are the same")
    return other if value is None else value
