"""Networks of 8-bit integers on the C core: the bits of the NumPy oracle, on every instruction set."""

from __future__ import annotations

import copy
import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from byte_graphs import CASES, DTYPES, ROUNDINGS, Bytes, built, random_graph
from dwconv.config import config, core
from dwconv.emit import emit
from dwconv.graph import Builder, Graph, Quantization
from dwconv.nodes_numpy import interpret
from dwconv.passes import run_passes
from oracles import using

pytestmark = pytest.mark.skipif(core is None, reason="the compiled core is not there")
ISAS = config()["isas_available"]
Q = Quantization(0.05, 3, None)


def run(graph: Graph, inputs: dict[str, np.ndarray], isa: str, most: int = 3) -> list[np.ndarray]:
    """What the core gives, the same with 1 to `most` threads."""
    network = core.Network(emit(graph), isa, most)
    found: list[list[np.ndarray]] = []
    for threads in range(1, most + 1):
        values = [graph.values[name] for name in graph.outputs]
        outputs = [np.full(value.shape, 77, value.dtype) for value in values]
        network.run([np.ascontiguousarray(inputs[name]) for name in graph.inputs], outputs, threads)
        found.append(outputs)
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(a, b)
    return found[0]


def check(graph: Graph, inputs: dict[str, np.ndarray], isa: str) -> None:
    expected = interpret(graph, inputs)
    for name, y in zip(graph.outputs, run(graph, inputs, isa), strict=True):
        assert y.dtype == expected[name].dtype
        np.testing.assert_array_equal(y, expected[name])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_an_op_gives_the_bits_of_the_oracle(name: str, dtype: str, rounding: str, isa: str) -> None:
    for seed in range(3):
        check(*built(CASES[name], seed, dtype, rounding), isa)


# ---- graphs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(150))
def test_a_random_graph_gives_the_bits_of_the_oracle_before_and_after_passes(seed: int) -> None:
    graph, inputs = random_graph(seed, DTYPES[seed % 2], ROUNDINGS[seed // 2 % 2])
    expected = interpret(graph, inputs)
    isa = ISAS[seed % len(ISAS)]
    for form in (graph, run_passes(graph)):
        for name, y in zip(graph.outputs, run(form, inputs, isa), strict=True):
            np.testing.assert_array_equal(y, expected[name])


def test_blocks_and_tables_are_one_node() -> None:
    d = Bytes(3, "int8", "even")
    x = d.input(1, 12, 12, 8)
    y = d.b.node("conv", x, d.filters(1, 1, 8, 24), d.bias(24), **d.result(0.3))
    y = d.b.node("lookup", y, d.integers(256), quantization=d.quantization())
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    y = d.b.node("pad", y, pads=pads, value=d.of(y).zero_point)
    y = d.b.node("conv", y, d.filters(3, 3, 1, 24), d.bias(24), groups=24, **d.result(0.3) | d.clamp())
    y = d.b.node("conv", y, d.filters(1, 1, 24, 8), d.bias(8), **d.result(0.3))
    d.b.output("y", d.b.node("binary", y, x, kind="add", **d.result()))
    net = dwconv.Network(d.b)
    assert "1x1 > dw 3x3 > 1x1 + add" in net.summary()
    passed = run_passes(d.b.graph)
    assert [node.op for node in passed.nodes] == ["block"]
    assert passed.values["y"].quantization == d.of("y")


def test_squeeze_and_excite_of_bytes_is_part_of_its_block() -> None:
    for dtype, rounding in itertools.product(DTYPES, ROUNDINGS):
        d = Bytes(4, dtype, rounding)
        x = d.input(2, 13, 12, 8)
        y = d.b.node("conv", x, d.filters(1, 1, 8, 24), d.bias(24), **d.result(0.3))
        y = d.b.node("conv", y, d.filters(5, 5, 1, 24), groups=24, padding="same", **d.result(0.3))
        mean = d.b.node("reduce", y, kind="mean", axes=(1, 2), **d.result(0.1))
        gate = d.b.node("conv", mean, d.filters(1, 1, 24, 6), **d.result(0.3) | d.clamp())
        gate = d.b.node("conv", gate, d.filters(1, 1, 6, 24), d.bias(24), **d.result(0.3))
        gate = d.b.node("lookup", gate, d.integers(256), quantization=d.quantization())
        y = d.b.node("binary", gate, y, kind="mul", **d.result(2.0))
        d.b.output("y", d.b.node("conv", y, d.filters(1, 1, 24, 5), d.bias(5), **d.result(1.0)))
        net, inputs = dwconv.Network(d.b), d.inputs()
        assert "1x1 > dw 5x5 > se > 1x1" in net.summary()
        assert [node.op for node in run_passes(d.b.graph).nodes] == ["block"]
        for threads in (1, 2):
            np.testing.assert_array_equal(net(inputs, num_threads=threads), interpret(d.b.graph, inputs)["y"])


# ---- files, copies, tables --------------------------------------------------------------------


def test_a_network_of_bytes_is_saved_copied_and_described(tmp_path: Path) -> None:
    graph, inputs = random_graph(12)
    net = dwconv.Network(graph, name="bytes")
    expected = net(inputs)
    net.save(tmp_path / "net.npz")
    for again in (dwconv.load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert (again.inputs, again.outputs) == (net.inputs, net.outputs)
        np.testing.assert_equal(again(inputs), expected)
    (x,) = net.inputs
    assert x.dtype == np.int8
    assert x.quantization == graph.values["x"].quantization
    assert net.backend == "native"
    assert "int8" in net.summary()
    assert "us a call" in net.profile(seconds=0.01)
    with using("numpy"):
        np.testing.assert_equal(net(inputs), expected)


def test_bytes_take_a_quarter_of_the_workspace_of_floats() -> None:
    def chain(b: Builder, dtype: Any) -> Builder:
        x = b.input("x", (1, 32, 32, 64), dtype, Q if dtype is np.int8 else None)
        for _ in range(3):
            x = b.node("max_pool", x, kernel=(3, 3), padding="same")
        b.output("y", x)
        return b

    nets = [dwconv.Network(chain(Builder(), dtype)) for dtype in (np.int8, np.float32)]
    few, many = (net.workspace_lower_bound for net in nets)
    assert many == 4 * few > 0


@pytest.mark.parametrize(
    ("kind", "dtype"), [("float32", np.float32), ("uint8", np.uint8), ("int16", np.int16)]
)
def test_arrays_of_another_dtype_are_refused(kind: str, dtype: type) -> None:
    b = Builder()
    b.output("y", b.node("max_pool", b.input("x", (1, 4, 4, 3), np.int8, Q), kernel=(2, 2)))
    with pytest.raises(TypeError, match=f"'x' is int8, not {kind}"):
        dwconv.Network(b)(np.zeros((1, 4, 4, 3), dtype))


def test_what_the_core_lacks_runs_through_numpy_and_says_why() -> None:
    d = Bytes(0, "uint8", "even")
    x = d.input(2, 3)
    y = d.b.node("binary", x, d.constant(3), kind="pow", formula="float", **d.result())
    d.b.output("y", y)
    net = dwconv.Network(d.b)
    assert net.backend == "numpy"
    assert "pow of integers" in net.summary()


@pytest.mark.parametrize(("scale", "expected"), [(1e-38, 0), (1e-12, 0), (1e12, 127), (1e38, 127)])
def test_sums_of_scales_that_are_far_from_the_result_s(scale: float, expected: int) -> None:
    b = Builder()
    q = Quantization(scale, 0, None)
    x, y = (b.input(name, (1, 4), np.int8, q) for name in "xy")
    b.output("z", b.node("binary", x, y, kind="add", dtype="int8", quantization=Quantization(1.0, 0, None)))
    found = dwconv.Network(b)(np.full((1, 4), 3, np.int8), np.full((1, 4), 2, np.int8))
    np.testing.assert_array_equal(found, np.full((1, 4), expected, np.int8))


def test_a_network_rounds_in_one_way() -> None:
    d = Bytes(0, "int8", "even")
    x = d.input(2, 3)
    told = d.result()
    y = d.b.node("binary", x, d.constant(3), kind="mul", **told)
    d.b.output("y", d.b.node("binary", y, d.constant(3), kind="mul", **told | {"rounding": "tflite"}))
    with pytest.raises(ValueError, match=r"in both ways.*one rounding"):
        dwconv.Network(d.b)(np.zeros((2, 3), np.int8))


# ---- model files ------------------------------------------------------------------------------

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("name", ["vww_96_int8.tflite", "mobilenet_v2_quantized_1x3x224x224.tflite"])
def test_model_files_run_natively_with_the_bits_of_numpy(name: str, rounding: str) -> None:
    pytest.importorskip("tflite")
    if not (MODELS / name).exists():
        pytest.skip(f"there is no {name}")
    net = dwconv.Network.from_tflite(MODELS / name, rounding=rounding)
    shape = tuple(size or 1 for size in net.inputs[0].shape)
    x = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
    with using("numpy"):
        expected = net.bind(shape)(x)
    for isa in ISAS:
        with using(isa):
            for threads in (1, 2):
                assert net.bind(shape).backend == "native"
                np.testing.assert_array_equal(net(x, num_threads=threads), expected)
