"""What all layers share: calls, attributes that never change, pickling."""

from __future__ import annotations

from collections.abc import Mapping
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from .activation import ActivationLike, Array
from .arrays import TensorLike
from .engine import create_plan, run
from .geometry import Integers, Pair, Shape, shape
from .layouts import checked_shapes
from .operation import Operation, Stage
from .quantized import ClampLike, IntegerDType, OutputDType, Quantization, Rounding
from .quantizing import Range, quantized

if TYPE_CHECKING:
    from ._core import Plan

Layer = TypeVar("Layer", bound="_Layer")


class _Layer:
    """What all layers share. Subclasses name their constructor arguments, in order, in `__slots__`."""

    __slots__ = ("_operation", "_plan")

    strides: Pair
    bias: Array | None
    activation: ActivationLike | ClampLike | Array
    flush_denormals: bool
    dtype: IntegerDType | None
    filter_scale: Array | None
    input_quantization: Quantization | None
    output_quantization: Quantization | None
    rounding: Rounding | None
    output_dtype: Literal["float32"] | None
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

    def quantized(
        self: Layer, input_range: Range, output_range: Range | None = None, *,
        activation_range: Range | None = None, expand_range: Range | None = None,
        expand_activation_range: Range | None = None,
        depthwise_range: Range | None = None, depthwise_activation_range: Range | None = None,
        project_range: Range | None = None, squeeze_range: Range | None = None,
        squeeze_activation_range: Range | None = None, gate_range: Range | None = None,
        gate_activation_range: Range | None = None, scaled_range: Range | None = None,
        dtype: IntegerDType = "int8", rounding: Rounding = "even", output_dtype: OutputDType | None = None,
    ) -> Layer:  # fmt: skip
        """This layer of float32 as one of 8-bit integers: symmetric weights, a scale for each output channel.

        Ranges are (low, high) of numbers, as they were seen in samples. `input_range`: of x. `output_range`:
        of the result. `expand_range`, `depthwise_range`, `project_range`: of what the stages of a block give,
        the last before x is added. Those of bounded activations, such as relu6, need not be given.
        `activation_range`, `expand_activation_range`, `depthwise_activation_range`: of what an activation
        takes that is more than a clamp. `squeeze_range`, `squeeze_activation_range`, `gate_range`,
        `gate_activation_range`: the same of squeeze-and-excite, whose mean is rounded as what it is of;
        `scaled_range`: of the product, needed unless the factors end with a sigmoid. `dtype`, `rounding`,
        `output_dtype`: of the new layer.

        Raises TypeError where a range is missing, ValueError where it is none.

        >>> import numpy as np, dwconv
        >>> layer = dwconv.PointwiseConv2D(np.eye(4, dtype=np.float32), activation="relu6")
        >>> small = layer.quantized(input_range=(-1, 7), output_range=(0, 6))
        >>> small.filters.dtype, small.input_quantization.zero_point
        (dtype('int8'), -96)
        """
        ranges = {
            "input_range": input_range, "output_range": output_range, "activation_range": activation_range,
            "expand_range": expand_range, "expand_activation_range": expand_activation_range,
            "depthwise_range": depthwise_range, "depthwise_activation_range": depthwise_activation_range,
            "project_range": project_range, "squeeze_range": squeeze_range,
            "squeeze_activation_range": squeeze_activation_range, "gate_range": gate_range,
            "gate_activation_range": gate_activation_range, "scaled_range": scaled_range,
        }  # fmt: skip
        return cast(Layer, quantized(self, self._operation, ranges, dtype, rounding, output_dtype))

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


def sliding_of(stage: Stage) -> dict[str, Any]:
    """Strides, padding and dilations in their normal form."""
    window = stage.window
    return {"strides": window.strides, "padding": window.padding, "dilations": window.dilations}


def _restore(cls: type[_Layer], arguments: dict[str, Any]) -> _Layer:
    made = cls.__new__(cls)
    _layer_class(cls).__init__(made, **arguments)
    return made
