"""Activations are fused, and chains around depthwise convolutions become one operation."""

from __future__ import annotations

from typing import Any

import pytest

from dwconv.graph import Builder
from dwconv.passes import (
    form_blocks,
    fuse_activations,
)
from pass_graphs import (
    Make,
    array,
    assert_same,
    binary,
    built,
    check,
    conv,
    depthwise,
    norm,
    run,
    scalar,
    transposed,
    unary,
)

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
    def make(b: Builder, x: str) -> str:
        return unary(b, conv(b, x, 5, activation="relu6"), "clip", -1, 2)

    after = check(run, make, ["conv clip"])
    assert after.nodes[0]["activation"] == ("clip", 0, 2)


@pytest.mark.parametrize("kind", ["exp", "softplus", "abs"])
def test_functions_that_are_no_activation_stay(kind: str) -> None:
    check(fuse_activations, lambda b, x: unary(b, conv(b, x, 5), kind), ["conv", f"unary {kind}"])


def test_a_second_activation_stays() -> None:
    def make(b: Builder, x: str) -> str:
        return unary(b, conv(b, x, 5, activation="tanh"), "relu")

    check(fuse_activations, make, ["conv tanh", "unary relu"])


def test_an_activation_of_a_value_with_other_readers_stays() -> None:
    def make(b: Builder, x: str) -> str:
        return binary(b, "mul", value := conv(b, x, 5), unary(b, value, "relu"))

    check(fuse_activations, make, ["conv", "unary relu", "binary mul"])


# ---- blocks -------------------------------------------------------------------------------------


def test_depthwise_and_pointwise_are_one_block() -> None:
    def make(b: Builder, x: str) -> str:
        return conv(b, depthwise(b, x, activation="relu"), 7, 1, activation="hard_swish")

    check(form_blocks, make, ["block separable"])


def inverted(b: Builder, x: str, outputs: int = 4, **more: Any) -> str:
    wide = conv(b, x, 12, 1, activation="relu6")
    return conv(b, depthwise(b, wide, activation="silu", **more), outputs, 1)


def test_an_inverted_residual_is_one_block_with_its_addition() -> None:
    def make(b: Builder, x: str) -> str:
        return binary(b, "add", inverted(b, x), x)

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
    def make(b: Builder, x: str) -> str:
        return binary(b, "add", inverted(b, x), unary(b, x, "abs"))

    check(form_blocks, make, ["block inverted_residual", "unary abs", "binary add"])

    def twice(b: Builder, x: str) -> str:
        return binary(b, "add", y := inverted(b, x), y)

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
