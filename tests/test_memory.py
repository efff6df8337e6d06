"""Guard pages around Python arrays, and a layer call that keeps nothing."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from oracles import OPERATIONS, Case, backends, using
from shapes import cases

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses mprotect")
PROTECTION_NONE, PROTECTION_ALL = 0, mmap.PROT_READ | mmap.PROT_WRITE


def _protect(address: int, size: int, protection: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), protection) != 0:
        raise OSError(ctypes.get_errno(), "mprotect failed")


@contextmanager
def guarded(shape: tuple[int, ...], at_end: bool) -> Iterator[np.ndarray]:
    """A float32 array that touches an inaccessible page at its end or at its start."""
    size = int(np.prod(shape)) * 4
    inner = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, inner + 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    guards = (start, start + mmap.PAGESIZE + inner)
    for guard in guards:
        _protect(guard, mmap.PAGESIZE, PROTECTION_NONE)
    try:
        offset = mmap.PAGESIZE + (inner - size if at_end else 0)
        yield np.frombuffer(pages, np.float32, size // 4, offset).reshape(shape)
    finally:
        for guard in guards:
            _protect(guard, mmap.PAGESIZE, PROTECTION_ALL)


@pytest.mark.parametrize("backend", [b for b in backends() if b != "numpy"])
@pytest.mark.parametrize("case", [c for c in cases() if c.shape[0]], ids=lambda c: f"{c.operation}-{c.seed}")
@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
def test_nothing_outside_the_tensors_is_touched(case: Case, backend: str, at_end: bool) -> None:
    with using(backend):
        layer = case.layer()
        shape = layer.output_shape(case.shape)
        with guarded(case.shape, at_end) as x, guarded(shape, at_end) as y:
            x[...] = case.x
            for threads in (1, 2):
                y[...] = np.nan
                layer(x, out=y, num_threads=threads)
                case.check(y.copy())
            del x, y


@pytest.mark.parametrize("backend", [b for b in backends() if b != "numpy"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_repeated_calls_keep_no_memory(operation: str, backend: str) -> None:
    case = Case(operation, (1, 20, 20, 32), out_channels=32, activation="relu6")
    with using(backend):
        layer = case.layer()
        out = layer(case.x)
        tracemalloc.start()
        try:
            layer(case.x, out=out)
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for _ in range(50):
                layer(case.x, out=out)
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 50 * 100  # under 100 bytes a call: bookkeeping of the interpreter
    assert peak - before < out.nbytes // 4  # no temporary of the size of a tensor


HUGE = "/sys/kernel/mm/transparent_hugepage/enabled"


ASKS = """
from pathlib import Path

import numpy as np

import dwconv
from dwconv.graph import Builder


def advised_bytes() -> int:
    # Of this process, in mappings that ask for huge pages.
    total = size = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1]) * 1024
        if line.startswith("VmFlags:") and "hg" in line.split():
            total += size
    return total


filters = np.zeros((880, 880), np.float32)  # 3 MB: NumPy asks from 4 MB on
before = advised_bytes()
layer = dwconv.PointwiseConv2D(filters)
weights = advised_bytes() - before
assert weights >= 2 << 20
small = dwconv.PointwiseConv2D(filters[:64, :64])
assert advised_bytes() - before == weights
assert small.nbytes < layer.nbytes

b = Builder()
inner = b.node("max_pool", b.input("x", (1, 512, 512, 3)), kernel=(3, 3), padding="same")
b.output("y", b.node("reduce", inner, kind="mean", axes=(1, 2)))
network, x = dwconv.Network(b), np.zeros((1, 512, 512, 3), np.float32)
before = advised_bytes()
network(x)
assert network.workspace_bytes >= 3 << 20
assert advised_bytes() - before >= 2 << 20
"""


@pytest.mark.skipif(not Path(HUGE).is_file(), reason="a kernel without huge pages")
@pytest.mark.skipif(backends() == ["numpy"], reason="no extension")
def test_large_weights_and_workspaces_ask_for_huge_pages() -> None:
    """In a process of its own: where memory has been freed, what is asked for may have huge pages already."""
    subprocess.run([sys.executable, "-c", ASKS], check=True)
