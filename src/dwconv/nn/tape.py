"""Gradients of what `dwconv.nn` computed: TensorFlow's `GradientTape`, for the functions and layers here.

    with GradientTape() as tape:
        loss = softmax_cross_entropy(model(x, training=True), labels)
    gradients = tape.gradient(loss, model.trainable_variables)

A tape knows arrays by identity: what NumPy makes of them is not on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from ..activation import Array
from .variables import Variable

# Of the gradient of an output, and which inputs want theirs: one gradient for each input, or None.
Backward: TypeAlias = Callable[[Array, tuple[bool, ...]], Sequence[Array | None]]
A = TypeVar("A")


class _Record(NamedTuple):
    inputs: tuple[Any, ...]
    output: Any  # kept, so that nothing else gets its identity
    backward: Backward


_current: ContextVar[GradientTape | None] = ContextVar("dwconv.nn.tape", default=None)


class GradientTape:
    """Records the calls inside `with`, of one thread, that depend on trainable variables or watched arrays.

    Semantics: TensorFlow's `tf.GradientTape`, without gradients of gradients; `gradient` may be called again,
    `persistent` or not.

    >>> import numpy as np
    >>> from dwconv import nn
    >>> x = np.array([-1.0, 2.0], np.float32)
    >>> with nn.GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = nn.relu(x)
    >>> tape.gradient(y, x)
    array([0., 1.], dtype=float32)
    """

    def __init__(self, persistent: bool = True) -> None:
        self._records: list[_Record] = []
        self._known: dict[int, Any] = {}  # watched arrays and outputs, by identity
        self.activity: list[tuple[Any, Any]] = []  # layers, and what regularisers say of their results
        self._token: Token[GradientTape | None] | None = None

    def __enter__(self) -> GradientTape:
        if self._token is not None:
            raise RuntimeError("GradientTape: it is recording already: make another one")
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        _current.reset(self._token)
        self._token = None

    def watch(self, tensor: Array) -> None:
        """Makes `gradient` know this very array, as for the gradient of an input."""
        if not isinstance(tensor, np.ndarray):
            raise TypeError(f"GradientTape.watch: tensor must be an array, not {type(tensor).__name__}")
        self._known[id(tensor)] = tensor

    def knows(self, tensor: Any) -> bool:
        """Whether a gradient can flow there."""
        return tensor.trainable if isinstance(tensor, Variable) else id(tensor) in self._known

    def gradient(self, target: Any, sources: Any, output_gradients: Any = None) -> Any:
        """The gradients of `target` with respect to variables and watched arrays, as many as `sources`.

        `target`: what a function or layer gave under the tape; the gradient of an array is that of the sum of
        its elements, weighted with `output_gradients`. `sources`: one, or a list of them. None stands for
        what the target does not depend on. Raises ValueError for a target that was computed elsewhere, as by
        `loss + penalty`: `dwconv.nn.add_n` adds on the tape.
        """
        if id(target) not in self._known:
            raise ValueError(
                "GradientTape.gradient: the target was not computed by functions of dwconv.nn from trainable "
                "variables or watched arrays under this tape; sums of losses are nn.add_n([...])"
            )
        single = not isinstance(sources, list | tuple)
        wanted = [sources] if single else list(sources)
        found = self._walk(target, output_gradients, {id(source) for source in wanted})
        gradients = [found.get(id(source)) for source in wanted]
        return gradients[0] if single else gradients

    def _walk(self, target: Any, seed: Any, kept: set[int]) -> dict[int, Array]:
        """From the target back; gradients of what lies between are let go once they are used."""
        value = np.asarray(target)
        first = np.ones_like(value) if seed is None else np.asarray(seed, value.dtype)
        if first.shape != value.shape:
            raise ValueError(
                f"GradientTape.gradient: output_gradients has the shape {first.shape} but the target "
                f"{value.shape}"
            )
        found: dict[int, Array] = {id(target): first}
        for record in reversed(self._records):
            key = id(record.output)
            if key not in found:
                continue
            gradient = found[key] if key in kept else found.pop(key)
            flags = tuple(self.knows(item) for item in record.inputs)
            for item, part in zip(record.inputs, record.backward(gradient, flags), strict=True):
                if part is not None:
                    before = found.get(id(item))
                    found[id(item)] = part if before is None else before + part
        return found


def recording() -> GradientTape | None:
    """The tape that records here."""
    return _current.get()


def record(output: A, inputs: Sequence[Any], backward: Backward) -> A:
    """Gives `output`, a new object, after the tape that records has noted where it comes from."""
    tape = _current.get()
    if tape is not None and any(tape.knows(item) for item in inputs):
        tape._records.append(_Record(tuple(inputs), output, backward))
        tape._known[id(output)] = output
    return output
