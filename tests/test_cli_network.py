"""`dwconv run | summary | profile | compile`: what they print and write, and their exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import cli, cli_network, pictures
from dwconv.sources import TensorInfo
from networks import channels_first, classifier, image, two_inputs


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path, classifier())


def saved(folder: Path, builder: Any, **options: Any) -> Path:
    path = folder / "model.npz"
    dwconv.Network(builder, name="model", **options).save(path)
    return path


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def arrays(folder: Path, *xs: np.ndarray[Any, Any]) -> list[Path]:
    paths = []
    for index, x in enumerate(xs):
        paths.append(folder / f"x{index}.npy")
        np.save(paths[-1], x)
    return paths


def picture(path: Path, size: tuple[int, int] = (20, 10), mode: str = "RGB") -> Path:
    """`size` is width, height."""
    images = pytest.importorskip("PIL.Image")
    pixels = np.arange(size[0] * size[1] * len(mode), dtype=np.uint8).reshape(size[1], size[0], -1)
    images.fromarray(pixels if mode == "RGB" else pixels[..., 0]).save(path)
    return path


# ---- run ----------------------------------------------------------------------------------------


def test_run_without_an_input_says_that_it_is_random(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", model) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "no input was given: random values from -1 to 1"
    assert lines[1] == "random:"
    assert len(lines) == 7  # 5 classes: scores that sum to 1 are told by class


def test_run_writes_what_the_network_gives(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = image(1, 16, 16, 3)
    (path,) = arrays(tmp_path, x)
    assert run("run", model, path, "--out", tmp_path / "y.npy", "--threads", 2) == 0
    assert f"written: {tmp_path / 'y.npy'}" in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), dwconv.load(model)(x))


def test_run_takes_many_inputs_one_after_another(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xs = [image(1, 16, 16, 3) * scale for scale in (1, 2, 3)]
    assert run("run", model, *arrays(tmp_path, *xs), "--out", tmp_path / "y.npz", "--top", 1) == 0
    text = capsys.readouterr().out
    assert all(f"x{index}.npy:" in text for index in range(3))
    assert "3 calls, median" in text
    with np.load(tmp_path / "y.npz") as y:
        np.testing.assert_array_equal(y["scores"], np.concatenate([dwconv.load(model)(x) for x in xs]))


def test_run_takes_several_inputs_of_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, a, b = saved(tmp_path, two_inputs()), image(1, 4, 4, 8), image(8)
    assert run("run", model, *arrays(tmp_path, a, b), "--out", tmp_path / "y.npz") == 0
    assert "arrays: sum float32 (1, 4, 4, 8): min" in capsys.readouterr().out
    with np.load(tmp_path / "y.npz") as y:
        np.testing.assert_array_equal(y["sum"], a + b)
    np.savez(tmp_path / "x.npz", a=a, b=b)
    assert run("run", model, tmp_path / "x.npz") == 0


def test_labels_name_the_classes(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nowl\nfox\nbee\n")
    (path,) = arrays(tmp_path, image(1, 16, 16, 3))
    assert run("run", model, path, "--labels", labels, "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    scores = dwconv.load(model)(image(1, 16, 16, 3))[0]
    best = np.argsort(-scores)[:2]
    expected = [[f"{scores[i]:.4f}", ["cat", "dog", "owl", "fox", "bee"][i]] for i in best]
    assert [line.split() for line in lines[1:3]] == expected
    assert len(lines) == 3
    labels.write_text("cat\ndog\n")
    assert run("run", model, path, "--labels", labels) == 2
    assert "--labels has 2 lines, but 'scores' has 5 scores" in capsys.readouterr().err


def test_images_are_resized_and_scaled(model: Path, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    assert run("run", model, path, "--out", tmp_path / "y.npy", "--range", -1, 1) == 0
    from PIL import Image

    pixels = np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BILINEAR))
    x = (pixels / 127.5 - 1).astype(np.float32)[None]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), dwconv.load(model)(x), atol=1e-5)


def test_images_for_nchw_models(tmp_path: Path) -> None:
    model, path = saved(tmp_path, channels_first()), picture(tmp_path / "a.png")
    words = ["--mean", "0.4,0.5,0.6", "--std", "0.2"]
    assert run("run", model, path, "--out", tmp_path / "y.npz", *words) == 0
    info = TensorInfo("x", (1, 3, 16, 16), np.dtype(np.float32))
    scaling = pictures.Scaling(0, 1, (0.4, 0.5, 0.6), (0.2,))
    x = pictures.read(path, info, "NCHW", scaling)
    assert x.shape == (1, 3, 16, 16)
    with np.load(tmp_path / "y.npz") as y:
        np.testing.assert_array_equal(y["map"], dwconv.load(model)(x)["map"])


def test_open_sizes_take_the_image_as_it_is_or_the_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(tmp_path, channels_first(), input_shapes={"image": (None, 3, None, None)})
    path = picture(tmp_path / "a.png", (20, 10))
    assert run("run", model, path) == 0
    assert "map float32 (1, 6, 10, 20)" in capsys.readouterr().out
    assert run("run", model, path, "--shape", "1x3x8x6") == 0
    assert "map float32 (1, 6, 8, 6)" in capsys.readouterr().out
    assert run("run", model) == 2
    assert "are open: --shape image=... decides them" in capsys.readouterr().err


def test_an_open_batch_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path, classifier(), input_shapes={"image": (None, 16, 16, 3)})
    assert run("summary", model) == 0
    assert "1x8x8x8" in capsys.readouterr().out
    assert run("run", model) == 0
    assert run("summary", model, "--shape", "3x16x16x3") == 0
    assert "3x8x8x8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 3, 224, 224), "NCHW"),
        ((None, None, None, 3), "NHWC"),
        ((1, 1, 28, 28), "NCHW"),
        ((1, 28, 28, 1), "NHWC"),
        ((1, 3, 32, 3), None),
        ((1, 64, 7, 7), None),
        ((1, 10), None),
    ],
)
def test_the_layout_follows_from_the_channels(shape: tuple[int | None, ...], expected: str | None) -> None:
    info = TensorInfo("x", shape, np.dtype(np.float32))
    if expected is not None:
        assert pictures.layout_of(info, None) == expected
        return
    with pytest.raises(ValueError, match=r"is not clear: --layout|is no image"):
        pictures.layout_of(info, None)


def test_grey_images_and_models(tmp_path: Path) -> None:
    info = TensorInfo("x", (1, 8, 8, 1), np.dtype(np.float32))
    for mode in ("RGB", "L"):
        x = pictures.read(picture(tmp_path / "a.png", (8, 8), mode), info, "NHWC", pictures.Scaling())
        assert x.shape == (1, 8, 8, 1)
        assert 0 <= x.min() <= x.max() <= 1


def test_probabilities_are_told_from_other_results() -> None:
    scores = np.array([[0.25, 0.75]], np.float32)
    assert pictures.are_probabilities(scores)
    assert not pictures.are_probabilities(scores * 2)
    assert not pictures.are_probabilities(np.array([[1.0]], np.float32))
    assert not pictures.are_probabilities(np.repeat(scores, 2, 0))
    assert not pictures.are_probabilities(np.array([[-0.5, 1.5]], np.float32))
    assert pictures.top(scores, 5) == [(1, 0.75), (0, 0.25)]


# ---- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "MODEL", "nowhere.npy"], "nowhere.npy: there is no such file"),
        (["run", "nowhere.npz"], "nowhere.npz"),
        (["run", "model.h5"], "not a model file"),
        (["run", "MODEL", "MODEL", "--out", "y.txt"], "--out must end in .npy or .npz"),
        (["run", "MODEL", "--shape", "1x8x8x4"], "cannot take 'image' (1, 8, 8, 4)"),
        (["run", "MODEL", "--shape", "z=1x8x8x3"], "'z' is none of them"),
        (["summary", "MODEL", "--shape", "1x8"], "has 4 axes"),
        (["profile", "nowhere.npz"], "nowhere.npz"),
        (["compile", "nowhere.npz", "-o", "out"], "nowhere.npz"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_with_exit_code_2(
    words: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*[str(model) if word == "MODEL" else word for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"dwconv {words[0]}: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_files_of_the_wrong_kind_are_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "a.txt"
    text.write_text("x")
    assert run("run", model, text) == 2
    assert "neither .npy, .npz nor an image by its name" in capsys.readouterr().err
    pytest.importorskip("PIL")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert run("run", model, broken) == 2
    assert "broken.png" in capsys.readouterr().err
    for shape in [(1, 8, 8, 3), (1, 3, 16, 16)]:
        assert run("run", model, *arrays(tmp_path, image(*shape))) == 2
        assert "cannot take" in capsys.readouterr().err


def test_several_outputs_need_an_npz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path, two_inputs())
    assert run("run", model, "--out", tmp_path / "y.npy") == 2
    assert "--out must end in .npz: the model has 3 outputs" in capsys.readouterr().err
    assert run("run", model, *arrays(tmp_path, image(8))) == 2
    assert "give as many .npy" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--range", "1", "x"],
        ["--mean", "a"],
        ["--std", "1,0"],
        ["--top", "0"],
        ["--shape", "1xtwo"],
        ["--layout", "CHW"],
        ["--threads", "0"],
    ],
)
def test_words_that_are_not_understood(words: list[str], model: Path) -> None:
    with pytest.raises(SystemExit) as end:
        run("run", model, *words)
    assert end.value.code == 2


def test_scaling_of_another_number_of_channels(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", model, picture(tmp_path / "a.png"), "--mean", "0.5,0.5") == 2
    assert "--mean has 2 values for 3 channels" in capsys.readouterr().err


# ---- the others ---------------------------------------------------------------------------------


def test_summary_and_profile(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("summary", model) == 0
    assert capsys.readouterr().out == dwconv.load(model).summary() + "\n"
    assert run("profile", model, "--seconds", "0.01", "--gflops", "100", "--threads", "1") == 0
    text = capsys.readouterr().out
    assert text.startswith("random inputs from -1 to 1\nmodel\n")
    assert "% of the limit" in text


def test_a_bar_is_shown_on_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    items = range(3)
    assert list(cli_network._progress(items, 3)) == [0, 1, 2]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(cli_network._progress(items, 3)) == [0, 1, 2]
