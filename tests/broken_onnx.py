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
SCALES = (0.0, -0.5, 1e-45, 1e-38, 3e38, 1e9, float("inf"), float("nan"))
LENGTHS = (0, 1, 2, 3, 4, 5, (1, 1), (2, 2))
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


def quantised() -> list[Any]:
    """Conversions around operations, operations that quantise, and quantisation at run time."""
    rng = np.random.default_rng(0)
    scale, zero = np.float32(0.05), np.int8(3)
    filters = rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
    by_channel = {"ws": np.array([0.1, 0.02, 0.03, 0.04], np.float32), "wz": np.zeros(4, np.int8)}
    weights = {"w": filters, **by_channel, "b": np.arange(4, dtype=np.int32)}
    q = {"s": scale, "z": zero, "t": np.float32(0.03), "u": np.int8(-9)}
    x, numbers = {"x": (1, 3, 6, 6)}, {"three": np.float32(3), "six": np.float32(6), "low": np.float32(0)}
    conversions = [
        node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        node("DequantizeLinear", ["a", "s", "z"], ["c"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["f"], axis=0),
        node("DequantizeLinear", ["b", "s"], ["g"]),
        node("Conv", ["c", "f", "g"], ["d"], pads=[1, 1, 1, 1]),
        node("QuantizeLinear", ["d", "t", "u"], ["e"]),
        node("DequantizeLinear", ["e", "t", "u"], ["h"]),
        node("Add", ["h", "three"], ["i"]),
        node("Clip", ["i", "low", "six"], ["j"]),
        node("QuantizeLinear", ["j", "s", "z"], ["k"]),
        node("DequantizeLinear", ["k", "s", "z"], ["l"]),
        node("Mul", ["l", "h"], ["m"]),
        node("MaxPool", ["m"], ["n"], kernel_shape=[2, 2]),
        node("QuantizeLinear", ["n", "t", "u"], ["o"]),
        node("DequantizeLinear", ["o", "t", "u"], ["p"]),
        node("GlobalAveragePool", ["p"], ["r"]),
        node("QuantizeLinear", ["r", "s", "z"], ["v"]),
        node("DequantizeLinear", ["v", "s", "z"], ["y"]),
    ]
    operations = [
        node("QuantizeLinear", ["x", "s", "z"], ["a"]),
        node("QLinearConv", ["a", "s", "z", "w", "ws", "wz", "t", "u", "b"], ["c"], strides=[2, 2]),
        node("DequantizeLinear", ["c", "t", "u"], ["y"]),
    ]
    at_run_time = [
        node("DynamicQuantizeLinear", ["x"], ["a", "c", "d"]),
        node("ConvInteger", ["a", "w", "d", "z"], ["e"]),
        node("Cast", ["e"], ["y"], to=1),
    ]
    made = (
        (conversions, q | weights | numbers),
        (operations, q | weights),
        (at_run_time, {"w": filters, "z": zero}),
    )
    return [model(nodes, x, constants, opset=13) for nodes, constants in made]


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
    more = [proto.SerializeToString() for proto in (small(), *quantised())]
    return found + more * (len(found) // 20)


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


def _quantisation(proto: Any, draw: Draw) -> None:
    """A scale or zero point that is none, of another length, or of another dtype."""
    names = {name for n in proto.graph.node if "Linear" in n.op_type for name in n.input[1:]}
    found = [tensor for tensor in proto.graph.initializer if tensor.name in names and len(tensor.dims) < 2]
    if not found:
        return
    tensor = draw.choice(found)
    try:
        data = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError):  # damaged before
        return
    if draw.chance(0.3):
        data = np.resize(data, draw.choice(LENGTHS))
    elif data.dtype.kind == "f":
        data = np.full_like(data, draw.choice(SCALES)) if draw.chance(0.7) else data.astype(np.float64)
    else:
        number = draw.choice((-128, 127, 0, 255, 1))
        data = np.full(data.shape, number, np.int16).astype(
            draw.choice((np.int8, np.uint8, np.int32, np.float32))
        )
    tensor.CopyFrom(onnx.numpy_helper.from_array(data, tensor.name))


def _opset(proto: Any, draw: Draw) -> None:
    for opset in proto.opset_import:
        opset.version = draw.choice((*OPSETS, *NUMBERS))


DAMAGE = (
    _attribute,
    _attribute,
    _attribute,
    _name,
    _nodes,
    _sizes,
    _sizes,
    _constant,
    _quantisation,
    _quantisation,
    _opset,
)
