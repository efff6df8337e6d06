"""Feature maps beyond the caches: stores past them and lines fetched ahead change no bit of a result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dwconv.engine import create_plan
from dwconv.explain import parse
from oracles import Case, backends, using

NATIVE = [backend for backend in backends() if backend != "numpy"]
IMAGE = (1, 41, 61)
CASES = {
    "rolling rows": Case("depthwise", (*IMAGE, 64), (3, 3), activation="relu6"),
    "rolling rows, stride 2": Case("depthwise", (*IMAGE, 64), (3, 3), strides=(2, 2)),
    "rolling rows, hard_swish": Case("depthwise", (*IMAGE, 64), (3, 3), activation="hard_swish"),
    "lines and halves": Case("depthwise", (*IMAGE, 72), (3, 3)),
    "tiles": Case("depthwise", (*IMAGE, 64), (5, 5)),
    "two panels": Case("pointwise", (*IMAGE, 64), out_channels=96),
    "a partial panel, silu": Case("pointwise", (*IMAGE, 67), out_channels=81, activation="silu"),
    "separable": Case("separable", (*IMAGE, 64), (3, 3), out_channels=80),
}
MAXIMUM = 2**28  # bytes of input; caches of which that is not three eighths are not met


def aligned(shape: tuple[int, ...], offset: int) -> np.ndarray:
    """NaN, `offset` floats after the start of a cache line."""
    memory = np.full(np.prod(shape) + 32, np.nan, np.float32)
    first = -memory.__array_interface__["data"][0] % 64 // 4 + offset
    return memory[first : first + np.prod(shape)].reshape(shape)


def goes_beyond_the_caches(told: dict[str, Any]) -> bool:
    return bool(told["streams_output"] if "streams_output" in told else told["prefetches_output"])


def images_beyond_the_caches(layer: Any, image: tuple[int, ...]) -> int:
    images = 4
    while not goes_beyond_the_caches(layer._plan.explain((images, *image))):
        images *= 2
        if images * np.prod(image) * 4 > MAXIMUM:
            return 4  # none are: this kernel keeps to the caches, or they are too large to be met here
    return images


@pytest.mark.parametrize("backend", NATIVE)
@pytest.mark.parametrize("name", CASES)
def test_a_large_batch_gives_what_its_images_give(name: str, backend: str) -> None:
    case = CASES[name]
    with using(backend):
        layer = case.layer()
        count = images_beyond_the_caches(layer, case.shape[1:])
        x = np.random.default_rng(5).standard_normal((count, *case.shape[1:]), np.float32)
        image = layer(x[count - 1 :], num_threads=1)
        for offset, threads in ((0, 1), (0, 2), (1, 3)):
            y = layer(x, out=aligned(layer.output_shape(x.shape), offset), num_threads=threads)
            np.testing.assert_array_equal(y[-1:], image)
            assert not np.isnan(y).any()
            if offset == 0 and threads == 1:
                first = y.copy()
            np.testing.assert_array_equal(y, first)


def is_far(words: str) -> bool:
    operation, x = parse(words.split())
    plan = create_plan(operation)
    assert plan is not None
    return goes_beyond_the_caches(plan.explain(x))


@pytest.mark.skipif("avx2" not in NATIVE, reason="vectors that are half a cache line")
def test_only_outputs_of_many_channels_in_whole_lines_pass_the_caches() -> None:
    with using("avx2"):
        assert is_far("depthwise 2048 2048 64 3 1")
        assert is_far("depthwise 2048 2048 64 3 2")
        assert not is_far("depthwise 2048 2048 32 3 1")
        assert not is_far("depthwise 2048 2048 72 3 1")
        assert not is_far("depthwise 2048 2048 64 5 1")
        assert not is_far("depthwise 1024 1024 272 3 1")


@pytest.mark.skipif("avx512" not in NATIVE, reason="vectors that are cache lines")
def test_only_outputs_of_whole_lines_pass_the_caches() -> None:
    with using("avx512"):
        assert is_far("depthwise 2048 2048 64 3 1")
        assert not is_far("depthwise 2048 2048 72 3 1")
        assert not is_far("depthwise 2048 2048 64 5 1")
        assert is_far("pointwise 2048 2048 64 64")
        assert not is_far("pointwise 2048 2048 32 64")
        assert not is_far("depthwise 56 56 64 3 1")
    with using("baseline"):
        assert not is_far("depthwise 2048 2048 64 3 1")


@pytest.mark.parametrize("backend", NATIVE)
def test_large_new_arrays_are_aligned_to_cache_lines(backend: str) -> None:
    case = CASES["rolling rows"]
    with using(backend):
        layer = case.layer()
        for images in (1, 2, 3):
            y = layer(np.zeros((images, *case.shape[1:]), np.float32))
            assert y.__array_interface__["data"][0] % 64 == 0
            assert y.flags.c_contiguous
            assert y.flags.writeable
