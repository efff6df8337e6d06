"""The main job on real input: the classifier of `dwconv demo` and the data that ships with it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import dwconv
from dwconv import demo
from oracles import backends, using


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_timings", lambda: iter(()))


def test_data_is_small_and_states_its_source() -> None:
    assert sum(path.stat().st_size for path in demo.DATA.iterdir()) < 200_000
    text = (demo.DATA / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "doi.org" in text


def test_images_are_held_out_real_ones() -> None:
    digits = demo.Digits.load()
    assert digits.images.dtype == np.uint8
    assert digits.images.shape == (len(digits.labels), 8, 8)
    assert digits.images.max() == 16
    assert len(digits.labels) >= 400
    assert set(digits.labels) == set(range(10))


def test_the_network_is_a_model_file_that_takes_one_image() -> None:
    network = dwconv.load(demo.DATA / "digits.npz")
    assert network.name == "Digits"
    assert network.inputs[0].shape == (1, 1, 8, 8)
    scores = network(np.zeros((1, 1, 8, 8), np.float32))
    assert scores.shape == (1, 10)
    np.testing.assert_allclose(scores.sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("backend", backends())
def test_every_backend_classifies_at_least_97_percent(backend: str) -> None:
    with using(backend):
        digits = demo.Digits.load()
        assert digits.network.backend == ("numpy" if backend == "numpy" else "native")
        assert np.mean(digits.classify() == digits.labels) >= demo.LOWEST_ACCURACY == 0.97


def test_every_backend_agrees_image_for_image() -> None:
    predictions = []
    for backend in backends():
        with using(backend):
            predictions.append(demo.Digits.load().classify())
    for other in predictions[1:]:
        np.testing.assert_array_equal(other, predictions[0])


@pytest.mark.usefixtures("untimed")
def test_demo_prints_accuracy_agreement_and_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run()
    text = capsys.readouterr().out
    assert "accuracy" in text
    assert "agrees on 540 of 540" in text
    assert "██" in text


@pytest.mark.usefixtures("untimed")
@pytest.mark.parametrize("backend", backends())
def test_demo_shows_what_the_network_became_and_its_times(
    backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with using(backend):
        assert demo.run()
    text = capsys.readouterr().out
    assert "'images' float32 (1, 1, 8, 8)" in text
    if backend != "numpy":  # which runs node by node
        assert "1x1 relu6 > dw 3x3 relu6 > 1x1 + add" in text
        assert "fused into one node" in text
    assert " us a call, median of " in text


@pytest.mark.usefixtures("untimed")
def test_demo_fails_when_accuracy_is_too_low(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mislabelled(demo.Digits):
        def classify(self) -> np.ndarray:
            return (super().classify() + 1) % 10

    monkeypatch.setattr(demo, "Digits", Mislabelled)
    assert not demo.run()
    assert "FAILED: accuracy" in capsys.readouterr().out


@pytest.mark.usefixtures("untimed")
def test_demo_draws_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert demo.run(plot=tmp_path / "digits.png")
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("untimed")
def test_terminals_without_block_characters_get_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    assert demo.run()
    terminal.flush()
    assert b"##" in terminal.buffer.getvalue()  # type: ignore[attr-defined]
