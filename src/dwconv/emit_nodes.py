"""The steps of each op: see `dwconv.graph` for what the ops mean, csrc/dwconv_network.h for the steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .activation import parse
from .emit_transposed import transpose_conv
from .emitter import Emitter, Place
from .geometry import Window
from .graph import Node
from .nodes import axes_of, pool_geometry, slices_of, stage_of
from .nodes_integers import integer_operation, is_move
from .nodes_numpy import nearest_index
from .nodes_numpy_integers import softmax_table
from .operation import Operation, Stage
from .placing import interior, parts_of_concat
from .program import as_indices
from .quantized import limits
from .views import View

UNARY = {
    "abs": "abs", "neg": "negate", "exp": "exp", "log": "log", "sqrt": "sqrt", "reciprocal": "reciprocal",
    "square": "square", "erf": "erf", "floor": "floor", "ceil": "ceil", "round": "round", "sign": "sign",
    "softplus": "softplus", "elu": "elu", "sin": "sin", "cos": "cos", "linear": "linear",
}  # fmt: skip
BINARY = {
    "add": "plus", "sub": "minus", "mul": "times", "div": "divide", "max": "maximum", "min": "minimum",
    "pow": "power", "greater": "greater", "greater_or_equal": "greater_or_equal", "equal": "equal",
    "keep": "keep",
}  # fmt: skip
REDUCE = {
    "mean": "mean", "sum": "sum", "max": "largest", "min": "smallest", "prod": "product",
    "argmax": "place_of_largest",
}  # fmt: skip
RESIZE = {"nearest": "nearest", "linear": "bilinear"}

# ---- images -----------------------------------------------------------------------------------


def _conv(e: Emitter, node: Node) -> None:
    source, weights = (e.value(name) for name in node.inputs[:2])
    bias = e.data(node.inputs[2]) if len(node.inputs) > 2 else None
    operation: Operation | Stage
    if source.dtype.kind == "f":
        operation = stage_of(node, source.shape, e.data(node.inputs[1]), bias)
    else:
        operation = integer_operation(node, source, weights, bias)
    of = (node.inputs[0], node.output)
    e.convolution(e.dense(node.inputs[0]), e.target(node.output), operation, of)


def _block(e: Emitter, node: Node) -> None:
    of = (node.inputs[0], node.output)
    e.convolution(e.dense(node.inputs[0]), e.target(node.output), node["operation"], of)


def _pool(e: Emitter, node: Node) -> None:
    x = e.dense(node.inputs[0])
    (_, *rows), (_, *columns) = pool_geometry(node, x.view.shape[1:3])  # type: ignore[arg-type]
    padding: Any = (tuple(rows), tuple(columns))
    mean = node.op == "average_pool"
    e.step(
        "pool", [x], e.target(node.output), (node.inputs[0], node.output),
        function="mean" if mean else "largest", clamp=_clamp(e, node),
        window=Window(tuple(node["kernel"]), tuple(node["strides"]), padding, tuple(node["dilations"])),
        counts_padding=mean and bool(node["count_include_pad"]),
    )  # fmt: skip


def _resize(e: Emitter, node: Node) -> None:
    if _is_repeated(e, node):
        x = e.place(node.inputs[0])
        (n, h, w, c), (_, out_h, out_w, _) = x.view.shape, e.value(node.output).shape
        once = _split(x, (n, h, 1, w, 1, c)).view
        e.alias(node.output, Place(x.memory, once.expand((n, h, out_h // h, w, out_w // w, c))))
        return
    x = e.dense(node.inputs[0])
    scales = tuple(float(scale) for scale in node["scales"] or ())
    if e.is_bytes(node.inputs[0]) and node["kind"] == "linear":
        scales = ()  # coordinates of integers follow from the sizes
    e.step(
        "resize", [x], e.target(node.output), (node.inputs[0], node.output), function=RESIZE[node["kind"]],
        coordinates=node["coordinates"], rounding=node["rounding"], parameters=scales,
    )  # fmt: skip


def _is_repeated(e: Emitter, node: Node) -> bool:
    """Whether pixels only become several, and one binary node reads them: it reads each as often."""
    name, (_, *sizes, _) = node.output, e.value(node.inputs[0]).shape
    readers, full = e.graph.consumers()[name], e.value(name).shape
    if node["kind"] != "nearest" or e.is_bytes(name) or e.is_placed(name):
        return False
    if len(readers) != 1 or readers[0].op != "binary":
        return False
    others = [other for other in readers[0].inputs if other != name]
    producers = e.graph.producers()
    if len(others) != 1 or e.value(others[0]).shape != full:
        return False
    if others[0] in producers and producers[others[0]].op == "resize":
        return False
    return all(
        np.array_equal(nearest_index(node, axis, size, out), np.arange(size).repeat(out // size))
        for axis, (size, out) in enumerate(zip(sizes, full[1:3], strict=True))
    )


def _depth_to_space(e: Emitter, node: Node) -> None:
    x, y, b = e.place(node.inputs[0]), e.target(node.output), node["block"]
    n, h, w, c = x.view.shape
    if node["mode"] == "dcr":
        parts = _split(x, (n, h, w, b, b, c // b**2)).view.transpose((0, 1, 3, 2, 4, 5))
    else:
        parts = _split(x, (n, h, w, c // b**2, b, b)).view.transpose((0, 1, 4, 2, 5, 3))
    e.move(Place(x.memory, parts), _split(y, (n, h, b, w, b, c // b**2)))


def _space_to_depth(e: Emitter, node: Node) -> None:
    x, y, b = e.place(node.inputs[0]), e.target(node.output), node["block"]
    n, h, w, c = x.view.shape
    parts = _split(x, (n, h // b, b, w // b, b, c)).view.transpose((0, 1, 3, 2, 4, 5))
    e.move(Place(x.memory, parts), _split(y, (n, h // b, w // b, b, b, c)))


def _split(place: Place, shape: tuple[int, ...]) -> Place:
    """Some axes become two: any strides allow that."""
    view = place.view.reshape(shape)
    assert view is not None
    return Place(place.memory, view)


# ---- elements ---------------------------------------------------------------------------------


def _unary(e: Emitter, node: Node) -> None:
    kind, a, b = node["kind"], float(node["a"]), float(node["b"])
    if kind in UNARY:
        fields: dict[str, Any] = {"function": UNARY[kind], "parameters": (a, b)}
    else:
        spelled = {"clip": ("clip", a, b), "leaky_relu": ("leaky_relu", a)}.get(kind, kind)
        fields = {"function": "same_value", "activation": parse("network", "activation", spelled)}
    x = e.place(node.inputs[0])
    e.step("unary", [x], e.in_place(node.output, *node.inputs), **fields)


def _binary(e: Emitter, node: Node) -> None:
    inputs = [e.place(name) for name in node.inputs]
    activation = parse("network", "activation", node["activation"])
    y = e.in_place(node.output, *node.inputs)
    form = max((x.view.shape for x in inputs), key=len)
    if len(form) > len(y.view.shape):  # pixels of one input are read several times
        inputs, y = [x if x.view.shape == form else _split(x, form) for x in inputs], _split(y, form)
    formula = node["formula"] if e.is_bytes(node.inputs[0]) and not is_move(node) else None
    e.step(
        "binary", inputs, y, (*node.inputs, node.output), function=BINARY[node["kind"]],
        activation=activation, clamp=_clamp(e, node), formula=formula,
    )  # fmt: skip


def _prelu(e: Emitter, node: Node) -> None:
    inputs = [e.place(name) for name in node.inputs]
    y = e.in_place(node.output, *node.inputs)
    e.step("binary", inputs, y, (*node.inputs, node.output), function="prelu", clamp=_clamp(e, node))


def _quantize(e: Emitter, node: Node) -> None:
    e.step("quantize", [e.place(node.inputs[0])], e.target(node.output), (node.inputs[0], node.output))


def _dequantize(e: Emitter, node: Node) -> None:
    e.step("dequantize", [e.place(node.inputs[0])], e.target(node.output), (node.inputs[0], node.output))


def _lookup(e: Emitter, node: Node) -> None:
    inputs = [e.place(name) for name in node.inputs]
    e.step("lookup", inputs, e.in_place(node.output, node.inputs[0]))


def _clamp(e: Emitter, node: Node) -> tuple[int, int]:
    """As steps have it: twice 0 is none. One of 0 alone is that of a lookup (`emit.problems`)."""
    if not e.is_bytes(node.inputs[0]) or node.attributes.get("quantization") is None:
        return 0, 0
    low, high = limits(e.value(node.inputs[0]).dtype)
    bounds = (
        low if node["low"] is None else max(low, int(node["low"])),
        high if node["high"] is None else min(high, int(node["high"])),
    )
    return (0, 0) if bounds == (low, high) else bounds


# ---- axes -------------------------------------------------------------------------------------


def _reduce(e: Emitter, node: Node) -> None:
    x = e.place(node.inputs[0])
    axes = axes_of(node, len(x.view.shape))
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.view.shape))
    if kept == x.view.shape and (is_move(node) or not e.is_bytes(node.inputs[0])):  # over single elements
        e.alias(node.output, _split(x, e.value(node.output).shape))
        return
    y = _split(e.target(node.output), kept)
    of = (node.inputs[0], node.output)
    if node["kind"] == "argmax":  # along the last axis
        perm = (*(axis for axis in range(len(kept)) if axis not in axes), *axes)
        x, y = e.dense(node.inputs[0], _transposed(x, perm)), _transposed(y, perm)
    e.step("reduce", [x], y, of, function=REDUCE[node["kind"]], clamp=_clamp(e, node))


def _softmax(e: Emitter, node: Node) -> None:
    name, rank = node.inputs[0], len(e.value(node.inputs[0]).shape)
    axis = node["axis"] % rank
    perm = (*(a for a in range(rank) if a != axis), axis)  # the last one with the axis before it is its own
    x = e.dense(name, _transposed(e.place(name), perm))
    y = _transposed(e.target(node.output), perm)
    inputs: list[Place] = [x]
    of: tuple[str, ...] = (name, node.output)
    if e.is_bytes(name):
        q = e.value(name).quantization
        assert q is not None
        inputs.append(e.constant(softmax_table(q, node["rounding"])))
        of = (name, "", node.output)
    fields = {"function": "logarithm" if node["log"] else None}
    if y.view.has_unit_stride:
        e.step("softmax", inputs, y, of, **fields)
    else:
        result = e.fresh(y.view.shape, node.output)
        e.step("softmax", inputs, result, of, **fields)
        e.move(result, y)


def _transposed(place: Place, perm: tuple[int, ...]) -> Place:
    return Place(place.memory, place.view.transpose(perm))


def _layer_norm(e: Emitter, node: Node) -> None:
    inputs = [e.dense(name) for name in node.inputs]
    e.step("layer_norm", inputs, e.target(node.output), parameters=(float(node["epsilon"]),))


def _matmul(e: Emitter, node: Node) -> None:
    x, y = e.place(node.inputs[0]), e.target(node.output)
    weights = e.value(node.inputs[1]).data
    if weights is not None and weights.ndim == 2:  # they can be packed: a convolution of one row of pixels
        rows = x.view.size // weights.shape[0]
        pixels = x.view.reshape((1, 1, rows, weights.shape[0]))
        results = y.view.reshape((1, 1, rows, weights.shape[1]))
        if pixels and results and pixels.has_unit_stride and results.has_unit_stride:
            conv = Node("conv", (), node.output, {
                "strides": (1, 1), "padding": "valid", "dilations": (1, 1), "groups": 1, "activation": None,
            })  # fmt: skip
            stage = stage_of(conv, pixels.shape, weights[None, None], None)
            e.convolution(Place(x.memory, pixels), Place(y.memory, results), stage)
            return
    e.step("matmul", [x, e.place(node.inputs[1])], y)


# ---- parts and forms --------------------------------------------------------------------------


def _reshape(e: Emitter, node: Node) -> None:
    source, shape = node.inputs[0], e.value(node.output).shape
    x = e.place(source)
    if e.is_placed(node.output):
        y = e.target(node.output)
        like_x = y.view.reshape(x.view.shape)
        if like_x:  # one copy whatever the strides of x, or none where it was written there
            e.move(x, Place(y.memory, like_x))
        else:
            e.move(e.reshaped(source, x, shape), y)
    else:
        e.alias(node.output, e.reshaped(source, x, shape))


def _transpose(e: Emitter, node: Node) -> None:
    e.alias(node.output, _transposed(e.place(node.inputs[0]), node["perm"]))


def _slice(e: Emitter, node: Node) -> None:
    x = e.place(node.inputs[0])
    e.alias(node.output, Place(x.memory, x.view.slice(slices_of(node))))


def _expand(e: Emitter, node: Node) -> None:
    x = e.place(node.inputs[0])
    e.alias(node.output, Place(x.memory, x.view.expand(node["shape"])))


def _concat(e: Emitter, node: Node) -> None:
    inputs = [e.place(name) for name in node.inputs]
    together = _side_by_side(inputs, e.value(node.output).shape, node["axis"])
    if together and not e.is_placed(node.output):
        e.alias(node.output, together)
        return
    y = e.target(node.output)
    for name, part in zip(node.inputs, parts_of_concat(e.graph, node, y.view), strict=True):
        e.move(e.place(name), Place(y.memory, part))


def _side_by_side(parts: list[Place], shape: tuple[int, ...], axis: int) -> Place | None:
    """The place of the whole, if its parts lie as they would in it."""
    memory, first = parts[0]
    start = 0
    whole = View.of(zip(shape, first.strides, strict=True), first.offset)
    for part in parts:
        stop = start + part.view.shape[axis]
        if part != Place(memory, whole.part(axis % len(shape), start, stop)):
            return None
        start = stop
    return Place(memory, whole)


def _pad(e: Emitter, node: Node) -> None:
    pads = node["pads"]
    if not any(sum(pair) for pair in pads):
        e.alias(node.output, e.place(node.inputs[0]))
    elif node["mode"] == "constant":
        _pad_constant(e, node)
    else:
        _pad_with_own(e, node)


def _pad_constant(e: Emitter, node: Node) -> None:
    y = e.target(node.output)
    e.move(e.place(node.inputs[0]), Place(y.memory, interior(node, y.view)))
    rest = y.view  # the borders of each axis leave those of the axes before it alone
    for axis, (before, after) in enumerate(node["pads"]):
        size = rest.shape[axis]
        for start, stop in ((0, before), (size - after, size)):
            if start < stop:
                border = Place(y.memory, rest.part(axis, start, stop))
                e.step("fill", [], border, parameters=(float(node["value"]),))
        rest = rest.part(axis, before, size - after)


def _pad_with_own(e: Emitter, node: Node) -> None:
    """Reflected or repeated: each axis by the indices that NumPy would pad with."""
    x = e.place(node.inputs[0])
    axes = [axis for axis, pair in enumerate(node["pads"]) if sum(pair)]
    for axis in axes:
        indices = np.pad(np.arange(x.view.shape[axis]), node["pads"][axis], mode=node["mode"])
        shape = (*x.view.shape[:axis], len(indices), *x.view.shape[axis + 1 :])
        y = e.target(node.output) if axis == axes[-1] else e.fresh(shape, node.output)
        e.step("gather", [x], y, axis=axis, indices=as_indices(indices))
        x = y


def _gather(e: Emitter, node: Node) -> None:
    x, axis = e.place(node.inputs[0]), node["axis"] % len(e.value(node.inputs[0]).shape)
    indices, shape = as_indices(e.data(node.inputs[1])), e.value(node.output).shape
    flat = (*x.view.shape[:axis], len(indices), *x.view.shape[axis + 1 :])
    steps = {int(b) - int(a) for a, b in pairwise(indices)}
    if len(steps) < 2:  # evenly spaced: a slice
        axes = list(zip(flat, x.view.strides, strict=True))
        stride = axes[axis][1]
        axes[axis] = (len(indices), stride * (steps.pop() if steps else 1))
        view = View.of(axes, x.view.offset + int(indices[0]) * stride)
        e.alias(node.output, e.reshaped(node.inputs[0], Place(x.memory, view), shape))
        return
    y = e.target(node.output)
    part = y.view.reshape(flat)
    result = Place(y.memory, part) if part else e.fresh(flat, node.output)
    e.step("gather", [x], result, axis=axis, indices=indices)
    if not part:
        e.move(Place(result.memory, View.whole(shape)), y)


NODES: dict[str, Callable[[Emitter, Node], None]] = {
    "conv": _conv,
    "transpose_conv": transpose_conv,
    "max_pool": _pool,
    "average_pool": _pool,
    "reduce": _reduce,
    "unary": _unary,
    "binary": _binary,
    "prelu": _prelu,
    "concat": _concat,
    "slice": _slice,
    "pad": _pad,
    "transpose": _transpose,
    "reshape": _reshape,
    "expand": _expand,
    "resize": _resize,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "matmul": _matmul,
    "gather": _gather,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "lookup": _lookup,
    "block": _block,
}
