"""Dilated convolutions as TensorFlow spells them: pixels that are apart become images, and go back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .tflite_ops import SAME
from .tflite_parse import Model, Operator


def join_dilations(model: Model) -> None:
    """SPACE_TO_BATCH_ND, a convolution, BATCH_TO_SPACE_ND: how TensorFlow spells a dilated convolution."""
    readers = Counter(index for operator in model.operators for index in set(operator.inputs))
    readers.update(model.outputs)
    makers = {index: operator for operator in model.operators for index in operator.outputs}
    gone: set[int] = set()
    for back in model.operators:
        if back.op != "BATCH_TO_SPACE_ND" or not back.inputs:
            continue
        conv = makers.get(back.inputs[0])
        apart = makers.get(conv.inputs[0]) if conv is not None and conv.inputs else None
        if conv is None or apart is None or apart.op != "SPACE_TO_BATCH_ND":
            continue
        if any(len(o.outputs) != 1 or readers[o.outputs[0]] != 1 for o in (conv, apart)):
            continue
        window = _dilated(model, apart, conv, back)
        if window is not None:
            gone |= {id(apart), id(conv)}
            back.op = conv.op
            back.inputs = (apart.inputs[0], *conv.inputs[1:])
            back.options = conv.options | window
    model.operators = [operator for operator in model.operators if id(operator) not in gone]


def _dilated(model: Model, apart: Operator, conv: Operator, back: Operator) -> dict[str, Any] | None:
    """Dilation and padding of the convolution in one; None where the three are no such thing."""
    options = conv.options
    steps = [options.get(name, 1) for name in ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor")]
    if (
        conv.op not in ("CONV_2D", "DEPTHWISE_CONV_2D")
        or steps != [1] * 4
        or options.get("Padding", SAME) == SAME
    ):
        return None
    if len(apart.inputs) != 3 or len(back.inputs) != 3 or -1 in apart.inputs + back.inputs:
        return None
    arrays = [model.tensors[index].data for index in (*apart.inputs[1:], *back.inputs[1:])]
    if any(a is None or a.dtype.kind not in "iu" for a in arrays):
        return None
    blocks, pads, again, crops = (a.tolist() for a in arrays if a is not None)
    if blocks != again or np.shape(blocks) != (2,) or np.shape(pads) != (2, 2) or np.shape(crops) != (2, 2):
        return None
    if min(blocks) < 1:
        return None
    padding = tuple((p[0] - c[0], p[1] - c[1]) for p, c in zip(pads, crops, strict=True))
    if min(map(min, padding)) < 0:
        return None
    return {"DilationHFactor": blocks[0], "DilationWFactor": blocks[1], "Padding": padding}
