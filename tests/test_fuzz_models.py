"""The fuzzer of model files: it finds nothing in a few hundred, and finds what is planted."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("tflite", reason="needs tflite")
pytest.importorskip("resource", reason="needs limits of a process")

import dwconv
import fuzz_models


def test_hundreds_of_broken_files_are_networks_or_value_errors() -> None:
    result = subprocess.run(
        [sys.executable, fuzz_models.__file__, "--seconds", "600", "--count", "400", "--seed", "7"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert result.stdout.startswith("400 files (")
    assert result.stdout.endswith("0 findings\n")


def raises(*_: Any) -> None:
    raise KeyError("planted")


def crashes(*_: Any) -> None:
    os.abort()


def sleeps(*_: Any) -> None:
    while True:
        pass


def grows(*_: Any) -> None:
    bytearray(2 * fuzz_models.MEMORY)


@pytest.mark.parametrize(
    ("fault", "told"),
    [(raises, "KeyError"), (crashes, "ended with -6"), (sleeps, "TimeoutError"), (grows, "MemoryError")],
)
def test_what_is_planted_is_found_with_the_command_that_repeats_it(
    fault: Any, told: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dwconv.Network, "from_onnx", fault)
    monkeypatch.setattr(fuzz_models, "SECONDS", 1)
    worker = fuzz_models.Worker(lambda _: ("onnx", b""), 5, 7, float("inf"))
    worker.run()
    assert list(worker.state[:2]) == [7, 2]
    text = capfd.readouterr().out
    assert text.count(told) == 2
    assert "again: python tests/fuzz_models.py --seed 6 --count 1" in text
