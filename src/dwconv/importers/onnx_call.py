"""One node of an ONNX model with the values of its inputs: what handlers of operations read it through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..activation import Array
from ..graph import Budget
from .channels_first import ChannelsFirst, T, UnsupportedError
from .onnx_model import OnnxNode, Opaque

# Attributes that change nothing of what is supported.
WITHOUT_EFFECT = {
    "broadcast", "consumed_inputs", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "momentum",
    "noop_with_empty_axes", "ratio", "round_mode", "saturate", "seed", "storage_order", "value",
}  # fmt: skip


class Call:
    """values: tensors, arrays, `Opaque`, None where an optional input is missing."""

    def __init__(
        self, net: ChannelsFirst, budget: Budget, node: OnnxNode, opset: int, values: Sequence[Any]
    ) -> None:
        self.net, self.budget, self.node, self.opset = net, budget, node, opset
        self.values = list(values)
        self.seen: set[str] = set()
        for value in self.values:
            if isinstance(value, Opaque):
                raise UnsupportedError(value.what)
        for name, value in node.attributes.items():
            if isinstance(value, Opaque):
                raise UnsupportedError(f"{name}: {value.what}")

    # ---- inputs ---------------------------------------------------------------------------------

    @property
    def is_constant(self) -> bool:
        return all(not isinstance(value, T) for value in self.values)

    def has(self, index: int) -> bool:
        return index < len(self.values) and self.values[index] is not None

    def array(self, index: int, what: str = "") -> Array:
        """A constant input. Raises UnsupportedError for one that is computed at run time."""
        if not self.has(index):
            raise ValueError(f"input {index} is missing")
        value = self.values[index]
        if isinstance(value, T):
            raise UnsupportedError(
                f"{what or f'input {index}'} computed at run time; constants are supported"
            )
        return np.asarray(value)

    def tensor(self, index: int) -> T:
        if not self.has(index):
            raise ValueError(f"input {index} is missing")
        value = self.values[index]
        if isinstance(value, T):
            return value
        if value.dtype != np.float32:
            raise UnsupportedError(f"input {index} is {value.dtype}; float32 is supported")
        if not value.size:
            raise UnsupportedError(f"input {index} is empty, {value.shape}; at least 1 element is supported")
        return self.net.constant(value)

    def optional(self, index: int) -> T | None:
        return self.tensor(index) if self.has(index) else None

    def integers(self, index: int, attribute: str = "") -> list[int] | None:
        """Of a constant input, or of an attribute in older opsets; None where both are missing."""
        if self.has(index):
            values = self.array(index, attribute)
            if values.ndim > 1 or values.dtype.kind not in "iu":
                raise ValueError(f"{attribute} is {values.dtype} {values.shape}, not a list of integers")
            return [int(value) for value in values.reshape(-1)]
        return self.ints(attribute) if attribute else None

    def shape(self, index: int) -> tuple[int, ...]:
        value = self.values[index]
        return self.net.shape(value) if isinstance(value, T) else tuple(value.shape)

    # ---- attributes -----------------------------------------------------------------------------

    def attribute(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return self.node.attributes.get(name, default)

    def refuse_unread(self) -> None:
        """Raises UnsupportedError for an attribute that nothing has looked at: it might change the result."""
        unread = self.node.attributes.keys() - self.seen - WITHOUT_EFFECT
        if unread:
            raise UnsupportedError(f"{', '.join(sorted(unread))}: not supported")

    def integer(self, name: str, default: int = 0) -> int:
        value = self.attribute(name, default)
        if not isinstance(value, int):
            raise ValueError(f"{name} is {value!r}, not an integer")
        return value

    def number(self, name: str, default: float = 0.0) -> float:
        value = self.attribute(name, default)
        if not isinstance(value, float | int):
            raise ValueError(f"{name} is {value!r}, not a number")
        return float(value)

    def text(self, name: str, default: str = "") -> str:
        value = self.attribute(name, default)
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}, not a string")
        return value

    def ints(self, name: str) -> list[int] | None:
        value = self.attribute(name)
        if value is not None and not (isinstance(value, list) and all(isinstance(v, int) for v in value)):
            raise ValueError(f"{name} is {value!r}, not a list of integers")
        return value

    def refuse(self, name: str, *supported: Any, default: Any = None) -> None:
        """Raises UnsupportedError unless the attribute has one of these values."""
        value = self.attribute(name, default)
        if value not in supported:
            raise UnsupportedError(f"{name} {value!r}; supported: {', '.join(map(str, supported))}")
