"""What model files spell out with simple operations, as the one operation that it is.

Operations with a number become unary nodes first, and those combine; activations and layer normalisation are
then found by their last node. A factor that is left over stays as a node of its own, to cancel or be folded.
"""

from __future__ import annotations

import math

import numpy as np

from ..activation import SYNONYMS
from ..graph import Graph, Node
from ..nodes import axes_of, pool_geometry
from .activations import unary_of
from .affine import chain_to, rounded
from .editor import Editor, of_floats
from .gates import gated_product
from .identities import IDENTITIES
from .layer_norm import layer_norm, layer_norm_of_moments
from .scalars import EXACT, clip_kind, clip_of, close, scaled


def normalise(graph: Graph) -> None:
    Editor(graph).sweep(*IDENTITIES, *RULES)


# ---- operations with a number -------------------------------------------------------------------


def split_activation(edit: Editor, node: Node) -> bool:
    """A node and its activation are two, until constants are folded."""
    activation = node.attributes.get("activation")
    if activation is None:
        return False
    plain = {**node.attributes, "activation": None}
    value = edit.insert(node.op, *node.inputs, name=node.name or node.output, **plain)
    return edit.rewrite(node, "unary", value, **unary_of(activation))


def usual_name(edit: Editor, node: Node) -> bool:
    """Keras's and PyTorch's words for an activation."""
    kind = SYNONYMS.get(node["kind"].lower(), node["kind"].lower()) if node.op == "unary" else ""
    if node.op != "unary" or kind == node["kind"] or node["kind"] == "linear":
        return False
    return edit.rewrite(node, "unary", node.inputs[0], kind=kind, a=node["a"], b=node["b"])


def number_operation(edit: Editor, node: Node) -> bool:
    """A binary node of which one operand is a number."""
    if node.op != "binary" or node["activation"] is not None:
        return False
    for position in (0, 1):
        number, x = edit.scalar(node.inputs[1 - position]), node.inputs[position]
        if number is not None and edit.shape(x) == edit.shape(node.output):
            return _with_number(edit, node, x, number, position == 0)
    return False


def _with_number(edit: Editor, node: Node, x: str, number: float, first: bool) -> bool:
    kind = node["kind"]
    if kind in ("max", "min") and not math.isnan(number):
        bounds = (number, math.inf) if kind == "max" else (-math.inf, number)
        return edit.rewrite(node, "unary", x, **clip_kind(*bounds))
    if kind == "pow" and first:
        if number in (0.5, 2.0, -1.0):
            return edit.rewrite(
                node, "unary", x, kind={0.5: "sqrt", 2.0: "square", -1.0: "reciprocal"}[number]
            )
        if number == -0.5:
            root = edit.insert("unary", x, name=node.name, kind="sqrt")
            return edit.rewrite(node, "unary", root, kind="reciprocal")
        return False
    if not math.isfinite(number):
        return False
    if kind == "div" and not first:
        if number == 1:
            return edit.rewrite(node, "unary", x, kind="reciprocal")
        inverse = edit.insert("unary", x, name=node.name, kind="reciprocal")
        return edit.rewrite(node, "unary", inverse, kind="linear", a=number, b=0.0)
    if kind == "div" and not _in_range(edit, node, number):
        return False
    factors = {
        "add": (1.0, number),
        "sub": (1.0, -number) if first else (-1.0, number),
        "mul": (number, 0.0),
        "div": (1 / number if kind == "div" else 0.0, 0.0),
    }
    if kind not in factors:
        return False
    a, b = factors[kind]
    return edit.rewrite(node, "unary", x, kind="linear", a=a, b=b)


def _in_range(edit: Editor, node: Node, divisor: float) -> bool:
    """Whether a number's inverse can stand for it."""
    info = np.finfo(edit.dtype(node.output))
    return abs(divisor) >= float(info.tiny) and abs(divisor) <= 1 / float(info.tiny)


def negation(edit: Editor, node: Node) -> bool:
    if node.op != "unary" or node["kind"] != "neg":
        return False
    return edit.rewrite(node, "unary", node.inputs[0], kind="linear", a=-1.0, b=0.0)


def merge_linear(edit: Editor, node: Node) -> bool:
    outer = scaled(edit, node.output)
    inner = scaled(edit, outer.source)
    if not outer.nodes or not inner.nodes or not edit.private(inner.nodes, node):
        return False
    a, b = outer.a * inner.a, outer.a * inner.b + outer.b
    if not all(abs(number) <= np.finfo(edit.dtype(node.output)).max for number in (a, b)):
        return False
    if abs(a - 1) <= EXACT:  # 6 * (1 / 6), rounded
        a = 1.0
    return edit.rewrite(node, "unary", inner.source, inner=inner.nodes, kind="linear", a=a, b=b)


def merge_clips(edit: Editor, node: Node) -> bool:
    """min(max(x, 0), 6); and the usual names of what clips."""
    outer, maker = clip_of(node), edit.maker(node.inputs[0])
    if outer is None:
        return False
    inner = clip_of(maker)
    if inner is None or maker is None or not edit.private([maker], node):
        wanted = clip_kind(*outer)
        return node["kind"] != wanted["kind"] and edit.rewrite(node, "unary", node.inputs[0], **wanted)
    low, high = (float(min(max(bound, outer[0]), outer[1])) for bound in inner)
    return edit.rewrite(node, "unary", maker.inputs[0], inner=[maker], **clip_kind(low, high))


# ---- activations of one operand -----------------------------------------------------------------


def hard_sigmoid(edit: Editor, node: Node) -> bool:
    """clip(x / 6 + 1 / 2, 0, 1) or clip(x + 3, 0, 6) / 6."""
    after = scaled(edit, node.output)
    clip = edit.maker(after.source)
    bounds = clip_of(clip)
    if after.b != 0 or bounds is None or clip is None or bounds[0] != 0 or not 0 < bounds[1] < math.inf:
        return False
    if after.nodes and after.nodes[0] is not node:
        return False
    before, high = scaled(edit, clip.inputs[0]), bounds[1]
    fits = close(after.a, 1 / high) and close(before.a / high, 1 / 6) and close(before.b / high, 1 / 2)
    inner = [*before.nodes, clip]
    if not fits or not edit.private([n for n in inner if n is not node], node):
        return False
    return edit.rewrite(node, "unary", before.source, inner=inner, kind="hard_sigmoid")


def sigmoid(edit: Editor, node: Node) -> bool:
    """1 / (1 + exp(-x))."""
    if node.op != "unary" or node["kind"] != "reciprocal":
        return False
    total = scaled(edit, node.inputs[0])
    power = edit.maker(total.source, "unary", "exp")
    if power is None or (total.a, total.b) != (1, 1):
        return False
    exponent = scaled(edit, power.inputs[0])
    inner = [*exponent.nodes, power, *total.nodes]
    if (exponent.a, exponent.b) != (-1, 0) or not edit.private(inner, node):
        return False
    return edit.rewrite(node, "unary", exponent.source, inner=inner, kind="sigmoid")


def softplus(edit: Editor, node: Node) -> bool:
    """log(1 + exp(x))."""
    if node.op != "unary" or node["kind"] != "log":
        return False
    total = scaled(edit, node.inputs[0])
    power = edit.maker(total.source, "unary", "exp")
    if power is None or (total.a, total.b) != (1, 1) or not edit.private([power, *total.nodes], node):
        return False
    return edit.rewrite(node, "unary", power.inputs[0], inner=[power, *total.nodes], kind="softplus")


def leaky_relu(edit: Editor, node: Node) -> bool:
    """max(x, a x) with a <= 1, min(x, a x) with a >= 1, and PReLU where all slopes are the same."""
    if node.op == "prelu":
        slope = edit.scalar(node.inputs[1])
        if slope is None or math.isnan(slope):
            return False
        return edit.rewrite(node, "unary", node.inputs[0], kind="leaky_relu", a=slope)
    if node.op != "binary" or node["kind"] not in ("max", "min") or node["activation"] is not None:
        return False
    for x, other in (node.inputs, node.inputs[::-1]):
        line = scaled(edit, other)
        fits = line.a <= 1 if node["kind"] == "max" else line.a >= 1
        if line.source == x and line.nodes and line.b == 0 and fits and edit.private(line.nodes, node):
            return edit.rewrite(node, "unary", x, inner=line.nodes, kind="leaky_relu", a=line.a)
    return False


def rectified_parts(edit: Editor, node: Node) -> bool:
    """relu(x) + c * relu(-x), or minus: PReLU."""
    if node.op != "binary" or node["kind"] not in ("add", "sub") or node["activation"] is not None:
        return False
    for positive, other in (node.inputs, node.inputs[::-1])[: 2 if node["kind"] == "add" else 1]:
        above = edit.maker(positive, "unary", "relu")
        if above is None:
            continue
        chain = chain_to(edit, other)
        below = edit.maker(chain.source, "unary", "relu")
        if below is None or chain.offset.any():
            continue
        x, mirrored = above.inputs[0], scaled(edit, below.inputs[0])
        inner = [above, *mirrored.nodes, below, *chain.nodes]
        if (mirrored.source, mirrored.a, mirrored.b) != (x, -1, 0) or not edit.private(inner, node):
            continue
        slope = rounded(chain.scale if node["kind"] == "sub" else -chain.scale, np.empty(0, edit.dtype(x)))
        if slope is not None:
            return edit.rewrite(node, "prelu", x, slope, inner=inner)
    return False


def gated_sum(edit: Editor, node: Node) -> bool:
    """x + x * gate is x * (1 + gate), where the gate is smaller."""
    if node.op != "binary" or node["kind"] != "add" or node["activation"] is not None:
        return False
    for x, other in (node.inputs, node.inputs[::-1]):
        product = edit.maker(other, "binary", "mul")
        if product is None or x not in product.inputs or not edit.private([product], node):
            continue
        gate = product.inputs[product.inputs.index(x) - 1]
        small = math.prod(edit.shape(gate)) < math.prod(edit.shape(x))
        if not small or edit.constant(gate) is not None or edit.shape(x) != edit.shape(node.output):
            continue
        edit.take_name(node, [product])
        factor = edit.insert("unary", gate, name=node.name, kind="linear", a=1.0, b=1.0)
        return edit.rewrite(node, "binary", x, factor, kind="mul")
    return False


# ---- means --------------------------------------------------------------------------------------


def global_pool(edit: Editor, node: Node) -> bool:
    """The mean of a whole image."""
    if node.op != "average_pool":
        return False
    x, y = edit.shape(node.inputs[0]), edit.shape(node.output)
    geometry = pool_geometry(node, x[1:3])  # type: ignore[arg-type]
    padded = any(before or after for _, before, after in geometry)
    if tuple(node["kernel"]) != x[1:3] or y[1:3] != (1, 1) or tuple(node["dilations"]) != (1, 1) or padded:
        return False
    return edit.rewrite(node, "reduce", node.inputs[0], kind="mean", axes=(1, 2), keepdims=True)


def keep_axes(edit: Editor, node: Node) -> bool:
    """Reduced axes stay, with size 1; a reshape takes them away."""
    if node.op != "reduce" or node["keepdims"]:
        return False
    x = node.inputs[0]
    axes = axes_of(node, len(edit.shape(x)))
    value = edit.insert("reduce", x, name=node.name, kind=node["kind"], axes=axes, keepdims=True)
    return edit.rewrite(node, "reshape", value, shape=edit.shape(node.output))


RULES = tuple(
    of_floats(rule)
    for rule in (
        split_activation,
        usual_name,
        number_operation,
        negation,
        merge_linear,
        merge_clips,
        hard_sigmoid,
        sigmoid,
        softplus,
        leaky_relu,
        rectified_parts,
        gated_product,
        gated_sum,
        layer_norm,
        layer_norm_of_moments,
        global_pool,
        keep_axes,
    )
)
