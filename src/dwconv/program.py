"""What the C core is told of a network: tensors and steps. csrc/dwconv_network.h in Python.

Names of kinds and functions are those of the header, in lower case and without the prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, TypeAlias

import numpy as np

from .activation import Activation, Array
from .geometry import Window
from .graph import Node, Quantization
from .operation import Operation
from .views import Sizes, View

Storage: TypeAlias = Literal["workspace", "constant", "input", "output", "view", "state"]
FLOAT32 = np.dtype(np.float32)


@dataclass(slots=True)
class Tensor:
    """A dwconv_value. `base` is the tensor that a view is part of."""

    name: str
    storage: Storage
    view: View
    base: int = -1
    data: Array | None = None  # of a constant, or of a state after a reset: contiguous
    dtype: np.dtype[Any] = FLOAT32
    quantization: Quantization | None = None  # of 8-bit integers, for steps that compute with them

    @property
    def shape(self) -> Sizes:
        return self.view.shape

    @property
    def nbytes(self) -> int:
        return self.view.size * self.dtype.itemsize


@dataclass(slots=True)
class Step:
    """A dwconv_node; `source` is the node of the graph that it belongs to."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    source: Node | None = None
    function: str | None = None
    operation: Operation | None = None
    activation: Activation = field(default_factory=Activation)
    window: Window | None = None
    counts_padding: bool = False
    coordinates: str | None = None
    rounding: str | None = None
    parameters: tuple[float, ...] = ()
    axis: int = 0
    indices: Array | None = None  # int32
    clamp: tuple[int, int] = (0, 0)  # of 8-bit integers; twice 0: all of the dtype
    formula: str | None = None


@dataclass(slots=True)
class Program:
    """Tensors and steps in the order of execution. Inputs and outputs of the network are the tensors of that
    storage, in the order of `inputs` and `outputs`. `places`: the tensors of values of the graph, by name; a
    value that no step reads or writes as a whole has none."""

    tensors: list[Tensor] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    rounding: str = "even"  # of steps on 8-bit integers

    def add(
        self, name: str, storage: Storage, shape: Sequence[int], data: Array | None = None,
        dtype: np.dtype[Any] = FLOAT32, quantization: Quantization | None = None,
    ) -> int:  # fmt: skip
        """A tensor with memory of its own."""
        self.tensors.append(Tensor(name, storage, View.whole(shape), -1, data, dtype, quantization))
        return len(self.tensors) - 1

    def memory(self, tensor: int) -> int:
        """The tensor that owns the memory of this one."""
        found = self.tensors[tensor]
        return found.base if found.storage == "view" else tensor

    def peak(self) -> int:
        """The most bytes of workspace that are alive during one step: no placement needs fewer."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for position, step in enumerate(self.steps):
            for index in (*step.inputs, step.output):
                memory = self.memory(index)
                if self.tensors[memory].storage == "workspace":
                    first.setdefault(memory, position)
                    last[memory] = position
        changes = [0] * (len(self.steps) + 1)
        for memory, position in first.items():
            changes[position] += self.tensors[memory].nbytes
            changes[last[memory] + 1] -= self.tensors[memory].nbytes
        return max(accumulate(changes))


def as_indices(values: Array) -> Array:
    return np.require(values.reshape(-1), np.int32, ("C", "ALIGNED")).view(np.int32)
