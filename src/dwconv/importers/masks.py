"""Truth values that are computed at run time: 1 and 0 in float32, and what is chosen by them."""

from __future__ import annotations

from ..activation import Array
from .logical import Logical, T

COMPARISONS = {"greater", "less", "greater_equal", "less_equal", "equal", "not_equal"}


def compare(net: Logical, kind: str, a: T | Array, b: T | Array) -> T:
    """One of COMPARISONS, broadcast. NaN differs from all, and is neither less nor greater."""
    if kind in ("less", "less_equal"):
        a, b = b, a
    if kind in ("equal", "not_equal"):
        same = net.binary("equal", a, b)
        return same if kind == "equal" else negated(net, same)
    return net.binary("greater" if kind in ("greater", "less") else "greater_or_equal", a, b)


def negated(net: Logical, mask: T) -> T:
    return net.unary("linear", mask, -1.0, 1.0)


def either(net: Logical, a: T | Array, b: T | Array) -> T:
    return net.binary("max", a, b)


def both(net: Logical, a: T | Array, b: T | Array) -> T:
    return net.binary("min", a, b)


def one_of(net: Logical, a: T | Array, b: T | Array) -> T:
    return net.unary("abs", net.binary("sub", a, b))


def select(net: Logical, mask: T, a: T | Array, b: T | Array) -> T:
    """a where the mask is 1, b where it is 0, broadcast: what is not chosen may be anything, NaN too."""
    return net.binary("add", net.binary("keep", a, mask), net.binary("keep", b, negated(net, mask)))
