"""Trainable layers that are no convolutions, and those without variables. Semantics: `keras.layers`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import geometry
from ..activation import Array, parse
from ..graph import Builder
from . import elements, initializers, pooling
from .convolution import convolve
from .layer import Layer


class Dense(Layer):
    """x @ kernel + bias over the last axis. Semantics: `keras.layers.Dense`.

    >>> import numpy as np
    >>> from dwconv import nn
    >>> nn.Dense(10)(np.ones((2, 96), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self, units: int, activation: Any = None, use_bias: bool = True, kernel_initializer: Any = None,
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, bias_regularizer: Any = None,
        activity_regularizer: Any = None, kernel_constraint: Any = None, bias_constraint: Any = None,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable, activity_regularizer)
        self.units = geometry.integer("Dense: units", units)
        self.activation = elements.activation_of(activation)
        parse("Dense", "activation", self.activation)
        self.use_bias = bool(use_bias)
        self._kernel = kernel_initializer, kernel_regularizer, kernel_constraint
        self._bias = bias_initializer, bias_regularizer, bias_constraint

    def build(self, shape: Sequence[int], dtype: Any) -> None:
        if len(shape) < 2:
            raise ValueError(f"Dense: inputs must have two axes or more, not {tuple(shape)}")
        self._add("kernel", (shape[-1], self.units), dtype, *self._kernel)
        if self.use_bias:
            self._add("bias", (self.units,), dtype, *self._bias)

    def call(self, x: Any, training: bool) -> Array:
        v = self._variables
        rows = elements.reshape(x, (math.prod(x.shape[:-1]), 1, 1, x.shape[-1]))
        y = convolve("pointwise", rows, v["kernel"], v.get("bias"), self.activation)
        return elements.reshape(y, (*x.shape[:-1], self.units))

    def emit(self, b: Builder, x: str) -> str:
        y = b.node("matmul", x, self._variables["kernel"].value, name=self.name)
        if self.use_bias:
            y = b.node("binary", y, self._variables["bias"].value, kind="add")
        return _emit_activation(b, y, self.activation)


class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta over the last axis.

    While training, mean and variance are those of the batch, and `moving_mean` and `moving_variance` follow
    them by the share 1 - momentum; else they are these two. Semantics: `keras.layers.BatchNormalization`.
    """

    def __init__(
        self, momentum: float = 0.99, epsilon: float = 1e-3, center: bool = True, scale: bool = True,
        beta_initializer: Any = "zeros", gamma_initializer: Any = "ones", beta_regularizer: Any = None,
        gamma_regularizer: Any = None, beta_constraint: Any = None, gamma_constraint: Any = None,
        trainable: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name, trainable)
        if not 0 <= momentum <= 1 or epsilon <= 0:
            raise ValueError("BatchNorm: momentum must be from 0 to 1 and epsilon positive")
        self.momentum, self.epsilon = float(momentum), float(epsilon)
        self.center, self.scale = bool(center), bool(scale)
        self._gamma = gamma_initializer, gamma_regularizer, gamma_constraint
        self._beta = beta_initializer, beta_regularizer, beta_constraint

    def build(self, shape: Sequence[int], dtype: Any) -> None:
        channels = shape[-1:]
        if self.scale:
            self._add("gamma", channels, dtype, *self._gamma)
        if self.center:
            self._add("beta", channels, dtype, *self._beta)
        self._add("moving_mean", channels, dtype, "zeros", trainable=False)
        self._add("moving_variance", channels, dtype, "ones", trainable=False)

    def call(self, x: Any, training: bool, activation: Any = None) -> Array:
        """`activation`: computed with it, one of `dwconv.normalization.CLAMPS`."""
        v = self._variables
        moving = v["moving_mean"], v["moving_variance"]
        learns = training and self.trainable
        known = None if learns else (moving[0].value, moving[1].value)
        y, *moments = elements.normalize(x, v.get("gamma"), v.get("beta"), self.epsilon, known, activation)
        if learns:
            for variable, value in zip(moving, moments, strict=True):
                variable.assign(self.momentum * variable.value + (1 - self.momentum) * value)
        return y

    def emit(self, b: Builder, x: str) -> str:
        v = {name: variable.value for name, variable in self._variables.items()}
        dtype = v["moving_mean"].dtype
        factor = v.get("gamma", 1) / np.sqrt(v["moving_variance"] + self.epsilon)
        offset = v.get("beta", 0) - v["moving_mean"] * factor
        y = b.node("binary", x, factor.astype(dtype), kind="mul", name=self.name)
        return b.node("binary", y, offset.astype(dtype), kind="add")


class Activation(Layer):
    """The forms of `dwconv.ops`, as "relu6", or a function of `dwconv.nn`."""

    def __init__(self, activation: Any, name: str | None = None) -> None:
        super().__init__(name)
        self.activation = elements.activation_of(activation)
        parse("Activation", "activation", self.activation)

    def call(self, x: Any, training: bool) -> Array:
        return elements.activate(x, self.activation)

    def emit(self, b: Builder, x: str) -> str:
        return _emit_activation(b, x, self.activation)


class ReLU(Activation):
    """`max_value` as 6: relu6."""

    def __init__(self, max_value: float | None = None, name: str | None = None) -> None:
        super().__init__("relu" if max_value is None else ("clip", 0.0, max_value), name)


class Dropout(Layer):
    """While training, sets the share `rate` of elements to 0 and scales the others up."""

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None) -> None:
        super().__init__(name)
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate must be in [0, 1), not {rate!r}")
        self.rate = float(rate)
        self._generator = None if seed is None else initializers.generator(seed)

    def call(self, x: Any, training: bool) -> Array:
        if not training or not self.rate:
            return elements.tensor("Dropout", "inputs", x)[1]
        return elements.dropped(x, self.rate, self._generator or initializers.generator())

    def emit(self, b: Builder, x: str) -> str:
        return x


class _Pool(Layer):
    op = ""

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: Any = "valid", name: str | None = None
    ) -> None:
        super().__init__(name)
        label = type(self).__name__
        self.pool_size = geometry.steps(label, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else geometry.steps(label, "strides", strides)
        self.padding = geometry.padding(label, padding)

    def emit(self, b: Builder, x: str) -> str:
        return b.node(
            self.op, x, kernel=self.pool_size, strides=self.strides, padding=self.padding, name=self.name
        )


class MaxPool2D(_Pool):
    """`strides` None: `pool_size`."""

    op = "max_pool"

    def call(self, x: Any, training: bool) -> Array:
        return pooling.max_pool2d(x, self.pool_size, self.strides, self.padding)


class AveragePool2D(_Pool):
    """`strides` None: `pool_size`. Padding is left out of the mean."""

    op = "average_pool"

    def call(self, x: Any, training: bool) -> Array:
        return pooling.avg_pool2d(x, self.pool_size, self.strides, self.padding)


class GlobalAveragePool2D(Layer):
    """[batch, height, width, channels] -> [batch, channels]."""

    def call(self, x: Any, training: bool) -> Array:
        return np.asarray(elements.reduce_mean(x, (1, 2)))

    def emit(self, b: Builder, x: str) -> str:
        return b.node("reduce", x, kind="mean", axes=(1, 2), keepdims=False, name=self.name)


class Flatten(Layer):
    """[batch, ...] -> [batch, the product of the others]."""

    def call(self, x: Any, training: bool) -> Array:
        return elements.reshape(x, (x.shape[0], math.prod(x.shape[1:])))

    def emit(self, b: Builder, x: str) -> str:
        return b.node("reshape", x, shape=(0, math.prod(b.shape(x)[1:])), name=self.name)


class Softmax(Layer):
    """Over the last axis; training takes logits, so it goes behind a trained model."""

    def call(self, x: Any, training: bool) -> Array:
        return elements.softmax(x)

    def emit(self, b: Builder, x: str) -> str:
        return b.node("softmax", x, name=self.name)


def _emit_activation(b: Builder, x: str, activation: Any) -> str:
    parsed = parse("activation", "activation", activation)
    if parsed.kind == "identity":
        return x
    return b.node("unary", x, kind=parsed.kind, a=parsed.a, b=parsed.b)
