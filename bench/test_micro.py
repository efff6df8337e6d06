"""Micro-benchmarks for pytest-benchmark: what a call costs on tiny tensors, and every kernel on a small one.

    pytest bench/test_micro.py --benchmark-save=before
    pytest bench/test_micro.py --benchmark-compare=before
    pytest-benchmark compare

They assert nothing and are no part of the test suite: runs of one machine are compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.config import _force

pytest.importorskip("pytest_benchmark")

ISAS = dwconv.config()["isas_available"] if dwconv.config()["backend"] == "native" else []
Benchmark = Callable[..., None]


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def depthwise(channels: int, kernel: int, stride: int = 1, dilation: int = 1, multiplier: int = 1) -> Any:
    filters = values(kernel, kernel, channels, multiplier)
    return dwconv.DepthwiseConv2D(
        filters, strides=stride, padding="same", dilations=dilation, activation="relu6"
    )


def run(benchmark: Benchmark, layer: Any, *input_shape: int) -> None:
    x = values(*input_shape)
    out = np.empty(layer.output_shape(x.shape), np.float32)
    benchmark(layer, x, out, 1)


TINY: dict[str, Callable[[], Any]] = {
    "depthwise": lambda: depthwise(8, 3),
    "pointwise": lambda: dwconv.PointwiseConv2D(values(8, 8)),
    "conv": lambda: dwconv.Conv2D(values(3, 3, 8, 8), padding="same"),
    "separable": lambda: dwconv.SeparableConv2D(values(3, 3, 8, 1), values(8, 8), padding="same"),
    "inverted_residual": lambda: dwconv.InvertedResidual(values(8, 16), values(3, 3, 16, 1), values(16, 8)),
}


@pytest.mark.parametrize("operation", TINY)
def test_call_overhead(benchmark: Benchmark, operation: str) -> None:
    """A layer call with `out=` on a 2x2 image: nearly all of it is the way to the kernel and back."""
    run(benchmark, TINY[operation](), 1, 2, 2, 8)


def test_call_overhead_of_a_new_output(benchmark: Benchmark) -> None:
    benchmark(depthwise(8, 3), values(1, 2, 2, 8))


def test_function_overhead(benchmark: Benchmark) -> None:
    """The function packs its filter on every call."""
    benchmark(dwconv.depthwise_conv2d, values(1, 2, 2, 8), values(3, 3, 8, 1), padding="same")


# Kernel size, stride, dilation, multiplier: the rows of the kernel table, then the kernel of any window.
DEPTHWISE = [
    *((size, stride, 1, 1) for size in (3, 5, 7) for stride in (1, 2)),
    *((4, 1, 1, 1), (9, 1, 1, 1), (3, 1, 2, 1), (3, 1, 1, 4), (3, 3, 1, 1)),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [64, 24, 3])
@pytest.mark.parametrize(("kernel", "stride", "dilation", "multiplier"), DEPTHWISE)
def test_depthwise(
    benchmark: Benchmark, isa: str, channels: int, kernel: int, stride: int, dilation: int, multiplier: int
) -> None:
    with _force(isa=isa):
        run(benchmark, depthwise(channels, kernel, stride, dilation, multiplier), 1, 28, 28, channels)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("outputs", [8, 16, 24, 32, 48, 64, 96, 17])
@pytest.mark.parametrize("inputs", [16, 128])
def test_pointwise(benchmark: Benchmark, isa: str, inputs: int, outputs: int) -> None:
    """Every width of panel, alone and in sums of panels."""
    with _force(isa=isa):
        run(benchmark, dwconv.PointwiseConv2D(values(inputs, outputs)), 1, 14, 14, inputs)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("channels", [3, 16])
def test_conv(benchmark: Benchmark, isa: str, channels: int) -> None:
    """The first layer of a network, and a dense one inside."""
    with _force(isa=isa):
        layer = dwconv.Conv2D(values(3, 3, channels, 32), strides=2, padding="same", activation="relu6")
        run(benchmark, layer, 1, 32, 32, channels)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "activation", ["relu6", "hard_swish", "sigmoid", "silu", "tanh", "gelu", "gelu_tanh"]
)
def test_activation(benchmark: Benchmark, isa: str, activation: Any) -> None:
    """In the epilogue of the cheapest convolution there is: a depthwise 1x1."""
    with _force(isa=isa):
        run(benchmark, dwconv.DepthwiseConv2D(values(1, 1, 64, 1), activation=activation), 1, 28, 28, 64)
