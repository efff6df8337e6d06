"""Networks of 8-bit integers on the C core: the bits of the NumPy oracle, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from byte_graphs import CASES, DTYPES, ROUNDINGS, built
from dwconv.config import config, core
from dwconv.emit import emit
from dwconv.graph import Graph
from dwconv.nodes_numpy import interpret

pytestmark = pytest.mark.skipif(core is None, reason="the compiled core is not there")
ISAS = config()["isas_available"]


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
