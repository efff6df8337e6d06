"""The builder of graphs: names of values and of outputs."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import graph
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


@pytest.mark.parametrize(
    ("op", "filters", "attributes", "words"),
    [
        ("conv", [(3, 3, 3, 4)], {"strides": (0, 1)}, "strides must be an integer from 1"),
        ("conv", [], {}, "conv takes 2 to 3 inputs, not 1"),
        ("max_pool", [], {"kernel": 3}, "kernel must have 2 items"),
        ("max_pool", [], {"kernel": (2, 2), "strides": (1, 0)}, "strides must be an integer from 1"),
        ("transpose", [], {"perm": None}, "perm must have items"),
    ],
)
def test_wrong_attributes_are_told_by_their_names(
    op: str, filters: list[tuple[int, ...]], attributes: dict[str, Any], words: str
) -> None:
    b = Builder()
    x = b.input("x", (1, 8, 8, 3))
    with pytest.raises(ValueError, match=words):
        b.node(op, x, *(ones(*shape) for shape in filters), **attributes)


# ---- what is computed of constants --------------------------------------------------------------------


def ones(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("op", ["max_pool", "average_pool"])
def test_a_window_far_larger_than_the_image_takes_what_the_image_has(op: str, backend: str) -> None:
    b = Builder()
    x = b.input("x", (1, 3, 3, 1))
    huge = 2**30
    more = {} if op == "max_pool" else {"count_include_pad": False}
    padding = ((huge - 3, 0), (0, 0))
    b.output("y", b.node(op, x, kernel=(huge, 1), strides=(1, 1), padding=padding, **more))
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    with using(backend):
        y = dwconv.Network(b)(image)
    np.testing.assert_array_equal(y[0, :, :, 0], [[6, 7, 8] if op == "max_pool" else [3, 4, 5]])


@pytest.mark.parametrize("backend", backends())
def test_a_transposed_convolution_whose_padding_takes_most_away_computes_what_is_left(backend: str) -> None:
    b = Builder()
    x = b.input("x", (1, 2, 2, 1))
    stride = 2**26
    filters = np.arange(1, 4, dtype=np.float32).reshape(3, 1, 1, 1)
    padding = ((0, 0), (stride - 1, 0))
    y = b.node("transpose_conv", x, filters, strides=(1, stride), padding=padding)
    b.output("y", y)
    with using(backend):
        found = dwconv.Network(b)(np.ones((1, 2, 2, 1), np.float32))
    np.testing.assert_array_equal(found[0, :, :, 0], [[0, 1], [0, 3], [0, 5], [0, 3]])


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("expand", {"shape": (1, 4096, 4096, 1)}),
        ("pad", {"pads": ((0, 0), (0, 4095), (0, 4095), (0, 0))}),
        ("resize", {"kind": "nearest", "sizes": (4096, 4096)}),
    ],
)
def test_results_of_constants_are_refused_before_they_take_memory(
    op: str, attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "MOST_COMPUTED", 2**20)
    b = Builder()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"{op} 'big': computing \(1, 4096, 4096, 1\).* too large"):
            b.node(op, ones(1, 1, 1, 1), name="big", **attributes)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_many_small_results_of_constants_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_COMPUTED", 2**20)
    b = Builder()
    for _ in range(4):
        b.node("expand", ones(1, 1), shape=(256, 256))
    with pytest.raises(ValueError, match=r"of which \d+ are left"):
        b.node("expand", ones(1, 1), shape=(256, 256))


def test_large_constants_may_be_rearranged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored justifies what is computed of it, of however large a model."""
    monkeypatch.setattr(graph, "MOST_COMPUTED", 0)
    b = Builder()
    value = b.constant(ones(64, 64))
    for _ in range(graph.GROWTH):
        value = b.node("transpose", value, perm=(1, 0))
    assert b.data(value) is not None
    with pytest.raises(ValueError, match="too large"):
        b.node("transpose", value, perm=(1, 0))
