"""Small TFLite models, one for every operator and option that is supported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tflite_models import Writer  # skips without the packages tflite and flatbuffers

VALID, SAME = 1, 0
RELU, RELU_N1, RELU6 = 1, 2, 3
rng = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


Make = Callable[[Writer], Any]
X = (2, 9, 8, 6)


def x(m: Writer, *shape: int) -> int:
    return m.input("x", shape or X)


def conv(m: Writer, kernel: tuple[int, ...] = (4, 3, 3, 6), **options: Any) -> int:
    options = {"Padding": SAME, "StrideH": 1, "StrideW": 1} | options
    inputs = [x(m), m.constant(numbers(*kernel)), m.constant(numbers(kernel[0]))]
    return m.op("CONV_2D", inputs, "Conv2DOptions", **options)


def depthwise(m: Writer, multiplier: int = 1, **options: Any) -> int:
    options = {"Padding": SAME, "StrideH": 1, "StrideW": 1, "DepthMultiplier": multiplier} | options
    filters, bias = m.constant(numbers(1, 3, 3, 6 * multiplier)), m.constant(numbers(6 * multiplier))
    return m.op("DEPTHWISE_CONV_2D", [x(m), filters, bias], "DepthwiseConv2DOptions", **options)


def transposed(
    m: Writer, out: tuple[int, ...], kernel: int, padding: int, stride: int, **options: Any
) -> int:
    filters = m.constant(numbers(out[3], kernel, kernel, 6))
    inputs = [m.constant(np.array(out, np.int32)), filters, x(m), m.constant(numbers(out[3]))]
    window = {"Padding": padding, "StrideH": stride, "StrideW": stride}
    return m.op("TRANSPOSE_CONV", inputs, "TransposeConvOptions", **window, **options)


def dense(m: Writer, *shape: int, inputs: int, bias: bool = True, **options: Any) -> int:
    weights, biases = m.constant(numbers(5, inputs)), m.constant(numbers(5)) if bias else -1
    return m.op("FULLY_CONNECTED", [x(m, *shape), weights, biases], "FullyConnectedOptions", **options)


def pool(m: Writer, op: str, kernel: tuple[int, int], stride: int, padding: int, **options: Any) -> int:
    window = {"FilterHeight": kernel[0], "FilterWidth": kernel[1], "StrideH": stride, "StrideW": stride}
    return m.op(op, [x(m)], "Pool2DOptions", Padding=padding, **window, **options)


def arithmetic(m: Writer, op: str, options: str, other: Any, **fields: Any) -> int:
    second = m.input("other", other) if isinstance(other, tuple) else m.constant(other)
    return m.op(op, [x(m), second], options, **fields)


def plain(m: Writer, op: str, *more: Any, options: str = "", shape: Any = X, **fields: Any) -> Any:
    return m.op(op, [x(m, *shape), *(m.constant(item) for item in more)], options, **fields)


def i32(*items: Any) -> np.ndarray:
    return np.array(items[0] if len(items) == 1 else items, np.int32)


def dilated(m: Writer, between: bool = False, channels: bool = False, crop: int = 1) -> int:
    """(9, 8) with pads is (12, 12): blocks of 2."""
    apart = m.op("SPACE_TO_BATCH_ND", [x(m), m.constant(i32(2, 2)), m.constant(i32([[2, 1], [2, 2]]))])
    apart = m.op("ABS", [apart]) if between else apart
    window = {"Padding": VALID, "StrideH": 1, "StrideW": 1, "FusedActivationFunction": RELU6}
    if channels:
        inputs = [apart, m.constant(numbers(1, 3, 3, 6)), m.constant(numbers(6))]
        y = m.op("DEPTHWISE_CONV_2D", inputs, "DepthwiseConv2DOptions", DepthMultiplier=1, **window)
    else:
        inputs = [apart, m.constant(numbers(5, 3, 3, 6)), m.constant(numbers(5))]
        y = m.op("CONV_2D", inputs, "Conv2DOptions", **window)
    return m.op("BATCH_TO_SPACE_ND", [y, m.constant(i32(2, 2)), m.constant(i32([[0, crop], [crop, 0]]))])


def half_weights(m: Writer) -> int:
    filters = m.op("DEQUANTIZE", [m.constant(numbers(4, 3, 3, 6).astype(np.float16))])
    bias = m.op("DEQUANTIZE", [m.constant(numbers(4).astype(np.float16))])
    return m.op("CONV_2D", [x(m), filters, bias], "Conv2DOptions", Padding=SAME, StrideH=2, StrideW=2)


def int8_weights(m: Writer) -> int:
    filters = rng.integers(-127, 128, (4, 3, 3, 6)).astype(np.int8)
    scales = np.array([0.5, 0.25, 2.0, 1.0], np.float32)
    stored = m.constant(filters, scale=scales, zero=np.zeros(4), axis=0)
    inputs = [x(m), m.op("DEQUANTIZE", [stored]), m.constant(numbers(4))]
    return m.op("CONV_2D", inputs, "Conv2DOptions", Padding=SAME, StrideH=1, StrideW=1)


def sparse_weights(m: Writer) -> int:
    """4 x 6 in blocks of 1 x 2, rows dense, columns of blocks compressed: 4 blocks."""
    levels = [4, ([0, 1, 1, 3, 4], [2, 0, 1, 2]), 2]
    stored = m.constant(numbers(8), shape=(4, 6), sparsity=([0, 1, 2], [1], levels))
    weights = m.op("DENSIFY", [stored])
    return m.op("FULLY_CONNECTED", [x(m), weights, -1], "FullyConnectedOptions", KeepNumDims=True)


def computed_shape(m: Writer) -> int:
    """A flatten as Keras writes it: the batch from the shape of x, the rest -1."""
    shape = m.op("SHAPE", [x(m)], "ShapeOptions", OutType=2, kind="INT32")
    ends = [m.constant(i32([n])) for n in (0, 1, 1)]
    batch = m.op("STRIDED_SLICE", [shape, *ends], "StridedSliceOptions", ShrinkAxisMask=1, kind="INT32")
    target = m.op("PACK", [batch, m.constant(i32(-1))], "PackOptions", ValuesCount=2, Axis=0, kind="INT32")
    return m.op("RESHAPE", [0, target], "ReshapeOptions")


def alone(op: str) -> Make:
    return lambda m: plain(m, op)


ALONE = [
    "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "HARD_SWISH", "ELU", "ABS", "NEG",
    "EXP", "SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND", "SIGN", "LOG_SOFTMAX",
]  # fmt: skip
CASES: dict[str, Make] = {
    "conv": conv,
    "conv, valid, strides": lambda m: conv(
        m, Padding=VALID, StrideH=2, StrideW=3, FusedActivationFunction=RELU
    ),
    "conv, same, strides": lambda m: conv(m, StrideH=2, StrideW=2, FusedActivationFunction=RELU6),
    "conv, dilation": lambda m: conv(
        m, DilationHFactor=3, DilationWFactor=2, FusedActivationFunction=RELU_N1
    ),
    "conv, groups": lambda m: conv(m, (4, 3, 3, 3)),
    "conv, fp16": half_weights,
    "conv, int8 weights": int8_weights,
    "depthwise": depthwise,
    "depthwise, multiplier": lambda m: depthwise(m, 3, StrideH=2, StrideW=2, FusedActivationFunction=RELU6),
    "depthwise, dilation": lambda m: depthwise(m, DilationHFactor=2, DilationWFactor=2, Padding=VALID),
    "dilated conv": dilated,
    "dilated conv, cropped": lambda m: dilated(m, crop=2),
    "dilated depthwise": lambda m: dilated(m, channels=True),
    "blocks with something between": lambda m: dilated(m, between=True),
    "transposed, same": lambda m: transposed(m, (2, 18, 16, 4), 3, SAME, 2),
    "transposed, same, odd": lambda m: transposed(m, (2, 17, 15, 4), 4, SAME, 2),
    "transposed, 2x2": lambda m: transposed(m, (2, 18, 16, 4), 2, SAME, 2),
    "transposed, valid": lambda m: transposed(m, (2, 19, 17, 4), 3, VALID, 2),
    "transposed, gaps": lambda m: transposed(m, (2, 27, 24, 4), 2, SAME, 3),
    "dense": lambda m: dense(m, 3, 7, inputs=7, FusedActivationFunction=RELU),
    "dense, flattened": lambda m: dense(m, 2, 4, 3, 6, inputs=72),
    "dense, kept": lambda m: dense(m, 2, 4, 3, 6, inputs=6, bias=False, KeepNumDims=True),
    "dense, sparse": sparse_weights,
    "batch matmul": lambda m: m.op(
        "BATCH_MATMUL",
        [m.input("x", (2, 3, 4)), m.input("other", (2, 5, 4))],
        "BatchMatMulOptions",
        AdjY=True,
    ),
    "average pool, same": lambda m: pool(m, "AVERAGE_POOL_2D", (3, 2), 2, SAME),
    "average pool, valid": lambda m: pool(
        m, "AVERAGE_POOL_2D", (3, 3), 1, VALID, FusedActivationFunction=RELU6
    ),
    "max pool, same": lambda m: pool(m, "MAX_POOL_2D", (3, 3), 2, SAME, FusedActivationFunction=RELU),
    "max pool, valid": lambda m: pool(m, "MAX_POOL_2D", (2, 2), 2, VALID),
    "l2 pool": lambda m: pool(m, "L2_POOL_2D", (2, 2), 2, SAME),
    "add": lambda m: arithmetic(m, "ADD", "AddOptions", X, FusedActivationFunction=RELU6),
    "add, broadcast": lambda m: arithmetic(
        m, "ADD", "AddOptions", (1, 1, 1, 6), FusedActivationFunction=RELU_N1
    ),
    "sub": lambda m: arithmetic(m, "SUB", "SubOptions", numbers(6)),
    "mul": lambda m: arithmetic(m, "MUL", "MulOptions", numbers(2, 1, 1, 6), FusedActivationFunction=RELU),
    "div": lambda m: arithmetic(m, "DIV", "DivOptions", np.float32(3)),
    "maximum": lambda m: arithmetic(m, "MAXIMUM", "MaximumMinimumOptions", X),
    "minimum": lambda m: arithmetic(m, "MINIMUM", "MaximumMinimumOptions", np.float32(0.1)),
    "pow": lambda m: arithmetic(m, "POW", "PowOptions", np.float32(2)),
    "squared difference": lambda m: arithmetic(m, "SQUARED_DIFFERENCE", "", X),
    "add n": lambda m: m.op("ADD_N", [x(m), m.input("b", X), m.input("c", X)], "AddNOptions"),
    **{op.lower(): alone(op) for op in ALONE},
    "sqrt": lambda m: m.op("SQRT", [plain(m, "ABS")]),
    "rsqrt": lambda m: m.op("RSQRT", [plain(m, "ABS")]),
    "log": lambda m: m.op("LOG", [plain(m, "ABS")]),
    "gelu": lambda m: plain(m, "GELU", options="GeluOptions"),
    "gelu, tanh": lambda m: plain(m, "GELU", options="GeluOptions", Approximate=True),
    "leaky relu": lambda m: plain(m, "LEAKY_RELU", options="LeakyReluOptions", Alpha=0.3),
    "prelu": lambda m: plain(m, "PRELU", numbers(1, 1, 6)),
    "softmax": lambda m: plain(m, "SOFTMAX", options="SoftmaxOptions", Beta=1.0),
    "softmax, beta": lambda m: plain(m, "SOFTMAX", options="SoftmaxOptions", Beta=0.5),
    "l2 normalization": lambda m: plain(m, "L2_NORMALIZATION", options="L2NormOptions"),
    "pad": lambda m: plain(m, "PAD", i32([[0, 0], [1, 2], [0, 3], [0, 2]])),
    "padv2": lambda m: plain(m, "PADV2", i32([[0, 0], [1, 2], [0, 3], [0, 0]]), np.float32(-2.5)),
    "reflect": lambda m: plain(
        m, "MIRROR_PAD", i32([[0, 0], [1, 3], [2, 0], [0, 0]]), options="MirrorPadOptions"
    ),
    "symmetric": lambda m: plain(
        m, "MIRROR_PAD", i32([[0, 0], [3, 1], [0, 8], [0, 0]]), options="MirrorPadOptions", Mode=1
    ),
    "concatenation": lambda m: m.op(
        "CONCATENATION",
        [x(m), m.input("b", (2, 9, 8, 3)), m.constant(numbers(2, 9, 8, 1))],
        "ConcatenationOptions",
        Axis=-1,
    ),
    "mean": lambda m: plain(m, "MEAN", i32(1, 2), options="ReducerOptions"),
    "mean, kept": lambda m: plain(m, "MEAN", i32(1, 2), options="ReducerOptions", KeepDims=True),
    "sum": lambda m: plain(m, "SUM", i32([-1]), options="ReducerOptions"),
    "reduce max": lambda m: plain(m, "REDUCE_MAX", i32(2), options="ReducerOptions", KeepDims=True),
    "reduce min": lambda m: plain(m, "REDUCE_MIN", i32(0, 3), options="ReducerOptions"),
    "reshape": lambda m: plain(m, "RESHAPE", i32(2, -1, 12), options="ReshapeOptions"),
    "reshape, old": lambda m: plain(m, "RESHAPE", options="ReshapeOptions", NewShape=[2, -1]),
    "flatten": computed_shape,
    "squeeze": lambda m: plain(m, "SQUEEZE", shape=(1, 4, 1, 3), options="SqueezeOptions", SqueezeDims=[-2]),
    "squeeze, all": lambda m: plain(
        m, "SQUEEZE", shape=(1, 4, 1, 3), options="SqueezeOptions", SqueezeDims=[]
    ),
    "expand dims": lambda m: plain(m, "EXPAND_DIMS", i32(-2), shape=(2, 3)),
    "transpose": lambda m: plain(m, "TRANSPOSE", i32(0, 3, 1, 2)),
    "slice": lambda m: plain(m, "SLICE", i32(0, 1, 2, 0), i32(2, 3, -1, 4)),
    "strided slice": lambda m: plain(
        m,
        "STRIDED_SLICE",
        i32(0, 1, -3, 0),
        i32(2, 9, 8, 6),
        i32(1, 2, 1, 1),
        options="StridedSliceOptions",
        BeginMask=1,
        EndMask=4,
    ),
    "strided slice, index": lambda m: plain(
        m,
        "STRIDED_SLICE",
        i32(0, -2, 0, 0),
        i32(0, 0, 8, 6),
        i32(1, 1, 1, 2),
        options="StridedSliceOptions",
        BeginMask=1,
        EndMask=1,
        ShrinkAxisMask=2,
    ),
    "strided slice, backwards": lambda m: plain(
        m,
        "STRIDED_SLICE",
        i32(0, 7, -1, 0),
        i32(2, 2, -9, 6),
        i32(1, -2, -1, 1),
        options="StridedSliceOptions",
    ),
    "strided slice, ellipsis": lambda m: plain(
        m,
        "STRIDED_SLICE",
        i32(0, 0, 1),
        i32(1, 0, 4),
        i32(1, 1, 1),
        options="StridedSliceOptions",
        EllipsisMask=2,
    ),
    "strided slice, new axis": lambda m: plain(
        m,
        "STRIDED_SLICE",
        i32(0, 0, 1),
        i32(1, 0, 4),
        i32(1, 1, 1),
        options="StridedSliceOptions",
        NewAxisMask=2,
    ),
    "split": lambda m: m.op("SPLIT", [m.constant(i32(-1)), x(m)], "SplitOptions", NumSplits=3, outputs=3),
    "split v": lambda m: plain(
        m, "SPLIT_V", i32(1, -1, 3), i32(3), options="SplitVOptions", NumSplits=3, outputs=3
    ),
    "pack": lambda m: m.op("PACK", [x(m), m.input("b", X)], "PackOptions", ValuesCount=2, Axis=-1),
    "unpack": lambda m: plain(m, "UNPACK", options="UnpackOptions", Num=2, Axis=0, outputs=2),
    "depth to space": lambda m: plain(
        m, "DEPTH_TO_SPACE", shape=(1, 3, 4, 8), options="DepthToSpaceOptions", BlockSize=2
    ),
    "space to depth": lambda m: plain(
        m, "SPACE_TO_DEPTH", shape=(1, 4, 6, 3), options="SpaceToDepthOptions", BlockSize=2
    ),
    "gather": lambda m: plain(m, "GATHER", i32(4, 0, 0), options="GatherOptions", Axis=1),
    "reverse": lambda m: plain(m, "REVERSE_V2", i32([1])),
    "tile": lambda m: plain(m, "TILE", i32(1, 2, 1, 3)),
    "broadcast to": lambda m: plain(m, "BROADCAST_TO", i32(2, 3, 4), shape=(3, 1), version=2),
}
