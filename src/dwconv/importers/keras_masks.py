"""Comparisons of `keras.ops`, logic and what is chosen by them, as nodes: a truth value is 1 or 0 in float32.

The arithmetic is that of `masks`: what is not chosen may be anything.
"""

from __future__ import annotations

from typing import Any

from .keras_graph import OPERATIONS, Handler, Net, T, operates

COMPARISONS = {
    "Greater": ("greater", False), "GreaterEqual": ("greater_or_equal", False),
    "Less": ("greater", True), "LessEqual": ("greater_or_equal", True), "Equal": ("equal", False),
}  # fmt: skip
LOGIC = {"LogicalAnd": "min", "LogicalOr": "max"}


def _compare(kind: str, swapped: bool) -> Handler:
    return lambda net, op, x1, x2: net.binary(kind, *((x2, x1) if swapped else (x1, x2)))


def negated(net: Net, mask: T) -> T:
    return net.unary("linear", mask, -1.0, 1.0)


def truth(net: Net, x: Any) -> T:
    """1 for what is not 0."""
    return negated(net, net.binary("equal", x, 0.0))


def _logic(kind: str) -> Handler:
    return lambda net, op, x1, x2: net.binary(kind, truth(net, x1), truth(net, x2))


OPERATIONS.update({name: _compare(*how) for name, how in COMPARISONS.items()})
OPERATIONS.update({name: _logic(kind) for name, kind in LOGIC.items()})


@operates("NotEqual")
def not_equal(net: Net, op: Any, x1: Any, x2: Any) -> T:
    return negated(net, net.binary("equal", x1, x2))


@operates("LogicalNot")
def logical_not(net: Net, op: Any, x: T) -> T:
    return net.binary("equal", x, 0.0)


@operates("Where")
def where(net: Net, op: Any, condition: Any, x1: Any, x2: Any) -> T:
    mask = truth(net, condition)
    sides = net.binary("keep", x1, mask), net.binary("keep", x2, negated(net, mask))
    return net.binary("add", *sides)
