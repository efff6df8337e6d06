"""What nobody reads goes: nodes, their values, constants. Inputs of the network stay, read or not."""

from __future__ import annotations

from ..graph import Graph


def drop_dead(graph: Graph) -> None:
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
    needed.update(graph.inputs)
    graph.values = {name: value for name, value in graph.values.items() if name in needed}
