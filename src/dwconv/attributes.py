"""What attributes of nodes may be: of graphs that are made by hand or come from a file. See `dwconv.graph`.

A rule takes a value, lists where tuples are meant included, and gives its normal form or raises ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from .activation import PLAIN, parse
from .geometry import MAX_SIZE
from .graph import Quantization
from .nodes import DEFAULTS
from .nodes_numpy import BINARY, REDUCE, UNARY
from .operation import Operation
from .quantized import DTYPES, ROUNDINGS

Rule: TypeAlias = Callable[[Any], Any]
MOST_AXES = 6
# How many inputs a node has; 1 where it is not told.
INPUTS = {
    "conv": (2, 3), "transpose_conv": (2, 3), "binary": (2, 2), "prelu": (2, 2), "concat": (1, 2**16),
    "layer_norm": (3, 3), "matmul": (2, 2), "gather": (2, 2), "lookup": (2, 2),
}  # fmt: skip


def check(op: str, inputs: int, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """All attributes of a node of so many inputs, in their normal form. Raises ValueError for wrong ones."""
    if op not in RULES:
        raise ValueError(f"there is no op {op!r}; there are {', '.join(RULES)}")
    least, most = INPUTS.get(op, (1, 1))
    if not least <= inputs <= most:
        raise ValueError(f"{op} takes {least} to {most} inputs, not {inputs}")
    unknown = attributes.keys() - RULES[op].keys()
    if unknown:
        raise ValueError(f"{op} has no attribute {sorted(unknown)}; it has {sorted(RULES[op])}")
    found = {}
    for name, rule in RULES[op].items():
        value = attributes.get(name, DEFAULTS[op][name])
        try:
            found[name] = rule(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{op}: {name} {error}, not {str(value)[:80]}") from None
    return found


def _integer(low: int, high: int = MAX_SIZE) -> Rule:
    def rule(value: Any) -> int:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
            raise ValueError("must be an integer")
        if not low <= value <= high:
            raise ValueError(f"must be an integer from {low} to {high}")
        return int(value)

    return rule


def _real(low: float = -math.inf, high: float = math.inf) -> Rule:
    def rule(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise ValueError("must be a number")
        if not (low <= value <= high or (math.isnan(value) and math.isinf(low))):
            raise ValueError(f"must be a number from {low} to {high}")
        return float(value)

    return rule


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_) and value not in (0, 1):
        raise ValueError("must be true or false")
    return bool(value)


def _some(item: Rule, count: int | None = None) -> Rule:
    def rule(value: Any) -> tuple[Any, ...]:
        value = value.tolist() if isinstance(value, np.ndarray) else value
        if not isinstance(value, tuple | list) or len(value) != (len(value) if count is None else count):
            raise ValueError(f"must have {'items' if count is None else f'{count} items'}")
        if len(value) > MOST_AXES:
            raise ValueError(f"must have at most {MOST_AXES} items")
        return tuple(item(each) for each in value)

    return rule


def _or_none(rule: Rule) -> Rule:
    return lambda value: None if value is None else rule(value)


def _one_of(*words: str) -> Rule:
    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return rule


def _padding(value: Any) -> Any:
    return value if isinstance(value, str) and value in ("valid", "same") else _sides(value)


def _activation(value: Any) -> Any:
    return parse("network", "activation", tuple(value) if isinstance(value, list) else value).normal


def _quantization(value: Any) -> Quantization:
    if not isinstance(value, tuple | list) or len(value) not in (2, 3) or any(value[2:]):
        raise ValueError("must be a scale and a zero point")
    scale, zero = _real(0.0)(value[0]), _integer(-(2**31))(value[1])
    with np.errstate(over="ignore"):
        scale = float(np.float32(scale))
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError("must have a scale that is finite and above 0")
    return Quantization(scale, zero, None)


def _operation(value: Any) -> Operation:
    if not isinstance(value, Operation):
        raise ValueError("must be an operation that passes made")
    return value


_pair, _steps = _some(_integer(0), 2), _some(_integer(1), 2)
_sides = _some(_pair, 2)
_axis = _integer(-MOST_AXES, MOST_AXES)
_step = _or_none(_integer(-(2**63), 2**63 - 1))
_byte = _or_none(_integer(-128, 255))
ROUNDED: dict[str, Rule] = {
    "dtype": _or_none(_one_of(*DTYPES)), "quantization": _or_none(_quantization),
    "rounding": _one_of(*ROUNDINGS),
}  # fmt: skip
CLAMPED: dict[str, Rule] = {**ROUNDED, "low": _byte, "high": _byte}
CLAMPED_OR_FLOAT: dict[str, Rule] = {**CLAMPED, "dtype": _or_none(_one_of(*DTYPES, "float32"))}
SLIDING: dict[str, Rule] = {"strides": _steps, "padding": _padding, "dilations": _steps}
RULES: dict[str, dict[str, Rule]] = {
    "conv": {
        **SLIDING, "groups": _integer(1), "activation": _activation, "float_product": _boolean,
        **CLAMPED_OR_FLOAT,
    },
    "transpose_conv": {
        **SLIDING, "padding": _sides, "output_padding": _pair, "groups": _integer(1),
        "activation": _activation, **CLAMPED,
    },
    "max_pool": {"kernel": _steps, **SLIDING, "ceil_mode": _boolean},
    "average_pool": {
        "kernel": _steps, **SLIDING, "ceil_mode": _boolean, "count_include_pad": _boolean, **CLAMPED,
    },
    "reduce": {
        "kind": _one_of(*REDUCE), "axes": _or_none(_some(_axis)), "keepdims": _boolean, **CLAMPED,
    },
    "unary": {"kind": _one_of(*UNARY, *PLAIN, "identity", "clip", "leaky_relu"), "a": _real(), "b": _real()},
    "binary": {
        "kind": _one_of(*BINARY), "activation": _activation, "formula": _one_of("integer", "float"),
        **CLAMPED,
    },
    "prelu": CLAMPED,
    "concat": {"axis": _axis},
    "slice": {"slices": _some(_or_none(_some(_step, 3)))},
    "pad": {"pads": _some(_pair), "mode": _one_of("constant", "reflect", "edge"), "value": _real()},
    "transpose": {"perm": _some(_integer(0, MOST_AXES))},
    "reshape": {"shape": _some(_integer(-1))},
    "expand": {"shape": _some(_integer(1))},
    "resize": {
        "kind": _one_of("nearest", "linear"),
        "sizes": _or_none(_steps),
        "scales": _or_none(_some(_real(1e-6, 1e6), 2)),
        "coordinates": _one_of(
            "asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"
        ),
        "rounding": _one_of("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        "dtype": _or_none(_one_of(*DTYPES)),
        "quantization": _or_none(_quantization),
        "integers": _one_of(*ROUNDINGS),
    },
    "depth_to_space": {"block": _integer(1), "mode": _one_of("dcr", "crd")},
    "space_to_depth": {"block": _integer(1)},
    "softmax": {"axis": _axis, "log": _boolean, **ROUNDED},
    "layer_norm": {"epsilon": _real(0)},
    "matmul": {},
    "gather": {"axis": _axis},
    "quantize": ROUNDED,
    "dequantize": {},
    "lookup": {"quantization": _or_none(_quantization)},
    "block": {"operation": _operation},
}  # fmt: skip
