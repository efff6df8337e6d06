"""Trainable convolutions. Arguments, names of variables and defaults are those of TensorFlow 1's and Keras's
layers; beyond them, `padding` takes all forms of `dwconv.ops`, strides may differ between the axes, and
dilations work with any strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import geometry, layers
from ..activation import Array, parse
from ..graph import Builder
from .convolution import convolve, separable
from .elements import activation_of
from .layer import Layer, feed_channels


class _Convolution(Layer):
    """`kernel_size`, `strides`, `dilation_rate`: an int or (height, width). `padding`: "valid", "same" (any
    case) or explicit. `data_format`: "channels_last", or "channels_first", which is transposed. `activation`:
    the forms of `dwconv.ops`, or a function of `dwconv.nn` as `nn.relu`.
    """

    def __init__(
        self, kernel_size: Any, strides: Any, padding: Any, data_format: str | None, dilation_rate: Any,
        activation: Any, use_bias: bool, bias_initializer: Any, bias_regularizer: Any, bias_constraint: Any,
        **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(**more)
        self._label = type(self).__name__
        self.channels_first = geometry.data_format(self._label, data_format or "channels_last")
        self.kernel_size = geometry.steps(self._label, "kernel_size", kernel_size)
        self.strides = geometry.steps(self._label, "strides", strides)
        self.padding = geometry.padding(self._label, padding)
        self.dilation_rate = geometry.steps(self._label, "dilation_rate", dilation_rate)
        self.activation = activation_of(activation)
        parse(self._label, "activation", self.activation)
        self.use_bias = bool(use_bias)
        self._bias = bias_initializer, bias_regularizer, bias_constraint

    def _add_bias(self, outputs: int, dtype: Any) -> None:
        if self.use_bias:
            self._add("bias", (outputs,), dtype, *self._bias)

    def _sliding(self) -> dict[str, Any]:
        return {"strides": self.strides, "padding": self.padding, "dilations": self.dilation_rate}

    def _format(self) -> str:
        return "NCHW" if self.channels_first else "NHWC"

    def _arrays(self) -> dict[str, Array]:
        if not self.built:
            raise ValueError(f"{self._label} {self.name!r} has no variables before its first call")
        return {name: variable.value for name, variable in self._variables.items()}

    def _emit_depthwise(self, b: Builder, x: str, kernel: Array, bias: Array | None, **more: Any) -> str:
        height, width, channels, multiplier = kernel.shape
        filters = kernel.reshape(height, width, 1, channels * multiplier)
        return b.node("conv", x, filters, bias, groups=channels, **self._sliding(), **more)

    def _images_only(self) -> None:
        if self.channels_first:
            raise NotImplementedError(f"{self._label}: a dwconv.Network is made of channels_last layers")


class Conv2D(_Convolution):
    """Dense convolution. Semantics: `keras.layers.Conv2D`; its variables are `kernel` and `bias`.

    >>> import numpy as np
    >>> from dwconv import nn
    >>> nn.Conv2D(16, 3, strides=2, padding="same")(np.ones((1, 8, 8, 3), np.float32)).shape
    (1, 4, 4, 16)
    """

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: Any = "valid",
        data_format: str | None = None, dilation_rate: Any = (1, 1), groups: int = 1, activation: Any = None,
        use_bias: bool = True, kernel_initializer: Any = None, bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        kernel_constraint: Any = None, bias_constraint: Any = None, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, name=name, trainable=trainable,
            activity_regularizer=activity_regularizer,
        )  # fmt: skip
        self.filters = geometry.integer("Conv2D: filters", filters)
        self.groups = geometry.integer("Conv2D: groups", groups)
        self._kernel = kernel_initializer, kernel_regularizer, kernel_constraint

    def build(self, shape: Sequence[int], dtype: Any) -> None:
        channels = feed_channels("Conv2D", shape, self.channels_first)
        if channels % self.groups:
            raise ValueError(f"Conv2D: groups={self.groups} must divide {channels} channels of inputs")
        kernel = (*self.kernel_size, channels // self.groups, self.filters)
        self._add("kernel", kernel, dtype, *self._kernel)
        self._add_bias(self.filters, dtype)

    def call(self, x: Any, training: bool) -> Array:
        v = self._variables
        return convolve(
            "conv", x, v["kernel"], v.get("bias"), self.activation, data_format=self._format(),
            groups=self.groups, **self._sliding(),
        )  # fmt: skip

    def emit(self, b: Builder, x: str) -> str:
        self._images_only()
        a = self._arrays()
        activation = parse(self._label, "activation", self.activation).normal
        return b.node(
            "conv", x, a["kernel"], a.get("bias"), groups=self.groups, activation=activation, name=self.name,
            **self._sliding(),
        )  # fmt: skip

    def to_layer(self) -> layers.Conv2D:
        """The same with its weights packed, for prediction; it takes NHWC."""
        a = self._arrays()
        return layers.Conv2D(
            a["kernel"], bias=a.get("bias"), activation=self.activation, groups=self.groups,
            **self._sliding(),
        )  # fmt: skip


class DepthwiseConv2D(_Convolution):
    """Filters every channel on its own. Semantics: `keras.layers.DepthwiseConv2D`; its variables are
    `depthwise_kernel` and `bias`.

    >>> import numpy as np
    >>> from dwconv import nn
    >>> nn.DepthwiseConv2D(3, depth_multiplier=2)(np.ones((1, 8, 8, 3), np.float32)).shape
    (1, 6, 6, 6)
    """

    def __init__(
        self, kernel_size: Any, strides: Any = (1, 1), padding: Any = "valid", depth_multiplier: int = 1,
        data_format: str | None = None, dilation_rate: Any = (1, 1), activation: Any = None,
        use_bias: bool = True, depthwise_initializer: Any = None, bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        depthwise_constraint: Any = None, bias_constraint: Any = None, trainable: bool = True,
        name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, name=name, trainable=trainable,
            activity_regularizer=activity_regularizer,
        )  # fmt: skip
        self.depth_multiplier = geometry.integer("DepthwiseConv2D: depth_multiplier", depth_multiplier)
        self._depthwise = depthwise_initializer, depthwise_regularizer, depthwise_constraint

    def build(self, shape: Sequence[int], dtype: Any) -> None:
        channels = feed_channels("DepthwiseConv2D", shape, self.channels_first)
        kernel = (*self.kernel_size, channels, self.depth_multiplier)
        self._add("depthwise_kernel", kernel, dtype, *self._depthwise)
        self._add_bias(channels * self.depth_multiplier, dtype)

    def call(self, x: Any, training: bool) -> Array:
        v = self._variables
        return convolve(
            "depthwise", x, v["depthwise_kernel"], v.get("bias"), self.activation,
            data_format=self._format(), **self._sliding(),
        )  # fmt: skip

    def emit(self, b: Builder, x: str) -> str:
        self._images_only()
        a = self._arrays()
        more = {"activation": parse(self._label, "activation", self.activation).normal, "name": self.name}
        return self._emit_depthwise(b, x, a["depthwise_kernel"], a.get("bias"), **more)

    def to_layer(self) -> layers.DepthwiseConv2D:
        """The same with its weights packed, for prediction; it takes NHWC."""
        a = self._arrays()
        return layers.DepthwiseConv2D(
            a["depthwise_kernel"], bias=a.get("bias"), activation=self.activation, **self._sliding()
        )


class SeparableConv2D(_Convolution):
    """Depthwise, then pointwise. Semantics: TensorFlow 1's `tf.layers.SeparableConv2D`; its variables are
    `depthwise_kernel`, `pointwise_kernel` and `bias`. `dwconv.layers.separable_conv2d` is the same as a
    function, and tells all arguments.

    >>> import numpy as np
    >>> from dwconv import nn
    >>> layer = nn.SeparableConv2D(16, 3, strides=2, padding="same", dilation_rate=2)
    >>> layer(np.ones((1, 8, 8, 3), np.float32)).shape
    (1, 4, 4, 16)
    """

    def __init__(
        self, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: Any = "valid",
        data_format: str | None = "channels_last", dilation_rate: Any = (1, 1), depth_multiplier: int = 1,
        activation: Any = None, use_bias: bool = True, depthwise_initializer: Any = None,
        pointwise_initializer: Any = None, bias_initializer: Any = "zeros", depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        depthwise_constraint: Any = None, pointwise_constraint: Any = None, bias_constraint: Any = None,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, name=name, trainable=trainable,
            activity_regularizer=activity_regularizer,
        )  # fmt: skip
        self.filters = geometry.integer("SeparableConv2D: filters", filters)
        self.depth_multiplier = geometry.integer("SeparableConv2D: depth_multiplier", depth_multiplier)
        self._depthwise = depthwise_initializer, depthwise_regularizer, depthwise_constraint
        self._pointwise = pointwise_initializer, pointwise_regularizer, pointwise_constraint

    def build(self, shape: Sequence[int], dtype: Any) -> None:
        channels = feed_channels("SeparableConv2D", shape, self.channels_first)
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        self._add("depthwise_kernel", depthwise, dtype, *self._depthwise)
        pointwise = (1, 1, channels * self.depth_multiplier, self.filters)
        self._add("pointwise_kernel", pointwise, dtype, *self._pointwise)
        self._add_bias(self.filters, dtype)

    def call(self, x: Any, training: bool) -> Array:
        v = self._variables
        return separable(
            x, v["depthwise_kernel"], v["pointwise_kernel"], v.get("bias"), self.activation,
            data_format=self._format(), **self._sliding(),
        )  # fmt: skip

    def emit(self, b: Builder, x: str) -> str:
        self._images_only()
        a = self._arrays()
        x = self._emit_depthwise(b, x, a["depthwise_kernel"], None, name=f"{self.name}/depthwise")
        activation = parse(self._label, "activation", self.activation).normal
        return b.node(
            "conv", x, a["pointwise_kernel"], a.get("bias"), activation=activation,
            name=f"{self.name}/pointwise",
        )  # fmt: skip

    def to_layer(self) -> layers.SeparableConv2D:
        """The same with its weights packed, for prediction; it takes NHWC."""
        a = self._arrays()
        return layers.SeparableConv2D(
            a["depthwise_kernel"], a["pointwise_kernel"], bias=a.get("bias"), activation=self.activation,
            **self._sliding(),
        )  # fmt: skip
