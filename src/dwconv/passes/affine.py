"""Chains of nodes that multiply and add constants, one per channel or one for all: y = scale * x + offset.

A batch normalisation is such a chain, a bias too. Chains are combined as a whole in float64 and rounded once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..activation import Array
from ..graph import Node
from .editor import Editor


class Affine(NamedTuple):
    """scale and offset have no axes or one, the last of the value's; float64."""

    source: str
    scale: Array
    offset: Array
    nodes: list[Node]  # in the order of execution


ONE, ZERO = np.float64(1), np.float64(0)


def affine(edit: Editor, node: Node | None) -> Affine | None:
    """What one node multiplies and adds."""
    if node is None or edit.dtype(node.output).kind != "f":
        return None
    if node.op == "unary" and node["kind"] == "linear":
        return Affine(node.inputs[0], np.float64(node["a"]), np.float64(node["b"]), [node])
    if node.op != "binary" or node["activation"] is not None:
        return None
    for position in (0, 1):
        x = node.inputs[position]
        c = _per_channel(edit, node.inputs[1 - position], x)
        if c is None or edit.shape(x) != edit.shape(node.output):
            continue
        kind, first = node["kind"], position == 0
        if kind == "add":
            return Affine(x, ONE, c, [node])
        if kind == "mul":
            return Affine(x, c, ZERO, [node])
        if kind == "sub":
            return Affine(x, ONE if first else -ONE, -c if first else c, [node])
        if kind == "div" and first and bool((c != 0).all()):
            return Affine(x, 1 / c, ZERO, [node])
    return None


def _per_channel(edit: Editor, value: str, x: str) -> Array | None:
    data, shape = edit.constant(value), edit.shape(x)
    if data is None or data.dtype.kind != "f" or edit.constant(x) is not None:
        return None
    if data.size == 1:
        return np.asarray(data.reshape(()), np.float64)
    if data.ndim > len(shape) or data.size != data.shape[-1] or data.size != shape[-1]:
        return None
    return np.asarray(data.reshape(-1), np.float64)


def chain_to(edit: Editor, value: str) -> Affine:
    """The longest chain that ends with `value`; inside, nobody else reads. No nodes if there is none."""
    found = Affine(value, ONE, ZERO, [])
    while True:
        node = edit.maker(found.source)
        one = affine(edit, node)
        if one is None or node is None or (found.nodes and edit.reader(node.output) is not found.nodes[0]):
            return found
        scale, offset = found.scale * one.scale, found.scale * one.offset + found.offset
        found = Affine(one.source, scale, offset, [node, *found.nodes])


def ends_chain(edit: Editor, node: Node) -> Affine | None:
    """The chain that ends with `node` and goes on in no other."""
    if affine(edit, node) is None:
        return None
    following = edit.reader(node.output)
    if following is not None and affine(edit, following) is not None:
        return None
    return chain_to(edit, node.output)


def rounded(array: Array, like: Array) -> Array | None:
    """In the type of `like`; None where that overflows."""
    with np.errstate(over="ignore"):
        result = np.asarray(array).astype(like.dtype, order="C")
    return result if bool(np.isfinite(result).all()) else None
