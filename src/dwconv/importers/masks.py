"""Truth values that are computed at run time: 1 and 0 in float32, and what is chosen by them."""

from __future__ import annotations

import numpy as np

from ..activation import Array
from .logical import Logical, T

FINITE = float(np.finfo(np.float32).max)
COMPARISONS = {"greater", "less", "greater_equal", "less_equal", "equal", "not_equal"}


def compare(net: Logical, kind: str, a: T | Array, b: T | Array) -> T:
    """One of COMPARISONS, broadcast. Of NaN it is NaN."""
    if kind in ("less", "greater_equal"):
        a, b = b, a
    sign = net.unary("sign", net.binary("sub", _finite(net, a), _finite(net, b)))
    if kind in ("equal", "not_equal"):
        differs = net.unary("abs", sign)
        return differs if kind == "not_equal" else negated(net, differs)
    above = net.unary("relu", sign)
    return above if kind in ("greater", "less") else negated(net, above)


def _finite(net: Logical, x: T | Array) -> T | Array:
    """Infinities have no difference."""
    if isinstance(x, T):
        return net.unary("clip", x, -FINITE, FINITE)
    return np.clip(x, np.float32(-FINITE), np.float32(FINITE))


def negated(net: Logical, mask: T) -> T:
    return net.unary("linear", mask, -1.0, 1.0)


def either(net: Logical, a: T | Array, b: T | Array) -> T:
    return net.binary("max", a, b)


def both(net: Logical, a: T | Array, b: T | Array) -> T:
    return net.binary("min", a, b)


def one_of(net: Logical, a: T | Array, b: T | Array) -> T:
    return net.unary("abs", net.binary("sub", a, b))


def select(net: Logical, mask: T, a: T | Array, b: T | Array) -> T:
    """a where the mask is 1, b where it is 0, broadcast: what is not chosen may be infinite, but not NaN.

    The smaller of a and infinity is a, of b and -infinity -infinity, and a the larger of these.
    """
    upper = net.binary("sub", net.unary("log", mask), net.unary("log", negated(net, mask)))
    return net.binary("max", net.binary("min", a, upper), net.binary("min", b, net.unary("neg", upper)))
