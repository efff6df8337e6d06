"""Functions with the arguments of `tf.nn` and `tf.layers`: `import dwconv as tf` runs programs that use them.

They compute at once, on arrays; under `dwconv.nn.GradientTape` they can be differentiated.
"""

from __future__ import annotations

from typing import Any

from .. import gradients
from ..activation import Array
from . import convolution
from .convolutional import SeparableConv2D
from .elements import tensor
from .layer import Layer
from .tape import record
from .variables import current_scope, default_store, get_variable, value_of, variable_scope


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
    return gradients.depthwise_conv2d_backprop_filter(
        input, filter_sizes, out_backprop, strides, padding, *_layout(data_format, dilations)
    )


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
    return gradients.conv2d_backprop_filter(
        input, filter_sizes, out_backprop, strides, padding, *_layout(data_format, dilations)
    )


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


# ---- tf.layers --------------------------------------------------------------------------------


def separable_conv2d_layer(
    inputs: Any, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: Any = "valid",
    data_format: str | None = "channels_last", dilation_rate: Any = (1, 1), depth_multiplier: int = 1,
    activation: Any = None, use_bias: bool = True, depthwise_initializer: Any = None,
    pointwise_initializer: Any = None, bias_initializer: Any = "zeros", depthwise_regularizer: Any = None,
    pointwise_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
    depthwise_constraint: Any = None, pointwise_constraint: Any = None, bias_constraint: Any = None,
    trainable: bool = True, name: str | None = None, reuse: bool | None = None,
) -> Array:  # fmt: skip
    """Depthwise, then pointwise convolution with variables of its own: TensorFlow 1's
    `tf.layers.separable_conv2d`, argument for argument, computed at once.

    inputs: images [batch, height, width, channels] of float32, float64 or float16, which the variables have.
    filters: how many channels the result has.
    kernel_size, strides, dilation_rate: an int, or (height, width). Strides may differ, and dilations work
        with any strides: both are errors in TensorFlow.
    padding: "valid" or "same", in any case, and the explicit forms of `dwconv.ops`.
    data_format: "channels_last", or "channels_first", which is transposed in and out.
    depth_multiplier: how many filters every channel has.
    activation: the forms of `dwconv.ops`, or a function of `dwconv.nn`, as `nn.relu`; None: linear.
    use_bias: whether the result has a bias.
    depthwise_initializer, pointwise_initializer, bias_initializer: names, callables of (shape, dtype=), or
        numbers: `dwconv.nn.initializers`. None: "glorot_uniform".
    depthwise_regularizer, pointwise_regularizer, bias_regularizer: None, "l1", "l2", "l1_l2", or
        `dwconv.nn.regularizers.l2(0.01)`. `dwconv.nn.get_regularization_losses()` collects what they say.
    activity_regularizer: the same for the result, divided by the size of the batch.
    depthwise_constraint, pointwise_constraint, bias_constraint: None, "max_norm", "non_neg", "unit_norm", or
        `dwconv.nn.constraints.max_norm(2)`: applied by optimizers after every update.
    trainable: whether the variables are among `dwconv.nn.trainable_variables()`.
    name: that of the layer; its variables are NAME/depthwise_kernel [height, width, channels, multiplier],
        NAME/pointwise_kernel [1, 1, channels * multiplier, filters] and NAME/bias. None: "separable_conv2d",
        then "separable_conv2d_1", counted anew in every visit of a `dwconv.nn.variable_scope`.
    reuse: True finds the variables of an earlier call of this name; `dwconv.nn.AUTO_REUSE` makes them if
        there are none; None does as the scope does.

    Raises ValueError for a name that exists and is not to be reused, for `reuse=True` without such variables,
    for shapes that do not fit; TypeError for wrong types.

    >>> import numpy as np, dwconv
    >>> x = np.ones((2, 8, 8, 3), np.float32)
    >>> with dwconv.nn.VariableStore().as_default() as store:
    ...     y = dwconv.layers.separable_conv2d(x, 16, 3, padding="same", activation="relu", name="block")
    >>> y.shape, sorted(store.variables)
    ((2, 8, 8, 16), ['block/bias', 'block/depthwise_kernel', 'block/pointwise_kernel'])
    """
    if reuse and name is None:
        name = "separable_conv2d"  # as TensorFlow does
    with variable_scope(name, "separable_conv2d", reuse=reuse) as scope:
        layer = SeparableConv2D(
            filters, kernel_size, strides, padding, data_format, dilation_rate, depth_multiplier, activation,
            use_bias, depthwise_initializer, pointwise_initializer, bias_initializer, depthwise_regularizer,
            pointwise_regularizer, bias_regularizer, activity_regularizer, depthwise_constraint,
            pointwise_constraint, bias_constraint, trainable, scope,
        )  # fmt: skip
        layer._get_variable = get_variable
        y = layer(inputs)
        store: Any = default_store()
        kept: dict[str, Layer] = store.layers
        kept[current_scope().name] = layer
    return y
