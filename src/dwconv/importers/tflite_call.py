"""What the lowering of one TFLite operator sees: its inputs as values, its options, where its nodes go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..activation import ActivationLike, Array
from ..graph import Budget, Builder, Quantization
from .tflite_parse import DTYPES, Model, Operator, Tensor
from .tflite_sparse import densified

# In the order of the schema's ActivationFunctionType. TFLite's kernels ignore the others, such as tanh.
ACTIVATIONS: tuple[ActivationLike, ...] = (None, "relu", ("clip", -1.0, 1.0), "relu6")
# Nodes that take long for what they give. Of constants real models have few: what an unrolled recurrent
# layer makes of the zeros that it begins with.
SLOW = ("conv", "transpose_conv", "max_pool", "average_pool", "matmul")
MOST_PRODUCTS = 2**25  # of constants, in a file


class UnsupportedError(Exception):
    """What an operator needs and dwconv does not have: the reason, and what would do."""


class BoundedBuilder(Builder):
    """A builder that refuses a file whose constants grow beyond what its size can justify."""

    def __init__(self, size: int) -> None:
        super().__init__(Budget(8 * size + 2**28))
        self._products = MOST_PRODUCTS

    def constant(self, data: Any, quantization: Quantization | None = None) -> str:
        """What the file stores, too: one piece of it may be the constant of many nodes."""
        array = np.asarray(data)
        self._budget.take(array.shape, array.itemsize)
        return super().constant(array, quantization)

    def node(self, op: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        if op in SLOW and not any(isinstance(x, str) and self.data(x) is None for x in inputs[:1]):
            self._products -= self._work(op, [x for x in inputs if x is not None])
            if self._products < 0:
                raise UnsupportedError("a result of constants alone; store the result in the model instead")
        return super().node(op, *inputs, name=name, **attributes)

    def _work(self, op: str, inputs: Sequence[Any]) -> int:
        """Products that take constants: not many fewer than it will be, where it is few."""
        sizes = [self.shape(x) if isinstance(x, str) else np.shape(x) for x in inputs]
        if op == "conv" and len(sizes[0]) == len(sizes[1]) == 4:
            return math.prod(sizes[0][:3]) * math.prod(sizes[1])
        if op == "matmul" and sizes[1]:
            return math.prod(sizes[0]) * sizes[1][-1]
        return MOST_PRODUCTS + 1


class Call:
    """One operator of the model, about to become nodes."""

    def __init__(
        self,
        builder: Builder,
        model: Model,
        operator: Operator,
        names: dict[int, str],
        label: str = "",
        rounding: str = "even",
    ) -> None:
        self.b = builder
        self.operator = operator
        self.label = label
        self.rounding = rounding
        self._model = model
        self._names = names

    def __len__(self) -> int:
        return len(self.operator.inputs)

    def has(self, i: int) -> bool:
        return i < len(self) and self.operator.inputs[i] >= 0

    def tensor(self, i: int) -> Tensor:
        if not self.has(i):
            raise ValueError(f"its input {i} is missing")
        return self._model.tensors[self.operator.inputs[i]]

    def value(self, i: int) -> str:
        """The name of input i in the graph; a constant joins the graph with its first reader."""
        tensor = self.tensor(i)
        index = self.operator.inputs[i]
        if index not in self._names:
            self._names[index] = self.b.constant(stored(tensor), tensor.quantization)
        return self._names[index]

    def shape(self, i: int) -> tuple[int, ...]:
        return self.b.shape(self.value(i))

    def data(self, i: int) -> Array | None:
        return self.b.data(self.value(i))

    def known(self, i: int, what: str) -> Array:
        data = self.data(i)
        if data is None:
            raise UnsupportedError(f"{what} that are computed when it runs; constant ones are supported")
        return data

    def integers(self, i: int, what: str) -> list[int]:
        """Of any number of axes: TFLite's kernels read them one after another."""
        data = self.known(i, what)
        if data.dtype.kind not in "iu":
            raise ValueError(f"its {what} must be integers, not {data.dtype} {data.shape}")
        return [int(n) for n in data.reshape(-1).tolist()]

    def weights(self, i: int, what: str) -> Array:
        """A constant in float32; those of hybrid models are int8 with scales."""
        data = self.known(i, what)
        quantization = self.tensor(i).quantization
        if data.dtype == np.float32:
            return data
        if data.dtype in (np.int8, np.uint8) and quantization is not None:
            return real(data, quantization)
        raise UnsupportedError(f"{what} of {self.tensor(i).kind}; FLOAT32 is supported, and INT8 with scales")

    def output_dtype(self) -> np.dtype[Any]:
        kind = self._model.tensors[self.operator.outputs[0]].kind
        if kind not in DTYPES:
            raise UnsupportedError(f"a result of {kind}")
        return np.dtype(DTYPES[kind])

    def output_tensor(self, index: int = 0) -> Tensor:
        return self._model.tensors[self.operator.outputs[index]]

    def quantization(self, value: str) -> Quantization | None:
        return self.b.graph.values[self.b._name(value)].quantization

    def dtype(self, value: str) -> np.dtype[Any]:
        return self.b.graph.values[self.b._name(value)].dtype

    def zero(self, value: str) -> float:
        """What 0 is for a value."""
        q = self.quantization(value)
        integers = q is not None and q.axis is None and self.dtype(value) in (np.int8, np.uint8)
        return float(q.zero_point) if q is not None and integers else 0.0

    def in_floats(self) -> Call:
        """The same operator, with the numbers that its 8-bit inputs stand for."""
        names = dict(self._names)
        for i in range(len(self)):
            if self.has(i) and self.data(i) is None and self.dtype(self.value(i)) in (np.int8, np.uint8):
                names[self.operator.inputs[i]] = self.node("dequantize", self.value(i))
        return Call(self.b, self._model, self.operator, names, self.label, self.rounding)

    def with_input(self, i: int, value: str) -> Call:
        """The same operator of another value."""
        names = self._names | {self.operator.inputs[i]: value}
        return Call(self.b, self._model, self.operator, names, self.label, self.rounding)

    def option(self, name: str, default: Any = 0) -> Any:
        """The schema leaves out tables whose options all have their default."""
        return self.operator.options.get(name, default)

    def activation(self) -> ActivationLike:
        kind = int(self.option("FusedActivationFunction"))
        if not 0 <= kind < len(ACTIVATIONS):
            raise UnsupportedError(
                f"fused activation {kind}; none, relu, relu_n1_to_1 and relu6 are supported"
            )
        return ACTIVATIONS[kind]

    def node(self, op: str, *inputs: Any, **attributes: Any) -> str:
        return self.b.node(op, *inputs, name=self.label, **attributes)

    def unary(self, kind: str, x: str, a: float = 0.0, b: float = 0.0) -> str:
        return self.node("unary", x, kind=kind, a=float(a), b=float(b))

    def binary(self, kind: str, a: str, b: str) -> str:
        return self.node("binary", a, b, kind=kind)

    def reshape(self, x: str, shape: Any) -> str:
        return self.node("reshape", x, shape=tuple(shape))

    def activated(self, x: str) -> str:
        """With the fused activation, for nodes that have none of their own."""
        kind = self.activation()
        if kind is None:
            return x
        if isinstance(kind, str):
            return self.unary(kind, x)
        return self.unary("clip", x, *kind[1:])


def stored(tensor: Tensor) -> Array:
    """A constant of the file, dense."""
    if tensor.data is None:
        raise UnsupportedError(f"constant {tensor.name!r} of type {tensor.kind}")
    return tensor.data if tensor.sparsity is None else densified(tensor.data, tensor.shape, tensor.sparsity)


def real(data: Array, quantization: Quantization) -> Array:
    """What quantised constants stand for."""
    scale, zero = np.asarray(quantization.scale), np.asarray(quantization.zero_point)
    if quantization.axis is not None:
        shape = [-1 if axis == quantization.axis else 1 for axis in range(data.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return np.asarray((data.astype(np.int64) - zero) * scale, np.float32)
