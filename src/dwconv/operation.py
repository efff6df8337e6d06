"""The five operations as chains of checked stages: what the compiled core and the NumPy fallback both run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from .activation import Activation, Array
from .geometry import Shape, Window, shape
from .nine_bits import as_bytes
from .quantized import OperationQuantization, StageQuantization

Kind: TypeAlias = Literal["depthwise", "pointwise", "conv", "separable", "inverted_residual"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One convolution with its bias and activation.

    `filters` is contiguous: [kernel_h, kernel_w, channels, multiplier] for "depthwise", [1, 1, channels,
    outputs] for "pointwise", [kernel_h, kernel_w, channels / groups, outputs] for "conv". `given`: the arrays
    of the caller that it was made from, by argument; none once it has copies of its own.
    """

    kind: Literal["depthwise", "pointwise", "conv"]
    argument: str
    filters: Array
    bias: Array | None
    activation: Activation
    window: Window
    groups: int = 1
    given: tuple[tuple[str, Array], ...] = ()
    quantization: StageQuantization | None = None

    @property
    def in_channels(self) -> int:
        return int(self.filters.shape[2]) * self.groups

    @property
    def out_channels(self) -> int:
        inputs, outputs = self.filters.shape[2:]
        return int(inputs * outputs if self.kind == "depthwise" else outputs)

    def byte_filters(self) -> tuple[Array, Array | None]:
        """Of a quantized stage, as C takes them: bytes and, of int16, their zero points by output channel."""
        return as_bytes(self.kind, self.filters)

    def output_shape(self, name: str, x: Shape) -> Shape:
        return (x[0], *self.window.output_size(name, x[1], x[2]), self.out_channels)

    def frozen(self) -> Stage:
        """With read-only copies of its arrays."""
        copies: list[Array] = []
        for array in (self.filters, self.bias):
            if array is not None:
                array = array.copy()
                array.setflags(write=False)
                copies.append(array)
        quantization = None if self.quantization is None else self.quantization.frozen()
        bias = copies[1] if len(copies) > 1 else None
        return replace(self, filters=copies[0], bias=bias, given=(), quantization=quantization)


@dataclass(frozen=True, slots=True)
class Operation:
    """`name` is the function or layer that the user called: it begins every message."""

    name: str
    kind: Kind
    stages: tuple[Stage, ...]
    flush_denormals: bool = False
    residual: bool | None = False
    squeeze_excite: tuple[Stage, ...] = ()  # two: they scale what stages[-2] gives
    quantization: OperationQuantization | None = None

    @property
    def every_stage(self) -> tuple[Stage, ...]:
        return self.stages + self.squeeze_excite

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of tensors."""
        return self.stages[0].filters.dtype if self.quantization is None else self.quantization.dtype

    @property
    def output_dtype(self) -> np.dtype[Any]:
        if self.quantization is not None and self.quantization.float_output:
            return np.dtype(np.float32)
        return self.dtype

    def shapes(self, x: Shape) -> list[Shape]:
        """The shapes of the input and of what every stage gives. Raises ValueError where x does not fit."""
        first = self.stages[0]
        if x[3] != first.in_channels:
            grouped = f" in {first.groups} groups" if first.groups > 1 else ""
            raise ValueError(
                f"{self.name}: {first.argument} {'expect' if first.argument == 'filters' else 'expects'} "
                f"{first.in_channels} channels{grouped} but x has {x[3]} "
                f"(x {x}, {first.argument} {first.filters.shape})"
            )
        shapes = [x]
        for stage in self.stages:
            shapes.append(stage.output_shape(self.name, shapes[-1]))
        if self.quantization is not None and self.quantization.sum and shapes[-1] != x:
            raise ValueError(
                f"{self.name}: with sum_quantization the output must have the shape of x (x {x}, output "
                f"{shapes[-1]}): pass residual=False for a block whose input is not added"
            )
        if self.residual and shapes[-1] != x:
            raise ValueError(
                f"{self.name}: residual=True needs an output of the shape of x (x {x}, output {shapes[-1]})"
            )
        return shapes

    def output_shape(self, x: Any) -> Shape:
        return self.shapes(shape(f"{self.name}: x", x))[-1]

    def adds_input(self, x: Shape) -> bool:
        """Whether the residual connection applies to an input of this shape."""
        if self.residual is False or any(stage.window.strides != (1, 1) for stage in self.stages):
            return False
        return self.shapes(x)[-1] == x

    def frozen(self) -> Operation:
        stages, gate = (tuple(s.frozen() for s in chain) for chain in (self.stages, self.squeeze_excite))
        return replace(self, stages=stages, squeeze_excite=gate)
