"""TensorFlow, whose definitions these operations have, agrees; skipped where it is not installed."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import Case, backends, using
from shapes import cases

tf = pytest.importorskip("tensorflow")


def tensorflow_result(case: Case) -> np.ndarray:
    """Without bias and activation, in float64."""
    arrays = {name: tf.constant(array.astype(np.float64)) for name, array in case.arrays.items()}
    strides, padding = [1, *case.strides, 1], case.padding.upper()
    if case.operation == "depthwise":
        y = tf.nn.depthwise_conv2d(arrays["x"], arrays["filters"], strides, padding, dilations=case.dilations)
    elif case.operation == "separable":
        filters = arrays["depthwise_filter"], arrays["pointwise_filter"]
        y = tf.nn.separable_conv2d(arrays["x"], *filters, strides, padding, dilations=case.dilations)
    else:
        y = tf.nn.conv2d(arrays["x"], arrays["filters"], strides, padding, dilations=[1, *case.dilations, 1])
    return y.numpy()


def tensorflow_computes(case: Case) -> bool:
    """No explicit padding in depthwise, equal strides only, and no dilation together with a stride."""
    dilated, strided = case.dilations != (1, 1), case.strides != (1, 1)
    return (
        case.operation in ("depthwise", "separable", "conv")
        and isinstance(case.padding, str)
        and case.groups == 1
        and case.shape[0] > 0
        and case.strides[0] == case.strides[1]
        and not (dilated and strided)
    )


PLAIN = [
    Case(c.operation, c.shape, c.kernel, c.multiplier, c.out_channels, strides=c.strides, padding=c.padding,
         dilations=c.dilations, bias=False, seed=c.seed)
    for c in cases()
    if tensorflow_computes(c)
]  # fmt: skip


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("case", PLAIN, ids=lambda c: f"{c.operation}-{c.seed}")
def test_operations_match_tensorflow(case: Case, backend: str) -> None:
    expected = tensorflow_result(case)
    _, bound = case.expected()
    with using(backend):
        y = case.call()
    assert y.shape == expected.shape
    assert np.all(np.abs(y - expected) <= bound)
