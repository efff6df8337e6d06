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

from collections.abc import Sequence

from . import build
from .activation import ActivationLike, Array, parse
from .arrays import TensorLike
from .build import Sliding
from .geometry import Padding, PaddingLike, Pair, StepsLike
from .interface import layer
from .layer_base import _Layer, sliding_of
from .quantized import ClampLike, IntegerDType, OutputDType, Quantization, QuantizationLike, Rounding
from .quantized_layers import Quantizing, StageArguments, activation_of, stage_attributes


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


@layer
class SeparableConv2D(_Layer):
    """Depthwise, then pointwise: `dwconv.separable_conv2d`, filters packed once, run as one operation.

    `depthwise_filter`: [kernel_h, kernel_w, channels, multiplier]; `pointwise_filter`:
    [1, 1, channels * multiplier, outputs] or [channels * multiplier, outputs]. Strides, padding and dilations
    belong to the first, `bias` and `activation` to the second. Semantics: TensorFlow's
    `tf.nn.separable_conv2d`.

    >>> import numpy as np, dwconv
    >>> depthwise, pointwise = np.ones((3, 3, 8, 1), np.float32), np.ones((8, 32), np.float32)
    >>> layer = dwconv.SeparableConv2D(depthwise, pointwise, strides=2, padding="same", activation="relu6")
    >>> layer(np.ones((1, 16, 16, 8), np.float32)).shape
    (1, 8, 8, 32)
    """

    __slots__ = (  # noqa: RUF023
        "depthwise_filter", "pointwise_filter", "strides", "padding", "dilations", "depthwise_bias",
        "depthwise_activation", "bias", "activation", "flush_denormals",
        "dtype", "depthwise_filter_scale", "filter_scale", "input_quantization",
        "depthwise_output_quantization", "output_quantization", "rounding",
        "depthwise_activation_quantization", "activation_quantization", "output_dtype",
    )  # fmt: skip

    depthwise_filter: Array
    pointwise_filter: Array
    padding: Padding
    dilations: Pair
    depthwise_bias: Array | None
    depthwise_activation: ActivationLike | ClampLike | Array
    depthwise_filter_scale: Array | None
    depthwise_output_quantization: Quantization | None
    depthwise_activation_quantization: Quantization | None
    activation_quantization: Quantization | None

    def __init__(
        self,
        depthwise_filter: TensorLike,
        pointwise_filter: TensorLike,
        *,
        strides: StepsLike = 1,
        padding: PaddingLike = "valid",
        dilations: StepsLike = 1,
        depthwise_bias: TensorLike | None = None,
        depthwise_activation: ActivationLike | ClampLike | Array = None,
        bias: TensorLike | None = None,
        activation: ActivationLike | ClampLike | Array = None,
        flush_denormals: bool = False,
        dtype: IntegerDType | None = None,
        depthwise_filter_scale: TensorLike | None = None,
        filter_scale: TensorLike | None = None,
        input_quantization: QuantizationLike | None = None,
        depthwise_output_quantization: QuantizationLike | None = None,
        output_quantization: QuantizationLike | None = None,
        rounding: Rounding = "even",
        depthwise_activation_quantization: QuantizationLike | None = None,
        activation_quantization: QuantizationLike | None = None,
        output_dtype: OutputDType | None = None,
    ) -> None:
        q = Quantizing("SeparableConv2D", dtype, rounding, input_quantization, output_dtype)
        operation = build.separable(
            q.name, depthwise_filter, pointwise_filter, Sliding(strides, padding, dilations), depthwise_bias,
            q.plain("depthwise_activation", depthwise_activation), bias, q.plain("activation", activation),
            flush_denormals, q.filter_dtype,
        )  # fmt: skip
        operation = q.attach(
            operation,
            StageArguments(
                "depthwise_", depthwise_filter_scale, depthwise_output_quantization,
                depthwise_activation_quantization, depthwise_activation,
            ),
            StageArguments("", filter_scale, output_quantization, activation_quantization, activation),
        ).frozen()  # fmt: skip
        depthwise, pointwise = operation.stages
        self._bind(
            operation, depthwise_filter=depthwise.filters, pointwise_filter=pointwise.filters,
            depthwise_bias=depthwise.bias, depthwise_activation=activation_of(depthwise),
            bias=pointwise.bias, activation=activation_of(pointwise), **sliding_of(depthwise),
            **stage_attributes(depthwise, "depthwise_"), **stage_attributes(pointwise),
            **q.attributes(operation),
        )  # fmt: skip


@layer
class InvertedResidual(_Layer):
    """MobileNetV2's block: `dwconv.inverted_residual`, filters packed once, run as one operation.

    `expand_filter`: [channels, expanded] or [1, 1, channels, expanded], or None for a block without
    expansion; `depthwise_filter`: [kernel_h, kernel_w, expanded, multiplier]; `project_filter`: [expanded *
    multiplier, outputs] or [1, 1, expanded * multiplier, outputs]. `activation` follows expansion and
    depthwise; the projection is linear. Sources: Sandler et al., MobileNetV2 (CVPR 2018); squeeze-and-excite
    as in Howard et al., MobileNetV3 (ICCV 2019), and Tan and Le, EfficientNet (ICML 2019).

    >>> import numpy as np, dwconv
    >>> expand, depthwise = np.ones((4, 24), np.float32), np.ones((3, 3, 24, 1), np.float32)
    >>> layer = dwconv.InvertedResidual(expand, depthwise, np.ones((24, 4), np.float32))
    >>> layer(np.ones((1, 8, 8, 4), np.float32)).shape
    (1, 8, 8, 4)
    """

    __slots__ = (  # noqa: RUF023
        "expand_filter", "depthwise_filter", "project_filter", "strides", "padding", "dilations",
        "expand_bias", "depthwise_bias", "bias", "activation", "residual", "squeeze_excite",
        "squeeze_activation", "gate_activation", "flush_denormals", "dtype", "expand_filter_scale",
        "depthwise_filter_scale", "filter_scale", "input_quantization", "expand_output_quantization",
        "depthwise_output_quantization", "output_quantization", "sum_quantization", "rounding",
        "expand_activation_quantization", "depthwise_activation_quantization", "output_dtype",
    )  # fmt: skip

    expand_filter: Array | None
    depthwise_filter: Array
    project_filter: Array
    padding: Padding
    dilations: Pair
    expand_bias: Array | None
    depthwise_bias: Array | None
    residual: bool | None
    squeeze_excite: tuple[Array | None, ...] | None
    squeeze_activation: ActivationLike
    gate_activation: ActivationLike
    expand_filter_scale: Array | None
    depthwise_filter_scale: Array | None
    expand_output_quantization: Quantization | None
    depthwise_output_quantization: Quantization | None
    sum_quantization: Quantization | None
    expand_activation_quantization: Quantization | None
    depthwise_activation_quantization: Quantization | None

    def __init__(
        self,
        expand_filter: TensorLike | None,
        depthwise_filter: TensorLike,
        project_filter: TensorLike,
        *,
        strides: StepsLike = 1,
        padding: PaddingLike = "same",
        dilations: StepsLike = 1,
        expand_bias: TensorLike | None = None,
        depthwise_bias: TensorLike | None = None,
        bias: TensorLike | None = None,
        activation: ActivationLike | ClampLike | Array = "relu6",
        residual: bool | None = None,
        squeeze_excite: Sequence[TensorLike | None] | None = None,
        squeeze_activation: ActivationLike = "relu",
        gate_activation: ActivationLike = "hard_sigmoid",
        flush_denormals: bool = False,
        dtype: IntegerDType | None = None,
        expand_filter_scale: TensorLike | None = None,
        depthwise_filter_scale: TensorLike | None = None,
        filter_scale: TensorLike | None = None,
        input_quantization: QuantizationLike | None = None,
        expand_output_quantization: QuantizationLike | None = None,
        depthwise_output_quantization: QuantizationLike | None = None,
        output_quantization: QuantizationLike | None = None,
        sum_quantization: QuantizationLike | None = None,
        rounding: Rounding = "even",
        expand_activation_quantization: QuantizationLike | None = None,
        depthwise_activation_quantization: QuantizationLike | None = None,
        output_dtype: OutputDType | None = None,
    ) -> None:
        name = "InvertedResidual"
        q = Quantizing(name, dtype, rounding, input_quantization, output_dtype, sum_quantization)
        operation = build.inverted_residual(
            name, expand_filter, depthwise_filter, project_filter, Sliding(strides, padding, dilations),
            expand_bias, depthwise_bias, bias, q.plain("activation", activation), residual,
            squeeze_excite, squeeze_activation, gate_activation, flush_denormals, q.filter_dtype,
        )  # fmt: skip
        arguments = [
            StageArguments(
                "expand_", expand_filter_scale, expand_output_quantization, expand_activation_quantization,
                activation,
            ),
            StageArguments(
                "depthwise_", depthwise_filter_scale, depthwise_output_quantization,
                depthwise_activation_quantization, activation,
            ),
            StageArguments("", filter_scale, output_quantization),
        ]  # fmt: skip
        if expand_filter is None and q.dtype is not None:
            q.refuse(arguments[:1], "an expand_filter")
            arguments = arguments[1:]
        operation = q.attach(operation, *arguments).frozen()
        *expand, depthwise, project = operation.stages
        first = expand[0] if expand else None
        gate = tuple(array for stage in operation.squeeze_excite for array in (stage.filters, stage.bias))
        last = stage_attributes(project)
        del last["activation_quantization"]
        self._bind(
            operation, expand_filter=first.filters if first else None,
            depthwise_filter=depthwise.filters, project_filter=project.filters,
            expand_bias=first.bias if first else None, depthwise_bias=depthwise.bias, bias=project.bias,
            activation=activation_of(depthwise), residual=operation.residual, squeeze_excite=gate or None,
            squeeze_activation=parse(name, "squeeze_activation", squeeze_activation).normal,
            gate_activation=parse(name, "gate_activation", gate_activation).normal, **sliding_of(depthwise),
            **stage_attributes(first, "expand_"), **stage_attributes(depthwise, "depthwise_"), **last,
            **q.attributes(operation), sum_quantization=operation.quantization and operation.quantization.sum,
        )  # fmt: skip
