"""Small TFLite files of 8-bit integers with random scales, one operator each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tflite_models import Writer, opened

Made = tuple[Writer, int]
LIMITS = {"INT8": (-128, 127), "UINT8": (0, 255)}
DTYPES = {"INT8": np.int8, "UINT8": np.uint8}


class Draw:
    """Random parameters, of one dtype of activations."""

    def __init__(self, seed: int, kind: str = "INT8", writer: Writer | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind = kind
        self.m = Writer() if writer is None else writer

    def scale(self, low: float = 0.003, high: float = 0.3) -> float:
        """Sometimes a power of two, for which ties are common."""
        number = float(np.exp(self.rng.uniform(np.log(low), np.log(high))))
        return 2.0 ** round(np.log2(number)) if self.rng.random() < 0.3 else float(np.float32(number))

    def zero(self) -> int:
        return int(self.rng.choice([*LIMITS[self.kind], *self.rng.integers(*LIMITS[self.kind], 4)]))

    def quantised(self, **given: Any) -> dict[str, Any]:
        return {"scale": self.scale(), "zero": self.zero(), "kind": self.kind} | given

    def x(self, shape: Any, name: str = "x", **given: Any) -> int:
        return self.m.input(name, shape, **self.quantised(**given))

    def y(self, shape: Any = (), **given: Any) -> list[int]:
        return [self.m.tensor("y", shape, **self.quantised(**given))]

    def weights(self, shape: Any, axis: int | None) -> int:
        """int8 per channel, or uint8 with a zero point where activations are such."""
        if self.kind == "UINT8":
            zero = int(self.rng.choice([128, 128, 120, 151]))
            data = self.rng.integers(0, 256, shape).astype(np.uint8)
            return self.m.constant(data, scale=self.scale(0.002, 0.02), zero=zero)
        data = self.rng.integers(-127, 128, shape).astype(np.int8)
        if axis is None:
            return self.m.constant(
                data, scale=self.scale(0.002, 0.02), axis=int(self.rng.integers(0, len(shape)))
            )
        scales = [self.scale(0.002, 0.02) for _ in range(shape[axis])]
        return self.m.constant(data, scale=scales, zero=[0] * len(scales), axis=axis)

    def bias(self, outputs: int, x: int, weights: int) -> int:
        of_x = np.float32(self.m.tensors[x]["scale"]).reshape(-1)  # broken files have several, or none
        product = (of_x[0] if of_x.size else 1) * np.float32(self.m.tensors[weights]["scale"])
        data = self.rng.integers(-3000, 3000, outputs).astype(np.int32)
        return self.m.constant(data, scale=product, zero=[0] * product.size, axis=0)

    def same(self, x: int) -> dict[str, Any]:
        """The scale of another tensor."""
        return {name: self.m.tensors[x][name] for name in ("scale", "zero", "kind")}


def conv(d: Draw) -> Made:
    x, weights = d.x((2, 9, 8, 5)), d.weights((7, 3, 3, 5), d.rng.choice([0, None]))
    inputs = [x, weights, d.bias(7, x, weights)]
    stride = int(d.rng.integers(1, 3))
    fields = {
        "Padding": int(d.rng.integers(0, 2)), "StrideH": stride, "StrideW": 1, "DilationHFactor": 1,
        "DilationWFactor": 1,
        "FusedActivationFunction": int(d.rng.choice([0, 1, 3])),
    }  # fmt: skip
    return d.m, d.m.op("CONV_2D", inputs, "Conv2DOptions", outputs=d.y(), version=3, **fields)


def depthwise(d: Draw) -> Made:
    multiplier = int(d.rng.integers(1, 3))
    x, weights = d.x((1, 9, 8, 5)), d.weights((1, 3, 3, 5 * multiplier), 3)
    inputs = [x, weights, d.bias(5 * multiplier, x, weights)]
    fields = {
        "Padding": int(d.rng.integers(0, 2)), "StrideH": 2, "StrideW": 2, "DepthMultiplier": multiplier,
        "DilationHFactor": 1, "DilationWFactor": 1, "FusedActivationFunction": int(d.rng.choice([0, 1, 3])),
    }  # fmt: skip
    options = "DepthwiseConv2DOptions"
    return d.m, d.m.op("DEPTHWISE_CONV_2D", inputs, options, outputs=d.y(), version=3, **fields)


def dense(d: Draw) -> Made:
    x, weights = d.x((3, 40)), d.weights((11, 40), d.rng.choice([0, None]))
    inputs = [x, weights, d.bias(11, x, weights)]
    fused = int(d.rng.choice([0, 1, 3]))
    return d.m, d.m.op(
        "FULLY_CONNECTED", inputs, "FullyConnectedOptions", outputs=d.y(), version=4,
        FusedActivationFunction=fused,
    )  # fmt: skip


def transposed(d: Draw) -> Made:
    size = d.m.constant(np.array([1, 10, 8, 6], np.int32))
    weights, x = d.weights((6, 3, 3, 4), 0), d.x((1, 5, 4, 4))
    inputs = [size, weights, x, d.bias(6, x, weights)]
    fields = {"Padding": 0, "StrideH": 2, "StrideW": 2}
    return d.m, d.m.op("TRANSPOSE_CONV", inputs, "TransposeConvOptions", outputs=d.y(), version=3, **fields)


def arithmetic(op: str, options: str) -> Callable[[Draw], Made]:
    def make(d: Draw) -> Made:
        other = (2, 6, 5, 7) if d.rng.random() < 0.6 else (1, 1, 1, 7)
        inputs = [d.x((2, 6, 5, 7)), d.x(other, "z")]
        fused = int(d.rng.choice([0, 1, 3]))
        made = d.m.op(op, inputs, options, outputs=d.y(), version=2, FusedActivationFunction=fused)
        return d.m, made

    return make


def extreme(op: str) -> Callable[[Draw], Made]:
    def make(d: Draw) -> Made:
        x = d.x((2, 6, 5, 7))
        inputs = [x, d.x((2, 6, 5, 7), "z", **d.same(x))]
        return d.m, d.m.op(op, inputs, "MaximumMinimumOptions", outputs=d.y(**d.same(x)), version=2)

    return make


def pool(op: str) -> Callable[[Draw], Made]:
    def make(d: Draw) -> Made:
        x = d.x((2, 9, 8, 5))
        fields = {
            "Padding": int(d.rng.integers(0, 2)), "StrideH": 2, "StrideW": 1, "FilterHeight": 3,
            "FilterWidth": int(d.rng.integers(1, 4)), "FusedActivationFunction": int(d.rng.choice([0, 1, 3])),
        }  # fmt: skip
        y = d.y(**d.same(x))
        return d.m, d.m.op(op, [x], "Pool2DOptions", outputs=y, version=2, **fields)

    return make


def reduce(op: str, same: bool = False) -> Callable[[Draw], Made]:
    def make(d: Draw) -> Made:
        x = d.x((2, 7, 5, 6))
        axes = d.m.constant(np.array([[1, 2], [1], [3], [2, 3]][d.rng.integers(0, 4)], np.int32))
        y = d.y(**(d.same(x) if same else {}))
        keep = bool(d.rng.integers(0, 2))
        return d.m, d.m.op(op, [x, axes], "ReducerOptions", outputs=y, version=2, KeepDims=keep)

    return make


def unary(op: str, options: str = "", **fixed: Any) -> Callable[[Draw], Made]:
    """`fixed`: fields of the options, and the scale and zero point of the result."""

    def make(d: Draw) -> Made:
        given = {key: fixed[key] for key in ("scale",) if key in fixed}
        if "zero" in fixed:
            given["zero"] = fixed["zero"] if d.kind == "INT8" else fixed["zero"] + 128
        fields = {key: value for key, value in fixed.items() if key not in ("scale", "zero")}
        version = 1 if op in ("ELU", "HARD_SWISH") else 2
        x = d.x((4, 64), scale=d.scale(0.005, 0.12))
        return d.m, d.m.op(op, [x], options, outputs=d.y((4, 64), **given), version=version, **fields)

    return make


def leaky(d: Draw) -> Made:
    alpha = float(d.rng.uniform(0.01, 0.9))
    y = d.y((4, 64))
    return d.m, d.m.op("LEAKY_RELU", [d.x((4, 64))], "LeakyReluOptions", outputs=y, version=2, Alpha=alpha)


def prelu(d: Draw) -> Made:
    slope = d.rng.integers(*LIMITS[d.kind], (1, 1, 6)).astype(DTYPES[d.kind])
    inputs = [d.x((2, 5, 4, 6)), d.m.constant(slope, scale=d.scale(0.002, 0.02), zero=d.zero())]
    return d.m, d.m.op("PRELU", inputs, outputs=d.y())


def resize(d: Draw) -> Made:
    x = d.x((1, 5, 4, 3))
    size = d.m.constant(np.array(d.rng.integers(3, 14, 2), np.int32))
    mode = int(d.rng.integers(0, 3))
    y = d.y((1, 5, 4, 3), **d.same(x))
    return d.m, d.m.op(
        "RESIZE_BILINEAR", [x, size], "ResizeBilinearOptions", outputs=y, version=3,
        AlignCorners=mode == 1, HalfPixelCenters=mode == 2,
    )  # fmt: skip


def nearest(d: Draw) -> Made:
    x = d.x((1, 5, 4, 3))
    size = d.m.constant(np.array([9, 7], np.int32))
    y = d.y((1, 5, 4, 3), **d.same(x))
    op = "RESIZE_NEAREST_NEIGHBOR"
    return d.m, d.m.op(op, [x, size], "ResizeNearestNeighborOptions", outputs=y, version=2)


def concat(d: Draw) -> Made:
    x = d.x((2, 3, 4, 5))
    same = {} if d.kind == "UINT8" else d.same(x)
    inputs = [x, d.x((2, 3, 4, 3), "z", **same)]
    y = d.y(**(same or d.same(x) | {"zero": d.zero()}))
    return d.m, d.m.op("CONCATENATION", inputs, "ConcatenationOptions", outputs=y, version=2, Axis=3)


def pad(d: Draw) -> Made:
    x = d.x((1, 5, 4, 3))
    pads = d.m.constant(np.array([[0, 0], [1, 2], [0, 1], [0, 1]], np.int32))
    return d.m, d.m.op("PAD", [x, pads], "PadOptions", outputs=d.y(**d.same(x)), version=2)


def strided(d: Draw) -> Made:
    x = d.x((1, 9, 8, 3))
    bounds = [d.m.constant(np.array(v, np.int32)) for v in ([0, 1, 0, 0], [1, 8, 8, 2], [1, 2, 1, 1])]
    y = d.y(**d.same(x))
    return d.m, d.m.op("STRIDED_SLICE", [x, *bounds], "StridedSliceOptions", outputs=y, version=2)


def requantise(d: Draw) -> Made:
    return d.m, d.m.op("QUANTIZE", [d.x((4, 64))], "QuantizeOptions", outputs=d.y((4, 64)), version=2)


def quantise(d: Draw) -> Made:
    x = d.m.input("x", (4, 64))
    return d.m, d.m.op("QUANTIZE", [x], "QuantizeOptions", outputs=d.y((4, 64)), version=2)


def dequantise(d: Draw) -> Made:
    return d.m, d.m.op("DEQUANTIZE", [d.x((4, 64))], "DequantizeOptions", version=2)


CASES: dict[str, Callable[[Draw], Made]] = {
    "conv": conv,
    "depthwise": depthwise,
    "dense": dense,
    "transposed": transposed,
    "add": arithmetic("ADD", "AddOptions"),
    "sub": arithmetic("SUB", "SubOptions"),
    "mul": arithmetic("MUL", "MulOptions"),
    "maximum": extreme("MAXIMUM"),
    "minimum": extreme("MINIMUM"),
    "average": pool("AVERAGE_POOL_2D"),
    "largest": pool("MAX_POOL_2D"),
    "mean": reduce("MEAN"),
    "sum": reduce("SUM"),
    "reduce max": reduce("REDUCE_MAX", True),
    "softmax": unary("SOFTMAX", "SoftmaxOptions", scale=1 / 256, zero=-128, Beta=1.0),
    "logistic": unary("LOGISTIC", scale=1 / 256, zero=-128),
    "tanh": unary("TANH", scale=1 / 128, zero=0),
    "hard swish": unary("HARD_SWISH", "HardSwishOptions", scale=0.05),
    "relu": unary("RELU"),
    "relu6": unary("RELU6"),
    "elu": unary("ELU"),
    "gelu": unary("GELU", "GeluOptions"),
    "leaky relu": leaky,
    "prelu": prelu,
    "resize": resize,
    "nearest": nearest,
    "concat": concat,
    "pad": pad,
    "strided": strided,
    "requantise": requantise,
    "quantise": quantise,
    "dequantise": dequantise,
}


def made(name: str, seed: int, kind: str = "INT8") -> bytes:
    """With the shape of the result, which some interpreters do not infer."""
    writer, y = CASES[name](Draw(seed, kind))
    shape = opened(writer.content([y]))[2][0].shape
    writer, y = CASES[name](Draw(seed, kind))
    writer.tensors[y]["shape"] = shape
    return writer.content([y])


def inputs_of(infos: Any, seed: int, extreme: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {}
    for info in infos:
        if info.dtype == np.float32:
            found[info.name] = (rng.standard_normal(info.shape) * 3).astype(np.float32)
            continue
        low, high = int(np.iinfo(info.dtype).min), int(np.iinfo(info.dtype).max)
        x = rng.choice([low, high], info.shape) if extreme else rng.integers(low, high + 1, info.shape)
        found[info.name] = x.astype(info.dtype)
    return found
