"""TensorFlow 1's layer `tf.layers.separable_conv2d`, computed at once: `dwconv.layers.separable_conv2d`."""

from __future__ import annotations

from typing import Any

from ..activation import Array
from .convolutional import SeparableConv2D
from .layer import Layer
from .variables import current_scope, default_store, get_variable, variable_scope


def separable_conv2d(
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
