"""From the quantization arguments of layers to those of an `Operation`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .activation import Array
from .arrays import type_name
from .operation import Operation, Stage
from .quantized import (
    FORMULAS,
    MOST_FACTOR,
    MOST_RATIO,
    ROUNDINGS,
    GateQuantization,
    OperationQuantization,
    Quantization,
    Rounding,
    SqueezeExciteQuantization,
    StageQuantization,
    dtype_of,
    factors,
    filter_scales,
    integer_dtype,
    is_clamp,
    quantization,
    split_activation,
)

GATE = "squeeze_excite_quantization"
REMEDY = "dtype='int8' or dtype='uint8'"


class StageArguments(NamedTuple):
    """`prefix`: of the names of the arguments, as "depthwise_"; `before`: what the activation takes."""

    prefix: str
    filter_scale: Any
    output: Any
    before: Any = None
    activation: Any = None


class GateArguments(NamedTuple):
    """What a block was given for squeeze-and-excite."""

    quantization: Any
    squeeze_activation: Any
    gate_activation: Any


class Quantizing:
    """What the constructor of a layer was given, and what it makes of an operation of integers."""

    def __init__(
        self, name: str, dtype: Any, rounding: Any, x: Any, output_dtype: Any = None, total: Any = None
    ) -> None:
        self.name = name
        self.dtype = integer_dtype(name, dtype)
        self.rounding: Rounding = "even" if rounding is None else rounding
        self.x, self.output_dtype, self.total = x, output_dtype, total
        if self.rounding not in ROUNDINGS:
            raise ValueError(f"{name}: rounding must be 'even' or 'tflite', not {rounding!r}")

    @property
    def filter_dtype(self) -> np.dtype[Any] | None:
        return None if self.dtype is None else np.dtype(np.int8)

    def plain(self, argument: str, activation: Any) -> Any:
        """The activation without what only integers have."""
        return split_activation(self.name, argument, activation, self.dtype)[0]

    def attach(
        self, operation: Operation, *arguments: StageArguments, gate: GateArguments | None = None
    ) -> Operation:
        """`operation` with its quantization; as it is where the layer is one of floats."""
        given_gate = None if gate is None else gate.quantization
        if self.dtype is None:
            self._refuse(arguments)
            _refuse(self.name, {GATE: given_gate}, REMEDY)
            return operation
        if not operation.squeeze_excite:
            _refuse(self.name, {GATE: given_gate}, "squeeze_excite")
        x = quantization(self.name, "input_quantization", self.x, self.dtype)
        whole = OperationQuantization(self.dtype, x, self.rounding, None, self._is_float_output())
        stages: list[Stage] = []
        q = x
        for stage, given in zip(operation.stages, arguments, strict=True):
            if gate is not None and stage is operation.stages[-1] and operation.squeeze_excite:
                operation, found_gate = self._gate(operation, q, gate)
                whole, q = replace(whole, gate=found_gate), found_gate.scaled
            stages.append(self._chained(stage, given, q))
            q = _output(stages[-1])
        operation = replace(operation, stages=tuple(stages), quantization=whole)
        return self._with_residual(operation, q)

    def _chained(self, stage: Stage, given: StageArguments, x: Quantization) -> Stage:
        found = self._stage(stage, given)
        self._check_factors(f"{given.prefix}filter_scale", x, found)
        _check_sums(self.name, stage)
        return replace(stage, quantization=found)

    def _gate(
        self, operation: Operation, wide: Quantization, gate: GateArguments
    ) -> tuple[Operation, GateQuantization]:
        """`wide`: what depthwise gives."""
        assert self.dtype is not None
        given = gate.quantization
        if not isinstance(given, SqueezeExciteQuantization):
            raise TypeError(
                f"{self.name}: {GATE} is needed for squeeze_excite with dtype={self.dtype.name!r}: "
                f"pass a dwconv.SqueezeExciteQuantization, not {type_name(given)}"
            )
        if given.product not in FORMULAS:
            raise ValueError(
                f"{self.name}: product of {GATE} must be 'integer' or 'float', not {given.product!r}"
            )
        mean = quantization(self.name, f"mean of {GATE}", given.mean, self.dtype)
        first, last = operation.squeeze_excite
        first = self._chained(
            first,
            StageArguments(
                "squeeze_", given.squeeze_filter_scale, given.squeeze_output,
                given.squeeze_activation_quantization, gate.squeeze_activation,
            ),
            mean,
        )  # fmt: skip
        last = self._chained(
            last,
            StageArguments(
                "gate_", given.gate_filter_scale, given.gate_output, given.gate_activation_quantization,
                gate.gate_activation,
            ),
            _output(first),
        )  # fmt: skip
        scaled = quantization(self.name, f"scaled of {GATE}", given.scaled, self.dtype)
        self._check_ratio("mean", wide.scale, mean.scale)
        self._check_ratio("scaled", wide.scale * _output(last).scale, scaled.scale)
        found = GateQuantization(mean, scaled, given.product)
        return replace(operation, squeeze_excite=(first, last)), found

    def _check_ratio(self, field: str, before: float, after: float) -> None:
        if not before / after < MOST_RATIO:
            raise ValueError(
                f"{self.name}: {field} of {GATE}: what is rounded to it has a scale of {before:g}, which "
                f"must be less than 2^20 times {after:g}"
            )

    def _refuse(self, arguments: Sequence[StageArguments]) -> None:
        given = {
            "input_quantization": self.x,
            "output_dtype": self.output_dtype,
            "sum_quantization": self.total,
        }
        _refuse(self.name, given, REMEDY)
        self.refuse(arguments, REMEDY)

    def refuse(self, arguments: Sequence[StageArguments], needed: str) -> None:
        """TypeError where an argument of these stages was given, without what it needs."""
        for stage in arguments:
            given = {
                f"{stage.prefix}filter_scale": stage.filter_scale,
                f"{stage.prefix}output_quantization": stage.output,
                f"{stage.prefix}activation_quantization": stage.before,
            }
            _refuse(self.name, given, needed)

    def _is_float_output(self) -> bool:
        if self.output_dtype is None:
            return False
        dtype = dtype_of(self.output_dtype)
        if dtype not in (self.dtype, np.dtype(np.float32)):
            raise ValueError(
                f"{self.name}: output_dtype must be None, {self.dtype} or float32, not {self.output_dtype!r}"
            )
        return bool(dtype == np.float32)

    def _stage(self, stage: Stage, given: StageArguments) -> StageQuantization:
        assert self.dtype is not None
        name, prefix = self.name, given.prefix
        argument = f"{prefix}activation_quantization"
        scales = filter_scales(name, f"{prefix}filter_scale", given.filter_scale, stage.out_channels)
        output = quantization(name, f"{prefix}output_quantization", given.output, self.dtype)
        _, table, clamp = split_activation(name, f"{prefix}activation", given.activation, self.dtype)
        before = None
        if table is not None or not is_clamp(stage.activation):
            if given.before is None:
                raise TypeError(
                    f"{name}: {argument} is needed: (scale, zero_point) of what "
                    f"{'the table' if table is not None else stage.activation.kind} takes"
                )
            before = quantization(name, argument, given.before, self.dtype)
        return StageQuantization(scales, output, before, table, clamp)

    def _check_factors(self, argument: str, x: Quantization, stage: StageQuantization) -> None:
        found = factors(x, stage)
        bad = np.flatnonzero(~((found > 0) & (found < MOST_FACTOR)))
        if bad.size:
            scale = stage.filter_scale[bad[0]]
            raise ValueError(
                f"{self.name}: {argument}: input scale * filter scale / output scale must be above 0 and "
                f"below {MOST_FACTOR:.0f}, not {x.scale:g} * {scale:g} / {stage.before.scale:g} (output "
                f"channel {bad[0]})"
            )

    def _with_residual(self, operation: Operation, q: Quantization) -> Operation:
        """Whether the input is added is decided here, by strides and channels: the scale of an output does
        not depend on its size."""
        whole, stages = operation.quantization, operation.stages
        assert whole is not None
        assert self.dtype is not None
        same = stages[0].in_channels == stages[-1].out_channels
        adds = operation.residual is not False and same and all(s.window.strides == (1, 1) for s in stages)
        if not adds:
            if self.total is not None:
                raise ValueError(f"{self.name}: sum_quantization is for blocks that add x to their result")
            return operation
        if self.total is None:
            raise TypeError(
                f"{self.name}: sum_quantization is needed where x is added: pass (scale, zero_point) of the "
                "result, or residual=False"
            )
        total = quantization(self.name, "sum_quantization", self.total, self.dtype)
        most = float(np.float32(max(q.scale, whole.input.scale)) / np.float32(total.scale))
        if not 2.0**-10 <= most < 2.0**8:
            raise ValueError(
                f"{self.name}: sum_quantization: the larger of the scales of x and of output_quantization "
                f"must be at least 2^-10 and below 2^8 times its scale, not {most:g} times"
            )
        return replace(operation, quantization=replace(whole, sum=total))

    def attributes(self, operation: Operation) -> dict[str, Any]:
        """Of the layer, in their normal form: without those of stages."""
        whole = operation.quantization
        if whole is None:
            return dict.fromkeys(("dtype", "input_quantization", "rounding", "output_dtype"))
        return {
            "dtype": whole.dtype.name,
            "input_quantization": whole.input,
            "rounding": whole.rounding,
            "output_dtype": "float32" if whole.float_output else None,
        }


def _refuse(name: str, given: dict[str, Any], needed: str) -> None:
    for argument, value in given.items():
        if value is not None:
            raise TypeError(f"{name}: {argument} needs {needed}")


def stage_attributes(stage: Stage | None, prefix: str = "") -> dict[str, Any]:
    names = ("filter_scale", "output_quantization", "activation_quantization")
    q = None if stage is None else stage.quantization
    values = (None, None, None) if q is None else (q.filter_scale, q.output, q.activation_input)
    return {prefix + name: value for name, value in zip(names, values, strict=True)}


def _output(stage: Stage) -> Quantization:
    assert stage.quantization is not None
    return stage.quantization.output


def gate_attribute(operation: Operation) -> SqueezeExciteQuantization | None:
    whole = operation.quantization
    if whole is None or whole.gate is None:
        return None
    first, last = (stage.quantization for stage in operation.squeeze_excite)
    assert first is not None
    assert last is not None
    return SqueezeExciteQuantization(
        whole.gate.mean, first.filter_scale, first.output, last.filter_scale, last.output, whole.gate.scaled,
        first.activation_input, last.activation_input, whole.gate.product,
    )  # fmt: skip


def activation_of(stage: Stage) -> Any:
    """What makes the same activation again."""
    q = stage.quantization
    if q is not None and q.table is not None:
        return q.table
    if q is not None and q.clamp is not None:
        return ("clamp", *q.clamp)
    return stage.activation.normal


def _check_sums(name: str, stage: Stage) -> None:
    """255 * sum |w| + |bias| < 2^31 for every output channel."""
    weights = np.abs(stage.filters.astype(np.int64))
    axes = (0, 1) if stage.kind == "depthwise" else (0, 1, 2)
    most: Array = 255 * weights.sum(axes).reshape(-1)
    if stage.bias is not None:
        most = most + np.abs(stage.bias.astype(np.int64))
    bad = np.flatnonzero(most >= 2**31)
    if bad.size:
        raise ValueError(
            f"{name}: {stage.argument}: sums must fit 32 bits: 255 * sum |w| + |bias| is {most[bad[0]]} for "
            f"output channel {bad[0]}, not below 2^31"
        )
