"""examples/dask_images.py: the images of a folder over a Dask cluster on the loopback address."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import demo

pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="this is not the source tree")
MODEL = demo.DATA / "digits.npz"
COUNT = 40


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The module; workers import it as well."""
    sys.path.insert(0, str(EXAMPLES))
    import dask_images

    yield dask_images
    sys.path.remove(str(EXAMPLES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    digits = demo.Digits.load()
    (tmp_path / "images").mkdir()
    for index, x in enumerate(digits.pixels()[:COUNT]):
        np.save(tmp_path / "images" / f"{index:03}.npy", x[np.newaxis])
    return tmp_path / "images"


def alone(folder: Path) -> dict[Path, np.ndarray]:
    """The scores as one process gives them."""
    net = dwconv.load(MODEL)
    return {path: net(np.load(path), num_threads=1).reshape(-1) for path in sorted(folder.glob("*.npy"))}


def deadly(path: Path, shape: Sequence[int], image: str, marker: Path) -> np.ndarray:
    """Reads an array, but ends the process, once, when it comes to this image."""
    if path.name == image and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.asarray(np.load(path))


@pytest.mark.parametrize("workers", [2, 1], ids=["another_goes_on", "the_only_one"])
def test_a_worker_that_dies_loses_nothing_and_doubles_nothing(
    workers: int, example: Any, folder: Path, tmp_path: Path
) -> None:
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        read = partial(deadly, image="021.npy", marker=tmp_path / "died")
        expected = alone(folder)
        found = list(example.classify(client, dwconv.load(MODEL), list(expected), read, per_task=4))
    assert (tmp_path / "died").exists()
    assert sorted(path for path, _ in found) == list(expected)
    for path, scores in found:
        np.testing.assert_array_equal(scores, expected[path])


def test_the_script_writes_a_table_and_names_bad_files(folder: Path, tmp_path: Path) -> None:
    expected = alone(folder)
    (folder / "bad.npy").write_bytes(b"no array")
    (folder / "notes.txt").touch()
    words = [EXAMPLES / "dask_images.py", MODEL, folder, "--workers", "1", "--out", tmp_path / "out.csv"]
    result = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "bad.npy: ValueError" in result.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [path.name for path in expected]
    for row, scores in zip(rows, expected.values(), strict=True):
        assert int(row["class"]) == scores.argmax()
        assert np.float32(row["score"]) == scores.max()


def test_images_are_read_in_the_layout_of_the_network(example: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    x = example.read(tmp_path / "a.png", (1, 6, 5, 3), mean=0.5, std=0.25)
    np.testing.assert_allclose(x[0], (pixels / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        example.read(tmp_path / "a.png", (1, 3, 6, 5), mean=0.5, std=0.25), x.transpose(0, 3, 1, 2)
    )
