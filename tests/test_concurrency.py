"""Many threads on one layer at once, each with threads of its own."""

from __future__ import annotations

import copy
import importlib
import pickle
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread
from types import FrameType
from typing import Any

import numpy as np
import pytest

import dwconv
from oracles import OPERATIONS, Case, backends, using

WORKERS = 6
CORE = Path(__file__).parent.parent / "src" / "dwconv" / "_core.pyx"


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


@pytest.mark.skipif(not CORE.exists(), reason="only in a source tree")
def test_the_extension_is_declared_for_free_threaded_python() -> None:
    """What the test above sees, for those who have no such Python."""
    directives = [
        line for line in CORE.read_text(encoding="utf-8").splitlines() if line.startswith("# cython:")
    ]
    assert any("freethreading_compatible=True" in line for line in directives)


ASLEEP = """
import pathlib, time
import numpy as np
import dwconv

def workers():
    tasks = pathlib.Path("/proc/self/task").iterdir()
    return [task for task in tasks if (task / "comm").read_text() == "dwconv\\n"]

def states():  # (whether it sleeps, how often it was switched out), by thread
    found = {}
    for task in workers():
        fields = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        switches = [int(fields[key + "voluntary_ctxt_switches"]) for key in ("", "non")]
        found[task.name] = (fields["State"].split()[0] == "S", *switches)
    return found

layer = dwconv.PointwiseConv2D(np.ones((64, 64), np.float32))
x = np.ones((1, 200, 200, 64), np.float32)
for _ in range(3):
    layer(x, num_threads=3)
end = time.monotonic() + 60
while not all(sleeps for sleeps, *_ in states().values()) and time.monotonic() < end:
    time.sleep(0.01)
before = states()
time.sleep(0.3)
assert states() == before, (before, states())  # who sleeps and is never switched out never ran
assert all(sleeps for sleeps, *_ in before.values()), before
print(len(before))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks into /proc")
@pytest.mark.skipif(backends() == ["numpy"], reason="the extension is not built")
def test_workers_sleep_between_calls() -> None:
    result = subprocess.run([sys.executable, "-c", ASLEEP], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "2\n"


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


# ---- what every thread shares -----------------------------------------------------------------


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter allows; without its lock they run at once anyway."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def interruptions(call: Callable[[], Any], function: Any, act: Callable[[], None]) -> Iterator[Any]:
    """The results of `call` with `act` before the first instruction of `function`, then the second, ..."""
    remaining = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal remaining
        if frame.f_code is not function.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            remaining -= 1
            if remaining == 0:
                act()
        return trace

    position, before = 0, sys.gettrace()
    while remaining <= 0:
        position = remaining = position + 1
        sys.settrace(trace)
        try:
            result = call()
        finally:
            sys.settrace(before)
        yield result


def test_settings_are_seen_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of threads and its reason, the backend and the instruction set, whoever changes them."""
    settings = importlib.import_module("dwconv.config")
    old, new = settings.Threads(5, "set_num_threads"), settings.Threads(7, "test")
    isa = settings._isa
    states = {(*t, i, "numpy" if i is None else "native") for t in (old, new) for i in (isa, None)}

    def put(threads: Any, isa: str | None) -> None:
        monkeypatch.setattr(settings, "_threads", threads)
        monkeypatch.setattr(settings, "_isa", isa)

    def seen() -> tuple[Any, ...]:
        put(old, isa)
        found = dwconv.config()
        return tuple(found[key] for key in ("threads", "threads_reason", "isa", "backend"))

    results = list(interruptions(seen, dwconv.config, lambda: put(new, None)))
    if len(results) < 20:
        pytest.skip("this interpreter does not trace single instructions")
    assert set(results) <= states


def test_setting_the_number_of_threads_is_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = importlib.import_module("dwconv.config")
    old, new = settings.Threads(7, "test"), settings.Threads(5, "set_num_threads")
    seen = []

    def put() -> None:
        monkeypatch.setattr(settings, "_threads", old)
        dwconv.set_num_threads(5)

    list(interruptions(put, dwconv.set_num_threads, lambda: seen.append(settings._threads)))
    assert set(seen) <= {old, new}
    assert settings._threads == new


@pytest.mark.usefixtures("eager_switching", "backend", "thread_setting")
def test_threads_make_call_copy_and_drop_layers_at_once() -> None:
    """Everything that a program may do at once, with functions and settings in between."""
    cases = [
        Case(operation, (2, 9, 8, 6), out_channels=6, activation="silu", **extra)
        for operation, extra in [(name, {}) for name in OPERATIONS] + [("inverted_residual", {"squeezed": 3})]
    ]
    shared = [case.layer() for case in cases]
    expected = [layer(case.x) for layer, case in zip(shared, cases, strict=True)]
    together = Barrier(WORKERS)

    def work(worker: int) -> None:
        together.wait()
        for turn in range(20):
            index = (worker + turn) % len(cases)
            case, layer = cases[index], shared[index]
            dwconv.set_num_threads(1 + turn % 2)
            for made in (layer, case.layer(), copy.copy(layer), pickle.loads(pickle.dumps(layer))):
                np.testing.assert_array_equal(made(case.x), expected[index])
            np.testing.assert_array_equal(case.call(), expected[index])
            with pytest.raises(ValueError, match="channels but x has"):
                layer(case.x[..., :5])
            assert dwconv.config()["threads"] in (1, 2)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))


def test_importing_at_once_gives_one_package() -> None:
    """In a process of its own: the first import, by several threads."""
    code = """
import threading
together, found = threading.Barrier(6), []
def load():
    together.wait()
    import dwconv
    found.append((id(dwconv), dwconv.get_num_threads(), dwconv.config()["isa"]))
threads = [threading.Thread(target=load) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(found) == 6 and len(set(found)) == 1, found
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
