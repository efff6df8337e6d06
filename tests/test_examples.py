"""The scripts in examples/ still run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dwconv

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.skipif(not EXAMPLES.exists(), reason="this is not the source tree")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.skipif(dwconv.config()["backend"] == "numpy", reason="the extension is not built")
def test_call_overhead_measures_every_layer() -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / "call_overhead.py", "--loops", "1", "--rounds", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    layers = [line.split()[0] for line in result.stdout.splitlines()[1:]]
    assert layers == ["DepthwiseConv2D", "PointwiseConv2D", "Conv2D", "SeparableConv2D", "InvertedResidual"]


@pytest.mark.skipif(not EXAMPLES.exists(), reason="this is not the source tree")
def test_segmentation_head_agrees_with_pytorch_if_present() -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / "segmentation_head.py", "--size", "33", "--rounds", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "(1, 33, 33, 3) -> scores (1, 33, 33, 21)" in result.stdout
    assert "dwconv" in result.stdout


@pytest.mark.skipif(not EXAMPLES.exists(), reason="this is not the source tree")
def test_mobilenet_yolo_finds_the_boxes_that_pytorch_finds() -> None:
    pytest.importorskip("torch")
    result = subprocess.run(
        [sys.executable, EXAMPLES / "mobilenet_yolo.py", "--size", "64", "--rounds", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "'stride16' float32 (1, 75, 4, 4), 'stride32' float32 (1, 75, 2, 2)" in result.stdout
    assert "boxes after non-maximum suppression" in result.stdout
