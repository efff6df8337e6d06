"""Programs on the C core: within the stated bounds, with the same bits on any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from dwconv.config import config, core
from dwconv.emit import emit
from dwconv.graph import Builder, Graph
from dwconv.program import Program
from graphs import CASES, Case, Drawn, built, transposed_cases
from interpreted import evaluate
from oracles import EPS
from random_graphs import random_graph

pytestmark = pytest.mark.skipif(core is None, reason="the compiled core is not there")
ISAS = config()["isas_available"]
THREADS = (1, 2, 3)
# Of graphs of several nodes, relative to the largest output; NumPy sums in another order.
TOLERANCE = 2e-5
EXACT = (
    "concat", "slice", "pad", "transpose", "reshape", "expand", "gather", "depth_to_space", "space_to_depth",
    "max_pool",
)  # fmt: skip
EXACT_KINDS = ("max", "min", "nearest", "abs", "neg", "floor", "ceil", "round", "sign", "relu", "relu6")


def made(graph: Graph, isa: str, threads: int = 3) -> tuple[Any, Program]:
    program = emit(graph)
    return core.Network(program, isa, threads), program


def run(network: Any, graph: Graph, inputs: dict[str, np.ndarray], threads: int = 1) -> list[np.ndarray]:
    outputs = [np.full(graph.values[name].shape, np.nan, np.float32) for name in graph.outputs]
    network.run([inputs[name] for name in graph.inputs], outputs, threads)
    return outputs


def run_all_threads(graph: Graph, inputs: dict[str, np.ndarray], isa: str) -> list[np.ndarray]:
    network, _ = made(graph, isa)
    first, *others = (run(network, graph, inputs, threads) for threads in THREADS)
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a.view(np.int32), b.view(np.int32))
    return first


# ---- one op -----------------------------------------------------------------------------------


def allowed(graph: Graph, inputs: dict[str, np.ndarray], exact: np.ndarray) -> Any:
    """How far an element may be from the exact result of the last node, whose inputs are `inputs`."""
    node = graph.nodes[-1]
    size = max([1.0, *(float(np.abs(x).max()) for x in inputs.values())])
    summed = _summed(graph)
    if summed:
        absolute = graph.copy()
        for value in absolute.values.values():
            value.data = None if value.data is None else np.abs(value.data)
        for other in absolute.nodes:
            other.attributes.pop("activation", None)
            if "activation" in graph.nodes[-1].attributes:
                other.attributes["activation"] = None
        sums = evaluate(absolute, {name: np.abs(x) for name, x in inputs.items()}, np.float64)[0]
        return 1.2 * (summed + 8) * EPS * sums + 8 * EPS * np.abs(exact)
    if node.op == "block":
        return TOLERANCE * np.abs(exact).max()
    if node.op == "layer_norm":
        return (exact.shape[-1] + 8) * EPS * np.abs(exact).max()
    if node.op == "softmax":
        return 16 * EPS * (size * np.abs(exact) + (size if node["log"] else 0)) + 1e-38
    return 16 * EPS * (np.abs(exact) + size)


def _summed(graph: Graph) -> int:
    """Terms of the sums that the last node is made of."""
    node = graph.nodes[-1]
    shapes = [graph.values[name].shape for name in node.inputs]
    if node.op in ("conv", "transpose_conv"):
        return int(np.prod(shapes[1][:3]))
    if node.op == "matmul":
        return shapes[0][-1]
    if node.op == "average_pool":
        return int(np.prod(node["kernel"]))
    if node.op == "reduce" and node["kind"] in ("mean", "sum", "prod"):
        return int(np.prod(shapes[0]) // np.prod(graph.values[node.output].shape))
    return 0


def check_one(case: Case, isa: str, seed: int = 0) -> None:
    graph, inputs = built(case, seed)
    found = run_all_threads(graph, inputs, isa)[0]
    node = graph.nodes[-1]
    if node.op in EXACT or node.attributes.get("kind") in EXACT_KINDS:
        np.testing.assert_array_equal(found, evaluate(graph, inputs)[0])
        return
    exact = evaluate(graph, inputs, np.float64)[0]
    error, bound = np.abs(found - exact), allowed(graph, inputs, exact)
    assert np.all(error <= bound), f"{np.max(error / bound)} of the bound"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CASES)
def test_an_op_is_within_its_bound(name: str, isa: str) -> None:
    check_one(CASES[name], isa)


@pytest.mark.parametrize("seed", range(200))
def test_a_transposed_convolution_is_within_its_bound(seed: int) -> None:
    check_one(transposed_cases(Drawn(seed)), ISAS[-1], seed)


# ---- graphs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(300))
def test_a_random_graph_is_computed(seed: int) -> None:
    graph, inputs = random_graph(seed)
    found = run_all_threads(graph, inputs, ISAS[seed % len(ISAS)])
    for y, expected in zip(found, evaluate(graph, inputs), strict=True):
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("seed", range(100))
def test_values_that_are_alive_at_the_same_time_lie_apart(seed: int) -> None:
    network, program = made(random_graph(seed)[0], ISAS[-1])
    offsets = network.offsets
    life: dict[int, list[int]] = {}
    for position, step in enumerate(program.steps):
        for index in (*step.inputs, step.output):
            memory = program.memory(index)
            if program.tensors[memory].storage == "workspace":
                life.setdefault(memory, [position, position])[1] = position
    spans = []
    for memory, (first, last) in life.items():
        end = offsets[memory] + 4 * program.tensors[memory].view.size
        assert 0 <= offsets[memory] < end <= network.workspace_bytes
        for other_first, other_last, begin, other_end in spans:
            if first <= other_last and other_first <= last:
                assert end <= begin or other_end <= offsets[memory]
        spans.append((first, last, offsets[memory], end))
    assert program.peak() <= network.lower_bound <= network.workspace_bytes


# ---- calls ------------------------------------------------------------------------------------


def chain(depth: int = 6, size: int = 24) -> tuple[Graph, dict[str, np.ndarray]]:
    d = Drawn(3)
    x = d.input(1, size, size, 12)
    for _ in range(depth):
        filters = d.array(3, 3, 12, 12) / np.float32(10)
        x = d.b.node("unary", d.b.node("conv", x, filters, padding="same"), kind="hard_swish")
    d.b.output("y", x)
    return d.b.graph, d.inputs()


def test_threads_share_a_network_and_have_memory_of_their_own() -> None:
    graph, _ = chain()
    network, _ = made(graph, ISAS[-1])
    images = [Drawn(seed).array(1, 24, 24, 12) for seed in range(8)]
    expected = [run(network, graph, {"x": image})[0] for image in images]

    def call(number: int) -> bool:
        image = number % len(images)
        found = run(network, graph, {"x": images[image]}, 1 + number % 3)[0]
        return bool(np.array_equal(found, expected[image]))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(200)))


def test_networks_may_share_workspaces() -> None:
    workspaces = core.Workspaces()
    for size in (8, 40, 16):
        graph, inputs = chain(size=size)
        network = core.Network(emit(graph), ISAS[-1], 1, workspaces)
        alone, _ = made(graph, ISAS[-1])
        np.testing.assert_array_equal(run(network, graph, inputs)[0], run(alone, graph, inputs)[0])


def test_a_profile_has_the_time_of_every_step() -> None:
    graph, inputs = chain()
    network, program = made(graph, ISAS[-1])
    y = np.empty((1, 24, 24, 12), np.float32)
    times = network.profile([inputs["x"]], [y], 2)
    assert len(times) == len(program.steps)
    assert min(times) > 0
    np.testing.assert_array_equal(y, run(network, graph, inputs)[0])


def test_every_step_is_explained() -> None:
    network, program = made(chain()[0], ISAS[-1])
    for step in range(len(program.steps)):
        assert network.explain(step)
        assert network.explain_text(step)
    with pytest.raises(ValueError, match="network"):
        network.explain(len(program.steps))


def test_memory_is_known_before_the_first_call() -> None:
    network, program = made(chain()[0], ISAS[-1])
    assert network.nbytes > sum(4 * 9 * 12 * 12 for step in program.steps if step.kind == "convolution")
    assert 2 * 4 * 24 * 24 * 12 <= network.lower_bound <= network.workspace_bytes


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda x, y: ([], [y]), ValueError),
        (lambda x, y: ([x], [y, y]), ValueError),
        (lambda x, y: ([x.astype(np.float64)], [y]), TypeError),
        (lambda x, y: ([x[:, ::2]], [y]), ValueError),
        (lambda x, y: ([x[:, 1:]], [y]), ValueError),
        (lambda x, y: ([x], [x]), ValueError),
        (lambda x, y: ([x], [np.broadcast_to(y, y.shape)]), ValueError),
    ],
    ids=["missing", "too many", "dtype", "strides", "size", "overlap", "read-only"],
)
def test_arrays_that_do_not_fit_are_refused(spoil: Any, error: type[Exception]) -> None:
    graph, inputs = chain()
    network, _ = made(graph, ISAS[-1])
    x, y = spoil(inputs["x"], np.empty((1, 24, 24, 12), np.float32))
    with pytest.raises(error):
        network.run(x, y)


def test_a_network_may_give_a_constant() -> None:
    b = Builder()
    b.input("x", (2, 2))
    b.output("y", b.constant(np.arange(3, dtype=np.float32)))
    network, _ = made(b.graph, ISAS[-1])
    found = run(network, b.graph, {"x": np.zeros((2, 2), np.float32)})
    np.testing.assert_array_equal(found[0], [0, 1, 2])
