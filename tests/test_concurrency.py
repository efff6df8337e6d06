"""Many threads on one layer at once, each with threads of its own."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import numpy as np
import pytest

from oracles import OPERATIONS, Case, backends, using

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


@pytest.mark.parametrize("backend", [b for b in backends() if b != "numpy"])
def test_other_python_threads_run_during_a_call(backend: str) -> None:
    """With this switch interval a thread that has the interpreter's lock keeps it until it gives it away."""
    case = Case("conv", (1, 256, 256, 64), out_channels=64)
    with using(backend):
        layer = case.layer()
    out = np.empty(layer.output_shape(case.shape), np.float32)
    calling = False

    def work() -> None:
        nonlocal calling
        calling = True
        layer(case.x, out=out, num_threads=1)
        calling = False

    thread, interval, seen = Thread(target=work), sys.getswitchinterval(), False
    sys.setswitchinterval(1000)
    try:
        thread.start()
        while thread.is_alive():
            seen |= calling
            time.sleep(0)
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert seen
