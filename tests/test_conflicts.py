"""Pixels a power of two apart: kernels that work on copies of rows give the bits of those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from oracles import backends, using

SAME: Any = "same"
IMAGES = [  # shape, kernel, stride, padding, dilation
    ((2, 7, 7, 1024), 3, 1, "valid", 1),
    ((1, 20, 20, 512), 3, 1, ((0, 5), (3, 0)), 1),
    ((1, 14, 13, 512), 3, 2, SAME, 1),
    ((1, 5, 29, 512), 3, 2, SAME, 1),
    ((1, 9, 13, 512), 3, 1, SAME, 2),
    ((1, 11, 9, 256), 5, 1, ((3, 1), (2, 2)), 1),
    ((1, 14, 14, 512), 5, 2, SAME, 1),
    ((1, 9, 15, 384), 7, 1, SAME, 1),
    ((1, 2, 3, 1024), 3, 1, SAME, 1),
    ((1, 7, 33, 256), 5, 1, SAME, 1),
    ((1, 4, 40, 512), 5, 2, SAME, 1),
    ((1, 5, 30, 256), 7, 1, ((3, 3), (20, 25)), 1),
    ((1, 36, 31, 1024), 5, 1, SAME, 1),
    ((1, 33, 35, 1024), (5, 3), 2, SAME, 1),
    # windows without tiles of their own
    ((1, 17, 17, 1024), 9, 2, SAME, 1),
    ((2, 14, 13, 512), (7, 1), 1, SAME, 1),
    ((1, 9, 20, 512), (1, 9), 1, "valid", 1),
    ((1, 11, 12, 512), 5, 1, SAME, 2),
    ((1, 20, 14, 512), 6, 1, ((0, 2), (7, 1)), 1),
    ((1, 13, 28, 256), 7, 2, ((5, 0), (2, 9)), 1),
    ((1, 12, 24, 1024), (3, 8), (1, 2), SAME, 1),
    ((1, 14, 14, 512), 4, 1, SAME, 3),
    # sequences: whole lines, copied, as columns
    ((2, 1, 37, 512), (1, 3), 1, SAME, 3),
    ((1, 1, 50, 512), (1, 3), 2, SAME, 1),
    ((1, 1, 40, 1024), (1, 3), 1, SAME, 11),
    ((1, 1, 90, 512), (1, 9), 1, ((0, 0), (2, 11)), 1),
    ((1, 61, 1, 512), (4, 1), 1, SAME, 2),
    ((1, 70, 1, 256), (31, 1), 1, SAME, 1),
]


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "dilation"), IMAGES, ids=lambda v: str(v).replace(" ", "")
)
def test_copied_rows_change_no_bit(
    shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any, dilation: int, backend: str
) -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal(shape, np.float32)
    height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    filters = generator.standard_normal((height, width, shape[3], 1), np.float32)

    def convolved(image: np.ndarray, begin: int, end: int) -> np.ndarray:
        return dwconv.depthwise_conv2d(
            image, filters[:, :, begin:end].copy(), stride, padding, dilations=dilation, activation="silu"
        ).view(np.uint32)

    with using(backend):
        whole = convolved(x, 0, shape[3])
        for begin, end in ((0, 24), (8, 72), (5, 45), (0, shape[3] - 3)):
            part = x[..., begin:end]  # as far apart, but not all channels
            dense = convolved(part.copy(), begin, end)
            np.testing.assert_array_equal(convolved(part, begin, end), dense)
            np.testing.assert_array_equal(whole[..., begin:end], dense)
