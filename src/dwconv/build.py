"""From the arguments of functions and layers to a checked `Operation`.

`dtype` None: the filters decide. The filters of a function must have the dtype of its `x`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .activation import Activation, Array, parse
from .geometry import Window, integer, padding, steps
from .operation import Operation, Stage, as_array

DType = np.dtype[Any] | None


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
    array = _filters(name, "filters", filters, dtype, layout)
    groups = integer(f"{name}: groups", groups)
    if array.shape[3] % groups:
        raise ValueError(
            f"{name}: groups={groups} must divide {array.shape[3]} output channels (filters {array.shape})"
        )
    window = sliding.window(name, *array.shape[:2])
    parsed = parse(name, "activation", activation)
    stage = Stage("conv", "filters", array, None, parsed, window, groups)
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
    dtype = first.filters.dtype
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
        dtype = stages[0].filters.dtype
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
    dtype = stages[-1].filters.dtype
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
    array = _filters(name, argument, filters, dtype, "[kernel height, kernel width, channels, multiplier]")
    window = sliding.window(name, *array.shape[:2])
    stage = Stage("depthwise", argument, array, None, activation, window)
    return _with_bias(name, stage, bias, bias_argument)


def _pointwise(
    name: str, filters: Any, bias: Any, activation: Activation, dtype: DType,
    argument: str = "filters", bias_argument: str = "bias", strides: Any = 1,
) -> Stage:  # fmt: skip
    layout = "[channels, outputs] or [1, 1, channels, outputs]"
    array = as_array(name, argument, filters, dtype)
    if array.ndim == 2:
        array = array[np.newaxis, np.newaxis]
    array = _filters(name, argument, array, dtype, layout)
    if array.shape[:2] != (1, 1):
        raise ValueError(f"{name}: {argument} must be {layout}, not {array.shape}")
    stage = Stage("pointwise", argument, array, None, activation, Sliding(strides).window(name))
    return _with_bias(name, stage, bias, bias_argument)


def _filters(name: str, argument: str, value: Any, dtype: DType, layout: str) -> Array:
    filters = as_array(name, argument, value, dtype)
    if filters.ndim != 4 or 0 in filters.shape:
        raise ValueError(f"{name}: {argument} must be {layout} without an empty axis, not {filters.shape}")
    return np.ascontiguousarray(filters)


def _with_bias(name: str, stage: Stage, bias: Any, argument: str) -> Stage:
    if bias is None:
        return stage
    array = np.ascontiguousarray(as_array(name, argument, bias, stage.filters.dtype))
    if array.shape != (stage.out_channels,):
        raise ValueError(
            f"{name}: {argument} must have the shape ({stage.out_channels},), one value for each output "
            f"channel, not {array.shape} ({stage.argument} {stage.filters.shape})"
        )
    return replace(stage, bias=array)


def _check_chain(name: str, first: Stage, second: Stage) -> None:
    if first.out_channels != second.in_channels:
        raise ValueError(
            f"{name}: {second.argument} expects {second.in_channels} channels but {first.argument} gives "
            f"{first.out_channels} ({first.argument} {first.filters.shape}, "
            f"{second.argument} {second.filters.shape})"
        )


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: flush_denormals must be True or False, not {value!r}")
    return bool(value)
