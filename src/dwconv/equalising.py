"""Channels between two convolutions scaled to use the same range of integers: the network stays the same.

A factor taken out of a channel of one convolution goes into the filters of the next. Between a convolution
and a depthwise one it is free, since both have a scale for each output. It is the root of what would give the
channel the whole range: on other inputs than the samples it may go further. Filters of other convolutions
share a scale over their inputs, and the root of that factor goes into them.
The rule is the cross-layer equalisation of Nagel et al., "Data-Free Quantization Through Weight Equalization
and Bias Correction" (2019), with ranges measured on samples.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .activation import Array, parse
from .graph import Graph, Node, Value

LEAST = 1 / 4  # of a factor: a channel that samples hardly reach may be another input's largest


def pairs_of(graph: Graph) -> list[tuple[Node, Node]]:
    """Convolutions whose result one other alone reads, with nothing between but a clamp from 0 on."""
    readers = graph.consumers()
    found = []
    for node in graph.nodes:
        after = readers[node.output]
        if node.op != "conv" or node.output in graph.outputs or len(after) != 1 or after[0].op != "conv":
            continue
        constant = all(graph.values[n].data is not None for n in (*node.inputs[1:], *after[0].inputs[1:]))
        inner = after[0].inputs[0] == node.output and _bound(node) is not None
        groups = after[0]["groups"]
        depthwise = graph.values[after[0].inputs[1]].shape[2] == 1
        if constant and inner and (groups == 1 or depthwise):
            found.append((node, after[0]))
    return found


def equalise(graph: Graph, largest: Mapping[str, Array]) -> None:
    """`largest`: of the results of the first ones of `pairs_of`, the largest number of each channel.

    A clamp at 6 stays one of the scaled channel. It lies where no sample came, then.
    """
    for first, second in pairs_of(graph):
        bound = _bound(first)
        reached = largest[first.output]
        whole = min(float(reached.max()), np.inf if bound is None else bound)
        if not 0 < whole < np.inf:
            continue
        factors = np.where(reached > 0, np.clip(np.sqrt(reached / whole), LEAST, 1), 1.0)
        filters = _data(graph, second, 1)
        if not _is_finite(graph, first, second):
            continue
        depthwise = filters.shape[2] == 1 and second["groups"] > 1
        if not depthwise:
            factors = np.sqrt(factors)
        _put(graph, first, 1, _data(graph, first, 1) / factors)
        if len(first.inputs) > 2:
            _put(graph, first, 2, _data(graph, first, 2) / factors)
        into = np.repeat(factors, filters.shape[3] // len(factors)) if depthwise else factors[:, None]
        _put(graph, second, 1, filters * into)


def _bound(node: Node) -> float | None:
    """Of a clamp that scales as its channel does, or of none: infinity. None: it is another activation."""
    told = node.attributes["activation"]
    if told is None:
        return np.inf
    activation = parse("network", "activation", told)
    return {"relu": np.inf, "relu6": 6.0}.get(activation.kind)


def _is_finite(graph: Graph, *nodes: Node) -> bool:
    """With room for what divides them."""
    return all(
        np.abs(_data(graph, node, index)).max(initial=0) < np.finfo(np.float32).max * LEAST
        for node in nodes
        for index in range(1, len(node.inputs))
    )


def _data(graph: Graph, node: Node, index: int) -> Array:
    data = graph.values[node.inputs[index]].data
    assert data is not None
    return data.astype(np.float64)


def _put(graph: Graph, node: Node, index: int, data: Array) -> None:
    """A constant of this node alone, instead of one that others may read."""
    name = f"{node.output}/input {index}"
    while name in graph.values:
        name += "'"
    graph.values[name] = Value(name, data.shape, np.dtype(np.float32), data.astype(np.float32))
    node.inputs = (*node.inputs[:index], name, *node.inputs[index + 1 :])
