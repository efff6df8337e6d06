"""Layers: filters packed once, called many times.

    layer = DepthwiseConv2D(filters, padding="same", bias=bias, activation="relu6")
    y = layer(x)                       # a new array
    layer(x, out=y, num_threads=2)     # no allocation

A layer never changes after it is made: any number of threads may call one at the same time. It copies its
filters and biases; their dtype is the dtype of the tensors it takes. The instruction set is the one in force
when it is made. Arguments mean what they mean in `dwconv.ops`, and raise the same errors. Layers can be
pickled, and pack their filters anew where they are loaded.

`flush_denormals=True` makes weights below the smallest normal number zero: denormal weights, which training
can leave behind, slow most CPUs down 40 to 100 times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import build
from .activation import ActivationLike, Array
from .build import Sliding
from .engine import create_plan, run
from .geometry import Padding, Pair, Shape
from .operation import Operation, Stage

if TYPE_CHECKING:
    from ._core import Plan


class _Layer:
    """What all layers share. Subclasses name their constructor arguments, in order, in `__slots__`."""

    __slots__ = ("_operation", "_plan")

    _operation: Operation
    _plan: Plan | None

    def _bind(self, operation: Operation, **attributes: Any) -> None:
        attributes |= {"_operation": operation, "_plan": create_plan(operation)}
        for name, value in attributes.items():
            # The caller's list, of an activation, could change.
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)

    def __call__(self, x: Any, out: Array | None = None, num_threads: int | None = None) -> Array:
        """The result [batch, out_h, out_w, outputs]; `out` itself where that is given.

        `out`: an array of exactly `output_shape(x.shape)` and the dtype of x, not overlapping x.
        """
        return run(self._operation, self._plan, x, out, num_threads)

    def output_shape(self, input_shape: Any) -> Shape:
        """Of an input [batch, height, width, channels]; raises ValueError where the layer cannot take it."""
        return self._operation.output_shape(input_shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed filters, or of the filters as they are with the NumPy backend."""
        if self._plan is not None:
            return self._plan.nbytes
        stages = self._operation.every_stage
        return sum(a.nbytes for stage in stages for a in (stage.filters, stage.bias) if a is not None)

    @property
    def backend(self) -> str:
        """What runs this layer: "native" or "numpy"."""
        return "numpy" if self._plan is None else "native"

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed: make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed: make another one")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), {name: getattr(self, name) for name in self.__slots__})

    def __repr__(self) -> str:
        shown = []
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and value is not False:
                shown.append(f"{name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    """Arrays by their shape and dtype, everything else as it is."""
    if isinstance(value, tuple) and any(hasattr(item, "shape") for item in value):
        return f"({', '.join(map(_shown, value))})"
    return f"<{'x'.join(map(str, value.shape))} {value.dtype}>" if hasattr(value, "shape") else repr(value)


def _sliding(stage: Stage) -> dict[str, Any]:
    """Strides, padding and dilations in their normal form."""
    window = stage.window
    return {"strides": window.strides, "padding": window.padding, "dilations": window.dilations}


def _restore(cls: type[_Layer], arguments: dict[str, Any]) -> _Layer:
    return cls(**arguments)


class DepthwiseConv2D(_Layer):
    """`dwconv.depthwise_conv2d` with `filters` [kernel_h, kernel_w, channels, multiplier] packed once."""

    __slots__ = (  # noqa: RUF023
        "filters", "strides", "padding", "dilations", "bias", "activation", "flush_denormals",
    )  # fmt: skip

    filters: Array
    strides: Pair
    padding: Padding
    dilations: Pair
    bias: Array | None
    activation: ActivationLike
    flush_denormals: bool

    def __init__(
        self,
        filters: Any,
        *,
        strides: Any = 1,
        padding: Any = "valid",
        dilations: Any = 1,
        bias: Any = None,
        activation: ActivationLike = None,
        flush_denormals: bool = False,
    ) -> None:
        sliding = Sliding(strides, padding, dilations)
        operation = build.depthwise(
            "DepthwiseConv2D", filters, sliding, bias, activation, flush_denormals
        ).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, bias=stage.bias, activation=activation,
            flush_denormals=operation.flush_denormals, **_sliding(stage),
        )  # fmt: skip


class Conv2D(_Layer):
    """`dwconv.conv2d` with `filters` [kernel_h, kernel_w, channels / groups, outputs] packed once."""

    __slots__ = (  # noqa: RUF023
        "filters", "strides", "padding", "dilations", "bias", "activation", "groups", "flush_denormals",
    )  # fmt: skip

    filters: Array
    strides: Pair
    padding: Padding
    dilations: Pair
    bias: Array | None
    activation: ActivationLike
    groups: int
    flush_denormals: bool

    def __init__(
        self,
        filters: Any,
        *,
        strides: Any = 1,
        padding: Any = "valid",
        dilations: Any = 1,
        bias: Any = None,
        activation: ActivationLike = None,
        groups: int = 1,
        flush_denormals: bool = False,
    ) -> None:
        sliding = Sliding(strides, padding, dilations)
        operation = build.conv("Conv2D", filters, sliding, bias, activation, groups, flush_denormals).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, bias=stage.bias, activation=activation, groups=stage.groups,
            flush_denormals=operation.flush_denormals, **_sliding(stage),
        )  # fmt: skip


class PointwiseConv2D(_Layer):
    """`dwconv.pointwise_conv2d` with `filters` [channels, outputs] (or 4-D) packed once."""

    __slots__ = ("filters", "strides", "bias", "activation", "flush_denormals")  # noqa: RUF023

    filters: Array
    strides: Pair
    bias: Array | None
    activation: ActivationLike
    flush_denormals: bool

    def __init__(
        self,
        filters: Any,
        *,
        strides: Any = 1,
        bias: Any = None,
        activation: ActivationLike = None,
        flush_denormals: bool = False,
    ) -> None:
        operation = build.pointwise(
            "PointwiseConv2D", filters, strides, bias, activation, flush_denormals
        ).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, strides=stage.window.strides, bias=stage.bias,
            activation=activation, flush_denormals=operation.flush_denormals,
        )  # fmt: skip


class SeparableConv2D(_Layer):
    """`dwconv.separable_conv2d` with both filters packed once, run as one operation."""

    __slots__ = (  # noqa: RUF023
        "depthwise_filter", "pointwise_filter", "strides", "padding", "dilations", "depthwise_bias",
        "depthwise_activation", "bias", "activation", "flush_denormals",
    )  # fmt: skip

    depthwise_filter: Array
    pointwise_filter: Array
    strides: Pair
    padding: Padding
    dilations: Pair
    depthwise_bias: Array | None
    depthwise_activation: ActivationLike
    bias: Array | None
    activation: ActivationLike
    flush_denormals: bool

    def __init__(
        self,
        depthwise_filter: Any,
        pointwise_filter: Any,
        *,
        strides: Any = 1,
        padding: Any = "valid",
        dilations: Any = 1,
        depthwise_bias: Any = None,
        depthwise_activation: ActivationLike = None,
        bias: Any = None,
        activation: ActivationLike = None,
        flush_denormals: bool = False,
    ) -> None:
        operation = build.separable(
            "SeparableConv2D", depthwise_filter, pointwise_filter, Sliding(strides, padding, dilations),
            depthwise_bias, depthwise_activation, bias, activation, flush_denormals,
        ).frozen()  # fmt: skip
        depthwise, pointwise = operation.stages
        self._bind(
            operation, depthwise_filter=depthwise.filters, pointwise_filter=pointwise.filters,
            depthwise_bias=depthwise.bias, depthwise_activation=depthwise_activation, bias=pointwise.bias,
            activation=activation, flush_denormals=operation.flush_denormals, **_sliding(depthwise),
        )  # fmt: skip


class InvertedResidual(_Layer):
    """`dwconv.inverted_residual` with its filters packed once, run as one operation.

    `expand_filter` None: a block without expansion. `squeeze_excite`: MobileNetV3's and EfficientNet's part.
    """

    __slots__ = (  # noqa: RUF023
        "expand_filter", "depthwise_filter", "project_filter", "strides", "padding", "dilations",
        "expand_bias", "depthwise_bias", "bias", "activation", "residual", "squeeze_excite",
        "squeeze_activation", "gate_activation", "flush_denormals",
    )  # fmt: skip

    expand_filter: Array | None
    depthwise_filter: Array
    project_filter: Array
    strides: Pair
    padding: Padding
    dilations: Pair
    expand_bias: Array | None
    depthwise_bias: Array | None
    bias: Array | None
    activation: ActivationLike
    residual: bool | None
    squeeze_excite: tuple[Array | None, ...] | None
    squeeze_activation: ActivationLike
    gate_activation: ActivationLike
    flush_denormals: bool

    def __init__(
        self,
        expand_filter: Any,
        depthwise_filter: Any,
        project_filter: Any,
        *,
        strides: Any = 1,
        padding: Any = "same",
        dilations: Any = 1,
        expand_bias: Any = None,
        depthwise_bias: Any = None,
        bias: Any = None,
        activation: ActivationLike = "relu6",
        residual: bool | None = None,
        squeeze_excite: Any = None,
        squeeze_activation: ActivationLike = "relu",
        gate_activation: ActivationLike = "hard_sigmoid",
        flush_denormals: bool = False,
    ) -> None:
        operation = build.inverted_residual(
            "InvertedResidual", expand_filter, depthwise_filter, project_filter,
            Sliding(strides, padding, dilations), expand_bias, depthwise_bias, bias, activation, residual,
            squeeze_excite, squeeze_activation, gate_activation, flush_denormals,
        ).frozen()  # fmt: skip
        *expand, depthwise, project = operation.stages
        gate = tuple(array for stage in operation.squeeze_excite for array in (stage.filters, stage.bias))
        self._bind(
            operation, expand_filter=expand[0].filters if expand else None,
            depthwise_filter=depthwise.filters, project_filter=project.filters,
            expand_bias=expand[0].bias if expand else None,
            depthwise_bias=depthwise.bias, bias=project.bias, activation=activation,
            residual=operation.residual, squeeze_excite=gate or None, squeeze_activation=squeeze_activation,
            gate_activation=gate_activation, flush_denormals=operation.flush_denormals, **_sliding(depthwise),
        )  # fmt: skip
