"""An activation behind a convolution or a binary operation is applied where the result is written."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activation import PLAIN, parse
from ..graph import Graph, Node
from .editor import Editor
from .identities import IDENTITIES


def fuse_activations(graph: Graph) -> None:
    Editor(graph).sweep(*IDENTITIES, fuse_activation)


def fuse_activation(edit: Editor, node: Node) -> bool:
    maker = edit.maker(node.inputs[0]) if node.op == "unary" else None
    if maker is None or edit.reader(maker.output) is not node or edit.dtype(maker.inputs[0]).kind != "f":
        return False
    activation = activation_of(node)
    if activation is None or maker.attributes.get("activation") is not None:
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
    return parse("network", "activation", activation)._asdict()
