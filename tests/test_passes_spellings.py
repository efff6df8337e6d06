"""Operations that model files spell out become one node, and what only looks like them stays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dwconv.graph import Builder, Graph
from dwconv.passes import (
    fold,
    normalise,
    run_passes,
)
from pass_graphs import (
    SHAPE,
    Make,
    array,
    assert_consistent,
    assert_same,
    binary,
    built,
    check,
    ops,
    scalar,
    unary,
)


def product(b: Builder, order: int, *factors: str) -> str:
    """In each order of multiplication."""
    p, q, r = [factors, factors[::-1], (factors[1], factors[0], factors[2])][order % 3]
    left = binary(b, "mul", p, q)
    return binary(b, "mul", left, r) if order < 3 else binary(b, "mul", r, left)


def gelu(order: int) -> Make:
    def make(b: Builder, x: str) -> str:
        erf = unary(b, binary(b, "div", x, scalar(math.sqrt(2))), "erf")
        return product(b, order, x, scalar(0.5), binary(b, "add", erf, scalar(1)))  # type: ignore[arg-type]

    return make


def gelu_tanh(order: int, cube: str) -> Make:
    def make(b: Builder, x: str) -> str:
        cubes = {
            "pow": lambda: binary(b, "pow", x, scalar(3)),
            "products": lambda: binary(b, "mul", binary(b, "mul", x, x), x),
            "square": lambda: binary(b, "mul", x, binary(b, "pow", x, scalar(2))),
        }
        inner = binary(b, "add", x, binary(b, "mul", cubes[cube](), scalar(0.044715)))
        power = unary(b, binary(b, "mul", inner, scalar(math.sqrt(2 / math.pi))), "tanh")
        return product(b, order, x, scalar(0.5), binary(b, "add", power, scalar(1)))  # type: ignore[arg-type]

    return make


def relu6(b: Builder, x: str) -> str:
    return unary(b, binary(b, "add", x, scalar(3)), "clip", 0, 6)


def layer_norm(division: str, square: str, twice: bool = False) -> Make:
    def make(b: Builder, x: str) -> str:
        def centred() -> str:
            return binary(b, "sub", x, b.node("reduce", x, kind="mean", axes=(-1,)))

        first = centred()
        second = centred() if twice else first
        squares = {
            "pow": lambda: binary(b, "pow", second, scalar(2)),
            "mul": lambda: binary(b, "mul", second, second),
            "square": lambda: unary(b, second, "square"),
        }
        variance = b.node("reduce", squares[square](), kind="mean", axes=(-1,))
        shifted = binary(b, "add", variance, scalar(1e-3))
        if division == "div":
            y = binary(b, "div", first, unary(b, shifted, "sqrt"))
        elif division == "reciprocal":
            y = binary(b, "mul", unary(b, unary(b, shifted, "sqrt"), "reciprocal"), first)
        else:
            y = binary(b, "mul", first, binary(b, "pow", shifted, scalar(-0.5)))
        channels = b.shape(x)[-1]
        return binary(b, "add", array(channels), binary(b, "mul", y, array(channels, low=0.5, high=2)))

    return make


SPELLINGS: dict[str, tuple[Make, str]] = {
    "hard swish, divided": (
        lambda b, x: binary(b, "div", binary(b, "mul", x, relu6(b, x)), scalar(6)),
        "hard_swish",
    ),
    "hard swish, gate first": (
        lambda b, x: binary(b, "mul", binary(b, "mul", relu6(b, x), scalar(1 / 6)), x),
        "hard_swish",
    ),
    "hard swish, factor first": (
        lambda b, x: binary(b, "mul", binary(b, "mul", x, scalar(1 / 6)), relu6(b, x)),
        "hard_swish",
    ),
    "hard swish, fused relu6": (
        lambda b, x: binary(
            b,
            "mul",
            binary(b, "mul", x, binary(b, "add", x, scalar(3), activation="relu6")),
            scalar(0.16666667),
        ),
        "hard_swish",
    ),
    "hard swish by name": (lambda b, x: binary(b, "mul", unary(b, x, "hard_sigmoid"), x), "hard_swish"),
    "hard swish of ONNX": (
        lambda b, x: binary(b, "mul", x, unary(b, unary(b, x, "linear", 1 / 6, 0.5), "clip", 0, 1)),
        "hard_swish",
    ),
    "hard sigmoid": (lambda b, x: unary(b, unary(b, x, "linear", 1 / 6, 0.5), "clip", 0, 1), "hard_sigmoid"),
    "hard sigmoid, divided": (lambda b, x: binary(b, "div", relu6(b, x), scalar(6)), "hard_sigmoid"),
    "silu": (lambda b, x: binary(b, "mul", unary(b, x, "sigmoid"), x), "silu"),
    "sigmoid": (
        lambda b, x: unary(b, binary(b, "add", unary(b, unary(b, x, "neg"), "exp"), scalar(1)), "reciprocal"),
        "sigmoid",
    ),
    "softplus": (lambda b, x: unary(b, binary(b, "add", unary(b, x, "exp"), scalar(1)), "log"), "softplus"),
    **{f"gelu {order}": (gelu(order), "gelu") for order in range(6)},
    **{
        f"gelu_tanh {order} {cube}": (gelu_tanh(order, cube), "gelu_tanh")
        for order, cube in [
            (0, "pow"),
            (1, "products"),
            (2, "square"),
            (3, "pow"),
            (4, "pow"),
            (5, "products"),
        ]
    },
    "relu": (lambda b, x: binary(b, "max", x, scalar(0)), "relu"),
    "relu of a vector": (lambda b, x: binary(b, "max", np.zeros(4, np.float32), x), "relu"),
    "relu6": (lambda b, x: binary(b, "min", binary(b, "max", x, scalar(0)), scalar(6)), "relu6"),
    "clip": (lambda b, x: unary(b, unary(b, x, "relu"), "clip", -1, 5), "clip"),
    "leaky relu": (lambda b, x: binary(b, "max", x, binary(b, "mul", x, scalar(0.1))), "leaky_relu"),
    "leaky relu, min": (lambda b, x: binary(b, "min", binary(b, "mul", x, scalar(2)), x), "leaky_relu"),
    "prelu": (lambda b, x: b.node("prelu", x, np.full(4, 0.25, np.float32)), "leaky_relu"),
    "leaky relu of parts": (
        lambda b, x: binary(
            b,
            "add",
            unary(b, x, "relu"),
            binary(b, "mul", unary(b, unary(b, x, "neg"), "relu"), scalar(-0.3)),
        ),
        "leaky_relu",
    ),
    "swish": (lambda b, x: unary(b, x, "Swish"), "silu"),
    "numbers": (
        lambda b, x: binary(b, "sub", scalar(3), binary(b, "div", binary(b, "add", x, scalar(1)), scalar(4))),
        "linear",
    ),
    "square": (lambda b, x: binary(b, "pow", x, scalar(2)), "square"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_become_one_node(name: str) -> None:
    make, kind = SPELLINGS[name]
    check(normalise, make, [f"unary {kind}"])


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_become_one_node_between_others(name: str) -> None:
    make, kind = SPELLINGS[name]
    check(
        normalise,
        lambda b, x: unary(b, make(b, unary(b, x, "sin")), "cos"),
        ["unary sin", f"unary {kind}", "unary cos"],
    )


@pytest.mark.parametrize("division", ["div", "reciprocal", "rsqrt"])
@pytest.mark.parametrize("square", ["pow", "mul", "square"])
@pytest.mark.parametrize("twice", [False, True])
def test_a_spelled_out_layer_normalisation_becomes_one_node(division: str, square: str, twice: bool) -> None:
    def both(graph: Graph) -> None:
        normalise(graph)
        fold(graph)

    check(both, layer_norm(division, square, twice), ["layer_norm"], (2, 3, 16))


def moments(form: str) -> Make:
    """Layer normalisation as TensorFlow and Keras compute it."""

    def make(b: Builder, x: str) -> str:
        mean = b.node("reduce", x, kind="mean", axes=(2,))
        square = unary(b, binary(b, "sub", x, mean), "square")
        shifted = binary(b, "add", b.node("reduce", square, kind="mean", axes=(2,)), scalar(1e-3))
        inverse = unary(b, unary(b, shifted, "sqrt"), "reciprocal")
        if form != "plain":
            inverse = binary(b, "mul", inverse, array(16, low=0.5, high=2))
        product = binary(b, "mul", x, inverse)
        if form == "plain":
            return binary(b, "sub", product, binary(b, "mul", inverse, mean))
        if form == "keras":
            rest = binary(b, "mul", unary(b, mean, "neg"), inverse)
            return binary(b, "add", product, binary(b, "add", rest, array(16)))
        return binary(b, "add", product, binary(b, "sub", array(16), binary(b, "mul", mean, inverse)))

    return make


@pytest.mark.parametrize("form", ["plain", "keras", "tensorflow"])
def test_a_layer_normalisation_from_moments_becomes_one_node(form: str) -> None:
    check(normalise, moments(form), ["layer_norm"], (2, 3, 16))


def test_parts_with_a_slope_per_channel_are_prelu() -> None:
    def make(b: Builder, x: str) -> str:
        below = unary(b, unary(b, x, "neg"), "relu")
        return binary(b, "sub", unary(b, x, "relu"), binary(b, "mul", array(4), below))

    check(normalise, make, ["prelu"])


def test_the_sum_of_a_value_and_its_gated_self_is_one_product() -> None:
    def make(b: Builder, x: str) -> str:
        gate = unary(b, b.node("reduce", x, kind="mean", axes=(1, 2)), "sigmoid")
        return binary(b, "add", binary(b, "mul", gate, x), x)

    check(normalise, make, ["reduce mean", "unary sigmoid", "unary linear", "binary mul"])

    def large(b: Builder, x: str) -> str:
        return binary(b, "add", binary(b, "mul", unary(b, x, "sin"), x), x)

    check(normalise, large, ["unary sin", "binary mul", "binary add"])


def test_numbers_rounded_to_half_precision_are_recognised() -> None:
    third = np.float32(np.float16(1 / math.sqrt(2)))

    def make(b: Builder, x: str) -> str:
        erf = unary(b, binary(b, "mul", x, third), "erf")
        return binary(b, "mul", binary(b, "mul", x, scalar(0.5)), binary(b, "add", erf, scalar(1)))

    before = built(make)
    after = run_passes(before)
    assert ops(after) == ["unary gelu"]
    assert_same(before, after, 1e-3)


def wrong_layer_norm(b: Builder, x: str) -> str:
    centred = binary(b, "sub", x, b.node("reduce", x, kind="mean", axes=(1,)))
    variance = b.node("reduce", unary(b, centred, "square"), kind="mean", axes=(-1,))
    return binary(b, "div", centred, unary(b, variance, "sqrt"))


WRONG: dict[str, tuple[Make, str]] = {
    "another constant": (
        lambda b, x: binary(b, "mul", x, unary(b, binary(b, "add", x, scalar(2.99)), "clip", 0, 6)),
        "hard_swish",
    ),
    "another bound": (
        lambda b, x: binary(b, "mul", x, unary(b, binary(b, "add", x, scalar(3)), "clip", 0, 5)),
        "hard_swish",
    ),
    "gate of another value": (
        lambda b, x: binary(b, "mul", x, unary(b, unary(b, x, "sin"), "sigmoid")),
        "silu",
    ),
    "a steeper sigmoid": (
        lambda b, x: binary(b, "mul", x, unary(b, binary(b, "mul", x, scalar(1.702)), "sigmoid")),
        "silu",
    ),
    "erf of another slope": (
        lambda b, x: binary(
            b,
            "mul",
            x,
            binary(b, "add", unary(b, binary(b, "mul", x, scalar(0.7)), "erf"), scalar(1)),
        ),
        "gelu",
    ),
    "erf minus one": (
        lambda b, x: binary(
            b,
            "mul",
            x,
            binary(b, "sub", unary(b, binary(b, "mul", x, scalar(math.sqrt(0.5))), "erf"), scalar(1)),
        ),
        "gelu",
    ),
    "max of a steeper line": (
        lambda b, x: binary(b, "max", x, binary(b, "mul", x, scalar(1.5))),
        "leaky_relu",
    ),
    "slopes that differ": (lambda b, x: b.node("prelu", x, array(4)), "leaky_relu"),
    "mean over another axis": (wrong_layer_norm, "layer_norm"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_only_looks_like_a_spelling_stays(name: str) -> None:
    make, kind = WRONG[name]
    before = built(make)
    after = before.copy()
    normalise(after)
    assert kind not in " ".join(ops(after))
    assert_consistent(after)
    assert_same(before, after)


def test_a_gate_that_is_read_elsewhere_stays() -> None:
    b = Builder()
    x = b.input("x", SHAPE)
    gate = unary(b, x, "sigmoid")
    other = unary(b, gate, "exp")
    b.output("y", binary(b, "mul", x, gate))
    b.output("z", other)
    after = run_passes(b.graph)
    assert ops(after) == ["unary sigmoid", "unary exp", "binary mul"]
    assert_same(b.graph, after)


def test_a_gate_that_is_an_output_stays() -> None:
    b = Builder()
    x = b.input("x", SHAPE)
    gate = unary(b, x, "sigmoid")
    b.output("gate", gate)
    b.output("y", binary(b, "mul", x, "gate"))
    after = run_passes(b.graph)
    assert ops(after) == ["unary sigmoid", "binary mul"]
    assert_same(b.graph, after)


def test_the_mean_of_a_whole_image_is_a_reduction() -> None:
    check(normalise, lambda b, x: b.node("average_pool", x, kernel=(6, 5), strides=(2, 3)), ["reduce mean"])

    def part(b: Builder, x: str) -> str:
        return b.node("average_pool", x, kernel=(6, 4))

    check(normalise, part, ["average_pool"])

    def padded(b: Builder, x: str) -> str:
        return b.node("average_pool", x, kernel=(6, 5), padding=((1, 0), (0, 0)), strides=(2, 1))

    check(normalise, padded, ["average_pool"])


def test_reduced_axes_are_removed_by_a_reshape() -> None:
    def make(b: Builder, x: str) -> str:
        return b.node("reduce", x, kind="sum", axes=(1, 2), keepdims=False)

    check(normalise, make, ["reduce sum", "reshape"])


def test_integers_are_left_alone() -> None:
    before = built(lambda b, x: binary(b, "max", x, np.array(0, np.int32)), dtype=np.int32)
    after = run_passes(before)
    assert ops(after) == ["binary max"]
