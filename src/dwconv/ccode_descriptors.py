"""The descriptors of a program in C: what `dwconv.ccode` writes between braces."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .activation import Activation, Array
from .geometry import Window
from .operation import Operation, Stage
from .program import Program, Step, Tensor
from .quantized import OperationQuantization, Quantization

SPECIAL = {"gelu": "GELU_ERF"}
DTYPES = {"float32": "DWCONV_F32", "int8": "DWCONV_S8", "uint8": "DWCONV_U8", "int32": "DWCONV_S32"}
ROUNDING = {"floor": "ROUND_FLOOR", "ceil": "ROUND_CEIL"}


class Descriptors:
    """`values`, `nodes`: elements of the two arrays. `before`: what these refer to.

    `constants`: by dtype the arrays that are one after another: float32 in NAME_weights.values, others in
    NAME_int8, NAME_uint8 and NAME_int32.
    """

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.constants: dict[str, list[Array]] = {}
        self.before: list[str] = []
        self._offsets: dict[int, int] = {}
        self._kept: list[Array] = []  # whose addresses are keys of `_offsets`
        self.values = [self._value(tensor) for tensor in program.tensors]
        self.nodes = [self._node(index, step) for index, step in enumerate(program.steps)]

    def _constant(self, array: Array) -> str:
        """Its address. Arrays that several refer to are written once."""
        kind = array.dtype.name
        offset = self._offsets.get(id(array))
        if offset is None:
            offset = self._offsets[id(array)] = self.count(kind)
            self.constants.setdefault(kind, []).append(np.ascontiguousarray(array))
            self._kept.append(array)
        return f"{self.name}_{'weights.values' if kind == 'float32' else kind} + {offset}"

    def count(self, kind: str) -> int:
        """Elements of all constants of a dtype."""
        return sum(array.size for array in self.constants.get(kind, []))

    def _value(self, tensor: Tensor) -> str:
        fields = {
            "storage": f"DWCONV_{tensor.storage.upper()}",
            "dtype": DTYPES[tensor.dtype.name],
            "rank": len(tensor.shape),
            "base": tensor.base if tensor.storage == "view" else 0,
            "shape": list(tensor.shape),
        }
        if tensor.storage == "view":
            fields |= {"strides": list(tensor.view.strides), "offset": tensor.view.offset}
        if tensor.data is not None:
            fields["data"] = self._constant(tensor.data)
        if tensor.quantization is not None:
            fields["scale"] = _float(tensor.quantization.scale)
            fields["zero_point"] = tensor.quantization.zero_point
        return f"    {_struct(fields)},"

    def _node(self, index: int, step: Step) -> str:
        fields: dict[str, Any] = {"kind": f"DWCONV_{step.kind.upper()}"}
        if step.function is not None:
            word = f"DWCONV_{step.function.upper()}"
            fields["function"] = "(dwconv_function)1" if step.function == "logarithm" else word
        fields |= {"inputs": list(step.inputs), "output": step.output}
        if step.operation is not None:
            fields["operation"] = f"&{self._operation(index, step.operation)}"
        if step.activation.kind != "identity":
            fields["activation"] = _activation(step.activation)
        if step.window is not None:
            fields["window"] = _window(step.window)
        if step.counts_padding:
            fields["counts_padding"] = 1
        if step.coordinates is not None:
            fields["coordinates"] = f"DWCONV_{step.coordinates.upper()}"
        if step.rounding is not None:
            fields["rounding"] = f"DWCONV_{ROUNDING.get(step.rounding, step.rounding.upper())}"
        if step.parameters:
            fields["parameters"] = [_float(value) for value in step.parameters]
        if step.clamp != (0, 0):
            fields |= {"low": step.clamp[0], "high": step.clamp[1]}
        if step.formula == "float":
            fields["formula"] = "DWCONV_FLOAT_FORMULA"
        if step.indices is not None:
            fields |= {"axis": step.axis, "index_count": len(step.indices)}
            fields["indices"] = self._indices(index, step.indices)
        label = "" if step.source is None else _comment(step.source.name or step.source.output)
        return f"{label}    {_struct(fields)},"

    def _indices(self, index: int, indices: Array) -> str:
        name = f"indices_{index}"
        text = ", ".join(map(str, indices.tolist()))
        self.before += [f"static const int32_t {name}[] = {{{text}}};", ""]
        return name

    def _operation(self, index: int, operation: Operation) -> str:
        """The name of its descriptor."""
        stages = list(operation.stages)
        roles = ["expand"] if operation.kind == "inverted_residual" and len(stages) == 3 else []
        roles += ["conv", "project"][: len(stages) - len(roles)]
        parts = dict(zip(roles, stages, strict=True))
        if operation.squeeze_excite:
            parts |= dict(zip(("squeeze", "excite"), operation.squeeze_excite, strict=True))
        fields: dict[str, Any] = {"size": "sizeof(dwconv_desc)"}
        if operation.flush_denormals:
            fields["flags"] = "DWCONV_FLUSH_DENORMAL_WEIGHTS"
        if operation.quantization is not None:
            fields |= _whole(operation.quantization)
        for role, stage in parts.items():
            name = f"{role}_{index}"
            self.before.append(f"static const dwconv_conv_desc {name} = {_struct(self._stage(stage))};")
            fields[role] = f"&{name}"
        residuals = {None: "AUTO", False: "OFF", True: "ON"}
        if operation.kind == "inverted_residual":
            fields["residual"] = f"DWCONV_RESIDUAL_{residuals[operation.residual]}"
        self.before += [f"static const dwconv_desc operation_{index} = {_struct(fields)};", ""]
        return f"operation_{index}"

    def _stage(self, stage: Stage) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "size": "sizeof(dwconv_conv_desc)",
            "in_channels": stage.in_channels,
            "out_channels": stage.out_channels,
            "groups": stage.in_channels if stage.kind == "depthwise" else stage.groups,
            "window": _window(stage.window),
        }
        if stage.bias is not None:
            fields["bias"] = self._constant(stage.bias)
        if stage.activation.kind != "identity":
            fields["activation"] = _activation(stage.activation)
        quantization = stage.quantization
        if quantization is None:
            fields["filter"] = self._constant(stage.filters)
            return fields
        filters, zeros = stage.byte_filters()
        fields["filter"] = self._constant(filters)
        if zeros is not None:
            fields["filter_zero_point"] = self._constant(zeros)
            fields["filter_zero_points"] = zeros.size
            fields["filter_dtype"] = "DWCONV_U8"
        fields["filter_scale"] = self._constant(quantization.filter_scale)
        fields["filter_scales"] = quantization.filter_scale.size
        fields["output"] = _quant(quantization.output)
        if quantization.activation_input is not None:
            fields["activation_input"] = _quant(quantization.activation_input)
        if quantization.table is not None:
            fields["table"] = self._constant(quantization.table.view(np.uint8))
        if quantization.clamp is not None:
            fields |= {"low": quantization.clamp[0], "high": quantization.clamp[1]}
        return fields


# ---- words --------------------------------------------------------------------------------------


def _struct(fields: Mapping[str, Any]) -> str:
    return f"{{{', '.join(f'.{name} = {_word(value)}' for name, value in fields.items())}}}"


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return _struct(value)
    if isinstance(value, list):
        return f"{{{', '.join(map(_word, value)) or '0'}}}"
    return str(value)


def _quant(quantization: Quantization) -> dict[str, Any]:
    return {"scale": _float(quantization.scale), "zero_point": quantization.zero_point}


def _whole(quantization: OperationQuantization) -> dict[str, Any]:
    fields: dict[str, Any] = {"dtype": DTYPES[quantization.dtype.name]}
    if quantization.float_output:
        fields["flags"] = "DWCONV_FLOAT_OUTPUT"
    fields["input"] = _quant(quantization.input)
    if quantization.sum is not None:
        fields["sum"] = _quant(quantization.sum)
    fields["rounding"] = f"DWCONV_ROUND_{quantization.rounding.upper()}"
    gate = quantization.gate
    if gate is not None:
        fields |= {"mean": _quant(gate.mean), "scaled": _quant(gate.scaled)}
        fields["product"] = f"DWCONV_{gate.product.upper()}_FORMULA"
    return fields


def _window(window: Window) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for word, values in (
        ("kernel", window.kernel),
        ("stride", window.strides),
        ("dilation", window.dilations),
    ):
        fields |= {f"{word}_h": values[0], f"{word}_w": values[1]}
    if isinstance(window.padding, str):
        fields["padding"] = f"DWCONV_{window.padding.upper()}"
    else:
        (top, bottom), (left, right) = window.padding
        fields["padding"] = "DWCONV_EXPLICIT"
        fields |= {"pad_top": top, "pad_bottom": bottom, "pad_left": left, "pad_right": right}
    return fields


def _activation(activation: Activation) -> dict[str, Any]:
    kind = SPECIAL.get(activation.kind, activation.kind.upper())
    return {"kind": f"DWCONV_{kind}", "a": _float(activation.a), "b": _float(activation.b)}


def _float(value: float) -> str:
    """Exactly this number, rounded to float."""
    number = float(np.float32(value))
    if math.isnan(number):
        return "NAN"
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    return f"{number.hex()}f"


def _comment(name: str) -> str:
    """A name of a model file, which may hold anything, as a comment of one line."""
    shown = re.sub(r"[^ -~]|\*/|/\*|\?\?|\\", "_", name)
    return f"    /* {shown if len(shown) <= 90 else shown[:43] + ' ... ' + shown[-42:]} */\n"
