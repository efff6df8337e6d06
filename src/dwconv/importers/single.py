"""Graphs that are one layer or block, as a layer of dwconv."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import layers
from ..graph import Graph, Node
from ..nodes import stage_of
from ..operation import Operation, Stage
from ..passes import run_passes

TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def layer_of(graph: Graph) -> Any:
    """The layer that computes what the graph does, batch normalisation folded; None if it is more than one layer.

    The transpositions of an NCHW graph are left out: the layer takes NHWC.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    small = run_passes(graph)
    nodes = _without_transpositions(small)
    if len(nodes) != 1:
        return None
    node = nodes[0]
    if node.op == "block":
        return _block(node["operation"])
    if node.op != "conv":
        return None
    filters, *rest = (small.values[name].data for name in node.inputs[1:])
    if filters is None or any(bias is None for bias in rest):
        return None
    return _single(stage_of(node, small.values[node.inputs[0]].shape, filters, rest[0] if rest else None))  # type: ignore[arg-type]


def _without_transpositions(graph: Graph) -> list[Node]:
    nodes = list(graph.nodes)
    if len(nodes) > 2 and _turns(nodes[0], TO_NHWC) and _turns(nodes[-1], TO_NCHW):
        del nodes[0], nodes[-1]
    return nodes


def _turns(node: Node, perm: tuple[int, ...]) -> bool:
    return node.op == "transpose" and tuple(node["perm"]) == perm


def _window(stage: Stage) -> dict[str, Any]:
    window = stage.window
    return {"strides": window.strides, "padding": window.padding, "dilations": window.dilations}


def _end(stage: Stage) -> dict[str, Any]:
    return {"bias": stage.bias, "activation": stage.activation.normal}


def _single(stage: Stage) -> Any:
    filters = np.ascontiguousarray(stage.filters)
    if stage.kind == "depthwise":
        return layers.DepthwiseConv2D(filters, **_window(stage), **_end(stage))
    if stage.kind == "pointwise":
        return layers.PointwiseConv2D(filters, strides=stage.window.strides, **_end(stage))
    return layers.Conv2D(filters, groups=stage.groups, **_window(stage), **_end(stage))


def _block(operation: Operation) -> Any:
    *expand, depthwise, project = operation.stages
    if operation.kind == "separable":
        return layers.SeparableConv2D(
            depthwise.filters, project.filters, depthwise_bias=depthwise.bias,
            depthwise_activation=depthwise.activation.normal, **_window(depthwise), **_end(project),
        )  # fmt: skip
    same = all(stage.activation == depthwise.activation for stage in expand)
    if operation.kind != "inverted_residual" or not same or project.activation.normal is not None:
        return None
    gate = operation.squeeze_excite
    kinds = {} if not gate else {
        "squeeze_excite": [array for stage in gate for array in (stage.filters, stage.bias)],
        "squeeze_activation": gate[0].activation.normal,
        "gate_activation": gate[1].activation.normal,
    }  # fmt: skip
    return layers.InvertedResidual(
        expand[0].filters if expand else None, depthwise.filters, project.filters,
        expand_bias=expand[0].bias if expand else None, depthwise_bias=depthwise.bias, bias=project.bias,
        activation=depthwise.activation.normal, residual=operation.residual, **_window(depthwise), **kinds,
    )  # fmt: skip
