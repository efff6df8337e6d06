"""The passes over graphs together, and the one that drops what changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dwconv.graph import Builder
from dwconv.nodes_numpy import interpret
from dwconv.passes import (
    PASSES,
    drop_dead,
    drop_identities,
    run_passes,
    text,
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
    norm,
    ops,
    scalar,
    unary,
)

# ---- identities ---------------------------------------------------------------------------------

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
    def make(b: Builder, x: str) -> str:
        return unary(b, b.node("transpose", x, perm=(0, 3, 1, 2)), "abs")

    check(drop_identities, make, ["reshape", "unary abs"], (2, 1, 1, 7))


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
    assert [name for name, _ in seen] == [name for name, _ in PASSES]
    counts = dict(seen)
    steps = ("normalise spellings", "fold constants", "fuse activations", "drop dead")
    assert [counts[name] for name in steps] == [4, 2, 1, 1]


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


@pytest.mark.parametrize("kind", ["number", "channel", "activation", "readers"])
def test_long_chains_and_values_with_many_readers_stay_cheap(kind: str) -> None:
    """Of what a hostile file may hold: long chains, and values with many readers."""
    count, b = 3000, Builder()
    y = x = b.input("x", (1, 2, 2, 2))
    number, vector = b.constant(scalar(1.5)), b.constant(array(2))
    if kind == "readers":
        line, filters = unary(b, x, "linear", 2, 1), b.constant(array(1, 1, 2, 2))
        y = b.node("concat", *[b.node("conv", line, filters) for _ in range(count)], axis=3)
    else:
        for _ in range(count):
            steps = {"number": (y, number), "channel": (y, vector)}
            y = unary(b, y, "relu") if kind == "activation" else binary(b, "add", *steps[kind])
    b.output("y", y)
    after = run_passes(b.graph)
    assert len(after.nodes) == (count + 2 if kind == "readers" else 1)
    assert all(len(node.name) < 2000 for node in after.nodes)
