"""The worked examples of the specification, one test each."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv

pytestmark = pytest.mark.usefixtures("backend")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_depthwise_of_two_channels_with_tensorflows_positional_arguments() -> None:
    x = np.array([2, 5, 3, 3, 8, 2, 6, 1, 1, 2, 5, 4, 7, 9, 2, 3, -1, 3], np.float32).reshape(1, 3, 3, 2)
    kernel = np.array([3, 1, -2, 2, -1, -3, 4, 5], np.float32).reshape(2, 2, 2, 1)
    y = dwconv.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "VALID")
    np.testing.assert_array_equal(y, [[[[-2, 18], [12, 21]], [[17, -7], [-13, 16]]]])


def test_several_filters_per_channel_multiply_the_channels() -> None:
    x, filters = random(1, 10, 12, 3), random(3, 3, 3, 4)
    y = dwconv.depthwise_conv2d(x, filters)
    assert y.shape == (1, 8, 10, 12)
    for channel in range(3):
        for q in range(4):
            single = dwconv.depthwise_conv2d(x[..., channel, None], filters[:, :, channel, None, q, None])
            np.testing.assert_allclose(y[..., 4 * channel + q], single[..., 0], rtol=1e-5, atol=1e-5)


def test_an_rgb_image_gives_three_maps_depthwise_and_m_maps_pointwise() -> None:
    image = random(1, 64, 64, 3)
    maps = dwconv.depthwise_conv2d(image, random(3, 3, 3, 1), padding="same")
    assert maps.shape == (1, 64, 64, 3)
    assert dwconv.pointwise_conv2d(maps, random(1, 1, 3, 256)).shape == (1, 64, 64, 256)


def test_dense_convolution_sums_products_over_channels_and_adds_the_bias() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (1, 5, 5, 3)).astype(np.float32)
    filters = rng.integers(-1, 2, (3, 3, 3, 2)).astype(np.float32)
    bias = np.array([1, 0], np.float32)
    y = dwconv.conv2d(x, filters, strides=2, padding=1, bias=bias)
    assert y.shape == (1, 3, 3, 2)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for row, column, output in np.ndindex(3, 3, 2):
        window = padded[0, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        assert y[0, row, column, output] == np.sum(window * filters[..., output]) + bias[output]


def test_torchs_depthwise_separable_module_is_separable_conv2d() -> None:
    torch = pytest.importorskip("torch")
    x, depthwise, pointwise = random(2, 9, 8, 5), random(5, 1, 3, 3), random(7, 5, 1, 1)
    hidden = torch.nn.functional.conv2d(
        torch.from_numpy(x.transpose(0, 3, 1, 2).astype(np.float64)),
        torch.from_numpy(depthwise.astype(np.float64)), stride=2, padding=1, groups=5,
    )  # fmt: skip
    expected = torch.nn.functional.conv2d(hidden, torch.from_numpy(pointwise.astype(np.float64)))
    y = dwconv.separable_conv2d(
        x, depthwise.transpose(2, 3, 0, 1), pointwise.transpose(2, 3, 1, 0), strides=2, padding=1
    )
    np.testing.assert_allclose(y, expected.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)


def test_arguments_of_tensorflow_1_layers_have_counterparts() -> None:
    """filters, kernel_size and depth_multiplier are the shapes of the filters; use_bias is bias or None."""
    filters, kernel_size, depth_multiplier, use_bias = 6, (3, 5), 2, True
    y = dwconv.separable_conv2d(
        random(1, 8, 9, 4),
        random(*kernel_size, 4, depth_multiplier),
        random(1, 1, 4 * depth_multiplier, filters),
        strides=(1, 1),
        padding="same",
        data_format="NHWC",  # "channels_last"
        dilations=(2, 2),  # dilation_rate
        activation="relu",
        bias=np.zeros(filters, np.float32) if use_bias else None,
    )
    assert y.shape == (1, 8, 9, 6)
    assert y.min() == 0
