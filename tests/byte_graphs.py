"""Graphs of 8-bit integers to test networks with: one for every op in each of its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dwconv.graph import Builder, Graph, Quantization

Sizes = tuple[int, ...]
DTYPES = ("int8", "uint8")
ROUNDINGS = ("even", "tflite")


class Bytes:
    """A builder with random integers of one dtype and one rounding; every input has a scale of its own."""

    def __init__(self, seed: int, dtype: str, rounding: str) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder()
        self.dtype, self.rounding = np.dtype(dtype), rounding

    def quantization(self, scale: float | None = None) -> Quantization:
        low, high = np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
        zero = int(self.rng.choice((low, high, int(self.rng.integers(low, high + 1)))))
        return Quantization(float(np.float32(scale or self.rng.uniform(0.01, 0.1))), zero, None)

    def input(self, *shape: int, q: Quantization | None = None) -> str:
        name = f"x{len(self.b.graph.inputs) or ''}"
        return self.b.input(name, shape, self.dtype, q or self.quantization())

    def integers(self, *shape: int, dtype: Any = None) -> np.ndarray:
        """Extreme ones are many."""
        limits = np.iinfo(dtype or self.dtype)
        drawn = self.rng.integers(limits.min, limits.max, shape, dtype or self.dtype, endpoint=True)
        extreme = self.rng.choice([limits.min, limits.max], shape).astype(drawn.dtype)
        return np.where(self.rng.random(shape) < 0.2, extreme, drawn)

    def constant(self, *shape: int) -> str:
        return self.b.constant(self.integers(*shape), self.quantization())

    def of(self, value: str) -> Quantization:
        q = self.b.graph.values[value].quantization
        assert q is not None
        return q

    def result(self, scale: float | None = None) -> dict[str, Any]:
        """Attributes of a node that computes."""
        q = self.quantization(scale)
        return {"dtype": self.dtype.name, "quantization": q, "rounding": self.rounding}

    def clamp(self) -> dict[str, int]:
        low, high = sorted(int(n) for n in self.integers(2))
        return {"low": low, "high": high if high or low else 1}

    def filters(self, *shape: int, shared: bool = False, wide: bool = False) -> str:
        """`wide`: bytes less a zero point that int8 does not hold."""
        scales = self.rng.uniform(0.001, 0.02, 1 if shared else shape[3]).astype(np.float32)
        q = Quantization(scales[0], 0, None) if shared else Quantization(scales, 0, 3)
        numbers = self.integers(*shape, dtype=np.int8)
        return self.b.constant(numbers + np.int16(self.rng.integers(-127, 128)) if wide else numbers, q)

    def bias(self, count: int) -> np.ndarray:
        return self.rng.integers(-(2**14), 2**14, count).astype(np.int32)

    def inputs(self) -> dict[str, np.ndarray]:
        graph = self.b.graph
        found = {}
        for name in graph.inputs:
            value = graph.values[name]
            if value.dtype.kind == "f":
                found[name] = self.rng.uniform(-8, 8, value.shape).astype(np.float32)
            else:
                found[name] = self.integers(*value.shape, dtype=value.dtype)
        return found


Case = Callable[[Bytes], str]


# ---- one op -----------------------------------------------------------------------------------


def _conv(shape: Sizes, kernel: Sizes, shared: bool = False, clamped: bool = False, **more: Any) -> Case:
    op = more.pop("op", "conv")

    def build(d: Bytes) -> str:
        x = d.input(*shape)
        bounds = d.clamp() if clamped else {}
        filters = d.filters(*kernel, shared=shared)
        return d.b.node(op, x, filters, d.bias(kernel[3]), **d.result(0.5) | bounds | more)

    return build


def _moving(op: str, *shapes: Sizes, **attributes: Any) -> Case:
    """Of one scale."""

    def build(d: Bytes) -> str:
        q = d.quantization()
        return d.b.node(op, *(d.input(*shape, q=q) for shape in shapes), **attributes)

    return build


def _binary(kind: str, *shapes: Sizes, clamped: bool = False, formula: str = "integer") -> Case:
    def build(d: Bytes) -> str:
        inputs = [d.input(*shape) for shape in shapes]
        bounds = d.clamp() if clamped else {}
        return d.b.node("binary", *inputs, kind=kind, formula=formula, **d.result() | bounds)

    return build


def _twice(kind: str, shape: Sizes) -> Case:
    """Of one value and itself."""

    def build(d: Bytes) -> str:
        x = d.input(*shape)
        return d.b.node("binary", x, x, kind=kind, **d.result())

    return build


def _prelu(shape: Sizes, slope: Sizes, clamped: bool = False) -> Case:
    def build(d: Bytes) -> str:
        x = d.input(*shape)
        q = Quantization(0.01, 3, None)
        slopes = d.b.constant(d.integers(*slope), q)
        return d.b.node("prelu", x, slopes, **d.result() | (d.clamp() if clamped else {}))

    return build


def _pool(shape: Sizes, clamped: bool = False, **attributes: Any) -> Case:
    def build(d: Bytes) -> str:
        x = d.input(*shape)
        more = d.result()
        if d.rounding == "tflite":  # which keeps the scale
            more["quantization"] = d.of(x)
        return d.b.node("average_pool", x, **more | (d.clamp() if clamped else {}), **attributes)

    return build


def _reduce(shape: Sizes, kind: str, axes: Sizes | None, keepdims: bool = True) -> Case:
    def build(d: Bytes) -> str:
        return d.b.node("reduce", d.input(*shape), kind=kind, axes=axes, keepdims=keepdims, **d.result())

    return build


def _softmax(shape: Sizes, axis: int, scale: float) -> Case:
    def build(d: Bytes) -> str:
        x = d.input(*shape, q=d.quantization(scale))
        low = int(np.iinfo(d.dtype).min)
        more = d.result() | {"quantization": Quantization(1 / 256, low, None)}
        return d.b.node("softmax", x, axis=axis, **more)

    return build


def _resize(shape: Sizes, sizes: Sizes, coordinates: str) -> Case:
    def build(d: Bytes) -> str:
        x = d.input(*shape)
        return d.b.node(
            "resize", x, kind="linear", sizes=sizes, coordinates=coordinates, dtype=d.dtype.name,
            quantization=d.of(x), integers=d.rounding,
        )  # fmt: skip

    return build


def _quantize(*shape: int) -> Case:
    def build(d: Bytes) -> str:
        return d.b.node("quantize", d.b.input("x", shape), **d.result())

    return build


def _lookup(shape: Sizes, other: bool = False, by_channel: bool = False) -> Case:
    def build(d: Bytes) -> str:
        dtype = np.dtype(DTYPES[d.dtype == np.int8]) if other else d.dtype
        table = d.integers(*shape[-1:] if by_channel else (), 256, dtype=dtype)
        return d.b.node("lookup", d.input(*shape), table, quantization=Quantization(0.25, 7, None))

    return build


def _lookup_of_parts(d: Bytes) -> str:
    """Channels are not next to each other in memory, and some are left out."""
    x = d.b.node(
        "slice", d.input(2, 6, 3, 5), slices=[(0, None, 1), (1, None, 2), (0, None, 1), (0, None, 1)]
    )
    x = d.b.node("transpose", x, perm=(0, 2, 3, 1))
    y = d.b.node("lookup", x, d.integers(3, 256), quantization=d.quantization())
    return d.b.node("transpose", y, perm=(0, 3, 1, 2))


def _gather(shape: Sizes, axis: int, indices: Any) -> Case:
    return lambda d: d.b.node("gather", d.input(*shape), np.array(indices), axis=axis)


def _cases() -> Iterator[tuple[str, Case]]:
    for channels in (1, 3, 8, 15, 17, 24, 40):
        yield f"depthwise {channels}", _conv((2, 7, 6, channels), (3, 3, 1, channels), groups=channels)
        yield f"pointwise {channels}", _conv((1, 5, 7, channels), (1, 1, channels, 9), clamped=True)
        yield f"lookup {channels}", _lookup((2, 3, 5, channels))
        yield f"average_pool {channels}", _pool((2, 7, 5, channels), kernel=(3, 2), strides=(2, 1))
        yield f"add {channels}", _binary("add", (1, 3, 5, channels), (1, 3, 5, channels))
        yield f"mean {channels}", _reduce((2, 5, 3, channels), "mean", (1, 2))
    yield "conv", _conv((2, 7, 6, 5), (3, 2, 5, 7), padding="same", strides=(2, 1))
    yield "conv one scale", _conv((1, 6, 6, 4), (3, 3, 4, 6), shared=True, padding=((1, 0), (2, 1)))
    yield "conv groups", _conv((1, 6, 6, 6), (3, 3, 3, 8), groups=2, dilations=(2, 1))
    yield "conv float", _conv((1, 4, 4, 6), (1, 1, 6, 10), dtype="float32")
    yield "conv float product", _conv((1, 4, 4, 6), (1, 1, 6, 10), shared=True, float_product=True)
    yield "depthwise multiplier", _conv((1, 6, 6, 5), (3, 3, 1, 10), groups=5, padding="same")
    yield "transpose_conv", _conv((1, 4, 3, 5), (3, 3, 5, 6), op="transpose_conv", strides=(2, 2))
    yield "transpose_conv blocks", _conv((2, 4, 3, 5), (2, 2, 5, 6), op="transpose_conv", strides=(2, 2))
    yield "transpose_conv wide", _conv((1, 4, 3, 5), (3, 2, 5, 16), op="transpose_conv", strides=(4, 2))
    for kind in ("add", "sub", "mul"):
        yield kind, _binary(kind, (2, 5, 7, 33), (2, 5, 7, 33))
        yield f"{kind} channels", _binary(kind, (2, 3, 5, 70), (70,), clamped=True)
        yield f"{kind} one", _binary(kind, (1,), (3, 5, 7))
        yield f"{kind} across", _binary(kind, (4, 1, 6), (5, 1))
        yield f"{kind} itself", _twice(kind, (3, 50))
    for kind in ("add", "sub", "mul", "div"):
        yield f"float {kind}", _binary(kind, (2, 5, 7, 33), (2, 5, 7, 33), formula="float")
        yield f"float {kind} channels", _binary(kind, (2, 5, 33), (33,), clamped=True, formula="float")
    for kind in ("max", "min"):
        yield kind, _moving("binary", (2, 5, 70), (2, 5, 70), kind=kind)
        yield f"{kind} channels", _moving("binary", (2, 5, 70), (70,), kind=kind)
    yield "prelu", _prelu((2, 5, 7, 33), (33,))
    yield "prelu shared", _prelu((2, 5, 7, 33), (1,), clamped=True)
    yield "max_pool", _moving("max_pool", (2, 9, 8, 7), kernel=(3, 2), strides=(2, 2))
    yield "max_pool same", _moving("max_pool", (2, 9, 8, 70), kernel=(3, 3), padding="same", dilations=(2, 1))
    yield "max_pool ceil", _moving("max_pool", (1, 5, 5, 3), kernel=(2, 2), strides=(2, 2), ceil_mode=True)
    yield "average_pool padded", _pool((2, 9, 8, 300), kernel=(3, 3), padding="same", strides=(2, 2))
    yield "average_pool clamped", _pool((1, 9, 8, 5), clamped=True, kernel=(2, 5))
    yield "average_pool whole", _pool((2, 7, 7, 65), kernel=(7, 7))
    for kind in ("mean", "sum"):
        yield kind, _reduce((2, 7, 6, 200), kind, (1, 2), keepdims=False)
        yield f"{kind} all", _reduce((2, 3, 5, 7), kind, None)
        yield f"{kind} last", _reduce((2, 3, 75), kind, (-1,))
        yield f"{kind} first", _reduce((6, 3, 5), kind, (0,))
        yield f"{kind} apart", _reduce((4, 3, 5, 6), kind, (0, 2))
        yield f"{kind} nothing", _reduce((4, 1, 5), kind, (1,))
    for kind in ("max", "min"):
        yield f"reduce {kind}", _moving("reduce", (2, 7, 6, 20), kind=kind, axes=(1, 2))
        yield f"reduce {kind} last", _moving("reduce", (2, 7, 61), kind=kind, axes=(2,))
    for scale in (0.03, 0.2, 1.5):
        yield f"softmax {scale}", _softmax((3, 10), -1, scale)
        yield f"softmax wide {scale}", _softmax((2, 1001), -1, scale)
        yield f"softmax channels {scale}", _softmax((2, 5, 4, 3), 1, scale)
    for coordinates in ("asymmetric", "half_pixel", "align_corners"):
        yield f"resize larger {coordinates}", _resize((2, 5, 4, 7), (11, 9), coordinates)
        yield f"resize smaller {coordinates}", _resize((1, 9, 8, 65), (4, 3), coordinates)
        yield f"resize much smaller {coordinates}", _resize((1, 9, 23, 5), (4, 3), coordinates)
        yield f"resize one {coordinates}", _resize((1, 1, 4, 3), (5, 1), coordinates)
        yield (
            f"nearest {coordinates}",
            _moving("resize", (2, 5, 4, 7), kind="nearest", sizes=(11, 9), coordinates=coordinates),
        )
    yield "quantize", _quantize(2, 3, 5, 77)
    yield "dequantize", _moving("dequantize", (2, 3, 5, 77))
    yield "lookup wide", _lookup((3, 1000))
    yield "lookup other dtype", _lookup((3, 100), other=True)
    yield "lookup of each channel", _lookup((2, 3, 5, 17), by_channel=True)
    yield "lookup of each to another dtype", _lookup((3, 100), other=True, by_channel=True)
    yield "lookup of each between transpositions", _lookup_of_parts
    yield "concat", _moving("concat", (2, 3, 5), (2, 1, 5), axis=1)
    yield "concat channels", _moving("concat", (2, 3, 5), (2, 3, 7), axis=-1)
    yield "slice", _moving("slice", (5, 7, 9), slices=((None, None, -2), None, (1, 8, 3)))
    yield "transpose", _moving("transpose", (3, 20, 30, 5), perm=(0, 3, 1, 2))
    yield "transpose back", _moving("transpose", (2, 5, 20, 30), perm=(0, 2, 3, 1))
    yield "reshape", _moving("reshape", (3, 4, 5), shape=(4, 15))
    yield "expand", _moving("expand", (3, 1, 5), shape=(2, 3, 4, 5))
    yield "pad", _moving("pad", (1, 3, 4, 5), pads=((0, 0), (1, 2), (0, 1), (2, 0)), value=7)
    yield "pad reflect", _moving("pad", (1, 3, 4, 5), pads=((0, 0), (1, 2), (1, 1), (0, 0)), mode="reflect")
    yield "depth_to_space", _moving("depth_to_space", (1, 3, 4, 12), block=2)
    yield "space_to_depth", _moving("space_to_depth", (1, 4, 6, 5), block=2)
    yield "gather", _gather((4, 5, 6), 1, [4, 0, 0, 2])
    yield "gather last", _gather((4, 5, 6), -1, [[5, 0], [1, 3]])


CASES = dict(_cases())


def built(case: Case, seed: int, dtype: str, rounding: str) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph of one case, and values for its inputs."""
    d = Bytes(seed, dtype, rounding)
    d.b.output("y", case(d))
    return d.b.graph, d.inputs()


# ---- graphs -----------------------------------------------------------------------------------


def random_graph(
    seed: int, dtype: str = "int8", rounding: str = "even"
) -> tuple[Graph, dict[str, np.ndarray]]:
    """Blocks of MobileNets, with what stands between them; several outputs."""
    d = Bytes(seed, dtype, rounding)
    channels = int(d.rng.choice((3, 8, 15, 24)))
    x = d.input(int(d.rng.integers(1, 3)), int(d.rng.integers(6, 20)), int(d.rng.integers(6, 20)), channels)
    made = [x]
    for _ in range(int(d.rng.integers(2, 6))):
        x = STEPS[int(d.rng.integers(len(STEPS)))](d, x)
        made.append(x)
    d.b.output("y", x)
    if d.rng.random() < 0.5:
        d.b.output("other", made[int(d.rng.integers(1, len(made)))])
    return d.b.graph, d.inputs()


def _shape(d: Bytes, x: str) -> Sizes:
    return d.b.graph.values[x].shape


def _pointwise(d: Bytes, x: str, outputs: int) -> str:
    inputs = _shape(d, x)[3]
    return d.b.node(
        "conv",
        x,
        d.filters(1, 1, inputs, outputs, wide=d.rng.random() < 0.3),
        d.bias(outputs),
        **d.result(0.3) | d.clamp(),
    )


def _depthwise(d: Bytes, x: str) -> str:
    channels, stride = _shape(d, x)[3], int(d.rng.integers(1, 3))
    padding: Any = "same"
    if d.rng.random() < 0.5:  # as PyTorch's files have it
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        x, padding = d.b.node("pad", x, pads=pads, value=d.of(x).zero_point), "valid"
    filters, strides = d.filters(3, 3, 1, channels, wide=d.rng.random() < 0.3), (stride, stride)
    more = d.result(0.3) | d.clamp()
    return d.b.node("conv", x, filters, groups=channels, strides=strides, padding=padding, **more)


def _table(d: Bytes, x: str) -> str:
    channels = _shape(d, x)[-1:] if d.rng.random() < 0.5 else ()
    return d.b.node("lookup", x, d.integers(*channels, 256), quantization=d.quantization())


def _gated(d: Bytes, x: str) -> str:
    channels = _shape(d, x)[3]
    mean = d.b.node("reduce", x, kind="mean", axes=(1, 2), **d.result())
    factors = _pointwise(d, _pointwise(d, mean, 5), channels)
    product = {"formula": "float" if d.rng.random() < 0.5 else "integer"}
    clamp = d.clamp() if d.rng.random() < 0.2 else {}
    return d.b.node("binary", x, factors, kind="mul", **d.result(0.2) | product | clamp)


def _block(d: Bytes, x: str) -> str:
    """An inverted residual, perhaps with tables for activations, squeeze-and-excite, or its input added."""
    channels, tables = _shape(d, x)[3], d.rng.random() < 0.4
    y = _pointwise(d, x, 2 * channels) if d.rng.random() < 0.8 else x
    y = _table(d, y) if tables else y
    y = _depthwise(d, y)
    y = _table(d, y) if tables else y
    y = _gated(d, y) if d.rng.random() < 0.4 else y
    y = _pointwise(d, y, channels)
    if _shape(d, y) == _shape(d, x):
        y = d.b.node("binary", *((x, y) if d.rng.random() < 0.5 else (y, x)), kind="add", **d.result())
    return y


def _sum(d: Bytes, x: str) -> str:
    clamp = d.clamp() if d.rng.random() < 0.5 else {}
    return d.b.node("binary", x, _table(d, x), kind="add", **d.result() | clamp)


def _joined(d: Bytes, x: str) -> str:
    y = d.b.node("max_pool", x, kernel=(3, 3), padding="same")
    return d.b.node("concat", x, y, axis=3)


def _in_floats(d: Bytes, x: str) -> str:
    y = d.b.node("unary", d.b.node("dequantize", x), kind="square")
    return d.b.node("quantize", y, **d.result(0.5))


def _scaled(d: Bytes, x: str) -> str:
    shape = _shape(d, x)
    mean = d.b.node("reduce", x, kind="mean", axes=(1, 2), **d.result())
    gate = _pointwise(d, mean, shape[3])
    return d.b.node("binary", x, gate, kind="mul", **d.result(0.2))


STEPS: tuple[Callable[[Bytes, str], str], ...] = (
    _block, _block, _depthwise, _table, _sum, _joined, _in_floats, _scaled,
    lambda d, x: _pointwise(d, x, int(d.rng.integers(1, 40))),
)  # fmt: skip
