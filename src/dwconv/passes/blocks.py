"""Chains around a depthwise convolution that run as one operation, the wide values staying in the cache:

[1x1 expand] -> depthwise -> [squeeze-and-excite] -> 1x1 project [-> + the block's input]

Of floats, or of 8-bit integers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..geometry import Shape
from ..graph import Graph, Node
from ..nodes import axes_of
from ..nodes_integers import BYTES
from ..operation import Kind, Operation, Stage
from ..quantized import GateQuantization, OperationQuantization, Quantization, limits
from .activations import unary_of
from .editor import Editor
from .stages import operation_of

Log = list[tuple[str, str]]  # (name of a node, text)


# Bytes between stages of 8-bit integers that are not kept: half of a small second-level cache.
RESIDENT_BYTES = 2**18


def pays(operation: Operation, shape: Shape) -> bool:
    """Whether a chain is faster as one operation than node by node, for an input of this shape.

    Not for a single pixel: nothing is kept in the cache there that was not in it before. Of 8-bit integers
    small chains run stage after stage as nodes do, and what lies between them is alive for longer: only a sum
    is spared, and what squeeze-and-excite reads again.
    """
    *inner, last = operation.shapes(shape)[1:]
    whole = operation.quantization
    if whole is not None and whole.sum is None and whole.gate is None:
        return max((math.prod(between) for between in inner), default=0) > RESIDENT_BYTES
    return last[1:3] != (1, 1)


def form_blocks(graph: Graph, log: Log | None = None) -> None:
    edit = Editor(graph)
    for node in list(graph.nodes):
        stage = _stage(edit, node) if edit.alive(node) else None
        if stage is None or stage.kind != "depthwise":
            continue
        reason = _form(edit, node, stage)
        if reason is not None and log is not None:
            log.append((node.name or node.output, f"runs alone: {reason}"))
    edit.finish()


class _Chain(NamedTuple):
    operation: Operation
    source: str
    inner: list[Node]  # all but `last`
    last: Node  # the 1x1 convolution that projects
    added: Node | None


def _form(edit: Editor, depthwise: Node, stage: Stage) -> str | None:
    """Makes the longest chain around a depthwise convolution that pays. Why not, where there is none."""
    gate: list[Node] = []
    squeeze_excite: tuple[Stage, ...] = ()
    value = depthwise.output
    project = edit.reader(value)
    if project is None:
        found = _squeeze_excite(edit, depthwise)
        if isinstance(found, str):
            return found
        gate, squeeze_excite = found
        value = gate[-1].output
        project = edit.reader(value)
    if project is None:
        return f"squeeze-and-excite: the scaled {_who_reads(edit, value)}"
    last = _stage(edit, project)
    if last is None or project.inputs[0] != value or not _is_pointwise(last):
        return f"what reads it is no 1x1 convolution with strides of 1: {_label(project)}"
    expand = edit.maker(depthwise.inputs[0])
    first = None if expand is None else _stage(edit, expand)
    heads: list[tuple[list[Node], list[Stage]]] = [([], [])]
    fits = first is not None and _is_pointwise(first)
    if expand is not None and first is not None and fits and edit.reader(expand.output) is depthwise:
        heads.insert(0, ([expand], [first]))
    for nodes, stages in heads:
        source = (nodes[0] if nodes else depthwise).inputs[0]
        if not _agree(edit, [*nodes, depthwise, project]):
            continue
        added = _residual(edit, source, project, stage)
        kind: Kind = "inverted_residual" if nodes or gate or added is not None else "separable"
        chain = (*stages, stage, last)
        whole = _quantization(edit, source, project, added, gate)
        operation = Operation("network", kind, chain, False, added is not None, squeeze_excite, whole)
        shape: Shape = edit.shape(source)  # type: ignore[assignment]
        if operation.shapes(shape)[-1] != edit.shape(project.output):
            continue
        if pays(operation, shape):
            _replace(edit, _Chain(operation, source, [*nodes, depthwise, *gate], project, added))
            return None
    return "one operation would not be faster"


def _replace(edit: Editor, chain: _Chain) -> None:
    project, added = chain.last, chain.added
    if added is not None and edit.dtype(added.output) in BYTES:  # the sum has a scale of its own
        inner = [*chain.inner, project]
        edit.rewrite(added, "block", chain.source, inner=inner, operation=chain.operation)
        return
    edit.rewrite(project, "block", chain.source, inner=chain.inner, operation=chain.operation)
    if added is None:
        return
    activation = added["activation"]
    if activation is not None:
        edit.rewrite(added, "unary", project.output, **unary_of(activation))
        return
    edit.take_name(project, [added])
    if not edit.forward(added, project.output):
        raise AssertionError("a block's result has another reader than the addition")


# ---- parts of a chain -----------------------------------------------------------------------------


def _stage(edit: Editor, node: Node) -> Stage | None:
    """A convolution of images by constant filters."""
    operation = operation_of(edit.graph, node)
    return None if operation is None else operation.stages[0]


def _is_pointwise(stage: Stage) -> bool:
    return stage.kind == "pointwise" and stage.window.strides == (1, 1)


def _residual(edit: Editor, source: str, project: Node, depthwise: Stage) -> Node | None:
    """The node that adds the block's input to its result."""
    node = edit.reader(project.output)
    if node is None or node.op != "binary" or node["kind"] != "add":
        return None
    if sorted(node.inputs) != sorted((source, project.output)) or depthwise.window.strides != (1, 1):
        return None
    if edit.dtype(source) in BYTES and not _adds_plainly(edit, node, project):
        return None
    return node if edit.shape(source) == edit.shape(project.output) else None


# ---- 8-bit integers -------------------------------------------------------------------------------


def _rounding(edit: Editor, node: Node) -> str | None:
    """None: of floats."""
    operation = operation_of(edit.graph, node)
    whole = None if operation is None else operation.quantization
    return None if whole is None else whole.rounding


def _agree(edit: Editor, nodes: list[Node]) -> bool:
    return len({_rounding(edit, node) for node in nodes}) == 1


def _adds_plainly(edit: Editor, added: Node, project: Node) -> bool:
    """As a block adds: in integers, rounded as its stages are, without a clamp."""
    return (
        _is_whole(edit, added)
        and added["formula"] == "integer"
        and added["rounding"] == _rounding(edit, project)
    )


def _is_whole(edit: Editor, node: Node) -> bool:
    """A node that clamps no more than its dtype does."""
    low, high = limits(edit.dtype(node.output))
    return node["low"] in (None, low) and node["high"] in (None, high)


def _quantization(
    edit: Editor, source: str, project: Node, added: Node | None, gate: list[Node]
) -> OperationQuantization | None:
    rounding = _rounding(edit, project)
    if rounding is None:
        return None
    total = None if added is None else _numbers(edit, added.output)
    between = None
    if gate:
        mean, product = (_numbers(edit, node.output) for node in (gate[0], gate[-1]))
        between = GateQuantization(mean, product, gate[-1]["formula"])
    x = _numbers(edit, source)
    return OperationQuantization(edit.dtype(source), x, rounding, total, gate=between)  # type: ignore[arg-type]


def _numbers(edit: Editor, value: str) -> Quantization:
    q = edit.graph.values[value].quantization
    assert q is not None
    return Quantization(float(q.scale), int(q.zero_point))


# ---- squeeze-and-excite ---------------------------------------------------------------------------


def _squeeze_excite(edit: Editor, depthwise: Node) -> tuple[list[Node], tuple[Stage, ...]] | str:
    """The nodes from the mean to the product, and the two dense layers between them."""
    value = depthwise.output
    readers = edit.readers(value)
    if edit.is_output(value):
        return f"its {_who_reads(edit, value)}"
    mean = next((node for node in readers if _is_mean(edit, node)), None)
    product = next((node for node in readers if node.op == "binary" and node["kind"] == "mul"), None)
    if len(readers) != 2 or mean is None or product is None:
        return f"its {_who_reads(edit, value)}"
    inner, last = [mean], mean
    stages: list[Stage] = []
    while len(stages) < 3:
        following = edit.reader(last.output)
        if following is product:
            break
        stage = None if following is None else _stage(edit, following)
        if following is None or stage is None or not _is_pointwise(stage):
            return "squeeze-and-excite: the factors are not made by two dense layers that nothing else reads"
        inner.append(following)
        stages.append(stage)
        last = following
    if len(stages) != 2:
        return "squeeze-and-excite: the factors are not made by two dense layers"
    if product["activation"] is not None:
        return "squeeze-and-excite: an activation follows the scaling"
    if edit.dtype(value) in BYTES and not _is_plain_gate(edit, [*inner, product]):
        return "squeeze-and-excite: clamps, or roundings that differ"
    channels = edit.shape(value)
    if edit.shape(last.output) != (channels[0], 1, 1, channels[3]):
        return "squeeze-and-excite: there is not one factor for each channel"
    return [*inner, product], tuple(stages)


def _is_plain_gate(edit: Editor, gate: list[Node]) -> bool:
    """Of bytes: rounded as its layers are, without clamps."""
    mean, *layers, product = gate
    rounding = mean["rounding"]
    alike = all(_rounding(edit, node) == rounding for node in layers)
    same = product["formula"] == "float" or product["rounding"] == rounding
    plain = _is_whole(edit, mean) and _is_whole(edit, product)
    return alike and same and plain


def _is_mean(edit: Editor, node: Node) -> bool:
    if node.op != "reduce" or node["kind"] != "mean" or not node["keepdims"]:
        return False
    shape = edit.shape(node.inputs[0])
    return len(shape) == 4 and axes_of(node, 4) == (1, 2) and math.prod(shape) > 0


def _who_reads(edit: Editor, value: str) -> str:
    if edit.is_output(value):
        return "result is an output of the network"
    return f"result has {len(edit.readers(value))} readers"


def _label(node: Node) -> str:
    return f"{node.op} {node.name!r}" if node.name else node.op
