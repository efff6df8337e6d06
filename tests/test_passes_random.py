"""Whatever a graph is made of: the passes keep its results, its outputs and its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from dwconv.graph import Builder
from dwconv.nodes_numpy import interpret
from dwconv.passes import run_passes, text
from pass_graphs import assert_consistent

# Those that spellings are made of, and others.
NUMBERS = (0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 6.0, 1 / 6, 0.2, 0.7071067811865476, 0.044715, 0.7978845608028654)
KINDS = (
    "relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh", "gelu", "erf", "neg", "abs",
)  # fmt: skip
ACTIVATIONS = (None, "relu", "relu6", "tanh", "hard_swish", ("clip", -1.0, 2.0), ("leaky_relu", 0.3))
BINARY = ("add", "sub", "mul", "max", "min")


class Drawn:
    """Draws a graph of float64, in which a fused node differs from its parts by rounding alone."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.b = draw, Builder()
        self.rng = np.random.default_rng(draw(st.integers(0, 2**31)))
        shape = (self.whole(1, 2), self.whole(1, 6), self.whole(1, 6), self.whole(1, 5))
        self.values = [self.b.input("x", shape, np.float64)]
        for _ in range(self.whole(1, 14)):
            self.values.append(self.step())
        chosen = draw(st.lists(st.sampled_from(self.values), min_size=1, max_size=3, unique=True))
        for number, value in enumerate(dict.fromkeys([self.values[-1], *chosen])):
            # By the name it has now: an output that was named before may have taken its place.
            self.b.graph.outputs.append(value)
            note(f"output {number} is {value}")

    def whole(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one(self, items: Any) -> Any:
        return self.draw(st.sampled_from(items))

    def array(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(-1, 1, shape)

    def value(self, rank: int | None = None) -> str:
        """Mostly the newest."""
        fitting = [v for v in self.values if rank is None or len(self.b.shape(v)) == rank]
        return fitting[-1] if self.whole(0, 2) else self.one(fitting)

    def step(self) -> str:
        steps = (self.unary, self.number, self.number, self.constant, self.constant, self.binary)
        images = (self.conv, self.conv, self.depthwise, self.pointwise, self.pointwise, self.transposed)
        moves = (self.reshape, self.transpose, self.slice, self.pad, self.pool, self.concat, self.mean)
        others = (self.dense, self.gate, self.prelu, self.norm, self.chain, self.chain)
        more = (self.gate_sum, self.parts, self.affine)
        return self.one((*steps, *images, *moves, *others, *more))()

    def unary(self) -> str:
        kind = self.one((*KINDS, "clip", "leaky_relu"))
        low, high = {"clip": (0.0, self.one((1.0, 6.0))), "leaky_relu": (0.1, 0.0)}.get(kind, (0.0, 0.0))
        return self.b.node("unary", self.value(), kind=kind, a=low, b=high)

    def number(self) -> str:
        x, number = self.value(), np.array(self.one(NUMBERS))
        kind = self.one((*BINARY, "div", "add", "mul"))
        if kind == "div":
            return self.b.node("binary", x, number or np.array(6.0), kind=kind)
        first = self.whole(0, 1)
        return self.b.node(
            "binary", *((x, number), (number, x))[first], kind=kind, activation=self.activation()
        )

    def constant(self) -> str:
        x = self.value()
        shape = self.b.shape(x)
        forms = [shape[-1:], (*(1 for _ in shape[:-1]), shape[-1]), shape[-2:], shape]
        constant = self.array(*self.one((*forms[:2], *forms)))
        first = self.whole(0, 1)
        return self.b.node("binary", *((x, constant), (constant, x))[first], kind=self.one(BINARY))

    def activation(self) -> Any:
        return self.one((None, None, *ACTIVATIONS))

    def binary(self) -> str:
        x = self.value()
        fitting = [v for v in self.values if self.b.shape(v) == self.b.shape(x)]
        kind = self.one((*BINARY, "add", "mul"))
        return self.b.node("binary", x, self.one(fitting), kind=kind, activation=self.activation())

    def window(self, x: str) -> dict[str, Any]:
        pads = tuple((self.whole(0, 1), self.whole(0, 1)) for _ in range(2))
        padding = self.one(("same", "same", "valid", pads))
        if min(self.b.shape(x)[1:3]) < 3:
            padding = "same"
        return {"strides": self.one(((1, 1), (1, 1), (2, 1), (2, 2))), "padding": padding}

    def filters(self, kh: int, kw: int, inputs: int, outputs: int) -> list[np.ndarray | None]:
        bias = self.array(outputs) if self.whole(0, 1) else None
        return [self.array(kh, kw, inputs, outputs) / np.sqrt(kh * kw * inputs), bias]

    def conv(self) -> str:
        x = self.value(4)
        channels = self.b.shape(x)[3]
        groups = self.one([n for n in range(1, channels + 1) if channels % n == 0])
        outputs = groups * self.whole(1, 3)
        parameters = self.filters(self.whole(1, 3), self.whole(1, 3), channels // groups, outputs)
        return self.b.node(
            "conv", x, *parameters, groups=groups, activation=self.activation(), **self.window(x)
        )

    def depthwise(self) -> str:
        x = self.value(4)
        channels = self.b.shape(x)[3]
        parameters = self.filters(3, 3, 1, channels)
        window = self.window(x) if self.whole(0, 1) else {"padding": "same"}
        return self.b.node("conv", x, *parameters, groups=channels, activation=self.activation(), **window)

    def pointwise(self) -> str:
        x = self.value(4)
        channels = self.b.shape(x)[3]
        parameters = self.filters(1, 1, channels, self.one((channels, self.whole(1, 6))))
        return self.b.node("conv", x, *parameters, activation=self.activation())

    def transposed(self) -> str:
        x = self.value(4)
        parameters = self.filters(2, 2, self.b.shape(x)[3], self.whole(1, 3))
        assume(np.prod(self.b.shape(x)) < 2000)
        return self.b.node("transpose_conv", x, *parameters, strides=(2, 2))

    def dense(self) -> str:
        x = self.value()
        assume(len(self.b.shape(x)) >= 2)
        return self.b.node("matmul", x, self.array(self.b.shape(x)[-1], self.whole(1, 4)))

    def reshape(self) -> str:
        x = self.value()
        n, *rest = self.b.shape(x)
        total = int(np.prod(rest))
        shapes = [(n, total), (n, 1, 1, total), (n, 1, total // rest[-1], rest[-1]), (n, rest[0], -1)]
        return self.b.node("reshape", x, shape=self.one(shapes))

    def transpose(self) -> str:
        x = self.value()
        return self.b.node("transpose", x, perm=self.draw(st.permutations(range(len(self.b.shape(x))))))

    def slice(self) -> str:
        x = self.value()
        shape = self.b.shape(x)
        return self.b.node("slice", x, slices=tuple((self.whole(0, n - 1), None, None) for n in shape))

    def pad(self) -> str:
        x = self.value(4)
        pads = [(0, 0), *((self.whole(0, 2), self.whole(0, 2)) for _ in range(2)), (0, self.one((0, 0, 1)))]
        return self.b.node("pad", x, pads=tuple(pads), value=self.one((0.0, 0.0, 1.0)))

    def pool(self) -> str:
        x = self.value(4)
        op, (height, width) = self.one(("max_pool", "average_pool")), self.b.shape(x)[1:3]
        if self.whole(0, 1):
            return self.b.node(op, x, kernel=(height, width))
        more = {"count_include_pad": self.draw(st.booleans())} if op == "average_pool" else {}
        return self.b.node(op, x, kernel=(2, 2), padding="same", strides=(self.whole(1, 2), 1), **more)

    def concat(self) -> str:
        x = self.value()
        return self.b.node("concat", *[x] * self.whole(1, 2), axis=len(self.b.shape(x)) - 1)

    def mean(self) -> str:
        x = self.value(4)
        return self.b.node("reduce", x, kind="mean", axes=(1, 2), keepdims=self.draw(st.booleans()))

    def gate(self) -> str:
        """x times something of x, as activations and squeeze-and-excite are spelled."""
        x = self.value(4)
        channels = self.b.shape(x)[3]
        if self.whole(0, 1):
            y = self.b.node("reduce", x, kind="mean", axes=(1, 2))
            y = self.b.node("conv", y, *self.filters(1, 1, channels, 2), activation="relu")
            y = self.b.node("conv", y, *self.filters(1, 1, 2, channels), activation=self.one(ACTIVATIONS))
        else:
            y = self.b.node("binary", x, np.array(self.one((3.0, 3.0, 2.0))), kind="add")
            y = self.b.node("unary", y, kind="relu6")
        if self.whole(0, 3) == 0:
            self.values.append(y)
        return self.b.node("binary", *((x, y), (y, x))[self.whole(0, 1)], kind="mul")

    def norm(self) -> str:
        """Layer normalisation over the last axis, or another."""
        x = self.value()
        axis = self.one((-1, -1, -1, 0))
        centred = self.b.node("binary", x, self.b.node("reduce", x, kind="mean", axes=(axis,)), kind="sub")
        square = self.b.node("unary", centred, kind="square")
        variance = self.b.node("reduce", square, kind="mean", axes=(axis,))
        shifted = self.b.node("binary", variance, np.array(0.1), kind="add")
        return self.b.node("binary", centred, self.b.node("unary", shifted, kind="sqrt"), kind="div")

    def chain(self) -> str:
        """A block, with parts left out or read elsewhere."""
        x = self.value(4)
        start = len(self.values)
        for part in (self.pointwise, self.depthwise, self.gate, self.pointwise):
            if self.whole(0, 5):
                self.values.append(part())
        if self.whole(0, 3):
            del self.values[start:-1]
        y = self.values[-1]
        if self.b.shape(x) != self.b.shape(y) or x == y:
            return y
        return self.b.node(
            "binary", *((x, y), (y, x))[self.whole(0, 1)], kind="add", activation=self.activation()
        )

    def gate_sum(self) -> str:
        x = self.value(4)
        mean = self.b.node("reduce", x, kind="mean", axes=(1, 2))
        product = self.b.node("binary", *((x, mean), (mean, x))[self.whole(0, 1)], kind="mul")
        return self.b.node("binary", *((x, product), (product, x))[self.whole(0, 1)], kind="add")

    def parts(self) -> str:
        x = self.value()
        above, minus = self.b.node("unary", x, kind="relu"), self.b.node("unary", x, kind="neg")
        below = self.b.node("unary", minus, kind="relu")
        below = self.b.node("binary", below, self.array(self.one((1, self.b.shape(x)[-1]))), kind="mul")
        return self.b.node("binary", above, below, kind=self.one(("add", "sub")))

    def affine(self) -> str:
        """Numbers between an activation and a convolution with padding."""
        x = self.b.node("unary", self.value(4), kind=self.one(("relu", "relu6", "hard_swish")))
        x = self.b.node("unary", x, kind="linear", a=self.one((2.0, -0.5)), b=self.one((1.0, -3.0)))
        if self.whole(0, 3) == 0:
            self.values.append(x)
        return self.b.node("conv", x, *self.filters(3, 3, self.b.shape(x)[3], 3), padding="same")

    def prelu(self) -> str:
        x = self.value()
        size = self.b.shape(x)[-1]
        return self.b.node("prelu", x, self.one((np.full(size, 0.5), self.array(size))))


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    return Drawn(draw)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
@given(graphs())
def test_the_passes_keep_the_results_of_any_graph(drawn: Drawn) -> None:
    before = drawn.b.graph
    x = {"x": 3 * drawn.array(*before.values["x"].shape)}
    wanted = interpret(before, x)
    assume(all(np.isfinite(value).all() and np.abs(value).max() < 1e9 for value in wanted.values()))
    shown, log = text(before), []
    note(shown)
    after = run_passes(before, log=log)
    note(text(after))
    assert text(before) == shown
    assert_consistent(after)
    assert after.inputs == before.inputs
    found = interpret(after, x)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape == after.values[name].shape
        largest = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6 * largest + 1e-12)
    again = run_passes(after)
    assert len(again.nodes) <= len(after.nodes)
