"""What runs the operations, on how many threads, and why.

Environment, read at import:

- `DWCONV_NUM_THREADS`: default number of threads; stronger than `OMP_NUM_THREADS`.
- `DWCONV_ISA`: another instruction set than the best one there is: "baseline", "avx2", "avx2-vnni", "avx512",
  "avx512-vnni", "neon" or "neon-dotprod". Longer names have dot products of 8-bit integers, else the same.
- `DWCONV_BACKEND=numpy`: everything through NumPy.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

from .geometry import MAX_THREADS, thread_count

core: Any = None  # the module `_core`
_import_error: ImportError | None = None
try:
    core = import_module("._core", __package__)
except ImportError as error:
    _import_error = error


class PerformanceWarning(UserWarning):
    """A tensor was copied because its layout cannot be read or written in place."""


# ---- thread count -----------------------------------------------------------------------------


class Threads(NamedTuple):
    """How many a call uses at most, and why."""

    number: int
    reason: str


def _cgroup_cpus(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """CPUs that the quotas of this process's control groups and their parents allow; None: no quota.

    What cannot be read, or is not what Linux writes, is no quota: containers and sandboxes show odd files.
    """
    limits = []
    for line in _text(proc).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not path or (controllers and "cpu" not in controllers.split(",")):
            continue
        top = root / "cpu" if controllers else root
        group = top / path.strip("/")
        # In a container the path may be the host's, while `root` shows only the container's own group.
        for folder in [group, *group.parents]:
            limit = _quota(folder, old=bool(controllers))
            if limit is not None:
                limits.append(limit)
            if folder == top:
                break
    return max(1, math.ceil(min(limits))) if limits else None


def _quota(folder: Path, old: bool) -> float | None:
    """quota / period of one control group, of version 1 (`old`) or 2."""
    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if old else ("cpu.max",)
    words = [word for file in files for word in _text(folder / file).split()]
    numbers = [number for word in words if (number := _positive(word)) is not None]
    if len(words) != 2 or len(numbers) != 2:  # absent, or "max" or -1: unlimited
        return None
    return numbers[0] / numbers[1]


def _text(path: Path) -> str:
    """What a file holds, or nothing."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except (OSError, ValueError):  # absent, refused, a directory; a path that there cannot be
        return ""


def _positive(word: str) -> int | None:
    """Of decimal digits alone, and not more than sizes have."""
    word = word.strip()
    return int(word) or None if word.isdecimal() and len(word) < 20 else None


def _affinity_cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS; some sandboxes
        return os.cpu_count() or 1


def _default_threads(environment: Mapping[str, str], has_threads: bool) -> Threads:
    own = environment.get("DWCONV_NUM_THREADS", "")
    if own:
        number = _positive(own)
        if number is None or number > MAX_THREADS:
            raise ValueError(f"DWCONV_NUM_THREADS must be an integer from 1 to {MAX_THREADS}, not {own!r}")
        return Threads(number, "DWCONV_NUM_THREADS")
    if not has_threads:
        return Threads(1, "there are no threads without the compiled core")
    shared = _positive(environment.get("OMP_NUM_THREADS", "").split(",")[0])  # a list is for nested regions
    if shared is not None:
        return Threads(min(shared, MAX_THREADS), "OMP_NUM_THREADS")
    limits = [Threads(_affinity_cpus(), "CPUs that this process may use")]
    quota = _cgroup_cpus()
    if quota is not None:
        limits.append(Threads(quota, "CPU quota of the control group"))
    ceiling = _positive(environment.get("OMP_THREAD_LIMIT", ""))
    if ceiling is not None:
        limits.append(Threads(ceiling, "OMP_THREAD_LIMIT"))
    least = min(limits, key=lambda limit: limit.number)
    return Threads(min(least.number, MAX_THREADS), least.reason)


# ---- state ------------------------------------------------------------------------------------


def _check_isa(where: str, isa: str) -> str:
    available = core.isas_available()
    if isa not in available:
        raise ValueError(f"{where}={isa}: this build on this CPU runs {', '.join(available)}")
    return isa


def _initial_backend(environment: Mapping[str, str]) -> str:
    asked = environment.get("DWCONV_BACKEND", "")
    if asked not in ("", "native", "numpy"):
        raise ValueError(f"DWCONV_BACKEND must be 'native' or 'numpy', not {asked!r}")
    if asked == "numpy":
        return "numpy"
    if core is None:
        for variable in ("DWCONV_BACKEND", "DWCONV_ISA"):
            if environment.get(variable):  # an instruction set cannot be had without the core either
                raise ImportError(f"{variable}={environment[variable]}: {_import_error}")
        warnings.warn(
            f"dwconv: the compiled core cannot be imported ({_import_error}); everything runs through NumPy, "
            "many times slower. DWCONV_BACKEND=numpy asks for that and silences this warning.",
            RuntimeWarning,
            stacklevel=4,  # the line that imports dwconv
        )
        return "numpy"
    return "native"


def _initial_isa(environment: Mapping[str, str]) -> str:
    asked = environment.get("DWCONV_ISA", "")
    return _check_isa("DWCONV_ISA", asked) if asked else str(core.isa_best())


# Each setting is one object that is replaced, never changed: threads see the old one or the new one, with and
# without the interpreter's lock.
_isa = _initial_isa(os.environ) if _initial_backend(os.environ) == "native" else None
_threads = _default_threads(os.environ, core is not None and core.has_threads())


def native_isa() -> str | None:
    """The instruction set of plans made now; None: NumPy is in force."""
    return _isa


@contextmanager
def _force(*, isa: str | None = None, backend: str | None = None) -> Iterator[None]:
    """Layers made and functions called inside use this; for tests, in one thread."""
    global _isa
    before = _isa
    if isa is not None:
        if core is None:
            raise RuntimeError("the compiled core is not there")
        _isa = _check_isa("isa", isa)
    elif backend == "numpy":
        _isa = None
    else:
        raise ValueError(f"backend must be 'numpy', not {backend!r}")
    try:
        yield
    finally:
        _isa = before


# ---- public -----------------------------------------------------------------------------------


def set_num_threads(n: int) -> None:
    """Sets how many threads a call uses at most where it does not say `num_threads` itself.

    Small work runs on the calling thread whatever the number. Raises TypeError or ValueError unless `n` is an
    integer from 1 to 1024.
    """
    global _threads
    _threads = Threads(thread_count("set_num_threads: n", n), "set_num_threads")


def get_num_threads() -> int:
    """How many threads a call uses at most where it does not say `num_threads` itself."""
    return _threads.number


class Config(TypedDict):
    """The settings of `config()`."""

    version: str
    backend: Literal["native", "numpy"]
    reason: str | None
    isa: str | None
    isas_compiled: list[str]
    isas_available: list[str]
    threads: int
    threads_reason: str
    compiler: str | None


def config() -> Config:
    """What runs the operations, and why.

    Keys: `version`; `backend`, "native" or "numpy"; `isa`, the instruction set in force, None with the NumPy
    backend; `isas_compiled` and `isas_available` (this build has them; this CPU has them too), best last;
    `threads` and `threads_reason`; `compiler`, of this build; `reason`, why the backend is
    "numpy", or None.
    """
    isa, threads, reason = _isa, _threads, None
    if isa is None:
        reason = f"the compiled core cannot be imported: {_import_error}" if core is None else "asked for"
    return {
        "version": version(),
        "backend": "numpy" if isa is None else "native",
        "reason": reason,
        "isa": isa,
        "isas_compiled": core.isas_compiled() if core is not None else [],
        "isas_available": core.isas_available() if core is not None else [],
        "threads": threads.number,
        "threads_reason": threads.reason,
        "compiler": core.compiler() if core is not None else None,
    }


def show_config() -> None:
    """Prints `config()`, one setting a line."""
    for key, value in config().items():
        print(f"{key:15} {', '.join(value) if isinstance(value, list) else value}")


def version() -> str:
    """The version of the compiled core, or of the installed package where there is none."""
    if core is not None:
        return str(core.version())
    try:
        return metadata.version("dwconv")
    except metadata.PackageNotFoundError:
        return "unknown"


def get_include() -> str:
    """The directory of dwconv.h, for programs in C and for modules of Cython that say `cimport dwconv`.

    Raises FileNotFoundError where the package was installed without it.
    """
    package = Path(__file__).resolve().parent
    for directory in (package / "include", package.parent.parent / "csrc"):  # installed; the source tree
        if (directory / "dwconv.h").exists():
            return str(directory)
    raise FileNotFoundError(f"dwconv: dwconv.h is not in {package / 'include'}")
