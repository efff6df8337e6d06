"""Adds tensors and steps to a program, and knows where every value of the graph lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .activation import Array
from .graph import Graph, Node, Quantization, Value
from .nodes_integers import BYTES
from .operation import Operation, Stage
from .placing import Home
from .program import Program, Step, Storage
from .views import Sizes, View


class Place(NamedTuple):
    """Part of the memory of a tensor."""

    memory: int
    view: View


class Emitter:
    """The state of `emit`: the functions of `emit_nodes` add the steps of one node after another."""

    def __init__(self, graph: Graph, homes: dict[str, Home], keeps: bool = False) -> None:
        """`keeps`: what the graph keeps from run to run is state of the program, no input or output of it."""
        self.graph = graph
        states = graph.states if keeps else []
        kept = {state.input: state.initial for state in states}
        kept_outputs = {state.output for state in states}
        self._kept = [(state.input, state.output) for state in states]
        self.program = Program(
            inputs=[name for name in graph.inputs if name not in kept],
            outputs=[name for name in graph.outputs if name not in kept_outputs],
        )
        self.homes = homes
        self._node = Node("", (), "")  # the one whose steps are added
        self._position = -1
        self._places: dict[str, Place] = {}
        self._buffers: dict[str, Place] = {}
        self._dense: dict[str, Place] = {}
        self._tensors: dict[Place, int] = {}
        self._quantized: dict[tuple[Place, Quantization], int] = {}
        self._members: dict[int, list[str]] = {}  # by tensor, the values that lie in its memory
        self._last_read = {
            name: position for position, node in enumerate(graph.nodes) for name in node.inputs
        }

        for name in graph.inputs:
            place = self._own(name, "state" if name in kept else "input", graph.values[name])
            if name in kept:
                self.program.tensors[place.memory].data = _array(kept[name])
            self._put(name, place)
        for name in graph.outputs:
            if name not in kept_outputs:
                self._buffers[name] = self._own(name, "output", graph.values[name])

    def begin(self, position: int, node: Node) -> None:
        """What follows are the steps of this node."""
        self._position, self._node = position, node

    def finish(self) -> Program:
        self._keep()
        for name, place in self._places.items():
            if place in self._tensors:
                self.program.places[name] = self._tensors[place]
        return self.program

    def _keep(self) -> None:
        """States become what they are for the next run, once all have been read."""
        self.begin(-1, Node("reshape", (), ""))
        moves = []
        for state, value in self._kept:
            source = self.place(value)
            if self.program.tensors[source.memory].storage == "state":  # which another move may write before
                copied = self.fresh(source.view.shape, value)
                self.move(source, copied)
                source = copied
            moves.append((source, self.place(state)))
        for source, target in moves:
            self.move(source, target)

    # ---- values ----

    def value(self, name: str) -> Value:
        return self.graph.values[name]

    def is_bytes(self, name: str) -> bool:
        """Whether it is of 8-bit integers."""
        return self.value(name).dtype in BYTES

    def data(self, name: str) -> Array:
        """Of a constant."""
        data = self.value(name).data
        assert data is not None
        return data

    def place(self, name: str) -> Place:
        """Where a value lies that was computed, or is given."""
        if name not in self._places:
            self._put(name, self.constant(self.data(name), name, self.value(name).quantization))
        return self._places[name]

    def is_placed(self, name: str) -> bool:
        """Whether it has to be written at one place, a home or an output."""
        return name in self.homes or name in self._buffers

    def target(self, name: str) -> Place:
        """Where to write the result of a node, which is then its place."""
        owner, view = self.homes.get(name, (name, View.whole(self.value(name).shape)))
        if owner not in self._buffers:
            self._buffers[owner] = self._own(owner, "workspace", self.value(owner))
        self._put(name, Place(self._buffers[owner].memory, view))
        return self._places[name]

    def give(self, name: str) -> None:
        """An output that no node computes."""
        self.move(self.place(name), self._buffers[name])

    def alias(self, name: str, place: Place) -> None:
        """The result of a node is a view of another value: nothing to do, unless it must lie elsewhere."""
        if self.is_placed(name):
            self.move(place, self.target(name))
        else:
            self._put(name, place)

    def in_place(self, name: str, *sources: str) -> Place:
        """The target of an elementwise node: the memory of a source if it may be overwritten."""
        if not self.is_placed(name):
            for source in sources:
                if self._may_overwrite(self.place(source), name, [self.place(other) for other in sources]):
                    self._put(name, self.place(source))
                    return self._places[name]
        return self.target(name)

    def _may_overwrite(self, place: Place, name: str, read: list[Place]) -> bool:
        owner = self.program.tensors[place.memory]
        return (
            owner.storage == "workspace"
            and owner.dtype == self.value(name).dtype
            and place.view.shape == self.value(name).shape
            and place.view.size == owner.view.size
            and place.view.is_contiguous
            and all(other.memory != place.memory or other == place for other in read)
            and all(
                self._last_read.get(member, -1) <= self._position for member in self._members[place.memory]
            )
        )

    def _put(self, name: str, place: Place) -> None:
        self._places[name] = place
        self._members.setdefault(place.memory, []).append(name)

    # ---- tensors ----

    def _own(self, name: str, storage: Storage, value: Value) -> Place:
        """With memory for a value of this shape and dtype."""
        dtype = np.dtype(value.dtype)
        data = value.data if storage == "constant" else None
        tensor = self.program.add(name, storage, value.shape, data, dtype, _per_tensor(value))
        place = Place(tensor, View.whole(value.shape))
        self._tensors[place] = tensor
        return place

    def fresh(self, shape: Sizes, like: str, name: str = "") -> Place:
        """Memory for elements of the dtype of the value `like`."""
        value = self.value(like)
        return self._own(name or like, "workspace", Value("", shape, value.dtype, None, value.quantization))

    def constant(self, data: Array, name: str = "", quantization: Quantization | None = None) -> Place:
        value = Value("", data.shape, data.dtype, _array(data), quantization)
        return self._own(name or self._node.output, "constant", value)

    def tensor(self, place: Place, quantization: Quantization | None = None) -> int:
        """Its index in the program; of 8-bit integers that stand for something, with that told."""
        index = self._tensors.get(place)
        if index is None:
            index = self._tensors[place] = self._view(place, self.program.tensors[place.memory].quantization)
        if quantization is None or self.program.tensors[index].quantization == quantization:
            return index
        if (place, quantization) not in self._quantized:
            self._quantized[place, quantization] = self._view(place, quantization)
        return self._quantized[place, quantization]

    def _view(self, place: Place, quantization: Quantization | None) -> int:
        memory = self.program.tensors[place.memory]
        index = self.program.add(memory.name, "view", place.view.shape, None, memory.dtype, quantization)
        made = self.program.tensors[index]
        made.view, made.base = place.view, place.memory
        return index

    # ---- steps ----

    def step(
        self, kind: str, inputs: list[Place], output: Place, of: tuple[str, ...] = (), **fields: Any
    ) -> None:
        """`of`: the values that inputs and output are, where what integers stand for matters; else ""."""
        told = [_per_tensor(self.value(name)) if name else None for name in of or [""] * (len(inputs) + 1)]
        places = (*inputs, output)
        *indices, result = (self.tensor(place, q) for place, q in zip(places, told, strict=True))
        self.program.steps.append(Step(kind, tuple(indices), result, self._node, **fields))

    def convolution(self, x: Place, y: Place, operation: Operation | Stage, of: tuple[str, ...] = ()) -> None:
        if isinstance(operation, Stage):
            operation = Operation("network", operation.kind, (operation,))
        chains = (tuple(_plain(stage) for stage in c) for c in (operation.stages, operation.squeeze_excite))
        stages, gate = chains
        operation = replace(operation, stages=stages, squeeze_excite=gate)
        self.step("convolution", [x], y, of, operation=operation)

    def move(self, source: Place, target: Place) -> None:
        """A copy, unless the values are there."""
        if source != target:
            self.step("copy", [source], target)

    def dense(self, name: str, place: Place | None = None) -> Place:
        """The value, or a part or form of it, with contiguous channels and pixels apart: itself or a copy."""
        found = place or self.place(name)
        if _has_dense_pixels(found.view):
            return found
        if place is None and name in self._dense:
            return self._dense[name]
        copied = self.fresh(found.view.shape, name, name)
        self.move(found, copied)
        if place is None:
            self._dense[name] = copied
        return copied

    def reshaped(self, name: str, place: Place, shape: Sizes) -> Place:
        """The same elements of a value, or of a part or form of it, with other axes, of a copy if need be."""
        view = place.view.reshape(shape)
        if view is None:
            copied = self.fresh(shape, name)
            self.move(place, Place(copied.memory, View.whole(place.view.shape)))
            return copied
        return Place(place.memory, view)


def _array(data: Array) -> Array:
    """As C reads it: what lies in the bytes of a model file need not be aligned, and names its byte order."""
    dtype = data.dtype.newbyteorder("=")
    return np.require(data, dtype, ("C", "ALIGNED")).view(dtype)


def _per_tensor(value: Value) -> Quantization | None:
    """What 8-bit integers stand for, where all of them stand for the same; of filters it is not looked at."""
    q = value.quantization
    if q is None or q.axis is not None or value.dtype.kind not in "iu" or np.size(q.scale) != 1:
        return None
    return Quantization(float(q.scale), int(q.zero_point), None)


def _plain(stage: Stage) -> Stage:
    """With arrays as C reads them."""
    bias = None if stage.bias is None else _array(stage.bias)
    return replace(stage, filters=_array(stage.filters), bias=bias)


def _has_dense_pixels(view: View) -> bool:
    """What image operations read in place; for dwconv_tensor a stride of 0 means contiguous."""
    repeats = any(stride == 0 and size > 1 for size, stride in zip(view.shape, view.strides, strict=True))
    return view.has_unit_stride and not repeats
