"""From the arguments of functions and layers to a checked `Operation`.

`dtype` None: the filters decide. The filters of a function must have the dtype of its `x`. int8: filters of a
quantized layer, which may be int16 as well, and whose biases are int32.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from . import layouts
from .activation import Activation, Array, parse
from .arrays import as_array
from .geometry import Window, integer, padding, steps
from .nine_bits import spread
from .operation import Operation, Stage
from .quantized import as_integers

DType = np.dtype[Any] | None
INT8, INT16, INT32 = np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32)


class Sliding(NamedTuple):
    """Strides, padding and dilations as the user gave them; `nchw`: their 4-item forms follow that order."""

    strides: Any = 1
    padding: Any = "valid"
    dilations: Any = 1
    nchw: bool = False

    def window(self, name: str, kernel_h: int = 1, kernel_w: int = 1) -> Window:
        return Window(
            (kernel_h, kernel_w),
            steps(name, "strides", self.strides, self.nchw),
            padding(name, self.padding, self.nchw),
            steps(name, "dilations", self.dilations, self.nchw),
        )


def depthwise(
    name: str,
    filters: Any,
    sliding: Sliding,
    bias: Any,
    activation: Any,
    flush: Any = False,
    dtype: DType = None,
) -> Operation:
    stage = _depthwise(name, filters, sliding, bias, parse(name, "activation", activation), dtype)
    return Operation(name, "depthwise", (stage,), _flag(name, flush))


def pointwise(
    name: str, filters: Any, strides: Any, bias: Any, activation: Any, flush: Any = False, dtype: DType = None
) -> Operation:
    stage = _pointwise(name, filters, bias, parse(name, "activation", activation), dtype, strides=strides)
    return Operation(name, "pointwise", (stage,), _flag(name, flush))


def conv(
    name: str, filters: Any, sliding: Sliding, bias: Any, activation: Any, groups: Any,
    flush: Any = False, dtype: DType = None,
) -> Operation:  # fmt: skip
    layout = "[kernel height, kernel width, channels / groups, outputs]"
    array, given = _filters(name, "conv", "filters", filters, dtype, layout)
    window = sliding.window(name, *array.shape[:2])
    parsed = parse(name, "activation", activation)
    stage = Stage("conv", "filters", array, None, parsed, window, integer(f"{name}: groups", groups), given)
    if stage.out_channels % stage.groups:
        raise ValueError(
            f"{name}: groups={stage.groups} must divide {stage.out_channels} output channels "
            f"(filters {array.shape}){layouts.for_groups(stage)}"
        )
    return Operation(name, "conv", (_with_bias(name, stage, bias, "bias"),), _flag(name, flush))


def separable(
    name: str, depthwise_filter: Any, pointwise_filter: Any, sliding: Sliding, depthwise_bias: Any,
    depthwise_activation: Any, bias: Any, activation: Any, flush: Any = False, dtype: DType = None,
) -> Operation:  # fmt: skip
    first = _depthwise(
        name, depthwise_filter, sliding, depthwise_bias,
        parse(name, "depthwise_activation", depthwise_activation), dtype,
        "depthwise_filter", "depthwise_bias",
    )  # fmt: skip
    dtype = dtype or first.filters.dtype
    parsed = parse(name, "activation", activation)
    last = _pointwise(name, pointwise_filter, bias, parsed, dtype, "pointwise_filter")
    _check_chain(name, first, last)
    return Operation(name, "separable", (first, last), _flag(name, flush))


def inverted_residual(
    name: str, expand_filter: Any, depthwise_filter: Any, project_filter: Any, sliding: Sliding,
    expand_bias: Any, depthwise_bias: Any, bias: Any, activation: Any, residual: Any,
    squeeze_excite: Any = None, squeeze_activation: Any = "relu", gate_activation: Any = "hard_sigmoid",
    flush: Any = False, dtype: DType = None,
) -> Operation:  # fmt: skip
    parsed = parse(name, "activation", activation)
    stages = []
    if expand_filter is not None:
        stages.append(
            _pointwise(name, expand_filter, expand_bias, parsed, dtype, "expand_filter", "expand_bias")
        )
        dtype = dtype or stages[0].filters.dtype
    elif expand_bias is not None:
        raise ValueError(f"{name}: expand_bias needs an expand_filter")
    stages.append(
        _depthwise(
            name,
            depthwise_filter,
            sliding,
            depthwise_bias,
            parsed,
            dtype,
            "depthwise_filter",
            "depthwise_bias",
        )
    )
    dtype = dtype or stages[-1].filters.dtype
    stages.append(_pointwise(name, project_filter, bias, Activation(), dtype, "project_filter"))
    for first, second in pairwise(stages):
        _check_chain(name, first, second)
    gate = _squeeze_excite(name, squeeze_excite, squeeze_activation, gate_activation, stages[-2])
    if residual is not None and not isinstance(residual, bool | np.bool_):
        raise TypeError(f"{name}: residual must be True, False or None, not {residual!r}")
    residual = None if residual is None else bool(residual)
    strides = stages[-2].window.strides
    if residual and (strides != (1, 1) or stages[0].in_channels != stages[-1].out_channels):
        raise ValueError(
            f"{name}: residual=True needs strides of 1 and as many output as input channels, "
            f"not strides {strides} and {stages[0].in_channels} to {stages[-1].out_channels} channels"
        )
    return Operation(name, "inverted_residual", tuple(stages), _flag(name, flush), residual, gate)


def _squeeze_excite(
    name: str, arrays: Any, squeeze_activation: Any, gate_activation: Any, scaled: Stage
) -> tuple[Stage, ...]:
    """The two dense layers that give the factors of the channels of `scaled`; none where `arrays` is None."""
    squeeze = parse(name, "squeeze_activation", squeeze_activation)
    gate = parse(name, "gate_activation", gate_activation)
    if arrays is None:
        return ()
    names = ("reduce_filter", "reduce_bias", "expand_filter", "expand_bias")
    if not isinstance(arrays, tuple | list) or len(arrays) != len(names):
        found = f"{len(arrays)} items" if isinstance(arrays, tuple | list) else type(arrays).__name__
        raise TypeError(f"{name}: squeeze_excite must be None or a tuple ({', '.join(names)}), not {found}")
    labels = [f"{argument} of squeeze_excite" for argument in names]
    dtype = scaled.filters.dtype
    first = _pointwise(name, arrays[0], arrays[1], squeeze, dtype, labels[0], labels[1])
    last = _pointwise(name, arrays[2], arrays[3], gate, dtype, labels[2], labels[3])
    _check_chain(name, scaled, first)
    _check_chain(name, first, last)
    if last.out_channels != scaled.out_channels:
        raise ValueError(
            f"{name}: {last.argument} must give a factor for each of the {scaled.out_channels} channels that "
            f"{scaled.argument} gives, not {last.out_channels} ({scaled.argument} {scaled.filters.shape}, "
            f"{last.argument} {last.filters.shape})"
        )
    return first, last


# ---- stages -----------------------------------------------------------------------------------


def _depthwise(
    name: str, filters: Any, sliding: Sliding, bias: Any, activation: Activation, dtype: DType,
    argument: str = "filters", bias_argument: str = "bias",
) -> Stage:  # fmt: skip
    layout = "[kernel height, kernel width, channels, multiplier]"
    array, given = _filters(name, "depthwise", argument, filters, dtype, layout)
    window = sliding.window(name, *array.shape[:2])
    stage = Stage("depthwise", argument, array, None, activation, window, given=given)
    return _with_bias(name, stage, bias, bias_argument)


def _pointwise(
    name: str, filters: Any, bias: Any, activation: Activation, dtype: DType,
    argument: str = "filters", bias_argument: str = "bias", strides: Any = 1,
) -> Stage:  # fmt: skip
    layout = "[channels, outputs] or [1, 1, channels, outputs]"
    array, given = _filters(name, "pointwise", argument, filters, dtype, layout)
    stage = Stage("pointwise", argument, array, None, activation, Sliding(strides).window(name), given=given)
    return _with_bias(name, stage, bias, bias_argument)


def _filters(
    name: str, kind: str, argument: str, value: Any, dtype: DType, layout: str
) -> tuple[Array, tuple[tuple[str, Array], ...]]:
    """Contiguous filters of four axes, and what they were made from, by argument."""
    if dtype in (INT8, INT16):
        wide = getattr(value, "dtype", None) == INT16
        given = as_integers(name, argument, value, INT16 if wide else INT8)
    else:
        given = as_array(name, argument, value, dtype)
    array = given[np.newaxis, np.newaxis] if kind == "pointwise" and given.ndim == 2 else given
    if array.ndim != 4 or (kind == "pointwise" and array.shape[:2] != (1, 1)):
        remedy = layouts.for_filter_axes(kind, argument, array.shape)
        raise ValueError(f"{name}: {argument} must be {layout}, not {array.shape}{remedy}")
    if 0 in array.shape:
        raise ValueError(f"{name}: {argument} must be {layout} without an empty axis, not {array.shape}")
    if array.dtype == INT16 and (most := int(spread(kind, array).max())) > 255:
        raise ValueError(
            f"{name}: {argument} of int16 must be bytes less a zero point: the weights of an output channel "
            f"and 0 are at most 255 apart, not {most}"
        )
    return np.ascontiguousarray(array), ((argument, given),)


def _with_bias(name: str, stage: Stage, bias: Any, argument: str) -> Stage:
    if bias is None:
        return stage
    dtype = stage.filters.dtype
    quantized = dtype in (INT8, INT16)
    given = as_integers(name, argument, bias, INT32) if quantized else as_array(name, argument, bias, dtype)
    if given.shape != (stage.out_channels,):
        raise ValueError(
            f"{name}: {argument} must have the shape ({stage.out_channels},), one value for each output "
            f"channel, not {given.shape} ({stage.argument} {stage.filters.shape})"
            f"{layouts.for_bias(stage, argument, given.shape)}"
        )
    return replace(stage, bias=np.ascontiguousarray(given), given=(*stage.given, (argument, given)))


def _check_chain(name: str, first: Stage, second: Stage) -> None:
    if first.out_channels != second.in_channels:
        raise ValueError(
            f"{name}: {second.argument} expects {second.in_channels} channels but {first.argument} gives "
            f"{first.out_channels} ({first.argument} {first.filters.shape}, "
            f"{second.argument} {second.filters.shape}){layouts.for_chain(first, second)}"
        )


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: flush_denormals must be True or False, not {value!r}")
    return bool(value)
