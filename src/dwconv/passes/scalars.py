"""Numbers in models: when one counts as another, and values that are a number times another plus a number."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..graph import Node
from .editor import Editor

EXACT = 1e-6  # what float32 makes of a number, with room for one more rounding
COARSE = 1e-3  # what float16 makes of it


def close(number: float, wanted: float) -> bool:
    """Whether `number` is `wanted` up to the rounding of the model. A model of float16 shows in its numbers:
    they, or what was divided by, have ten bits."""
    error = abs(number - wanted)
    if error <= EXACT * abs(wanted):
        return True
    return error <= COARSE * abs(wanted) and (_is_half(number) or (number != 0 and _is_half(1 / number)))


def _is_half(number: float) -> bool:
    # A float32 division may have rounded it since.
    with np.errstate(over="ignore"):
        return abs(float(np.float16(number)) - number) <= 2e-7 * abs(number)


class Scaled(NamedTuple):
    """a * source + b, and the nodes that compute it: one or none."""

    a: float
    b: float
    source: str
    nodes: list[Node]


def scaled(edit: Editor, value: str) -> Scaled:
    node = edit.maker(value, "unary", "linear")
    if node is None:
        return Scaled(1.0, 0.0, value, [])
    return Scaled(node["a"], node["b"], node.inputs[0], [node])


def clip_of(node: Node | None) -> tuple[float, float] | None:
    """The bounds, where a node only clips."""
    if node is None or node.op != "unary":
        return None
    return {"relu": (0.0, np.inf), "relu6": (0.0, 6.0), "clip": (node["a"], node["b"])}.get(node["kind"])


def clip_kind(low: float, high: float) -> dict[str, Any]:
    """The attributes of a unary node that clips."""
    plain = {(0.0, np.inf): "relu", (0.0, 6.0): "relu6"}.get((low, high))
    return {"kind": "clip", "a": low, "b": high} if plain is None else {"kind": plain}


def polynomial(
    edit: Editor, value: str, x: str, inner: list[Node], depth: int = 8
) -> dict[int, float] | None:
    """The coefficients of `value` as a polynomial in `x`, by power; `inner` gets the nodes of it."""
    if value == x:
        return {1: 1.0}
    node = edit.maker(value)
    if node is None or depth == 0 or node.op not in ("unary", "binary"):
        return None
    inner.append(node)
    first = polynomial(edit, node.inputs[0], x, inner, depth - 1)
    if first is None or edit.shape(value) != edit.shape(x):
        return None
    if node.op == "unary":
        if node["kind"] == "linear":
            return _plus({power: node["a"] * factor for power, factor in first.items()}, {0: node["b"]}, 1)
        return _times(first, first) if node["kind"] == "square" else None
    if node["activation"] is not None:
        return None
    if node["kind"] == "pow":
        exponent = edit.scalar(node.inputs[1])
        powers = {2: _times(first, first), 3: _times(_times(first, first), first)}
        return powers.get(exponent) if exponent is not None else None  # type: ignore[call-overload]
    second = polynomial(edit, node.inputs[1], x, inner, depth - 1)
    if second is None:
        return None
    if node["kind"] == "mul":
        return _times(first, second)
    sign = {"add": 1, "sub": -1}.get(node["kind"])
    return None if sign is None else _plus(first, second, sign)


def _plus(p: dict[int, float], q: dict[int, float], sign: int) -> dict[int, float]:
    total = {power: p.get(power, 0.0) + sign * q.get(power, 0.0) for power in p.keys() | q.keys()}
    return {power: factor for power, factor in total.items() if factor}


def _times(p: dict[int, float], q: dict[int, float]) -> dict[int, float]:
    product: dict[int, float] = {}
    for power, factor in p.items():
        for other, more in q.items():
            product[power + other] = product.get(power + other, 0.0) + factor * more
    return product
