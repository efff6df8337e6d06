"""Graphs of floats as graphs of 8-bit integers for scales that are known; see `dwconv.quantizing_network`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import byte_tables
from .activation import Activation, parse
from .emit_problems import _integers as problems_of
from .fitting import Moments, drift, fitted
from .geometry import Window
from .graph import Builder, Graph, Node, Quantization
from .nodes_integers import is_move
from .operation import Stage
from .passes import PASSES
from .passes.activations import unary_of
from .quantized import Quantization as Scalar
from .quantized import bounds, is_clamp, quantize
from .quantizing import weights

WITH_FILTERS = ("conv", "transpose_conv")
LINEAR_SCALES = ("asymmetric", "half_pixel", "align_corners")
FLOAT_PASSES = ("drop identities", "normalise spellings", "fold constants", "fuse activations", "drop dead")


def folded(graph: Graph) -> Graph:
    """Batch norm in filters and clamps behind them, nothing in blocks; other activations are nodes."""
    result = graph.copy()
    for name, apply in PASSES:
        if name in FLOAT_PASSES:
            apply(result, [])
    nodes: list[Node] = []
    for node in result.nodes:
        told = node.attributes.get("activation")
        if told is None or is_clamp(parse("network", "activation", told)):
            nodes.append(node)
            continue
        before = f"{node.output}/before"
        while before in result.values:
            before += "_"
        value = result.values[node.output]
        result.values[before] = type(value)(before, value.shape, value.dtype)
        nodes.append(Node(node.op, node.inputs, before, node.attributes | {"activation": None}, node.name))
        kind, a, b = unary_of(told).values()
        nodes.append(Node("unary", (before,), node.output, {"kind": kind, "a": a, "b": b}, node.name))
    result.nodes = nodes
    return result


def keeps_scale(node: Node) -> bool:
    """Whether its inputs and its result are of one scale."""
    return is_move(node) or (node.op == "resize" and node["coordinates"] in LINEAR_SCALES)


def reason_for_float(graph: Graph, node: Node) -> str | None:
    """Why a node has no form in integers; None: it may have."""
    inputs = [graph.values[name] for name in node.inputs]
    constants = [value.data is not None for value in inputs]
    if any(value.dtype != np.float32 for value in inputs[: 1 if node.op == "gather" else None]):
        return "it is not of float32"
    if node.op in WITH_FILTERS:
        return None if all(constants[1:]) else "its filters are computed"
    if node.op == "gather":
        return None
    if keeps_scale(node):
        if any(constants):
            return "it moves or compares a constant"
        if node.op == "binary" and node["activation"] is not None:
            return "it compares before an activation"
        return None if node.op != "pad" or np.isfinite(node["value"]) else "it pads with infinity"
    if node.op == "unary":
        return None
    if node.op == "average_pool":
        return "padding counts in its mean" if node["count_include_pad"] else None
    if node.op == "reduce":
        return None if node["kind"] in ("mean", "sum") else f"there is no {node['kind']} of integers"
    if node.op == "binary":
        return None if node["kind"] in ("add", "sub", "mul") else f"there is no {node['kind']} of integers"
    if node.op == "prelu":
        return None if constants[1] else "its slope is computed"
    return f"there is no {node.op} of integers here"


class Writer:
    """Writes the nodes of a graph of floats one by one; each value has a form in floats, in bytes, or both.

    `scales`: of values; `moments`: of the inputs of convolutions, by what these give; `corrects`: biases take
    up what rounding leaves out on average; `fits`: filters are rounded for what the samples show.
    """

    def __init__(
        self,
        graph: Graph,
        scales: Mapping[str, Quantization],
        dtype: np.dtype[Any],
        moments: Mapping[str, Moments],
        corrects: bool = True,
        fits: bool = True,
    ) -> None:
        self.graph, self.scales, self.dtype = graph, scales, dtype
        self.moments, self.corrects, self.fits = moments, corrects, fits
        self.b = Builder()
        self.floats: dict[str, str] = {}
        self.bytes: dict[str, str] = {}

    def add_input(self, name: str, in_bytes: bool) -> None:
        value = self.graph.values[name]
        if in_bytes and value.dtype == np.float32 and name in self.scales:
            self.bytes[name] = self.b.input(name, value.shape, self.dtype, self.scales[name])
        else:
            self.floats[name] = self.b.input(name, value.shape, value.dtype, value.quantization)

    def add_output(self, name: str, in_bytes: bool) -> None:
        found = self.bytes.get(name) if in_bytes else None
        self.b.output(name, found or self.as_float(name))

    def write(self, node: Node, keep: str | None) -> str | None:
        """None: in integers; else why it is in floats. `keep`: why it is to be."""
        reason = keep or reason_for_float(self.graph, node)
        moved = node.op not in WITH_FILTERS and not any(name in self.bytes for name in node.inputs)
        if reason is None and moved:
            reason = "its inputs are floats"
        if reason is None:
            before = len(self.b.graph.nodes)
            try:
                made = INTEGER.get(node.op, _moved)(self, node)
                reason = next(iter(problems_of(self.b.graph, self.b.graph.nodes[-1])), None)
            except ValueError as error:
                reason = str(error).removeprefix("network: ")
            if reason is None:
                self.bytes[node.output] = made
                return None
            self._forget(before)
        inputs = [self.as_float(name) for name in node.inputs]
        self.floats[node.output] = self.b.node(node.op, *inputs, name=node.name, **node.attributes)
        return reason

    def _forget(self, count: int) -> None:
        """The nodes from this one on, which turned out to have no place in a network."""
        gone = {node.output for node in self.b.graph.nodes[count:]}
        del self.b.graph.nodes[count:]
        for name in gone:
            del self.b.graph.values[name]
        self.bytes = {value: name for value, name in self.bytes.items() if name not in gone}

    # ---- values -------------------------------------------------------------------------------

    def as_float(self, name: str) -> str:
        if name not in self.floats:
            value = self.graph.values[name]
            if value.data is not None:
                self.floats[name] = self.b.constant(value.data, value.quantization)
            else:
                self.floats[name] = self.b.node("dequantize", self.bytes[name])
        return self.floats[name]

    def as_bytes(self, name: str) -> str:
        if name not in self.bytes:
            value = self.graph.values[name]
            q = self.scales[name]
            if value.data is not None:
                integers = quantize(value.data, q.scale, q.zero_point, self.dtype.name)
                self.bytes[name] = self.b.constant(integers, q)
            else:
                source = self.as_float(name)
                self.bytes[name] = self.b.node("quantize", source, dtype=self.dtype.name, quantization=q)
        return self.bytes[name]

    def rounded(self, node: Node) -> dict[str, Any]:
        """Attributes of a node that computes, its clamp included."""
        q = self.scales[node.output]
        found: dict[str, Any] = {"dtype": self.dtype.name, "quantization": q}
        told = node.attributes.get("activation")
        if told is not None:
            activation = parse("network", "activation", told)
            found["low"], found["high"] = bounds(
                activation, Scalar(q.scale, q.zero_point), self.dtype, "even"
            )
        return found


# ---- nodes in integers --------------------------------------------------------------------------


def _moved(w: Writer, node: Node) -> str:
    attributes = dict(node.attributes)
    names = [w.as_bytes(name) for name in node.inputs[: 1 if node.op == "gather" else None]]
    if node.op == "gather":
        names.append(w.as_float(node.inputs[1]))
    if node.op == "pad" and node["mode"] == "constant":
        q = w.scales[node.output]
        value = np.array(node["value"], np.float32)
        attributes["value"] = float(quantize(value, q.scale, q.zero_point, w.dtype.name))
    if node.op == "resize" and node["kind"] == "linear":
        attributes |= {"dtype": w.dtype.name, "quantization": w.scales[node.output]}
    return w.b.node(node.op, *names, name=node.name, **attributes)


def _filtered(w: Writer, node: Node) -> str:
    x = node.inputs[0]
    arrays = [w.graph.values[name].data for name in node.inputs[1:]]
    filters, bias = arrays[0], arrays[1] if len(arrays) > 1 else None
    assert filters is not None
    s = w.scales[x].scale
    stage = Stage("conv", "filters", filters, bias, Activation(), Window(filters.shape[:2]), node["groups"])
    integers, scales, whole = weights(stage, s, w.scales[node.output].scale)
    seen = w.moments.get(node.output)
    if seen is not None:
        spread = seen.spread(w.corrects) if w.fits else None
        if spread is not None:
            with contextlib.suppress(np.linalg.LinAlgError):  # then each weight stays the nearest
                integers = fitted(filters, scales, spread)
        if w.corrects:
            moved = 0.0 if bias is None else bias.astype(np.float64)
            moved = moved + drift(filters - integers * scales.astype(np.float64), seen.means)
            steps = np.rint(moved / (s * scales.astype(np.float64)))
            whole = np.clip(steps, -(2.0**30), 2.0**30).astype(np.int32)
    kernels = w.b.constant(integers, Quantization(scales, 0, 3))
    attributes = node.attributes | {"activation": None} | w.rounded(node)
    return w.b.node(node.op, w.as_bytes(x), kernels, whole, name=node.name, **attributes)


def _table(w: Writer, node: Node) -> str:
    x, y = w.scales[node.inputs[0]], w.scales[node.output]
    table = byte_tables.table(node["kind"], x, w.dtype, y, w.dtype, "even", node["a"], node["b"])
    return w.b.node("lookup", w.as_bytes(node.inputs[0]), table, name=node.name, quantization=y)


def _computed(w: Writer, node: Node) -> str:
    attributes = dict(node.attributes)
    if "activation" in attributes:
        attributes["activation"] = None
    names = [w.as_bytes(name) for name in node.inputs]
    return w.b.node(node.op, *names, name=node.name, **attributes | w.rounded(node))


def _binary(w: Writer, node: Node) -> str:
    return (_moved if is_move(node) else _computed)(w, node)


def _reduce(w: Writer, node: Node) -> str:
    return (_moved if is_move(node) else _computed)(w, node)


def _prelu(w: Writer, node: Node) -> str:
    slope = w.graph.values[node.inputs[1]].data
    assert slope is not None
    scale = float(np.float32(np.abs(slope).max() / 127)) or 1.0
    integers = np.rint(slope / np.float32(scale)).astype(np.int8)
    zero = 0
    if w.dtype == np.uint8:
        integers, zero = (integers.astype(np.int16) + 128).astype(np.uint8), 128
    slopes = w.b.constant(integers, Quantization(scale, zero))
    return w.b.node("prelu", w.as_bytes(node.inputs[0]), slopes, name=node.name, **w.rounded(node))


INTEGER = {
    "conv": _filtered, "transpose_conv": _filtered, "unary": _table, "binary": _binary, "reduce": _reduce,
    "average_pool": _computed, "prelu": _prelu,
}  # fmt: skip
