"""Where values of a graph are written at once, so that nothing is copied later.

In their part of a concatenation, inside the borders of a padded value, in the output that a reshape makes of
them.
"""

from __future__ import annotations

from typing import NamedTuple

from .graph import Graph, Node
from .views import View

# Their result may have any strides; all others write contiguous channels.
ANY_STRIDES = {
    "reduce", "unary", "binary", "prelu", "concat", "slice", "pad", "transpose", "reshape", "expand",
    "depth_to_space", "space_to_depth", "matmul", "gather",
}  # fmt: skip


class Home(NamedTuple):
    """A part of the memory of the value `owner`."""

    owner: str
    view: View


def find_homes(graph: Graph) -> dict[str, Home]:
    """The values that have a place in another one's memory, before anything is computed."""
    homes: dict[str, Home] = {}
    consumers, producers = graph.consumers(), graph.producers()
    outputs = set(graph.outputs)

    def offer(name: str, owner: str, view: View | None) -> None:
        producer = producers.get(name)
        if view is None or producer is None or name in outputs or len(consumers[name]) != 1:
            return
        if producer.op in ANY_STRIDES or view.has_unit_stride:
            homes[name] = Home(owner, view)

    # Consumers first: a concatenation may have a home of its own in another one.
    for node in reversed(graph.nodes):
        name = node.output
        shape = graph.values[name].shape
        home = homes.get(name, Home(name, View.whole(shape)))
        if node.op == "concat":
            for source, part in zip(node.inputs, parts_of_concat(graph, node, home.view), strict=True):
                offer(source, home.owner, part)
        elif node.op == "pad" and node["mode"] == "constant":
            offer(node.inputs[0], home.owner, interior(node, home.view))
        elif name in homes or name in outputs:
            source = node.inputs[0]
            if node.op == "reshape":
                offer(source, home.owner, home.view.reshape(graph.values[source].shape))
            elif node.op == "transpose":
                inverse = sorted(range(len(shape)), key=node["perm"].__getitem__)
                view = home.view.transpose(inverse)
                offer(source, home.owner, view if view.has_unit_stride else None)
    return homes


def parts_of_concat(graph: Graph, node: Node, whole: View) -> list[View]:
    axis = node["axis"] % len(whole.shape)
    parts, start = [], 0
    for name in node.inputs:
        stop = start + graph.values[name].shape[axis]
        parts.append(whole.part(axis, start, stop))
        start = stop
    return parts


def interior(node: Node, padded: View) -> View:
    """What of a padded value is the input of the pad."""
    pads = zip(node["pads"], padded.shape, strict=True)
    return padded.slice([slice(before, size - after) for (before, after), size in pads])
