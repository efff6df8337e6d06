"""ONNX files as sources of graphs. Needs the package onnx."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .onnx_model import Info, OnnxModel
from .onnx_parse import parse
from .onnx_source import OnnxSource


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
    model = parse(source)
    if not name and isinstance(source, str | os.PathLike):
        name = Path(source).stem
    model = _with_shapes(model, input_shapes or {}, name)
    found = OnnxSource(model, name or "network")
    found.check()
    if all(info.shape is not None and None not in info.shape for info in model.inputs):
        graph = found.lower()
        sizes = {name: graph.values[name].shape for name in graph.outputs}
        model.outputs = [info._replace(shape=sizes[info.name]) for info in model.outputs]
    return found


from_onnx = read


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
