"""Layers of several stages that run as one operation: see `dwconv.layers`."""

from __future__ import annotations

from collections.abc import Sequence

from . import build
from .activation import ActivationLike, Array, parse
from .arrays import TensorLike
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
    SqueezeExciteQuantization,
)
from .quantized_layers import (
    GateArguments,
    Quantizing,
    StageArguments,
    activation_of,
    gate_attribute,
    stage_attributes,
)


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
        "squeeze_excite_quantization",
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
    squeeze_activation: ActivationLike | ClampLike | Array
    gate_activation: ActivationLike | ClampLike | Array
    expand_filter_scale: Array | None
    depthwise_filter_scale: Array | None
    expand_output_quantization: Quantization | None
    depthwise_output_quantization: Quantization | None
    sum_quantization: Quantization | None
    expand_activation_quantization: Quantization | None
    depthwise_activation_quantization: Quantization | None
    squeeze_excite_quantization: SqueezeExciteQuantization | None

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
        squeeze_activation: ActivationLike | ClampLike | Array = "relu",
        gate_activation: ActivationLike | ClampLike | Array = "hard_sigmoid",
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
        squeeze_excite_quantization: SqueezeExciteQuantization | None = None,
    ) -> None:
        name = "InvertedResidual"
        q = Quantizing(name, dtype, rounding, input_quantization, output_dtype, sum_quantization)
        operation = build.inverted_residual(
            name, expand_filter, depthwise_filter, project_filter, Sliding(strides, padding, dilations),
            expand_bias, depthwise_bias, bias, q.plain("activation", activation), residual,
            squeeze_excite, q.plain("squeeze_activation", squeeze_activation),
            q.plain("gate_activation", gate_activation), flush_denormals, q.filter_dtype,
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
        given = GateArguments(squeeze_excite_quantization, squeeze_activation, gate_activation)
        operation = q.attach(operation, *arguments, gate=given).frozen()
        *expand, depthwise, project = operation.stages
        first = expand[0] if expand else None
        gate = tuple(array for stage in operation.squeeze_excite for array in (stage.filters, stage.bias))
        between = [activation_of(stage) for stage in operation.squeeze_excite] or [
            parse(name, "squeeze_activation", q.plain("squeeze_activation", squeeze_activation)).normal,
            parse(name, "gate_activation", q.plain("gate_activation", gate_activation)).normal,
        ]
        last = stage_attributes(project)
        del last["activation_quantization"]
        self._bind(
            operation, expand_filter=first.filters if first else None,
            depthwise_filter=depthwise.filters, project_filter=project.filters,
            expand_bias=first.bias if first else None, depthwise_bias=depthwise.bias, bias=project.bias,
            activation=activation_of(depthwise), residual=operation.residual, squeeze_excite=gate or None,
            squeeze_activation=between[0], gate_activation=between[1], **sliding_of(depthwise),
            **stage_attributes(first, "expand_"), **stage_attributes(depthwise, "depthwise_"), **last,
            **q.attributes(operation), sum_quantization=operation.quantization and operation.quantization.sum,
            squeeze_excite_quantization=gate_attribute(operation),
        )  # fmt: skip
