"""Constants and padding go into convolutions where that means the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dwconv.graph import Builder
from dwconv.passes import (
    fold,
    run_passes,
)
from pass_graphs import (
    SHAPE,
    Make,
    array,
    assert_same,
    binary,
    built,
    check,
    conv,
    depthwise,
    norm,
    ops,
    run,
    scalar,
    simplify,
    transposed,
    unary,
)

# ---- folding ------------------------------------------------------------------------------------


BEHIND: dict[str, tuple[Make, str]] = {
    "norm": (lambda b, x: norm(b, conv(b, x, 6)), "conv"),
    "norm of logical axes": (lambda b, x: norm(b, conv(b, x, 6), (1, 1, 1, 6)), "conv"),
    "norm without bias": (lambda b, x: norm(b, conv(b, x, 6, bias=False)), "conv"),
    "bias and norm": (lambda b, x: norm(b, binary(b, "add", array(6), conv(b, x, 6, bias=False))), "conv"),
    "groups": (lambda b, x: norm(b, conv(b, x, 6, groups=2)), "conv"),
    "depthwise": (lambda b, x: norm(b, depthwise(b, x)), "conv"),
    "numbers": (
        lambda b, x: binary(b, "div", binary(b, "sub", scalar(2), conv(b, x, 3)), scalar(3)),
        "conv",
    ),
    "per channel": (
        lambda b, x: binary(b, "div", binary(b, "sub", conv(b, x, 6), array(6)), array(6, low=1, high=2)),
        "conv",
    ),
    "transposed": (lambda b, x: norm(b, transposed(b, x, 6)), "transpose_conv"),
    "transposed groups": (lambda b, x: norm(b, transposed(b, x, 6, 2)), "transpose_conv"),
    "layer norm": (
        lambda b, x: norm(b, b.node("layer_norm", x, array(4), array(4))),
        "layer_norm",
    ),
}


@pytest.mark.parametrize("name", BEHIND)
def test_constants_behind_a_convolution_are_folded(name: str) -> None:
    make, op = BEHIND[name]
    check(simplify, make, [op])


BEFORE: dict[str, tuple[Make, list[str]]] = {
    "norm, valid": (lambda b, x: conv(b, norm(b, x), 6), ["conv"]),
    "norm, groups": (lambda b, x: conv(b, norm(b, x), 6, groups=2), ["conv"]),
    "norm, depthwise": (lambda b, x: depthwise(b, norm(b, x), padding="valid"), ["conv"]),
    "norm, 1x1": (lambda b, x: conv(b, norm(b, x), 6, 1, padding="same"), ["conv"]),
    "scale, padded": (lambda b, x: conv(b, binary(b, "mul", x, array(4)), 6, padding="same"), ["conv"]),
    "number, padded": (lambda b, x: conv(b, binary(b, "div", x, scalar(255)), 6, padding="same"), ["conv"]),
    "scale, transposed": (
        lambda b, x: transposed(b, binary(b, "mul", x, array(4)), 6, 2),
        ["transpose_conv"],
    ),
    # An offset is not zero outside of the image, as padding is.
    "norm, padded": (lambda b, x: conv(b, norm(b, x), 6, padding="same"), ["conv", "conv"]),
    "offset, padded": (
        lambda b, x: conv(b, binary(b, "add", x, array(4)), 6, padding=((0, 1), (0, 0))),
        ["binary add", "conv"],
    ),
    "offset, transposed": (
        lambda b, x: transposed(b, binary(b, "add", x, array(4)), 6),
        ["binary add", "transpose_conv"],
    ),
    # Nor are numbers, but what they make zero can be around it.
    "numbers, padded": (
        lambda b, x: conv(b, unary(b, x, "linear", 2, 3), 6, padding="same"),
        ["pad", "conv"],
    ),
    "numbers, padded and strided": (
        lambda b, x: depthwise(b, unary(b, x, "linear", -2, 3), strides=(2, 2)),
        ["pad", "conv"],
    ),
    "numbers, read twice": (
        lambda b, x: binary(
            b, "mul", depthwise(b, y := unary(b, x, "linear", 2, 3)), conv(b, y, 4, 1, padding="same")
        ),
        ["pad", "conv", "conv", "binary mul"],
    ),
    "numbers, padded twice": (
        lambda b, x: binary(b, "mul", depthwise(b, y := unary(b, x, "linear", 2, 3)), depthwise(b, y)),
        ["unary linear", "conv", "conv", "binary mul"],
    ),
    "numbers, read by others": (
        lambda b, x: binary(b, "mul", depthwise(b, y := unary(b, x, "linear", 2, 3)), y),
        ["unary linear", "conv", "binary mul"],
    ),
    "numbers behind relu": (
        lambda b, x: conv(b, unary(b, conv(b, x, 5, activation="relu"), "linear", 2, 3), 6, padding="same"),
        ["conv", "unary clip", "conv"],
    ),
    "negative numbers behind relu6": (
        lambda b, x: unary(b, conv(b, x, 5, activation="relu6"), "linear", -2, 3),
        ["conv", "unary clip"],
    ),
    "a constant per pixel": (
        lambda b, x: conv(b, binary(b, "add", x, array(6, 5, 4)), 6),
        ["binary add", "conv"],
    ),
    "a constant per row": (
        lambda b, x: conv(b, binary(b, "mul", x, array(6, 1, 1)), 6),
        ["binary mul", "conv"],
    ),
    "another activation between": (
        lambda b, x: norm(b, unary(b, conv(b, x, 6), "relu")),
        ["conv", "unary relu", "conv"],
    ),
}


@pytest.mark.parametrize("name", BEFORE)
def test_constants_before_a_convolution_are_folded_where_padding_allows(name: str) -> None:
    make, expected = BEFORE[name]
    check(simplify, make, expected)


def test_a_convolution_with_other_readers_keeps_its_result() -> None:
    b = Builder()
    value = conv(b, b.input("x", SHAPE), 6)
    other = unary(b, value, "abs")
    b.output("y", norm(b, value))
    b.output("z", other)
    after = run_passes(b.graph)
    assert sorted(ops(after)) == ["conv", "conv", "unary abs"]
    assert_same(b.graph, after)


def test_a_convolution_that_is_an_output_keeps_its_result() -> None:
    b = Builder()
    value = conv(b, b.input("x", SHAPE), 6)
    b.output("z", value)
    b.output("y", binary(b, "mul", "z", array(6)))
    after = run_passes(b.graph)
    assert ops(after) == ["conv", "binary mul"]
    assert_same(b.graph, after)


def test_a_factor_that_overflows_is_not_folded() -> None:
    def make(b: Builder, x: str) -> str:
        return binary(
            b,
            "mul",
            conv(b, binary(b, "mul", x, scalar(1e-30)), 6, padding="same"),
            np.full(6, 3e38, np.float32),
        )

    after = run_passes(built(make))
    assert all(np.isfinite(v.data).all() for v in after.values.values() if v.data is not None)


def test_filters_that_several_convolutions_share_are_not_changed_for_the_others() -> None:
    b = Builder()
    x, filters = b.input("x", SHAPE), b.constant(array(3, 3, 4, 6))
    b.output("y", norm(b, b.node("conv", x, filters)))
    b.output("z", b.node("conv", unary(b, x, "abs"), filters))
    after = run_passes(b.graph)
    assert ops(after) == ["conv", "unary abs", "conv"]
    assert_same(b.graph, after)


def test_constants_without_a_convolution_are_combined() -> None:
    def relu(b: Builder, x: str) -> str:
        return unary(b, norm(b, unary(b, norm(b, x), "abs")), "relu")

    before = built(relu)
    after = run_passes(before)
    assert ops(after) == ["conv", "unary abs", "conv relu"]
    assert_same(before, after)

    def rows(b: Builder, x: str) -> str:
        return norm(b, norm(b, x))

    check(simplify, rows, ["binary mul", "binary add"], (3, 7))


PADS = ((0, 0), (1, 2), (3, 0), (0, 0))
PADDED: dict[str, tuple[Make, list[str]]] = {
    "valid": (lambda b, x: conv(b, b.node("pad", x, pads=PADS), 6), ["conv"]),
    "strided": (lambda b, x: conv(b, b.node("pad", x, pads=PADS), 6, strides=(2, 2)), ["conv"]),
    "explicit": (lambda b, x: conv(b, b.node("pad", x, pads=PADS), 6, padding=((2, 0), (1, 1))), ["conv"]),
    "same": (lambda b, x: conv(b, b.node("pad", x, pads=PADS), 6, padding="same", strides=(2, 2)), ["conv"]),
    "depthwise": (lambda b, x: depthwise(b, b.node("pad", x, pads=PADS), padding="valid"), ["conv"]),
    "two pads": (lambda b, x: conv(b, b.node("pad", b.node("pad", x, pads=PADS), pads=PADS), 6), ["conv"]),
    "another value": (lambda b, x: conv(b, b.node("pad", x, pads=PADS, value=1.0), 6), ["pad", "conv"]),
    "reflected": (lambda b, x: conv(b, b.node("pad", x, pads=PADS, mode="reflect"), 6), ["pad", "conv"]),
    "channels": (
        lambda b, x: conv(b, b.node("pad", x, pads=((0, 0), (1, 1), (1, 1), (0, 1))), 6),
        ["pad", "conv"],
    ),
    "mean": (
        lambda b, x: b.node("average_pool", b.node("pad", x, pads=PADS), kernel=(3, 3)),
        ["average_pool"],
    ),
    "mean that counts": (
        lambda b, x: b.node(
            "average_pool",
            b.node("pad", x, pads=PADS),
            kernel=(3, 3),
            padding=((1, 1), (0, 1)),
            count_include_pad=True,
        ),
        ["average_pool"],
    ),
    "mean that does not count": (
        lambda b, x: b.node(
            "average_pool", b.node("pad", x, pads=PADS), kernel=(3, 3), padding=((1, 1), (0, 1))
        ),
        ["pad", "average_pool"],
    ),
    "rounded up": (
        lambda b, x: b.node(
            "average_pool", b.node("pad", x, pads=PADS), kernel=(3, 3), strides=(2, 2), ceil_mode=True
        ),
        ["pad", "average_pool"],
    ),
    "maximum": (
        lambda b, x: b.node("max_pool", b.node("pad", x, pads=PADS, value=-math.inf), kernel=(4, 4)),
        ["max_pool"],
    ),
    "maximum with zeros": (
        lambda b, x: b.node("max_pool", b.node("pad", x, pads=PADS), kernel=(3, 3)),
        ["pad", "max_pool"],
    ),
}


@pytest.mark.parametrize("name", PADDED)
def test_padding_becomes_part_of_the_window_where_it_means_the_same(name: str) -> None:
    make, expected = PADDED[name]
    check(fold, make, expected)


# ---- dense layers -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 7), (2, 5, 7), (2, 3, 4, 7), (1, 2, 3, 2, 7)])
def test_a_dense_layer_is_a_pointwise_convolution_with_its_bias_and_activation(
    shape: tuple[int, ...],
) -> None:
    def make(b: Builder, x: str) -> str:
        return unary(b, binary(b, "add", array(5), b.node("matmul", x, array(7, 5))), "relu")

    expected = ["conv relu"] if len(shape) == 4 else ["reshape", "conv relu", "reshape"]
    after = check(run, make, expected, shape)
    assert after.nodes[-1].output == "y"


def test_dense_layers_behind_each_other_need_no_reshape_between() -> None:
    def make(b: Builder, x: str) -> str:
        pooled = b.node("reduce", x, kind="mean", axes=(1, 2), keepdims=False)
        hidden = unary(b, norm(b, b.node("matmul", pooled, array(4, 8))), "relu6")
        return binary(b, "add", b.node("matmul", hidden, array(8, 3)), array(3))

    check(run, make, ["reduce mean", "conv relu6", "conv", "reshape"])


def test_a_product_of_two_activations_stays() -> None:
    def make(b: Builder, x: str) -> str:
        return b.node("matmul", x, b.node("transpose", x, perm=(0, 2, 1)))

    check(run, make, ["transpose", "matmul"], (2, 3, 4))


def test_an_activation_behind_a_flattened_image_is_fused() -> None:
    def make(b: Builder, x: str) -> str:
        return unary(b, b.node("reshape", conv(b, x, 6), shape=(2, -1)), "relu")

    check(run, make, ["conv relu", "reshape"])
