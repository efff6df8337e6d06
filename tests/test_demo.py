"""The main job on real input: the classifier of `dwconv demo` and the data that ships with it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from dwconv import demo
from oracles import backends, using


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_timings", lambda: iter(()))


def test_data_is_small_and_states_its_source() -> None:
    assert demo.DATA.stat().st_size < 200_000
    text = (demo.DATA.parent / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "doi.org" in text


def test_images_are_held_out_real_ones() -> None:
    digits = demo.Digits.load()
    assert digits.images.dtype == np.uint8
    assert digits.images.shape == (len(digits.labels), 8, 8)
    assert digits.images.max() == 16
    assert len(digits.labels) >= 400
    assert set(digits.labels) == set(range(10))


@pytest.mark.parametrize("backend", backends())
def test_every_backend_classifies_at_least_97_percent(backend: str) -> None:
    with using(backend):
        digits = demo.Digits.load()
    assert np.mean(digits.classify(digits.images) == digits.labels) >= demo.LOWEST_ACCURACY == 0.97


def test_every_backend_agrees_image_for_image() -> None:
    predictions = []
    for backend in backends():
        with using(backend):
            digits = demo.Digits.load()
        predictions.append(digits.classify(digits.images))
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
def test_demo_fails_when_accuracy_is_too_low(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mislabelled(demo.Digits):
        def classify(self, images: np.ndarray) -> np.ndarray:
            return (super().classify(images) + 1) % 10

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
