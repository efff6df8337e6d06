"""DWCONV_ISA and DWCONV_BACKEND in fresh processes: forced downwards, refused otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import dwconv
from oracles import OPERATIONS, Case, backends, using

ISAS = [backend for backend in backends() if backend != "numpy"]
EVERY_ISA = ("baseline", "neon", "neon-dotprod", "avx2", "avx2-vnni", "avx512", "avx512-vnni")


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("DWCONV_ISA", "DWCONV_BACKEND")}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("isa", ISAS)
def test_environment_forces_an_instruction_set(isa: str) -> None:
    result = run_python("import dwconv; print(dwconv.config()['isa'])", DWCONV_ISA=isa)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == isa


@pytest.mark.skipif(not ISAS, reason="the extension is not built")
@pytest.mark.parametrize("isa", [isa for isa in EVERY_ISA if isa not in ISAS] + ["sse9"])
def test_unavailable_instruction_sets_are_an_error_that_names_the_choices(isa: str) -> None:
    result = run_python("import dwconv", DWCONV_ISA=isa)
    assert result.returncode != 0
    message = result.stderr.splitlines()[-1]
    assert "DWCONV_ISA" in message
    assert isa in message
    assert all(name in message for name in ISAS)


def test_environment_forces_the_fallback() -> None:
    code = "import dwconv, numpy as np; print(dwconv.config()['backend'], " \
           "dwconv.DepthwiseConv2D(np.ones((3, 3, 2, 1), np.float32)).backend)"  # fmt: skip
    result = run_python(code, DWCONV_BACKEND="numpy")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["numpy", "numpy"]


def test_unknown_backends_are_an_error() -> None:
    result = run_python("import dwconv", DWCONV_BACKEND="cuda")
    assert result.returncode != 0
    assert "DWCONV_BACKEND" in result.stderr.splitlines()[-1]


@pytest.mark.skipif(not ISAS, reason="the extension is not built")
def test_the_best_instruction_set_is_the_default() -> None:
    result = run_python("import dwconv; print(dwconv.config()['isa'])")
    assert result.stdout.strip() == max(ISAS, key=EVERY_ISA.index)


@pytest.mark.parametrize("backend", backends())
def test_layers_say_what_runs_them(backend: str) -> None:
    with using(backend):
        layer = dwconv.DepthwiseConv2D(np.ones((3, 3, 2, 1), np.float32))
    assert layer.backend == ("numpy" if backend == "numpy" else "native")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_instruction_sets_agree_within_the_bound(operation: str) -> None:
    case = Case(operation, (2, 23, 21, 37), (5, 5), out_channels=29, strides=(2, 1), activation="gelu")
    _, bound = case.expected()
    results = []
    for backend in backends():
        with using(backend):
            results.append(case.call())
    for other in results[1:]:
        assert np.all(np.abs(results[0].astype(np.float64) - other) <= 2 * bound)
