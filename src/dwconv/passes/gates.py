"""x times a gate of x, in any order of factors: hard-swish, SiLU and both forms of GELU."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..graph import Node
from .editor import Editor
from .scalars import Scaled, clip_of, close, polynomial, scaled


class Gate(NamedTuple):
    """The gate is `factor` times what multiplies x in the activation `kind`."""

    kind: str
    factor: float
    nodes: list[Node]


def gated_product(edit: Editor, node: Node) -> bool:
    if node.op != "binary" or node["kind"] != "mul" or node["activation"] is not None:
        return False
    for first, second in (node.inputs, node.inputs[::-1]):
        after, before = scaled(edit, second), scaled(edit, first)
        # x itself, or a multiple of it that this product alone reads.
        for x in (Scaled(1.0, 0.0, first, []), before)[: 2 if before.nodes and before.b == 0 else 1]:
            for form in (_hard, _smooth, _erf, _tanh):
                gate = form(edit, x.source, after)
                if gate is None or not edit.private([*x.nodes, *gate.nodes], node):
                    continue
                factor, inner = x.a * gate.factor, [*x.nodes, *gate.nodes]
                return _become(edit, node, x.source, gate.kind, 1.0 if close(factor, 1) else factor, inner)
    return False


def _become(edit: Editor, node: Node, x: str, kind: str, factor: float, inner: list[Node]) -> bool:
    if factor == 1:
        return edit.rewrite(node, "unary", x, inner=inner, kind=kind)
    edit.take_name(node, inner)
    value = edit.insert("unary", x, name=node.name, kind=kind)
    return edit.rewrite(node, "unary", value, kind="linear", a=factor, b=0.0)


def _hard(edit: Editor, x: str, after: Scaled) -> Gate | None:
    """clip(x + 3, 0, 6), or hard_sigmoid(x)."""
    node = edit.maker(after.source, "unary")
    if node is None or after.b != 0:
        return None
    if node["kind"] == "hard_sigmoid" and node.inputs[0] == x:
        return Gate("hard_swish", after.a, [node, *after.nodes])
    bounds, before = clip_of(node), scaled(edit, node.inputs[0])
    if bounds is None or bounds[0] != 0 or not 0 < bounds[1] < math.inf or before.source != x:
        return None
    if not before.nodes or not close(before.a / bounds[1], 1 / 6) or not close(before.b / bounds[1], 1 / 2):
        return None
    return Gate("hard_swish", after.a * bounds[1], [*before.nodes, node, *after.nodes])


def _smooth(edit: Editor, x: str, after: Scaled) -> Gate | None:
    """sigmoid(x)."""
    node = edit.maker(after.source, "unary", "sigmoid")
    if node is None or node.inputs[0] != x or after.b != 0:
        return None
    return Gate("silu", after.a, [node, *after.nodes])


def _erf(edit: Editor, x: str, after: Scaled) -> Gate | None:
    """1 + erf(x / sqrt(2)), or half of it."""
    node = edit.maker(after.source, "unary", "erf")
    if node is None or after.a != after.b:
        return None
    before = scaled(edit, node.inputs[0])
    if before.source != x or before.b != 0 or not close(before.a, math.sqrt(0.5)):
        return None
    return Gate("gelu", 2 * after.a, [*before.nodes, node, *after.nodes])


def _tanh(edit: Editor, x: str, after: Scaled) -> Gate | None:
    """1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)), or half of it."""
    node = edit.maker(after.source, "unary", "tanh")
    if node is None or after.a != after.b:
        return None
    inner: list[Node] = []
    found = polynomial(edit, node.inputs[0], x, inner)
    slope = math.sqrt(2 / math.pi)
    if found is None or found.keys() != {1, 3} or not close(found[1], slope):
        return None
    if not close(found[3] / found[1], 0.044715):
        return None
    return Gate("gelu_tanh", 2 * after.a, [*inner, node, *after.nodes])
