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

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Literal

from . import build
from .activation import ActivationLike, Array, parse
from .arrays import TensorLike
from .build import Sliding
from .engine import create_plan, run
from .geometry import Integers, Padding, PaddingLike, Pair, Shape, StepsLike, shape
from .interface import layer
from .layouts import checked_shapes
from .operation import Operation, Stage

if TYPE_CHECKING:
    from ._core import Plan
    from .nn.tf_layers import separable_conv2d  # noqa: F401


class _Layer:
    """What all layers share. Subclasses name their constructor arguments, in order, in `__slots__`."""

    __slots__ = ("_operation", "_plan")

    strides: Pair
    bias: Array | None
    activation: ActivationLike
    flush_denormals: bool
    _operation: Operation
    _plan: Plan | None

    def _bind(self, operation: Operation, **attributes: Any) -> None:
        attributes["flush_denormals"] = operation.flush_denormals
        attributes |= {"_operation": operation, "_plan": create_plan(operation)}
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def __call__(self, x: TensorLike, out: Array | None = None, num_threads: int | None = None) -> Array:
        """The result [batch, out_h, out_w, outputs]; `out` itself where that is given.

        `x`: tensor [batch, height, width, channels] of the dtype of the filters. `out`: an array of exactly
        `output_shape(x.shape)` and that dtype, not overlapping x. `num_threads`: at most so many threads;
        None: `dwconv.get_num_threads()`.
        """
        return run(self._operation, self._plan, x, out, num_threads)

    def output_shape(self, input_shape: Integers) -> Shape:
        """Of an input [batch, height, width, channels]; raises ValueError where the layer cannot take it."""
        operation = self._operation
        return checked_shapes(operation, shape(f"{operation.name}: x", input_shape))[-1]

    @property
    def nbytes(self) -> int:
        """Bytes of the packed filters, or of the filters as they are with the NumPy backend."""
        if self._plan is not None:
            return self._plan.nbytes
        stages = self._operation.every_stage
        return sum(a.nbytes for stage in stages for a in (stage.filters, stage.bias) if a is not None)

    @property
    def backend(self) -> Literal["native", "numpy"]:
        """What runs this layer."""
        return "numpy" if self._plan is None else "native"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed: make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed: make another one")

    def _arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _layer_class(type(self)).__slots__}

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew by the constructor of the layer, not of a subclass, whose arguments nobody knows."""
        return _restore, (type(self), self._arguments()), self.__getstate__()

    def __getstate__(self) -> dict[str, Any] | None:
        """What a subclass keeps beside the arguments of the layer."""
        mro = type(self).__mro__
        names = [
            name
            for cls in mro[: mro.index(_layer_class(type(self)))]
            for name, value in vars(cls).items()
            if isinstance(value, MemberDescriptorType)  # of __slots__
        ]
        state = dict(getattr(self, "__dict__", ()))
        state |= {name: getattr(self, name) for name in names if hasattr(self, name)}
        return state or None

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shown = []
        for name, value in self._arguments().items():
            if value is not None and value is not False:
                shown.append(f"{name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


def _layer_class(cls: type[_Layer]) -> type[_Layer]:
    """The layer of this package that `cls` is or derives from."""
    return next(base for base in cls.__mro__ if _Layer in base.__bases__)


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
    made = cls.__new__(cls)
    _layer_class(cls).__init__(made, **arguments)
    return made


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
    )  # fmt: skip

    filters: Array
    padding: Padding
    dilations: Pair

    def __init__(
        self,
        filters: TensorLike,
        *,
        strides: StepsLike = 1,
        padding: PaddingLike = "valid",
        dilations: StepsLike = 1,
        bias: TensorLike | None = None,
        activation: ActivationLike = None,
        flush_denormals: bool = False,
    ) -> None:
        sliding = Sliding(strides, padding, dilations)
        operation = build.depthwise(
            "DepthwiseConv2D", filters, sliding, bias, activation, flush_denormals
        ).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, bias=stage.bias, activation=stage.activation.normal,
            **_sliding(stage),
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
    )  # fmt: skip

    filters: Array
    padding: Padding
    dilations: Pair
    groups: int

    def __init__(
        self,
        filters: TensorLike,
        *,
        strides: StepsLike = 1,
        padding: PaddingLike = "valid",
        dilations: StepsLike = 1,
        bias: TensorLike | None = None,
        activation: ActivationLike = None,
        groups: int = 1,
        flush_denormals: bool = False,
    ) -> None:
        sliding = Sliding(strides, padding, dilations)
        operation = build.conv("Conv2D", filters, sliding, bias, activation, groups, flush_denormals).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, bias=stage.bias, activation=stage.activation.normal,
            groups=stage.groups, **_sliding(stage),
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

    __slots__ = ("filters", "strides", "bias", "activation", "flush_denormals")  # noqa: RUF023

    filters: Array

    def __init__(
        self,
        filters: TensorLike,
        *,
        strides: StepsLike = 1,
        bias: TensorLike | None = None,
        activation: ActivationLike = None,
        flush_denormals: bool = False,
    ) -> None:
        operation = build.pointwise(
            "PointwiseConv2D", filters, strides, bias, activation, flush_denormals
        ).frozen()
        (stage,) = operation.stages
        self._bind(
            operation, filters=stage.filters, strides=stage.window.strides, bias=stage.bias,
            activation=stage.activation.normal,
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
    )  # fmt: skip

    depthwise_filter: Array
    pointwise_filter: Array
    padding: Padding
    dilations: Pair
    depthwise_bias: Array | None
    depthwise_activation: ActivationLike

    def __init__(
        self,
        depthwise_filter: TensorLike,
        pointwise_filter: TensorLike,
        *,
        strides: StepsLike = 1,
        padding: PaddingLike = "valid",
        dilations: StepsLike = 1,
        depthwise_bias: TensorLike | None = None,
        depthwise_activation: ActivationLike = None,
        bias: TensorLike | None = None,
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
            depthwise_bias=depthwise.bias, depthwise_activation=depthwise.activation.normal,
            bias=pointwise.bias, activation=pointwise.activation.normal, **_sliding(depthwise),
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
        "squeeze_activation", "gate_activation", "flush_denormals",
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
        activation: ActivationLike = "relu6",
        residual: bool | None = None,
        squeeze_excite: Sequence[TensorLike | None] | None = None,
        squeeze_activation: ActivationLike = "relu",
        gate_activation: ActivationLike = "hard_sigmoid",
        flush_denormals: bool = False,
    ) -> None:
        name = "InvertedResidual"
        operation = build.inverted_residual(
            name, expand_filter, depthwise_filter, project_filter,
            Sliding(strides, padding, dilations), expand_bias, depthwise_bias, bias, activation, residual,
            squeeze_excite, squeeze_activation, gate_activation, flush_denormals,
        ).frozen()  # fmt: skip
        *expand, depthwise, project = operation.stages
        gate = tuple(array for stage in operation.squeeze_excite for array in (stage.filters, stage.bias))
        self._bind(
            operation, expand_filter=expand[0].filters if expand else None,
            depthwise_filter=depthwise.filters, project_filter=project.filters,
            expand_bias=expand[0].bias if expand else None, depthwise_bias=depthwise.bias, bias=project.bias,
            activation=depthwise.activation.normal, residual=operation.residual, squeeze_excite=gate or None,
            squeeze_activation=parse(name, "squeeze_activation", squeeze_activation).normal,
            gate_activation=parse(name, "gate_activation", gate_activation).normal, **_sliding(depthwise),
        )  # fmt: skip


def __getattr__(name: str) -> Any:
    """`separable_conv2d`, TensorFlow 1's layer, comes with `dwconv.nn`, which takes its time to import."""
    if name == "separable_conv2d":
        return import_module(".nn.tf_layers", __package__).separable_conv2d
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
