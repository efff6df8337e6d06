"""Operators that stand for a subgraph of their own, replaced by what that holds.

Converters write what they know by name, such as GELU or a group normalisation, as STABLEHLO_COMPOSITE
with the operators that it is made of; CALL runs a subgraph as it is.
"""

from __future__ import annotations

from dataclasses import replace

from .tflite_parse import Model, Operator

INDEX = {"STABLEHLO_COMPOSITE": "DecompositionSubgraphIndex", "CALL": "Subgraph"}
MOST_OPERATORS = 1 << 16  # after all are replaced
DEEPEST = 8


def inline(model: Model) -> None:
    """Raises ValueError for subgraphs that do not exist, do not fit, or contain each other."""
    for _ in range(DEEPEST):
        if not any(operator.op in INDEX for operator in model.operators):
            return
        operators: list[Operator] = []
        for operator in model.operators:
            operators += _inside(model, operator) if operator.op in INDEX else [operator]
            if len(operators) > MOST_OPERATORS:
                raise ValueError(f"{operator.op} makes more than {MOST_OPERATORS} operators")
        model.operators = operators
    raise ValueError(f"subgraphs contain each other, or {DEEPEST} levels of them")


def _inside(model: Model, operator: Operator) -> list[Operator]:
    index = operator.options.get(INDEX[operator.op], 0)
    if not 1 <= index <= len(model.others):
        raise ValueError(f"{operator.op} runs subgraph {index} of {len(model.others) + 1}")
    inner = model.others[index - 1]
    if len(inner.inputs) != len(operator.inputs) or len(inner.outputs) != len(operator.outputs):
        raise ValueError(f"{operator.op} and subgraph {index} differ in their numbers of tensors")
    at = dict(zip(inner.inputs, operator.inputs, strict=True))
    gives: list[Operator] = []
    for given, wanted in zip(inner.outputs, operator.outputs, strict=True):
        if given in at:  # an input, or an output that is given twice
            shape = Operator("RESHAPE", (at[given],), (wanted,), {"NewShape": inner.tensors[given].shape})
            gives.append(shape)
        else:
            at[given] = wanted
    for number, tensor in enumerate(inner.tensors):
        if number not in at:
            at[number] = len(model.tensors)
            model.tensors.append(tensor)
        elif number in inner.outputs and tensor.data is not None:
            model.tensors[at[number]] = replace(tensor, name=model.tensors[at[number]].name)
    at[-1] = -1
    inside = [
        Operator(o.op, tuple(at[i] for i in o.inputs), tuple(at[i] for i in o.outputs), dict(o.options))
        for o in inner.operators
    ]
    return inside + gives
