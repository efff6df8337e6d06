"""Blocks: the very bits of the single operations, whatever the schedule."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv
from oracles import Case, backends, using

# Squeeze-and-excite by slices of channels and by bands of rows, with a multiplier, a stride, odd sizes.
GATED = [
    Case("inverted_residual", (2, 14, 13, 40), (5, 5), expanded=241, out_channels=40, squeezed=60),
    Case("inverted_residual", (1, 7, 7, 160), (3, 3), expanded=672, out_channels=160, squeezed=168),
    Case("inverted_residual", (3, 29, 31, 20), (3, 3), expanded=72, out_channels=33, squeezed=9),
    Case("inverted_residual", (1, 40, 37, 16), (3, 3), out_channels=16, squeezed=8),
    Case(
        "inverted_residual", (1, 33, 30, 9), (5, 3), multiplier=3, strides=(2, 1), out_channels=5, squeezed=2
    ),
]


# So wide that bands are walked down with some of their columns at a time: a residual, tails of channels,
# dilation, a multiplier, a stride that leaves columns out, columns that see nothing but padding.
WIDE = [
    Case("inverted_residual", (2, 13, 61, 9), (3, 3), expanded=470, out_channels=9, activation="relu6"),
    Case("inverted_residual", (1, 37, 147, 5), (5, 5), expanded=300, out_channels=19, strides=(2, 2)),
    Case("inverted_residual", (1, 11, 97, 3), (3, 3), expanded=421, out_channels=8, dilations=(3, 4)),
    Case("inverted_residual", (1, 9, 95, 6), (3, 2), expanded=260, out_channels=7, multiplier=2),
    Case(
        "inverted_residual",
        (1, 40, 185, 4),
        (9, 2),
        expanded=120,
        out_channels=4,
        strides=(1, 3),
        padding="valid",
    ),
    Case(
        "inverted_residual", (1, 6, 20, 4), (3, 3), expanded=600, out_channels=5, padding=((2, 0), (40, 37))
    ),
    Case("separable", (1, 5, 123, 64), (3, 5), multiplier=11, out_channels=21, activation="relu"),
]
# Of so many channels that one pass would have room for a row at a time: cut in slices of channels.
CRAMPED = [
    Case("inverted_residual", (2, 10, 10, 5), (7, 7), expanded=1690, out_channels=5, activation="relu6"),
    Case("inverted_residual", (1, 31, 17, 3), (7, 7), expanded=1111, out_channels=6, strides=(2, 1)),
    Case("inverted_residual", (1, 33, 35, 4), (9, 7), expanded=600, out_channels=4, activation="hard_swish"),
]


def parts(case: Case) -> np.ndarray:
    """The block out of single operations; sums as dwconv.h defines them."""
    arrays, activation = case.arrays, case.activation
    hidden = case.x
    if case.expanded:
        hidden = dwconv.pointwise_conv2d(
            hidden, arrays["expand_filter"], bias=arrays["expand_bias"], activation=activation
        )
    hidden = dwconv.depthwise_conv2d(
        hidden, arrays["depthwise_filter"], case.strides, case.padding, dilations=case.dilations,
        bias=arrays["depthwise_bias"], activation=activation,
    )  # fmt: skip
    if case.operation == "separable":
        return dwconv.pointwise_conv2d(
            hidden, arrays["pointwise_filter"], bias=arrays["bias"], activation=activation
        )
    if case.squeezed:
        hidden = hidden * gate(case, hidden)
    y = dwconv.pointwise_conv2d(hidden, arrays["project_filter"], bias=arrays["bias"])
    return y + case.x if y.shape == case.x.shape and case.strides == (1, 1) else y


def gate(case: Case, hidden: np.ndarray) -> np.ndarray:
    """The factor of every channel of every image."""
    arrays = case.arrays
    rows = hidden[:, :, 0].copy()
    for column in range(1, hidden.shape[2]):
        rows += hidden[:, :, column]
    mean = rows[:, 0].copy()
    for row in range(1, hidden.shape[1]):
        mean += rows[:, row]
    mean /= np.float32(hidden.shape[1] * hidden.shape[2])
    factors = mean[:, np.newaxis, np.newaxis]
    for name, activation in (("reduce", case.squeeze_activation), ("restore", case.gate_activation)):
        factors = dwconv.pointwise_conv2d(
            factors, arrays[f"{name}_filter"], bias=arrays[f"{name}_bias"], activation=activation
        )
    return factors


@pytest.mark.parametrize("backend", backends()[:-1])
@pytest.mark.parametrize("case", GATED + WIDE + CRAMPED, ids=lambda case: "x".join(map(str, case.shape)))
def test_blocks_have_the_bits_of_their_parts(case: Case, backend: str) -> None:
    with using(backend):
        layer, expected = case.layer(), parts(case)
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(layer(case.x, num_threads=threads), expected)


@pytest.mark.usefixtures("backend")
def test_factors_scale_the_channels_of_their_own_image() -> None:
    """Depthwise and projection pass x on; the factor of a channel is the mean of the other one."""
    x = np.zeros((2, 2, 3, 2), np.float32)
    x[0, :, :, 0], x[0, :, :, 1], x[1, :, :, 0] = 2, 3, 5
    one, swap = np.ones((1, 1, 2, 1), np.float32), np.eye(2, dtype=np.float32)[::-1]
    identity = np.eye(2, dtype=np.float32)
    y = dwconv.inverted_residual(
        x, None, one, identity, activation=None, residual=False, squeeze_activation=None,
        gate_activation=None, squeeze_excite=(swap, None, identity, None),
    )  # fmt: skip
    np.testing.assert_array_equal(y[0], np.broadcast_to(np.float32(6), (2, 3, 2)))
    np.testing.assert_array_equal(y[1], np.zeros((2, 3, 2)))


@pytest.mark.usefixtures("backend")
def test_layers_keep_what_they_were_given() -> None:
    case = Case("inverted_residual", (1, 5, 5, 4), squeezed=3)
    layer = case.layer()
    assert [a.shape for a in layer.squeeze_excite] == [(1, 1, 4, 3), (3,), (1, 1, 3, 4), (4,)]
    assert "squeeze_excite=(<1x1x4x3 float32>, <3 float32>, <1x1x3x4 float32>, <4 float32>)" in repr(layer)
    assert Case("inverted_residual", (1, 5, 5, 4)).layer().squeeze_excite is None
    assert layer.output_shape((2, 9, 8, 4)) == (2, 9, 8, 4)


@pytest.mark.parametrize("backend", backends()[:-1])
def test_outputs_that_are_not_kept_are_computed_again_to_the_same_bits(backend: str) -> None:
    """What depthwise gives here is more than the 16 MB that are kept."""
    case = Case(
        "inverted_residual", (1, 129, 131, 24), (3, 3), expanded=300, out_channels=24, squeezed=6,
        activation="relu6",
    )  # fmt: skip
    with using(backend):
        layer, expected = case.layer(), parts(case)
        for threads in (1, 2):
            np.testing.assert_array_equal(layer(case.x, num_threads=threads), expected)
