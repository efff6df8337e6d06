"""The passes over graphs: what they make, what they must leave, and that the results stay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dwconv.graph import Builder, Graph
from dwconv.nodes_numpy import interpret
from dwconv.passes import (
    drop_dead,
    drop_identities,
    fold,
    form_blocks,
    fuse_activations,
    normalise,
    run_passes,
    text,
)

RNG = np.random.default_rng(5)


def array(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return RNG.uniform(low, high, shape).astype(np.float32)


def feeds(graph: Graph) -> dict[str, np.ndarray]:
    return {name: (4 * array(*graph.values[name].shape)).astype(np.float32) for name in graph.inputs}


def assert_same(before: Graph, after: Graph, tolerance: float = 1e-5) -> None:
    given = feeds(before)
    wanted, found = interpret(before, given), interpret(after, given)
    assert list(wanted) == list(found)
    for name, value in wanted.items():
        assert found[name].shape == value.shape
        assert found[name].dtype == value.dtype
        largest = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * largest, err_msg=text(after))
        assert after.values[name].shape == value.shape


def assert_consistent(graph: Graph) -> None:
    """Every value is made before it is read, and all that the lists name exists."""
    known = set(graph.inputs) | {name for name, value in graph.values.items() if value.data is not None}
    for node in graph.nodes:
        assert set(node.inputs) <= known, text(graph)
        assert node.output in graph.values
        assert node.output not in known
        known.add(node.output)
    assert set(graph.outputs) <= known


def ops(graph: Graph) -> list[str]:
    """The nodes in short: op, and kind or activation where there is one."""
    found = []
    for node in graph.nodes:
        kind, activation = node.attributes.get("kind"), node.attributes.get("activation")
        kind = node["operation"].kind if node.op == "block" else kind
        parts = [node.op, kind, activation[0] if isinstance(activation, tuple) else activation]
        found.append(" ".join(part for part in parts if part))
    return found


Make = Callable[[Builder, str], str]


def built(make: Make, shape: tuple[int, ...] = (2, 6, 5, 4), dtype: Any = np.float32) -> Graph:
    """A graph of one input `x` and one output `y`."""
    b = Builder()
    b.output("y", make(b, b.input("x", shape, dtype)))
    return b.graph


def check(
    passes: Callable[[Graph], None], make: Make, expected: list[str], shape: tuple[int, ...] = (2, 6, 5, 4)
) -> Graph:
    """The pass gives these nodes, and the network what it gave."""
    before = built(make, shape)
    after = before.copy()
    passes(after)
    drop_dead(after)
    assert_consistent(after)
    assert ops(after) == expected, text(after)
    assert_same(before, after)
    return after


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def unary(b: Builder, x: str, kind: str, a: float = 0.0, c: float = 0.0) -> str:
    return b.node("unary", x, kind=kind, a=a, b=c)


def binary(b: Builder, kind: str, x: Any, y: Any, **more: Any) -> str:
    return b.node("binary", x, y, kind=kind, **more)


def conv(b: Builder, x: str, outputs: int, kernel: int = 3, *, bias: bool = True, **more: Any) -> str:
    inputs = b.shape(x)[3]
    depth = inputs // more.get("groups", 1)
    filters = array(kernel, kernel, depth, outputs) / (kernel * math.sqrt(depth))
    return b.node("conv", x, filters, array(outputs) if bias else None, **more)


def depthwise(b: Builder, x: str, kernel: int = 3, **more: Any) -> str:
    channels = b.shape(x)[3]
    return conv(b, x, channels, kernel, groups=channels, **{"padding": "same", **more})


def norm(b: Builder, x: str, shape: Any = None) -> str:
    """Batch normalisation as importers give it."""
    channels = b.shape(x)[-1]
    shape = (channels,) if shape is None else shape
    scaled = binary(b, "mul", x, array(*shape, low=0.5, high=2))
    return binary(b, "add", scaled, array(*shape))


# ---- identities ---------------------------------------------------------------------------------

SHAPE = (2, 6, 5, 4)
IDENTITIES: dict[str, Make] = {
    "linear": lambda b, x: unary(b, x, "linear", 1, 0),
    "add zero": lambda b, x: binary(b, "add", x, scalar(0)),
    "divide by ones": lambda b, x: binary(b, "div", x, np.ones(4, np.float32)),
    "clip to everything": lambda b, x: unary(b, x, "clip", -math.inf, math.inf),
    "reshape": lambda b, x: b.node("reshape", x, shape=(0, -1, 5, 4)),
    "two reshapes": lambda b, x: b.node("reshape", b.node("reshape", x, shape=(2, -1)), shape=SHAPE),
    "transpose": lambda b, x: b.node("transpose", x, perm=(0, 1, 2, 3)),
    "there and back": lambda b, x: b.node(
        "transpose", b.node("transpose", x, perm=(0, 3, 1, 2)), perm=(0, 2, 3, 1)
    ),
    "slice": lambda b, x: b.node("slice", x, slices=(None, (0, 6, 1), (None, None, None), (0, 99, 1))),
    "concat": lambda b, x: b.node("concat", x, axis=3),
    "expand": lambda b, x: b.node("expand", x, shape=SHAPE),
    "pad": lambda b, x: b.node("pad", x, pads=((0, 0),) * 4),
    "resize": lambda b, x: b.node("resize", x, kind="linear", sizes=(6, 5)),
    "pool": lambda b, x: b.node("max_pool", x, kernel=(1, 1)),
    "blocks of one": lambda b, x: b.node("depth_to_space", x, block=1),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identities_vanish_between_two_nodes(name: str) -> None:
    check(
        drop_identities,
        lambda b, x: unary(b, IDENTITIES[name](b, unary(b, x, "abs")), "exp"),
        ["unary abs", "unary exp"],
    )


@pytest.mark.parametrize("name", IDENTITIES)
def test_the_output_of_an_identity_is_made_by_the_node_before(name: str) -> None:
    after = check(drop_identities, lambda b, x: IDENTITIES[name](b, unary(b, x, "abs")), ["unary abs"])
    assert after.nodes[0].output == "y"


def test_an_identity_from_input_to_output_stays() -> None:
    check(drop_identities, IDENTITIES["linear"], ["unary linear"])


def test_an_identity_between_two_outputs_stays() -> None:
    b = Builder()
    value = unary(b, b.input("x", SHAPE), "abs")
    b.output("y", value)
    b.output("z", unary(b, "y", "linear", 1, 0))
    after = b.graph.copy()
    drop_identities(after)
    assert ops(after) == ["unary abs", "unary linear"]
    assert_same(b.graph, after)


NO_IDENTITIES: dict[str, Make] = {
    "reversed": lambda b, x: b.node("slice", x, slices=(None, (None, None, -1), None, None)),
    "another shape": lambda b, x: b.node("reshape", x, shape=(2, -1)),
    "broadcast": lambda b, x: binary(b, "add", x, np.zeros((3, 1, 1, 1, 1), np.float32)),
    "square transpose": lambda b, x: b.node(
        "transpose", b.node("slice", x, slices=(None, (0, 5, 1), None, None)), perm=(0, 2, 1, 3)
    ),
    "scaled resize": lambda b, x: b.node(
        "resize", x, kind="nearest", scales=(1.1, 1.1), coordinates="asymmetric"
    ),
    "padded pool": lambda b, x: b.node(
        "slice",
        b.node("average_pool", x, kernel=(1, 1), padding=((1, 0), (0, 0))),
        slices=(None, (0, 6, 1), None, None),
    ),
}


@pytest.mark.parametrize("name", NO_IDENTITIES)
def test_what_only_looks_like_an_identity_stays(name: str) -> None:
    before = built(NO_IDENTITIES[name])
    after = before.copy()
    drop_identities(after)
    assert ops(after) == ops(before)
    assert_same(before, after)


def test_a_transpose_of_axes_of_size_one_is_a_reshape() -> None:
    make: Make = lambda b, x: unary(b, b.node("transpose", x, perm=(0, 3, 1, 2)), "abs")  # noqa: E731
    check(drop_identities, make, ["reshape", "unary abs"], (2, 1, 1, 7))


# ---- spellings ----------------------------------------------------------------------------------


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
    part: Make = lambda b, x: b.node("average_pool", x, kernel=(6, 4))  # noqa: E731
    check(normalise, part, ["average_pool"])
    padded: Make = lambda b, x: b.node(
        "average_pool", x, kernel=(6, 5), padding=((1, 0), (0, 0)), strides=(2, 1)
    )  # noqa: E731
    check(normalise, padded, ["average_pool"])


def test_reduced_axes_are_removed_by_a_reshape() -> None:
    make: Make = lambda b, x: b.node("reduce", x, kind="sum", axes=(1, 2), keepdims=False)  # noqa: E731
    check(normalise, make, ["reduce sum", "reshape"])


def test_integers_are_left_alone() -> None:
    before = built(lambda b, x: binary(b, "max", x, np.array(0, np.int32)), dtype=np.int32)
    after = run_passes(before)
    assert ops(after) == ["binary max"]


# ---- folding ------------------------------------------------------------------------------------


def transposed(b: Builder, x: str, outputs: int, groups: int = 1) -> str:
    filters = array(3, 2, b.shape(x)[3] // groups, outputs)
    return b.node("transpose_conv", x, filters, strides=(2, 2), groups=groups)


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


def simplify(graph: Graph) -> None:
    normalise(graph)
    fold(graph)


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
    make: Make = lambda b, x: binary(  # noqa: E731
        b, "mul", conv(b, binary(b, "mul", x, scalar(1e-30)), 6, padding="same"), np.full(6, 3e38, np.float32)
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
    relu: Make = lambda b, x: unary(b, norm(b, unary(b, norm(b, x), "abs")), "relu")  # noqa: E731
    before = built(relu)
    after = run_passes(before)
    assert ops(after) == ["conv", "unary abs", "conv relu"]
    assert_same(before, after)
    rows: Make = lambda b, x: norm(b, norm(b, x))  # noqa: E731
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
    make: Make = lambda b, x: unary(  # noqa: E731
        b, binary(b, "add", array(5), b.node("matmul", x, array(7, 5))), "relu"
    )
    expected = ["conv relu"] if len(shape) == 4 else ["reshape", "conv relu", "reshape"]
    after = check(run, make, expected, shape)
    assert after.nodes[-1].output == "y"


def run(graph: Graph) -> None:
    """All passes in place."""
    result = run_passes(graph)
    graph.values, graph.nodes, graph.outputs = result.values, result.nodes, result.outputs


def test_dense_layers_behind_each_other_need_no_reshape_between() -> None:
    def make(b: Builder, x: str) -> str:
        pooled = b.node("reduce", x, kind="mean", axes=(1, 2), keepdims=False)
        hidden = unary(b, norm(b, b.node("matmul", pooled, array(4, 8))), "relu6")
        return binary(b, "add", b.node("matmul", hidden, array(8, 3)), array(3))

    check(run, make, ["reduce mean", "conv relu6", "conv", "reshape"])


def test_a_product_of_two_activations_stays() -> None:
    make: Make = lambda b, x: b.node("matmul", x, b.node("transpose", x, perm=(0, 2, 1)))  # noqa: E731
    check(run, make, ["transpose", "matmul"], (2, 3, 4))


def test_an_activation_behind_a_flattened_image_is_fused() -> None:
    make: Make = lambda b, x: unary(b, b.node("reshape", conv(b, x, 6), shape=(2, -1)), "relu")  # noqa: E731
    check(run, make, ["conv relu", "reshape"])


# ---- activations --------------------------------------------------------------------------------

KINDS = ["relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh", "gelu", "gelu_tanh"]


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_fused_into_convolutions_and_binary_nodes(kind: str) -> None:
    check(fuse_activations, lambda b, x: unary(b, conv(b, x, 5), kind), [f"conv {kind}"])
    check(fuse_activations, lambda b, x: unary(b, transposed(b, x, 5), kind), [f"transpose_conv {kind}"])
    check(fuse_activations, lambda b, x: unary(b, binary(b, "add", x, x), kind), [f"binary add {kind}"])


def test_activations_with_numbers_are_fused() -> None:
    after = check(fuse_activations, lambda b, x: unary(b, conv(b, x, 5), "clip", -1, 2), ["conv clip"])
    assert after.nodes[0]["activation"] == ("clip", -1, 2)
    after = check(
        fuse_activations, lambda b, x: unary(b, conv(b, x, 5), "leaky_relu", 0.3), ["conv leaky_relu"]
    )
    assert after.nodes[0]["activation"] == ("leaky_relu", 0.3)


def test_clips_behind_clips_are_one() -> None:
    make: Make = lambda b, x: unary(b, conv(b, x, 5, activation="relu6"), "clip", -1, 2)  # noqa: E731
    after = check(fuse_activations, make, ["conv clip"])
    assert after.nodes[0]["activation"] == ("clip", 0, 2)


@pytest.mark.parametrize("kind", ["exp", "softplus", "abs"])
def test_functions_that_are_no_activation_stay(kind: str) -> None:
    check(fuse_activations, lambda b, x: unary(b, conv(b, x, 5), kind), ["conv", f"unary {kind}"])


def test_a_second_activation_stays() -> None:
    make: Make = lambda b, x: unary(b, conv(b, x, 5, activation="tanh"), "relu")  # noqa: E731
    check(fuse_activations, make, ["conv tanh", "unary relu"])


def test_an_activation_of_a_value_with_other_readers_stays() -> None:
    make: Make = lambda b, x: binary(b, "mul", value := conv(b, x, 5), unary(b, value, "relu"))  # noqa: E731
    check(fuse_activations, make, ["conv", "unary relu", "binary mul"])


# ---- blocks -------------------------------------------------------------------------------------


def test_depthwise_and_pointwise_are_one_block() -> None:
    make: Make = lambda b, x: conv(b, depthwise(b, x, activation="relu"), 7, 1, activation="hard_swish")  # noqa: E731
    check(form_blocks, make, ["block separable"])


def inverted(b: Builder, x: str, outputs: int = 4, **more: Any) -> str:
    wide = conv(b, x, 12, 1, activation="relu6")
    return conv(b, depthwise(b, wide, activation="silu", **more), outputs, 1)


def test_an_inverted_residual_is_one_block_with_its_addition() -> None:
    make: Make = lambda b, x: binary(b, "add", inverted(b, x), x)  # noqa: E731
    after = check(form_blocks, make, ["block inverted_residual"])
    operation = after.nodes[0]["operation"]
    assert operation.residual
    assert [stage.activation.kind for stage in operation.stages] == ["relu6", "silu", "identity"]
    check(form_blocks, lambda b, x: inverted(b, x, 9, strides=(2, 2)), ["block inverted_residual"])


def test_a_chain_takes_its_input_from_a_node_before() -> None:
    def make(b: Builder, x: str) -> str:
        stem = conv(b, x, 4, padding="same", activation="relu6")
        first = conv(b, depthwise(b, stem), 4, 1)
        second = binary(b, "add", first, inverted(b, first))
        return binary(b, "add", inverted(b, second), second)

    check(
        form_blocks,
        make,
        ["conv relu6", "block separable", "block inverted_residual", "block inverted_residual"],
    )


def test_an_activation_behind_the_addition_stays_a_node() -> None:
    def make(b: Builder, x: str) -> str:
        return unary(b, binary(b, "add", conv(b, depthwise(b, x), 4, 1), x), "relu")

    check(run, make, ["block inverted_residual", "unary relu"])


def test_an_addition_of_another_value_stays() -> None:
    make: Make = lambda b, x: binary(b, "add", inverted(b, x), unary(b, x, "abs"))  # noqa: E731
    check(form_blocks, make, ["block inverted_residual", "unary abs", "binary add"])
    twice: Make = lambda b, x: binary(b, "add", y := inverted(b, x), y)  # noqa: E731
    check(form_blocks, twice, ["block inverted_residual", "binary add"])


def squeezed(
    b: Builder, x: str, *, layers: int = 2, kind: str = "mean", activation: Any = None, project: bool = True
) -> str:
    wide = depthwise(b, conv(b, x, 12, 1, activation="relu"), 5, activation="relu")
    gate = b.node("reduce", wide, kind=kind, axes=(1, 2))
    for layer in range(layers):
        gate = conv(b, gate, 12, 1, activation="relu" if layer + 1 < layers else "hard_sigmoid")
    scaled = binary(b, "mul", wide, gate, activation=activation)
    return conv(b, scaled, 4, 1) if project else scaled


def test_squeeze_and_excite_is_part_of_its_block() -> None:
    check(form_blocks, lambda b, x: binary(b, "add", x, squeezed(b, x)), ["block inverted_residual"])


def test_squeeze_and_excite_from_pools_and_dense_layers_is_part_of_its_block() -> None:
    def make(b: Builder, x: str) -> str:
        wide = norm(b, depthwise(b, x, bias=False))
        wide = binary(b, "mul", wide, unary(b, wide, "sigmoid"))
        pooled = b.node("reduce", wide, kind="mean", axes=(1, 2), keepdims=False)
        hidden = unary(b, binary(b, "add", b.node("matmul", pooled, array(4, 3)), array(3)), "relu")
        gate = binary(b, "add", b.node("matmul", hidden, array(3, 4)), array(4))
        gate = binary(b, "div", unary(b, binary(b, "add", gate, scalar(3)), "relu6"), scalar(6))
        gate = b.node("reshape", gate, shape=(2, 1, 1, 4))
        return norm(b, conv(b, binary(b, "mul", gate, wide), 8, 1))

    after = check(run, make, ["block inverted_residual"])
    operation = after.nodes[0]["operation"]
    assert [stage.activation.kind for stage in operation.squeeze_excite] == ["relu", "hard_sigmoid"]


NO_BLOCKS: dict[str, tuple[Make, str]] = {
    "one dense layer": (lambda b, x: squeezed(b, x, layers=1), "two dense layers"),
    "three dense layers": (lambda b, x: squeezed(b, x, layers=3), "two dense layers"),
    "a maximum": (lambda b, x: squeezed(b, x, kind="max"), "2 readers"),
    "an activation behind": (lambda b, x: squeezed(b, x, activation="relu"), "activation follows"),
    "no projection": (lambda b, x: squeezed(b, x, project=False), "output of the network"),
    "strides of the projection": (lambda b, x: conv(b, depthwise(b, x), 6, 1, strides=(2, 2)), "no 1x1"),
    "a dense convolution": (lambda b, x: conv(b, depthwise(b, x), 6, 3), "no 1x1"),
    "a node between": (lambda b, x: conv(b, unary(b, depthwise(b, x), "exp"), 6, 1), "no 1x1"),
    "other readers": (
        lambda b, x: binary(b, "add", value := depthwise(b, x), conv(b, value, 4, 1)),
        "2 readers",
    ),
    "an output": (depthwise, "output of the network"),
}


@pytest.mark.parametrize("name", NO_BLOCKS)
def test_the_log_tells_why_there_is_no_block(name: str) -> None:
    make, reason = NO_BLOCKS[name]
    before = built(make)
    after, log = before.copy(), []
    form_blocks(after, log)
    assert not any(node.op == "block" for node in after.nodes)
    assert len(log) == 1
    assert reason in log[0][1], log
    assert_same(before, after)


def test_an_expanded_value_with_other_readers_is_not_part_of_a_block() -> None:
    def make(b: Builder, x: str) -> str:
        wide = conv(b, x, 8, 1, activation="relu")
        return binary(b, "add", conv(b, depthwise(b, wide), 8, 1), wide)

    after = check(form_blocks, make, ["conv relu", "block inverted_residual"])
    assert len(after.nodes[1]["operation"].stages) == 2


# ---- all of it ----------------------------------------------------------------------------------


def test_the_graph_that_is_given_stays_as_it_is() -> None:
    before = built(lambda b, x: norm(b, conv(b, x, 6)))
    shown = text(before)
    run_passes(before)
    assert text(before) == shown


def test_a_fused_node_is_called_after_all_that_it_does() -> None:
    b = Builder()
    x = b.input("x", SHAPE)
    y = b.node("conv", x, array(1, 1, 4, 4), name="c1")
    y = b.node("binary", y, array(4), kind="mul", name="bn")
    y = b.node("binary", y, array(4), kind="add", name="bn")
    y = b.node("unary", y, kind="relu", name="act")
    y = b.node("conv", y, array(3, 3, 1, 4), groups=4, padding="same", name="dw")
    y = b.node("conv", y, array(1, 1, 4, 4), name="c2")
    b.output("y", b.node("binary", y, x, kind="add", name="sum"))
    assert [node.name for node in run_passes(b.graph).nodes] == ["c1 + bn + act + dw + c2 + sum"]


def test_the_log_tells_of_constants_that_padding_keeps_apart() -> None:
    log: list[tuple[str, str]] = []
    run_passes(built(lambda b, x: conv(b, binary(b, "add", x, array(4)), 6, padding="same")), log=log)
    assert any("padding" in reason for _, reason in log)


def test_a_trace_sees_the_graph_after_each_pass() -> None:
    seen: list[tuple[str, int]] = []
    before = built(lambda b, x: unary(b, norm(b, conv(b, x, 6)), "relu"))
    run_passes(before, trace=lambda name, graph: seen.append((name, len(graph.nodes))))
    assert [count for _, count in seen] == [4, 4, 2, 1, 1, 1]


def test_dead_nodes_and_constants_go_and_inputs_stay() -> None:
    b = Builder()
    x = b.input("x", SHAPE)
    b.input("unused", (3,))
    binary(b, "mul", unary(b, x, "exp"), array(4))
    b.output("y", unary(b, x, "abs"))
    drop_dead(b.graph)
    assert ops(b.graph) == ["unary abs"]
    assert set(b.graph.values) == {"x", "unused", "y"}


def test_an_input_that_is_missing_or_of_another_shape_is_named() -> None:
    graph = built(lambda b, x: unary(b, x, "abs"))
    with pytest.raises(ValueError, match="'x' is missing"):
        interpret(graph, {})
    with pytest.raises(ValueError, match="'x' must be"):
        interpret(graph, {"x": array(1, 2)})
