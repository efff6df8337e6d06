"""Adds tensors and steps to a program, and knows where every value of the graph lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .activation import Array
from .graph import Graph, Node, Value
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

    def __init__(self, graph: Graph, homes: dict[str, Home]) -> None:
        self.graph = graph
        self.program = Program(inputs=list(graph.inputs), outputs=list(graph.outputs))
        self.homes = homes
        self._node = Node("", (), "")  # the one whose steps are added
        self._position = -1
        self._places: dict[str, Place] = {}
        self._buffers: dict[str, Place] = {}
        self._dense: dict[str, Place] = {}
        self._tensors: dict[Place, int] = {}
        self._members: dict[int, list[str]] = {}  # by tensor, the values that lie in its memory
        self._last_read = {
            name: position for position, node in enumerate(graph.nodes) for name in node.inputs
        }

        for name in graph.inputs:
            self._put(name, self._own(name, "input", graph.values[name].shape))
        for name in graph.outputs:
            self._buffers[name] = self._own(name, "output", graph.values[name].shape)

    def begin(self, position: int, node: Node) -> None:
        """What follows are the steps of this node."""
        self._position, self._node = position, node

    def finish(self) -> Program:
        for name, place in self._places.items():
            if place in self._tensors:
                self.program.places[name] = self._tensors[place]
        return self.program

    # ---- values ----

    def value(self, name: str) -> Value:
        return self.graph.values[name]

    def data(self, name: str) -> Array:
        """Of a constant."""
        data = self.value(name).data
        assert data is not None
        return data

    def place(self, name: str) -> Place:
        """Where a value lies that was computed, or is given."""
        if name not in self._places:
            self._put(name, self.constant(self.data(name), name))
        return self._places[name]

    def is_placed(self, name: str) -> bool:
        """Whether it has to be written at one place, a home or an output."""
        return name in self.homes or name in self._buffers

    def target(self, name: str) -> Place:
        """Where to write the result of a node, which is then its place."""
        owner, view = self.homes.get(name, (name, View.whole(self.value(name).shape)))
        if owner not in self._buffers:
            self._buffers[owner] = self.fresh(self.value(owner).shape, owner)
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

    def _own(self, name: str, storage: Storage, shape: Sizes, data: Array | None = None) -> Place:
        tensor = self.program.add(name, storage, shape, data)
        place = Place(tensor, View.whole(shape))
        self._tensors[place] = tensor
        return place

    def fresh(self, shape: Sizes, name: str = "") -> Place:
        return self._own(name or self._node.output, "workspace", shape)

    def constant(self, data: Array, name: str = "") -> Place:
        return self._own(name or self._node.output, "constant", data.shape, _array(data))

    def tensor(self, place: Place) -> int:
        """Its index in the program."""
        if place not in self._tensors:
            name = self.program.tensors[place.memory].name
            index = self.program.add(name, "view", place.view.shape)
            made = self.program.tensors[index]
            made.view, made.base = place.view, place.memory
            self._tensors[place] = index
        return self._tensors[place]

    # ---- steps ----

    def step(self, kind: str, inputs: list[Place], output: Place, **fields: Any) -> None:
        indices = tuple(self.tensor(place) for place in inputs)
        self.program.steps.append(Step(kind, indices, self.tensor(output), self._node, **fields))

    def convolution(self, x: Place, y: Place, operation: Operation | Stage) -> None:
        if isinstance(operation, Stage):
            operation = Operation("network", operation.kind, (operation,))
        chains = (tuple(_plain(stage) for stage in c) for c in (operation.stages, operation.squeeze_excite))
        stages, gate = chains
        operation = replace(operation, stages=stages, squeeze_excite=gate)
        self.step("convolution", [x], y, operation=operation)

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
        copied = self.fresh(found.view.shape, name)
        self.move(found, copied)
        if place is None:
            self._dense[name] = copied
        return copied

    def reshaped(self, place: Place, shape: Sizes) -> Place:
        """The same elements with other axes, of a copy if need be."""
        view = place.view.reshape(shape)
        if view is None:
            copied = self.fresh(shape)
            self.move(place, Place(copied.memory, View.whole(place.view.shape)))
            return copied
        return Place(place.memory, view)


def _array(data: Array) -> Array:
    """As C reads it: what lies in the bytes of a model file need not be aligned, and names its byte order."""
    return np.require(data, np.float32, ("C", "ALIGNED")).view(np.float32)


def _plain(stage: Stage) -> Stage:
    bias = None if stage.bias is None else _array(stage.bias)
    return replace(stage, filters=_array(stage.filters), bias=bias)


def _has_dense_pixels(view: View) -> bool:
    """What image operations read in place; for dwconv_tensor a stride of 0 means contiguous."""
    repeats = any(stride == 0 and size > 1 for size, stride in zip(view.shape, view.strides, strict=True))
    return view.has_unit_stride and not repeats
