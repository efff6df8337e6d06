"""Graphs to test networks with: one for every op in each of its forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dwconv import build
from dwconv.graph import Builder, Graph
from oracles import ACTIVATIONS

Sizes = tuple[int, ...]


class Drawn:
    """A builder with random numbers, whose inputs are called "x", "x_1", ..."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder()

    def input(self, *shape: int) -> str:
        return self.b.input(f"x{len(self.b.graph.inputs) or ''}", shape)

    def array(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.integer(low, high), self.integer(low, high)

    def choice(self, items: Any) -> Any:
        return items[self.integer(0, len(items) - 1)]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def inputs(self) -> dict[str, np.ndarray]:
        """Values for the inputs of the graph."""
        graph = self.b.graph
        return {name: self.array(*graph.values[name].shape) for name in graph.inputs}


# ---- one op -----------------------------------------------------------------------------------

Case = Callable[[Drawn], str]


def _conv(shape: Sizes, filters: Sizes, bias: bool = True, **attributes: Any) -> Case:
    def build(d: Drawn) -> str:
        arrays = [d.array(*filters), d.array(filters[-1]) if bias else None]
        return d.b.node("conv", d.input(*shape), *arrays, **attributes)

    return build


def _transposed(shape: Sizes, filters: Sizes, bias: bool = True, **attributes: Any) -> Case:
    def build(d: Drawn) -> str:
        arrays = [d.array(*filters), d.array(filters[-1]) if bias else None]
        return d.b.node("transpose_conv", d.input(*shape), *arrays, **attributes)

    return build


def _one(op: str, *shapes: Sizes, **attributes: Any) -> Case:
    return lambda d: d.b.node(op, *(d.input(*shape) for shape in shapes), **attributes)


def _gather(shape: Sizes, axis: int, indices: Any) -> Case:
    return lambda d: d.b.node("gather", d.input(*shape), np.array(indices), axis=axis)


def _kept(shape: Sizes, by: Sizes) -> Case:
    """Half of what decides is 0."""
    return lambda d: d.b.node(
        "binary", d.input(*shape), d.b.node("unary", d.input(*by), kind="relu"), kind="keep"
    )


def _positive(op: str, *shapes: Sizes, **attributes: Any) -> Case:
    """Of inputs above zero."""

    def build(d: Drawn) -> str:
        inputs = [d.b.node("unary", d.input(*shape), kind="softplus") for shape in shapes]
        return d.b.node(op, *inputs, **attributes)

    return build


def _layer_norm(*shape: int) -> Case:
    return lambda d: d.b.node("layer_norm", d.input(*shape), d.array(shape[-1]), d.array(shape[-1]))


def _dense(*shape: int) -> Case:
    return lambda d: d.b.node("matmul", d.input(*shape), d.array(shape[-1], 7))


def _block(shape: Sizes, operation: Callable[[Drawn], Any]) -> Case:
    return lambda d: d.b.node("block", d.input(*shape), operation=operation(d))


def _separable(d: Drawn) -> Any:
    return build.separable(
        "network", d.array(3, 3, 9, 1), d.array(9, 21), build.Sliding(2, "same"), d.array(9), "relu6",
        d.array(21), None,
    )  # fmt: skip


def _inverted_residual(d: Drawn) -> Any:
    gate = (d.array(20, 5), d.array(5), d.array(5, 20), d.array(20))
    return build.inverted_residual(
        "network", d.array(6, 20), d.array(3, 3, 20, 1), d.array(20, 6), build.Sliding(1, "same"),
        d.array(20), d.array(20), d.array(6), "hard_swish", None, gate,
    )  # fmt: skip


def _cases() -> Iterator[tuple[str, Case]]:
    yield "conv 3x3", _conv((2, 9, 8, 3), (3, 3, 3, 5), padding="same", activation="relu6")
    yield "conv strided", _conv((1, 9, 8, 17), (3, 2, 17, 9), strides=(2, 1), dilations=(1, 2))
    yield "conv grouped", _conv((1, 6, 7, 6), (3, 3, 2, 9), padding=((1, 0), (2, 1)), groups=3)
    yield "conv pointwise", _conv((2, 5, 5, 33), (1, 1, 33, 19), activation="gelu")
    yield "conv depthwise", _conv((1, 11, 9, 13), (5, 5, 1, 13), padding="same", groups=13)
    yield "conv multiplier", _conv((1, 6, 9, 5), (3, 3, 1, 10), bias=False, groups=5)
    yield "conv one channel", _conv((1, 6, 9, 1), (3, 3, 1, 1), activation=("clip", -0.5, 0.5))
    yield "block separable", _block((2, 8, 7, 9), _separable)
    yield "block inverted residual", _block((1, 8, 7, 6), _inverted_residual)
    for op in ("max_pool", "average_pool"):
        yield op, _one(op, (2, 9, 8, 17), kernel=(3, 2), strides=(2, 1), padding=((1, 1), (0, 1)))
        yield f"{op} same", _one(op, (1, 8, 9, 5), kernel=(3, 3), strides=(2, 2), padding="same")
        yield f"{op} ceil", _one(op, (1, 8, 9, 3), kernel=(3, 3), strides=(2, 2), ceil_mode=True)
        yield f"{op} dilated", _one(op, (1, 9, 9, 4), kernel=(2, 3), dilations=(3, 2))
        yield f"{op} global", _one(op, (1, 7, 7, 21), kernel=(7, 7))
    padding = ((1, 1), (2, 0))
    yield "average_pool padding", _one(
        "average_pool", (1, 6, 7, 3), kernel=(3, 3), strides=(2, 2), padding=padding,
        ceil_mode=True, count_include_pad=True,
    )  # fmt: skip
    for kind in ("mean", "sum", "max", "min", "prod"):
        yield f"reduce {kind}", _one("reduce", (2, 5, 7, 9), kind=kind, axes=(1, 2))
        yield f"reduce {kind} last", _one("reduce", (2, 5, 9), kind=kind, axes=(-1,), keepdims=False)
        yield f"reduce {kind} first", _one("reduce", (6, 5, 3), kind=kind, axes=(0,), keepdims=False)
        yield f"reduce {kind} outer", _one("reduce", (3, 5, 3, 2), kind=kind, axes=(0, 2))
    for axis in (0, 1, 2, 3):
        yield (
            f"reduce argmax {axis}",
            _one("reduce", (2, 5, 33, 9), kind="argmax", axes=(axis,), keepdims=axis < 2),
        )
    yield "reduce argmax wide", _one("reduce", (70, 37), kind="argmax", axes=(1,))
    yield "reduce all", _one("reduce", (2, 3, 5), kind="mean", keepdims=False)
    yield "reduce nothing", _one("reduce", (2, 1, 5), kind="sum", axes=(1,), keepdims=False)
    for kind in (
        "abs", "neg", "exp", "square", "erf", "floor", "ceil", "round", "sign", "softplus", "sin", "cos",
        "relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh", "gelu", "gelu_tanh",
    ):  # fmt: skip
        yield f"unary {kind}", _one("unary", (3, 37), kind=kind)
    for kind in ("log", "sqrt", "reciprocal"):
        yield f"unary {kind}", _positive("unary", (3, 37), kind=kind)
    yield "unary elu", _one("unary", (3, 37), kind="elu", a=1.5, b=1.0)
    yield "unary linear", _one("unary", (3, 37), kind="linear", a=1.5, b=-2.0)
    yield "unary clip", _one("unary", (37,), kind="clip", a=-0.5, b=0.25)
    yield "unary leaky_relu", _one("unary", (37,), kind="leaky_relu", a=0.1)
    yield "unary of a number", _one("unary", (), kind="relu")
    for kind in ("add", "sub", "mul", "div", "max", "min"):
        yield f"binary {kind}", _positive("binary", (2, 3, 5, 7), (2, 3, 5, 7), kind=kind)
        yield f"binary {kind} channels", _positive("binary", (2, 3, 5, 17), (17,), kind=kind)
        yield f"binary {kind} both", _positive("binary", (3, 1, 5), (4, 1), kind=kind)
    for kind in ("greater", "greater_or_equal", "equal"):
        yield f"binary {kind}", _one("binary", (2, 3, 5, 17), (17,), kind=kind)
        yield f"binary {kind} activated", _one("binary", (5, 9), (5, 1), kind=kind, activation="silu")
    yield (
        "binary equal of itself",
        lambda d: (lambda x: d.b.node("binary", x, x, kind="equal"))(d.input(3, 4)),
    )
    yield "binary keep", _kept((2, 3, 5, 17), (2, 3, 5, 17))
    yield "binary keep channels", _kept((2, 3, 5, 7), (7,))
    yield "binary keep both", _kept((3, 1, 5), (4, 1))
    yield "binary pow", _positive("binary", (3, 7), (3, 7), kind="pow")
    for activation in ACTIVATIONS[1:]:
        yield f"binary {activation}", _one("binary", (4, 9), (4, 9), kind="add", activation=activation)
    yield "binary of numbers", _one("binary", (), (), kind="add")
    yield "binary of itself", lambda d: (lambda x: d.b.node("binary", x, x, kind="mul"))(d.input(3, 4))
    yield "prelu", _one("prelu", (1, 4, 5, 9), (9,))
    yield "prelu one", _one("prelu", (1, 4, 5, 9), (1,))
    for axis in range(4):
        yield f"concat {axis}", _one("concat", (2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 4, 5), axis=axis)
    yield "concat of one", _one("concat", (2, 3), axis=-1)
    yield "slice", _one("slice", (6, 7, 8), slices=((1, None, 2), None, (-2, 1, -2)))
    yield "slice reversed", _one("slice", (6, 7), slices=(None, (None, None, -1)))
    yield "pad", _one("pad", (2, 3, 4, 5), pads=((0, 1), (1, 2), (0, 0), (3, 0)), value=0.5)
    yield "pad channels", _one("pad", (1, 3, 4, 5), pads=((0, 0), (0, 0), (0, 0), (0, 3)))
    yield "pad nothing", _one("pad", (2, 3), pads=((0, 0), (0, 0)))
    yield "pad reflect", _one("pad", (3, 4, 5), pads=((0, 0), (1, 2), (3, 0)), mode="reflect")
    yield "pad edge", _one("pad", (1, 4, 5, 3), pads=((0, 0), (1, 2), (3, 4), (0, 0)), mode="edge")
    yield "transpose", _one("transpose", (2, 3, 4, 5), perm=(0, 3, 1, 2))
    yield "transpose 6", _one("transpose", (2, 1, 3, 4, 2, 3), perm=(5, 3, 0, 1, 4, 2))
    yield "reshape", _one("reshape", (2, 3, 4), shape=(0, -1))
    yield "reshape to a number", _one("reshape", (1, 1), shape=())
    yield "expand", _one("expand", (3, 1, 5), shape=(2, 3, 4, 5))
    for coordinates in (
        "asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric",
    ):  # fmt: skip
        for sizes in ((9, 14), (3, 4), (1, 9)):
            yield (
                f"resize {coordinates} {sizes}",
                _one("resize", (2, 5, 7, 3), kind="linear", sizes=sizes, coordinates=coordinates),
            )
            for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
                yield f"resize {coordinates} {rounding} {sizes}", _one(
                    "resize", (1, 5, 7, 3), kind="nearest", sizes=sizes, coordinates=coordinates,
                    rounding=rounding,
                )  # fmt: skip
    yield "resize scales", _one("resize", (1, 5, 7, 3), kind="linear", scales=(1.7, 0.6))
    yield "resize twice", _one("resize", (1, 5, 7, 19), kind="linear", scales=(2.0, 2.0))
    for mode in ("dcr", "crd"):
        yield f"depth_to_space {mode}", _one("depth_to_space", (2, 3, 4, 12), block=2, mode=mode)
    yield "space_to_depth", _one("space_to_depth", (2, 6, 9, 5), block=3)
    yield "softmax", _one("softmax", (3, 11))
    yield "softmax long", _one("softmax", (2, 1000))
    yield "softmax first", _one("softmax", (5, 4, 3), axis=0)
    yield "softmax channels of one pixel", _one("softmax", (1, 9, 1, 1), axis=1)
    yield "softmax log", _one("softmax", (3, 4, 5), axis=1, log=True)
    yield "layer_norm", _layer_norm(2, 3, 4, 33)
    yield "layer_norm flat", _layer_norm(17)
    yield "matmul", _one("matmul", (5, 7), (7, 9))
    yield "matmul batches", _one("matmul", (2, 1, 5, 7), (3, 7, 4))
    yield "matmul constant", _dense(3, 19)
    yield "matmul constant batches", _dense(2, 4, 3, 19)
    yield "gather", _gather((4, 5, 6), 1, [4, 0, 0, 2])
    yield "gather last", _gather((4, 5, 6), -1, [[5, 0], [1, 3]])
    yield "gather one", _gather((4, 5, 6), 0, 2)
    yield "gather spaced", _gather((4, 7), 1, [6, 4, 2, 0])


CASES = dict(_cases())


def transposed_cases(d: Drawn) -> Case:
    """A transposed convolution with random geometry."""
    while True:
        kernel, strides, dilations = d.pair(1, 5), d.pair(1, 4), d.pair(1, 3)
        size, groups = d.pair(1, 6), d.choice((1, 1, 1, 2, 3))
        inputs, outputs = d.integer(1, 4), d.integer(1, 6) * groups
        if d.chance(0.3):
            kernel, dilations = strides, (1, 1)
        if d.chance(0.3):
            outputs = groups * d.integer(16, 20)
        if d.chance(0.2):
            groups, outputs, inputs = 5, 5 * d.integer(1, 2), 1
        whole = d.chance(0.3)
        padding = ((0, 0), (0, 0)) if whole else (d.pair(0, 3), d.pair(0, 3))
        more = (0, 0) if whole else d.pair(0, 3)
        out = [
            (size[a] - 1) * strides[a] + (kernel[a] - 1) * dilations[a] + 1 - sum(padding[a]) + more[a]
            for a in range(2)
        ]
        if min(out) >= 1:
            return _transposed(
                (d.integer(1, 2), *size, inputs * groups), (*kernel, inputs, outputs), d.chance(0.7),
                strides=strides, dilations=dilations, padding=padding, output_padding=more, groups=groups,
                activation=d.choice((None, "relu", "sigmoid")),
            )  # fmt: skip


def built(case: Case, seed: int = 0) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph of one case, and values for its inputs."""
    d = Drawn(seed)
    d.b.output("y", case(d))
    return d.b.graph, d.inputs()
