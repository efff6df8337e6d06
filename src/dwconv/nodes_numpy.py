"""What nodes of a network compute, with NumPy: the oracle, and the fallback. See `dwconv.graph`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import fallback, nodes_numpy_integers
from .activation import Array, apply, parse
from .graph import Graph, Node, Quantization, Value
from .nodes import axes_of, live_taps, pool_geometry, reshape_shape, resize_shape, slices_of, stage_of
from .operation import Operation


def compute(node: Node, inputs: Sequence[Any], quantizations: Sequence[Quantization | None] = ()) -> Array:
    """The node's result with NumPy. `quantizations`: of the inputs, where any of them has one."""
    with np.errstate(all="ignore"):
        found = nodes_numpy_integers.compute(node, quantizations, inputs)
        return np.asarray(NUMPY[node.op](node, *inputs) if found is None else found)


def interpret(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """What a network gives for these inputs, by name; they have the shapes that `graph` says."""
    values = {name: value.data for name, value in graph.values.items() if value.data is not None}
    for name in graph.inputs:
        value = graph.values[name]
        if name not in feeds:
            raise ValueError(f"network: input {name!r} is missing; there are {sorted(feeds)}")
        values[name] = np.asarray(feeds[name], value.dtype)
        if values[name].shape != value.shape:
            raise ValueError(f"network: input {name!r} must be {value.shape}, not {values[name].shape}")
    for node in graph.nodes:
        values[node.output] = compute(
            node, [values[name] for name in node.inputs], [graph.values[n].quantization for n in node.inputs]
        )
    return {name: values[name] for name in graph.outputs}


# ---- results of each op ------------------------------------------------------------------------

UNARY: dict[str, Callable[[Array, float, float], Array]] = {
    "abs": lambda x, a, b: np.abs(x),
    "neg": lambda x, a, b: -x,
    "exp": lambda x, a, b: np.exp(x),
    "log": lambda x, a, b: np.log(x),
    "sqrt": lambda x, a, b: np.sqrt(x),
    "reciprocal": lambda x, a, b: x.dtype.type(1) / x,
    "square": lambda x, a, b: x * x,
    "erf": lambda x, a, b: _erf(x),
    "floor": lambda x, a, b: np.floor(x),
    "ceil": lambda x, a, b: np.ceil(x),
    "round": lambda x, a, b: np.round(x),
    "sign": lambda x, a, b: np.sign(x),
    "softplus": lambda x, a, b: np.logaddexp(x, x.dtype.type(0)),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x * b).astype(x.dtype),
    "sin": lambda x, a, b: np.sin(x),
    "cos": lambda x, a, b: np.cos(x),
    "linear": lambda x, a, b: x * x.dtype.type(a) + x.dtype.type(b),
}
BINARY: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "greater": lambda a, b: np.greater(a, b).astype(a.dtype),
    "greater_or_equal": lambda a, b: np.greater_equal(a, b).astype(a.dtype),
    "equal": lambda a, b: np.equal(a, b).astype(a.dtype),
    "keep": lambda a, b: np.where(b == 0, a.dtype.type(-0.0), a),
}
REDUCE: dict[str, Callable[..., Array]] = {
    "mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min, "prod": np.prod, "argmax": np.argmax,
}  # fmt: skip


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[x.dtype])(x) if x.size else x


def activated(x: Array, activation: Any) -> Array:
    return apply(np.array(x), parse("network", "activation", activation))


def _unary(node: Node, x: Array) -> Array:
    kind, a, b = node["kind"], node["a"], node["b"]
    if kind in UNARY:
        return UNARY[kind](x, a, b)
    return activated(x, {"clip": ("clip", a, b), "leaky_relu": ("leaky_relu", a)}.get(kind, kind))


def _binary(node: Node, a: Array, b: Array) -> Array:
    return activated(BINARY[node["kind"]](a, b), node["activation"])


def _conv(node: Node, x: Array, filters: Array, bias: Array | None = None) -> Array:
    stage = stage_of(node, x.shape, filters, bias)
    return fallback.run(Operation("network", stage.kind, (stage,)), x)


def _transpose_conv(node: Node, x: Array, filters: Array, bias: Array | None = None) -> Array:
    batch, in_h, in_w, _ = x.shape
    kh, kw, inputs, outputs = filters.shape
    groups, (sh, sw), (dh, dw) = node["groups"], node["strides"], node["dilations"]
    (top, bottom), (left, right) = node["padding"]
    out_h = (in_h - 1) * sh + (kh - 1) * dh + 1 + node["output_padding"][0] - top - bottom
    out_w = (in_w - 1) * sw + (kw - 1) * dw + 1 + node["output_padding"][1] - left - right
    y = np.zeros((batch, out_h, out_w, outputs), x.dtype)
    grouped = x.reshape(batch, in_h, in_w, groups, inputs)
    weights = filters.reshape(kh, kw, inputs, groups, outputs // groups)
    for ky, in_y, out_y in live_taps(np.arange(in_h) * sh - top, kh, dh, out_h):
        for kx, in_x, out_x in live_taps(np.arange(in_w) * sw - left, kw, dw, out_w):
            part = np.einsum("nhwgi,igo->nhwgo", grouped[:, in_y[:, None], in_x], weights[ky, kx])
            y[:, out_y[:, None], out_x] += part.reshape(*part.shape[:3], outputs)
    return activated(y if bias is None else y + bias, node["activation"])


def _pool(node: Node, x: Array) -> Array:
    (out_h, top, bottom), (out_w, left, right) = pool_geometry(node, x.shape[1:3])
    most = node.op == "max_pool"
    (kh, kw), (sh, sw), (dh, dw) = node["kernel"], node["strides"], node["dilations"]
    total = np.full((len(x), out_h, out_w, x.shape[3]), -np.inf if most else 0, x.dtype)
    rows, columns = np.arange(out_h) * sh - top, np.arange(out_w) * sw - left
    for _, out_y, in_y in live_taps(rows, kh, dh, x.shape[1]):
        for _, out_x, in_x in live_taps(columns, kw, dw, x.shape[2]):
            where, part = (slice(None), out_y[:, None], out_x), x[:, in_y[:, None], in_x]
            total[where] = np.maximum(total[where], part) if most else total[where] + part
    if most:
        return total
    if node["count_include_pad"]:  # not what ceil_mode adds beyond
        rows, columns = rows + top, columns + left
        high, wide = top + x.shape[1] + bottom, left + x.shape[2] + right
    else:
        high, wide = x.shape[1:3]
    live_y, live_x = _live_counts(rows, kh, dh, high), _live_counts(columns, kw, dw, wide)
    return np.asarray(total / np.maximum(live_y[:, None] * live_x, 1)[:, :, None].astype(x.dtype))


def _live_counts(first: Array, taps: int, step: int, size: int) -> Array:
    """How many taps of each window meet an axis of this size."""
    before: Array = np.clip(-(first // step), 0, taps)  # those at negative places
    return np.asarray(np.clip(-((first - size) // step), before, taps) - before)


def _reduce(node: Node, x: Array) -> Array:
    axes: Any = axes_of(node, x.ndim)
    axes = axes[0] if node["kind"] == "argmax" else axes
    return REDUCE[node["kind"]](x, axis=axes, keepdims=node["keepdims"]).astype(x.dtype)


def _pad(node: Node, x: Array) -> Array:
    more = {"constant_values": node["value"]} if node["mode"] == "constant" else {}
    return np.pad(x, node["pads"], mode=node["mode"], **more)


def coordinates(node: Node, axis: int, size: int, out: int) -> Array:
    """Where output rows (axis 0) or columns (1) lie in the input."""
    scale = out / size if node["scales"] is None else node["scales"][axis]
    i = np.arange(out, dtype=np.float64)
    kind = node["coordinates"]
    if kind == "asymmetric":
        return i / scale
    if kind == "align_corners":
        return i * (size - 1) / (out - 1) if out > 1 else i * 0
    if kind == "pytorch_half_pixel" and out == 1:
        return i * 0
    offset = 0.0
    if kind == "half_pixel_symmetric":
        offset = size / 2 * (1 - out / (scale * size))
    return (i + 0.5) / scale - 0.5 + offset


def nearest_index(node: Node, axis: int, size: int, out: int) -> Array:
    at = coordinates(node, axis, size, out)
    kind = node["rounding"]
    if kind == "floor":
        found = np.floor(at)
    elif kind == "ceil":
        found = np.ceil(at)
    else:
        found = np.ceil(at - 0.5) if kind == "round_prefer_floor" else np.floor(at + 0.5)
    return np.clip(found, 0, size - 1).astype(np.int64)


def linear_weights(node: Node, axis: int, size: int, out: int) -> tuple[Array, Array, Array]:
    """Lower index, upper index, and the weight of the upper one."""
    at = coordinates(node, axis, size, out)
    low = np.floor(at)
    weight = (at - low).astype(np.float32)
    clipped = [np.clip(low + more, 0, size - 1).astype(np.int64) for more in (0, 1)]
    return clipped[0], clipped[1], weight


def _resize(node: Node, x: Array) -> Array:
    _, out_h, out_w, _ = resize_shape(node, Value("", x.shape, x.dtype))
    if node["kind"] == "nearest":
        rows = nearest_index(node, 0, x.shape[1], out_h)
        return x[:, rows][:, :, nearest_index(node, 1, x.shape[2], out_w)]
    top, bottom, wy = linear_weights(node, 0, x.shape[1], out_h)
    left, right, wx = linear_weights(node, 1, x.shape[2], out_w)
    wy, wx = wy[None, :, None, None], wx[None, None, :, None]
    rows = x[:, top] * (1 - wy) + x[:, bottom] * wy
    return np.asarray(rows[:, :, left] * (1 - wx) + rows[:, :, right] * wx, x.dtype)


def _depth_to_space(node: Node, x: Array) -> Array:
    n, h, w, c = x.shape
    b = node["block"]
    if node["mode"] == "dcr":
        parts = x.reshape(n, h, w, b, b, c // b**2).transpose(0, 1, 3, 2, 4, 5)
    else:
        parts = x.reshape(n, h, w, c // b**2, b, b).transpose(0, 1, 4, 2, 5, 3)
    return np.asarray(parts.reshape(n, h * b, w * b, c // b**2))


def _space_to_depth(node: Node, x: Array) -> Array:
    n, h, w, c = x.shape
    b = node["block"]
    parts = x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    return np.asarray(parts.reshape(n, h // b, w // b, c * b * b))


def _softmax(node: Node, x: Array) -> Array:
    shifted = x - x.max(axis=node["axis"], keepdims=True)
    powers = np.exp(shifted)
    total = powers.sum(axis=node["axis"], keepdims=True)
    return np.asarray(shifted - np.log(total) if node["log"] else powers / total)


def _layer_norm(node: Node, x: Array, scale: Array, bias: Array) -> Array:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + node["epsilon"]) * scale + bias, x.dtype)


NUMPY: dict[str, Callable[..., Array]] = {
    "conv": _conv,
    "transpose_conv": _transpose_conv,
    "max_pool": _pool,
    "average_pool": _pool,
    "reduce": _reduce,
    "unary": _unary,
    "binary": _binary,
    "prelu": lambda node, x, slope: np.where(x < 0, x * slope, x),
    "concat": lambda node, *inputs: np.concatenate(inputs, node["axis"]),
    "slice": lambda node, x: x[slices_of(node)],
    "pad": _pad,
    "transpose": lambda node, x: x.transpose(node["perm"]),
    "reshape": lambda node, x: x.reshape(reshape_shape(node, Value("", x.shape, x.dtype))),
    "expand": lambda node, x: np.broadcast_to(x, node["shape"]),
    "resize": _resize,
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "matmul": lambda node, a, b: np.matmul(a, b),
    "gather": lambda node, x, indices: np.take(x, indices, node["axis"]),
    "block": lambda node, x: fallback.run(node["operation"], x),
}
