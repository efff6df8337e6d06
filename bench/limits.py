"""The limits of this machine, measured on the spot, and the roofline they draw.

    {"cores": [1, 2],
     "isa": {"avx512": {"1": {"gflops": 117.5, "dot_gops": 470.1,
     "bandwidth": [{"bytes": 16384, "read": 2.1e11, "write": ..., "copy": ...}]}}}}

`dot_gops` are dot products of 8-bit integers, a product and a sum counted as two, by the instruction that is
for them, or else by the fastest exact one; 0 where this program knows none.

`bytes` is the size of each core's buffer, rates are bytes per second of all cores together.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import compiling
from bench.machine import usable_cpus
from bench.peers.shim import SHIMS
from bench.placement import aligned
from bench.workloads import Workload

# The narrower first, as best_isa has it.
_X86 = {
    "avx2": (32, ("-mavx2", "-mfma")),
    "avx512": (64, ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma")),
}
_VNNI = {"avx512": "avx512_vnni", "avx2": "avx_vnni"}
_CPU_FLAGS = {"avx512": "avx512dq", "avx2": "fma"}

SIZES = tuple(
    1024 * kib for kib in (16, 32, 128, 512, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768, 131072)
)
_KINDS = ("read", "write", "copy")
_ATTEMPTS = 12
# Over everything: on a shared host, two CPUs can be one core for the better part of a second.
_PASSES = 3
_MOVE_BYTES = 32 << 20  # per attempt: half a millisecond in L1, a few in memory


def measure(cpu_flags: Sequence[str], threads: Sequence[int] = (1,)) -> dict[str, Any]:
    """Every instruction set of compiler and CPU, at each number of cores. Raises compiling.CompileError."""
    found: dict[str, Any] = {}
    for isa, library in _libraries(cpu_flags).items():
        found[isa] = {str(count): _measure(library, count) for count in threads}
    return {"cores": list(threads), "isa": found}


def best_isa(limits: dict[str, Any]) -> str:
    found: dict[str, Any] = limits["isa"]
    # The widest of those that reach the peak, where several do to within the clock's drift.
    peaks = {isa: float(counts[str(limits["cores"][0])]["gflops"]) for isa, counts in found.items()}
    return [isa for isa, peak in peaks.items() if peak > 0.99 * max(peaks.values())][-1]


def roofline_us(limits: dict[str, Any], workload: Workload, threads: int, cold: bool = False) -> float:
    """max(flops / peak, bytes / bandwidth of the level that holds them), in microseconds.

    `cold`: of memory, where everything is after the caches were evicted.
    """
    limit = limits["isa"][best_isa(limits)][str(threads)]
    ladder = limit["bandwidth"]
    peak_flops = peak(limits, threads, workload.dtype) * 1e9
    step = ladder[-1] if cold else held_by(ladder, workload.bytes / threads)
    # Loads and stores share the way to L2 and beyond, but not the ports of L1: whichever is less, so that it
    # is a bound.
    in_turn = workload.read_bytes / step["read"] + workload.write_bytes / step["write"]
    seconds = min(in_turn, workload.bytes / step["copy"])
    return float(max(workload.flops / peak_flops if peak_flops else 0, seconds) * 1e6)


def peak(limits: dict[str, Any], threads: int | str, dtype: str = "float32") -> float:
    """Of multiply-adds, in 1e9 operations per second; 0 if not known."""
    limit = limits["isa"][best_isa(limits)][str(threads)]
    return float(limit.get("dot_gops", 0.0) if dtype == "int8" else limit["gflops"])


def held_by(ladder: Sequence[dict[str, float]], size: float) -> dict[str, float]:
    """The rates of the largest measured buffer not above `size` bytes: too fast rather than too slow."""
    return max(
        (step for step in ladder if step["bytes"] <= size), key=lambda s: s["bytes"], default=ladder[0]
    )


def _libraries(cpu_flags: Sequence[str]) -> dict[str, ctypes.CDLL]:
    found = {}
    isas: dict[str, tuple[int, tuple[str, ...]]] = {"baseline": (16, ())}
    if platform.machine() in ("x86_64", "AMD64"):
        isas |= {
            isa: row
            for isa, row in _X86.items()
            if _CPU_FLAGS[isa] in cpu_flags and compiling.accepts(*row[1])
        }
    for isa, (size, flags) in isas.items():
        # The one place where contraction is wanted: a * m + b must become one instruction where there is one.
        vnni = isa in _VNNI and _VNNI[isa] in cpu_flags
        options = (*flags, "-ffp-contract=fast", f"-DVECTOR_BYTES={size}", f"-DVNNI={vnni:d}")
        path = compiling.shared_library(f"limits-{isa}", [compiling.Source(SHIMS / "limits.c", options)])
        found[isa] = ctypes.CDLL(str(path))
        found[isa].limit_fma.argtypes = [ctypes.c_int64]
        found[isa].limit_dot.argtypes = [ctypes.c_int64]
        found[isa].limit_fma.restype = found[isa].limit_dot.restype = ctypes.c_double
        for kind in _KINDS:
            function = getattr(found[isa], f"limit_{kind}")
            function.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
            function.restype = ctypes.c_double
    return found


def _measure(library: ctypes.CDLL, threads: int) -> dict[str, Any]:
    gflops = dot = 0.0
    ladder: list[dict[str, float]] = [{"bytes": size, **dict.fromkeys(_KINDS, 0.0)} for size in SIZES]
    with _Cores(threads) as cores:
        for _ in range(_PASSES):
            gflops = max(gflops, cores.best(lambda _: float(library.limit_fma(200_000))) / 1e9)
            dot = max(dot, cores.best(lambda _: float(library.limit_dot(200_000))) / 1e9)
            for step, size in zip(ladder, SIZES, strict=True):
                for kind in _KINDS:
                    repeats = max(1, _MOVE_BYTES // size)
                    rate = cores.best(getattr(library, f"limit_{kind}"), size, repeats)
                    step[kind] = max(step[kind], rate)
    return {"gflops": gflops, "dot_gops": dot, "bandwidth": ladder}


class _Cores:
    """Runs a measurement on several pinned threads at once (ctypes releases the GIL) and adds their rates."""

    def __init__(self, threads: int) -> None:
        self._cpus = usable_cpus()[:threads]
        self._barrier = threading.Barrier(threads)
        self._pool = ThreadPoolExecutor(threads)
        self._buffers = [aligned((SIZES[-1] // 4,)) for _ in self._cpus]
        for buffer in self._buffers:
            buffer.fill(1)

    def __enter__(self) -> _Cores:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def best(self, function: Callable[..., float], *arguments: int) -> float:
        """The fastest of several attempts at function(buffer, *arguments), summed over the cores."""

        def work(index: int) -> list[float]:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, [self._cpus[index]])
            rates = []
            for _ in range(_ATTEMPTS):
                self._barrier.wait()
                rates.append(function(self._buffers[index].ctypes.data, *arguments))
            return rates

        rates = list(self._pool.map(work, range(len(self._cpus))))
        return float(max(sum(attempt) for attempt in zip(*rates, strict=True)))
