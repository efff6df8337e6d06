"""`dwconv info | verify | demo | bench`: what they say and their exit codes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import cli, verify, verify_integers
from oracles import backends


def test_info_says_what_runs_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    text, settings = capsys.readouterr().out, dwconv.config()
    assert f"{settings['threads']} ({settings['threads_reason']})" in text
    assert settings["version"] in text
    assert np.__version__ in text
    for isa in settings["isas_available"]:
        assert isa in text


def test_verify_finds_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "--quick"]) == 0
    text = capsys.readouterr().out
    assert "everything agrees" in text
    assert all(backend in text for backend in backends())


def test_verify_reports_wrong_results(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = next(verify.cases())
    x_shape = broken.operation.output_shape(broken.shape)
    monkeypatch.setattr(verify, "cases", lambda quick: iter([broken]))
    monkeypatch.setattr(verify, "_reference", lambda operation, x: np.full(x_shape, 100.0, np.float32))
    assert cli.main(["verify"]) == 1
    text = capsys.readouterr().out
    assert text.count("FAILED") == len(backends())
    assert "times the bound" in text
    assert "filters 3x3x1x1" in text


def test_verify_reports_nan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(verify.cases())
    shape = case.operation.output_shape(case.shape)
    monkeypatch.setattr(verify, "cases", lambda quick: iter([case]))
    monkeypatch.setattr(verify, "_reference", lambda operation, x: np.full(shape, np.nan, np.float32))
    assert cli.main(["verify"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_verify_reports_a_single_wrong_integer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in verify.cases(quick=True) if case.operation.quantization is not None)
    exact = verify_integers.reference

    def changed(operation: Any, x: np.ndarray) -> np.ndarray:
        y = exact(operation, x)
        y[-1, -1, -1, -1] ^= 1
        return y

    monkeypatch.setattr(verify, "cases", lambda quick: iter([case]))
    monkeypatch.setattr(verify_integers, "reference", changed)
    assert cli.main(["verify"]) == 1
    text = capsys.readouterr().out
    assert text.count("FAILED") == text.count("numbers are not those of the reference") == len(backends())
    assert "of int8, rounding even" in text


@pytest.mark.parametrize("isa", [backend for backend in backends() if backend != "numpy"])
@pytest.mark.parametrize("quick", [False, True])
def test_verify_tries_every_row_of_the_kernel_tables(isa: str, quick: bool) -> None:
    library = Path(str(importlib.util.find_spec("dwconv._core").origin)).read_bytes()  # type: ignore[union-attr]
    floats = isa.partition("-")[0]  # dot products are of integers alone
    pattern = rf"((?:{floats}|{isa} int8) (?:depthwise|matrix)[^\0]+)"
    rows = {name.decode() for name in re.findall(pattern.encode(), library)}
    used = {name for case in verify.cases(quick) for name in verify.kernels(case, isa)}
    assert rows
    assert rows == used


def test_bench_explains_itself_outside_the_source_tree(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "dwconv", "bench"] if sys.version_info >= (3, 11)
        else [sys.executable, "-m", "dwconv", "bench"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "python -m bench run" in result.stdout


def test_version_is_the_package_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.split() == ["dwconv", dwconv.__version__]


@pytest.mark.parametrize("arguments", [[], ["paint"], ["verify", "--fast"]])
def test_what_is_not_understood_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "usage: dwconv" in capsys.readouterr().err
