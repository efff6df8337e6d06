"""An activation behind a convolution or a binary operation is applied where the result is written."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activation import LEAKY_SLOPE, PLAIN
from ..graph import Graph, Node
from .editor import Editor
from .identities import IDENTITIES
from .scalars import clip_kind, clip_of


def fuse_activations(graph: Graph) -> None:
    Editor(graph).sweep(*IDENTITIES, fuse_activation)


def fuse_activation(edit: Editor, node: Node) -> bool:
    maker = edit.maker(node.inputs[0]) if node.op == "unary" else None
    if maker is None or edit.reader(maker.output) is not node:
        return False
    activation = _activation(node, maker.attributes.get("activation"))
    if activation is None:
        return False
    if maker.op in ("conv", "transpose_conv", "binary"):
        attributes = {**maker.attributes, "activation": activation}
        return edit.rewrite(node, maker.op, *maker.inputs, inner=[maker], **attributes)
    if maker.op != "unary" or maker["kind"] != "linear" or (maker["a"] != 1 and maker["b"] != 0):
        return False
    # x + 3 is again an operation of two operands, which can have an activation.
    kind, number = ("add", maker["b"]) if maker["a"] == 1 else ("mul", maker["a"])
    constant = np.array(number, edit.dtype(node.output))
    return edit.rewrite(
        node, "binary", maker.inputs[0], constant, inner=[maker], kind=kind, activation=activation
    )


def _activation(node: Node, before: Any) -> Any:
    """Both as one; None where there is none."""
    if before is None:
        return activation_of(node)
    bounds, earlier = clip_of(node), _bounds(before)
    if bounds is None or earlier is None:
        return None
    low, high = (float(min(max(bound, bounds[0]), bounds[1])) for bound in earlier)
    return activation_of(Node("unary", (), "", {"a": 0.0, "b": 0.0, **clip_kind(low, high)}))


def activation_of(node: Node) -> Any:
    """What a unary node applies, as the attribute of another; None where that has no name."""
    kind = node["kind"]
    if kind == "clip":
        return (kind, node["a"], node["b"]) if node["a"] <= node["b"] else None
    if kind == "leaky_relu":
        return kind, node["a"]
    return kind if kind in PLAIN else None


def unary_of(activation: Any) -> dict[str, Any]:
    """The attributes of the unary node that applies an activation."""
    name, *numbers = activation if isinstance(activation, tuple | list) else (activation,)
    if name == "leaky_relu" and not numbers:
        numbers = [LEAKY_SLOPE]
    return dict(zip(("kind", "a", "b"), (name, *map(float, numbers)), strict=False))


def _bounds(activation: Any) -> tuple[float, float] | None:
    return clip_of(Node("unary", (), "", {"a": 0.0, "b": 0.0, **unary_of(activation)}))
