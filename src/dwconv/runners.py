"""What runs a graph: NumPy, node by node, or the core. Both have the methods of `Runner`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .activation import Array
from .config import core
from .emit import emit
from .geometry import MAX_THREADS
from .graph import Graph, Node
from .interpreter import Interpreter, least_workspace
from .operation import Operation


class Runner(Protocol):
    """For inputs and outputs of the shapes and dtypes of a graph, contiguous and apart from each other."""

    graph: Graph
    isa: str | None  # None: NumPy
    reason: str | None  # why it is NumPy
    threads: int  # the most that a run may use
    workspace_bytes: int
    lower_bound: int
    weight_bytes: int

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int) -> None: ...

    def times(self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int) -> list[float]:
        """Seconds of each node of the graph, of one run."""

    def kernels(self) -> list[str]:
        """What runs each node; nothing where a node only gives another view of its input."""

    def offsets(self) -> list[int | None]:
        """Where each node's value lies in the workspace; None: elsewhere."""


class NumpyRunner:
    def __init__(self, graph: Graph, reason: str) -> None:
        self.graph = graph
        self.isa: str | None = None
        self.reason: str | None = reason
        self.threads = MAX_THREADS
        self.lower_bound = self.workspace_bytes = least_workspace(graph)
        self.weight_bytes = _constant_bytes(graph)
        self._interpreter = Interpreter(graph)

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int) -> None:
        self._interpreter.run(dict(zip(self.graph.inputs, inputs, strict=True)), outputs)

    def times(self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int) -> list[float]:
        ends = [time.perf_counter()]
        named = dict(zip(self.graph.inputs, inputs, strict=True))
        self._interpreter.run(named, outputs, lambda _: ends.append(time.perf_counter()))
        return [float(seconds) for seconds in np.diff(ends)]

    def kernels(self) -> list[str]:
        return ["numpy"] * len(self.graph.nodes)

    def offsets(self) -> list[int | None]:
        return [None] * len(self.graph.nodes)


class NativeRunner:
    """The graph's filters are packed; what the graph holds of them has shapes alone afterwards.

    Raises UnsupportedModel where the core cannot run it.
    """

    def __init__(self, graph: Graph, name: str, isa: str, threads: int, workspaces: Any = None) -> None:
        self.graph, self.threads = graph, threads
        self.isa: str | None = isa
        self.reason: str | None = None
        program = emit(graph, name)
        self._network = core.Network(program, isa, threads, workspaces)
        self.workspace_bytes: int = self._network.workspace_bytes
        self.lower_bound: int = self._network.lower_bound
        self.weight_bytes: int = self._network.nbytes
        index = {id(node): position for position, node in enumerate(graph.nodes)}
        self._nodes = [index.get(id(step.source), -1) for step in program.steps]
        self._places = program.places
        for step in program.steps:
            step.operation = None
        _forget_filters(graph)

    def run(self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int) -> None:
        self._network.run(inputs, outputs, threads)

    def times(self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int) -> list[float]:
        """Steps that move what a later node reads count to the node before them."""
        seconds = [0.0] * len(self.graph.nodes)
        node = 0
        for source, elapsed in zip(self._nodes, self._network.profile(inputs, outputs, threads), strict=True):
            node = node if source < 0 else source
            if seconds:
                seconds[node] += 1e-9 * elapsed
        return seconds

    def kernels(self) -> list[str]:
        found: list[dict[str, None]] = [{} for _ in self.graph.nodes]
        for step, node in enumerate(self._nodes):
            if node >= 0:
                found[node][_kernel(self._network.explain(step))] = None
        return [", ".join(names) for names in found]

    def offsets(self) -> list[int | None]:
        offsets = self._network.offsets
        places = [self._places.get(node.output) for node in self.graph.nodes]
        found = [None if place is None else offsets[place] for place in places]
        return [None if offset is None or offset < 0 else offset for offset in found]


def _kernel(told: dict[str, Any]) -> str:
    """Without the instruction set, which is one for all, and the tiles, which `dwconv info --plan` tells."""
    parts = [str(part["kernel"]) for part in told.get("nodes", []) if "kernel" in part]
    names = (part.removeprefix(f"{told.get('instruction_set')} ").split(", tiles")[0] for part in parts)
    return " + ".join(names) or str(told.get("op", ""))


def _constant_bytes(graph: Graph) -> int:
    return sum(value.data.nbytes for value in graph.values.values() if value.data is not None)


def _forget_filters(graph: Graph) -> None:
    """Constants that were packed keep their shape and dtype, without memory."""
    for value in graph.values.values():
        if value.data is not None:
            value.data = _hollow(value.data)
    for node in graph.nodes:
        if node.op == "block":
            node.attributes["operation"] = _hollow_operation(node)


def _hollow(array: Array) -> Array:
    return np.broadcast_to(array.dtype.type(0), array.shape)


def _hollow_operation(node: Node) -> Operation:
    operation: Operation = node["operation"]
    chains = (
        tuple(
            replace(
                stage,
                filters=_hollow(stage.filters),
                bias=None if stage.bias is None else _hollow(stage.bias),
            )
            for stage in chain
        )
        for chain in (operation.stages, operation.squeeze_excite)
    )
    stages, gate = chains
    return replace(operation, stages=stages, squeeze_excite=gate)
