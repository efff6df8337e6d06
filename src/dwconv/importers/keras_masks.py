"""Comparisons of `keras.ops`, logic and what is chosen by them, as nodes: a truth value is 1 or 0 in float32.

The arithmetic is that of `masks`: what is not chosen may be anything.
"""

from __future__ import annotations

from typing import Any

from . import masks
from .keras_graph import OPERATIONS, Handler, Net, T, operates

COMPARISONS = {
    "Greater": "greater", "GreaterEqual": "greater_equal", "Less": "less", "LessEqual": "less_equal",
    "Equal": "equal", "NotEqual": "not_equal",
}  # fmt: skip


def _compare(kind: str) -> Handler:
    return lambda net, op, x1, x2: masks.compare(net, kind, x1, x2)


def truth(net: Net, x: Any) -> T:
    """1 for what is not 0."""
    return masks.compare(net, "not_equal", x, 0.0)


OPERATIONS.update({name: _compare(kind) for name, kind in COMPARISONS.items()})


@operates("LogicalAnd")
def logical_and(net: Net, op: Any, x1: Any, x2: Any) -> T:
    return masks.both(net, truth(net, x1), truth(net, x2))


@operates("LogicalOr")
def logical_or(net: Net, op: Any, x1: Any, x2: Any) -> T:
    return masks.either(net, truth(net, x1), truth(net, x2))


@operates("LogicalNot")
def logical_not(net: Net, op: Any, x: T) -> T:
    return masks.compare(net, "equal", x, 0.0)


@operates("Where")
def where(net: Net, op: Any, condition: Any, x1: Any, x2: Any) -> T:
    return masks.select(net, truth(net, condition), x1, x2)
