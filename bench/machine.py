"""What the result was measured on: CPU, caches, versions, commit; and how much of the CPU others took."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from bench.compiling import COMPILER, ROOT, CompileError, Source, shared_library


def describe() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "flags": _isa_flags(),
        "cores": len(usable_cpus()),
        "frequency_mhz": _frequency(),
        "caches": cache_sizes(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "compiler": _output([COMPILER, "--version"]).partition("\n")[0],
        "commit": _output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        "modified": bool(_output(["git", "-C", str(ROOT), "status", "--porcelain", "--", "csrc", "src"])),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def cpu_name() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cpus() -> list[int]:
    """CPUs this process may use, the last one first: the first ones serve most interrupts."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0), reverse=True)
    return list(reversed(range(os.cpu_count() or 1)))


def pin(threads: int, bind: bool = True) -> None:
    """This process, and the threads that are yet to start in it, to as many CPUs.

    `bind`: OpenMP binds each of its threads to one of them, and the thread that loads it: threads of others
    that this one starts later share its CPU. So not in a process that runs several libraries. ValueError
    where there are fewer CPUs.
    """
    if threads > len(usable_cpus()):
        raise ValueError(f"{threads} threads need as many cores")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, usable_cpus()[:threads])
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": str(bind).lower()}


def cache_sizes() -> dict[str, int]:
    """Bytes of L1 (data), L2 and L3 as one core sees them; empty where the system does not say."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_read(index / name).strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and size.endswith("K"):
            sizes[f"L{level}"] = int(size[:-1]) * 1024
    return sizes


def exchange_ns() -> float | None:
    """Nanoseconds for a cache line from one CPU to the next and back, of the two that two threads run on.

    Virtual CPUs of one machine may share a cache at one time and none at another. None: not known.
    """
    cpus = usable_cpus()[:2]
    if len(cpus) < 2 or not sys.platform.startswith("linux"):
        return None
    source = Source(ROOT / "bench" / "shims" / "exchange.c")
    try:
        library = ctypes.CDLL(str(shared_library("exchange", [source], link=("-pthread",))))
    except (CompileError, OSError):
        return None
    library.exchange_ns.restype = ctypes.c_double
    with ThreadPoolExecutor(1) as alone:  # whose affinity it changes
        found = float(alone.submit(library.exchange_ns, *cpus).result())
    return found if found > 0 else None


def cpu_times() -> tuple[float, float]:
    """Total and stolen CPU time since boot, in ticks. Zeros where the system does not say."""
    fields = _read("/proc/stat").partition("\n")[0].split()[1:]
    if len(fields) < 8:
        return 0.0, 0.0
    return float(sum(map(int, fields[:8]))), float(fields[7])


def _isa_flags() -> list[str]:
    wanted = {
        "avx",
        "avx2",
        "fma",
        "avx512f",
        "avx512_vnni",
        "avx_vnni",
        "avx512vl",
        "avx512bw",
        "avx512dq",
        "avx512_fp16",
        "amx_bf16",
        "asimd",
    }
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            return sorted(wanted & set(line.split()))
    return []


def _frequency() -> float | None:
    """MHz as the system states it, which in a virtual machine is often only nominal."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("cpu MHz"):
            return float(line.partition(":")[2])
    return None


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
