"""Dense layers as 1x1 convolutions of an image [batch, 1, rows, channels].

The reshape behind such a layer moves down over what works on channels, so that it can be folded and fused.
"""

from __future__ import annotations

import math

from ..graph import Node
from .affine import affine
from .editor import Editor


def dense_layer(edit: Editor, node: Node) -> bool:
    if node.op != "matmul" or edit.dtype(node.output).kind != "f":
        return False
    x, matrix = node.inputs
    data, shape = edit.constant(matrix), edit.shape(x)
    if data is None or edit.constant(x) is not None or data.size != math.prod(data.shape[-2:]):
        return False
    inputs, outputs = data.shape[-2:]
    if edit.shape(node.output) != (*shape[:-1], outputs):
        return False
    filters = data.reshape(1, 1, inputs, outputs)
    if len(shape) == 4:
        return edit.rewrite(node, "conv", x, filters)
    rows = (shape[0], 1, math.prod(shape[1:-1]), inputs)
    image = edit.insert("reshape", x, name=node.name, shape=rows)
    product = edit.insert("conv", image, filters, name=node.name)
    return edit.rewrite(node, "reshape", product, shape=edit.shape(node.output))


def sink_reshape(edit: Editor, node: Node) -> bool:
    """f(reshape(conv(x))) is reshape(f(conv(x))), if f works on each element or on channels that stay."""
    reshape = edit.maker(node.inputs[0]) if node.op in ("unary", "binary", "prelu") else None
    if reshape is None:  # constants may stand first
        reshape = edit.maker(node.inputs[-1]) if node.op == "binary" else None
    if (
        reshape is None
        or reshape.op not in ("reshape", "transpose")
        or edit.reader(reshape.output) is not node
    ):
        return False
    (source,) = reshape.inputs
    maker = edit.maker(source)
    if maker is None or maker.op not in ("conv", "transpose_conv") or edit.reader(source) is not reshape:
        return False
    inputs = [source]
    if node.op != "unary":
        others = [name for name in node.inputs if name != reshape.output]
        channels_stay = edit.shape(source)[-1] == edit.shape(node.output)[-1]
        if len(others) != 1 or reshape.op != "reshape" or not channels_stay:
            return False
        data = edit.constant(others[0])
        fits = node.op == "prelu" or affine(edit, node) is not None
        if data is None or not fits or data.size not in (1, edit.shape(source)[-1]):
            return False
        if data.size > 1 and data.shape[-1] != data.size:
            return False
        constant = data.reshape(-1)
        inputs = [constant if name == others[0] else source for name in node.inputs]  # type: ignore[misc]
    attributes = dict(reshape.attributes)
    value = edit.insert(node.op, *inputs, name=node.name, **node.attributes)
    if reshape.op == "reshape":
        attributes["shape"] = edit.shape(node.output)
    node.name = reshape.name
    return edit.rewrite(node, reshape.op, value, **attributes)


DENSE = (dense_layer, sink_reshape)
