"""An ONNX model as plain Python and NumPy: what is kept of a file, without the package onnx."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..activation import Array

# TensorProto.DataType by number: NumPy's name of it, where it has one.
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    16: "bfloat16", 17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz",
    21: "uint4", 22: "int4", 23: "float4e2m1",
}  # fmt: skip


class Info(NamedTuple):
    """An input or output: None for a size that the file leaves open, and for an unknown shape."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


class Opaque(NamedTuple):
    """A constant or an attribute of a kind that no supported operation takes."""

    what: str


@dataclass(slots=True)
class OnnxNode:
    """Missing inputs and outputs are "". Attributes: numbers, strings, lists of them, arrays, or `Opaque`."""

    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.name or next((name for name in self.outputs if name), self.op)


@dataclass(slots=True)
class OnnxModel:
    """Nodes in an order in which they can run; those that no output needs are left out."""

    opsets: dict[str, int]
    inputs: list[Info]
    outputs: list[Info]
    constants: dict[str, Array | Opaque]
    nodes: list[OnnxNode]

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """As JSON, and the arrays that it refers to."""
        arrays: dict[str, Array] = {}

        def packed(value: Any) -> Any:
            if isinstance(value, Opaque):
                return {"opaque": value.what}
            if isinstance(value, np.ndarray):
                arrays[f"onnx.{len(arrays)}"] = value
                return {"array": f"onnx.{len(arrays) - 1}"}
            return value

        found = {
            "opsets": self.opsets,
            "inputs": [[i.name, None if i.shape is None else list(i.shape), i.dtype] for i in self.inputs],
            "outputs": [[i.name, None if i.shape is None else list(i.shape), i.dtype] for i in self.outputs],
            "constants": {name: packed(value) for name, value in self.constants.items()},
            "nodes": [
                [n.op, n.domain, n.name, n.inputs, n.outputs, {k: packed(v) for k, v in n.attributes.items()}]
                for n in self.nodes
            ],
        }
        return found, arrays

    @classmethod
    def restored(cls, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> OnnxModel:
        """Raises ValueError for what `state` did not give."""

        def unpacked(value: Any) -> Any:
            if isinstance(value, dict):
                return arrays[value["array"]] if "array" in value else Opaque(str(value["opaque"]))
            return value

        def info(name: str, shape: list[int | None] | None, dtype: str) -> Info:
            sizes = None if shape is None else tuple(None if s is None else int(s) for s in shape)
            return Info(str(name), sizes, str(dtype))

        try:
            model = cls(
                {str(domain): int(version) for domain, version in state["opsets"].items()},
                [info(*item) for item in state["inputs"]],
                [info(*item) for item in state["outputs"]],
                {str(name): unpacked(value) for name, value in state["constants"].items()},
                [
                    OnnxNode(
                        str(op),
                        str(domain),
                        str(name),
                        [str(item) for item in inputs],
                        [str(item) for item in outputs],
                        {str(key): unpacked(value) for key, value in attributes.items()},
                    )
                    for op, domain, name, inputs, outputs, attributes in state["nodes"]
                ],
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"network: the saved ONNX model is damaged ({error!r})") from None
        model.nodes = ordered(model)
        return model


def ordered(model: OnnxModel) -> list[OnnxNode]:
    """The nodes that outputs need, each after those that it reads. Raises ValueError if it cannot be."""
    makers: dict[str, int] = {}
    given = {info.name for info in model.inputs} | model.constants.keys()
    for index, node in enumerate(model.nodes):
        for name in node.outputs:
            if name in makers or (name and name in given):
                raise ValueError(f"network: two nodes, constants or inputs are called {name!r}")
            if name:
                makers[name] = index
    needed = _needed(model, makers, given)
    result: list[OnnxNode] = []
    waiting = {index: _sources(model.nodes[index], makers) for index in needed}
    readers: dict[int, list[int]] = {}
    for index, sources in waiting.items():
        for source in sources:
            readers.setdefault(source, []).append(index)
    ready = [index for index in needed if not waiting[index]]
    heapq.heapify(ready)  # the order of the file, wherever it is one
    while ready:
        index = heapq.heappop(ready)
        result.append(model.nodes[index])
        for reader in readers.get(index, ()):
            waiting[reader].discard(index)
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(result) != len(needed):
        raise ValueError("network: nodes of the model read each other in a circle")
    return result


def _needed(model: OnnxModel, makers: dict[str, int], given: set[str]) -> set[int]:
    needed: set[int] = set()
    names = [info.name for info in model.outputs]
    while names:
        name = names.pop()
        if name in given:
            continue
        if name not in makers:
            raise ValueError(f"network: {name!r} is read, but no node, constant or input makes it")
        if makers[name] not in needed:
            needed.add(makers[name])
            names += [item for item in model.nodes[makers[name]].inputs if item]
    return needed


def _sources(node: OnnxNode, makers: dict[str, int]) -> set[int]:
    return {makers[name] for name in node.inputs if name in makers}


def sizes_text(shape: Sequence[int | None] | None) -> str:
    """For messages: open sizes as ?."""
    return "of any shape" if shape is None else f"[{', '.join('?' if s is None else str(s) for s in shape)}]"
