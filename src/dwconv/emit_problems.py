"""What of a graph the C core has no step for."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .graph import Graph, Node, Quantization
from .nodes import axes_of
from .nodes_integers import BYTES, is_move

# A transposed convolution takes a step for each; networks for segmentation have a stride of 32.
MOST_PHASES = 32 * 32
MOST_SUMMED = 2**23  # bytes: their sum fits 32 bits
MOST_RATIO = 2.0**20  # of scales
FLOAT_FORMULA = ("add", "sub", "mul", "div", "max", "min")
COORDINATES = ("asymmetric", "half_pixel", "align_corners")  # of linear resize of bytes


def find_problems(graph: Graph) -> dict[str, None]:
    """Without repetition, in order."""
    found: dict[str, None] = {}
    for name in (*graph.inputs, *graph.outputs):
        dtype = graph.values[name].dtype
        if dtype != np.float32 and dtype not in BYTES:
            found[f"{name!r} is {dtype}: {ONLY}"] = None
    for node in graph.nodes:
        label = f"{node.op} {node.name or node.output!r}"
        for problem in (*_dtypes(graph, node), *_filters(graph, node), *_integers(graph, node)):
            found[f"{label}: {problem}"] = None
    return found


ONLY = "only float32, int8 and uint8 are supported"


def roundings(graph: Graph) -> dict[str, None]:
    """Those of the steps that have no rounding of their own: one, or none."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        rounds = node.op == "quantize" or (
            node.attributes.get("quantization") is not None
            and node.op not in ("conv", "transpose_conv", "lookup")
            and not is_move(node)
            and node.attributes.get("formula") != "float"
        )
        if rounds:
            found[node["integers" if node.op == "resize" else "rounding"]] = None
    return found


def _dtypes(graph: Graph, node: Node) -> Iterator[str]:
    for position, name in enumerate(node.inputs):
        dtype = graph.values[name].dtype
        is_index = node.op == "gather" and position == 1
        is_bias = node.op in ("conv", "transpose_conv") and position == 2
        words = node.op == "dequantize" or is_bias
        is_filter = node.op in ("conv", "transpose_conv") and position == 1
        known = (words and dtype == np.int32) or (is_filter and dtype == np.int16)
        if dtype != np.float32 and dtype not in BYTES and not is_index and not known:
            yield f"{name!r} is {dtype}: {ONLY}"


def _filters(graph: Graph, node: Node) -> Iterator[str]:
    if node.op not in ("conv", "transpose_conv"):
        return
    for name in node.inputs[1:]:
        if graph.values[name].data is None:
            yield f"{name!r} is computed: only constant filters and biases are supported"
    if node.op == "transpose_conv" and math.prod(node["strides"]) > MOST_PHASES:
        strides = " x ".join(map(str, node["strides"]))
        yield f"stride {strides}: at most {MOST_PHASES} outputs per input are supported"


# ---- 8-bit integers -----------------------------------------------------------------------------


def _integers(graph: Graph, node: Node) -> Iterator[str]:
    if not node.inputs or graph.values[node.inputs[0]].dtype not in BYTES:
        return
    if node.op == "binary" and not is_move(node):
        yield from _binary(graph, node)
    elif node.op == "resize" and not is_move(node) and node["coordinates"] not in COORDINATES:
        yield f"coordinates {node['coordinates']} of integers"
    elif node.op in ("max_pool", "average_pool") and math.prod(node["kernel"]) > MOST_SUMMED:
        yield f"a window of {node['kernel']}: {MOST_SUMMED} integers at most are summed"
    elif node.op == "reduce":
        shape = graph.values[node.inputs[0]].shape
        if math.prod(shape[axis] for axis in axes_of(node, len(shape))) > MOST_SUMMED:
            yield f"a sum of more than {MOST_SUMMED} integers"
    if node.attributes.get("low") == 0 and node["high"] == 0:
        yield "a clamp from 0 to 0"
    yield from _ratios(graph, node)


def _binary(graph: Graph, node: Node) -> Iterator[str]:
    kind = node["kind"]
    if node["formula"] == "float":
        if kind not in FLOAT_FORMULA:
            yield f"{kind} of integers"
        return
    a, b = (_scale(graph.values[name].quantization) for name in node.inputs)
    if kind in ("add", "sub"):
        most = max(a / _scale(node["quantization"]), b / _scale(node["quantization"]))
        if not 2.0**-10 <= most < 2.0**8:
            yield f"scales that are {most} times that of the result: from 1/1024 to 256 is supported"


def _ratios(graph: Graph, node: Node) -> Iterator[str]:
    """Of ops whose products are rounded as they are."""
    if node.op not in ("binary", "prelu", "average_pool", "reduce") or is_move(node):
        return
    if node.attributes.get("formula") == "float":
        return
    scales = [_scale(graph.values[name].quantization) for name in node.inputs]
    y = _scale(node["quantization"])
    with np.errstate(all="ignore"):
        most = max(scales[0] / y, np.float32(math.prod(scales)) / y)
    if not most < MOST_RATIO:
        yield f"scales that are {most} times that of the result"


def _scale(q: Quantization | None) -> np.float32:
    found: np.float32 = np.float32(0 if q is None else q.scale)
    return found
