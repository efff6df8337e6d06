"""What only the NumPy fallback does: other dtypes, its error function, its memory."""

from __future__ import annotations

import math
import tracemalloc
import warnings

import numpy as np
import pytest

import dwconv
from dwconv import activation, fallback
from oracles import OPERATIONS, Case, using
from shapes import cases


def cast(case: Case, dtype: type) -> Case:
    return case.with_arrays(**{name: array.astype(dtype) for name, array in case.arrays.items()})


@pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.operation}-{c.seed}")
def test_float64_is_computed_in_float64(case: Case) -> None:
    case = cast(case, np.float64)
    y = case.call()
    value, bound = case.expected()
    assert y.dtype == np.float64
    assert y.shape == value.shape
    assert np.all(np.abs(y - value) <= 1e-6 * bound)  # the bound is of float32; eps is 5e8 times smaller


@pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.operation}-{c.seed}")
def test_float16_is_computed_in_float32_and_rounded_once(case: Case) -> None:
    case = cast(case, np.float16)
    y = case.call()
    value, bound = case.expected()
    assert y.dtype == np.float16
    half_step = np.spacing(np.abs(value).astype(np.float16)).astype(np.float64) / 2
    assert np.all(np.abs(y - value) <= 1.001 * half_step + bound)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_layers_of_other_dtypes_flush_their_own_denormals(dtype: type) -> None:
    tiny = np.finfo(dtype).tiny
    filters = np.array([tiny / 2, tiny], dtype).reshape(1, 1, 2, 1)
    x = np.ones((1, 1, 1, 2), dtype)
    assert dwconv.DepthwiseConv2D(filters)(x).tolist() == [[[[tiny / 2, tiny]]]]
    assert dwconv.DepthwiseConv2D(filters, flush_denormals=True)(x).tolist() == [[[[0, tiny]]]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_special_values_pass_without_warnings(dtype: type) -> None:
    x = np.array([np.inf, -np.inf, np.nan, np.finfo(dtype).max], dtype).reshape(1, 2, 2, 1)
    with using("numpy"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in (None, *activation.PLAIN, "leaky_relu"):
            y = dwconv.depthwise_conv2d(x, np.full((2, 2, 1, 1), 2, dtype), padding="same", activation=name)
            assert np.isnan(y[0, 0, 0, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_smooth_activations_of_minus_infinity_are_zero(name: str, dtype: type) -> None:
    """The limit, of positive sign, and no small number beside it; far below zero it is reached."""
    x = np.array([-np.inf, np.finfo(dtype).min, -1000], dtype).reshape(1, 1, 3, 1)
    with using("numpy"):
        y = dwconv.depthwise_conv2d(x, np.ones((1, 1, 1, 1), dtype), activation=name)
    assert y.dtype == dtype
    assert y.tobytes() == np.zeros_like(x).tobytes()


def test_erfc_keeps_its_digits_to_the_end_of_its_tail() -> None:
    z = np.concatenate([np.linspace(0, 26, 20001), np.geomspace(1e-300, 1, 2001)])
    exact = np.vectorize(math.erfc)(z)
    np.testing.assert_allclose(activation._erfc(z), exact, rtol=3e-13)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_batches_are_worked_on_in_pieces(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(operation, (5, 9, 8, 4), out_channels=4)
    with using("numpy"):
        for images in (1, 2, 5):
            monkeypatch.setattr(fallback, "CHUNK", images * 9 * 8 * 4)
            case.check(case.call())


def test_memory_stays_within_a_few_tensors() -> None:
    """No padded copy, no column matrix: those would be 49 times the input here."""
    x, filters = np.ones((1, 64, 64, 32), np.float32), np.ones((7, 7, 32, 32), np.float32)
    with using("numpy"):
        layer = dwconv.Conv2D(filters, padding="same")
        tracemalloc.start()
        try:
            layer(x)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 6 * x.nbytes
