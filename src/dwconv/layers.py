"""Layers: filters packed once, called many times.

    layer = DepthwiseConv2D(filters, padding="same", bias=bias, activation="relu6")
    y = layer(x)                       # a new array
    layer(x, out=y, num_threads=2)     # no allocation

A layer never changes after it is made: any number of threads may call one at the same time. It copies its
filters and biases; their dtype is the dtype of the tensors it takes. The instruction set is the one in force
when it is made. Arguments mean what they mean in `dwconv.ops`, and raise the same errors. Layers can be
pickled, and pack their filters anew where they are loaded.

A subclass may have a constructor of its own, which calls that of the layer; what it keeps beside the layer's
arguments it sets with `object.__setattr__`, as in a frozen dataclass. That travels too.

`flush_denormals=True` makes weights below the smallest normal number zero: denormal weights, which training
can leave behind, slow most CPUs down 40 to 100 times.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import build
from .activation import ActivationLike, Array
from .arrays import TensorLike
from .block_layers import InvertedResidual as InvertedResidual
from .block_layers import SeparableConv2D as SeparableConv2D
from .build import Sliding
from .geometry import Padding, PaddingLike, Pair, StepsLike
from .interface import layer
from .layer_base import _Layer, sliding_of
from .quantized import (
    ClampLike,
    IntegerDType,
    OutputDType,
    Quantization,
    QuantizationLike,
    Rounding,
)
from .quantized_layers import (
    Quantizing,
    StageArguments,
    activation_of,
    stage_attributes,
)

if TYPE_CHECKING:
    from .nn.tf_layers import separable_conv2d  # noqa: F401


@layer
class DepthwiseConv2D(_Layer):
    """Filters every channel on its own: `dwconv.depthwise_conv2d` with its filters packed once.

    `filters`: [kernel_h, kernel_w, channels, multiplier]. Output channel c * multiplier + q is input channel
    c filtered by filters[:, :, c, q]. Semantics: TensorFlow's `tf.nn.depthwise_conv2d`.

    >>> import numpy as np, dwconv
    >>> layer = dwconv.DepthwiseConv2D(np.ones((3, 3, 8, 1), np.float32), padding="same", activation="relu6")
    >>> layer(np.ones((1, 16, 16, 8), np.float32)).shape
    (1, 16, 16, 8)
    """

    __slots__ = (  # noqa: RUF023
        "filters", "strides", "padding", "dilations", "bias", "activation", "flush_denormals",
        "dtype", "filter_scale", "input_quantization", "output_quantization", "rounding",
        "activation_quantization", "output_dtype",
    )  # fmt: skip

    filters: Array
    padding: Padding
    dilations: Pair
    activation_quantization: Quantization | None

    def __init__(
        self,
        filters: TensorLike,
        *,
        strides: StepsLike = 1,
        padding: PaddingLike = "valid",
        dilations: StepsLike = 1,
        bias: TensorLike | None = None,
        activation: ActivationLike | ClampLike | Array = None,
        flush_denormals: bool = False,
        dtype: IntegerDType | None = None,
        filter_scale: TensorLike | None = None,
        input_quantization: QuantizationLike | None = None,
        output_quantization: QuantizationLike | None = None,
        rounding: Rounding = "even",
        activation_quantization: QuantizationLike | None = None,
        output_dtype: OutputDType | None = None,
    ) -> None:
        q = Quantizing("DepthwiseConv2D", dtype, rounding, input_quantization, output_dtype)
        operation = build.depthwise(
            q.name, filters, Sliding(strides, padding, dilations), bias,
            q.plain("activation", activation), flush_denormals, q.filter_dtype,
        )  # fmt: skip
        given = StageArguments("", filter_scale, output_quantization, activation_quantization, activation)
        operation = q.attach(operation, given).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, bias=stage.bias, activation=activation_of(stage),
            **sliding_of(stage), **stage_attributes(stage), **q.attributes(operation),
        )  # fmt: skip


@layer
class Conv2D(_Layer):
    """Dense convolution: `dwconv.conv2d` with its filters packed once.

    `filters`: [kernel_h, kernel_w, channels / groups, outputs]. Semantics: TensorFlow's `tf.nn.conv2d`;
    groups as in `torch.nn.Conv2d`.

    >>> import numpy as np, dwconv
    >>> layer = dwconv.Conv2D(np.ones((3, 3, 3, 16), np.float32), strides=2, padding="same")
    >>> layer.output_shape((1, 224, 224, 3))
    (1, 112, 112, 16)
    """

    __slots__ = (  # noqa: RUF023
        "filters", "strides", "padding", "dilations", "bias", "activation", "groups", "flush_denormals",
        "dtype", "filter_scale", "input_quantization", "output_quantization", "rounding",
        "activation_quantization", "output_dtype",
    )  # fmt: skip

    filters: Array
    padding: Padding
    dilations: Pair
    activation_quantization: Quantization | None
    groups: int

    def __init__(
        self,
        filters: TensorLike,
        *,
        strides: StepsLike = 1,
        padding: PaddingLike = "valid",
        dilations: StepsLike = 1,
        bias: TensorLike | None = None,
        activation: ActivationLike | ClampLike | Array = None,
        groups: int = 1,
        flush_denormals: bool = False,
        dtype: IntegerDType | None = None,
        filter_scale: TensorLike | None = None,
        input_quantization: QuantizationLike | None = None,
        output_quantization: QuantizationLike | None = None,
        rounding: Rounding = "even",
        activation_quantization: QuantizationLike | None = None,
        output_dtype: OutputDType | None = None,
    ) -> None:
        q = Quantizing("Conv2D", dtype, rounding, input_quantization, output_dtype)
        operation = build.conv(
            q.name, filters, Sliding(strides, padding, dilations), bias,
            q.plain("activation", activation), groups, flush_denormals, q.filter_dtype,
        )  # fmt: skip
        given = StageArguments("", filter_scale, output_quantization, activation_quantization, activation)
        operation = q.attach(operation, given).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, bias=stage.bias, activation=activation_of(stage),
            groups=stage.groups, **sliding_of(stage), **stage_attributes(stage), **q.attributes(operation),
        )  # fmt: skip


@layer
class PointwiseConv2D(_Layer):
    """A weighted sum over channels at every pixel: `dwconv.pointwise_conv2d` with its filters packed once.

    `filters`: [channels, outputs] or [1, 1, channels, outputs]. Semantics: TensorFlow's `tf.nn.conv2d` with a
    1x1 kernel.

    >>> import numpy as np, dwconv
    >>> layer = dwconv.PointwiseConv2D(np.ones((8, 32), np.float32), activation="hard_swish")
    >>> layer(np.ones((1, 7, 7, 8), np.float32)).shape
    (1, 7, 7, 32)
    """

    __slots__ = (  # noqa: RUF023
        "filters", "strides", "bias", "activation", "flush_denormals",
        "dtype", "filter_scale", "input_quantization", "output_quantization", "rounding",
        "activation_quantization", "output_dtype",
    )  # fmt: skip

    filters: Array
    activation_quantization: Quantization | None

    def __init__(
        self,
        filters: TensorLike,
        *,
        strides: StepsLike = 1,
        bias: TensorLike | None = None,
        activation: ActivationLike | ClampLike | Array = None,
        flush_denormals: bool = False,
        dtype: IntegerDType | None = None,
        filter_scale: TensorLike | None = None,
        input_quantization: QuantizationLike | None = None,
        output_quantization: QuantizationLike | None = None,
        rounding: Rounding = "even",
        activation_quantization: QuantizationLike | None = None,
        output_dtype: OutputDType | None = None,
    ) -> None:
        q = Quantizing("PointwiseConv2D", dtype, rounding, input_quantization, output_dtype)
        operation = build.pointwise(
            q.name, filters, strides, bias, q.plain("activation", activation), flush_denormals,
            q.filter_dtype,
        )  # fmt: skip
        given = StageArguments("", filter_scale, output_quantization, activation_quantization, activation)
        operation = q.attach(operation, given).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, strides=stage.window.strides, bias=stage.bias,
            activation=activation_of(stage), **stage_attributes(stage), **q.attributes(operation),
        )  # fmt: skip


def __getattr__(name: str) -> Any:
    """`separable_conv2d`, TensorFlow 1's layer, comes with `dwconv.nn`, which takes its time to import."""
    if name == "separable_conv2d":
        return import_module(".nn.tf_layers", __package__).separable_conv2d
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
