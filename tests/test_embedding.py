"""The C product: header and declarations in the package, the CMake build, the examples in C."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import compiled_core
import dwconv
from dwconv import demo
from oracles import backends, using

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
EXAMPLES = ROOT / "examples" / "c"
CC = shutil.which("cc")
in_source_tree = pytest.mark.skipif(not CSRC.exists(), reason="this is not the source tree")
needs_cc = pytest.mark.skipif(CC is None, reason="there is no C compiler")
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")


# What CMake runs finds the package that is under test.
HERE = {"PYTHONPATH": str(Path(dwconv.__file__).resolve().parent.parent)}
WITH_PYTHON = f"-DPython3_EXECUTABLE={sys.executable}"
has_core = "baseline" in backends()


def run(*command: object, cwd: Path | None = None) -> str:
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    return result.stdout


# ---- the package --------------------------------------------------------------------------------

TINY = """
cimport dwconv


def probe():
    cdef dwconv.dwconv_conv_desc conv
    cdef dwconv.dwconv_desc desc
    desc.conv = &conv
    conv.out_channels = 7
    return dwconv.DWCONV_VERSION.decode(), int(dwconv.DWCONV_RESIDUAL_ON), desc.conv.out_channels
"""


def test_the_headers_are_in_the_package() -> None:
    assert (Path(dwconv.get_include()) / "dwconv_network.h").exists()
    header = Path(dwconv.get_include()) / "dwconv.h"
    assert f'#define DWCONV_VERSION "{dwconv.__version__}"' in header.read_text(encoding="utf-8")


@needs_cc
@pytest.mark.skipif(importlib.util.find_spec("Cython") is None, reason="there is no Cython")
@pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="there is no Python.h"
)
def test_an_extension_of_somebody_else_cimports_the_package(tmp_path: Path) -> None:
    (tmp_path / "tiny.pyx").write_text(TINY, encoding="utf-8")
    packages = Path(dwconv.__file__).resolve().parent.parent
    run(sys.executable, "-m", "cython", "-3", "-I", packages, "tiny.pyx", cwd=tmp_path)
    target = tmp_path / f"tiny{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [f"-I{sysconfig.get_path('include')}", f"-I{dwconv.get_include()}"]
    run(CC, "-shared", "-fPIC", "-O1", *include, tmp_path / "tiny.c", "-o", target)
    answer = run(sys.executable, "-c", "import tiny; print(*tiny.probe())", cwd=tmp_path)
    assert answer.split() == [dwconv.__version__, "2", "7"]


# ---- the library --------------------------------------------------------------------------------


@in_source_tree
@needs_cc
@pytest.mark.parametrize(
    "compiler",
    ["gcc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("clang", "aarch64-linux-gnu-gcc"))],
)
def test_every_file_is_clean_under_strict_warnings(compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    nothing = [f"-DDWCONV_NO_{isa}" for isa in ("AVX2", "AVX512", "NEON")]
    sources = [*CSRC.rglob("*.c"), *EXAMPLES.glob("*.c")]
    with_networks = ("classify.c", "person.c")  # compiled below, and in test_network_c
    sources = [path for path in sources if path.name not in with_networks]
    run(compiler, *WARNINGS, "-O1", "-fsyntax-only", f"-I{CSRC}", *sources)
    run(compiler, *WARNINGS, "-O1", "-fsyntax-only", *nothing, *CSRC.rglob("*.c"))
    tests = [*ROOT.glob("tests/c/*.c"), *ROOT.glob("tests/c/*/*.c")]
    run(compiler, *WARNINGS, "-D_GNU_SOURCE", "-O1", "-fsyntax-only", f"-I{CSRC}", *tests)


@pytest.fixture(scope="module")
def baseline_objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return compiled_core.objects(str(CC), tmp_path_factory.mktemp("objects"), "-O2", *compiled_core.BASELINE)


def build_example(name: str, objects: list[Path], directory: Path, *more: object) -> Path:
    program = directory / name
    run(CC, *WARNINGS, "-O2", f"-I{CSRC}", f"-I{directory}", EXAMPLES / f"{name}.c", *more, *objects,
        "-lm", "-pthread", "-o", program)  # fmt: skip
    return program


@in_source_tree
@needs_cc
@pytest.mark.skipif(not has_core, reason="to_c needs the compiled core")
def test_classify_has_the_bits_of_python(baseline_objects: list[Path], tmp_path: Path) -> None:
    _, *network = dwconv.load(demo.DATA / "digits.npz").to_c(tmp_path)
    program = build_example("classify", baseline_objects, tmp_path, *network)
    images, labels = (demo.DATA / f"digits_{name}.npy" for name in ("images", "labels"))
    with using("baseline"):
        digits = demo.Digits.load()
        scores = digits.network(digits.pixels())
    predictions = scores.argmax(axis=1)
    lines = [line.split() for line in run(program, images).splitlines()]
    assert [int(digit) for digit, _ in lines] == predictions.tolist()
    assert [np.float32(score) for _, score in lines] == scores.max(axis=1).tolist()
    correct = int(np.sum(predictions == digits.labels))
    accuracy = f"{100 * correct / len(predictions):.2f}% ({correct} of {len(predictions)})"
    assert run(program, images, labels).split(maxsplit=1)[1].strip() == accuracy


@in_source_tree
@needs_cc
@pytest.mark.skipif(not has_core, reason="to_c needs the compiled core")
def test_classify_refuses_other_files(baseline_objects: list[Path], tmp_path: Path) -> None:
    _, *network = dwconv.load(demo.DATA / "digits.npz").to_c(tmp_path)
    program = build_example("classify", baseline_objects, tmp_path, *network)
    images = demo.DATA / "digits_images.npy"
    np.save(tmp_path / "floats.npy", np.zeros((2, 8, 8), np.float32))
    np.save(tmp_path / "few.npy", np.zeros(3, np.uint8))
    (tmp_path / "short.npy").write_bytes(images.read_bytes()[:20])
    wrong = [["floats.npy"], ["few.npy"], ["short.npy"], ["none.npy"], [images, "few.npy"], []]
    for words in wrong:
        failed = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert failed.returncode == 2
        assert "usage" in failed.stderr if not words else "no uint8 arrays" in failed.stderr


@in_source_tree
@needs_cc
def test_camera_pipeline_reads_frames_and_keeps_their_bits(
    baseline_objects: list[Path], tmp_path: Path
) -> None:
    program = build_example("camera_pipeline", baseline_objects, tmp_path, EXAMPLES / "frames.c")
    text = run(program, "--frames", 2, "--strip", 7)
    assert "row-strip latency" in text
    assert "0 of 2 frames differ" in text
    rng = np.random.default_rng(0)
    (tmp_path / "a.pgm").write_bytes(b"P5\n# made by a test\n10 6\n255\n" + rng.bytes(60))
    (tmp_path / "b.ppm").write_bytes(b"P6 10 6 255\n" + rng.bytes(180))
    text = run(program, tmp_path / "a.pgm", tmp_path / "b.ppm")
    assert "2 frames of 10x6" in text
    assert "0 of 2 frames differ" in text
    (tmp_path / "short.ppm").write_bytes(b"P6 10 6 255\n" + rng.bytes(100))
    failed = subprocess.run(
        [program, tmp_path / "a.pgm", tmp_path / "short.ppm"], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "cut short" in failed.stderr


@in_source_tree
@needs_cc
def test_small_examples_run(baseline_objects: list[Path], tmp_path: Path) -> None:
    first_call = build_example("first_call", baseline_objects, tmp_path)
    assert "a corner is 2.2222, the middle 5.0000" in run(first_call)
    two_pools = build_example("two_pools", baseline_objects, tmp_path, EXAMPLES / "pool.c")
    assert ": 0 results differ" in run(two_pools)


@in_source_tree
@needs_cc
def test_the_example_in_the_header_runs(baseline_objects: list[Path], tmp_path: Path) -> None:
    manual = (CSRC / "dwconv.h").read_text(encoding="utf-8")
    found = re.search(r"A COMPLETE EXAMPLE\n(.*?)\n \*     cc ", manual, re.DOTALL)
    assert found is not None
    code = "\n".join(line.removeprefix(" *").removeprefix("     ") for line in found[1].splitlines())
    (tmp_path / "example.c").write_text(code, encoding="utf-8")
    run(CC, *WARNINGS, f"-I{CSRC}", tmp_path / "example.c", *baseline_objects, "-lm", "-pthread",
        "-o", tmp_path / "example")  # fmt: skip
    assert run(tmp_path / "example") == "success\n"


NETWORK_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "dwconv_network.h"
enum { HEIGHT = 9, WIDTH = 8, CHANNELS = 5 };
static float filter[CHANNELS], in[HEIGHT * WIDTH * CHANNELS], out[CHANNELS];
int main(void) {
    const dwconv_conv_desc conv = {.size = sizeof conv, .in_channels = CHANNELS, .out_channels = CHANNELS,
        .groups = CHANNELS, .filter = filter};
    const dwconv_desc desc = {.size = sizeof desc, .conv = &conv};
    for (int c = 0; c < CHANNELS; c++) filter[c] = 2.0f;
    for (int i = 0; i < HEIGHT * WIDTH * CHANNELS; i++) in[i] = (float)(i %% CHANNELS);
%s
    free(workspace);
    for (int c = 0; c < CHANNELS; c++) printf("%%g ", (double)out[c]);
    return status != DWCONV_OK;
}
"""


@in_source_tree
@needs_cc
def test_the_network_of_the_manual_runs(baseline_objects: list[Path], tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    found = re.search(r"```c\n(const dwconv_value values.*?)```", manual, re.DOTALL)
    assert found is not None
    (tmp_path / "network.c").write_text(NETWORK_PROGRAM % found[1], encoding="utf-8")
    run(CC, *WARNINGS, f"-I{CSRC}", tmp_path / "network.c", *baseline_objects, "-lm", "-pthread",
        "-o", tmp_path / "network")  # fmt: skip
    assert run(tmp_path / "network") == "0 2 4 6 8 "


OPENMP_PROGRAM = """
#include <omp.h>
#include <stdio.h>
#include "dwconv.h"
%s
enum { SIZE = 64, CHANNELS = 32 };
static float filter[9 * CHANNELS], in[SIZE * SIZE * CHANNELS], out[2][SIZE * SIZE * CHANNELS];
int main(void) {
    const dwconv_conv_desc conv = {.size = sizeof conv, .in_channels = CHANNELS, .out_channels = CHANNELS,
        .groups = CHANNELS, .filter = filter,
        .window = {.kernel_h = 3, .kernel_w = 3, .padding = DWCONV_SAME}};
    const dwconv_desc desc = {.size = sizeof desc, .conv = &conv};
    for (int i = 0; i < 9 * CHANNELS; i++) filter[i] = (float)(i %% 7) / 7;
    for (int i = 0; i < SIZE * SIZE * CHANNELS; i++) in[i] = (float)(i %% 11) / 11;
    dwconv_plan *plan;
    dwconv_status status = dwconv_plan_create(&desc, &plan);
    int threads = 3;
    const dwconv_threads team = {.count = threads, .run = openmp_for, .pool = &threads};
    const dwconv_tensor x = {.data = in, .batch = 1, .height = SIZE, .width = SIZE, .channels = CHANNELS};
    for (int i = 0; i < 2 && status == DWCONV_OK; i++) {
        dwconv_tensor y = x;
        y.data = out[i];
        status = dwconv_run(plan, &x, &y, NULL, 0, i ? &team : NULL);
    }
    int differ = 0;
    for (int i = 0; i < SIZE * SIZE * CHANNELS; i++) differ += out[0][i] != out[1][i];
    printf("%%d differ, %%d calls\\n", differ, calls);
    return status != DWCONV_OK;
}
"""


@in_source_tree
@needs_cc
def test_a_team_of_openmp_does_the_work(baseline_objects: list[Path], tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    found = re.search(r"```c\n(static void openmp_for.*?)```", manual, re.DOTALL)
    assert found is not None
    counted = found[1].replace("{\n", "{\n    calls++;\n", 1)
    code = "static int calls;\n" + counted[: counted.index("\n}\n") + 3]
    (tmp_path / "team.c").write_text(OPENMP_PROGRAM % code, encoding="utf-8")
    try:
        run(CC, *WARNINGS, "-fopenmp", "-O1", f"-I{CSRC}", tmp_path / "team.c", *baseline_objects, "-lm",
            "-pthread", "-o", tmp_path / "team")  # fmt: skip
    except AssertionError as failure:
        if "omp.h" in str(failure) or "unsupported option" in str(failure):
            pytest.skip("the compiler has no OpenMP")
        raise
    assert run(tmp_path / "team") == "0 differ, 1 calls\n"


needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="there is no CMake")
BASELINE_ONLY = ("-DDWCONV_AVX2=OFF", "-DDWCONV_AVX512=OFF", "-DDWCONV_NEON=OFF")

LOADED = """
import _ctypes, ctypes, sys
library = ctypes.CDLL(sys.argv[1])
print(2.2250738585072014e-308 / 2 > 0)
_ctypes.dlclose(library._handle)
print("libdwconv" in open("/proc/self/maps").read())
"""


@in_source_tree
@needs_cc
@needs_cmake
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks into /proc")
def test_the_shared_library_keeps_the_mode_of_arithmetic_and_is_never_unloaded(tmp_path: Path) -> None:
    unsafe = "-Ofast -ffast-math -funsafe-math-optimizations"
    run("cmake", "-S", CSRC, "-B", tmp_path, *BASELINE_ONLY, "-DDWCONV_TESTS=OFF",
        f"-DCMAKE_C_FLAGS={unsafe}", f"-DCMAKE_SHARED_LINKER_FLAGS={unsafe}")  # fmt: skip
    run("cmake", "--build", tmp_path, "--parallel", os.cpu_count(), "--target", "dwconv_shared")
    answer = run(sys.executable, "-c", LOADED, tmp_path / "libdwconv.so")
    assert answer.split() == ["True", "True"]  # else its threads would run code that is gone


@pytest.mark.slow
@in_source_tree
@needs_cmake
@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-gcc") is None or shutil.which("qemu-aarch64") is None,
    reason="there is no compiler for Arm64, or no emulator",
)
def test_cmake_builds_for_another_architecture_without_a_toolchain_file(tmp_path: Path) -> None:
    run("cmake", "-S", CSRC, "-B", tmp_path, *BASELINE_ONLY, "-DCMAKE_BUILD_TYPE=Debug", WITH_PYTHON,
        "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc",
        "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu")  # fmt: skip
    targets = ["dwconv_static", "dwconv_shared"]  # what is installed
    targets += ["classify"] if has_core else []
    run("cmake", "--build", tmp_path, "--parallel", os.cpu_count(), "--target", *targets)
    text = run("ctest", "--test-dir", tmp_path, "--output-on-failure", "-R", "|".join(["consumer", *targets]))
    assert "100% tests passed" in text
    assert has_core <= ("example_classify" in text)


@pytest.mark.slow
@in_source_tree
@needs_cc
@needs_cmake
def test_cmake_builds_tests_and_installs(tmp_path: Path) -> None:
    run("cmake", "-S", CSRC, "-B", tmp_path, "-DDWCONV_WERROR=ON", WITH_PYTHON)
    run("cmake", "--build", tmp_path, "--parallel", os.cpu_count())
    text = run("ctest", "--test-dir", tmp_path, "--output-on-failure")
    assert "100% tests passed" in text
    assert has_core <= ("example_classify" in text)
    assert (tmp_path / f"libdwconv.so.{dwconv.__version__.rpartition('.')[0]}").is_symlink()  # the soname
    if shutil.which("strip") is not None:
        run("strip", "--strip-unneeded", tmp_path / "libdwconv.a")
        assert (tmp_path / "libdwconv.a").stat().st_size < 2_300_000  # what docs/embedding.md promises
