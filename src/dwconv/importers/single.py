"""A graph that is one layer or block of `dwconv.layers`, as that layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Graph, Node
from ..layer_base import _Layer
from ..layers import Conv2D, DepthwiseConv2D, InvertedResidual, PointwiseConv2D, SeparableConv2D
from ..nodes import stage_of
from ..operation import Operation, Stage
from ..passes import run_passes


def layer_of(graph: Graph) -> _Layer | None:
    """The layer that computes an image from an image as the graph does, NHWC, batch norm folded.

    None where the graph is more than one of `dwconv.layers`.
    """
    short = run_passes(graph)
    if len(short.inputs) != 1 or len(short.outputs) != 1:
        return None
    inner = [node for node in short.nodes if not _moves_axes(short, node)]
    if len(inner) != 1:
        return None
    (node,) = inner
    if node.op == "block":
        return _block(node["operation"])
    if node.op != "conv" or any(short.values[name].data is None for name in node.inputs[1:]):
        return None
    arrays = [np.ascontiguousarray(short.values[name].data) for name in node.inputs[1:]]
    bias = arrays[1] if len(arrays) > 1 else None
    return _single(stage_of(node, short.values[node.inputs[0]].shape, arrays[0], bias))


def _moves_axes(graph: Graph, node: Node) -> bool:
    """A transposition between the caller's layout and NHWC, which is a reshape for one channel or pixel."""
    x, y = graph.values[node.inputs[0]].shape, graph.values[node.output].shape
    if len(x) != 4 or len(y) != 4 or node.op not in ("transpose", "reshape"):
        return False
    return [x[axis] for axis in (0, 2, 3, 1)] == list(y) or [y[axis] for axis in (0, 2, 3, 1)] == list(x)


def _window(stage: Stage) -> dict[str, Any]:
    window = stage.window
    return {"strides": window.strides, "padding": window.padding, "dilations": window.dilations}


def _single(stage: Stage) -> _Layer:
    more: dict[str, Any] = {"bias": stage.bias, "activation": stage.activation.normal}
    if stage.kind == "pointwise":
        return PointwiseConv2D(stage.filters, strides=stage.window.strides, **more)
    if stage.kind == "depthwise":
        return DepthwiseConv2D(stage.filters, **_window(stage), **more)
    return Conv2D(stage.filters, groups=stage.groups, **_window(stage), **more)


def _block(operation: Operation) -> _Layer | None:
    *expand, depthwise, project = operation.stages
    if operation.kind == "separable":
        return SeparableConv2D(
            depthwise.filters, project.filters, **_window(depthwise), depthwise_bias=depthwise.bias,
            depthwise_activation=depthwise.activation.normal, bias=project.bias,
            activation=project.activation.normal,
        )  # fmt: skip
    alike = {stage.activation for stage in (*expand, depthwise)}
    if len(alike) > 1 or project.activation.normal is not None:
        return None
    gate = operation.squeeze_excite
    acts: dict[str, Any] = {}
    if gate:
        acts = {"squeeze_activation": gate[0].activation.normal, "gate_activation": gate[1].activation.normal}
    return InvertedResidual(
        expand[0].filters if expand else None, depthwise.filters, project.filters, **_window(depthwise),
        expand_bias=expand[0].bias if expand else None, depthwise_bias=depthwise.bias, bias=project.bias,
        activation=depthwise.activation.normal, residual=bool(operation.residual),
        squeeze_excite=[array for stage in gate for array in (stage.filters, stage.bias)] or None, **acts,
    )  # fmt: skip
