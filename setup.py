"""Builds `dwconv._core`: the C core and the Cython file, all of it with the same flags.

The architecture decides which instruction sets are compiled in (csrc/kernels/isa/which.h); the CPU of the
build machine decides nothing. Environment:

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
from setuptools.errors import CCompilerError, CompileError, PlatformError
from setuptools.modified import newer_group

# setuptools wants paths relative to this file, which it makes the working directory.
CSRC = Path("csrc")
HEADER = CSRC / "dwconv.h"
HEADERS = [HEADER, CSRC / "dwconv_network.h", CSRC / "dwconv_gradient.h"]

# These follow CFLAGS and LDFLAGS. -ffast-math in there would change results, and link code that makes every
# process that imports dwconv flush denormals: -Ofast is undone by another -O, the others by their opposites.
STRICT_FLAGS = ["-O3", "-fno-fast-math", "-fno-unsafe-math-optimizations"]
# -fno-lto: link-time optimisation could move code compiled with AVX-512 into functions every CPU runs.
COMMON_FLAGS = [*STRICT_FLAGS, "-g0", "-fvisibility=hidden", "-fno-lto"]
# -ffp-contract=off: what is fused is written as fma, so results do not depend on the compiler's taste.
CORE_FLAGS = [*COMMON_FLAGS, "-std=c11", "-ffp-contract=off", "-fno-math-errno"]
WARNING_FLAGS = ["-Wall", "-Wextra", "-Werror"]
# Of clang: -fno-fast-math would make it keep exceptions as they come, which costs speed.
CLANG_FLAGS = ["-ffp-exception-behavior=ignore"]
EMPTY_PROGRAM = "int main(void) { return 0; }"


def enabled(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


def version() -> str:
    match = re.search(r'^#define DWCONV_VERSION "(.+)"$', HEADER.read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None, f"no DWCONV_VERSION in {HEADER}"
    return match[1]


class build_py(_build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # dwconv.get_include() finds the headers of the source tree
            include = Path(self.build_lib, "dwconv", "include")
            self.mkpath(str(include))
            for header in HEADERS:
                self.copy_file(str(header), str(include / header.name))


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
        """Objects of csrc/. Adds to `ext` what the compiler wants for its other file."""
        clang = CLANG_FLAGS if self._accepts(CLANG_FLAGS) else []
        ext.extra_compile_args += clang
        flags = [*CORE_FLAGS, *clang, *(WARNING_FLAGS if enabled("DWCONV_WERROR") else [])]
        # The files of the instruction sets take longest: they go first.
        sources = sorted(CSRC.rglob("*.c"), key=lambda path: path.parent.name != "isa")

        def compile_one(source: Path) -> list[str]:
            return self.compiler.compile([str(source)], output_dir=self.build_temp, extra_postargs=flags)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [name for names in pool.map(compile_one, sources) for name in names]

    def _accepts(self, flags: list[str]) -> bool:
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "probe.c")
            source.write_text(EMPTY_PROGRAM, encoding="ascii")
            try:
                self.compiler.compile([str(source)], output_dir=directory, extra_postargs=flags)
            except CompileError:
                return False
        return True


core = Extension(
    "dwconv._core",
    sources=["src/dwconv/_core.pyx"],
    depends=[
        "setup.py",
        *map(str, sorted(Path("src/dwconv").glob("*.px[di]"))),
        *map(str, sorted(CSRC.glob("**/*.[ch]"))),
    ],
    include_dirs=[str(CSRC)],
    libraries=["m", "pthread"],
    extra_compile_args=COMMON_FLAGS,
    extra_link_args=[*STRICT_FLAGS, "-Wl,-x"],
    optional=not enabled("DWCONV_REQUIRE_EXTENSION"),
)

setup(version=version(), ext_modules=[core], cmdclass={"build_py": build_py, "build_ext": build_ext})
