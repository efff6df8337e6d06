"""Errors of layouts that do not fit name the one that would; what they suggest is tried here."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dwconv

F4 = np.float32
pytestmark = pytest.mark.filterwarnings("ignore::dwconv.PerformanceWarning")  # views that are transposed
X = (1, 12, 11, 8)
NCHW = (1, 8, 12, 11)
PYTORCH = "PyTorch's [outputs, channels / groups, kernel height, kernel width]"
PYTORCH_DEPTHWISE = "PyTorch's [channels, 1, kernel height, kernel width]"
PYTORCH_MULTIPLIER = "PyTorch's [channels * multiplier, 1, kernel height, kernel width]"
TFLITE = "TensorFlow Lite's [outputs, kernel height, kernel width, channels]"


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, F4)


def call(operation: str, arguments: dict[str, Any]) -> np.ndarray:
    """A function, or a layer where the name is that of one."""
    if operation[0].islower():
        return getattr(dwconv, operation)(**arguments)
    x = arguments["x"]
    return getattr(dwconv, operation)(**{k: v for k, v in arguments.items() if k != "x"})(x)


def remedies(message: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The arguments after each of the suggestions of a message."""
    found = []
    for suggestion in re.findall(r"; (?:if .+?, )?pass (.+?)(?=; if |$)", message):
        changed = dict(arguments)
        for action in suggestion.replace(" (or data_format='NCHW')", "").split(" and "):
            if action == "it without data_format":
                del changed["data_format"]
            elif action.startswith("groups="):
                changed["groups"] = int(action.removeprefix("groups="))
            else:
                name = re.split(r"[.\[]", action)[0]
                changed[name] = eval(action, {"np": np, name: changed[name]})
        found.append(changed)
    return found


# operation, shapes of arrays, other arguments, the end of the message
CASES: list[tuple[str, dict[str, tuple[int, ...]], dict[str, Any], str]] = [
    ("depthwise_conv2d", {"x": NCHW, "filters": (3, 3, 8, 1)}, {},
     "; if x is NCHW, pass x.transpose(0, 2, 3, 1) (or data_format='NCHW')"),
    ("DepthwiseConv2D", {"x": NCHW, "filters": (3, 3, 8, 1)}, {},
     "; if x is NCHW, pass x.transpose(0, 2, 3, 1)"),
    ("depthwise_conv2d", {"x": (12, 11, 8, 4), "filters": (3, 3, 8, 1)}, {},
     "; if x is [height, width, channels, batch], pass x.transpose(3, 0, 1, 2)"),
    ("depthwise_conv2d", {"x": X, "filters": (8, 1, 3, 3)}, {},
     f"; if filters are {PYTORCH_DEPTHWISE}, pass filters.transpose(2, 3, 0, 1)"),
    ("DepthwiseConv2D", {"x": X, "filters": (16, 1, 3, 3)}, {},
     f"; if filters are {PYTORCH_MULTIPLIER}, pass filters.reshape(8, 2, 3, 3).transpose(2, 3, 0, 1)"),
    ("depthwise_conv2d", {"x": X, "filters": (8, 1, 3, 3), "bias": (8,)}, {},
     f"; if filters are {PYTORCH_DEPTHWISE}, pass filters.transpose(2, 3, 0, 1)"),
    ("depthwise_conv2d", {"x": NCHW, "filters": (8, 1, 3, 3)}, {},
     f"; if x is NCHW and filters are {PYTORCH_DEPTHWISE}, pass x.transpose(0, 2, 3, 1) "
     "(or data_format='NCHW') and filters.transpose(2, 3, 0, 1)"),
    ("depthwise_conv2d", {"x": X, "filters": (3, 3, 2, 8)}, {},
     "; if filters are [kernel height, kernel width, multiplier, channels], pass filters.swapaxes(2, 3)"),
    ("depthwise_conv2d", {"x": X, "filters": (1, 3, 3, 16)}, {},
     "; if filters are TensorFlow Lite's [1, kernel height, kernel width, channels * multiplier], "
     "pass filters.reshape(3, 3, 8, 2)"),
    ("depthwise_conv2d", {"x": X, "filters": (3, 3, 8)}, {},
     "; if filters are [kernel height, kernel width, channels], pass filters[..., np.newaxis]"),
    ("depthwise_conv2d", {"x": X, "filters": (3, 3, 8, 1), "bias": (1, 1, 1, 8)}, {},
     "; pass bias.reshape(-1)"),
    ("conv2d", {"x": X, "filters": (6, 8, 3, 3)}, {},
     f"; if filters are {PYTORCH}, pass filters.transpose(2, 3, 1, 0)"),
    ("Conv2D", {"x": X, "filters": (6, 8, 3, 3), "bias": (6,)}, {},
     f"; if filters are {PYTORCH}, pass filters.transpose(2, 3, 1, 0)"),
    ("conv2d", {"x": NCHW, "filters": (6, 8, 3, 3)}, {},
     f"; if x is NCHW and filters are {PYTORCH}, pass x.transpose(0, 2, 3, 1) (or data_format='NCHW') "
     "and filters.transpose(2, 3, 1, 0)"),
    ("conv2d", {"x": X, "filters": (6, 4, 3, 3)}, {"groups": 2},
     f"; if filters are {PYTORCH}, pass filters.transpose(2, 3, 1, 0)"),
    ("conv2d", {"x": X, "filters": (6, 3, 3, 8)}, {},
     f"; if filters are {TFLITE}, pass filters.transpose(1, 2, 3, 0)"),
    ("conv2d", {"x": X, "filters": (3, 3, 6, 8)}, {},
     "; if filters are [kernel height, kernel width, outputs, channels / groups], "
     "pass filters.swapaxes(2, 3)"),
    ("conv2d", {"x": (1, 12, 11, 3), "filters": (32, 3, 3, 3)}, {},
     f"; if filters are {PYTORCH}, pass filters.transpose(2, 3, 1, 0); if filters are {TFLITE}, pass "
     "filters.transpose(1, 2, 3, 0)"),
    ("conv2d", {"x": X, "filters": (3, 3, 1, 16)}, {},
     "; if every channel has filters of its own, pass groups=8"),
    ("conv2d", {"x": X, "filters": (3, 3, 8, 2)}, {"data_format": "NCHW"},
     "; if x is NHWC already, pass it without data_format"),
    ("pointwise_conv2d", {"x": X, "filters": (6, 8)}, {},
     "; if filters are [outputs, channels], pass filters.swapaxes(-2, -1)"),
    ("PointwiseConv2D", {"x": X, "filters": (6, 8), "bias": (6,)}, {},
     "; if filters are [outputs, channels], pass filters.swapaxes(-2, -1)"),
    ("pointwise_conv2d", {"x": X, "filters": (6, 8, 1, 1)}, {},
     "; if filters are PyTorch's [outputs, channels, 1, 1], pass filters.transpose(2, 3, 1, 0)"),
    ("pointwise_conv2d", {"x": X, "filters": (6, 1, 1, 8)}, {},
     "; if filters are TensorFlow Lite's [outputs, 1, 1, channels], pass filters.transpose(1, 2, 3, 0)"),
    ("pointwise_conv2d", {"x": X, "filters": (1, 8, 6)}, {},
     "; if filters are [1, channels, outputs], pass filters[0]"),
    ("separable_conv2d", {"x": X, "depthwise_filter": (8, 1, 3, 3), "pointwise_filter": (6, 8)}, {},
     f"; if depthwise_filter is {PYTORCH_DEPTHWISE} and pointwise_filter is [outputs, channels], pass "
     "depthwise_filter.transpose(2, 3, 0, 1) and pointwise_filter.swapaxes(-2, -1)"),
    ("SeparableConv2D", {"x": NCHW, "depthwise_filter": (3, 3, 8, 1), "pointwise_filter": (8, 6)}, {},
     "; if x is NCHW, pass x.transpose(0, 2, 3, 1)"),
    ("inverted_residual",
     {"x": X, "expand_filter": (16, 8), "depthwise_filter": (3, 3, 16, 1), "project_filter": (16, 8)}, {},
     "; if expand_filter is [outputs, channels], pass expand_filter.swapaxes(-2, -1)"),
    ("inverted_residual",
     {"x": X, "expand_filter": (8, 16), "depthwise_filter": (16, 1, 3, 3), "project_filter": (16, 8)}, {},
     f"; if depthwise_filter is {PYTORCH_DEPTHWISE}, pass depthwise_filter.transpose(2, 3, 0, 1)"),
    ("depthwise_conv2d", {"x": (12, 11, 8), "filters": (3, 3, 8, 1)}, {},
     "; if x is one image [height, width, channels], pass x[np.newaxis]"),
    ("DepthwiseConv2D", {"x": (8, 12, 11), "filters": (3, 3, 8, 1)}, {},
     "; if x is one image [channels, height, width], pass x.transpose(1, 2, 0)[np.newaxis]"),
    ("conv2d", {"x": (8, 12, 11), "filters": (3, 3, 8, 2)}, {"data_format": "NCHW"},
     "; if x is one image [channels, height, width], pass x[np.newaxis]"),
    ("conv2d", {"x": (12, 11, 8), "filters": (3, 3, 8, 2)}, {"data_format": "NCHW"},
     "; if x is one image [height, width, channels], pass x.transpose(2, 0, 1)[np.newaxis]"),
    ("conv2d", {"x": (5, 12, 11), "filters": (3, 3, 1, 2)}, {},
     "; if x is [batch, height, width], without channels, pass x[..., np.newaxis]"),
    ("conv2d", {"x": (12, 11), "filters": (3, 3, 1, 2)}, {},
     "; if x is one image [height, width], pass x[np.newaxis, ..., np.newaxis]"),
    ("pointwise_conv2d", {"x": (4, 8), "filters": (8, 6)}, {},
     "; if x is [batch, channels], pass x[:, np.newaxis, np.newaxis]"),
    ("depthwise_conv2d", {"x": (2, 12, 8), "filters": (1, 3, 8, 1)}, {},
     "; if x is one image [height, width, channels], pass x[np.newaxis]; if x is sequences "
     "[batch, length, channels], pass x[:, np.newaxis]"),
    ("conv2d", {"x": (2, 3, 12, 11, 8), "filters": (3, 3, 8, 2)}, {},
     "; if x is batches of several images, pass x.reshape(-1, *x.shape[2:])"),
]  # fmt: skip


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize(
    ("operation", "shapes", "extra", "suggestion"), CASES, ids=lambda value: str(value)[:60]
)
def test_errors_name_the_layout_that_fits(
    operation: str, shapes: dict[str, tuple[int, ...]], extra: dict[str, Any], suggestion: str
) -> None:
    arguments = {name: ones(*shape) for name, shape in shapes.items()} | extra
    with pytest.raises(ValueError, match=f"{re.escape(suggestion)}$") as error:
        call(operation, arguments)
    assert str(error.value).startswith(operation)
    changed = remedies(str(error.value), arguments)
    assert len(changed) == suggestion.count("pass ")
    for attempt in changed:
        call(operation, attempt)


NO_SUGGESTION: list[tuple[str, dict[str, tuple[int, ...]], dict[str, Any]]] = [
    ("depthwise_conv2d", {"x": X, "filters": (3, 3, 5, 1)}, {}),
    ("conv2d", {"x": X, "filters": (3, 3, 5, 2)}, {}),
    ("depthwise_conv2d", {"x": (1, 8, 2, 11), "filters": (3, 3, 8, 1)}, {}),  # NCHW, and too small
    ("conv2d", {"x": X, "filters": (6, 8, 13, 13)}, {}),  # PyTorch's, and too large for the image
    ("pointwise_conv2d", {"x": X, "filters": (6, 7)}, {}),
    ("depthwise_conv2d", {"x": X, "filters": (3, 3, 8, 1), "bias": (5,)}, {}),
    ("depthwise_conv2d", {"x": (12, 11, 7), "filters": (3, 3, 8, 1)}, {}),
    ("separable_conv2d", {"x": X, "depthwise_filter": (3, 3, 8, 1), "pointwise_filter": (7, 6)}, {}),
    ("conv2d", {"x": X, "filters": (3, 3, 8, 5)}, {"groups": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "shapes", "extra"), NO_SUGGESTION, ids=lambda value: str(value)[:60])
def test_nothing_is_suggested_that_does_not_fit(
    operation: str, shapes: dict[str, tuple[int, ...]], extra: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"^{operation}: ") as error:
        call(operation, {name: ones(*shape) for name, shape in shapes.items()} | extra)
    assert "pass " not in str(error.value)


SIZE = st.sampled_from([1, 2, 3, 5, 8])


@settings(deadline=None, max_examples=300)
@given(
    operation=st.sampled_from(["depthwise_conv2d", "conv2d"]),
    x=st.lists(SIZE, min_size=2, max_size=5),
    filters=st.tuples(SIZE, SIZE, SIZE, SIZE),
)
def test_whatever_is_suggested_for_an_input_works(
    operation: str, x: list[int], filters: tuple[int, int, int, int]
) -> None:
    arguments = {"x": ones(*x), "filters": ones(*filters)}
    try:
        call(operation, arguments)
    except ValueError as error:
        for attempt in remedies(str(error), arguments):
            call(operation, attempt)
