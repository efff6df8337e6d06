"""Runs a graph with NumPy, node by node: the oracle of the core, and what does its work where it is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .activation import Array
from .graph import Graph
from .nodes_numpy import compute


class Interpreter:
    """A graph, which must not change, and after which node each of its values is no longer needed."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        last = {name: index for index, node in enumerate(graph.nodes) for name in (*node.inputs, node.output)}
        kept = {*graph.inputs, *graph.outputs, *(v.name for v in graph.values.values() if v.data is not None)}
        self._ends: list[list[str]] = [[] for _ in graph.nodes]
        for name, index in last.items():
            if name not in kept:
                self._ends[index].append(name)

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[Array], done: Callable[[int], None] | None = None
    ) -> None:
        """Writes the outputs, in their order. `done` is called with the index of every node after it ran."""
        graph = self.graph
        values = dict(inputs)
        for value in graph.values.values():
            if value.data is not None:
                values[value.name] = value.data
        for index, node in enumerate(graph.nodes):
            quantizations = [graph.values[name].quantization for name in node.inputs]
            values[node.output] = compute(node, [values[name] for name in node.inputs], quantizations)
            for name in self._ends[index]:
                del values[name]
            if done is not None:
                done(index)
        for name, out in zip(graph.outputs, outputs, strict=True):
            np.copyto(out, values[name])


def least_workspace(graph: Graph) -> int:
    """The most bytes of values that are alive during one node; a reshape is the same memory as its input.

    Inputs and outputs are the caller's, and constants have memory of their own.
    """
    owner: dict[str, str] = {}
    last: dict[str, int] = {}
    first: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            last[owner.get(name, name)] = index
        if node.op == "reshape":
            owner[node.output] = owner.get(node.inputs[0], node.inputs[0])
        else:
            first[node.output] = last[node.output] = index
    theirs = {*graph.inputs, *graph.outputs, *(owner.get(name, name) for name in graph.outputs)}
    change = [0] * (len(graph.nodes) + 1)
    for name, begin in first.items():
        if name not in theirs:
            value = graph.values[name]
            size = math.prod(value.shape) * value.dtype.itemsize
            change[begin] += size
            change[last[name] + 1] -= size
    alive = most = 0
    for step in change:
        alive += step
        most = max(most, alive)
    return most
