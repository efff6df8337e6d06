"""Many threads on one layer at once, each with threads of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from oracles import OPERATIONS, Case

WORKERS = 6


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_threads_share_a_layer(operation: str, num_threads: int) -> None:
    extra = {"expanded": 40} if operation == "inverted_residual" else {}
    case = Case(operation, (1, 40, 37, 24), out_channels=24, activation="relu6", **extra)
    layer = case.layer()
    inputs = [np.roll(case.x, i, axis=1) for i in range(WORKERS)]
    expected = [layer(x, num_threads=1) for x in inputs]
    together = Barrier(WORKERS)

    def work(i: int) -> None:
        out = np.empty_like(expected[i])
        together.wait()
        for _ in range(5):
            out[...] = np.nan
            layer(inputs[i], out=out, num_threads=num_threads)
            np.testing.assert_array_equal(out, expected[i])

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))


def test_one_thread_runs_layers_of_growing_and_shrinking_scratch() -> None:
    cases = [Case("separable", (1, 12, width, 16), out_channels=8) for width in (5, 90, 5, 300, 40)]
    for case in cases:
        case.check(case.layer()(case.x, num_threads=2))
