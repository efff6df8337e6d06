"""TFLite models as graphs. Needs the package `tflite` (extra: dwconv[tflite]).

The first subgraph is read: others are reached only through operators that are unsupported. Images are NHWC in
TFLite, so a graph keeps the layout of its file.
"""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..graph import Graph, UnsupportedModel, Value
from ..nodes_integers import check
from ..quantized import ROUNDINGS
from ..sources import GraphSource, TensorInfo, checked
from . import tflite_recurrent, tflite_spectrum, tflite_svdf
from .tflite_bytes import KINDS
from .tflite_call import BoundedBuilder, Call, UnsupportedError
from .tflite_dilation import join_dilations
from .tflite_inline import inline
from .tflite_integers import INTEGERS, is_integer, lower
from .tflite_masks import MASK_OPS, ON_MASKS
from .tflite_ops import OPS
from .tflite_order import ORDER_OPS
from .tflite_parse import DTYPES, Model, Operator, Tensor, parse
from .tflite_shapes import SHAPE_OPS
from .tflite_variables import VARIABLE_OPS, Variables

ALL = {**INTEGERS, **OPS, **MASK_OPS, **ORDER_OPS, **SHAPE_OPS}
# Those that keep states, and the first input that is one.
KEEPING = {
    "SVDF": (tflite_svdf.svdf, tflite_svdf.STATE),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (tflite_recurrent.lstm, tflite_recurrent.STATE),
}
SPECTRUM = ("RFFT2D", *tflite_spectrum.OF_COMPLEX)
# Where the nearest name would mislead, or there is more to say.
REMEDIES = {
    "NON_MAX_SUPPRESSION_V4": "end the network at boxes and scores",
    "NON_MAX_SUPPRESSION_V5": "end the network at boxes and scores",
    "IF": "a network has no branches",
    "WHILE": "a network has no loops; recurrent layers of Keras are converted without by unroll=True",
    "LSTM": "of recurrent layers UNIDIRECTIONAL_SEQUENCE_LSTM is supported",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "of recurrent layers UNIDIRECTIONAL_SEQUENCE_LSTM is supported",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "of recurrent layers UNIDIRECTIONAL_SEQUENCE_LSTM is supported",
    "BIDIRECTIONAL_SEQUENCE_RNN": "of recurrent layers UNIDIRECTIONAL_SEQUENCE_LSTM is supported",
    "CONV_3D": "CONV_2D is supported",
    "CONV_3D_TRANSPOSE": "TRANSPOSE_CONV is supported",
    "GATHER_ND": "GATHER with constant indices, SLICE and STRIDED_SLICE are supported",
    "LOCAL_RESPONSE_NORMALIZATION": "L2_NORMALIZATION is supported",
}  # fmt: skip
LIKELY = (224, 16384)  # pixels; samples
# What takes whole numbers that are computed, as those of ARG_MAX.
ON_WHOLE = ("CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE")
Lowered = tuple[Graph, list[TensorInfo], list[TensorInfo]]
# What hostile options and shapes can raise beside ValueError.
ODD = (TypeError, KeyError, IndexError, AttributeError, ArithmeticError)


def read(
    source: str | os.PathLike[str] | bytes,
    rounding: str = "even",
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> TFLiteSource:
    """A model file, or its content, as a source of graphs.

    `rounding`: of 8-bit networks, "even" or "tflite". `input_shapes`: by name, other shapes than the file's;
    None in one of them: calls decide that size.

    Raises UnsupportedModel, with every operator that stands in the way; ValueError for a broken file; OSError
    where it cannot be read; ImportError without the package `tflite`.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"from_tflite: rounding must be 'even' or 'tflite', not {rounding!r}")
    content, where = _content(source)
    model = parse(content, where)
    try:
        inline(model)
    except ValueError as error:
        raise ValueError(f"{where}: the TFLite file is broken: {error}") from None
    join_dilations(model)
    return TFLiteSource(model, len(content), where, input_shapes or {}, rounding)


class TFLiteSource(GraphSource):
    """The operators of a file, which become another graph for other shapes: sizes may be computed from these.

    Inputs and outputs are called as in the file. An axis that it leaves open is None, and in the graph has
    the size that the file proposes.
    """

    def __init__(
        self,
        model: Model,
        size: int,
        where: str,
        input_shapes: Mapping[str, Sequence[int | None]],
        rounding: str = "even",
    ) -> None:
        self._file = model, size, where, rounding
        super().__init__(*self._first(input_shapes))

    def lower(self, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
        """Of another batch the graph with other shapes: what a file reshapes to [1, -1, ...] is one image's.
        Of other sizes the file again, since they may be computed; where it has no such form, the graph."""
        own = {name: self.graph.values[name].shape for name in self.graph.public_inputs}
        if all(tuple(shapes[name])[1:] == own[name][1:] for name in own):
            with contextlib.suppress(ValueError):
                return super().lower(shapes)
        with contextlib.suppress(ValueError):
            return checked(self._lowered(shapes)[0])
        return super().lower(shapes)

    def _first(self, shapes: Mapping[str, Sequence[int | None]]) -> Lowered:
        """Files propose 1 for open sizes, which may be less than a window: then likely ones."""
        try:
            return self._lowered(shapes)
        except UnsupportedModel:
            raise
        except ValueError:
            model = self._file[0]
            opened = [model.tensors[i] for i in model.inputs if -1 in model.tensors[i].signature[1:]]
            if shapes or not opened:
                raise
            for likely in LIKELY:
                with contextlib.suppress(ValueError):
                    return self._proposing(likely)
            raise

    def _proposing(self, likely: int) -> Lowered:
        """With this size in place of what the file proposes for open ones, of a batch apart."""
        model, size, where, rounding = self._file
        tensors = list(model.tensors)
        for i in model.inputs:
            pairs = zip(tensors[i].shape, tensors[i].signature, strict=True)
            shape = tuple(likely if s == -1 and axis else n for axis, (n, s) in enumerate(pairs))
            tensors[i] = replace(tensors[i], shape=shape)
        self._file = replace(model, tensors=tensors), size, where, rounding
        return self._lowered({})

    def _lowered(self, shapes: Mapping[str, Sequence[int | None]]) -> Lowered:
        model, size, where, rounding = self._file
        try:
            return _Lowering(model, size, where, rounding).graph(dict(shapes))
        except UnsupportedModel:
            raise
        except (ValueError, *ODD) as error:
            signatures = [model.tensors[i].signature for i in model.inputs]
            open_sizes = not shapes and any(-1 in signature[1:] for signature in signatures)
            hint = "; it leaves sizes open: input_shapes={name: shape} decides them" if open_sizes else ""
            raise ValueError(f"{where}: {error}{hint}") from None


def _content(source: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "from_tflite"
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"from_tflite: the model must be a path or bytes, not {type(source).__name__}")
    return Path(source).read_bytes(), os.fspath(source)


class _Lowering:
    """Operators become nodes in the order of the file. What is unsupported is noted, and all that follows
    from it is left out, so that one error tells everything."""

    def __init__(self, model: Model, size: int, where: str, rounding: str = "even") -> None:
        self.model = model
        self.rounding = rounding
        self.where = where
        self.b = BoundedBuilder(size)
        self.names: dict[int, str] = {}  # values in the graph, by tensor
        self.imaginary: dict[int, str] = {}  # parts of complex values, whose real ones are in `names`
        self.missing: set[int] = set()  # tensors that unsupported operators would give
        self.problems: list[str] = []
        self.variables = Variables(model)

    def graph(self, shapes: dict[str, Sequence[int | None]]) -> Lowered:
        inputs = [self._input(i, shapes) for i in self.model.inputs]
        if shapes:
            raise ValueError(
                f"there are no inputs {sorted(shapes)}; there are {[info.name for info in inputs]}"
            )
        for operator in self.model.operators:
            self._operator(operator)
        self.problems += [
            f"output {self.model.tensors[i].name!r} of truth values that are computed; FLOAT32 is supported"
            for i in self.model.outputs
            if self.model.tensors[i].kind == "BOOL" and i in self.names and not self._folded(i)
        ]
        self.problems += [
            f"output {self.model.tensors[i].name!r} of complex numbers; FLOAT32 is supported"
            for i in self.model.outputs
            if i in self.imaginary
        ]
        if self.problems:
            raise UnsupportedModel(self.where, self.problems)
        given = [self._given(i) for i in self.model.outputs]
        outputs = [self._output(i, value) for i, value in zip(self.model.outputs, given, strict=True)]
        self.variables.keep(self.b)
        return self.b.graph, inputs, outputs

    # ---- edges --------------------------------------------------------------------------------

    def _input(self, index: int, shapes: dict[str, Sequence[int | None]]) -> TensorInfo:
        tensor = self.model.tensors[index]
        if index in self.names or tensor.data is not None:
            raise ValueError(f"input {tensor.name!r} is given twice, or a constant")
        if tensor.kind not in DTYPES:
            raise UnsupportedModel(
                self.where, [f"input {tensor.name!r} of type {tensor.kind}; FLOAT32 is supported"]
            )
        name = self._free(tensor.name or f"input_{len(self.names)}", self.b.graph.inputs)
        dtype = np.dtype(DTYPES[tensor.kind]).newbyteorder("=")
        signature = tensor.signature if len(tensor.signature) == len(tensor.shape) else tensor.shape
        told = tuple(shapes.pop(name, (None if n == -1 else n for n in signature)))
        if len(told) != len(tensor.shape):
            raise ValueError(f"input {name!r} has {len(tensor.shape)} axes, not those of {told}")
        chosen = [n if size is None else size for size, n in zip(told, tensor.shape, strict=True)]
        quantization = tensor.quantization
        if tensor.kind in KINDS and quantization is not None:
            quantization = check(quantization, dtype, f"input {name!r}: ")
        self.names[index] = self.b.input(name, chosen, dtype, quantization)
        return TensorInfo(name, told, dtype, quantization)

    def _given(self, index: int) -> Value:
        """What an output gives: the value itself, since names change as outputs take theirs."""
        tensor = self.model.tensors[index]
        if index not in self.names and tensor.data is None:
            raise ValueError(f"no operator gives the output {tensor.name!r}")
        return self.b.graph.values[Call(self.b, self.model, Operator("", (index,), ()), self.names).value(0)]

    def _output(self, index: int, value: Value) -> TensorInfo:
        tensor, graph = self.model.tensors[index], self.b.graph
        name = self._free(tensor.name or f"output_{len(graph.outputs)}", [*graph.inputs, *graph.outputs])
        self.b.output(name, value.name)
        signature = tensor.signature if len(tensor.signature) == len(value.shape) else value.shape
        shape = tuple(None if s == -1 else n for s, n in zip(signature, value.shape, strict=True))
        quantization = value.quantization if value.dtype in KINDS.values() else tensor.quantization
        counted = tensor.kind in ("INT32", "INT64") and value.data is None
        return TensorInfo(
            name, shape, np.dtype(DTYPES[tensor.kind]) if counted else value.dtype, quantization
        )

    def _free(self, name: str, taken: Sequence[str]) -> str:
        found, count = name, 0
        while found in taken:
            count += 1
            found = f"{name}_{count}"
        return found

    # ---- operators ----------------------------------------------------------------------------

    def _operator(self, operator: Operator) -> None:
        tensors = self.model.tensors
        label = tensors[operator.outputs[0]].name if operator.outputs else ""
        for index in operator.outputs:
            if index in self.names or index in self.missing or tensors[index].data is not None:
                raise ValueError(
                    f"{operator.op} {label!r} gives tensor {tensors[index].name!r}, which exists already"
                )
        found = self._unsupported(operator)
        if not found and not any(index in self.missing for index in operator.inputs):
            try:
                self._lower(operator, label)
                return
            except UnsupportedError as error:
                found = str(error)
        if found:
            self.problems.append(f"{operator.op} {label!r}: {found}")
        self.missing.update(operator.outputs)

    def _unsupported(self, operator: Operator) -> str:
        """Why the operator cannot be, as far as it alone tells; "" if nothing."""
        if operator.op.startswith("CUSTOM:") and operator.op not in ALL:
            return "custom operations are not supported: convert with built-in ones alone"
        if operator.op in VARIABLE_OPS:
            return ""
        if operator.inputs and operator.inputs[0] in self.imaginary:
            return "" if tflite_spectrum.takes(operator.op) else "complex numbers; COMPLEX_ABS takes them"
        if operator.op not in ALL and operator.op not in (*SPECTRUM, *KEEPING):
            near = difflib.get_close_matches(operator.op, ALL, 1)
            nearest = f"; the nearest that is supported is {near[0]}" if near else ""
            return REMEDIES.get(operator.op, f"not supported{nearest}")
        for index in operator.inputs:
            tensor = self.model.tensors[index]
            if index < 0:
                continue
            if self._own_state(operator, index):
                continue
            if tensor.variable:
                return f"state {tensor.name!r} in a tensor; variables of VAR_HANDLE are supported"
            constant = tensor.data is not None or self._folded(index)
            if not constant and tensor.kind not in ("FLOAT32", "INT32", "INT64", "BOOL", *KINDS):
                return f"{_described(tensor)} is not supported; FLOAT32, INT8 and UINT8 are"
            fits = tensor.kind == "FLOAT32" or tensor.kind in KINDS or operator.op == "SHAPE"
            fits = fits or (tensor.kind == "BOOL" and operator.op in ON_MASKS)
            if not constant and not fits and index in self.names and not self._counted(operator, index):
                return f"{_described(tensor)} is computed when it runs; FLOAT32, INT8 and UINT8 are supported"
        for index in operator.outputs:
            tensor = self.model.tensors[index]
            if tensor.kind == "INT16" and tensor.quantization is not None:
                return f"its result {tensor.name!r} of INT16, quantised, is not supported; INT8 and UINT8 are"
        return ""

    def _own_state(self, operator: Operator, index: int) -> bool:
        """Whether it is what the operator alone keeps from run to run."""
        inputs = operator.inputs
        is_its_own = operator.op in KEEPING and index in inputs[KEEPING[operator.op][1] :]
        readers = [other for other in self.model.operators if index in other.inputs]
        return is_its_own and self.model.tensors[index].variable and readers == [operator]

    def _folded(self, index: int) -> bool:
        return index in self.names and self.b.data(self.names[index]) is not None

    def _made(self, call: Call) -> str | list[str]:
        operator = call.operator
        if operator.op in KEEPING:
            return KEEPING[operator.op][0](call, self.variables)
        imaginary = self.imaginary.get(operator.inputs[0]) if operator.inputs else None
        if imaginary is None and operator.op != "RFFT2D":
            return lower(call) if is_integer(call) else ALL[operator.op](call)
        if imaginary is None:
            found: Any = tflite_spectrum.rfft2d(call)
        else:
            found = tflite_spectrum.lower(call, (self.names[operator.inputs[0]], imaginary))
        if isinstance(found, str):
            return found
        self.imaginary[operator.outputs[0]] = found[1]
        return [found[0]]

    def _counted(self, operator: Operator, index: int) -> bool:
        """Whether it is a whole number, as ARG_MAX gives them, that the operator takes."""
        takes = operator.op in ON_WHOLE and operator.inputs[0] == index
        return takes and self.b.graph.values[self.b._name(self.names[index])].dtype == np.float32

    def _node_name(self, operator: Operator, label: str) -> str:
        """The name of its result, which an output of the network keeps for itself."""
        taken = any(index in self.model.outputs for index in operator.outputs)
        return f"{label}/{operator.op.lower()}" if taken else label

    def _lower(self, operator: Operator, label: str) -> None:
        for index in operator.inputs:
            if index in self.variables.handles:
                continue
            if index < 0 or self._own_state(operator, index):
                continue
            if index not in self.names and self.model.tensors[index].data is None:
                name = self.model.tensors[index].name
                raise ValueError(f"{operator.op} {label!r} reads {name!r} before anything gives it")
        if operator.op in VARIABLE_OPS:
            self.variables.lower(self.b, operator, self.names, label)
            return
        try:
            label_of = self._node_name(operator, label)
            call = Call(self.b, self.model, operator, self.names, label_of, self.rounding)
            with np.errstate(all="ignore"):  # scales of any size: tables saturate
                made = self._made(call)
        except (ValueError, *ODD) as error:
            raise ValueError(f"{operator.op} {label!r}: {error}") from None
        results = [made] if isinstance(made, str) else made
        if len(results) != len(operator.outputs):
            raise ValueError(
                f"{operator.op} {label!r} gives {len(results)} results, not {len(operator.outputs)}"
            )
        self.names.update(zip(operator.outputs, results, strict=True))


def _described(tensor: Tensor) -> str:
    scale = "" if tensor.quantization is None else ", quantised,"
    return f"its input {tensor.name!r} of {tensor.kind}{scale}"
