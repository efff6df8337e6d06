"""ONNX files as sources of graphs. Needs the package onnx."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .onnx_model import Info, OnnxModel
from .onnx_parse import parse
from .onnx_source import OnnxSource

LIKELY = 224


def read(
    source: str | os.PathLike[str] | bytes | Any,
    *,
    input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    name: str = "",
) -> OnnxSource:
    """The model of a file, by path or as bytes, or of a `ModelProto`, opset 6 to 28.

    input_shapes: by input, other shapes than those of the file; None for a size that calls decide.
    Raises FileNotFoundError; ValueError for what is no model or a damaged one; `UnsupportedModel`, which
    lists all nodes that dwconv has no operation for.

    >>> source = read("classifier.onnx")  # doctest: +SKIP
    >>> graph = source.lower({"image": (1, 3, 224, 224)})  # doctest: +SKIP
    """
    if not name:
        name = Path(source).stem if isinstance(source, str | os.PathLike) else "network"
    return checked(_with_shapes(parse(source), input_shapes or {}, name), name)


from_onnx = read


def checked(model: OnnxModel, name: str) -> OnnxSource:
    """The source, whose outputs have shapes. Raises the errors of `read`."""
    found = OnnxSource(model, name)
    found.check()
    fixed = all(info.shape is not None and None not in info.shape for info in model.inputs)
    if fixed or any(info.shape is None for info in model.outputs):
        _tell_outputs(found, fixed)
    return found


def _tell_outputs(source: OnnxSource, fixed: bool) -> None:
    """Shapes of outputs: those that the graph has; with open inputs the number of axes of those not told."""
    inputs = {info.name: info.shape or () for info in source.model.inputs}
    graph = source.lower({name: [_guess(i, size) for i, size in enumerate(s)] for name, s in inputs.items()})
    outputs = []
    for info in source.model.outputs:
        shape: tuple[int | None, ...] = graph.values[info.name].shape
        if not fixed:
            shape = (None,) * len(shape) if info.shape is None else info.shape
        outputs.append(info._replace(shape=shape))
    source.model.outputs = outputs


def _guess(axis: int, size: int | None) -> int:
    """What an open size may be: 1 image, of a size that many networks take."""
    return size if size is not None else 1 if axis == 0 else LIKELY


def _with_shapes(model: OnnxModel, given: Mapping[str, Sequence[int | None]], name: str) -> OnnxModel:
    names = {info.name for info in model.inputs}
    if not names.issuperset(given):
        raise ValueError(
            f"{name}: input_shapes: there is no input {sorted(given.keys() - names)}, but {sorted(names)}"
        )
    inputs = []
    for info in model.inputs:
        if info.name in given:
            sizes = tuple(None if size is None else int(size) for size in given[info.name])
            info = Info(info.name, sizes, info.dtype)
        inputs.append(info)
    outputs = model.outputs
    if given:
        outputs = [i._replace(shape=None if i.shape is None else (None,) * len(i.shape)) for i in outputs]
    return OnnxModel(model.opsets, inputs, outputs, model.constants, model.nodes)
