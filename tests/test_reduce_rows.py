"""The largest and the smallest number of short rows, of which several are joined together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dwconv.graph import Builder, Quantization
from test_network_core import ISAS, run_all_threads
from test_network_integers import run

COUNTS = (1, 2, 3, 5, 7, 8, 15, 16, 17, 21, 24, 40, 63, 64, 65, 129)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8"])
def test_rows_of_any_length_give_numpys_extremes(dtype: str, isa: str) -> None:
    rng = np.random.default_rng(0)
    for i, (count, rows) in enumerate(itertools.product(COUNTS, ((1,), (33,), (5, 67)))):
        kind, shape = ("max", "min")[i % 2], (2, *rows, count)
        axes = (0, len(shape) - 1) if i % 4 > 1 else (len(shape) - 1,)
        b = Builder()
        q = None if dtype == "float32" else Quantization(0.5, 3, None)
        y = b.node("reduce", b.input("x", shape, dtype, q), kind=kind, axes=axes, keepdims=True)
        b.output("y", y)
        if q is None:
            x = rng.standard_normal(shape).astype(np.float32)
            x[x > 2.5] = np.nan
            x[:, 0] = -np.inf if kind == "max" else np.inf
        else:
            x = rng.integers(0, 256, shape).astype(np.uint8).view(dtype)
        found = run_all_threads(b.graph, {"x": x}, isa) if q is None else run(b.graph, {"x": x}, isa)
        expected = getattr(np, kind)(x, axis=axes, keepdims=True)
        np.testing.assert_array_equal(found[0], expected, err_msg=f"{shape} {axes} {kind}")
