"""A graph while it is rewritten: who makes and who reads each value, kept up to date.

A rewrite is a function `rule(edit, node) -> bool` over a node of the graph: it looks at what makes the node's
inputs, and if it knows better it lets the node compute the same value in another way. Nodes that nothing
reads any more disappear at once; what the network gives never does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import nodes
from ..activation import Array
from ..graph import Graph, Node, Value
from ..nodes_integers import quantization_of, same

Shape: TypeAlias = tuple[int, ...]
MOST_NAMES = 64  # in the name of a fused node: a hostile file has chains of any length


class Editor:
    """Begin with the graph, rewrite, then `finish`: the graph's list of nodes is wrong in between."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._outputs = set(graph.outputs)
        self._makers = graph.producers()
        self._readers = graph.consumers()
        self._order = {id(node): position for position, node in enumerate(graph.nodes)}  # of those alive
        self._inserted: list[Node] = []
        self._current = 0
        self._count = 0

    # ---- questions ----------------------------------------------------------------------------

    def maker(self, value: str, op: str | None = None, kind: str | None = None) -> Node | None:
        """The node that makes a value, if it is such a node. With a `kind` it applies nothing else."""
        node = self._makers.get(value)
        if node is None or (op is not None and node.op != op):
            return None
        if kind is not None and (node["kind"] != kind or node.attributes.get("activation") is not None):
            return None
        return node

    def readers(self, value: str) -> list[Node]:
        return self._readers[value]

    def is_output(self, value: str) -> bool:
        return value in self._outputs

    def reader(self, value: str) -> Node | None:
        """The one node that reads a value; None if there are others, or if the value is an output."""
        readers = self._readers[value]
        if not readers or value in self._outputs or any(node is not readers[0] for node in readers):
            return None
        return readers[0]

    def private(self, inner: Iterable[Node], root: Node) -> bool:
        """Whether nobody but these nodes and `root` reads what the inner ones give."""
        known = {id(root)} | {id(node) for node in inner}
        return all(
            node.output not in self._outputs and all(id(r) in known for r in self._readers[node.output])
            for node in inner
        )

    def alive(self, node: Node) -> bool:
        return id(node) in self._order

    def shape(self, value: str) -> Shape:
        return self.graph.values[value].shape

    def dtype(self, value: str) -> np.dtype[Any]:
        return self.graph.values[value].dtype

    def constant(self, value: str) -> Array | None:
        return self.graph.values[value].data

    def scalar(self, value: str) -> float | None:
        """The number that all elements of a constant are."""
        data = self.graph.values[value].data
        if data is None or not data.size or data.dtype.kind != "f":
            return None
        first = data.flat[0]
        return float(first) if data.size == 1 or bool((data == first).all()) else None

    # ---- changes ------------------------------------------------------------------------------

    def rewrite(
        self, node: Node, op: str, *inputs: Any, inner: Iterable[Node] = (), **attributes: Any
    ) -> bool:
        """Lets `node` compute its value so instead, and gives True.

        Inputs are names, or arrays: new constants; None is left out. `inner`: nodes whose work it takes over,
        which its name then tells of.
        """
        names = self._named(inputs)
        new = Node(op, names, node.output, nodes.complete(op, attributes))
        shape, _ = nodes.infer(new, [self.graph.values[name] for name in names])
        if shape != self.shape(node.output):
            raise AssertionError(f"{op} gives {shape} where {node.op} gave {self.shape(node.output)}")
        self.take_name(node, inner)
        old = node.inputs
        node.op, node.inputs, node.attributes = op, names, new.attributes
        for name in names:
            self._readers[name].append(node)
        self._release(node, old)
        return True

    def take_name(self, node: Node, inner: Iterable[Node]) -> None:
        """The names of all these nodes, in the order of execution and each once."""
        parts: dict[str, None] = {}
        inner = [other for other in inner if other is not node]
        for other in sorted([*inner, node], key=lambda n: self._order[id(n)]):
            parts.update(dict.fromkeys((other.name or other.output).split(" + ")))
        if inner:
            names = list(parts)
            node.name = " + ".join(names if len(names) <= MOST_NAMES else [*names[: MOST_NAMES - 1], "..."])

    def insert(self, op: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        """The value of a new node, right before the one that is looked at."""
        names = self._named(inputs)
        node = Node(op, names, self._new(op), nodes.complete(op, attributes), name)
        values = [self.graph.values[item] for item in names]
        shape, dtype = nodes.infer(node, values)
        quantization = quantization_of(node, values)
        self.graph.values[node.output] = Value(node.output, shape, dtype, None, quantization)
        self._makers[node.output], self._readers[node.output] = node, []
        for item in names:
            self._readers[item].append(node)
        self._order[id(node)] = self._current
        self._inserted.append(node)
        return node.output

    def forward(self, node: Node, source: str) -> bool:
        """Drops a node: what read it reads `source`, which is the same. False where both keep their names."""
        old = node.output
        quantization = self.graph.values[old].quantization
        if not same(quantization, self.graph.values[source].quantization):
            return False
        if old in self._outputs:
            maker = self._makers.get(source)
            if maker is None or source in self._outputs:
                return False
            # The maker of the source makes the output itself.
            self._outputs.add(source)
            self._drop(node)
            self._outputs.discard(source)
            maker.output = old
            self._makers[old] = maker
            self._readers[old] += self._readers[source]
            self._rename(source, old)
            del self._makers[source], self._readers[source], self.graph.values[source]
            return True
        self._readers[source] += self._readers[old]
        self._rename(old, source)
        self._readers[old] = []
        self._drop(node)
        del self.graph.values[old], self._readers[old]
        return True

    def sweep(self, *rules: Rule) -> None:
        """Applies the rules to all nodes in the order of execution, until none finds anything to do."""
        changed = True
        while changed:
            changed = False
            pending, done = deque(self.graph.nodes), []
            while pending:
                node = pending.popleft()
                if not self.alive(node):
                    continue
                self._current = self._order[id(node)]
                if any(rule(self, node) for rule in rules):
                    changed = True
                    pending.appendleft(node)
                    pending.extendleft(reversed(self._inserted))
                    self._inserted.clear()
                else:
                    done.append(node)
            self.graph.nodes = done
        self.finish()

    def finish(self) -> None:
        self.graph.nodes = [node for node in self.graph.nodes if self.alive(node)]

    # ---- parts --------------------------------------------------------------------------------

    def _named(self, inputs: Sequence[Any]) -> tuple[str, ...]:
        given = [item for item in inputs if item is not None]
        return tuple(item if isinstance(item, str) else self._constant(item) for item in given)

    def _constant(self, data: Array) -> str:
        name = self._new("folded")
        self.graph.values[name] = Value(name, data.shape, data.dtype, data)
        self._readers[name] = []
        return name

    def _new(self, hint: str) -> str:
        while True:
            self._count += 1
            name = f"{hint}.{self._count}"
            if name not in self.graph.values:
                return name

    def _rename(self, old: str, new: str) -> None:
        for node in self._readers[old]:
            node.inputs = tuple(new if name == old else name for name in node.inputs)

    def _drop(self, node: Node) -> None:
        del self._order[id(node)], self._makers[node.output]
        self._release(node, node.inputs)

    def _release(self, node: Node, inputs: Iterable[str]) -> None:
        """`node` reads these no more; whoever works for nobody now disappears."""
        work = [(node, name) for name in inputs]
        while work:
            reader, name = work.pop()
            readers = self._readers.get(name)
            if readers is None:
                continue
            for position, item in enumerate(readers):
                if item is reader:
                    del readers[position]
                    break
            maker = self._makers.get(name)
            if not readers and name not in self._outputs and maker is not None:
                del self._makers[name], self._order[id(maker)], self.graph.values[name], self._readers[name]
                work += [(maker, item) for item in maker.inputs]


Rule: TypeAlias = Callable[[Editor, Node], bool]


def of_floats(rule: Rule) -> Rule:
    """The rule for nodes that give floats, and take them, alone."""
    return lambda edit, node: (
        edit.dtype(node.output).kind == "f" and edit.dtype(node.inputs[0]).kind == "f" and rule(edit, node)
    )
