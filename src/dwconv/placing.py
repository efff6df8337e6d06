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
    "reduce", "unary", "binary", "prelu", "concat", "pad", "depth_to_space", "space_to_depth", "matmul",
    "gather",
}  # fmt: skip


class Home(NamedTuple):
    """A part of the memory of the value `owner`."""

    owner: str
    view: View


def find_homes(graph: Graph, shared: bool = True) -> dict[str, Home]:
    """The values that have a place in another one's memory, before anything is computed.

    `shared`: those too that other nodes read, so that memory of the whole is taken from its first part on.
    """
    homes: dict[str, Home] = {}
    consumers, producers = graph.consumers(), graph.producers()
    outputs = set(graph.outputs)

    def offer(name: str, owner: str, view: View | None) -> bool:
        """Takes it for what is not placed yet and can be computed there."""
        node = producers.get(name)
        if view is None or node is None or name in outputs or name in homes:
            return False
        if not shared and len(consumers[name]) != 1:
            return False
        if node.op in ("reshape", "transpose"):
            if not offer(node.inputs[0], owner, before(node, view)):
                return False
        elif node.op in ("slice", "expand") or not (node.op in ANY_STRIDES or view.has_unit_stride):
            return False
        homes[name] = Home(owner, view)
        return True

    def before(node: Node, view: View) -> View | None:
        """The input of a reshape or transpose whose result is `view`."""
        if node.op == "reshape":
            return view.reshape(graph.values[node.inputs[0]].shape)
        inverse = sorted(range(len(view.shape)), key=node["perm"].__getitem__)
        found = view.transpose(inverse)
        return found if found.has_unit_stride else None  # writing every so many elements is slow

    # Consumers first: a concatenation may have a home of its own in another one. Of several, the last one is
    # the largest where each adds a few channels to those before.
    for node in reversed(graph.nodes):
        name = node.output
        home = homes.get(name, Home(name, View.whole(graph.values[name].shape)))
        if node.op == "concat":
            for source, part in zip(node.inputs, parts_of_concat(graph, node, home.view), strict=True):
                offer(source, home.owner, part)
        elif node.op == "pad" and node["mode"] == "constant":
            offer(node.inputs[0], home.owner, interior(node, home.view))
        elif node.op in ("reshape", "transpose") and name in outputs:
            offer(node.inputs[0], home.owner, before(node, home.view))
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
