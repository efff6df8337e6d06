"""Nodes that change nothing, or only what a reshape changes, go."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..graph import Graph, Node
from ..nodes import axes_of, pool_geometry
from .editor import Editor


def drop_identities(graph: Graph) -> None:
    Editor(graph).sweep(*IDENTITIES)


def drop_neutral(edit: Editor, node: Node) -> bool:
    """x * 1 + 0, a slice of everything, a concatenation of one value, a pad of nothing, and their like."""
    test = NEUTRAL.get(node.op)
    same_shape = edit.shape(node.inputs[0]) == edit.shape(node.output)
    return test is not None and same_shape and test(edit, node) and edit.forward(node, node.inputs[0])


def merge_reshapes(edit: Editor, node: Node) -> bool:
    """A reshape of a reshape reads the first one's input."""
    first = edit.maker(node.inputs[0], "reshape") if node.op == "reshape" else None
    if first is None:
        return False
    (source,) = first.inputs
    before, after = edit.shape(source), edit.shape(node.output)
    target = [
        after[axis] if size == 0 and before[axis : axis + 1] != after[axis : axis + 1] else size
        for axis, size in enumerate(node["shape"])
    ]
    return edit.rewrite(node, "reshape", source, inner=[first], shape=tuple(target))


def merge_transposes(edit: Editor, node: Node) -> bool:
    first = edit.maker(node.inputs[0], "transpose") if node.op == "transpose" else None
    if first is None:
        return False
    perm = tuple(first["perm"][axis] for axis in node["perm"])
    return edit.rewrite(node, "transpose", first.inputs[0], inner=[first], perm=perm)


def move_nothing(edit: Editor, node: Node) -> bool:
    """A transpose that only moves axes of size 1 is a reshape, and so is a sum over such axes."""
    x = edit.shape(node.inputs[0])
    if node.op == "transpose":
        moved = [axis for axis in node["perm"] if x[axis] > 1]
        if moved != sorted(moved):
            return False
    elif node.op != "reduce" or any(x[axis] > 1 for axis in axes_of(node, len(x))):
        return False
    if node.attributes.get("quantization") is not None:  # its result may have another scale
        return False
    return edit.rewrite(node, "reshape", node.inputs[0], shape=edit.shape(node.output))


# ---- when an op changes nothing, its shapes being equal -----------------------------------------


def _unary(edit: Editor, node: Node) -> bool:
    kind, a, b = node["kind"], node["a"], node["b"]
    return (
        kind == "identity"
        or (kind == "linear" and (a, b) == (1, 0))
        or (kind == "clip" and (a, b) == (-math.inf, math.inf))
    )


def _binary(edit: Editor, node: Node) -> bool:
    """Only where the first operand stays; spellings turns the others into unary nodes."""
    neutral = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "pow": 1.0}.get(node["kind"])
    constant = edit.scalar(node.inputs[1])
    return neutral is not None and constant == neutral and node["activation"] is None


def _slice(edit: Editor, node: Node) -> bool:
    return all(item is None or slice(*item).step in (None, 1) for item in node["slices"])


def _pool(edit: Editor, node: Node) -> bool:
    size = edit.shape(node.inputs[0])[1:3]
    geometry = pool_geometry(node, size)  # type: ignore[arg-type]
    one = tuple(node["kernel"]) == tuple(node["strides"]) == (1, 1)
    return one and all(not before and not after for _, before, after in geometry)


def _resize(edit: Editor, node: Node) -> bool:
    return node["scales"] is None or tuple(node["scales"]) == (1, 1)


def _always(edit: Editor, node: Node) -> bool:
    return True


NEUTRAL: dict[str, Callable[[Editor, Node], bool]] = {
    "unary": _unary,
    "binary": _binary,
    "slice": _slice,
    "max_pool": _pool,
    "average_pool": _pool,
    "resize": _resize,
    "transpose": lambda edit, node: list(node["perm"]) == sorted(node["perm"]),
    "concat": lambda edit, node: len(node.inputs) == 1,
    "reshape": _always,
    "expand": _always,
    "pad": _always,
    "depth_to_space": lambda edit, node: node["block"] == 1,
    "space_to_depth": lambda edit, node: node["block"] == 1,
}
IDENTITIES = (drop_neutral, merge_reshapes, merge_transposes, move_nothing)
