"""Many threads on one layer at once, each with threads of its own."""

from __future__ import annotations

import sys
import sysconfig
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


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a lock")
def test_the_extension_leaves_free_threaded_python_free() -> None:
    assert not sys._is_gil_enabled()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("squeezed", [0, 5])
def test_threads_share_a_block_with_images_of_their_own_sizes(squeezed: int) -> None:
    """The size of scratch that a plan was asked for last changes all the time."""
    sizes = [(height, width) for height in (3, 9, 30) for width in (4, 17, 40)]
    cases = [
        Case("inverted_residual", (1, *size, 12), out_channels=12, expanded=60, squeezed=squeezed)
        for size in sizes
    ]
    layer = cases[0].layer()
    expected = [layer(case.x, num_threads=1) for case in cases]
    together = Barrier(WORKERS)

    def work(i: int) -> int:
        order = np.random.default_rng(i).permutation(20 * len(cases)) % len(cases)
        together.wait()
        return sum(
            layer(cases[k].x, num_threads=1 + (n + i) % 3).tobytes() != expected[k].tobytes()
            for n, k in enumerate(order)
        )

    with ThreadPoolExecutor(WORKERS) as pool:
        assert sum(pool.map(work, range(WORKERS))) == 0


@pytest.mark.usefixtures("backend")
def test_layers_come_and_go_beside_others() -> None:
    cases = [Case(operation, (1, 9, 8, 12), out_channels=8, seed=i) for i, operation in enumerate(OPERATIONS)]
    expected = [case.layer()(case.x, num_threads=1) for case in cases]

    def work(i: int) -> int:
        wrong = 0
        for n in range(100):
            case = cases[(i + n) % len(cases)]
            layer = case.layer()
            wrong += (
                layer(case.x, num_threads=1 + n % 2).tobytes() != expected[(i + n) % len(cases)].tobytes()
            )
        return wrong

    with ThreadPoolExecutor(WORKERS) as pool:
        assert sum(pool.map(work, range(WORKERS))) == 0


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
