"""Small graphs for the tests of networks, and what holds for every rewritten graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dwconv.graph import Builder, Graph
from dwconv.nodes_numpy import interpret
from dwconv.passes import drop_dead, fold, normalise, run_passes, text

SHAPE = (2, 6, 5, 4)
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


def transposed(b: Builder, x: str, outputs: int, groups: int = 1) -> str:
    filters = array(3, 2, b.shape(x)[3] // groups, outputs)
    return b.node("transpose_conv", x, filters, strides=(2, 2), groups=groups)


def simplify(graph: Graph) -> None:
    normalise(graph)
    fold(graph)


def run(graph: Graph) -> None:
    """All passes in place."""
    result = run_passes(graph)
    graph.values, graph.nodes, graph.outputs = result.values, result.nodes, result.outputs
