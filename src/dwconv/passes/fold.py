"""Constants that are multiplied or added next to a convolution become part of its filters and bias, and zeros
around its input part of its padding. Layer normalisations take scale and bias likewise."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from ..activation import Array
from ..graph import Graph, Node
from ..nodes import conv_window
from ..nodes_integers import BYTES
from ..quantized import limits
from .affine import Affine, affine, chain_to, ends_chain, rounded
from .dense import DENSE
from .editor import Editor, of_floats
from .identities import IDENTITIES
from .scalars import clip_kind, clip_of, scaled

Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
CONVOLUTIONS = ("conv", "transpose_conv")
NONE: Pads = ((0, 0), (0, 0))
MOST_READERS = 8  # of a value that all of them compute anew: each asks all others


def fold(graph: Graph) -> None:
    edit = Editor(graph)
    floats = map(of_floats, (*DENSE, under_clip, fold_after, fold_before))
    edit.sweep(*IDENTITIES, merge_pads, pad_convolution, pad_pool, *floats)
    edit.sweep(of_floats(combine))


# ---- constants ----------------------------------------------------------------------------------


def fold_after(edit: Editor, node: Node) -> bool:
    """scale * conv(x) + offset, the same for layer_norm."""
    chain = ends_chain(edit, node)
    maker = None if chain is None else edit.maker(chain.source)
    if chain is None or maker is None or edit.reader(chain.source) is not chain.nodes[0]:
        return False
    if maker.op == "layer_norm":
        return _into_layer_norm(edit, node, maker, chain)
    if maker.op not in CONVOLUTIONS or maker["activation"] is not None:
        return False
    parts = _parameters(edit, maker)
    if parts is None:
        return False
    filters, bias = parts
    scaled = rounded(filters * chain.scale, filters)
    moved = rounded(np.broadcast_to(bias * chain.scale + chain.offset, filters.shape[3:]), filters)
    if scaled is None or moved is None:
        return False
    inner = [maker, *chain.nodes]
    biased = moved if len(maker.inputs) > 2 or moved.any() else None
    return edit.rewrite(node, maker.op, maker.inputs[0], scaled, biased, inner=inner, **maker.attributes)


def _into_layer_norm(edit: Editor, node: Node, maker: Node, chain: Affine) -> bool:
    scale, bias = (edit.constant(name) for name in maker.inputs[1:])
    if scale is None or bias is None:
        return False
    new_scale = rounded(scale * chain.scale, scale)
    new_bias = rounded(bias * chain.scale + chain.offset, scale)
    if new_scale is None or new_bias is None:
        return False
    inner = [maker, *chain.nodes]
    return edit.rewrite(
        node, "layer_norm", maker.inputs[0], new_scale, new_bias, inner=inner, epsilon=maker["epsilon"]
    )


def under_clip(edit: Editor, node: Node) -> bool:
    """a * clip(conv(x), low, high) + b clips a * conv(x) + b at a * low + b and a * high + b."""
    line = scaled(edit, node.output)
    clip = edit.maker(line.source) if line.nodes else None
    bounds = clip_of(clip)
    if bounds is None or clip is None or line.a == 0 or edit.reader(clip.output) is not node:
        return False
    maker = edit.maker(clip.inputs[0])
    if maker is None or maker.op not in CONVOLUTIONS or edit.reader(maker.output) is not clip:
        return False
    if maker["activation"] is not None or _parameters(edit, maker) is None:
        return False
    edit.take_name(node, [clip])
    value = edit.insert("unary", maker.output, name=node.name, kind="linear", a=line.a, b=line.b)
    low, high = sorted(line.a * bound + line.b for bound in bounds)
    return edit.rewrite(node, "unary", value, **clip_kind(low, high))


def fold_before(edit: Editor, node: Node) -> bool:
    """conv(scale * x + offset).

    An offset is no part of the zeros around x: with padding, numbers alone can be folded. x is then padded
    with what they make zero, which costs the borders, if what makes x can write between them.
    """
    if node.op not in CONVOLUTIONS:
        return False
    chain = chain_to(edit, node.inputs[0])
    pads = _takes(edit, node, node.inputs[0], chain) if chain.nodes else None
    parts = _parameters(edit, node) if pads is not None else None
    if pads is None or parts is None or not _all_take(edit, node.inputs[0], chain):
        return False
    filters, bias = parts
    groups = node["groups"]
    split = filters.reshape(*filters.shape[:3], groups, -1).astype(np.float64)
    channels = edit.shape(node.inputs[0])[3]
    per_input = [
        np.broadcast_to(part, (channels,)).reshape(groups, -1).T[..., None]
        for part in (chain.scale, chain.offset)
    ]
    scaled = rounded((split * per_input[0]).reshape(filters.shape), filters)
    moved = rounded((split * per_input[1]).sum((0, 1, 2)).reshape(-1) + bias, filters)
    if scaled is None or moved is None:
        return False
    biased = moved if len(node.inputs) > 2 or moved.any() else None
    source, attributes = chain.source, dict(node.attributes)
    if pads != NONE:
        zero = float(-chain.offset.flat[0] / chain.scale.flat[0])
        name = " + ".join(n.name or n.output for n in chain.nodes)
        source = edit.insert("pad", source, name=name, pads=((0, 0), *pads, (0, 0)), value=zero)
        attributes["padding"] = "valid"
    return edit.rewrite(node, node.op, source, scaled, biased, inner=chain.nodes, **attributes)


def _takes(edit: Editor, node: Node, value: str, chain: Affine) -> Pads | None:
    """The pads that a reader of a chain's value needs, to compute the chain itself; None if it cannot."""
    if node.op not in CONVOLUTIONS or node.inputs[0] != value or _parameters(edit, node) is None:
        return None
    if not chain.offset.any():
        return NONE
    if node.op != "conv":
        return None
    pads = _explicit(edit, node)
    uniform = all(bool((part == part.flat[0]).all()) for part in (chain.scale, chain.offset))
    if pads == NONE:
        return pads
    return pads if uniform and chain.scale.flat[0] != 0 and _small(edit, chain) else None


def _small(edit: Editor, chain: Affine) -> bool:
    """Whether what the chain makes zero is a number that loses nothing."""
    return bool(abs(chain.offset.flat[0] / chain.scale.flat[0]) < 1e6)


def _all_take(edit: Editor, value: str, chain: Affine) -> bool:
    """Whether the chain goes, and at most one padded copy comes."""
    readers = edit.readers(value)
    if len(readers) > MOST_READERS:
        return False
    wanted = [_takes(edit, node, value, chain) for node in readers]
    return not edit.is_output(value) and None not in wanted and sum(p != NONE for p in wanted) <= 1


def combine(edit: Editor, node: Node) -> bool:
    """What could not be folded: at most two nodes, and one for images, a depthwise convolution of one tap."""
    chain = ends_chain(edit, node)
    if chain is None or len(chain.nodes) < 2:
        return False
    like = np.empty(0, edit.dtype(node.output))
    scale, offset = rounded(chain.scale, like), rounded(chain.offset, like)
    if scale is None or offset is None:
        return False
    if bool((scale == scale.flat[0]).all() and (offset == offset.flat[0]).all()):
        a, b = (float(part.flat[0]) for part in (scale, offset))
        return edit.rewrite(node, "unary", chain.source, inner=chain.nodes, kind="linear", a=a, b=b)
    if not offset.any():
        return edit.rewrite(node, "binary", chain.source, scale, inner=chain.nodes, kind="mul")
    if bool((scale == 1).all()):
        return edit.rewrite(node, "binary", chain.source, offset, inner=chain.nodes, kind="add")
    shape = edit.shape(chain.source)
    if len(shape) == 4:
        filters, bias = (np.broadcast_to(part, shape[3:]).copy() for part in (scale, offset))
        filters = filters.reshape(1, 1, 1, -1)
        return edit.rewrite(node, "conv", chain.source, filters, bias, inner=chain.nodes, groups=shape[3])
    if len(chain.nodes) == 2:
        return False
    edit.take_name(node, chain.nodes)
    value = edit.insert("binary", chain.source, scale, name=node.name, kind="mul")
    return edit.rewrite(node, "binary", value, offset, kind="add")


# ---- padding ------------------------------------------------------------------------------------


def merge_pads(edit: Editor, node: Node) -> bool:
    inner = edit.maker(node.inputs[0], "pad") if node.op == "pad" else None
    if inner is None or node["mode"] != "constant" or inner["mode"] != "constant":
        return False
    if node["value"] != inner["value"] or edit.reader(inner.output) is not node:
        return False
    pads = tuple((a + c, b + d) for (a, b), (c, d) in zip(node["pads"], inner["pads"], strict=True))
    return edit.rewrite(node, "pad", inner.inputs[0], inner=[inner], **{**node.attributes, "pads": pads})


def pad_convolution(edit: Editor, node: Node) -> bool:
    pads = _pads_of_image(edit, node, _zero(edit, node.inputs[0])) if node.op == "conv" else None
    return pads is not None and _with_pads(edit, node, pads, _explicit(edit, node))


def pad_pool(edit: Editor, node: Node) -> bool:
    """The zeros of a pad count among the elements of a mean; around a maximum there is minus infinity."""
    integers = edit.graph.values[node.inputs[0]].dtype in BYTES
    if node.op not in ("average_pool", "max_pool") or node["ceil_mode"] or node["padding"] == "same":
        return False
    if integers and node.op == "average_pool":  # whose padding never counts
        return False
    least = limits(edit.graph.values[node.inputs[0]].dtype)[0] if integers else -np.inf
    pads = _pads_of_image(edit, node, 0.0 if node.op == "average_pool" else least)
    own = ((0, 0), (0, 0)) if node["padding"] == "valid" else node["padding"]
    if pads is None:
        return False
    if node.op == "max_pool":
        return _with_pads(edit, node, pads, own)
    if np.any(own) and not node["count_include_pad"]:
        return False
    return _with_pads(edit, node, pads, own, count_include_pad=True)


def _zero(edit: Editor, value: str) -> float:
    """What stands for 0: where integers have no scale, nothing is padded so."""
    found = edit.graph.values[value]
    if found.dtype not in BYTES:
        return 0.0
    return np.nan if found.quantization is None else float(found.quantization.zero_point)


def _pads_of_image(edit: Editor, node: Node, value: float) -> Any:
    """The pads of height and width, where the node's input is padded so."""
    pad = edit.maker(node.inputs[0], "pad")
    if pad is None or pad["mode"] != "constant" or pad["value"] != value or len(pad["pads"]) != 4:
        return None
    return None if any(pad["pads"][0]) or any(pad["pads"][3]) else pad["pads"][1:3]


def _with_pads(edit: Editor, node: Node, pads: Any, own: Any, **changed: Any) -> bool:
    pad = edit.maker(node.inputs[0])
    assert pad is not None
    padding = tuple((a + c, b + d) for (a, b), (c, d) in zip(pads, own, strict=True))
    inner = [pad] if edit.reader(pad.output) is node else []
    inputs = (pad.inputs[0], *node.inputs[1:])
    attributes = {**node.attributes, "padding": padding, **changed}
    return edit.rewrite(node, node.op, *inputs, inner=inner, **attributes)


# ---- parts --------------------------------------------------------------------------------------


def _parameters(edit: Editor, node: Node) -> tuple[Array, Any] | None:
    """Filters and bias, where both are constant; 0 for no bias."""
    filters = edit.constant(node.inputs[1])
    bias: Any = np.float64(0) if len(node.inputs) < 3 else edit.constant(node.inputs[2])
    if filters is None or bias is None or filters.dtype.kind != "f":
        return None
    return filters, bias


def _explicit(edit: Editor, node: Node) -> Pads:
    """The padding of a conv node in numbers."""
    window = conv_window(node, edit.shape(node.inputs[1]))
    pairs = []
    for axis in range(2):
        size = edit.shape(node.inputs[0])[1 + axis]
        out, before = window.extent(axis, size)
        after = window.padding[axis][1] if isinstance(window.padding, tuple) else 0
        if window.padding == "same":
            after = max((out - 1) * window.strides[axis] + window.span(axis) - size, 0) - before
        pairs.append((before, after))
    return pairs[0], pairs[1]


def unfolded(graph: Graph, log: list[tuple[str, str]]) -> None:
    """Tells which constants are still added before a convolution, and why."""
    edit = Editor(graph)
    for node in graph.nodes:
        one = affine(edit, edit.maker(node.inputs[0])) if node.op in CONVOLUTIONS else None
        if one is not None and one.offset.any():
            log.append(
                (node.name or node.output, "a constant is added to its input, whose padding must stay zero")
            )
