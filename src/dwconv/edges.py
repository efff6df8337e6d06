"""The layout of images at the edges of a network: the same network for NHWC where its model file has NCHW."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .activation import Array
from .graph import Graph, Node, Value
from .sources import Sizes, Source, TensorInfo

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
# What may stand between an edge and the transposition of an image.
POINTWISE = ("unary", "binary", "prelu", "pad", "softmax")


class NHWCSource:
    """`source` with NHWC for the named inputs and outputs, which are NCHW there."""

    kind: ClassVar[str] = "nhwc"

    def __init__(self, source: Source, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.source = source
        self._images = frozenset(inputs), frozenset(outputs)
        self.inputs = tuple(_turned(info) if info.name in inputs else info for info in source.inputs)
        self.outputs = tuple(_turned(info) if info.name in outputs else info for info in source.outputs)

    def lower(self, shapes: Mapping[str, Sizes]) -> Graph:
        inputs, outputs = self._images
        own = {name: _permuted(s, TO_NCHW) if name in inputs else s for name, s in shapes.items()}
        graph = self.source.lower(own)
        for name in sorted(inputs):
            _turn_input(graph, name)
        for name in sorted(outputs):
            _turn_output(graph, name)
        return graph

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        inner, arrays = self.source.state()
        inputs, outputs = map(sorted, self._images)
        return {"inputs": inputs, "outputs": outputs, "kind": self.source.kind, "source": inner}, arrays


def images(graph: Graph) -> tuple[list[str], list[str]]:
    """Inputs that are turned into NHWC before anything but arithmetic by elements, and outputs likewise."""
    readers, makers = graph.consumers(), graph.producers()
    inputs = [name for name in graph.inputs if _meets(graph, name, readers)]
    outputs = []
    for name in graph.outputs:
        node = makers.get(name)
        while node is not None and node.op in POINTWISE:
            node = makers.get(node.inputs[0])
        if node is not None and _turns(graph, node, TO_NCHW):
            outputs.append(name)
    return inputs, outputs


def _turns(graph: Graph, node: Node, perm: Sequence[int]) -> bool:
    """Whether it is this transposition of an image; of one channel or one pixel that is a reshape."""
    if node.op == "transpose":
        return tuple(node["perm"]) == tuple(perm)
    x, y = graph.values[node.inputs[0]].shape, graph.values[node.output].shape
    if node.op != "reshape" or len(x) != 4 or y != _permuted(x, perm):
        return False
    channels, pixels = (x[3], x[1] * x[2]) if perm == TO_NCHW else (x[1], x[2] * x[3])
    return channels == 1 or pixels == 1


def _meets(graph: Graph, name: str, readers: Mapping[str, list[Node]]) -> bool:
    """Whether a transposition to NHWC follows."""
    waiting, seen = [name], {name}
    while waiting:
        value = waiting.pop()
        for node in readers[value]:
            if _turns(graph, node, TO_NHWC):
                return True
            if node.op in POINTWISE and node.output not in seen and len(graph.values[node.output].shape) == 4:
                seen.add(node.output)
                waiting.append(node.output)
    return False


def _turn_input(graph: Graph, name: str) -> None:
    """The input becomes NHWC; who turned it reads it as it is, others what a new node turns back."""
    value = graph.values[name]
    turning = {id(node): _turns(graph, node, TO_NHWC) for node in graph.nodes}
    value.shape = _permuted(value.shape, TO_NHWC)
    back = ""
    renamed: dict[str, str] = {}
    kept: list[Node] = []
    for node in graph.nodes:
        if node.inputs == (name,) and turning[id(node)] and node.output not in graph.outputs:
            renamed[node.output] = name
            del graph.values[node.output]
            continue
        if name in node.inputs:
            if not back:
                back = _fresh(graph, f"{name}_nchw")
                graph.values[back] = Value(back, _permuted(value.shape, TO_NCHW), value.dtype)
                kept.append(Node("transpose", (name,), back, {"perm": TO_NCHW}))
            node.inputs = tuple(back if item == name else item for item in node.inputs)
        node.inputs = tuple(renamed.get(item, item) for item in node.inputs)
        kept.append(node)
    graph.nodes = kept


def _turn_output(graph: Graph, name: str) -> None:
    """The output becomes NHWC: what was turned into NCHW before, or what a new node turns back."""
    value = graph.values[name]
    turned = _permuted(value.shape, TO_NHWC)
    maker = graph.producers()[name]
    source = maker.inputs[0]
    makers = graph.producers()
    if _turns(graph, maker, TO_NCHW) and not graph.consumers()[name]:
        graph.nodes.remove(maker)
        del graph.values[name]
        if source in makers and source not in graph.outputs:
            _rename(graph, source, name)
            return
        graph.nodes.append(Node("reshape", (source,), name, {"shape": turned}))
    else:
        inner = _fresh(graph, f"{name}_nchw")
        _rename(graph, name, inner)
        graph.nodes.append(Node("transpose", (inner,), name, {"perm": TO_NHWC}))
    graph.values[name] = Value(name, turned, value.dtype, None, value.quantization)


def _rename(graph: Graph, old: str, new: str) -> None:
    value = graph.values.pop(old)
    value.name = new
    graph.values[new] = value
    for node in graph.nodes:
        node.inputs = tuple(new if item == old else item for item in node.inputs)
        node.output = new if node.output == old else node.output


def _fresh(graph: Graph, name: str) -> str:
    while name in graph.values:
        name += "_"
    return name


def _permuted(shape: Any, perm: Sequence[int]) -> Any:
    return tuple(shape[axis] for axis in perm)


def _turned(info: TensorInfo) -> TensorInfo:
    return info._replace(shape=_permuted(info.shape, TO_NHWC))
