"""Compiles the benchmark's C on the spot, once for every content of its sources and flags."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "bench"
COMPILER = os.environ.get("CC", "cc")
BASE_FLAGS = (
    "-std=c11",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-lto",
    "-fno-math-errno",
    "-ffp-contract=off",
)


class CompileError(RuntimeError):
    """The compiler is missing, or refused; the message holds its own words."""


@dataclass(frozen=True)
class Source:
    path: Path
    flags: tuple[str, ...] = ()


def shared_library(
    name: str,
    sources: Iterable[Source],
    *,
    flags: tuple[str, ...] = (),
    link: tuple[str, ...] = (),
    depends: Iterable[Path] = (),
) -> Path:
    """Path of a shared library of `sources`, rebuilt when any byte of them or of `depends` changed."""
    sources = list(sources)
    digest = hashlib.sha256(repr((COMPILER, BASE_FLAGS, flags, link, [s.flags for s in sources])).encode())
    for path in [*(s.path for s in sources), *sorted(depends)]:
        digest.update(path.read_bytes())
    library = CACHE / f"{name}-{digest.hexdigest()[:16]}.so"
    if not library.exists():
        with _alone(library.with_suffix(".lock")):
            if not library.exists():  # else another process has built it meanwhile
                _build(library, sources, [*BASE_FLAGS, *flags], list(link))
    return library


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time, for a path; all of them where files cannot be locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when it is closed, or its process ends
        yield


def _build(library: Path, sources: list[Source], flags: list[str], link: list[str]) -> None:
    work = CACHE / f"{library.stem}-{os.getpid()}"
    work.mkdir(parents=True, exist_ok=True)
    objects = [str(work / f"{i}-{source.path.stem}.o") for i, source in enumerate(sources)]
    commands = [
        [COMPILER, *flags, *source.flags, "-c", str(source.path), "-o", target]
        for source, target in zip(sources, objects, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_run, commands))
    _run([COMPILER, "-shared", "-o", str(work / "lib.so"), *objects, *link])
    (work / "lib.so").replace(library)
    for leftover in objects:
        Path(leftover).unlink()
    work.rmdir()


def accepts(*flags: str) -> bool:
    """Whether the compiler builds an empty program with these flags."""
    command = [COMPILER, *flags, "-x", "c", "-shared", "-fPIC", "-o", os.devnull, "-"]
    try:
        return subprocess.run(command, input=b"int x;", capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def openmp_flags() -> tuple[str, ...]:
    return ("-fopenmp",) if sys.platform.startswith("linux") and accepts("-fopenmp") else ()


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as problem:
        raise CompileError(f"cannot run {command[0]}: {problem}") from problem
    if done.returncode:
        raise CompileError(f"{' '.join(command)}\n{done.stderr.strip()}")
