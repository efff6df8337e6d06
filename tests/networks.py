"""Small networks that tests build by hand, and what NumPy computes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import dwconv
from dwconv.graph import Builder
from oracles import using

rng = np.random.default_rng(7)
OPEN = {"image": (None, None, None, 3)}  # input_shapes of a classifier


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(np.prod(shape[:3])))


def image(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(np.float32)


def classifier(shape: tuple[int, int, int, int] = (1, 16, 16, 3), classes: int = 5) -> Builder:
    """NHWC, one input, one output: a stem, a separable pair, an average, scores that sum to 1."""
    b = Builder()
    x = b.input("image", shape)
    y = b.node("conv", x, weights(3, 3, shape[3], 8), weights(8), strides=(2, 2), padding="same", name="stem")
    y = b.node("unary", y, kind="relu6")
    y = b.node("conv", y, weights(3, 3, 1, 8), groups=8, padding="same", name="depthwise")
    y = b.node("conv", y, weights(1, 1, 8, 12), activation="hard_swish", name="pointwise")
    y = b.node("reduce", y, kind="mean", axes=(1, 2), keepdims=False)
    y = b.node("matmul", y, weights(12, classes))
    b.output("scores", b.node("softmax", y))
    return b


def channels_first(shape: tuple[int, int, int, int] = (1, 3, 16, 16)) -> Builder:
    """NCHW at its edges, with arithmetic before the image is turned; a vector and an image come out."""
    b = Builder()
    x = b.node("binary", b.input("image", shape), np.float32(0.5), kind="sub")
    y = b.node("transpose", x, perm=(0, 2, 3, 1))
    y = b.node("conv", y, weights(3, 3, shape[1], 6), padding="same", activation="relu", name="stem")
    b.output("vector", b.node("reduce", y, kind="mean", axes=(1, 2), keepdims=False))
    b.output("map", b.node("transpose", y, perm=(0, 3, 1, 2)))
    return b


def two_inputs() -> Builder:
    """`a + b`, `a` itself, and a constant: outputs that no node gives."""
    b = Builder()
    first, second = b.input("a", (1, 4, 4, 8)), b.input("b", (8,))
    b.output("sum", b.node("binary", first, second, kind="add"))
    b.output("same", first)
    b.output("ones", b.constant(np.ones((2, 3), np.float32)))
    return b


def oracle(net: dwconv.Network, *inputs: Any) -> Any:
    with using("numpy"):
        return net(*inputs)


def close(y: Any, expected: Any) -> None:
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()))
