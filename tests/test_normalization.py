"""Batch normalization and its clamp equal PyTorch's in float64, forward and backward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from dwconv.normalization import batch_norm, batch_norm_backprop
from oracles import backends, using

SHAPES = [
    (1, 1, 2, 1),
    (2, 5, 7, 3),
    (1, 1, 9, 17),
    (3, 7, 7, 40),
    (2, 31, 33, 24),
    (1, 40, 41, 100),
    (2, 3, 3, 1030),
]
ACTIVATIONS = [None, "relu", "relu6", ("clip", -0.5, 1.25)]


def problem(shape: tuple[int, ...], dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    channels = shape[-1:]
    found = {"x": rng.normal(3, 2, shape), "dy": rng.normal(size=shape)}
    found |= {name: rng.normal(size=channels) * 2 for name in ("gamma", "beta", "mean")}
    found["variance"] = rng.uniform(0.5, 3, channels)
    return {name: array.astype(dtype) for name, array in found.items()}


def run(p: dict[str, Any], activation: Any, fixed: bool, **options: Any) -> list[np.ndarray]:
    moments = (p["mean"], p["variance"]) if fixed else None
    shared = {"epsilon": 1e-2, "activation": activation, **options}
    y, *found = batch_norm(p["x"], p["gamma"], p["beta"], moments=moments, **shared)
    backward = batch_norm_backprop(
        p["dy"], p["x"], p["gamma"], p["beta"], (found[0], found[1]), fixed=fixed, **shared
    )
    return [y, *found, *(array for array in backward if array is not None)]


def expected(p: dict[str, Any], activation: Any, fixed: bool) -> list[np.ndarray]:
    torch = pytest.importorskip("torch")
    wide = {name: torch.from_numpy(array.astype(np.float64)) for name, array in p.items()}
    x, gamma, beta = (wide[name].clone().requires_grad_() for name in ("x", "gamma", "beta"))
    mean, variance = (wide[name].clone() for name in ("mean", "variance"))
    y = torch.nn.functional.batch_norm(
        x.permute(0, 3, 1, 2), mean, variance, gamma, beta, not fixed, 1.0, 1e-2
    ).permute(0, 2, 3, 1)
    low, high = {"relu": (0, math.inf), "relu6": (0, 6), None: (-math.inf, math.inf)}.get(
        activation if not isinstance(activation, tuple) else "", (-0.5, 1.25)
    )
    y = torch.nn.functional.hardtanh(y, low, high)
    y.backward(wide["dy"])
    pixels = x.numel() // x.shape[-1]
    unbiased = variance if fixed else variance * (pixels - 1) / pixels
    return [v.detach().numpy() for v in (y, mean, unbiased, x.grad, gamma.grad, beta.grad)]


@pytest.mark.parametrize("backend", backends())
def test_a_variance_that_overflows_is_infinite_as_pytorchs(backend: str) -> None:
    torch = pytest.importorskip("torch")
    p = problem((2, 21, 21, 5))
    for size in (1e19, 1e25, 1e30):
        large = {**p, "x": p["x"] * np.float32(size)}
        x = torch.from_numpy(large["x"]).permute(0, 3, 1, 2).requires_grad_()
        y = torch.nn.functional.batch_norm(
            x, None, None, *(torch.from_numpy(p[name]) for name in ("gamma", "beta")), True
        )
        y.backward(torch.from_numpy(p["dy"]).permute(0, 3, 1, 2))
        with using(backend):
            found, mean, variance, dx, *_ = run(large, None, False)
        assert np.isinf(variance).all()
        np.testing.assert_allclose(mean, large["x"].mean((0, 1, 2), np.float64), rtol=1e-5)
        np.testing.assert_array_equal(found, y.detach().permute(0, 2, 3, 1).numpy())
        np.testing.assert_array_equal(dx, x.grad.permute(0, 2, 3, 1).numpy())
    for value in (np.nan, np.inf):
        p["x"][1, 3, 4, 2] = value
        with using(backend):
            found = run(p, None, False)[0]
        assert np.isnan(found[..., 2]).all()
        assert np.isfinite(found[..., 3]).all()


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("fixed", [False, True])
def test_values_moments_and_gradients_are_those_of_pytorch(backend: str, fixed: bool) -> None:
    for shape in SHAPES:
        p = problem(shape)
        for activation in ACTIVATIONS:
            right = expected(p, activation, fixed)
            with using(backend):
                found = run(p, activation, fixed, num_threads=1)
                for name, a, b in zip(("y", "mean", "variance", "dx", "dgamma", "dbeta"), found, right,
                                      strict=True):  # fmt: skip
                    assert a.dtype == np.float32
                    # Twice may a value be so near the clamp that the other side of it is right, too.
                    scale = max(1.0, float(np.abs(b).max()))
                    wrong = np.abs(a - b) > 4e-6 * scale * (math.sqrt(a.size) if name[0] == "d" else 1)
                    assert wrong.mean() < 1e-3, (shape, activation, name, np.abs(a - b).max())
                if backend != "numpy":
                    for threads in (2, 3):
                        others = run(p, activation, fixed, num_threads=threads)
                        assert [a.tobytes() for a in found] == [a.tobytes() for a in others]


def test_float64_is_exact_to_its_precision() -> None:
    p = problem((2, 5, 7, 3), np.float64)
    for fixed in (False, True):
        for a, b in zip(run(p, "relu6", fixed), expected(p, "relu6", fixed), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_float16_is_computed_in_float32() -> None:
    p = problem((2, 5, 7, 3), np.float16)
    y, mean, variance = batch_norm(p["x"], p["gamma"], p["beta"])
    assert (y.dtype, mean.dtype, variance.dtype) == (np.float16, np.float32, np.float32)
    wide, _, _ = batch_norm(p["x"].astype(np.float32), p["gamma"], p["beta"])
    np.testing.assert_allclose(y, wide, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("backend", backends())
def test_crops_are_read_and_written_in_place_with_the_same_bits(backend: str) -> None:
    p = problem((3, 9, 10, 20))
    with using(backend):
        dense = run(p, "relu6", False)
        for name in ("x", "dy"):
            wide = np.full([size + 3 for size in p[name].shape], np.nan, np.float32)
            view = wide[1:-2, 2:-1, 1:-2, 2:-1]
            view[...] = p[name]
            p[name] = view
        into = np.full((5, 11, 12, 22), 7, np.float32)
        out = into[1:-1, 1:-1, 1:-1, 1:-1]
        for number, array in enumerate(run(p, "relu6", False)):
            np.testing.assert_array_equal(array, dense[number])
        y, mean, variance = batch_norm(
            p["x"], p["gamma"], p["beta"], epsilon=1e-2, activation="relu6", out=out
        )
        assert y is out
        np.testing.assert_array_equal(y, dense[0])
        batch_norm_backprop(
            p["dy"], p["x"], p["gamma"], p["beta"], (mean, variance), epsilon=1e-2, activation="relu6",
            out=out,
        )  # fmt: skip
        np.testing.assert_array_equal(out, dense[3])
        assert into.sum() - out.sum() == pytest.approx(7 * (into.size - out.size))


@pytest.mark.parametrize("backend", backends())
def test_moments_of_far_and_near_values_are_exact(backend: str) -> None:
    """A sum of squares would lose them: values are 1000 standard deviations from 0."""
    rng = np.random.default_rng(0)
    x = (1000 + rng.normal(size=(4, 30, 31, 5))).astype(np.float32)
    wide = x.astype(np.float64)
    with using(backend):
        _, mean, variance = batch_norm(x)
    np.testing.assert_allclose(mean, wide.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, wide.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("backend", backends())
def test_nan_stays_in_its_channel_and_passes_clamps(backend: str) -> None:
    p = problem((1, 4, 4, 18))
    p["x"][0, 1, 2, 3] = np.nan
    with using(backend):
        y, mean, variance, dx, *_ = run(p, "relu6", False)
        fixed = run(p, "relu6", True)
    others = [c for c in range(18) if c != 3]
    assert np.isnan(y[..., 3]).all()
    assert np.isnan(dx[..., 3]).all()
    assert not any(np.isnan(a[..., others]).any() for a in (y, mean, variance, dx))
    assert np.isnan(fixed[0][0, 1, 2, 3])
    assert np.isnan(fixed[0]).sum() == 1
    assert not np.isnan(fixed[3]).any()


@pytest.mark.parametrize("backend", backends())
def test_what_is_not_wanted_is_not_computed(backend: str) -> None:
    p = problem((2, 3, 3, 7))
    with using(backend):
        _, mean, variance = batch_norm(p["x"])
        everything = batch_norm_backprop(p["dy"], p["x"], None, None, (mean, variance))
        for wanted in ((True, False, False), (False, True, False), (False, False, True)):
            found = batch_norm_backprop(p["dy"], p["x"], None, None, (mean, variance), wanted=wanted)
            for array, whole, flag in zip(found, everything, wanted, strict=True):
                assert (array is not None) == flag
                if flag:
                    np.testing.assert_array_equal(array, whole)


@pytest.mark.parametrize("backend", backends())
def test_an_empty_batch_has_no_moments_but_may_be_normalised_with_given_ones(backend: str) -> None:
    p = problem((0, 3, 3, 4))
    with using(backend):
        with pytest.raises(ValueError, match="no pixels to find moments of"):
            batch_norm(p["x"])
        y, *_, dgamma, dbeta = run(p, "relu", True)
        assert y.shape == (0, 3, 3, 4)
        np.testing.assert_array_equal([dgamma, dbeta], np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "tanh"}, "activation must be None, 'relu', 'relu6'"),
        ({"epsilon": -1.0}, "epsilon must be 0 or more"),
        ({"gamma": np.ones(3, np.float32)}, r"gamma must be \[channels\], \(4,\), not \(3,\)"),
        ({"out": np.empty((1, 2, 2, 5), np.float32)}, "out has the shape"),
    ],
)
def test_errors_name_what_is_wrong(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        batch_norm(np.ones((1, 2, 2, 4), np.float32), **options)


def test_shapes_that_differ_are_refused() -> None:
    x = np.ones((1, 2, 2, 4), np.float32)
    _, *moments = batch_norm(x)
    with pytest.raises(ValueError, match="must have one shape"):
        batch_norm_backprop(x[:, 1:], x, None, None, (moments[0], moments[1]))


@pytest.mark.parametrize("backend", backends())
def test_large_results_on_cache_lines_have_the_same_bits(backend: str) -> None:
    """They are stored past the caches."""
    shape = (1, 100, 90, 144)
    p, count = problem(shape), math.prod(shape)
    memory = np.empty((2, count + 32), np.float32)
    first = [-row.ctypes.data % 64 // 4 for row in memory]
    aligned, shifted = (
        row[at : at + count].reshape(shape) for row, at in zip(memory, (first[0], first[1] + 4), strict=True)
    )
    with using(backend):
        for threads in (1, 2):
            for out in (aligned, shifted):
                _, mean, variance = batch_norm(
                    p["x"], p["gamma"], p["beta"], activation="relu", out=out, num_threads=threads
                )
            np.testing.assert_array_equal(aligned, shifted)
            for out in (aligned, shifted):
                batch_norm_backprop(
                    p["dy"], p["x"], p["gamma"], p["beta"], (mean, variance), activation="relu", out=out,
                    num_threads=threads,
                )  # fmt: skip
            np.testing.assert_array_equal(aligned, shifted)


@pytest.mark.parametrize("backend", backends())
def test_out_may_have_steps_that_no_image_has(backend: str) -> None:
    """Rows that go backwards, and axes that do not merge into one of pixels."""
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=(2, 5, 3)).astype(np.float32) for _ in range(2))
    with using(backend):
        dense, mean, variance = batch_norm(x)
        back = batch_norm_backprop(dy, x, None, None, (mean, variance))[0]
        for out in (np.zeros_like(x)[::-1], np.zeros((2, 9, 3), np.float32)[:, 2:-2]):
            assert batch_norm(x, out=out)[0] is out
            np.testing.assert_array_equal(out, dense)
            batch_norm_backprop(dy, x, None, None, (mean, variance), out=out)
            np.testing.assert_array_equal(out, back)


def test_what_fits_no_normalization_is_refused() -> None:
    x, ones = np.ones((4, 3), np.float32), np.ones(3, np.float32)
    masked = np.ma.masked_array(ones, mask=True)
    for error, message, options in [
        (TypeError, "gamma is a masked array", {"gamma": masked}),
        (ValueError, r"moments must be \[channels\], \(3,\), not \(2,\)", {"moments": (ones[:2], ones[:2])}),
        (TypeError, r"moments must be \(mean, variance\)", {"moments": ones}),
        (ValueError, "out overlaps gamma", {"gamma": x[0], "out": x}),
    ]:
        with pytest.raises(error, match=message):
            batch_norm(x.copy(), **options)
    with pytest.raises(ValueError, match="out overlaps out_backprop"):
        batch_norm_backprop(x, x.copy(), None, None, (ones, ones), out=x)
