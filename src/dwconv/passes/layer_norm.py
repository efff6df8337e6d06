"""Layer normalisation over the last axis: (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)."""

from __future__ import annotations

import numpy as np

from ..activation import Array
from ..graph import Node
from ..nodes import axes_of
from .affine import chain_to
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
    x, found = _centred(edit, above, inner), _root(edit, below, inner)
    if x is None or found is None or found[0] != x:
        return False
    if edit.shape(x) != edit.shape(node.output) or not edit.private(inner, node):
        return False
    size, dtype = edit.shape(x)[-1], edit.dtype(x)
    ones, zeros = np.ones(size, dtype), np.zeros(size, dtype)
    unique = list({id(n): n for n in inner}.values())
    return edit.rewrite(node, "layer_norm", x, ones, zeros, inner=unique, epsilon=found[1])


def _root(edit: Editor, value: str, inner: list[Node]) -> tuple[str, float, list[Node]] | None:
    """x, epsilon and the nodes, which `inner` gets, of sqrt(variance(x) + epsilon)."""
    root = edit.maker(value, "unary", "sqrt")
    if root is None:
        return None
    shifted = scaled(edit, root.inputs[0])
    variance = _mean(edit, shifted.source)
    square = None if variance is None else edit.maker(variance.inputs[0])
    deviation = None if square is None else _squared(square)
    if variance is None or square is None or deviation is None or shifted.a != 1 or shifted.b < 0:
        return None
    x = _centred(edit, deviation, inner)
    inner += [root, *shifted.nodes, variance, square]
    return None if x is None else (x, shifted.b, inner)


def layer_norm_of_moments(edit: Editor, node: Node) -> bool:
    """x * inverse + (bias - mean * inverse), inverse = scale / sqrt(variance + epsilon): TensorFlow's way."""
    if node.op != "binary" or node["kind"] not in ("add", "sub") or node["activation"] is not None:
        return False
    pairs = (node.inputs, node.inputs[::-1])[: 2 if node["kind"] == "add" else 1]
    return any(_of_moments(edit, node, first, second) for first, second in pairs)


def _of_moments(edit: Editor, node: Node, first: str, second: str) -> bool:
    above = edit.maker(first, "binary", "mul")
    if above is None or any(edit.constant(name) is not None for name in above.inputs):
        return False
    rest = chain_to(edit, second)
    below = edit.maker(rest.source, "binary", "mul")
    if below is None or not edit.private(rest.nodes, node):
        return False
    sign = -1.0 if node["kind"] == "sub" else 1.0
    for x, inverse in (above.inputs, above.inputs[::-1]):
        if inverse not in below.inputs:
            continue
        moved = scaled(edit, below.inputs[below.inputs.index(inverse) - 1])
        mean = _mean(edit, moved.source)
        if mean is None or mean.inputs[0] != x or moved.b:
            continue
        found = _inverse(edit, inverse, edit.shape(x)[-1])
        if found is None or not bool((sign * rest.scale * moved.a == -1).all()):
            continue
        centre, epsilon, scale, inner = found
        nodes = [above, below, *rest.nodes, *moved.nodes, mean, *inner]
        nodes = list({id(n): n for n in nodes}.values())
        if centre != x or edit.shape(x) != edit.shape(node.output) or not edit.private(nodes, node):
            continue
        gamma = scale.astype(edit.dtype(x))
        beta = np.broadcast_to(sign * rest.offset, gamma.shape).astype(edit.dtype(x))
        return edit.rewrite(node, "layer_norm", x, gamma, beta, inner=nodes, epsilon=epsilon)
    return False


def _inverse(edit: Editor, value: str, size: int) -> tuple[str, float, Array, list[Node]] | None:
    """x, epsilon, scale and the nodes of scale / sqrt(variance(x) + epsilon)."""
    scale: Array = np.ones(size)
    inner: list[Node] = []
    product = edit.maker(value, "binary", "mul")
    if product is not None:
        inner.append(product)
        for position in (0, 1):
            data = edit.constant(product.inputs[position])
            if data is not None and data.ndim and data.size == data.shape[-1] == size:
                scale, value = data.reshape(-1), product.inputs[1 - position]
    inverse = edit.maker(value, "unary", "reciprocal")
    found = None if inverse is None else _root(edit, inverse.inputs[0], [*inner, inverse])
    return None if found is None else (found[0], found[1], scale, found[2])


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
