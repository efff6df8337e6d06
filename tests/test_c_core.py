"""The C core by itself: its own test program, and its oracle against an independent one."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import c_reference
from oracles import Case, numpy_conv
from shapes import cases

RUN = Path(__file__).resolve().parent / "c" / "run.sh"
pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not c_reference.CSRC.exists(),
    reason="there is no C compiler, or this is not the source tree",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return c_reference.build(tmp_path_factory.mktemp("reference"))


def test_c_tests_pass(tmp_path: Path) -> None:
    result = subprocess.run([RUN, tmp_path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert " passed, 0 failed" in result.stdout


@pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.operation}-{c.seed}")
def test_c_oracle_agrees_with_float64(case: Case, library: ctypes.CDLL) -> None:
    case.check(c_reference.run(library, case))
    if case.operation in (
        "depthwise",
        "pointwise",
        "conv",
    ):  # one layer: rounded once, so far inside the bound
        value, _ = case.expected(numpy_conv)
        np.testing.assert_allclose(c_reference.run(library, case), value, rtol=1e-7, atol=1e-12)


def test_c_oracle_computes_the_first_worked_example(library: ctypes.CDLL) -> None:
    x = np.array([2, 5, 3, 3, 8, 2, 6, 1, 1, 2, 5, 4, 7, 9, 2, 3, -1, 3], np.float32).reshape(1, 3, 3, 2)
    filters = np.array([3, 1, -2, 2, -1, -3, 4, 5], np.float32).reshape(2, 2, 2, 1)
    case = Case("depthwise", (1, 3, 3, 2), (2, 2), padding="valid", bias=False)
    y = c_reference.run(library, case.with_arrays(x=x, filters=filters))
    np.testing.assert_array_equal(y, [[[[-2, 18], [12, 21]], [[17, -7], [-13, 16]]]])


def test_c_oracle_skips_padding_whatever_the_filter_holds(library: ctypes.CDLL) -> None:
    case = Case("depthwise", (1, 1, 1, 3), (3, 3), bias=False)
    filters = np.full((3, 3, 3, 1), np.inf, np.float32)
    filters[1, 1] = 2
    y = c_reference.run(library, case.with_arrays(filters=filters))
    np.testing.assert_array_equal(y, 2 * case.x)


def test_c_oracle_rounds_between_the_layers_of_a_block(library: ctypes.CDLL) -> None:
    case = Case("separable", (1, 1, 1, 2), (1, 1), out_channels=1, bias=False)
    step = 2.0**-23
    case = case.with_arrays(
        x=np.array([1 + step, 1], np.float32).reshape(1, 1, 1, 2),
        depthwise_filter=np.array([1 + step, -1 - 2 * step], np.float32).reshape(1, 1, 2, 1),
        pointwise_filter=np.ones((1, 1, 2, 1), np.float32),
    )
    assert c_reference.run(library, case).item() == 0  # unrounded, step**2 would be left
