"""Quantized layers: the bits of their definition on every instruction set, in NumPy, with any threads."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import dwconv
import int8_oracle as oracle
from int8_layers import KINDS, Q, assert_same, block, depthwise, image

ROUNDINGS = ("even", "tflite")


# ---- single convolutions ----------------------------------------------------------------------


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("kind", [*KINDS, "wide"])
def test_random_layers_are_their_definition(kind: str, rounding: str) -> None:
    rng = np.random.default_rng(len(kind))
    for index in range(60):
        case = oracle.random_case(rng, kind=kind)
        layer = oracle.layer_of(case, dwconv, rounding=rounding)
        assert_same(layer(case.x, num_threads=1 + index % 3), oracle.expected(case, rounding))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_the_reference_of_the_core_is_the_definition(rounding: str) -> None:
    core = pytest.importorskip("dwconv._core", reason="there is no compiled core")
    rng = np.random.default_rng(7)
    for kind in (*KINDS, "wide") * 10:
        case = oracle.random_case(rng, kind=kind)
        expected = oracle.expected(case, rounding)
        y = np.empty_like(expected)
        core.reference(oracle.layer_of(case, dwconv, rounding=rounding)._operation, case.x, y)
        assert_same(y, expected)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("zero_point", [-128, -1, 0, 5, 127])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_padding_is_the_zero_point_at_every_edge(dtype: Any, zero_point: int) -> None:
    """An image of zero points alone gives the bias everywhere, also where most of the window is outside."""
    zero_point += 128 if dtype is np.uint8 else 0
    x = np.full((1, 4, 5, 3), zero_point, dtype)
    layer = depthwise(
        dtype=np.dtype(dtype).name, input_quantization=(0.5, zero_point), output_quantization=(0.05, 100),
        padding=((3, 3), (3, 3)), bias=[10, -20, 0],
    )  # fmt: skip
    y = layer(x)
    assert y.shape == (1, 8, 9, 3)
    assert (y == [101, 98, 100]).all()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("factor", [2.0**-40, 2.0**-31, 2.0**-20, 0.5, 1.0, 1.5, 255.0])
def test_factors_at_both_ends(factor: float, rounding: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        case = oracle.random_case(rng)
        case = case._replace(
            filter_scale=np.array([factor], np.float32),
            x_quant=(1.0, case.x_quant[1]),
            y_quant=(1.0, case.y_quant[1]),
        )
        assert_same(oracle.layer_of(case, dwconv, rounding=rounding)(case.x), oracle.expected(case, rounding))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_sums_may_fill_32_bits(rounding: str) -> None:
    """As of channels that training left without weights: their scales are tiny, so their biases large."""
    rng = np.random.default_rng(5)
    case = oracle.random_case(rng)
    outputs = case.filters.shape[-1]
    most = 2**31 - 2 - 255 * np.abs(case.filters.astype(np.int64)).sum((0, 1, 2))
    bias = rng.choice([-1.0, 1.0, 0.5, 1e-6], outputs) * most
    scale = (2.0 ** rng.integers(-31, -5, outputs)).astype(np.float32)
    case = case._replace(
        bias=bias.astype(np.int32), filter_scale=scale, x_quant=(1.0, case.x_quant[1]),
        y_quant=(1.0, case.y_quant[1]),
    )  # fmt: skip
    assert_same(oracle.layer_of(case, dwconv, rounding=rounding)(case.x), oracle.expected(case, rounding))


@pytest.mark.usefixtures("backend")
def test_pointwise_is_a_convolution_of_one_tap() -> None:
    x = image(shape=(2, 5, 6, 13))
    filters = image(shape=(13, 37))
    bias = np.arange(37, dtype=np.int32) * 50
    given = {
        "bias": bias,
        "dtype": "int8",
        "filter_scale": np.linspace(0.001, 0.02, 37),
        "input_quantization": Q,
        "output_quantization": (0.3, 9),
    }
    y = dwconv.PointwiseConv2D(filters, strides=2, **given)(x)
    assert_same(y, dwconv.Conv2D(filters[None, None], strides=2, **given)(x))
    sums = (x[:, ::2, ::2].astype(np.int64) - Q[1]) @ filters.astype(np.int64) + bias
    factor = np.float32(Q[0]) * given["filter_scale"].astype(np.float32) / np.float32(0.3)
    assert_same(y, np.clip(oracle.rounded_even(sums, factor) + 9, -128, 127).astype(np.int8))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("groups", "multiplier"), [(7, 1), (3, 3), (1, 5)])
def test_windows_that_are_too_tall_for_kernels_run_as_plain_loops(
    groups: int, multiplier: int, rounding: str
) -> None:
    rng = np.random.default_rng(groups)
    case = oracle.random_case(rng, depthwise=groups > 1, kind="wide")
    channels = groups if groups > 1 else 2
    filters = rng.integers(-100, 156, (131, 2, channels // groups, groups * multiplier))
    case = case._replace(
        x=rng.integers(-128, 128, (2, 140, 5, channels)).astype(np.int8), filters=filters.astype(np.int16),
        bias=None, filter_scale=np.array([0.001], np.float32), x_quant=(0.1, -7), y_quant=(2.0, 3),
        strides=(3, 1), dilations=(1, 2), padding=((4, 0), (1, 2)), groups=groups,
    )  # fmt: skip
    layer = oracle.layer_of(case, dwconv, rounding=rounding)
    assert_same(layer(case.x, num_threads=2), oracle.expected(case, rounding))


@pytest.mark.usefixtures("backend")
def test_strided_tensors_are_read_and_written_in_place() -> None:
    buffer, result = image(shape=(2, 9, 11, 8)), np.full((2, 9, 11, 8), 55, np.int8)
    x, out = buffer[:, 1:-1, 1:-1, 2:5], result[:, 1:-1, 1:-1, 4:7]
    layer = depthwise()
    expected = layer(np.ascontiguousarray(x))
    assert layer(x, out=out, num_threads=2) is out
    assert_same(out, expected)
    result[:, 1:-1, 1:-1, 4:7] = 55
    assert (result == 55).all()
    both = buffer.copy()
    layer(both[..., 0:3], out=both[..., 4:7])
    assert_same(both[..., 4:7], layer(buffer[..., 0:3]))
    assert_same(both[..., 7:], buffer[..., 7:])


# ---- what follows the sums --------------------------------------------------------------------


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(
    ("activation", "low", "high"),
    [("relu", -7, 127), ("relu6", -7, 53), (("clip", -1.0, 0.25), -17, -4), (("clamp", -9, 21), -9, 21)],
)
def test_clamps_are_integers(activation: Any, low: int, high: int, rounding: str) -> None:
    """0.25 / 0.1 - 7 is -4.5, a tie: to even, or away from zero before the zero point is added."""
    if activation == ("clip", -1.0, 0.25):
        high = -4
    x = image()
    y = depthwise(activation=activation, rounding=rounding)(x)
    assert_same(y, np.clip(depthwise(rounding=rounding)(x), low, high))
    assert {y.min(), y.max()} == {low, high}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("activation", ["hard_swish", "sigmoid", "silu", "tanh", "gelu", "leaky_relu"])
def test_other_activations_are_a_table(activation: str, dtype: Any) -> None:
    """The table is the activation of what the integer before stands for, to the nearest."""
    shift = 128 if dtype == "uint8" else 0
    before, after = (0.06, 11 + shift), (0.0413, -20 + shift)
    given = {"dtype": dtype, "input_quantization": (0.05, 3 + shift)}
    x = image(dtype)
    q = depthwise(output_quantization=before, **given)(x)
    numbers = dwconv.dequantize(q, *before)
    f = dwconv.pointwise_conv2d(numbers, np.eye(3, dtype=np.float32), activation=activation)
    expected = dwconv.quantize(f, *after, dtype=dtype)
    y = depthwise(output_quantization=after, activation_quantization=before, activation=activation, **given)(
        x
    )
    assert y.dtype == expected.dtype
    differs = y.astype(int) != expected
    assert differs.mean() < 0.02
    ties = f / np.float32(0.0413) % 1  # division and multiplication by the inverse differ there alone
    assert (np.abs(ties[differs] - 0.5) < 1e-4).all()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_table_of_the_caller_is_taken_as_it_is(dtype: Any) -> None:
    table = np.random.default_rng(5).permutation(256).astype(np.uint8).view(dtype)
    shift = 128 if dtype == "uint8" else 0
    given = {"dtype": dtype, "input_quantization": (0.05, 3 + shift)}
    q = depthwise(output_quantization=(0.06, 11), **given)(image(dtype))
    layer = depthwise(
        activation=table, activation_quantization=(0.06, 11), output_quantization=(1.0, 0), **given
    )
    assert_same(layer(image(dtype)), table[q.view(np.uint8)])


@pytest.mark.usefixtures("backend")
def test_float_output_is_dequantized() -> None:
    y = depthwise(output_dtype="float32")(image())
    expected = dwconv.dequantize(depthwise()(image()), 0.1, -7)
    assert y.dtype == np.float32
    assert np.array_equal(y, expected)


# ---- layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_layers_travel(dtype: str) -> None:
    layer = block(dtype)
    again = pickle.loads(pickle.dumps(layer))
    assert again.dtype == dtype
    assert again.sum_quantization == layer.sum_quantization
    assert_same(again(image(dtype, (1, 5, 5, 4))), layer(image(dtype, (1, 5, 5, 4))))
    table = np.arange(256, dtype=np.uint8).view(np.int8)
    layer = depthwise(activation=table, activation_quantization=Q, rounding="tflite")
    again = pickle.loads(pickle.dumps(layer))
    assert_same(again(image()), layer(image()))
    clamped = pickle.loads(pickle.dumps(depthwise(activation=("clamp", -3, 4))))
    assert clamped.activation == ("clamp", -3, 4)
    assert "rounding='tflite'" in repr(layer)
    assert "rounding" not in repr(dwconv.PointwiseConv2D(np.ones((2, 2), np.float32)))


def test_layers_do_not_change_with_the_arrays_they_were_made_of() -> None:
    scale, filters = np.full(3, 0.01, np.float32), image(shape=(3, 3, 3, 1))
    layer = dwconv.DepthwiseConv2D(
        filters, dtype="int8", filter_scale=scale, input_quantization=Q, output_quantization=Q
    )
    before = layer(image())
    scale[:], filters[:] = 1, 0
    assert_same(layer(image()), before)
    assert_same(pickle.loads(pickle.dumps(layer))(image()), before)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantize_and_dequantize_are_inverse(dtype: Any) -> None:
    q = np.arange(256, dtype=np.uint8).view(dtype)
    assert_same(dwconv.quantize(dwconv.dequantize(q, 0.037, 11), 0.037, 11, dtype), q)
    ties = np.array([-1.5, -0.5, 0.5, 1.5, 2.5, np.inf, -np.inf], np.float32)
    expected = [-2, 0, 0, 2, 2, 127, -128] if dtype == "int8" else [0, 0, 0, 2, 2, 255, 0]
    assert dwconv.quantize(ties, 1, 0, dtype).tolist() == expected


# ---- from float layers ------------------------------------------------------------------------


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(9).normal(size=shape).astype(np.float32)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_quantized_layers_are_about_their_float_layers(dtype: Any) -> None:
    x = noise(1, 12, 12, 8)
    gate = (noise(24, 6), None, noise(6, 24), None)
    layers = [
        dwconv.DepthwiseConv2D(noise(3, 3, 8, 2), padding="same", bias=noise(16), activation="silu"),
        dwconv.Conv2D(noise(3, 3, 8, 5), strides=2, activation="relu"),
        dwconv.PointwiseConv2D(noise(8, 16), bias=noise(16)),
        dwconv.SeparableConv2D(noise(3, 3, 8, 1), noise(8, 6), depthwise_activation="relu6"),
        dwconv.InvertedResidual(noise(8, 24), noise(3, 3, 24, 1), noise(24, 8)),
        dwconv.InvertedResidual(noise(8, 24), noise(3, 3, 24, 1), noise(24, 6), squeeze_excite=gate),
    ]
    for layer in layers:
        y = layer(x)
        ranges: dict[str, Any] = {"output_range": (y.min(), y.max())}
        if isinstance(layer, dwconv.DepthwiseConv2D):
            ranges["activation_range"] = (-12, 12)
        if isinstance(layer, dwconv.InvertedResidual):
            projected = y if layer.squeeze_excite else y - x
            ranges["project_range"] = (projected.min(), projected.max())
            if layer.squeeze_excite is not None:
                ranges |= {"squeeze_range": (0, 12), "gate_activation_range": (-8, 8)}
        small = layer.quantized((x.min(), x.max()), dtype=dtype, output_dtype="float32", **ranges)
        assert type(small) is type(layer)
        q = dwconv.quantize(x, *small.input_quantization, dtype=dtype)
        error = np.abs(small(q) - y)
        assert error.mean() < 0.02 * (y.max() - y.min())


def test_quantized_needs_the_ranges_that_nothing_else_tells() -> None:
    layer = dwconv.SeparableConv2D(noise(3, 3, 8, 1), noise(8, 6))
    with pytest.raises(TypeError, match=r"SeparableConv2D\.quantized: depthwise_range is needed"):
        layer.quantized((0, 1), (0, 1))
    with pytest.raises(ValueError, match="output_range must be finite with low <= high"):
        layer.quantized((0, 1), (1, 0), depthwise_range=(0, 1))
    with pytest.raises(TypeError, match=r"activation_range is needed: .* of what tanh takes"):
        dwconv.PointwiseConv2D(noise(2, 2), activation="tanh").quantized((0, 1))
    zeros = dwconv.PointwiseConv2D(np.zeros((2, 2), np.float32), bias=np.ones(2, np.float32))
    small = zeros.quantized((0, 1), (0, 2), output_dtype="float32")
    assert np.allclose(small(np.zeros((1, 1, 1, 2), np.int8)), 1, atol=0.01)
