"""Networks as data: values, nodes in the order of execution, and the builder that makes them.

A node has one output. Image operations are NHWC, filters as in `dwconv.ops`. Constants have `data`.

    op              inputs                   attributes (defaults)
    conv            x, filters[, bias]       strides (1, 1), padding "valid" | "same" | ((t, b), (l, r)),
                                             dilations (1, 1), groups 1, activation None
                    filters [kh, kw, in / groups, out]; depthwise has groups = in
    transpose_conv  x, filters[, bias]       strides, padding ((t, b), (l, r)): cut off the full result,
                                             output_padding (0, 0), dilations, groups, activation
                    filters [kh, kw, in / groups, out]: y[iy * s + ky * d - t] += x[iy] * filters[ky]
    max_pool        x                        kernel, strides, padding, dilations, ceil_mode False
    average_pool    x                        the same, count_include_pad False
    reduce          x                        kind mean | sum | max | min | prod, axes, keepdims True;
                                             argmax: along one axis, the index of the first largest
    unary           x                        kind: an activation, or abs neg exp log sqrt reciprocal square
                                             erf floor ceil round sign softplus elu sin cos linear;
                                             a 0.0, b 0.0
    binary          x0, x1                   kind add | sub | mul | div | max | min | pow, activation None;
                                             greater | greater_or_equal | equal: 1 and 0; keep: x0, but -0.0
                                             where x1 is 0; broadcast as NumPy
    prelu           x, slope                 broadcast as NumPy
    concat          x0, x1, ...              axis
    slice           x                        slices: (start, stop, step) of every axis, None: all of it
    pad             x                        pads: (before, after) of every axis, value 0.0;
                                             mode constant | reflect | edge
    transpose       x                        perm
    reshape         x                        shape: -1 follows from the others, 0 is the input's
    expand          x                        shape, as np.broadcast_to
    resize          x                        kind nearest | linear; sizes (h, w) or scales (h, w); coordinates
                                             asymmetric | half_pixel | pytorch_half_pixel | align_corners |
                                             half_pixel_symmetric; rounding round_prefer_floor |
                                             round_prefer_ceil | floor | ceil
    depth_to_space  x                        block, mode dcr | crd
    space_to_depth  x                        block
    softmax         x                        axis -1, log False
    layer_norm      x, scale, bias           epsilon; over the last axis
    matmul          x0, x1                   as np.matmul
    gather          x, indices (constant)    axis
    quantize        x of floats              dtype, quantization, rounding
    dequantize      x of integers
    lookup          x of bytes, table        quantization; table[x as uint8], of its dtype
                    table [256], or [channels, 256]: one for each position of the last axis
    block           x                        operation: a checked `Operation`; made by passes alone

A value of int8 or uint8 has a `quantization` of scale and zero point. Ops that only move or compare elements
take bytes as they are: reshape, transpose, slice, concat, pad (value: the integer), expand, gather,
depth_to_space, space_to_depth, max_pool, nearest resize, and max and min of one scale. Others have these
attributes, and give bytes where the first is told (`dwconv.nodes_numpy_integers` has the arithmetic):

    quantization    of the result, (scale, zero point)
    dtype           of the result: int8 | uint8; of conv also float32: what the integers of `quantization`
                    and the dtype of x stand for
    rounding        even | tflite
    low, high       integers that the result is clamped to, None: those of the dtype; not of softmax, resize
    float_product   of conv with one scale and "tflite": scales are multiplied in float32, as some kernels do
    formula         of binary: integer | float, which rounds the result of float32, as ONNX's nodes do
    integers        of resize: what rounding is to others

of conv and transpose_conv (filters int8 with scales on their last axis or one, bias int32), binary (add, sub,
mul, with "float" all), average_pool, reduce (mean, sum), softmax, linear resize, prelu (slope int8). A
unary function of bytes is a lookup, and so is one that differs from channel to channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .activation import Array


class Quantization(NamedTuple):
    """What integers stand for: scale * (q - zero_point); arrays are per `axis`."""

    scale: Any
    zero_point: Any
    axis: int | None = None


@dataclass(slots=True)
class Value:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: Array | None = None
    quantization: Quantization | None = None


@dataclass(slots=True)
class Node:
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""  # what the model file calls it: for messages and tables

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]


class State(NamedTuple):
    """What a network keeps from run to run: an input, and the output that is this input of the next run."""

    input: str
    output: str
    initial: Array


@dataclass(slots=True)
class Graph:
    """`states`: their inputs and outputs are the last ones, in the same order, and no business of callers."""

    values: dict[str, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    @property
    def public_inputs(self) -> list[str]:
        return self.inputs[: len(self.inputs) - len(self.states)]

    @property
    def public_outputs(self) -> list[str]:
        return self.outputs[: len(self.outputs) - len(self.states)]

    def consumers(self) -> dict[str, list[Node]]:
        """By value, the nodes that read it; a value that is an output of the graph has one more reader."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in node.inputs:
                found[name].append(node)
        return found

    def producers(self) -> dict[str, Node]:
        return {node.output: node for node in self.nodes}

    def copy(self) -> Graph:
        """Nodes and lists of its own; the arrays of constants are shared."""
        values = {
            name: Value(v.name, v.shape, v.dtype, v.data, v.quantization) for name, v in self.values.items()
        }
        nodes = [Node(n.op, n.inputs, n.output, dict(n.attributes), n.name) for n in self.nodes]
        return Graph(values, nodes, list(self.inputs), list(self.outputs), list(self.states))


class UnsupportedModel(ValueError):  # noqa: N818 (the contract's name)
    """A model with operations that dwconv does not have. `problems`: one line for each of them."""

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{name}: {len(self.problems)} unsupported node(s):{lines}")


# What a node may give at most, in elements: sizes of a model file must not make NumPy allocate without bound.
MOST_ELEMENTS = 2**31 - 1
MOST_FOLDED = 2**26
MOST_COMPUTED = 2**30  # bytes of all that is computed of constants, beside what these themselves justify
GROWTH = 4  # times the bytes of the constants: real models transpose and scale each once or twice


class Budget:
    """Bytes that may yet be computed of constants: a small file must not make large arrays without end."""

    def __init__(self, most: int | None = None) -> None:
        """None: MOST_COMPUTED."""
        self.left = MOST_COMPUTED if most is None else most

    def give(self, constant: Array) -> None:
        self.left += GROWTH * constant.nbytes

    def take(self, shape: Sequence[int], itemsize: int = 8) -> tuple[int, ...]:
        """The shape. Raises ValueError where there is no room for it."""
        sizes = tuple(int(size) for size in shape)
        if any(size < 0 for size in sizes) or len(sizes) > 32:
            raise ValueError(f"{sizes} is no shape")
        needed = math.prod(sizes) * itemsize
        if needed > self.left:
            raise ValueError(
                f"computing {sizes} of constants is too large: {needed} bytes, of which {self.left} are "
                "left; real models compute little more than they store, this one looks broken"
            )
        self.left -= needed
        return sizes


class Builder:
    """Makes a graph node by node. Every value has its shape at once; nodes of constants are computed at once.

    `budget`: what these may take; without one it grows with the constants. Beyond it is a ValueError.

    >>> b = Builder()
    >>> x = b.input("x", (1, 8, 8, 3))
    >>> y = b.node("conv", x, np.ones((3, 3, 3, 4), np.float32), strides=(2, 2), padding="same")
    >>> b.output("y", b.node("unary", y, kind="relu"))
    >>> b.graph.values["y"].shape
    (1, 4, 4, 4)
    """

    def __init__(self, budget: Budget | None = None) -> None:
        self.graph = Graph()
        self._budget = Budget() if budget is None else budget
        self._grows = budget is None
        self._count = 0
        self._now: dict[str, str] = {}  # what values are called since `output` took their names

    def input(
        self,
        name: str,
        shape: Iterable[int],
        dtype: Any = np.float32,
        quantization: Quantization | None = None,
    ) -> str:
        if name in self.graph.values:
            raise ValueError(f"network: two inputs are called {name!r}")
        sizes = tuple(int(size) for size in shape)
        if any(size < 1 for size in sizes):
            raise ValueError(f"network: input {name!r} needs a known shape without empty axes, not {sizes}")
        self.graph.values[name] = Value(name, sizes, np.dtype(dtype), None, quantization)
        self.graph.inputs.append(name)
        return name

    def state(self, name: str, initial: Array, quantization: Quantization | None = None) -> str:
        """A value that `keep` changes for the next run. Inputs come before the first one."""
        value = self.input(name, initial.shape, initial.dtype, quantization)
        self.graph.states.append(State(value, "", initial))
        return value

    def keep(self, state: str, value: str) -> None:
        """What the state becomes; for each of them, in their order, after the last output."""
        index = [found.input for found in self.graph.states].index(state)
        name = self._new(f"{state}/next")
        self.output(name, value)
        self.graph.states[index] = self.graph.states[index]._replace(output=name)

    def constant(self, data: Any, quantization: Quantization | None = None) -> str:
        array = np.require(data, requirements="A")  # pieces of a file may lie anywhere
        if self._grows:
            self._budget.give(array)
        name = self._new("constant")
        self.graph.values[name] = Value(name, array.shape, array.dtype, array, quantization)
        return name

    def node(self, op: str, *inputs: Any, name: str = "", **attributes: Any) -> str:
        """Its value's name. Inputs are names of values, or arrays; None: an optional last one is missing."""
        from . import attributes as rules  # these modules need Node
        from . import nodes, nodes_integers, nodes_numpy

        given = [item for item in inputs if item is not None]
        names = tuple(self._name(item) if isinstance(item, str) else self.constant(item) for item in given)
        values = [self.graph.values[item] for item in names]
        node = Node(op, names, self._new(name or op), nodes.complete(op, attributes), name)
        try:
            shape, dtype = nodes.infer(node, values)
        except (TypeError, ArithmeticError, LookupError) as error:
            rules.check(op, len(names), attributes)  # which knows what is wrong, mostly
            raise ValueError(f"network: {op}: {error}") from None
        quantization = nodes_integers.quantization_of(node, values)
        data = None
        if all(value.data is not None for value in values) and np.prod(shape, dtype=float) <= MOST_FOLDED:
            try:
                self._budget.take(shape, dtype.itemsize)
            except ValueError as error:
                raise ValueError(f"network: {op} {name!r}: {error}") from None
            data = nodes_numpy.compute(
                node, [value.data for value in values], [value.quantization for value in values]
            )
        else:
            self.graph.nodes.append(node)
        self.graph.values[node.output] = Value(node.output, shape, dtype, data, quantization)
        return node.output

    def output(self, name: str, value: str) -> None:
        """`value` is what the network gives under this name; callers may go on to use the name it had."""
        graph, value = self.graph, self._name(value)
        if name in graph.outputs:
            raise ValueError(f"network: two outputs are called {name!r}")
        if name != value:
            if name in graph.values or value in graph.inputs or value in graph.outputs:
                # The name is taken, or the value has to keep its own: a node that only renames.
                value = self._identity(value)
            if name != value:
                self._rename(value, name)
        graph.outputs.append(name)

    def shape(self, value: str) -> tuple[int, ...]:
        return self.graph.values[self._name(value)].shape

    def data(self, value: str) -> Array | None:
        return self.graph.values[self._name(value)].data

    def _name(self, value: str) -> str:
        return self._now.get(value, value)

    def _new(self, hint: str) -> str:
        """A name that is not taken, `hint` itself if possible."""
        name = hint
        while name in self.graph.values or name in self._now:
            self._count += 1
            name = f"{hint}_{self._count}"
        return name

    def _identity(self, value: str) -> str:
        source = self.graph.values[value]
        node = Node("reshape", (value,), self._new(value), {"shape": source.shape})
        self.graph.nodes.append(node)
        self.graph.values[node.output] = Value(
            node.output, source.shape, source.dtype, source.data, source.quantization
        )
        return node.output

    def _rename(self, old: str, new: str) -> None:
        graph = self.graph
        if new in graph.values:  # an inner value has the name: it gets another
            self._rename(new, self._new(new))
        known = [name for name, now in self._now.items() if now == old]
        self._now.update(dict.fromkeys(known or [old], new))
        value = graph.values.pop(old)
        value.name = new
        graph.values[new] = value
        for node in graph.nodes:
            node.output = new if node.output == old else node.output
            node.inputs = tuple(new if name == old else name for name in node.inputs)
        for names in (graph.inputs, graph.outputs):
            names[:] = [new if name == old else name for name in names]


def rebuilt(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> Graph:
    """The same graph for inputs of other shapes. Raises ValueError where it has no such form."""
    b = Builder()
    names: dict[str, str] = {}
    for name in graph.inputs:
        value = graph.values[name]
        names[name] = b.input(name, shapes.get(name, value.shape), value.dtype, value.quantization)
    for name, value in graph.values.items():
        if value.data is not None and name not in names:
            names[name] = b.constant(value.data, value.quantization)
    for node in graph.nodes:
        inputs = [names[name] for name in node.inputs]
        attributes = dict(node.attributes)
        if node.op == "reshape":
            attributes["shape"] = _flexible(graph.values[node.inputs[0]].shape, attributes["shape"])
        names[node.output] = b.node(node.op, *inputs, name=node.name, **attributes)
    for name in graph.outputs:
        b.output(name, names[name])
    b.graph.states = list(graph.states)
    return b.graph


def _flexible(old: tuple[int, ...], target: Sequence[int]) -> tuple[int, ...]:
    """A target whose first axis is the input's follows it: the size of a batch is no part of a network."""
    if target and old and target[0] == old[0] and -1 not in target[:1]:
        return (0, *target[1:])
    return tuple(target)
