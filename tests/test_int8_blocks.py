"""Blocks of quantized layers: the bits of their layers, one after another."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import dwconv
import int8_oracle as oracle
from int8_layers import assert_same, block, image

ROUNDINGS = ("even", "tflite")
SEPARABLE = {
    "dtype": "int8", "depthwise_filter_scale": [0.01, 0.02, 0.005, 0.01, 0.03], "filter_scale": 0.02,
    "input_quantization": (0.05, 3), "depthwise_output_quantization": (0.04, -100),
    "output_quantization": (0.1, 20), "depthwise_activation": "relu6", "padding": "same",
}  # fmt: skip


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_separable_convolution_is_its_two_layers(threads: int, rounding: Any) -> None:
    first, second = image(shape=(5, 3, 5, 1)), image(shape=(5, 40))
    x = image(shape=(3, 21, 17, 5))
    y = dwconv.SeparableConv2D(first, second, strides=2, rounding=rounding, **SEPARABLE)(
        x, num_threads=threads
    )
    middle = dwconv.DepthwiseConv2D(
        first, strides=2, padding="same", dtype="int8", filter_scale=SEPARABLE["depthwise_filter_scale"],
        input_quantization=(0.05, 3), output_quantization=(0.04, -100), activation="relu6", rounding=rounding,
    )(x)  # fmt: skip
    last = dwconv.PointwiseConv2D(
        second, dtype="int8", filter_scale=0.02, input_quantization=(0.04, -100),
        output_quantization=(0.1, 20), rounding=rounding,
    )  # fmt: skip
    assert_same(y, last(middle))


def added(a: np.ndarray, b: np.ndarray, qa: Any, qb: Any, qy: Any, rounding: str) -> np.ndarray:
    """a + b: XNNPACK's qs8-vadd, or TensorFlow Lite's ADD, a number at a time."""
    limits = np.iinfo(a.dtype)
    if rounding == "even":
        ratios = [np.float32(q[0]) / np.float32(qy[0]) for q in (qa, qb)]
        shift = 20 - (int(np.array(max(ratios)).view(np.uint32) >> 23) - 127)
        ma, mb = (round(float(r) * 2**shift) for r in ratios)
        start = 2 ** (shift - 1) - ma * qa[1] - mb * qb[1]
        total = (start + a.astype(np.int64) * ma + b.astype(np.int64) * mb) >> shift
    else:
        scales = [float(np.float32(q[0])) for q in (qa, qb, qy)]
        twice = 2 * max(scales[:2])
        x, y, z = (
            oracle._multiplier(m) for m in (scales[0] / twice, scales[1] / twice, twice / (2**20 * scales[2]))
        )
        pairs = zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True)
        sums = [
            oracle._times(oracle._times((i - qa[1]) << 20, *x) + oracle._times((j - qb[1]) << 20, *y), *z)
            for i, j in pairs
        ]
        total = np.array(sums).reshape(a.shape)
    return np.clip(total + qy[1], limits.min, limits.max).astype(a.dtype)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_an_inverted_residual_is_its_layers_and_an_integer_sum(dtype: str, rounding: str) -> None:
    shift = 128 if dtype == "uint8" else 0
    x = image(dtype, (2, 9, 10, 4))
    plain = block(dtype, residual=False, sum_quantization=None, rounding=rounding)(x)
    stages = block(dtype, rounding=rounding)
    y = x
    q = (
        stages.input_quantization, stages.expand_output_quantization, stages.depthwise_output_quantization,
        stages.output_quantization,
    )  # fmt: skip
    for filters, kind, scale, source, to in (
        (stages.expand_filter, dwconv.PointwiseConv2D, 0.01, q[0], q[1]),
        (stages.depthwise_filter, dwconv.DepthwiseConv2D, 0.008, q[1], q[2]),
        (stages.project_filter, dwconv.PointwiseConv2D, 0.01, q[2], q[3]),
    ):
        more = {"padding": "same"} if kind is dwconv.DepthwiseConv2D else {}
        activation = None if filters is stages.project_filter else "relu6"
        layer = kind(
            filters, dtype=dtype, filter_scale=scale, input_quantization=source, output_quantization=to,
            activation=activation, rounding=rounding, **more,
        )  # fmt: skip
        y = layer(y)
    assert_same(plain, y)
    quantizations = ((0.08, 7 + shift), (0.05, 3 + shift), (0.1, -5 + shift))
    assert_same(stages(x, num_threads=2), added(y, x, *quantizations, rounding))


def gated(
    rounding: str, product: str, residual: bool, dtype: str = "int8", wide: Any = np.int8
) -> dwconv.InvertedResidual:
    shift = 128 if dtype == "uint8" else 0
    gate = (image(shape=(18, 5)), [100, -50, 0, 7, 900], image(shape=(5, 18)), None)
    quantization = dwconv.SqueezeExciteQuantization(
        mean=(0.011, -120 + shift), squeeze_filter_scale=0.01, squeeze_output=(0.02, -128 + shift),
        gate_filter_scale=np.linspace(0.002, 0.02, 18), gate_output=(1 / 256, -128 + shift),
        scaled=(0.02, -100 + shift), gate_activation_quantization=(0.05, shift), product=product,
    )  # fmt: skip
    more = {} if residual else {"residual": False, "sum_quantization": None}
    return block(
        dtype, wide, squeeze_excite=gate, squeeze_excite_quantization=quantization, rounding=rounding, **more
    )


def mean_of(x: np.ndarray, q: Any, to: Any, rounding: str) -> np.ndarray:
    """Over height and width: one float32 factor, or TensorFlow Lite's MEAN, whose factor has the division."""
    total, count = (x.astype(np.int64) - q[1]).sum((1, 2), keepdims=True), x.shape[1] * x.shape[2]
    limits = np.iinfo(x.dtype)
    if rounding == "even":
        factor = np.float32(q[0]) / np.float32(to[0]) * (np.float32(1) / np.float32(count))
        y = oracle.rounded_even(total, factor)
    else:
        mantissa, shift = oracle._multiplier(float(np.float32(q[0])) / float(np.float32(to[0])))
        more = min(count.bit_length() - 1, 32, 31 + shift)
        numbers = [
            oracle._times(int(n), (mantissa << more) // count, shift - more) for n in total.reshape(-1)
        ]
        y = np.array(numbers).reshape(total.shape)
    return np.clip(y + to[1], limits.min, limits.max).astype(x.dtype)


def product_of(
    x: np.ndarray, q: Any, factors: np.ndarray, p: Any, to: Any, rounding: str, product: str
) -> np.ndarray:
    a, b = (v.astype(np.int64) - z[1] for v, z in ((x, q), (factors, p)))
    sx, sf, sy = (np.float32(scale[0]) for scale in (q, p, to))
    if product == "float":
        y = np.rint((sx * a.astype(np.float32)) * (sf * b.astype(np.float32)) / sy).astype(np.int64)
    elif rounding == "even":
        y = oracle.rounded_even(a * b, sx * sf / sy)
    else:
        mantissa, shift = oracle._multiplier(float(sx * sf / sy))
        y = np.array([oracle._times(int(n), mantissa, shift) for n in (a * b).reshape(-1)]).reshape(x.shape)
    limits = np.iinfo(x.dtype)
    return np.clip(y + to[1], limits.min, limits.max).astype(x.dtype)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("product", ["integer", "float"])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("dtype", "residual"), [("int8", False), ("uint8", True)])
def test_squeeze_and_excite_is_its_layers(dtype: str, residual: bool, rounding: Any, product: Any) -> None:
    layer, x = gated(rounding, product, residual, dtype), image(dtype, (2, 9, 10, 4))
    given = {"dtype": dtype, "rounding": rounding}
    q = layer.squeeze_excite_quantization
    assert q is not None
    wide = dwconv.InvertedResidual(  # without the rest: a projection that changes nothing
        layer.expand_filter, layer.depthwise_filter, np.eye(18, dtype=np.int8), residual=False,
        expand_filter_scale=0.01, depthwise_filter_scale=0.008, filter_scale=1.0,
        input_quantization=layer.input_quantization, output_quantization=layer.depthwise_output_quantization,
        expand_output_quantization=layer.expand_output_quantization,
        depthwise_output_quantization=layer.depthwise_output_quantization, **given,
    )(x)  # fmt: skip
    assert layer.squeeze_excite is not None
    reduce, bias, expand, _ = layer.squeeze_excite
    mean = mean_of(wide, layer.depthwise_output_quantization, q.mean, rounding)
    squeeze = dwconv.PointwiseConv2D(
        reduce, bias=bias, filter_scale=q.squeeze_filter_scale, input_quantization=q.mean,
        output_quantization=q.squeeze_output, activation="relu", **given,
    )  # fmt: skip
    excite = dwconv.PointwiseConv2D(
        expand, filter_scale=q.gate_filter_scale, input_quantization=q.squeeze_output,
        output_quantization=q.gate_output, activation="hard_sigmoid",
        activation_quantization=q.gate_activation_quantization, **given,
    )  # fmt: skip
    factors = excite(squeeze(mean))
    assert len(np.unique(factors)) > 5
    scaled = product_of(
        wide, layer.depthwise_output_quantization, factors, q.gate_output, q.scaled, rounding, product
    )
    project = dwconv.PointwiseConv2D(
        layer.project_filter, filter_scale=0.01, input_quantization=q.scaled,
        output_quantization=layer.output_quantization, **given,
    )  # fmt: skip
    expected = project(scaled)
    if residual:
        sums = layer.output_quantization, layer.input_quantization, layer.sum_quantization
        expected = added(expected, x, *sums, rounding)
    assert len(np.unique(expected)) > 20
    for threads in (1, 2, 3):
        assert_same(layer(x, num_threads=threads), expected)
    again = pickle.loads(pickle.dumps(layer))
    assert_same(again(x), expected)


@pytest.mark.usefixtures("backend")
def test_squeeze_and_excite_takes_a_depthwise_filter_of_int16() -> None:
    x = image(shape=(1, 5, 6, 4))
    assert_same(gated("even", "integer", True, wide=np.int16)(x), gated("even", "integer", True)(x))


@pytest.mark.usefixtures("backend")
def test_whether_x_is_added_does_not_depend_on_its_size() -> None:
    layer = block(padding="valid")
    with pytest.raises(
        ValueError, match=r"sum_quantization the output must have the shape of x .* residual=False"
    ):
        layer(image(shape=(1, 9, 9, 4)))


@pytest.mark.usefixtures("backend")
def test_blocks_without_expansion() -> None:
    with pytest.raises(TypeError, match="expand_filter_scale needs an expand_filter"):
        dwconv.InvertedResidual(
            None, image(shape=(3, 3, 4, 1)), image(shape=(4, 4)), dtype="int8", expand_filter_scale=1
        )
    layer = dwconv.InvertedResidual(
        None, image(shape=(3, 3, 4, 1)), image(shape=(4, 4)), dtype="int8", depthwise_filter_scale=0.01,
        filter_scale=0.01, input_quantization=(0.05, 3), depthwise_output_quantization=(0.03, 0),
        output_quantization=(0.1, 0), residual=False, output_dtype="float32",
    )  # fmt: skip
    assert layer(image(shape=(1, 5, 5, 4))).dtype == np.float32
