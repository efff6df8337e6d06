"""What all trainable layers share: a name, variables that the first input decides, losses."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import geometry
from ..activation import Array
from ..graph import Builder
from . import initializers, regularizers
from .losses import activity_penalty, penalty
from .tape import recording
from .variables import Variable

_numbers: defaultdict[str, Any] = defaultdict(itertools.count)


def base_name(layer: Any) -> str:
    """`SeparableConv2D` as separable_conv2d."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__)
    return words.lower()


class Layer:
    """Makes its variables at the first call, of the channels and the dtype of the input.

    `layer(x, training=False)`: `training` matters to layers that learn or draw otherwise than they predict.
    A subclass has `build(shape, dtype)`, `call(x, training)`, and `emit(builder, value)` if it can become a
    part of a `dwconv.Network`. What a layer is made of may change, so one thread at a time may call it.
    """

    def __init__(
        self, name: str | None = None, trainable: bool = True, activity_regularizer: Any = None
    ) -> None:
        base = base_name(self)
        if name is None:
            number = next(_numbers[base])
            name = f"{base}_{number}" if number else base
        self.name = name
        self.trainable = bool(trainable)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.built = False
        self._variables: dict[str, Variable] = {}
        self._last_activity: Any = None
        self._get_variable: Callable[..., Variable] | None = None  # of a store

    def __call__(self, x: Any, training: bool = False) -> Array:
        return self._run(x, training, self.call)

    def _run(self, x: Any, training: bool, call: Callable[[Any, bool], Array]) -> Array:
        if isinstance(x, Variable):
            shape, dtype = x.shape, x.dtype
        else:
            x = x if isinstance(x, np.ndarray) else np.asarray(x, None if hasattr(x, "dtype") else np.float32)
            shape, dtype = x.shape, x.dtype
        if not self.built:
            self.build(shape, dtype)
            self.built = True
        y = call(x, training)
        if self.activity_regularizer is not None:
            self._last_activity = activity_penalty(self.activity_regularizer, y)
            tape = recording()
            if tape is not None:
                tape.activity.append((self, self._last_activity))
        return y

    def build(self, shape: Sequence[int], dtype: Any) -> None:
        """Makes the variables for inputs of this shape."""

    def call(self, x: Any, training: bool) -> Array:
        raise NotImplementedError(type(self).__name__)

    def emit(self, b: Builder, x: str) -> str:
        """Adds what the layer predicts to a graph of images [batch, height, width, channels]."""
        raise NotImplementedError(f"{type(self).__name__} has no form in a dwconv.Network")

    def layers(self) -> Iterable[Layer]:
        """Itself and what it is made of."""
        return [self]

    def _add(
        self, name: str, shape: Sequence[int], dtype: Any, initializer: Any, regularizer: Any = None,
        constraint: Any = None, trainable: bool = True,
    ) -> None:  # fmt: skip
        arguments: dict[str, Any] = {
            "initializer": initializer, "regularizer": regularizer, "constraint": constraint,
            "trainable": trainable and self.trainable,
        }  # fmt: skip
        if self._get_variable is not None:
            self._variables[name] = self._get_variable(name, shape, dtype, **arguments)
            return
        value = initializers.get(arguments.pop("initializer"))(tuple(shape), np.dtype(dtype))
        self._variables[name] = Variable(value, name=f"{self.name}/{name}", **arguments)

    # ---- what it has --------------------------------------------------------------------------

    def named_variables(self) -> dict[str, Variable]:
        """By name inside the layer, as "bias" or "0/bias" in a model."""
        return dict(self._variables)

    @property
    def variables(self) -> list[Variable]:
        """All of them, each once; none before the first call."""
        return list({id(v): v for v in self.named_variables().values()}.values())

    @property
    def trainable_variables(self) -> list[Variable]:
        return [variable for variable in self.variables if variable.trainable]

    @property
    def losses(self) -> list[Any]:
        """What regularisers add to the loss, for `nn.add_n([loss, *model.losses])` under the tape."""
        weights = [penalty(v) for v in self.variables if v.regularizer is not None]
        layers = list(self.layers())
        return weights + activity_losses({layer.name for layer in layers}, layers)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {v.shape}" for name, v in self.named_variables().items())
        return f"<{type(self).__name__} {self.name!r}{': ' if shapes else ''}{shapes}>"


def activity_losses(names: set[str], layers: Iterable[Layer]) -> list[Any]:
    """Of all calls under the tape that records; without one, of the last call of each layer."""
    tape = recording()
    if tape is not None:
        own = {id(layer) for layer in layers}
        return [loss for layer, loss in tape.activity if id(layer) in own or _functional(layer, names)]
    return [layer._last_activity for layer in layers if layer._last_activity is not None]


def _functional(layer: Layer, names: set[str]) -> bool:
    return layer._get_variable is not None and layer.name in names


def feed_channels(name: str, shape: Sequence[int], channels_first: bool) -> int:
    """The channels of an image of this shape."""
    if len(shape) != 4:
        axes = "[batch, channels, height, width]" if channels_first else "[batch, height, width, channels]"
        raise ValueError(f"{name}: inputs must have 4 axes {axes}, not {tuple(shape)}")
    return geometry.integer(f"{name}: channels of inputs", shape[1 if channels_first else 3])
