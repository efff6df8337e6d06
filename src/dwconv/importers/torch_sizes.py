"""Which sizes of a PyTorch module's inputs may be left open.

`torch.export` follows a module for one example: what it computes of its input's shape is a number afterwards.
So a size is open only where exporting the module for another size gives the same graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..graph import Graph, Node, rebuilt
from ..sources import GraphSource, Sizes, TensorInfo

Export = Callable[[Mapping[str, Sizes]], Graph]  # of inputs of these shapes
# What a node's shape says as well.
SHAPES = {"reshape": "shape", "expand": "shape"}


def source(
    graph: Graph, input_shapes: Mapping[str, Sequence[int | None]] | None, export: Export
) -> GraphSource:
    """Of the graph of the example; `export` makes that of others. Raises ValueError where sizes decide more
    than shapes."""
    given = dict(input_shapes or {})
    infos = [_info(graph, name, given.pop(name, None)) for name in graph.inputs]
    if given:
        raise ValueError(f"from_torch: input_shapes: there are no {sorted(given)}; there are {graph.inputs}")
    if any(None in info.shape for info in infos):
        graph = _open(graph, infos, export)
    return GraphSource(graph, infos, fixed=True)


def _info(graph: Graph, name: str, given: Sequence[int | None] | None) -> TensorInfo:
    value = graph.values[name]
    shape = value.shape if given is None else tuple(given)
    fits = len(shape) == len(value.shape)
    if not fits or any(size not in (None, own) for size, own in zip(shape, value.shape, strict=True)):
        raise ValueError(
            f"from_torch: input_shapes: {name!r} is {value.shape} in the example, not {shape}: give its "
            "sizes, and None for those that calls decide"
        )
    return TensorInfo(name, shape, value.dtype, value.quantization)


def _open(graph: Graph, infos: Sequence[TensorInfo], export: Export) -> Graph:
    told = ", ".join(f"{info.name!r} {info.shape}" for info in infos)
    failed: Exception | None = None
    for other in (_added, _doubled):
        shapes = {info.name: other(info, graph.values[info.name].shape) for info in infos}
        try:
            found = export(shapes)
        except ValueError as error:
            failed = failed or error
            continue
        graph = _with_open_reshapes(graph, found)
        problem = _difference(graph, shapes, found)
        if problem is None:
            return graph
        raise ValueError(
            f"from_torch: sizes of {told} cannot stay open: {problem}. Make one network for each image size, "
            "with an example of it"
        )
    raise ValueError(f"from_torch: sizes of {told} cannot stay open: with others, {failed}") from failed


def _added(info: TensorInfo, own: Sizes) -> Sizes:
    """Differently for height and width; by what networks divide images by, five times by two."""
    more = [1, *(32 * axis for axis in range(1, len(own)))]
    return tuple(
        size + more[axis] if free is None else size
        for axis, (size, free) in enumerate(zip(own, info.shape, strict=True))
    )


def _doubled(info: TensorInfo, own: Sizes) -> Sizes:
    return tuple(2 * size if free is None else size for size, free in zip(own, info.shape, strict=True))


def _with_open_reshapes(graph: Graph, other: Graph) -> Graph:
    """The one axis of a reshape that changes follows from the others; the batch is the input's."""
    graph = graph.copy()
    for a, b in zip(graph.nodes, other.nodes, strict=False):
        if a.op != "reshape" or b.op != "reshape":
            continue
        pair = graph.values[a.output].shape, other.values[b.output].shape
        batches = [
            g.values[n.inputs[0]].shape[:1] == g.values[n.output].shape[:1]
            for g, n in ((graph, a), (other, b))
        ]
        changed = [axis for axis, (x, y) in enumerate(zip(*pair, strict=False)) if x != y]
        target = list(pair[0])
        if changed[:1] == [0] and all(batches):
            target[changed.pop(0)] = 0
        if len(changed) == 1 and len(pair[0]) == len(pair[1]):
            target[changed[0]] = -1
        a.attributes["shape"] = tuple(target)
    return graph


# ---- graphs side by side ------------------------------------------------------------------------


def _difference(graph: Graph, shapes: Mapping[str, Sizes], other: Graph) -> str | None:
    """What of the graph does not follow its inputs' shapes as `other` does, which was made for these."""
    try:
        own = rebuilt(graph, shapes)
    except ValueError as error:
        return str(error).removeprefix("network: ")
    if len(own.nodes) != len(other.nodes) or len(own.outputs) != len(other.outputs):
        return "the module runs other operations for other sizes"
    names = dict(zip(own.inputs, other.inputs, strict=True))
    for a, b in zip(own.nodes, other.nodes, strict=True):
        where = f"{a.op} {a.name or a.output!r}"
        if a.op != b.op or len(a.inputs) != len(b.inputs):
            return f"{where} is {b.op} for other sizes"
        problem = _difference_of_node(own, a, other, b, names)
        if problem is not None:
            return f"{where} {problem}"
        names[a.output] = b.output
    ends = [names.get(name, name) for name in own.outputs]
    return None if ends == other.outputs else "the module gives other values for other sizes"


def _difference_of_node(own: Graph, a: Node, other: Graph, b: Node, names: Mapping[str, str]) -> str | None:
    for x, y in zip(a.inputs, b.inputs, strict=True):
        constant, others = own.values[x].data, other.values[y].data
        if constant is None or others is None:
            if constant is not others or names.get(x) != y:
                return "reads other values for other sizes"
        elif not np.array_equal(constant, others, equal_nan=True):
            return "has a constant that the module computes of a size"
    shapes = own.values[a.output].shape, other.values[b.output].shape
    if shapes[0] != shapes[1]:
        return f"would give {shapes[0]}, where the module gives {shapes[1]}"
    for key in a.attributes.keys() - {SHAPES.get(a.op)}:
        if a[key] != b[key]:
            return f"has {key}={a[key]}, which the module computes of a size: {b[key]} for another"
    return None
