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
    for name in ("py.typed", "_core.pyi", "data/digits.npz", "data/README.md"):
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
    isa = path.stem
    target = tmp_path / "kernels.o"
    asked = f"-DDWCONV_HAVE_{isa.upper()}"
    compiled = subprocess.run(["cc", "-std=c11", "-O1", asked, "-c", path, "-o", target], check=False)
    if compiled.returncode:
        pytest.skip(f"the compiler cannot build {isa}")
    names = subprocess.run(
        ["nm", "--extern-only", "--defined-only", target], capture_output=True, text=True, check=True
    )
    if isa == "neon" and platform.machine() != "aarch64":
        assert not names.stdout  # empty where it cannot be built
    else:
        assert names.stdout.split()[2::3] == [f"dwc_table_{isa}"]


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
