"""Builds `dwconv._core`: the C core, one object per instruction set with its own flags, and the Cython file.

What the compiler can build decides which instruction sets are compiled in; the CPU of the build machine
decides nothing. Environment:

    DWCONV_REQUIRE_EXTENSION=1   a failed build is an error; without it the package falls back to NumPy
    DWCONV_WERROR=1              compiles the C core with -Wall -Wextra -Werror
"""

from __future__ import annotations

import os
import re
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.command.build_py import build_py as _build_py
from setuptools.errors import CCompilerError, CompileError, LinkError, PlatformError
from setuptools.modified import newer_group

# setuptools wants paths relative to this file, which it makes the working directory.
CSRC = Path("csrc")
HEADER = CSRC / "dwconv.h"

# -ffp-contract=off: what is fused is written as fma, so results do not depend on the compiler's taste.
# -fno-lto: link-time optimisation could move code compiled with AVX-512 into functions every CPU runs.
COMMON_FLAGS = ["-O3", "-g0", "-fvisibility=hidden", "-fno-lto"]
CORE_FLAGS = [*COMMON_FLAGS, "-std=c11", "-ffp-contract=off", "-fno-math-errno"]
WARNING_FLAGS = ["-Wall", "-Wextra", "-Werror"]
ISA_FLAGS = {
    "neon": list[str](),
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx2", "-mfma",
        "-mprefer-vector-width=512",
    ],
}  # fmt: skip

X86_PROBE = """
#ifdef __x86_64__
#include <immintrin.h>
#else
#error "not x86-64"
#endif
int main(void) { return 0; }
"""
ARM_PROBE = """
#ifdef __aarch64__
#include <arm_neon.h>
#else
#error "not Arm64"
#endif
int main(void) { return 0; }
"""
ISA_PROBES = {"neon": ARM_PROBE, "avx2": X86_PROBE, "avx512": X86_PROBE}
OPENMP_PROBE = """
#include <omp.h>
int main(void) { return omp_get_max_threads() < 1; }
"""


def enabled(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


def version() -> str:
    match = re.search(r'^#define DWCONV_VERSION "(.+)"$', HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None, f"no DWCONV_VERSION in {HEADER}"
    return match[1]


class build_py(_build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # dwconv.get_include() finds the header of the source tree
            include = Path(self.build_lib, "dwconv", "include")
            self.mkpath(str(include))
            self.copy_file(str(HEADER), str(include / HEADER.name))


class build_ext(_build_ext):
    def build_extension(self, ext: Extension) -> None:
        # Headers and .inc.h files are in `depends`: changing one rebuilds everything.
        if not self.force and not newer_group(ext.sources + ext.depends, self.get_ext_fullpath(ext.name)):
            return
        try:
            self._check_tools()
            ext.extra_objects = self._compile_core(ext)
            super().build_extension(ext)
        except (CCompilerError, PlatformError) as error:
            if not ext.optional:
                raise
            # An older build would be imported, or packed into the wheel, in place of what does not compile.
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            if self.editable_mode:
                Path("src", self.get_ext_filename(ext.name)).unlink(missing_ok=True)
            self.warn(
                f"the C extension was not built ({error}): dwconv will compute with NumPy, many times "
                "slower. DWCONV_REQUIRE_EXTENSION=1 makes this an error."
            )

    def _check_tools(self) -> None:
        if self.compiler.compiler_type == "msvc":
            raise PlatformError("the kernels need the vector extensions of GCC or Clang")
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            raise PlatformError("Python.h is missing: Debian and Ubuntu have it in python3-dev")

    def _compile_core(self, ext: Extension) -> list[str]:
        """Objects of csrc/. Adds to `ext` what linking them needs."""
        isas = {isa: flags for isa, flags in ISA_FLAGS.items() if self._builds(ISA_PROBES[isa], flags)}
        openmp = ["-fopenmp"] if self._builds(OPENMP_PROBE, ["-fopenmp"], link=True) else []
        ext.extra_link_args += openmp
        shared = [*CORE_FLAGS, *openmp, *(WARNING_FLAGS if enabled("DWCONV_WERROR") else [])]
        macros = [(f"DWCONV_HAVE_{isa.upper()}", "1") for isa in isas]

        baseline = [path for path in sorted(CSRC.rglob("*.c")) if path.stem not in ISA_FLAGS]
        flags_of = dict.fromkeys(baseline, shared)
        flags_of |= {CSRC / "kernels" / "isa" / f"{isa}.c": [*shared, *flags] for isa, flags in isas.items()}

        def compile_one(source: Path) -> list[str]:
            return self.compiler.compile(
                [str(source)], output_dir=self.build_temp, macros=macros, extra_postargs=flags_of[source]
            )

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # The files of the instruction sets take longest: they go first.
            return [name for names in pool.map(compile_one, reversed(flags_of)) for name in names]

    def _builds(self, code: str, flags: list[str], *, link: bool = False) -> bool:
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "probe.c")
            source.write_text(code, encoding="ascii")
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=directory, extra_postargs=[*flags, "-fno-lto"]
                )
                if link:
                    self.compiler.link_executable(
                        objects, "probe", output_dir=directory, extra_postargs=flags
                    )
            except (CompileError, LinkError):
                return False
        return True


core = Extension(
    "dwconv._core",
    sources=["src/dwconv/_core.pyx"],
    depends=["setup.py", "src/dwconv/__init__.pxd", *map(str, sorted(CSRC.glob("**/*.[ch]")))],
    include_dirs=[str(CSRC)],
    libraries=["m", "pthread"],
    extra_compile_args=COMMON_FLAGS,
    extra_link_args=["-Wl,-x"],
    optional=not enabled("DWCONV_REQUIRE_EXTENSION"),
)

setup(version=version(), ext_modules=[core], cmdclass={"build_py": build_py, "build_ext": build_ext})
