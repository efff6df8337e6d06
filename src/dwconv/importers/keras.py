"""Keras 3 models, layers and blocks. Needs `keras` and one of its backends (extra: dwconv[keras]).

Weights are copied. What computes in training alone, such as dropout, is left out. Images are channels_last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ..graph import Graph, UnsupportedModel
from ..sources import GraphSource, TensorInfo
from . import keras_layers, keras_masks, keras_ops, keras_recurrent, keras_shapes  # noqa: F401 - they register what they handle
from .keras_graph import Missing, Net, T, UnsupportedError, _flat, _is_symbolic
from .single import layer_of

OPEN = 64  # the size that stands for one that calls decide, while the graph is made


Infos = tuple[list[TensorInfo], list[TensorInfo]]


def read(
    model: Any, input_shape: Sequence[int | None] | None = None
) -> tuple[Graph, list[TensorInfo], list[TensorInfo]]:
    """The graph of a model, its inputs and its outputs, called as its layers; None: calls decide the size.

    `model`: a functional or sequential model, a layer, or a list of layers that follow each other.
    `input_shape`: with the batch, for what has not been built and for subclassed models.

    Raises UnsupportedModel, which lists all layers and operations that dwconv does not have; ValueError for
    what has not been built; TypeError for what is no model.
    """
    if keras.__version__.startswith("2."):
        raise ImportError(f"from_keras needs Keras 3, not {keras.__version__}: pip install 'keras>=3'")
    layers = list(model) if isinstance(model, list | tuple) else [model]
    if not layers or not all(isinstance(layer, keras.layers.Layer) for layer in layers):
        kind = type(model).__name__
        raise TypeError(f"from_keras: model must be a Keras model, a layer or a list of layers, not {kind}")
    where = f"from_keras: {getattr(layers[0], 'name', 'model')}"
    net = Net()
    single = len(layers) == 1 and isinstance(layers[0], keras.Model) and _is_symbolic(layers[0])
    try:
        edges = _model(net, layers[0]) if single else _chain(net, layers, where, input_shape)
    except UnsupportedError as error:
        raise UnsupportedModel(where, [*net.problems, str(error)]) from None
    if net.problems:
        raise UnsupportedModel(where, net.problems)
    return net.b.graph, *edges


def from_keras(model: Any, *, input_shape: Sequence[int | None] | None = None) -> Any:
    """A dwconv layer of one Keras layer or block, or a `Network` of what is more than that.

    A convolution with its batch normalisation and activation becomes `Conv2D`, `DepthwiseConv2D` or
    `PointwiseConv2D`; a depthwise and a pointwise one `SeparableConv2D`; with an expansion
    `InvertedResidual`.

    `model`: a layer, a list of layers that follow each other, or a model, as for `Network.from_keras`.
    `input_shape`: [batch, height, width, channels], None for sizes that calls decide; needed for layers that
    have not been built.

    Raises UnsupportedModel, ValueError and TypeError as `Network.from_keras` does.
    """
    found = read(model, input_shape)
    layer = layer_of(found[0])
    if layer is not None:
        return layer
    from ..network import Network

    return Network(GraphSource(*found), name=str(getattr(model, "name", "network")))


def _model(net: Net, model: Any) -> Infos:
    inputs, known = [], {}
    for tensor in model.inputs:
        info = _input(net, tensor._keras_history.operation.name, tensor.shape, tensor.dtype)
        inputs.append(info)
        known[id(tensor)] = T(info.name)
    names = [tensor._keras_history.operation.name for tensor in model.outputs]
    net.outputs.update(names)
    found = net.walk(model.outputs, known)
    net.problems += [
        f"output {name!r} of truth values; a cast to float32 is supported"
        for name, tensor in zip(names, model.outputs, strict=True)
        if str(tensor.dtype) == "bool"
    ]
    if net.problems:
        return inputs, []
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    return inputs, _outputs(net, names, found, shapes)


def _chain(net: Net, layers: Sequence[Any], where: str, input_shape: Sequence[int | None] | None) -> Infos:
    """Layers, or a model without symbolic tensors, applied to an input of their own."""
    shape = input_shape
    if shape is None and layers[0].built:
        shape = (layers[0].get_build_config() or {}).get("input_shape")
    flat = isinstance(shape, Sequence) and all(n is None or isinstance(n, int) for n in shape)
    if shape is None or not flat:
        raise ValueError(
            f"{where}: its input shape is unknown: build it first, or pass "
            "input_shape=(None, height, width, channels)"
        )
    info = _input(net, "input", shape, "float32")
    x: Any = T(info.name)
    size: Any = tuple(shape)
    for layer in layers:
        if not layer.built:
            layer.build(size)
        net.label = layer.name
        try:
            x = net.apply(layer, [x], {})
        except UnsupportedError as error:
            net.problems.append(f"{type(layer).__name__} {layer.name!r}: {error}")
            return [info], []
        size = (size[0], *net.shape(x)[1:]) if isinstance(x, T) else None
    results = _flat(x)
    names = ["output"] if len(results) == 1 else [f"output_{i}" for i in range(len(results))]
    return [info], _outputs(net, names, results, [(shape[0], *net.shape(y)[1:]) for y in results])


def _input(net: Net, name: str, shape: Sequence[int | None], dtype: str) -> TensorInfo:
    if str(dtype) != "float32":
        raise UnsupportedError(f"input {name!r} of {dtype}; float32 is supported")
    sizes = tuple(None if n is None else int(n) for n in shape)
    chosen = [1 if axis == 0 else OPEN for axis in range(len(sizes))]
    made = net.b.input(name, [b if a is None else a for a, b in zip(sizes, chosen, strict=True)])
    return TensorInfo(made, sizes, np.dtype(np.float32))


def _outputs(
    net: Net, names: Sequence[str], values: Sequence[Any], shapes: Sequence[Any]
) -> list[TensorInfo]:
    """Named as the layers that give them; None where the model leaves a size open."""
    given = [net.b.graph.values[x.value] for x in values if not isinstance(x, Missing)]
    infos = []
    for name, value, shape in zip(names, given, shapes, strict=True):
        free, count = name, 0
        while free in net.b.graph.outputs or free in net.b.graph.inputs:
            count += 1
            free = f"{name}_{count}"
        net.b.output(free, value.name)
        sizes = tuple(None if a is None else b for a, b in zip(shape, value.shape, strict=True))
        infos.append(TensorInfo(free, sizes, value.dtype))
    return infos
