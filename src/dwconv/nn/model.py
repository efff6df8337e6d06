"""Layers one after another, what trained becomes, and files of weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..activation import Array, parse
from ..graph import Builder
from ..network import Network
from ..normalization import CLAMPS
from . import elements
from .layer import Layer
from .others import Activation, BatchNorm, ReLU
from .variables import Variable


class Sequential(Layer):
    """Layers one after another; it is a layer itself. Semantics: `keras.Sequential`.

    >>> import numpy as np
    >>> from dwconv import nn
    >>> model = nn.Sequential([nn.SeparableConv2D(8, 3, padding="same"), nn.BatchNorm(), nn.ReLU(6)])
    >>> model(np.ones((1, 8, 8, 3), np.float32), training=True).shape
    (1, 8, 8, 8)
    >>> model.to_network()(np.ones((1, 8, 8, 3), np.float32)).shape
    (1, 8, 8, 8)
    """

    def __init__(self, layers: Iterable[Layer] = (), name: str | None = None) -> None:
        super().__init__(name)
        self._layers: list[Layer] = []
        self._shape: tuple[int, ...] | None = None
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: layers must be of dwconv.nn, not {type(layer).__name__}")
        self._layers.append(layer)

    def layers(self) -> list[Layer]:
        return [self, *(inner for layer in self._layers for inner in layer.layers())]

    def build(self, shape: Sequence[int], dtype: Any) -> None:
        self._shape = tuple(shape)

    def call(self, x: Any, training: bool) -> Array:
        done: Layer | None = None
        for layer, following in zip(self._layers, [*self._layers[1:], None], strict=True):
            if layer is done:
                done = None
            elif type(layer) is BatchNorm and isinstance(following, Activation) and _is_clamp(following):
                done = following
                x = layer._run(x, training, partial(layer.call, activation=following.activation))
            else:
                x = layer(x, training)
        return np.asarray(x)

    def emit(self, b: Builder, x: str) -> str:
        for layer in self._layers:
            x = layer.emit(b, x)
        return x

    def named_variables(self) -> dict[str, Variable]:
        return {
            f"{number}/{name}": variable
            for number, layer in enumerate(self._layers)
            for name, variable in layer.named_variables().items()
        }

    # ---- prediction and files -----------------------------------------------------------------

    def to_network(self, input_shape: Sequence[int] | None = None) -> Network:
        """A `dwconv.Network` that predicts as the model does now, fused and packed; NHWC.

        `input_shape`: of the inputs, batch included; None: of the first call. Other batches are bound as
        usual. Raises ValueError before the first call, NotImplementedError for layers without such a form.
        """
        if self._shape is None:
            raise ValueError(f"{self.name}: there are no variables before the first call")
        shape = tuple(self._shape if input_shape is None else input_shape)
        b = Builder()
        b.output("output", self.emit(b, b.input("input", shape)))
        return Network(b, input_shapes={"input": (None, *shape[1:])}, name=self.name).bind(shape)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Writes the variables, by their place in the model. `path`: ends in .npz."""
        if Path(path).suffix.lower() != ".npz":
            raise ValueError(f"{self.name}: the file of weights must end in .npz, not {path}")
        arrays: Any = {name: variable.value for name, variable in self.named_variables().items()}
        np.savez(path, **arrays)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Of such a file. The model must have had its first call; raises ValueError for another one's."""
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        variables = self.named_variables()
        if found.keys() != variables.keys():
            missing, unknown = (
                sorted(variables.keys() - found.keys()),
                sorted(found.keys() - variables.keys()),
            )
            raise ValueError(f"{self.name}: {path} lacks {missing} and has {unknown} beside the model's")
        for name, variable in variables.items():
            if found[name].shape != variable.shape:
                raise ValueError(
                    f"{self.name}: {name} has the shape {variable.shape}, but {found[name].shape} in {path}"
                )
        for name, variable in variables.items():
            variable.assign(found[name])


def _is_clamp(layer: Activation) -> bool:
    """Whether a batch normalization computes it in its own pass."""
    if type(layer) not in (Activation, ReLU) or layer.activity_regularizer is not None:
        return False
    return parse(layer.name, "activation", layer.activation).kind in CLAMPS


class Residual(Sequential):
    """x + what the layers make of x, which has the shape of x."""

    def call(self, x: Any, training: bool) -> Array:
        return elements.add(super().call(x, training), x)

    def emit(self, b: Builder, x: str) -> str:
        return b.node("binary", super().emit(b, x), x, kind="add")
