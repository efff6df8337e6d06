"""TFLite's tensors of 8-bit integers: operands with scales, results as the file declares them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import byte_tables
from ..graph import Quantization
from ..nodes_integers import check, same
from .tflite_call import Call, UnsupportedError

KINDS = {"INT8": np.dtype(np.int8), "UINT8": np.dtype(np.uint8)}
BOUNDS: dict[Any, tuple[float, float]] = {
    "relu": (0.0, math.inf), "relu6": (0.0, 6.0), ("clip", -1.0, 1.0): (-1.0, 1.0),
}  # fmt: skip


def result_of(call: Call, index: int = 0) -> dict[str, Any]:
    """Attributes of a node that gives what the operator does."""
    tensor = call.output_tensor(index)
    if tensor.kind not in KINDS:
        raise UnsupportedError(f"a result of {tensor.kind} from 8-bit integers; INT8 and UINT8 are supported")
    dtype = KINDS[tensor.kind]
    y = check(tensor.quantization, dtype, f"{tensor.name!r}: ")
    return {"dtype": dtype.name, "quantization": y, "rounding": call.rounding}


def clamped(call: Call) -> dict[str, Any]:
    """The same, with the bounds of the fused activation."""
    found = result_of(call)
    return found | bounds_of(call, found)


def bounds_of(call: Call, result: dict[str, Any]) -> dict[str, Any]:
    activation = call.activation()
    if activation is None:
        return {}
    low, high = BOUNDS[activation]
    q, dtype = result["quantization"], np.dtype(result["dtype"])
    return {"low": _bound(low, q, dtype, call.rounding), "high": _bound(high, q, dtype, call.rounding)}


def _bound(value: float, q: Quantization, dtype: np.dtype[Any], rounding: str) -> int:
    from ..quantized import Quantization as Scalar
    from ..quantized import _bound as bound

    return bound(value, Scalar(q.scale, q.zero_point), dtype, rounding)  # type: ignore[arg-type]


def operand(call: Call, i: int = 0) -> str:
    """An input of bytes, with a scale."""
    tensor, value = call.tensor(i), call.value(i)
    if tensor.kind not in KINDS:
        raise UnsupportedError(f"its input {tensor.name!r} of {tensor.kind} with others of 8 bits")
    if call.data(i) is not None and call.quantization(value) is None:  # made of constants, as zeros by FILL
        value = call.b.constant(call.data(i), tensor.quantization)
    check(call.quantization(value), KINDS[tensor.kind], f"{tensor.name!r}: ")
    return value


def as_declared(call: Call, value: str, index: int = 0) -> str:
    """With the scale that the file gives the result, where moving elements kept another."""
    tensor = call.output_tensor(index)
    if tensor.kind not in KINDS or tensor.quantization is None or call.b.data(value) is not None:
        return value
    declared = check(tensor.quantization, KINDS[tensor.kind], f"{tensor.name!r}: ")
    if same(call.quantization(value), declared):
        return value
    return call.node("lookup", value, byte_tables.relabelled(KINDS[tensor.kind]), quantization=declared)


def moved(call: Call, handler: Callable[[Call], Any]) -> str | list[str]:
    made = handler(call)
    if isinstance(made, str):
        return as_declared(call, made)
    return [as_declared(call, value, index) for index, value in enumerate(made)]


def requantised(call: Call, value: str, y: Quantization, dtype: np.dtype[Any]) -> str:
    x, x_dtype = call.quantization(value), call.dtype(value)
    if x_dtype == dtype and same(x, y):
        return value
    assert x is not None
    table = byte_tables.requantization(x, x_dtype, y, dtype, call.rounding)
    return call.node("lookup", value, table, quantization=y)
