"""dwconv's C core, compiled from this source tree and called in a loop in C, as the other C libraries are.

Best form: one plan, created once; a whole block is one operation. The variant is an instruction set
("avx2"), or the path of another source tree, so that two states of the kernels can be measured side by
side.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import compiling
from bench.peers import Absent, Runner, shim
from bench.problem import Problem


class Peer:
    reorders = False
    dtype = "float32"
    fuse = True

    def __init__(self, variant: str, threads: int) -> None:
        is_path = "/" in variant
        self.tree = Path(variant).resolve() if is_path else compiling.ROOT
        self.isa = "" if is_path else variant
        self.threads = threads
        if not (self.tree / "csrc" / "dwconv.h").exists():
            raise Absent(f"no csrc/dwconv.h in {self.tree}")
        try:
            self.shim = shim.load(build(self.tree / "csrc"))
        except compiling.CompileError as problem:
            raise Absent(str(problem)) from problem

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(threads)}

    def describe(self) -> dict[str, Any]:
        header = (self.tree / "csrc" / "dwconv.h").read_text()
        version = header.split("#define DWCONV_VERSION", 1)[1].split('"')[1]
        return {"version": version, "isa": self.isa or "best", "called": "from C"}

    def prepare(self, problem: Problem) -> Runner:
        return shim.prepare(self.shim, problem, self.threads, self.isa, self.fuse)


def build(csrc: Path, *flags: str, beside: tuple[Path, ...] = ()) -> Path:
    """The core with setup.py's flags and `flags`, the shim, and C files `beside` it, which may use OpenMP."""
    # Its loops run beside the kernels, on this machine only.
    native = ("-march=native",) if compiling.accepts("-march=native") else ()
    openmp = compiling.openmp_flags() if beside else ()
    sources = [compiling.Source(path) for path in sorted(csrc.rglob("*.c"))]
    sources += [compiling.Source(path, (*native, *openmp)) for path in (shim.SHIMS / "dwconv.c", *beside)]
    return compiling.shared_library(
        "dwconv",
        sources,
        flags=(f"-I{csrc}", *flags),
        link=("-lm", "-lpthread", *openmp),
        depends=[*csrc.rglob("*.h"), shim.SHIMS / "chain.h"],
    )
