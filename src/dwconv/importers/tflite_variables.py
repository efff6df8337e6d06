"""TFLite's variables, which streaming models keep from run to run, as states of a graph.

A handle is made by its name; READ_VARIABLE and ASSIGN_VARIABLE take effect in the order of the file. What a
subgraph of CALL_ONCE assigns is what they begin with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..activation import Array
from ..graph import Builder, Quantization
from ..nodes_integers import check
from .tflite_call import UnsupportedError, stored
from .tflite_parse import DTYPES, Model, Operator, Tensor

MOST_ELEMENTS = 2**26
VARIABLE_OPS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")


@dataclass(slots=True)
class Variables:
    model: Model
    handles: dict[int, str] = field(default_factory=dict)  # names of variables, by tensor
    initial: dict[str, Array] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)  # values at the begin of a run, by variable
    now: dict[str, str] = field(default_factory=dict)  # values so far
    assigned: set[str] = field(default_factory=set)
    of_operators: dict[str, str] = field(default_factory=dict)  # what their states become

    def __post_init__(self) -> None:
        for operator in self.model.operators:
            if operator.op == "ASSIGN_VARIABLE" and len(operator.inputs) == 2:
                self.assigned.add(self._handle_before(operator.inputs[0]))

    def _handle_before(self, index: int) -> str:
        for operator in self.model.operators:
            if operator.op == "VAR_HANDLE" and operator.outputs == (index,):
                return str(operator.options["SharedName"])
        return ""

    def lower(self, b: Builder, operator: Operator, names: dict[int, str], label: str) -> None:
        if operator.op == "VAR_HANDLE":
            self._outputs(operator, 1)
            self.handles[operator.outputs[0]] = operator.options["SharedName"]
        elif operator.op == "CALL_ONCE":
            self._call_once(operator)
        elif operator.op == "READ_VARIABLE":
            self._outputs(operator, 1)
            tensor = self.model.tensors[operator.outputs[0]]
            names[operator.outputs[0]] = self._read(b, self._name(operator, 1), tensor, label)
        else:
            name = self._name(operator, 2)
            index = operator.inputs[1]
            if index not in names:
                data = stored(self.model.tensors[index])
                names[index] = b.constant(data, self.model.tensors[index].quantization)
            self._read(b, name, self.model.tensors[index], label)  # it may be read in the next run alone
            self.now[name] = names[index]

    def keep(self, b: Builder) -> None:
        """After the last output."""
        become = {state: self.now[name] for name, state in self.states.items()} | self.of_operators
        for state in list(b.graph.states):
            b.keep(state.input, become[state.input])

    def _outputs(self, operator: Operator, count: int) -> None:
        if len(operator.outputs) != count:
            raise ValueError(f"{operator.op} gives {len(operator.outputs)} results")

    def _name(self, operator: Operator, inputs: int) -> str:
        if len(operator.inputs) != inputs or operator.inputs[0] not in self.handles:
            raise ValueError(f"{operator.op} has no variable")
        return self.handles[operator.inputs[0]]

    def _read(self, b: Builder, name: str, tensor: Tensor, label: str) -> str:
        if name in self.now:
            return self.now[name]
        if tensor.kind not in DTYPES:
            raise UnsupportedError(f"a variable of {tensor.kind}")
        dtype = np.dtype(DTYPES[tensor.kind]).newbyteorder("=")
        if dtype not in (np.float32, np.int8, np.uint8):
            raise UnsupportedError(f"a variable of {tensor.kind}; FLOAT32, INT8 and UINT8 are supported")
        quantization = tensor.quantization
        if quantization is not None:
            quantization = check(quantization, dtype, f"variable {name!r}: ") if dtype.kind in "iu" else None
        initial = self._initial(name, tensor, dtype, quantization)
        if name not in self.assigned:
            self.now[name] = b.constant(initial, quantization)
            return self.now[name]
        value = b.state(_free(b, name.strip("/") or label), initial, quantization)
        self.states[name] = self.now[name] = value
        return value

    def begin(self, b: Builder, label: str, shape: tuple[int, ...]) -> str:
        """The state of an operator that keeps one itself: zeros, until `become`."""
        if np.prod(shape, dtype=float) > MOST_ELEMENTS:
            raise ValueError(f"a state of {shape} is too large")
        state = b.state(_free(b, f"{label}/state"), np.zeros(shape, np.float32))
        self.of_operators[state] = state
        return state

    def become(self, state: str, value: str) -> None:
        self.of_operators[state] = value

    def _initial(
        self, name: str, tensor: Tensor, dtype: np.dtype[np.generic], q: Quantization | None
    ) -> Array:
        """Zeros where the file tells nothing."""
        if min(tensor.shape, default=1) < 1:
            raise ValueError(f"variable {name!r} has no known shape, {tensor.shape}")
        found = self.initial.get(name)
        if found is None:
            if np.prod(tensor.shape, dtype=float) > MOST_ELEMENTS:
                raise ValueError(f"variable {name!r} of {tensor.shape} is too large")
            return np.full(tensor.shape, 0 if q is None else q.zero_point, dtype)
        if found.dtype != dtype or found.shape != tensor.shape:
            raise ValueError(f"variable {name!r} of {tensor.shape} begins as {found.dtype} {found.shape}")
        return found

    def _call_once(self, operator: Operator) -> None:
        index = operator.options.get("InitSubgraphIndex", 0)
        if not 1 <= index <= len(self.model.others):
            raise ValueError(f"CALL_ONCE calls subgraph {index} of {len(self.model.others) + 1}")
        model = self.model.others[index - 1]
        handles: dict[int, str] = {}
        for inner in model.operators:
            if inner.op == "VAR_HANDLE" and len(inner.outputs) == 1:
                handles[inner.outputs[0]] = inner.options["SharedName"]
            elif inner.op == "ASSIGN_VARIABLE" and len(inner.inputs) == 2 and inner.inputs[0] in handles:
                tensor = model.tensors[inner.inputs[1]]
                if tensor.data is None:
                    raise UnsupportedError(f"variable {tensor.name!r} begins as what is computed")
                self.initial[handles[inner.inputs[0]]] = stored(tensor)
            else:
                raise UnsupportedError(f"{inner.op} before the first run; assignments are supported")


def _free(b: Builder, name: str) -> str:
    found, count = name, 0
    while found in b.graph.values:
        count += 1
        found = f"{name}_{count}"
    return found
