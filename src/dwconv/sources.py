"""What a network is made from: something that gives its graph for inputs of any shapes, and can be saved.

A source never changes. `lower` gives a graph that is the caller's, but for the arrays of its constants.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np

from .activation import Array
from .attributes import check
from .geometry import MAX_SIZE
from .graph import MOST_FOLDED, Graph, Node, Quantization, State, Value, rebuilt
from .nodes import infer
from .nodes_integers import BYTES, plain, quantization_of

Sizes: TypeAlias = tuple[int, ...]
DTYPES = ("float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
          "uint64", "bool")  # fmt: skip
# What reading attributes and shapes of a hostile file can raise beside ValueError.
ODD = (TypeError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError)


class TensorInfo(NamedTuple):
    """An input or output as the model file has it. A size that is decided by the call is None in `shape`."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None


def as_info(info: Any) -> TensorInfo:
    """Of what an importer tells: a dtype by name, no quantization. Raises ValueError for an unknown rank.

    The dtype is the one object that NumPy has for it.
    """
    name, shape, dtype, *rest = info
    if shape is None:
        raise ValueError(f"network: the model does not tell the shape of {name!r}: input_shapes decides it")
    return TensorInfo(
        name, tuple(shape), np.dtype(np.dtype(dtype).newbyteorder("=").str), rest[0] if rest else None
    )


class Source(Protocol):
    """`kind` is the word by which `dwconv.saved` finds the class again."""

    kind: ClassVar[str]

    @property
    def inputs(self) -> Sequence[TensorInfo]: ...

    @property
    def outputs(self) -> Sequence[TensorInfo]: ...

    def lower(self, shapes: Mapping[str, Sizes]) -> Graph:
        """The graph for inputs of these shapes, all of them given. Raises ValueError where there is none."""

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What `restored` makes it of again: a dict for JSON, and arrays."""


class GraphSource:
    """A graph with the shapes that it was made for; other shapes are inferred anew.

    The constants become read-only. `inputs` and `outputs`: what a file says of them, where that is more than
    the graph says: names and their order are the graph's, a size may be None. `fixed`: sizes that are not
    open, but for that of the batch, are part of what the graph computes: others are refused.
    """

    kind: ClassVar[str] = "graph"

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[TensorInfo] | None = None,
        outputs: Sequence[TensorInfo] | None = None,
        fixed: bool = False,
    ) -> None:
        self.fixed = fixed
        self.graph = checked(graph)
        names, results = self.graph.public_inputs, self.graph.public_outputs
        self.inputs = _infos(self.graph, names) if inputs is None else tuple(inputs)
        _check_infos(self.graph, names, self.inputs, False)
        if outputs is None:
            self.outputs = _open(self, _infos(self.graph, results))
        else:
            self.outputs = tuple(outputs)
        _check_infos(self.graph, results, self.outputs, True)

    def lower(self, shapes: Mapping[str, Sizes]) -> Graph:
        own = all(shapes[name] == self.graph.values[name].shape for name in self.graph.public_inputs)
        if own:
            return self.graph.copy()
        if self.fixed:
            self._check_fixed(shapes)
        return rebuilt(self.graph, shapes)

    def _check_fixed(self, shapes: Mapping[str, Sizes]) -> None:
        for info in self.inputs:
            made_for = self.graph.values[info.name].shape
            pairs = list(zip(made_for, shapes[info.name], info.shape, strict=True))
            if all(made == given or free is None for made, given, free in pairs[1:]):
                continue
            free_sizes = tuple(made if made == given else None for made, given, _ in pairs)
            raise ValueError(
                f"the network was made with an example of {info.name!r} {made_for}, of whose sizes its "
                "module may have computed numbers: make one with an example of this size, or with "
                f"from_torch(module, example, input_shapes={{{info.name!r}: {free_sizes}}}), which tells "
                "whether it did"
            )

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        arrays: dict[str, Array] = {}
        constants = []
        for value in self.graph.values.values():
            if value.data is not None:
                key = f"constant_{len(arrays)}"
                arrays[key], least = _as_bytes(value.data)
                constants.append([value.name, key, _written(value.quantization), *least])
        for node in self.graph.nodes:
            if node.op == "block":
                raise ValueError(
                    f"network: node {node.name!r} is the result of a pass, which cannot be saved"
                )
        nodes = [[n.op, list(n.inputs), n.output, n.attributes, n.name] for n in self.graph.nodes]
        made_for = [list(self.graph.values[name].shape) for name in self.graph.public_inputs]
        states = []
        for state in self.graph.states:
            key = f"constant_{len(arrays)}"
            arrays[key] = state.initial
            states.append(
                [state.input, state.output, key, _written(self.graph.values[state.input].quantization)]
            )
        return {
            "inputs": [write_info(info) for info in self.inputs],
            "outputs": [write_info(info) for info in self.outputs],
            "made_for": made_for,
            "fixed": self.fixed,
            "constants": constants,
            "nodes": nodes,
            "states": states,
        }, arrays

    @classmethod
    def restored(cls, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> GraphSource:
        """Raises ValueError or one of `ODD` where the state is no graph."""
        inputs = [read_info(item) for item in state["inputs"]]
        outputs = [read_info(item) for item in state["outputs"]]
        graph = Graph(inputs=[i.name for i in inputs], outputs=[o.name for o in outputs])
        for info, shape in zip(inputs, state["made_for"], strict=True):
            graph.values[info.name] = Value(info.name, _sizes(shape), info.dtype, None, info.quantization)
        for name, output, key, quantization in state.get("states", ()):
            array = arrays[key]
            name = _unique(graph, name)
            graph.values[name] = Value(name, array.shape, array.dtype, None, _read(quantization))
            graph.inputs.append(name)
            graph.outputs.append(_word(output))
            graph.states.append(State(name, output, array))
        for name, key, quantization, *least in state["constants"]:
            array = _of_bytes(arrays[key], *least) if least else arrays[key]
            name = _unique(graph, name)
            graph.values[name] = Value(name, array.shape, array.dtype, array, _read(quantization))
        for op, names, output, attributes, name in state["nodes"]:
            inputs_of = tuple(_word(item) for item in names)
            graph.nodes.append(Node(op, inputs_of, _word(output), dict(attributes), _word(name)))
        return cls(graph, inputs, outputs, state.get("fixed") is True)


def with_open_sizes(
    name: str, source: Source, input_shapes: Mapping[str, Sequence[int | None]]
) -> GraphSource:
    """The graph of `source` for these shapes of the named inputs, None where calls decide."""
    if not isinstance(source, GraphSource):
        raise TypeError(f"{name}: input_shapes needs a graph, not {type(source).__name__}")
    infos = {info.name: info for info in source.inputs}
    shapes: dict[str, Sizes] = {}
    for word, given in input_shapes.items():
        if word not in infos or len(given) != len(infos[word].shape):
            have = ", ".join(f"{info.name!r} {info.shape}" for info in source.inputs)
            raise ValueError(f"{name}: input_shapes: {word!r} {tuple(given)} is no input; there are {have}")
        own = source.graph.values[word].shape
        infos[word] = infos[word]._replace(shape=tuple(given))
        shapes[word] = tuple(b if a is None else a for a, b in zip(given, own, strict=True))
    fixed = {name: shapes.get(name, source.graph.values[name].shape) for name in source.graph.inputs}
    return GraphSource(source.lower(fixed), list(infos.values()), fixed=source.fixed)


def checked(graph: Graph) -> Graph:
    """A copy: attributes in their normal form, shapes inferred, constants read-only and those in use alone.

    Raises ValueError for what is no graph: names without a value, nodes out of order, shapes that do not fit.
    """
    values: dict[str, Value] = {}
    used = {*graph.outputs, *(name for node in graph.nodes for name in node.inputs)}
    for name, value in graph.values.items():
        if value.data is not None and name in used:
            data = value.data
            if data.flags.writeable:
                data = data.copy()
                data.setflags(write=False)
            values[name] = Value(name, data.shape, data.dtype, data, value.quantization)
    for name in graph.inputs:
        value = graph.values[name]
        if name in values or not all(0 < size <= MAX_SIZE for size in value.shape):
            raise ValueError(
                f"network: input {name!r} of shape {value.shape} is given twice, constant or empty"
            )
        values[name] = Value(name, value.shape, value.dtype, None, value.quantization)
    nodes = [_checked_node(node, values) for node in graph.nodes]
    for name in graph.outputs:
        if name not in values:
            raise ValueError(f"network: no node gives the output {name!r}")
    if not graph.outputs or len(set(graph.outputs)) < len(graph.outputs):
        raise ValueError(f"network: needs outputs with names of their own, not {graph.outputs}")
    _check_states(graph, values)
    return Graph(values, nodes, list(graph.inputs), list(graph.outputs), list(graph.states))


def _check_states(graph: Graph, values: Mapping[str, Value]) -> None:
    for state, name, result in zip(
        graph.states,
        graph.inputs[len(graph.public_inputs) :],
        graph.outputs[len(graph.public_outputs) :],
        strict=True,
    ):
        forms = {(v.shape, v.dtype) for v in (values[name], values[result])}
        if (state.input, state.output) != (name, result):
            raise ValueError(f"network: states are the last inputs and outputs, not {state.input!r}")
        if forms != {(state.initial.shape, state.initial.dtype)}:
            raise ValueError(f"network: state {name!r} begins as another tensor than it becomes, {forms}")


def _checked_node(node: Node, values: dict[str, Value]) -> Node:
    """The node, whose value joins `values`."""
    where = f"network: node {node.name or node.output!r}"
    missing = [name for name in node.inputs if name not in values]
    if missing:
        raise ValueError(f"{where} reads {missing[0]!r} before it is there")
    if node.output in values:
        raise ValueError(f"{where} gives {node.output!r}, which is there already")
    try:
        attributes = check(node.op, len(node.inputs), node.attributes)
        made = Node(node.op, tuple(node.inputs), node.output, attributes, node.name)
        inputs = [values[name] for name in made.inputs]
        dtypes = {str(value.dtype) for value in (inputs[:1] if node.op == "gather" else inputs)}
        if len(dtypes) > 1 and inputs[0].dtype not in BYTES:
            raise ValueError(f"{node.op} mixes {' and '.join(sorted(dtypes))}")
        shape, dtype = infer(made, inputs)
    except (ValueError, *ODD) as error:
        raise ValueError(f"{where}: {error}") from None
    if all(value.data is not None for value in inputs) and np.prod(shape, dtype=float) <= MOST_FOLDED:
        raise ValueError(f"{where} has constants alone for inputs: the builder computes such nodes at once")
    values[node.output] = Value(node.output, shape, dtype, None, quantization_of(made, inputs))
    return made


# ---- inputs and outputs -------------------------------------------------------------------------


def _infos(graph: Graph, names: Sequence[str]) -> tuple[TensorInfo, ...]:
    values = [graph.values[name] for name in names]
    return tuple(TensorInfo(v.name, v.shape, v.dtype, v.quantization) for v in values)


def whole(dtype: np.dtype[Any], inside: np.dtype[Any]) -> bool:
    """Whether an output of this dtype can be of whole numbers that are float32 inside."""
    return inside == np.float32 and dtype.name in ("int32", "int64")


def _check_infos(graph: Graph, names: Sequence[str], infos: Sequence[TensorInfo], outputs: bool) -> None:
    if [info.name for info in infos] != list(names):
        raise ValueError(
            f"network: {[info.name for info in infos]} are not the tensors of the graph, {names}"
        )
    for info in infos:
        value = graph.values[info.name]
        same = info.dtype == value.dtype or (outputs and whole(info.dtype, value.dtype))
        fits = len(info.shape) == len(value.shape) and same
        if not fits or any(a not in (None, b) for a, b in zip(info.shape, value.shape, strict=True)):
            raise ValueError(
                f"network: {info.name!r} is {info.dtype} {info.shape}, but {value.shape} in the graph"
            )


def _open(source: GraphSource, outputs: tuple[TensorInfo, ...]) -> tuple[TensorInfo, ...]:
    """With None for each size that follows an open size of the inputs, as far as trying others shows."""
    if all(None not in info.shape for info in source.inputs):
        return outputs
    for factor, more in itertools.product((2, 1, 3), (0, 1)):
        shapes = {
            info.name: tuple(
                size * factor + more if free is None else size
                for free, size in zip(info.shape, source.graph.values[info.name].shape, strict=True)
            )
            for info in source.inputs
        }
        if factor == 1 and more == 0:
            continue
        try:
            other = rebuilt(source.graph, shapes)
        except ValueError:
            continue
        pairs = zip(outputs, (other.values[name].shape for name in other.public_outputs), strict=True)
        return tuple(
            info._replace(shape=tuple(a if a == b else None for a, b in zip(info.shape, sizes, strict=True)))
            for info, sizes in pairs
        )
    return outputs


# ---- as JSON ------------------------------------------------------------------------------------


def _as_bytes(data: Array) -> tuple[Array, list[int]]:
    """Filters of int16, which are bytes less a zero point, as bytes above their least; others as they are."""
    if data.dtype != np.int16 or not data.size:
        return data, []
    least, most = int(data.min()), int(data.max())
    return ((data - least).astype(np.uint8), [least]) if most - least <= 255 else (data, [])


def _of_bytes(data: Array, least: Any) -> Array:
    if data.dtype != np.uint8 or type(least) is not int or abs(least) > 2**14:
        raise ValueError(f"{data.dtype} above {str(least)[:20]} are no filters of int16")
    return np.asarray(data.astype(np.int16) + np.int16(least))


def write_info(info: TensorInfo) -> list[Any]:
    return [info.name, list(info.shape), info.dtype.name, _written(info.quantization)]


def read_info(item: Any) -> TensorInfo:
    name, shape, dtype, quantization = item
    if dtype not in DTYPES:
        raise ValueError(f"dtype {str(dtype)[:40]!r} of {str(name)[:80]!r} is not one of {', '.join(DTYPES)}")
    sizes = tuple(None if size is None else _sizes([size])[0] for size in shape)
    return TensorInfo(_word(name), sizes, np.dtype(dtype), _read(quantization))


def _sizes(shape: Any) -> Sizes:
    if not isinstance(shape, list) or any(type(n) is not int or not 1 <= n <= MAX_SIZE for n in shape):
        raise ValueError(f"{str(shape)[:80]} is no shape")
    return tuple(shape)


def _word(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{str(name)[:80]} is no name")
    return name


def _unique(graph: Graph, name: Any) -> str:
    if _word(name) in graph.values:
        raise ValueError(f"two values are called {name[:80]!r}")
    return str(name)


def _written(quantization: Quantization | None) -> list[Any] | None:
    if quantization is None:
        return None
    scale, zero_point, axis = quantization
    return [np.asarray(scale, np.float64).tolist(), np.asarray(zero_point, np.int64).tolist(), axis]


def _read(item: Any) -> Quantization | None:
    if item is None:
        return None
    scale, zero_point, axis = item
    if axis is not None and type(axis) is not int:
        raise ValueError(f"{str(axis)[:80]} is no axis")
    if axis is None and not isinstance(scale, list) and not isinstance(zero_point, list):
        return plain((scale, zero_point))
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, np.int64), axis)
