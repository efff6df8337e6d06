"""Scratch memory of blocks: bounded, whatever the height of the image."""

from __future__ import annotations

import pytest

from dwconv.engine import create_plan
from dwconv.explain import parse
from oracles import backends, using

MEGABYTE = 2**20
# H W C N K S and H W CIN E COUT K S: the largest blocks of MobileNetV1 and V2, EfficientNet-B0 and Xception,
# at the sizes they see in images of up to 1024x1024.
BLOCKS = (
    "separable 512 512 32 64 3 1",
    "separable 512 512 64 128 3 2",
    "separable 256 256 128 256 3 1",
    "separable 74 74 256 728 3 1",
    "separable 32 32 728 1024 3 1",
    "inverted_residual 512 512 32 0 16 3 1",
    "inverted_residual 512 512 16 96 24 3 2",
    "inverted_residual 256 256 24 144 24 3 1",
    "inverted_residual 256 256 24 144 40 5 2",
    "inverted_residual 128 128 40 240 80 3 2",
    "inverted_residual 64 64 80 480 112 5 1",
    "inverted_residual 32 32 192 1152 320 3 1",
    "inverted_residual 32 32 160 960 160 5 1",
)
native = pytest.mark.parametrize("backend", [backend for backend in backends() if backend != "numpy"])


def scratch(words: str, threads: int = 1) -> int:
    operation, x = parse(words.split())
    plan = create_plan(operation)
    assert plan is not None
    return int(plan.scratch_size(x, threads))


@native
@pytest.mark.parametrize("words", BLOCKS)
def test_blocks_need_less_than_a_megabyte_per_thread(words: str, backend: str) -> None:
    with using(backend):
        sizes = {threads: scratch(words, threads) for threads in (1, 2, 5)}
    for threads, size in sizes.items():
        assert 0 < size < threads * MEGABYTE


@native
def test_scratch_does_not_grow_with_the_height_of_an_image(backend: str) -> None:
    with using(backend):
        low, high = (scratch(f"inverted_residual {height} 64 24 144 24 3 1") for height in (64, 4096))
    assert low == high


@native
@pytest.mark.parametrize("words", ["56 56 24 144 24 3 1", "14 14 112 672 112 5 1", "112 112 32 0 16 3 1"])
def test_squeeze_and_excite_needs_the_output_of_depthwise_besides(words: str, backend: str) -> None:
    height, width, channels, expanded = (int(word) for word in words.split()[:4])
    wide = expanded or channels
    kept = height * width * (wide + 16) * 4
    with using(backend):
        size = scratch(f"inverted_residual {words} 8")
    assert size < kept + MEGABYTE
