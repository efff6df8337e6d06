"""The scripts in examples/ still run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dwconv

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="this is not the source tree")


def printed(script: str, *options: str) -> str:
    command = [sys.executable, EXAMPLES / script, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
@pytest.mark.skipif(dwconv.config()["backend"] == "numpy", reason="the extension is not built")
def test_call_overhead_measures_every_layer() -> None:
    text = printed("call_overhead.py", "--loops", "1", "--rounds", "1")
    layers = [line.split()[0] for line in text.splitlines()[1:]]
    assert layers == ["DepthwiseConv2D", "PointwiseConv2D", "Conv2D", "SeparableConv2D", "InvertedResidual"]


def test_segmentation_head_agrees_with_pytorch_if_present() -> None:
    text = printed("segmentation_head.py", "--size", "33", "--rounds", "1")
    assert "(1, 33, 33, 3) -> scores (1, 33, 33, 21)" in text
    assert "dwconv" in text


def test_mobilenet_yolo_finds_the_boxes_that_pytorch_finds() -> None:
    pytest.importorskip("torch")
    text = printed("mobilenet_yolo.py", "--size", "64", "--rounds", "1")
    assert "'stride16' float32 (1, 75, 4, 4), 'stride32' float32 (1, 75, 2, 2)" in text
    assert "boxes after non-maximum suppression" in text


@pytest.mark.skipif(not EXAMPLES.exists(), reason="this is not the source tree")
def test_digits_are_learned_by_numpy_and_saved(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, EXAMPLES / "train_digits_numpy.py", "--epochs", "4", "--output", tmp_path / "d.npz"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split("accuracy ")[1].split("%")[0]) > 50
    assert dwconv.load(tmp_path / "d.npz").outputs[0].shape == (None, 10)


@pytest.mark.skipif(not EXAMPLES.exists(), reason="this is not the source tree")
@pytest.mark.parametrize("options", [[], ["--pytorch"]])
def test_digits_are_learned_by_pytorch(options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = subprocess.run(
        [sys.executable, EXAMPLES / "train_digits.py", "--epochs", "2", "--output", tmp_path, *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split("accuracy ")[1].split("%")[0]) > 50
    assert (tmp_path / "digits.npz").exists()
