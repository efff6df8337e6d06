"""Small quantized layers for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

import dwconv

KINDS = ("mixed", "extremes", "ties")  # of int8_oracle.random_case
Q = (0.05, 3)


def assert_same(y: np.ndarray, expected: np.ndarray) -> None:
    assert y.dtype == expected.dtype
    assert np.array_equal(y, expected)


def depthwise(**more: Any) -> dwconv.DepthwiseConv2D:
    given = {
        "bias": [100, -200, 300], "padding": "same", "dtype": "int8", "filter_scale": 0.01,
        "input_quantization": Q, "output_quantization": (0.1, -7),
    }  # fmt: skip
    filters = np.random.default_rng(0).integers(-128, 128, (3, 3, 3, 1)).astype(np.int8)
    return dwconv.DepthwiseConv2D(filters, **(given | more))


def image(dtype: Any = np.int8, shape: tuple[int, ...] = (2, 7, 9, 3)) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(1).integers(limits.min, limits.max + 1, shape).astype(dtype)


def block(dtype: str = "int8", wide: Any = np.int8, **more: Any) -> dwconv.InvertedResidual:
    shift = 128 if dtype == "uint8" else 0
    given = {
        "dtype": dtype, "expand_filter_scale": 0.01, "depthwise_filter_scale": 0.008, "filter_scale": 0.01,
        "input_quantization": (0.05, 3 + shift), "expand_output_quantization": (0.03, -128 + shift),
        "depthwise_output_quantization": (0.025, -110 + shift), "output_quantization": (0.08, 7 + shift),
        "sum_quantization": (0.1, -5 + shift),
    }  # fmt: skip
    return dwconv.InvertedResidual(
        image(shape=(4, 18)), image(shape=(3, 3, 18, 1)).astype(wide), image(shape=(18, 4)), **(given | more)
    )
