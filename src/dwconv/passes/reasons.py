"""Why nodes of a network of bytes run in float32: one line for each, for `summary`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..graph import Graph, Node
from ..nodes_integers import BYTES
from .byte_functions import MOST_CHANNELS

LINEAR = ("add", "sub", "mul", "div")
BEYOND = f"which tables of 256 entries hold for that of at most {MOST_CHANNELS} channels"
OTHERWISE = "integers would round it otherwise than float32 does"


def reasons(graph: Graph, log: list[tuple[str, str]]) -> None:
    """Of nodes of floats whose inputs are converted from bytes, or whose results become bytes."""
    if not any(value.dtype in BYTES for value in graph.values.values()):
        return
    makers, readers = graph.producers(), graph.consumers()
    for node in graph.nodes:
        if node.op in ("quantize", "dequantize") or graph.values[node.output].dtype.kind != "f":
            continue
        if graph.values[node.inputs[0]].dtype in BYTES:
            continue
        before = [makers[name].op for name in node.inputs if name in makers]
        after = [reader.op for reader in readers[node.output]]
        if "dequantize" in before or "quantize" in after:
            log.append(
                (node.name or node.output, f"{node.op} runs in float32: {_why(graph, node, before, after)}")
            )


def _why(graph: Graph, node: Node, before: Iterable[str], after: Iterable[str]) -> str:
    if "dequantize" not in before:
        return "nothing quantises its input"
    if "quantize" not in after:
        return "nothing quantises its result"
    told = OF_OP.get(node.op)
    return "there is no form of it for bytes" if told is None else told(graph, node)


def _filtered(graph: Graph, node: Node) -> str:
    constant = all(graph.values[name].data is not None for name in node.inputs[1:])
    return "its filters have no scale" if constant else "its filters are computed"


def _binary(graph: Graph, node: Node) -> str:
    if any(graph.values[name].data is not None for name in node.inputs):
        return f"its constant differs along an axis, {BEYOND}"
    return "its inputs and its result are not all quantised, to one dtype"


def _mean(graph: Graph, node: Node) -> str:
    if node.attributes.get("count_include_pad"):
        return "padding counts in its mean"
    if node["kind"] not in ("mean", "sum") if node.op == "reduce" else False:
        return f"there is no {node['kind']} of integers"
    return "its result is of another dtype, or of a scale too far from that of its input"


OF_OP: dict[str, Callable[[Graph, Node], str]] = {
    "conv": _filtered,
    "transpose_conv": _filtered,
    "binary": _binary,
    "reduce": _mean,
    "average_pool": _mean,
    "softmax": lambda graph, node: OTHERWISE,
    "layer_norm": lambda graph, node: OTHERWISE,
    "resize": lambda graph, node: OTHERWISE,
    "pad": lambda graph, node: "no byte stands for what it pads with",
    "matmul": lambda graph, node: "a product of two computed values has no form for bytes",
    "prelu": lambda graph, node: f"its slopes differ along an axis, {BEYOND}",
}
