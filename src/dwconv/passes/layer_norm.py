"""Layer normalisation over the last axis: (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)."""

from __future__ import annotations

import numpy as np

from ..graph import Node
from ..nodes import axes_of
from .editor import Editor
from .scalars import scaled


def layer_norm(edit: Editor, node: Node) -> bool:
    """The division becomes the normalisation; fold.py adds the scale and the bias that follow."""
    if node.op != "binary" or node["kind"] not in ("div", "mul") or node["activation"] is not None:
        return False
    pairs = [node.inputs] if node["kind"] == "div" else [node.inputs, node.inputs[::-1]]
    return any(_normalise(edit, node, above, below) for above, below in pairs)


def _normalise(edit: Editor, node: Node, above: str, below: str) -> bool:
    inner: list[Node] = []
    if node["kind"] == "mul":
        inverse = edit.maker(below, "unary", "reciprocal")
        if inverse is None:
            return False
        inner.append(inverse)
        below = inverse.inputs[0]
    root = edit.maker(below, "unary", "sqrt")
    if root is None:
        return False
    shifted = scaled(edit, root.inputs[0])
    variance = _mean(edit, shifted.source)
    if variance is None or shifted.a != 1 or shifted.b < 0:
        return False
    square = edit.maker(variance.inputs[0])
    deviation = None if square is None else _squared(square)
    if square is None or deviation is None:
        return False
    x = _centred(edit, above, inner)
    if x is None or _centred(edit, deviation, inner) != x:
        return False
    inner += [root, *shifted.nodes, variance, square]
    if edit.shape(x) != edit.shape(node.output) or not edit.private(inner, node):
        return False
    size, dtype = edit.shape(x)[-1], edit.dtype(x)
    ones, zeros = np.ones(size, dtype), np.zeros(size, dtype)
    unique = list({id(n): n for n in inner}.values())
    return edit.rewrite(node, "layer_norm", x, ones, zeros, inner=unique, epsilon=shifted.b)


def _mean(edit: Editor, value: str) -> Node | None:
    """The node, if it is a mean over the last axis, which stays with size 1."""
    node = edit.maker(value, "reduce", "mean")
    if node is None or not node["keepdims"]:
        return None
    rank = len(edit.shape(node.inputs[0]))
    return node if axes_of(node, rank) == (rank - 1,) else None


def _squared(node: Node) -> str | None:
    """What a node squares."""
    if node.op == "unary" and node["kind"] == "square":
        return node.inputs[0]
    if node.op != "binary" or node["kind"] != "mul" or node["activation"] is not None:
        return None
    return node.inputs[0] if node.inputs[0] == node.inputs[1] else None


def _centred(edit: Editor, value: str, inner: list[Node]) -> str | None:
    """x of x - mean(x)."""
    node = edit.maker(value, "binary", "sub")
    mean = None if node is None else _mean(edit, node.inputs[1])
    if node is None or mean is None or mean.inputs[0] != node.inputs[0]:
        return None
    inner += [node, mean]
    return node.inputs[0]
