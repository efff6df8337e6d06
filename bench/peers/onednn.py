"""oneDNN itself (PyPI: onednn-cpu-gomp, onednn-devel-cpu-gomp): the reference of every claim about speed.

Best form: the convolution primitive with NHWC activations, which is the layout that frameworks hand it on
CPUs and that its newest kernels are for; weights in the format it picks, reordered once; bias, activation
and residual as post-ops; the primitive, its memory objects and its output reused; called in a loop in C.
The variant limits the instruction set ("avx2").
"""

from __future__ import annotations

import ctypes
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import compiling
from bench.peers import Absent, Runner, shim
from bench.problem import Problem


class Peer:
    reorders = False
    dtype = "float32"
    fuse = False
    source = "onednn.c"

    def __init__(self, variant: str, threads: int) -> None:
        self.isa, self.threads = variant, threads
        library = _installed("onednn-cpu-gomp", "libdnnl.so.3")
        header = _installed("onednn-devel-cpu-gomp", "oneapi/dnnl/dnnl.h")
        self.dnnl = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        try:
            self.shim = shim.load(
                compiling.shared_library(
                    "onednn",
                    [compiling.Source(shim.SHIMS / self.source)],
                    flags=(f"-I{header.parents[2]}",),
                    link=(str(library), f"-Wl,-rpath,{library.parent}"),
                    depends=[shim.SHIMS / name for name in ("chain.h", "onednn.h")],
                )
            )
        except compiling.CompileError as problem:
            raise Absent(str(problem)) from problem

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(threads)}

    def describe(self) -> dict[str, Any]:
        class Version(ctypes.Structure):
            _fields_ = [("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int)]

        self.dnnl.dnnl_version.restype = ctypes.POINTER(Version)
        v = self.dnnl.dnnl_version().contents
        package = metadata.version("onednn-cpu-gomp")
        return {"version": f"{v.major}.{v.minor}.{v.patch}", "package": package, "called": "from C"}

    def prepare(self, problem: Problem) -> Runner:
        return shim.prepare(self.shim, problem, self.threads, self.isa, self.fuse)


def _installed(package: str, ending: str) -> Path:
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        raise Absent(f"{package} is not installed") from None
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate())).resolve()
    raise Absent(f"{package} holds no {ending}")
