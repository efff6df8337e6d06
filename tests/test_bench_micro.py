"""Networks of 8-bit integers beside TFLite Micro, as `python -m bench.micro` counts them."""

from __future__ import annotations

import numpy as np
import pytest

from bench import micro
from dwconv.sources import TensorInfo
from tflite_integers import made


def test_every_second_input_has_the_ends_of_the_range_alone() -> None:
    given = [f["x"] for f in micro.feeds([TensorInfo("x", (None, 40), np.dtype(np.int8))], 7)]
    assert [sorted(set(x.ravel().tolist())) for x in given[1::2]] == [[-128], [127], [-128, 127]]
    assert all(x.shape == (1, 40) and len(set(x.ravel().tolist())) > 10 for x in given[::2])


def test_values_that_differ_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    content = made("mul", 0)
    found = micro.compare(content, 8)
    assert found.differing == 0
    assert found.values > 8
    read = micro.dwconv.Network.from_tflite
    monkeypatch.setattr(micro.dwconv.Network, "from_tflite", lambda content, rounding: read(content))
    assert micro.compare(content, 40).differing > 0  # "even" is another rounding
