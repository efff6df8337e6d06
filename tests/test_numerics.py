"""Activations to the last digits, and where infinities, NaNs, zeros and denormals go."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from oracles import ACTIVATIONS, Case, activate, backends, using

TINY = float(np.finfo(np.float32).tiny)
# Stated bounds in units of the last place. Largest seen over every 997th float32: 6.0, 5.9 and 2.0
# (with |x| < 20 3.9, 4.2 and 2.0; without fused arithmetic 3.2, 3.4 and 1.9).
SMOOTH = {"sigmoid": 8, "silu": 8, "tanh": 4}
# Of both forms of GELU in float32's eps, times |x|. Largest seen: 1.6 and 0.8.
GELU = 2
pytestmark = pytest.mark.parametrize("backend", backends())


def apply(x: np.ndarray, activation: Any, channels: int = 17) -> np.ndarray:
    """`activation` of every element, by a depthwise filter of ones; 17 channels: vectors and tails."""
    padded = np.zeros(-(-x.size // channels) * channels, np.float32)
    padded[: x.size] = x
    image = padded.reshape(1, 1, -1, channels)
    y = dwconv.depthwise_conv2d(image, np.ones((1, 1, channels, 1), np.float32), activation=activation)
    return y.reshape(-1)[: x.size]


def arguments() -> np.ndarray:
    """Every magnitude of both signs, densely where activations bend, and beyond all overflow limits."""
    magnitudes = np.geomspace(1e-44, 3e38, 20001)
    dense = np.linspace(-30, 30, 40001)
    edges = [0.0, -0.0, 87.33, -87.34, 88.72, 88.73, -88.73, -103.9, -104.1, 1e4, -1e4, 3.4e38, -3.4e38]
    return np.concatenate([magnitudes, -magnitudes, dense, -np.linspace(10, 120, 20001), edges]).astype(
        np.float32
    )


def ulp_error(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distance in units of the last place of the exact value; below the smallest normal, of that one."""
    spacing = np.spacing(np.maximum(np.abs(exact), TINY).astype(np.float32)).astype(np.float64)
    return np.abs(found - exact) / spacing


@pytest.mark.parametrize("activation", SMOOTH)
def test_smooth_activations_are_within_their_stated_ulp(activation: str, backend: str) -> None:
    x = arguments()
    exact = activate(x, activation)
    normal = np.abs(exact) < 3.4e38
    with using(backend):
        y = apply(x, activation)
    error = np.where(normal, ulp_error(y, exact), 0.0)
    worst = int(np.argmax(np.where(np.isnan(error), np.inf, error)))
    assert error[worst] <= SMOOTH[activation], (
        f"{activation}({x[worst]!r}) = {y[worst]!r}, exact {exact[worst]!r}: {error[worst]} ULP"
    )


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_gelu_is_within_its_stated_share_of_the_argument(activation: str, backend: str) -> None:
    x = arguments()
    exact = activate(x, activation)
    with using(backend):
        y = apply(x, activation)
    error = np.abs(y - exact)
    bound = GELU * 2.0**-23 * np.abs(x) + TINY
    worst = int(np.argmax(error / bound))
    assert np.all(error <= bound), (
        f"{activation}({x[worst]!r}) = {y[worst]!r}, exact {exact[worst]!r}: {error[worst] / bound[worst]}"
    )
    assert np.all(error[x < -6] <= 1e-8)  # and vanishes far out, where |x| grows


@pytest.mark.parametrize(
    "activation", [a for a in ACTIVATIONS if a not in (*SMOOTH, "gelu", "gelu_tanh")], ids=str
)
def test_piecewise_activations_are_exact_up_to_rounding(activation: Any, backend: str) -> None:
    x = arguments()
    exact = activate(x, activation)
    name = activation[0] if isinstance(activation, tuple) else activation
    with using(backend):
        y = apply(x, activation)
    if name in ("hard_sigmoid", "hard_swish"):  # x + 3 is rounded near -3, where the result vanishes
        scale = np.abs(x) if name == "hard_swish" else 1.0
        assert np.all(np.abs(y - exact) <= 3 * 2.0**-23 * np.maximum(np.abs(exact), scale) + TINY)
    elif name == "leaky_relu":
        assert np.all(ulp_error(y, exact) <= 1.5)  # the slope itself is rounded to float32
    else:
        np.testing.assert_array_equal(y, exact.astype(np.float32))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_nan_in_gives_nan_out(activation: Any, backend: str) -> None:
    for channels in (1, 3, 8, 16, 17, 33):
        with using(backend):
            y = apply(np.full(5 * channels, np.nan, np.float32), activation, channels)
        assert np.isnan(y).all()


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_at_infinity_activations_are_their_limits(activation: Any, backend: str) -> None:
    x = np.array([np.inf, -np.inf] * 20, np.float32)
    with using(backend):
        np.testing.assert_array_equal(apply(x, activation), activate(x, activation))


@pytest.mark.parametrize("activation", ["silu", "tanh", "gelu", "gelu_tanh", "leaky_relu"])
def test_odd_signs_of_zero_and_of_small_arguments_are_kept(activation: str, backend: str) -> None:
    x = np.array([-1e-30, 1e-30, -1e-44, 1e-44] * 9, np.float32)
    with using(backend):
        y = apply(x, activation)
    small = y != 0
    np.testing.assert_array_equal(np.signbit(y[small]), np.signbit(x[small]))
    assert small[:2].all()


@pytest.mark.parametrize("operation", ["depthwise", "conv", "separable"])
def test_padding_contributes_nothing_even_where_filters_are_infinite(operation: str, backend: str) -> None:
    for fill in (np.inf, -np.inf, np.nan):
        for channels, kernel in ((3, 3), (17, 5), (32, 7), (8, 4)):
            case = Case(operation, (1, 1, 1, channels), (kernel, kernel), out_channels=5, padding="same")
            name = "depthwise_filter" if operation == "separable" else "filters"
            filters = np.full_like(case.arrays[name], fill)
            centre = (kernel - 1) // 2
            filters[centre, centre] = case.arrays[name][centre, centre]
            with using(backend):
                case.with_arrays(**{name: filters}).check(case.with_arrays(**{name: filters}).call())


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_special_values_reach_exactly_their_windows(value: float, backend: str) -> None:
    for channels, kernel, stride in ((5, 3, 1), (17, 3, 2), (16, 5, 1), (33, 7, 2), (4, 2, 3)):
        case = Case("depthwise", (1, 11, 12, channels), (kernel, kernel), strides=(stride, stride))
        x = case.x.copy()
        x[0, 5, 6, channels // 2] = value
        case = case.with_arrays(x=x)
        with np.errstate(invalid="ignore"):
            expected, _ = case.expected()
        with using(backend):
            y = case.call()
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
        np.testing.assert_array_equal(y[np.isinf(y)], expected[np.isinf(expected)])
        assert np.isfinite(y[..., : channels // 2]).all()


@pytest.mark.parametrize("operation", ["pointwise", "conv"])
def test_special_values_stay_in_their_pixel_and_group(operation: str, backend: str) -> None:
    case = Case(operation, (1, 6, 7, 8), (1, 1), out_channels=20)
    x = case.x.copy()
    x[0, 2, 3, 1] = np.nan
    with using(backend):
        y = case.with_arrays(x=x).call()
    hit = np.zeros((6, 7), bool)
    hit[2, 3] = True
    assert np.isnan(y[0][hit]).all()
    assert np.isfinite(y[0][~hit]).all()


def test_infinite_weights_give_infinities_not_nan(backend: str) -> None:
    x = np.ones((1, 4, 4, 19), np.float32)
    filters = np.ones((2, 2, 19, 1), np.float32)
    filters[0, 0, 7] = np.inf
    with using(backend):
        y = dwconv.depthwise_conv2d(x, filters)
    assert np.all(y[..., 7] == np.inf)
    assert np.all(np.delete(y, 7, axis=-1) == 4)


def test_denormals_are_kept(backend: str) -> None:
    x = np.full((1, 5, 5, 19), 1e-40, np.float32)
    with using(backend):
        y = dwconv.depthwise_conv2d(x, np.ones((1, 1, 19, 1), np.float32))
        np.testing.assert_array_equal(y, x)
        y = dwconv.depthwise_conv2d(np.ones_like(x), np.full((1, 1, 19, 1), 1e-40, np.float32))
        np.testing.assert_array_equal(y, x)


def test_denormal_weights_are_flushed_only_on_request(backend: str) -> None:
    filters = np.full((1, 1, 19, 1), 1e-40, np.float32)
    filters[..., 3, :] = TINY
    x = np.ones((1, 3, 3, 19), np.float32)
    with using(backend):
        kept = dwconv.DepthwiseConv2D(filters)(x)
        flushed = dwconv.DepthwiseConv2D(filters, flush_denormals=True)(x)
    assert np.all(kept != 0)
    assert np.all(np.delete(flushed, 3, axis=-1) == 0)
    assert np.all(flushed[..., 3] == np.float32(TINY))


def test_sums_overflow_to_infinity(backend: str) -> None:
    x = np.full((1, 2, 2, 17), 3e38, np.float32)
    with using(backend):
        y = dwconv.depthwise_conv2d(x, np.ones((2, 2, 17, 1), np.float32))
    assert np.all(y == np.inf)
