"""Layers of Keras 3 that dwconv runs, in a `keras.Model` on the PyTorch or TensorFlow backend.

    layer = dwconv.keras.SeparableConv2D(64, 3, padding="same", activation="relu")
    layer = dwconv.keras.SeparableConv2D.from_layer(trained)    # the very weights of Keras's own layer

They are subclasses of Keras's layers: arguments, weights, files and results are theirs. They are made for
prediction; gradients work, too. What dwconv does not have Keras computes, and a `dwconv.PerformanceWarning`
says so once: "channels_first", other dtypes, devices and backends.
"""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from . import nn, ops
from .config import PerformanceWarning
from .geometry import Window
from .nn import convolution

# Activations of Keras that are dwconv's, which computes them with the convolution. The others are Keras's.
FUSED = {
    "linear": None,
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "silu": "silu",
    "hard_sigmoid": "hard_sigmoid",
    "hard_silu": "hard_swish",
}


class _OnDwconv:
    """What both layers do. The one is a depthwise convolution, the other has a pointwise one behind it."""

    supports_jit = False  # XLA cannot look into it
    computes_as_keras = True  # for `from_keras`, which takes no subclass for what it derives from

    def call(self: Any, inputs: Any) -> Any:
        reason = self._reason(inputs)
        if reason is not None:
            if reason:
                self._tell(reason)
            return super().call(inputs)  # type: ignore[misc]
        weights = [*self._kernels(), *([self.bias] if self.use_bias else [])]
        values = [keras.ops.convert_to_tensor(weight) for weight in weights]
        run = _torch if keras.backend.backend() == "torch" else _tensorflow
        y, activated = run(self, inputs, values)
        return y if activated or self.activation is None else self.activation(y)

    @classmethod
    def from_layer(cls, layer: Any) -> Any:
        """The same layer on dwconv: of its configuration, with its very weights, not copies of them.

        `layer`: Keras's own, built. Raises TypeError for another one, ValueError for one without weights.
        """
        origin: Any = cls.__mro__[2]
        if not isinstance(layer, origin):
            raise TypeError(f"{cls.__name__}: layer must be a keras.layers.{origin.__name__}, not {layer!r}")
        if not layer.built:
            raise ValueError(f"{cls.__name__}: layer {layer.name!r} has no weights yet: call or build it")
        config = {**layer.get_config(), "dtype": layer.dtype_policy}
        made: Any = cls.from_config(config)  # type: ignore[attr-defined]
        for name in cls._names:  # type: ignore[attr-defined]
            setattr(made, name, getattr(layer, name))
        made.input_spec = layer.input_spec
        made.built = True
        return made

    def _kernels(self) -> list[Any]:
        return [getattr(self, name) for name in self._names if name != "bias"]  # type: ignore[attr-defined]

    def _options(self: Any) -> dict[str, Any]:
        return {"strides": self.strides, "padding": self.padding, "dilations": self.dilation_rate}

    def _fused(self: Any) -> tuple[Any, bool]:
        """The activation that dwconv computes, and whether it does."""
        name = getattr(self.activation, "__name__", "linear")
        known = self.activation is None or self.activation is getattr(keras.activations, name, None)
        return (FUSED[name], True) if known and name in FUSED else (None, False)

    def _tell(self: Any, reason: str) -> None:
        told = self.__dict__.setdefault("_dwconv_told", set())
        if reason not in told:
            told.add(reason)
            message = f"dwconv.keras.{type(self).__name__} {self.name!r}: Keras computes this: {reason}"
            warnings.warn(message, PerformanceWarning, stacklevel=3)

    def _reason(self: Any, x: Any) -> str | None:
        """Why Keras has to do: "" where nothing is computed yet."""
        backend = keras.backend.backend()
        if backend not in ("torch", "tensorflow"):
            return f"the backend is {backend}; dwconv runs in those of PyTorch and TensorFlow"
        if self.data_format != "channels_last":
            return "data_format is 'channels_first'; dwconv takes 'channels_last'"
        if keras.backend.standardize_dtype(x.dtype) != "float32" or self.compute_dtype != "float32":
            return f"the dtype is {keras.backend.standardize_dtype(x.dtype)}; dwconv takes float32"
        if backend == "torch" and x.device.type != "cpu":
            return "" if x.device.type == "meta" else f"the input is on {x.device}; dwconv runs on CPUs"
        return None


@keras.saving.register_keras_serializable(package="dwconv")
class DepthwiseConv2D(_OnDwconv, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """`keras.layers.DepthwiseConv2D` on dwconv."""

    _names = ("kernel", "bias")


@keras.saving.register_keras_serializable(package="dwconv")
class SeparableConv2D(_OnDwconv, keras.layers.SeparableConv2D):  # type: ignore[misc]
    """`keras.layers.SeparableConv2D` on dwconv: depthwise and pointwise as one operation."""

    _names = ("depthwise_kernel", "pointwise_kernel", "bias")


# ---- arrays -----------------------------------------------------------------------------------


def _predicted(layer: Any, x: Any, weights: list[Any], activation: Any) -> Any:
    count = len(layer._kernels())
    bias = weights[count] if layer.use_bias else None
    function: Any = ops.separable_conv2d if count == 2 else ops.depthwise_conv2d
    return function(x, *weights[:count], bias=bias, activation=activation, **layer._options())


def _gradients(layer: Any, x: Any, weights: list[Any], dy: Any) -> list[Any]:
    """Of a linear layer, with respect to x and the weights."""
    count = len(layer._kernels())
    x = np.array(x)  # the tape knows arrays by identity
    variables = [nn.Variable(weight) for weight in weights]
    bias = variables[count] if layer.use_bias else None
    with nn.GradientTape() as tape:
        tape.watch(x)
        if count == 2:
            y = convolution.separable(x, variables[0], variables[1], bias, **layer._options())
        else:
            y = convolution.convolve("depthwise", x, variables[0], bias, **layer._options())
    found: list[Any] = tape.gradient(y, [x, *variables], np.asarray(dy))
    return found


# ---- backends ---------------------------------------------------------------------------------


def _torch(layer: Any, x: Any, weights: list[Any]) -> tuple[Any, bool]:
    import torch

    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *weights)):
        return _torch_trained(layer, x, weights), False
    activation, fused = layer._fused()
    arrays = [tensor.detach().numpy() for tensor in weights]
    return torch.from_numpy(_predicted(layer, x.detach().contiguous().numpy(), arrays, activation)), fused


def _torch_trained(layer: Any, x: Any, weights: list[Any]) -> Any:
    """By the function of `dwconv.torch`, whose images are channels_last tensors of the same memory."""
    from .torch.functions import Convolution, Geometry

    count = len(layer._kernels())
    bias = weights[count] if layer.use_bias else None
    kernel = weights[0]
    window = Window(tuple(layer.kernel_size), tuple(layer.strides), layer.padding, tuple(layer.dilation_rate))
    sides = []
    for axis in range(2):
        size = int(x.shape[1 + axis])
        out, before = window.extent(axis, size)
        needed = (out - 1) * window.strides[axis] + window.span(axis) - size - before
        sides.append((before, max(needed, 0)))
    geometry = Geometry(window.strides, (sides[0], sides[1]), window.dilations, int(kernel.shape[2]))
    height, width = kernel.shape[:2]
    depthwise = kernel.permute(2, 3, 0, 1).reshape(-1, 1, height, width)
    y = Convolution.apply(x.permute(0, 3, 1, 2), depthwise, None if count == 2 else bias, geometry, True)
    if count == 2:
        simple = Geometry((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
        y = Convolution.apply(y, weights[1].permute(3, 2, 0, 1), bias, simple, True)
    return y.permute(0, 2, 3, 1)


def _tensorflow(layer: Any, x: Any, weights: list[Any]) -> tuple[Any, bool]:
    import tensorflow as tf

    kinds = [tf.float32] * (1 + len(weights))
    shape = layer.compute_output_shape(tuple(x.shape))

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(x: Any, *weights: Any) -> Any:
        y = tf.numpy_function(lambda x, *w: _predicted(layer, x, list(w), None), [x, *weights], tf.float32)
        y.set_shape(shape)

        def backward(dy: Any) -> Any:
            def compute(x: Any, dy: Any, *w: Any) -> Any:
                return _gradients(layer, x, list(w), dy)

            found = tf.numpy_function(compute, [x, dy, *weights], kinds)
            for gradient, tensor in zip(found, [x, *weights], strict=True):
                gradient.set_shape(tensor.shape)
            return found

        return y, backward

    return run(x, *map(tf.convert_to_tensor, weights)), False
