"""ONNX files that are nearly right: generated ones with bytes, numbers, names and nodes changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from broken import NUMBERS, edited
from drawn import Draw
from onnx_cases import array, cases, listed, lookup
from onnx_models import model, node, noise

onnx = pytest.importorskip("onnx")

FLOATS = (0.0, -1.0, 1e-30, 3.5, 1e38, float("inf"), float("nan"))
WORDS = (b"", b"SAME_UPPER", b"SAME_LOWER", b"VALID", b"linear", b"cubic", b"half_pixel", b"floor", b"edge")
OPERATIONS = (
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape",
    "Conv", "ConvTranspose", "DepthToSpace", "Erf", "Expand", "Flatten", "Gather", "Gemm",
    "GlobalAveragePool", "HardSigmoid", "Identity", "If", "LayerNormalization", "Loop", "MatMul", "MaxPool",
    "Mul", "Pad", "PRelu", "ReduceMean", "Reshape", "Resize", "Shape", "Sigmoid", "Slice",
    "Softmax", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Upsample", "Where",
)  # fmt: skip
OPSETS = (0, 1, 6, 8, 9, 10, 11, 12, 13, 18, 21, 25)


def small() -> Any:
    """A bit of everything that a parser and shape arithmetic meet."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Clip", ["c", "low", "high"], ["d"]),
        node("Shape", ["d"], ["s"]),
        node("Slice", ["s", "zero", "two"], ["nc"]),
        node("Concat", ["nc", "minus"], ["flat"], axis=0),
        node("Reshape", ["d", "flat"], ["e"]),
        node("Transpose", ["e"], ["f"], perm=[0, 2, 1]),
        node("MatMul", ["f", "m"], ["g"]),
        node("Softmax", ["g"], ["y"], axis=-1),
    ]
    numbers: dict[str, Any] = {"zero": [0], "two": [2], "minus": [-1]}
    constants = {name: np.array(value) for name, value in numbers.items()}
    constants |= {"low": np.float32(0), "high": np.float32(6), "w": noise(4, 3, 3, 3), "b": noise(4)}
    return model(nodes, {"x": (1, 3, 6, 6)}, constants | {"m": noise(4, 2)}, opset=13)


def originals() -> list[bytes]:
    """ONNX's own cases that are not refused, all inputs but the first constant, and the model above."""
    _, patterns = listed()
    found = []
    for name, case in cases():
        if lookup(patterns, name) == "pass" and case.model.graph.input:
            proto = onnx.ModelProto()
            proto.CopyFrom(case.model)
            values = map(array, case.data_sets[0][0])
            for value, data in list(zip(proto.graph.input, values, strict=True))[1:]:
                if isinstance(data, np.ndarray | np.generic):
                    constant = onnx.numpy_helper.from_array(np.asarray(data), value.name)
                    proto.graph.initializer.append(constant)
            found.append(proto.SerializeToString())
    return found + [small().SerializeToString()] * (len(found) // 10)


def broken_onnx(original: bytes, draw: Draw) -> bytes:
    if draw.chance(0.25):
        return edited(original, draw)
    proto = onnx.ModelProto.FromString(original)
    for _ in range(draw.integer(1, 3)):
        draw.choice(DAMAGE)(proto, draw)
    content = bytes(proto.SerializeToString())
    return edited(content, draw) if draw.chance(0.1) else content


def _attribute(proto: Any, draw: Draw) -> None:
    """One of a node: its number, its numbers or how many, its text, or it is missing."""
    found = [(n, index) for n in proto.graph.node for index in range(len(n.attribute))]
    if not found:
        return
    owner, index = draw.choice(found)
    attribute = owner.attribute[index]
    if draw.chance(0.1):
        del owner.attribute[index]
    elif attribute.ints:
        if draw.chance(0.3):
            attribute.ints.append(draw.choice(NUMBERS))
        elif draw.chance(0.2):
            attribute.ints.pop()
        else:
            attribute.ints[draw.integer(0, len(attribute.ints) - 1)] = draw.choice(NUMBERS)
    elif attribute.HasField("s"):
        attribute.s = draw.choice(WORDS)
    elif attribute.HasField("f"):
        attribute.f = draw.choice(FLOATS)
    else:
        attribute.i = draw.choice(NUMBERS)


def _name(proto: Any, draw: Draw) -> None:
    """An input or output of a node has the name of another value, or none."""
    nodes = proto.graph.node
    names = ["", *(name for n in nodes for name in (*n.input, *n.output))]
    chosen = draw.choice(nodes) if nodes else None
    side = chosen and (chosen.output if draw.chance(0.2) else chosen.input)
    if side:
        side[draw.integer(0, len(side) - 1)] = draw.choice(names)


def _nodes(proto: Any, draw: Draw) -> None:
    """One is another operation, missing, there twice, or has moved to the end."""
    nodes = proto.graph.node
    if not nodes:
        return
    index = draw.integer(0, len(nodes) - 1)
    kind = draw.integer(0, 3)
    if kind == 0:
        nodes[index].op_type = draw.choice(OPERATIONS)
        return
    copy = onnx.NodeProto()
    copy.CopyFrom(nodes[index])
    if kind != 2:
        del nodes[index]
    if kind != 1:
        nodes.append(copy)


def _sizes(proto: Any, draw: Draw) -> None:
    """A size or the rank of an input or constant."""
    constants = [tensor.dims for tensor in proto.graph.initializer]
    inputs = [value.type.tensor_type.shape.dim for value in proto.graph.input]
    found = [sizes for sizes in (*constants, *inputs) if len(sizes)]
    if not found:
        return
    sizes = draw.choice(found)
    index = draw.integer(0, len(sizes) - 1)
    if draw.chance(0.2):
        del sizes[index]
    elif hasattr(sizes[index], "dim_value"):
        sizes[index].dim_value = draw.choice(NUMBERS)
    else:
        sizes[index] = draw.choice(NUMBERS)


def _constant(proto: Any, draw: Draw) -> None:
    """A constant of integers has others; any may have less data or another type."""
    if not proto.graph.initializer:
        return
    tensor = draw.choice(proto.graph.initializer)
    if tensor.data_type == onnx.TensorProto.INT64 and draw.chance(0.7):
        values = np.array([draw.choice(NUMBERS) for _ in range(max(1, len(tensor.raw_data) // 8))], np.int64)
        tensor.raw_data = values.tobytes()
    elif draw.chance(0.5):
        tensor.raw_data = tensor.raw_data[: draw.integer(0, len(tensor.raw_data))]
    else:
        tensor.data_type = draw.integer(0, 23)


def _opset(proto: Any, draw: Draw) -> None:
    for opset in proto.opset_import:
        opset.version = draw.choice((*OPSETS, *NUMBERS))


DAMAGE = (_attribute, _attribute, _attribute, _name, _nodes, _sizes, _sizes, _constant, _opset)
