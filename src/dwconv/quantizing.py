"""Layers of floats as layers of 8-bit integers, from the ranges of what lies between their stages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .activation import Activation, Array
from .operation import Operation, Stage
from .quantized import (
    Quantization,
    SqueezeExciteQuantization,
    dtype_of,
    integer_dtype,
    is_clamp,
    limits,
)

if TYPE_CHECKING:
    from .layer_base import _Layer

Range: TypeAlias = tuple[float, float]

MOST_BIAS = 2**30  # leaves room for the sums
BOUNDED = {"relu6": (0.0, 6.0), "hard_sigmoid": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def quantization_of(name: str, argument: str, value: Any, dtype: np.dtype[Any]) -> Quantization:
    """Scale and zero point for numbers in a range (low, high), widened to hold 0, which becomes exact."""
    where = f"{name}: {argument}"
    try:
        low, high = (float(bound) for bound in value)
    except (TypeError, ValueError):
        raise TypeError(f"{where} must be (low, high), not {value!r}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{where} must be finite with low <= high, not {value!r}")
    low, high = min(low, 0.0), max(high, 0.0)
    least, most = limits(dtype)
    scale = float(np.float32((high - low) / (most - least))) or 1.0
    zero_point = round(least - low / scale)
    return Quantization(scale, min(max(zero_point, least), most))


def weights(stage: Stage, x_scale: float, y_scale: float) -> tuple[Array, Array, Array | None]:
    """(int8 filters, scales, int32 bias): symmetric, the largest weight of an output channel becoming 127."""
    filters = stage.filters.astype(np.float64)
    channels = filters.reshape(-1, stage.out_channels)
    scales = np.abs(channels).max(0) / 127
    bias = None if stage.bias is None else stage.bias.astype(np.float64)
    if bias is not None:  # tiny weights under a large bias
        scales = np.maximum(scales, np.abs(bias) / (x_scale * MOST_BIAS))
    scales = np.where(scales > 0, scales, y_scale / x_scale).astype(np.float32)
    rounded = np.clip(np.rint(channels / scales), -127, 127).astype(np.int8).reshape(filters.shape)
    if bias is not None:
        bias = np.rint(bias / (np.float64(x_scale) * scales)).astype(np.int32)
    return rounded, scales, bias


def _range(name: str, argument: str, given: Any, activation: Activation) -> Any:
    """That of the caller, or of a bounded activation."""
    if given is not None:
        return given
    if activation.kind in BOUNDED:
        return BOUNDED[activation.kind]
    if activation.kind == "clip" and math.isfinite(activation.a) and math.isfinite(activation.b):
        return activation.a, activation.b
    raise TypeError(f"{name}: {argument} is needed: (low, high) of what that stage gives")


def quantized(
    layer: _Layer, operation: Operation, ranges: dict[str, Any], dtype: Any, rounding: Any, output_dtype: Any
) -> _Layer:
    """`layer` anew, with integers; `ranges` by argument of `_Layer.quantized`."""
    name = f"{operation.name}.quantized"
    kind = integer_dtype(name, dtype)
    if kind is None:
        raise ValueError(f"{name}: dtype must be 'int8' or 'uint8', not None")
    if operation.quantization is not None or dtype_of(operation.dtype) != np.float32:
        raise TypeError(f"{name}: it is for layers of float32, not of {operation.dtype}")
    x = quantization_of(name, "input_range", ranges["input_range"], kind)
    arguments = layer._arguments() | {
        "dtype": kind.name, "rounding": rounding, "input_quantization": x, "output_dtype": output_dtype,
        "flush_denormals": False,
    }  # fmt: skip
    adds = "sum_quantization" in arguments and _adds(operation)
    for prefix, stage in _prefixed(operation):
        last = stage is operation.stages[-1]
        if last and operation.squeeze_excite:
            gate, x = _gate(name, operation, ranges, x, kind)
            arguments |= gate
        argument = f"{prefix}range" if not last else "project_range" if adds else "output_range"
        made = _stage(name, prefix, stage, argument, ranges, x, kind)
        if not is_clamp(stage.activation):
            arguments[f"{prefix}activation_quantization"] = made.before
        arguments |= {
            stage.argument: made.filters, f"{prefix}bias": made.bias, f"{prefix}filter_scale": made.scales,
            f"{prefix}output_quantization": made.output,
        }  # fmt: skip
        x = made.output
    if adds:
        arguments["sum_quantization"] = quantization_of(name, "output_range", ranges["output_range"], kind)
    elif operation.kind == "inverted_residual":
        arguments["residual"] = False
    from .layer_base import _layer_class

    return _layer_class(type(layer))(**arguments)


class _Made(NamedTuple):
    filters: Array
    scales: Array
    bias: Array | None
    before: Quantization  # what the activation takes; `output` where it is a clamp
    output: Quantization


def _stage(
    name: str, prefix: str, stage: Stage, argument: str, ranges: dict[str, Any], x: Quantization,
    kind: np.dtype[Any],
) -> _Made:  # fmt: skip
    """`argument`: of the range of what the stage gives."""
    given = _range(name, argument, ranges[argument], stage.activation)
    y = quantization_of(name, argument, given, kind)
    before = y
    if not is_clamp(stage.activation):
        wanted = f"{prefix}activation_range"
        if ranges[wanted] is None:
            raise TypeError(f"{name}: {wanted} is needed: (low, high) of what {stage.activation.kind} takes")
        before = quantization_of(name, wanted, ranges[wanted], kind)
    return _Made(*weights(stage, x.scale, before.scale), before, y)


def _gate(
    name: str, operation: Operation, ranges: dict[str, Any], wide: Quantization, kind: np.dtype[Any]
) -> tuple[dict[str, Any], Quantization]:
    """The arguments of squeeze-and-excite, and what the projection takes: `wide`, which the mean has too."""
    first, last = operation.squeeze_excite
    squeeze = _stage(name, "squeeze_", first, "squeeze_range", ranges, wide, kind)
    gate = _stage(name, "gate_", last, "gate_range", ranges, squeeze.output, kind)
    scaled = wide
    if ranges["scaled_range"] is not None:
        scaled = quantization_of(name, "scaled_range", ranges["scaled_range"], kind)
    elif last.activation.kind not in ("hard_sigmoid", "sigmoid"):
        raise TypeError(f"{name}: scaled_range is needed: (low, high) of what the projection takes")
    before = [
        None if is_clamp(stage.activation) else made.before
        for stage, made in ((first, squeeze), (last, gate))
    ]
    told = SqueezeExciteQuantization(
        wide, squeeze.scales, squeeze.output, gate.scales, gate.output, scaled, before[0], before[1]
    )
    arrays = (squeeze.filters, squeeze.bias, gate.filters, gate.bias)
    return {"squeeze_excite": arrays, "squeeze_excite_quantization": told}, scaled


def _adds(operation: Operation) -> bool:
    same = operation.stages[0].in_channels == operation.stages[-1].out_channels
    return (
        operation.residual is not False and same and all(s.window.strides == (1, 1) for s in operation.stages)
    )


def _prefixed(operation: Operation) -> list[tuple[str, Stage]]:
    """Stages with the prefix of their arguments."""
    prefixes = {1: [""], 2: ["depthwise_", ""], 3: ["expand_", "depthwise_", ""]}[len(operation.stages)]
    return list(zip(prefixes, operation.stages, strict=True))
