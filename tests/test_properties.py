"""Properties over drawn geometries, on every instruction set and the fallback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import dwconv
from oracles import ACTIVATIONS, EPS, OPERATIONS, Case, backends, using

settings.register_profile(
    "dwconv",
    max_examples=60,
    deadline=None,  # tests never depend on wall-clock time
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
drawn = settings.get_profile("dwconv")
pytestmark = pytest.mark.parametrize("backend", backends())

pads = st.integers(0, 4)
sides = st.tuples(st.tuples(pads, pads), st.tuples(pads, pads))
channel_counts = st.one_of(st.sampled_from([1, 3, 8, 15, 16, 17, 32, 33, 40]), st.integers(1, 48))


@st.composite
def geometries(draw: st.DrawFn, operations: tuple[str, ...] = OPERATIONS) -> Case:
    operation = draw(st.sampled_from(operations))
    groups = draw(st.integers(1, 3)) if operation == "conv" else 1
    multiplied = operation in ("depthwise", "separable", "inverted_residual")
    square = draw(st.booleans())
    kernel = draw(st.sampled_from([1, 3, 5, 7])) if square else 0
    channels = draw(channel_counts) if groups == 1 else groups * draw(st.integers(1, 9))
    case = Case(
        operation,
        (draw(st.integers(0, 2)), draw(st.integers(1, 14)), draw(st.integers(1, 14)), channels),
        (kernel, kernel) if square else (draw(st.integers(1, 6)), draw(st.integers(1, 6))),
        multiplier=draw(st.sampled_from([1, 1, 2, 3, 5])) if multiplied else 1,
        out_channels=groups * draw(st.integers(1, 40)),
        groups=groups,
        expanded=draw(st.integers(0, 60)) if operation == "inverted_residual" else 0,
        squeezed=draw(st.sampled_from([0, 1, 5, 24])) if operation == "inverted_residual" else 0,
        squeeze_activation=draw(st.sampled_from(ACTIVATIONS)),
        gate_activation=draw(st.sampled_from(ACTIVATIONS)),
        strides=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=draw(st.one_of(st.sampled_from(["same", "valid"]), sides)),
        dilations=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        activation=draw(st.sampled_from(ACTIVATIONS)),
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 2**31)),
    )
    assume(case.possible)
    return case


def as_exact(case: Case) -> Case:
    """The same with small integers in place of random numbers: sums are exact, so equality may be asked."""
    rng = np.random.default_rng(case.seed)
    return case.with_arrays(
        **{k: rng.integers(-3, 4, v.shape).astype(np.float32) for k, v in case.arrays.items()}
    )


@given(case=geometries())
@settings(drawn, max_examples=200)
def test_results_are_within_the_bound_of_float64(case: Case, backend: str) -> None:
    with using(backend):
        case.check(case.call())


@given(case=geometries())
@drawn
def test_output_shape_is_the_shape_of_the_output(case: Case, backend: str) -> None:
    with using(backend):
        layer = case.layer()
        assert tuple(layer.output_shape(case.shape)) == layer(case.x).shape == case.expected()[0].shape


@given(case=geometries(), threads=st.integers(2, 4), pad=st.integers(1, 9))
@drawn
def test_threads_batches_and_strides_do_not_change_a_bit(
    case: Case, threads: int, pad: int, backend: str
) -> None:
    if backend == "numpy":
        return  # promised for one instruction set of the native core
    with using(backend):
        layer = case.layer()
        dense = layer(case.x, num_threads=1)
        n, h, w, c = case.shape
        frame = np.full((n, h + pad, w + 1, c + pad), np.nan, np.float32)
        view = frame[:, pad:, 1:, :-pad]
        view[...] = case.x
        out = np.zeros((*dense.shape[:3], dense.shape[3] + pad), np.float32)[..., pad:]
        layer(view, out=out, num_threads=threads)
        np.testing.assert_array_equal(out, dense)
        for i in range(n):
            np.testing.assert_array_equal(layer(view[i : i + 1]), dense[i : i + 1])


@given(case=geometries(("depthwise", "pointwise", "conv")), scale=st.sampled_from([-2.0, 0.5, 4.0]))
@drawn
def test_operations_are_linear(case: Case, scale: float, backend: str) -> None:
    case = as_exact(replace(case, bias=False, activation=None, arrays={}))
    other = as_exact(replace(case, seed=case.seed + 1, arrays={})).x
    with using(backend):
        combined = case.call(case.x * np.float32(scale) + other)
        np.testing.assert_array_equal(combined, case.call() * np.float32(scale) + case.call(other))


@given(case=geometries(("depthwise",)), data=st.data())
@drawn
def test_depthwise_channels_do_not_see_each_other(case: Case, data: Any, backend: str) -> None:
    channel = data.draw(st.integers(0, case.shape[3] - 1))
    x = case.x.copy()
    x[..., channel] = np.nan
    with using(backend):
        clean, spoiled = case.call(), case.call(x)
    mine = np.arange(clean.shape[3]) // case.multiplier == channel
    np.testing.assert_array_equal(spoiled[..., ~mine], clean[..., ~mine])


@given(channels=channel_counts, size=st.integers(1, 9), seed=st.integers(0, 999))
@drawn
def test_depthwise_1x1_multiplies_channels(channels: int, size: int, seed: int, backend: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, size, size + 1, channels)).astype(np.float32)
    scale = rng.normal(size=channels).astype(np.float32)
    with using(backend):
        np.testing.assert_array_equal(dwconv.depthwise_conv2d(x, scale.reshape(1, 1, -1, 1)), x * scale)


@given(case=geometries(("depthwise",)))
@drawn
def test_grouped_convolution_with_single_channels_is_depthwise(case: Case, backend: str) -> None:
    case = as_exact(case)
    channels = case.shape[3]
    filters = case.arrays["filters"].reshape(*case.kernel, 1, channels * case.multiplier)
    with using(backend):
        grouped = dwconv.conv2d(
            case.x, filters, case.strides, case.padding, dilations=case.dilations, groups=channels
        )
        plain = dwconv.depthwise_conv2d(
            case.x, case.arrays["filters"], case.strides, case.padding, dilations=case.dilations
        )
    np.testing.assert_array_equal(grouped, plain)


@given(case=geometries(("conv",)))
@drawn
def test_convolution_with_a_1x1_kernel_is_pointwise(case: Case, backend: str) -> None:
    case = as_exact(replace(case, kernel=(1, 1), padding="valid", groups=1, arrays={}))
    filters = case.arrays["filters"]
    with using(backend):
        conv = dwconv.conv2d(case.x, filters, case.strides)
        np.testing.assert_array_equal(dwconv.pointwise_conv2d(case.x, filters, case.strides), conv)
        np.testing.assert_array_equal(dwconv.pointwise_conv2d(case.x, filters[0, 0], case.strides), conv)


@given(case=geometries(("separable",)))
@drawn
def test_separable_is_pointwise_of_depthwise(case: Case, backend: str) -> None:
    arrays = case.arrays
    with using(backend):
        fused = case.call()
        hidden = dwconv.depthwise_conv2d(
            case.x, arrays["depthwise_filter"], case.strides, case.padding, dilations=case.dilations,
            bias=arrays.get("depthwise_bias"), activation=case.activation,
        )  # fmt: skip
        parts = dwconv.pointwise_conv2d(
            hidden, arrays["pointwise_filter"], bias=arrays.get("bias"), activation=case.activation
        )
    _, bound = case.expected()
    assert fused.shape == parts.shape
    assert np.all(np.abs(fused.astype(np.float64) - parts) <= 2 * bound)


@given(case=geometries(("inverted_residual",)), same_channels=st.booleans())
@drawn
def test_inverted_residual_is_its_parts(case: Case, same_channels: bool, backend: str) -> None:
    if same_channels:
        case = replace(case, out_channels=case.shape[3], strides=(1, 1), padding="same", arrays={})
    arrays, x = case.arrays, case.x
    with using(backend):
        fused = case.call()
        hidden = x
        if case.expanded:
            hidden = dwconv.pointwise_conv2d(
                x, arrays["expand_filter"], bias=arrays.get("expand_bias"), activation=case.activation
            )
        hidden = dwconv.depthwise_conv2d(
            hidden, arrays["depthwise_filter"], case.strides, case.padding, dilations=case.dilations,
            bias=arrays.get("depthwise_bias"), activation=case.activation,
        )  # fmt: skip
        if case.squeezed:
            factors = hidden.mean((1, 2), keepdims=True)
            for name, gate in (("reduce", case.squeeze_activation), ("restore", case.gate_activation)):
                factors = dwconv.pointwise_conv2d(
                    factors, arrays[f"{name}_filter"], bias=arrays.get(f"{name}_bias"), activation=gate
                )
            hidden = hidden * factors
        parts = dwconv.pointwise_conv2d(hidden, arrays["project_filter"], bias=arrays.get("bias"))
    if case.strides == (1, 1) and parts.shape == x.shape:
        parts = parts + x
    _, bound = case.expected()
    assert fused.shape == parts.shape
    assert np.all(np.abs(fused.astype(np.float64) - parts) <= 2 * bound + EPS * np.abs(parts))


@given(case=geometries(("depthwise", "conv")))
@drawn
def test_a_crop_gives_the_middle_of_the_whole(case: Case, backend: str) -> None:
    """Valid convolution of x[:, 1:, 1:] is the valid convolution of x without its first row and column."""
    case = as_exact(replace(case, padding="valid", strides=(1, 1), arrays={}))
    spans = [(k - 1) * d + 1 for k, d in zip(case.kernel, case.dilations, strict=True)]
    assume(case.shape[1] > spans[0] and case.shape[2] > spans[1])
    with using(backend):
        np.testing.assert_array_equal(case.call(case.x[:, 1:, 1:]), case.call()[:, 1:, 1:])
