"""Keras 3 models as nodes: the graph of symbolic tensors is walked from its outputs.

What is no known layer is called once more with symbolic inputs, and what comes of that is walked too: a layer
of the user's own is made of known ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..activation import Array
from ..graph import Builder


class UnsupportedError(Exception):
    """What a layer would need and dwconv does not have, and what would do instead."""


@dataclass(frozen=True, slots=True)
class T:
    """A tensor of the model: a value of the graph. No tuple, which Keras would take apart."""

    value: str


Handler = Callable[..., Any]
LAYERS: dict[type, Handler] = {}  # handler(net, layer, x): x is a T, or a list where the layer takes one
ACTIVATIONS: dict[Any, Handler] = {}  # of keras.activations, those that take no symbolic tensors
OPERATIONS: dict[
    str, Handler
] = {}  # handler(net, operation, ...) with the arguments of the operation's `call`


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler for classes of `keras.layers`; those that this version lacks are left out."""

    def register(handler: Handler) -> Handler:
        for name in names:
            if hasattr(keras.layers, name):
                LAYERS[getattr(keras.layers, name)] = handler
        return handler

    return register


def operates(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler for operations of `keras.ops`, by the names of their classes."""

    def register(handler: Handler) -> Handler:
        for name in names:
            OPERATIONS[name] = handler
        return handler

    return register


# Operations that take truth values, which are 1 and 0; others would compute with Keras's integers.
TAKE_MASKS = {
    "LogicalAnd", "LogicalOr", "LogicalNot", "Where", "Cast", "Reshape", "Transpose", "ExpandDims", "Squeeze",
}  # fmt: skip


class Missing:
    """What an unsupported layer would give, and all that depends on it."""


class Net:
    """A builder that speaks Keras. `label`: the layer whose nodes are made."""

    def __init__(self) -> None:
        self.b = Builder()
        self.label = ""
        self.outputs: set[str] = set()  # names that the outputs of the network keep for themselves
        self.problems: list[str] = []
        self._inside = 0  # calls that are followed, whose nodes are named like the layer
        self._kept: list[Any] = []  # symbolic tensors, whose ids are keys

    # ---- values -------------------------------------------------------------------------------

    def node(self, op: str, *inputs: Any, **attributes: Any) -> T:
        names = [x.value if isinstance(x, T) else x for x in inputs]
        return T(self.b.node(op, *names, name=self.label, **attributes))

    def tensor(self, x: Any) -> T:
        return x if isinstance(x, T) else T(self.b.constant(np.asarray(x, np.float32)))

    def shape(self, x: T) -> tuple[int, ...]:
        return self.b.shape(x.value)

    def rank(self, x: T) -> int:
        return len(self.b.shape(x.value))

    def axis(self, x: T, axis: int) -> int:
        rank = self.rank(x)
        if not -rank <= axis < rank:
            raise ValueError(f"there is no axis {axis} in {self.shape(x)}")
        return axis % rank

    def unary(self, kind: str, x: Any, a: float = 0.0, b: float = 0.0) -> T:
        return self.node("unary", self.tensor(x), kind=kind, a=float(a), b=float(b))

    def binary(self, kind: str, a: Any, b: Any) -> T:
        return self.node("binary", self.tensor(a), self.tensor(b), kind=kind)

    def reshape(self, x: T, shape: Sequence[int]) -> T:
        """0 at the front: whatever the batch is."""
        return self.node("reshape", x, shape=tuple(int(size) for size in shape))

    def reduce(self, kind: str, x: T, axes: Any, keepdims: bool) -> T:
        """axes: an axis, several, or None for all."""
        found = range(self.rank(x)) if axes is None else [axes] if isinstance(axes, int) else axes
        at = tuple(self.axis(x, axis) for axis in found)
        return self.node("reduce", x, kind=kind, axes=at, keepdims=bool(keepdims)) if at else x

    # ---- walking ------------------------------------------------------------------------------

    def walk(self, outputs: Sequence[Any], known: dict[int, Any]) -> list[Any]:
        """What symbolic tensors are, `known` by id from the start: inputs."""
        waiting = list(outputs)
        while waiting:
            tensor = waiting[-1]
            if id(tensor) in known:
                waiting.pop()
                continue
            history = tensor._keras_history
            if history.operation is None:
                raise UnsupportedError("an input that the model does not list")
            node = history.operation._inbound_nodes[history.node_index]
            needed = [x for x in node.input_tensors if id(x) not in known]
            if needed:
                waiting += needed
                continue
            if not node.input_tensors:
                raise UnsupportedError(f"the input {tensor.name!r}, which the model does not list")
            self._kept += node.output_tensors
            results = self._called(node, known)
            known.update(zip(map(id, node.output_tensors), results, strict=True))
        return [known[id(tensor)] for tensor in outputs]

    def _called(self, node: Any, known: dict[int, Any]) -> list[Any]:
        """What a call gives, flat. An unsupported one is noted, and gives what is missing."""
        missing = [Missing()] * len(node.output_tensors)
        before = self.label
        if not self._inside:
            name = node.operation.name
            self.label = f"{name}/{type(node.operation).__name__.lower()}" if name in self.outputs else name
        try:
            given = node.arguments.args, node.arguments.kwargs
            replaced = keras.tree.map_structure(lambda x: _value(x, known), given)
            if any(isinstance(x, Missing) for x in _flat(replaced)):
                return missing
            args, kwargs = replaced
            kind = type(node.operation).__name__
            if kind not in TAKE_MASKS and any(str(x.dtype) == "bool" for x in node.input_tensors):
                raise UnsupportedError("truth values in it; a cast to float32 before it is supported")
            return _flat(self.apply(node.operation, args, kwargs))
        except UnsupportedError as error:
            kind = type(node.operation).__name__
            self.problems.append(f"{kind} {node.operation.name!r}: {error}")
            return missing
        except (ValueError, TypeError) as error:
            raise ValueError(f"{type(node.operation).__name__} {node.operation.name!r}: {error}") from error
        finally:
            self.label = before

    def apply(self, operation: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """What a layer or an operation gives for these arguments."""
        if isinstance(operation, keras.layers.Layer):
            handler = _layer_handler(operation)
            if handler is not None and args:
                others = [args[1:], list(kwargs.values())]
                if any(isinstance(x, T | np.ndarray) for x in _flat(others)):
                    raise UnsupportedError("inputs beside the first, such as an initial state or a mask")
                return handler(self, operation, args[0])
            if isinstance(operation, keras.Model) and _is_symbolic(operation):
                return self.model(operation, _flat(args))
            return self.traced(operation.call, args, kwargs)
        handler = OPERATIONS.get(type(operation).__name__)
        if handler is None or not type(operation).__module__.startswith("keras."):
            raise UnsupportedError("this operation is not supported")
        return handler(self, operation, *args, **kwargs)

    def model(self, model: Any, inputs: Sequence[T]) -> Any:
        """A functional or sequential model within another."""
        known = dict(zip(map(id, model.inputs), inputs, strict=True))
        found = self.walk(model.outputs, known)
        if any(isinstance(x, Missing) for x in found):
            raise UnsupportedError("layers of this model, which are listed too, are not supported")
        return found if len(found) > 1 else found[0]

    def traced(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Any:
        """What any function gives that computes with Keras's operations alone."""
        known: dict[int, Any] = {}

        def symbolic(x: Any) -> Any:
            if not isinstance(x, T):
                return x
            tensor = keras.Input(batch_shape=self.shape(x), dtype="float32")
            known[id(tensor)] = x
            self._kept.append(tensor)
            return tensor

        replaced = keras.tree.map_structure(symbolic, (tuple(args), kwargs or {}))
        try:
            made = function(*replaced[0], **replaced[1])
        except Exception as error:
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            problem = f"not supported, and its call cannot be followed: {reason[0][:200]}"
            raise UnsupportedError(problem) from error
        tensors = _flat(made)
        if not all(isinstance(x, keras.KerasTensor) for x in tensors):
            raise UnsupportedError("not supported, and its call gives what is no tensor of Keras")
        self._kept += tensors
        self._inside += 1
        try:
            found = self.walk(tensors, known)
        finally:
            self._inside -= 1
        if any(isinstance(x, Missing) for x in found):
            raise UnsupportedError("what it is made of, which is listed too, is not supported")
        return found if len(found) > 1 else found[0]

    def activated(self, x: T, function: Any) -> T:
        """With the activation of a layer: a function of `keras.activations`, a layer or one of the user's."""
        if function is None or function is keras.activations.linear:
            return x
        if isinstance(function, keras.layers.Layer):
            found: T = self.apply(function, [x], {})
            return found
        handler = ACTIVATIONS.get(function)
        result: T = self.traced(function, [x]) if handler is None else handler(self, None, x)
        return result


def array(variable: Any) -> Array:
    """Weights in float32."""
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _value(x: Any, known: dict[int, Any]) -> Any:
    """Symbolic tensors as values, variables and tensors as arrays, anything else as it is."""
    if isinstance(x, keras.KerasTensor):
        return known[id(x)]
    if isinstance(x, keras.Variable) or keras.ops.is_tensor(x):
        return np.asarray(keras.ops.convert_to_numpy(x))
    return x


def _flat(structure: Any) -> list[Any]:
    """Leaves, where a T is one."""
    if isinstance(structure, T | Missing):
        return [structure]
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in _flat(structure[key])]
    if isinstance(structure, list | tuple):
        return [leaf for item in structure for leaf in _flat(item)]
    return [structure]


def _is_symbolic(model: Any) -> bool:
    """Whether the model has a graph of symbolic tensors: functional, or sequential and built."""
    try:
        return bool(model.inputs) and bool(model.outputs)
    except (AttributeError, ValueError):
        return False


def _layer_handler(layer: Any) -> Handler | None:
    """That of its class, or of a base whose `call` it has."""
    for cls in type(layer).__mro__:
        if cls in LAYERS:
            same = type(layer).call is cls.call or getattr(layer, "computes_as_keras", False)  # type: ignore[attr-defined]
            return LAYERS[cls] if same else None
    return None
