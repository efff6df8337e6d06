"""What is built: version, contents, symbols; and what happens where nothing can be built."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import dwconv

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(dwconv.__file__).resolve().parent
in_source_tree = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="this is not the source tree")


def builds() -> bool:
    """Whether this environment holds what pyproject.toml asks for to build: these tests do not isolate."""
    try:
        return int(metadata.version("setuptools").split(".")[0]) >= 77 and bool(metadata.version("Cython"))
    except metadata.PackageNotFoundError:
        return False


can_build = pytest.mark.skipif(not builds(), reason="setuptools or Cython is absent or too old")
needs_nm = pytest.mark.skipif(
    shutil.which("nm") is None or not sys.platform.startswith("linux"), reason="there is no nm"
)


def setup(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=directory, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that a build reads."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    built = shutil.ignore_patterns("*.so", "_core.c", "__pycache__", "*.egg-info")
    for name in ("csrc", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=built)
    return tmp_path


@in_source_tree
def test_version_is_the_one_of_the_header() -> None:
    header = (ROOT / "csrc" / "dwconv.h").read_text(encoding="utf-8")
    assert f'#define DWCONV_VERSION "{dwconv.__version__}"' in header


def test_package_holds_its_data_and_types() -> None:
    for name in ("py.typed", "_core.pyi", "data/digits.npz", "data/digits_images.npy", "data/README.md"):
        assert (PACKAGE / name).exists(), name


@needs_nm
@pytest.mark.skipif(importlib.util.find_spec("dwconv._core") is None, reason="the extension is not built")
def test_extension_is_small_and_exports_nothing_else() -> None:
    spec = importlib.util.find_spec("dwconv._core")
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).stat().st_size < 3_000_000  # compressed to a third in the wheel
    command = ["nm", "--dynamic", "--defined-only", spec.origin]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2::3]
    assert symbols == ["PyInit__core"]


@in_source_tree
@needs_nm
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.parametrize("path", sorted(ROOT.glob("csrc/kernels/isa/*.c")), ids=lambda path: path.stem)
def test_an_instruction_set_exports_its_table_and_nothing_else(path: Path, tmp_path: Path) -> None:
    name = path.stem  # of float32; of integers it begins with s8_
    isa = name.removeprefix("s8_")
    family = isa.split("_")[0]
    target = tmp_path / "kernels.o"
    foreign = family == "neon" if platform.machine() == "x86_64" else isa.startswith("avx")
    tables = [f"dwc_{name}"] if name != isa else [f"dwc_table_{name}"]
    if name in ("avx2", "avx512"):  # float32 is the same beside kernels of integers with dot products
        tables.append(f"dwc_table_{name}_vnni")
    if name == "neon":
        tables.append("dwc_table_neon_dotprod")
    for left_out in (False, True):
        flag = [f"-DDWCONV_NO_{family.upper()}"] if left_out else []
        subprocess.run(["cc", "-std=c11", "-O1", *flag, "-c", path, "-o", target], check=True)
        names = subprocess.run(
            ["nm", "--extern-only", "--defined-only", target], capture_output=True, text=True, check=True
        )
        empty = foreign or (left_out and isa != "baseline")
        assert names.stdout.split()[2::3] == ([] if empty else tables)


@in_source_tree
@pytest.mark.parametrize(
    ("compiler", "isas"),
    [
        ("gcc -m32", set()),
        ("aarch64-linux-gnu-gcc", {"NEON"}),
        ("clang --target=x86_64-linux-gnu", {"AVX2", "AVX512", "AVX512_S8"}),
        (
            "clang --target=x86_64-apple-macos11",
            {"AVX2", "AVX512", "AVX512_S8"},
        ),  # both slices of a universal Python
        ("clang --target=arm64-apple-macos11", {"NEON"}),
    ],
)
def test_the_architecture_decides_which_instruction_sets_are_compiled_in(
    compiler: str, isas: set[str]
) -> None:
    command, *flags = compiler.split()
    if shutil.which(command) is None or (command == "gcc" and platform.machine() != "x86_64"):
        pytest.skip(f"there is no {compiler}")
    which = ROOT / "csrc" / "kernels" / "isa" / "which.h"
    for left_out in (set[str](), {"AVX2"}, isas):
        asked = [command, *flags, *(f"-DDWCONV_NO_{isa}" for isa in left_out), "-E", "-dM", which]
        macros = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        assert set(re.findall(r"DWCONV_HAVE_(\w+)", macros)) == isas - left_out


BITS = """
import hashlib
import numpy as np
import dwconv
rng = np.random.default_rng(0)
draw = lambda *shape: (rng.normal(size=shape) * 10.0 ** rng.integers(-30, 3, shape)).astype(np.float32)
x = draw(1, 19, 23, 21)
x[0, 3, 3, :6] = np.inf, -np.inf, np.nan, -0.0, 1e-40, -1e-44
digest = hashlib.sha256()
for activation in (None, "relu6", "silu", "gelu", "tanh", "hard_swish"):
    block = dwconv.InvertedResidual(draw(21, 50), draw(3, 3, 50, 1), draw(50, 21), activation=activation)
    for y in (
        block(x),
        dwconv.depthwise_conv2d(x, draw(5, 5, 21, 2), 2, "same", bias=draw(42), activation=activation),
        dwconv.conv2d(x, draw(3, 3, 21, 9), activation=activation),
    ):
        digest.update(np.ascontiguousarray(y))
print(dwconv.config()["isa"], digest.hexdigest(), 2.2250738585072014e-308 / 2)
"""


@pytest.mark.slow
@in_source_tree
@can_build
@pytest.mark.skipif(importlib.util.find_spec("dwconv._core") is None, reason="the extension is not built")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the flags are those of x86-64")
def test_flags_of_the_user_change_neither_results_nor_the_mode_of_arithmetic(copy: Path) -> None:
    def bits(folder: Path) -> list[str]:
        environment = {**os.environ, "DWCONV_ISA": "baseline", "PYTHONPATH": str(folder)}
        command = [sys.executable, "-c", BITS]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return result.stdout.split()

    unsafe = "-O0 -Ofast -ffast-math -funsafe-math-optimizations -fassociative-math"
    few = "-DDWCONV_NO_AVX2 -DDWCONV_NO_AVX512"  # for the time
    result = setup(
        copy, "build",
        CFLAGS=f"{unsafe} -flto -march=native -ffp-contract=fast {few}", LDFLAGS=unsafe,
        DWCONV_REQUIRE_EXTENSION="1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (package,) = copy.glob("build/lib*")
    isa, digest, denormal = bits(package)
    assert (isa, digest) == tuple(bits(PACKAGE.parent)[:2])
    assert float(denormal) > 0


@in_source_tree
@can_build
def test_a_machine_without_a_compiler_gets_the_numpy_package(copy: Path) -> None:
    result = setup(copy, "build", CC="/nonexistent/cc", DWCONV_REQUIRE_EXTENSION="0")
    assert result.returncode == 0, result.stderr
    assert "the C extension was not built" in result.stdout + result.stderr
    (package,) = copy.glob("build/lib*/dwconv")
    assert (package / "data" / "digits.npz").exists()
    assert not list(package.glob("_core*.so"))
    answer = subprocess.run(
        [sys.executable, "-c", "import dwconv; print(dwconv.config()['backend'])"],
        cwd=package.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.split() == ["numpy"]
    assert answer.stderr.count("RuntimeWarning") == 1


@in_source_tree
@can_build
def test_a_required_extension_that_cannot_be_built_is_an_error(copy: Path) -> None:
    result = setup(copy, "build_ext", CC="/nonexistent/cc", DWCONV_REQUIRE_EXTENSION="1")
    assert result.returncode != 0


@in_source_tree
@can_build
def test_every_source_and_header_of_the_core_triggers_a_rebuild() -> None:
    code = (
        "import setuptools\n"
        "from distutils.core import run_setup\n"
        "extension, = run_setup('setup.py', stop_after='init').ext_modules\n"
        "print(*extension.depends)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    sources = {str(path.relative_to(ROOT)) for path in ROOT.glob("csrc/**/*") if path.suffix in (".c", ".h")}
    assert sources <= set(result.stdout.split())


@in_source_tree
@can_build
def test_the_source_distribution_is_complete(copy: Path) -> None:
    for name in ("MANIFEST.in", "Makefile", ".clang-format"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    result = setup(copy, "-q", "sdist", "--formats=tar")
    assert result.returncode == 0, result.stderr
    (archive,) = (copy / "dist").glob("*.tar")
    shutil.unpack_archive(archive, copy / "unpacked")
    (unpacked,) = (copy / "unpacked").iterdir()
    for folder in ("csrc", "src", "tests"):
        files = {path.relative_to(copy) for path in (copy / folder).rglob("*") if path.is_file()}
        files = {path for path in files if not re.search(r"egg-info|__pycache__", str(path))}
        assert files
        assert not [path for path in files if not (unpacked / path).exists()]
