"""The same bits for every thread count, batch size, layout and way of calling."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import OPERATIONS, Case, backends, using
from shapes import cases


def large(operation: str) -> Case:
    """Enough work that threads are woken for it."""
    extra = {"expanded": 96} if operation == "inverted_residual" else {}
    return Case(operation, (2, 61, 57, 48), (3, 3), out_channels=48, activation="silu", seed=7, **extra)


SMALL = [  # images whose channels are shared, with and without squeeze-and-excite
    Case(
        "inverted_residual", (1, 14, 13, 40), (5, 5), expanded=241, out_channels=40, squeezed=squeezed, seed=8
    )
    for squeezed in (0, 60)
]
SHARES = [  # shares that end within a panel of weights, and gates that workers share
    Case("inverted_residual", (1, 14, 14, 48), (5, 5), expanded=144, out_channels=48, squeezed=40, seed=9),
    Case("inverted_residual", (1, 14, 14, 80), (3, 3), expanded=200, out_channels=80, seed=10),
    Case(
        "inverted_residual", (1, 28, 28, 40), (3, 3), strides=(2, 2), expanded=248, out_channels=80, seed=11
    ),
    Case("inverted_residual", (1, 7, 7, 96), (5, 5), expanded=576, out_channels=96, squeezed=144, seed=12),
]
CASES = [c for c in cases() if c.shape[0]] + [large(operation) for operation in OPERATIONS] + SMALL + SHARES
pytestmark = [
    pytest.mark.parametrize("backend", backends()),
    pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.operation}-{c.seed}-{c.shape[3]}"),
]


def assert_same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert a.shape == b.shape
    np.testing.assert_array_equal(
        np.ascontiguousarray(a).view(np.uint32), np.ascontiguousarray(b).view(np.uint32)
    )


def spread(x: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """The same values as a crop of a slice of channels at an odd address, surrounded by `fill`."""
    n, h, w, c = x.shape
    memory = np.full((n, h + 3, w + 2, c + 5), fill, np.float32)
    view = memory[:, 1:-2, 1:-1, 3:-2]
    view[...] = x
    return view


def test_thread_counts_give_the_same_bits(case: Case, backend: str) -> None:
    with using(backend):
        layer = case.layer()
        one = layer(case.x, num_threads=1)
        for threads in (2, 3):
            assert_same_bits(one, layer(case.x, num_threads=threads))


def test_functions_and_layers_give_the_same_bits(case: Case, backend: str) -> None:
    with using(backend):
        assert_same_bits(case.call(), case.layer()(case.x))


def test_batches_give_the_bits_of_single_images(case: Case, backend: str) -> None:
    if backend == "numpy":
        pytest.skip("matrix products of different sizes may be summed differently by NumPy")
    x = np.concatenate([case.x, case.x[::-1], case.x])
    with using(backend):
        layer = case.layer()
        whole = layer(x)
        for i in range(len(x)):
            assert_same_bits(whole[i : i + 1], layer(x[i : i + 1]))


def test_input_layouts_give_the_same_bits(case: Case, backend: str) -> None:
    if backend == "numpy":
        pytest.skip("matrix products of different layouts may be summed differently by NumPy")
    with using(backend):
        layer = case.layer()
        dense = layer(case.x)
        assert_same_bits(dense, layer(spread(case.x)))
        flipped = np.ascontiguousarray(case.x[::-1, ::-1, ::-1])[::-1, ::-1, ::-1]
        assert_same_bits(dense, layer(flipped))
        rotated = np.ascontiguousarray(case.x.transpose(2, 1, 0, 3)).transpose(2, 1, 0, 3)
        assert_same_bits(dense, layer(rotated))


def test_outputs_are_written_in_place_and_nowhere_else(case: Case, backend: str) -> None:
    with using(backend):
        layer = case.layer()
        dense = layer(case.x)
        out = spread(np.zeros_like(dense), fill=-123.25)
        memory = out.base
        assert isinstance(memory, np.ndarray)
        assert layer(case.x, out=out) is out
    assert_same_bits(dense, out)
    out[...] = -123.25
    assert np.all(memory == -123.25)


def test_repeated_calls_give_the_same_bits(case: Case, backend: str) -> None:
    with using(backend):
        layer = case.layer()
        assert_same_bits(layer(case.x), layer(case.x))
