"""Truth values that are computed at run time: 1 and 0 in float32, and what is chosen by them."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

Tensor_co = TypeVar("Tensor_co", covariant=True)


class Nodes(Protocol[Tensor_co]):
    """Where nodes are made, of the tensors of an importer, or of arrays."""

    def unary(self, kind: str, x: Any, a: float = 0.0, b: float = 0.0) -> Tensor_co: ...

    def binary(self, kind: str, a: Any, b: Any) -> Tensor_co: ...


COMPARISONS = {"greater", "less", "greater_equal", "less_equal", "equal", "not_equal"}


def compare(net: Nodes[Tensor_co], kind: str, a: Any, b: Any) -> Tensor_co:
    """One of COMPARISONS, broadcast. NaN differs from all, and is neither less nor greater."""
    if kind in ("less", "less_equal"):
        a, b = b, a
    if kind in ("equal", "not_equal"):
        same = net.binary("equal", a, b)
        return same if kind == "equal" else negated(net, same)
    return net.binary("greater" if kind in ("greater", "less") else "greater_or_equal", a, b)


def negated(net: Nodes[Tensor_co], mask: Any) -> Tensor_co:
    return net.unary("linear", mask, -1.0, 1.0)


def either(net: Nodes[Tensor_co], a: Any, b: Any) -> Tensor_co:
    return net.binary("max", a, b)


def both(net: Nodes[Tensor_co], a: Any, b: Any) -> Tensor_co:
    return net.binary("min", a, b)


def one_of(net: Nodes[Tensor_co], a: Any, b: Any) -> Tensor_co:
    return net.unary("abs", net.binary("sub", a, b))


def select(net: Nodes[Tensor_co], mask: Any, a: Any, b: Any) -> Tensor_co:
    """a where the mask is 1, b where it is 0, broadcast: what is not chosen may be anything, NaN too."""
    return net.binary("add", net.binary("keep", a, mask), net.binary("keep", b, negated(net, mask)))
