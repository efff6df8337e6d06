"""The builder of graphs: names of values and of outputs."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv
from dwconv.graph import Builder
from oracles import backends, using

X = np.array([[-1.0, 2.0, -3.0]], np.float32)


def test_one_value_may_be_several_outputs() -> None:
    b = Builder()
    y = b.node("unary", b.input("x", X.shape), kind="relu", name="inner")
    for name in ("first", "second", "inner"):
        b.output(name, y)
    assert b.graph.outputs == ["first", "second", "inner"]
    for y in dwconv.Network(b)(X).values():
        np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_an_output_takes_the_name_of_an_inner_value_that_is_an_output_too() -> None:
    b = Builder()
    x = b.input("x", X.shape)
    relu = b.node("unary", x, kind="relu", name="y")
    negated = b.node("unary", x, kind="neg", name="z")
    b.output("y", negated)
    b.output("relu", relu)
    assert b.shape(relu) == X.shape
    b.output("square", b.node("binary", relu, relu, kind="mul"))
    found = dwconv.Network(b)(X)
    np.testing.assert_array_equal(found["y"], -X)
    np.testing.assert_array_equal(found["relu"], np.maximum(X, 0))
    np.testing.assert_array_equal(found["square"], np.maximum(X, 0) ** 2)


@pytest.mark.parametrize("backend", backends())
def test_a_transposed_convolution_of_a_huge_stride_does_not_become_a_huge_program(backend: str) -> None:
    b = Builder()
    x = b.input("x", (1, 2, 2, 1))
    y = b.node("transpose_conv", x, np.ones((1, 1, 1, 1), np.float32), strides=(1, 4000))
    b.output("y", b.node("reduce", y, kind="sum", axes=(1, 2, 3)))
    with using(backend):
        net = dwconv.Network(b)
        assert net(np.ones((1, 2, 2, 1), np.float32)).item() == 4
        assert net.backend == "numpy"
