"""Filters of bytes with a zero point: weights that int8 does not hold."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import engine
from dwconv.nine_bits import as_bytes
from dwconv.quantized import signed_filters
from int8_layers import Q, assert_same
from oracles import backends, using


def test_signed_filters_are_those_of_tensorflow_lite_before_int8() -> None:
    filters = np.arange(256, dtype=np.uint8)
    assert_same(signed_filters(filters, 128), np.arange(-128, 128).astype(np.int8))
    assert_same(signed_filters(filters, 100), np.arange(-100, 156).astype(np.int16))
    assert_same(
        signed_filters(np.full((2, 3), 9, np.uint8), [0, 9, 255]), np.array([[9, 0, -246]] * 2, np.int16)
    )
    with pytest.raises(ValueError, match="zero_point must be an integer, or one for each"):
        signed_filters(filters, [1, 2])
    with pytest.raises(TypeError, match="filters must be uint8, not int8"):
        signed_filters(filters.view(np.int8), 100)


@pytest.mark.usefixtures("backend")
def test_blocks_of_wide_filters_are_their_layers() -> None:
    """As ONNX Runtime quantises by default: bytes with a zero point, of which a few do not fit int8."""
    rng = np.random.default_rng(5)
    shapes = {"expand": (4, 70), "depthwise": (3, 3, 70, 1), "project": (70, 4)}
    filters = {k: signed_filters(rng.integers(0, 256, s).astype(np.uint8), 126) for k, s in shapes.items()}
    filters["depthwise"][..., :40, :] //= 2  # of some channels all of them fit
    assert all(f.dtype == np.int16 for f in filters.values())
    common: dict[str, Any] = {"dtype": "uint8", "filter_scale": 0.004}
    stages = ((0.05, 128), (0.2, 100), (0.3, 90), (0.7, 128))
    given = [{"input_quantization": a, "output_quantization": b} for a, b in pairwise(stages)]
    x = rng.integers(0, 256, (2, 9, 11, 4)).astype(np.uint8)
    y = dwconv.PointwiseConv2D(filters["expand"], activation="relu6", **common, **given[0])(x)
    y = dwconv.DepthwiseConv2D(
        filters["depthwise"], padding="same", activation="relu6", **common, **given[1]
    )(y)
    y = dwconv.PointwiseConv2D(filters["project"], **common, **given[2])(y)
    block = dwconv.InvertedResidual(
        filters["expand"], filters["depthwise"], filters["project"], residual=False, **common,
        expand_filter_scale=0.004, depthwise_filter_scale=0.004, input_quantization=stages[0],
        expand_output_quantization=stages[1], depthwise_output_quantization=stages[2],
        output_quantization=stages[3],
    )  # fmt: skip
    assert_same(block(x), y)
    assert_same(pickle.loads(pickle.dumps(block))(x, num_threads=2), y)


@pytest.mark.parametrize("kind", ["depthwise", "conv"])
def test_c_takes_bytes_and_the_zero_points_that_give_the_weights(kind: str) -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(0, 256, (3, 3, 5, 2)).astype(np.int16)
    for zero in (113, rng.integers(0, 256, (5, 2) if kind == "depthwise" else 2)):
        numbers, zeros = as_bytes(kind, (weights - zero).astype(np.int16))
        assert numbers.dtype == np.uint8
        assert zeros is not None
        assert zeros.size == (1 if np.ndim(zero) == 0 else np.size(zero))
        shape = (5, 2) if kind == "depthwise" and zeros.size > 1 else zeros.shape
        assert_same(numbers - zeros.reshape(shape), (weights - zero).astype(np.int32))


@pytest.mark.parametrize("isa", [name for name in backends() if name != "numpy"])
def test_explanations_count_what_is_read_twice(isa: str) -> None:
    filters = np.zeros((3, 3, 96, 1), np.int16)
    filters[1, 1, 50] = 142
    quantized: dict[str, Any] = {
        "dtype": "int8", "filter_scale": 0.01, "input_quantization": Q, "output_quantization": Q,
    }  # fmt: skip
    pointwise = filters[1, 1] * np.ones((1, 3), np.int16)
    found = []
    with using(isa):
        for layer in (
            dwconv.DepthwiseConv2D(filters, **quantized),
            dwconv.PointwiseConv2D(pointwise, **quantized),
        ):
            plan = engine.create_plan(layer._operation)
            assert plan is not None
            (stage,) = plan.explain((1, 9, 9, 96))["stages"]
            found.append(stage.get("wide", 0))
    assert found == ([1, 1] if "vnni" in isa or "neon" in isa else [0, 0])
