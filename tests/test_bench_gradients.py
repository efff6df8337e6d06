"""`python -m bench gradients`: both sides compute the same, and the text tells what was measured."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("rich")
pytest.importorskip("pandas")

from bench import __main__ as command
from bench import gradients, machine
from bench.workloads import Stage, Workload

LAYERS = [
    Workload("test", (Stage("depthwise", 5, 5, (3, 3), 2),), 9, 8),
    Workload("test", (Stage("depthwise", 3, 6, (3, 3)),), 7, 7),
    Workload("test", (Stage("pointwise", 6, 9),), 5, 4),
    Workload("test", (Stage("conv", 4, 7, (3, 3), 2),), 8, 9),
]


@pytest.mark.parametrize("workload", LAYERS, ids=lambda w: f"{w.op}-{w.shape}")
def test_dwconv_and_pytorch_compute_the_same(workload: Workload) -> None:
    pytest.importorskip("torch")
    arrays = gradients.Arrays(workload, 2)
    theirs = gradients.of_pytorch(arrays, 1)
    assert theirs is not None
    forward, backward = gradients.of_dwconv(arrays, 1)
    np.testing.assert_allclose(forward(), theirs[0]().permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-4)
    dx, dw, db = backward()
    x, filters, bias = (tensor.numpy() for tensor in theirs[1]())
    np.testing.assert_allclose(dx, x.transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dw, filters.transpose(2, 3, 1, 0).reshape(dw.shape), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(db, bias, rtol=1e-4, atol=1e-4)


def test_the_command_prints_a_line_for_each_layer_and_the_means(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(machine, "pin", lambda threads, bind=True: None)
    monkeypatch.setattr(command, "_workloads", lambda options: LAYERS)
    assert command.main(["gradients", "--batch", "2", "--seconds", "0"]) == 0
    text = capsys.readouterr().out
    for workload in LAYERS:
        assert workload.shape in text
    assert "depthwise, geometric mean" in text


def test_without_pytorch_dwconv_is_measured_alone() -> None:
    timed = gradients.Timed(LAYERS[0], (2.0, 4.0), None)
    assert timed.gains is None
    assert "absent" in gradients.text([timed], 2, 1)


def test_gains_are_those_of_backward_and_of_both() -> None:
    assert gradients.Timed(LAYERS[0], (2.0, 4.0), (4.0, 20.0)).gains == (5.0, 4.0)
