"""The fuzzer itself: it finds nothing here, and finds what is planted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dwconv
import fuzz
from oracles import backends, numpy_conv

FUZZ = Path(fuzz.__file__)


def test_a_hundred_random_configurations_are_right() -> None:
    result = subprocess.run(
        [sys.executable, FUZZ, "--seconds", "600", "--count", "100", "--seed", "7"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    assert f"on {len(backends())} backends: 0 findings" in result.stdout


def findings(count: int = 40) -> int:
    found = 0
    for seed in range(count):
        case = fuzz.drawn(seed)
        try:
            fuzz.check(case, "numpy", fuzz.expected_of(case, numpy_conv))
        except Exception:
            found += 1
    return found


@pytest.mark.filterwarnings("default")
def test_wrong_values_and_missing_errors_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings() == 0
    right = dwconv.fallback.run
    with monkeypatch.context() as patch:
        patch.setattr(dwconv.fallback, "run", lambda *given: right(*given) * np.float32(1.01))
        assert findings() > 20
    with monkeypatch.context() as patch:
        patch.setattr(dwconv.geometry.Window, "output_size", lambda *_: (1, 1))
        assert findings() > 20
