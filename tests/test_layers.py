"""Layers and functions as Python objects: arguments, layouts, outputs in place, and what is immutable."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import dwconv
from oracles import OPERATIONS, Case

pytestmark = pytest.mark.usefixtures("backend")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


X, K = random(2, 9, 8, 6), random(3, 3, 6, 1, seed=1)


# ---- objects ----------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
def test_layers_cannot_be_changed(operation: str) -> None:
    layer = Case(operation, (1, 5, 5, 4)).layer()
    for name in ("bias", "strides", "anything"):
        with pytest.raises(AttributeError, match=f"^{type(layer).__name__} cannot be changed"):
            setattr(layer, name, None)
    with pytest.raises(AttributeError, match="cannot be changed"):
        del layer.bias
    assert not hasattr(layer, "__dict__")
    with pytest.raises(ValueError, match="read-only"):
        layer.bias[0] = 1


def test_layers_copy_their_arrays() -> None:
    filters, bias = K.copy(), np.zeros(6, np.float32)
    layer = dwconv.DepthwiseConv2D(filters, bias=bias)
    before = layer(X)
    filters[...] = bias[...] = np.nan
    np.testing.assert_array_equal(layer(X), before)
    np.testing.assert_array_equal(layer.filters, K)


def test_layers_keep_activations_that_were_lists() -> None:
    activation = ["clip", 0, 0.5]
    layer = dwconv.DepthwiseConv2D(K, activation=activation)
    activation[2] = 9
    assert layer.activation == ("clip", 0, 0.5)


def test_layers_tell_their_arguments_in_normal_form() -> None:
    layer = dwconv.DepthwiseConv2D(K, strides=[1, 2, 1, 1], padding=1, dilations=2, activation="relu")
    assert (layer.strides, layer.padding, layer.dilations) == ((2, 1), ((1, 1), (1, 1)), (2, 2))
    assert (layer.activation, layer.bias, layer.flush_denormals) == ("relu", None, False)
    assert repr(layer) == (
        "DepthwiseConv2D(filters=<3x3x6x1 float32>, strides=(2, 1), padding=((1, 1), (1, 1)), "
        "dilations=(2, 2), activation='relu')"
    )


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("Swish", "silu"),
        ("linear", None),
        (None, None),
        (["ReLU"], "relu"),
        ("leaky_relu", "leaky_relu"),
        (("leaky_relu", 0.2), "leaky_relu"),
        (("leaky_relu", 0.1), ("leaky_relu", 0.1)),
        (("CLIP", 0, 6), ("clip", 0.0, 6.0)),
    ],
    ids=str,
)
def test_layers_tell_activations_in_normal_form(given: Any, normal: Any) -> None:
    ones = np.ones((1, 1, 6, 6), np.float32)
    assert dwconv.DepthwiseConv2D(K, activation=given).activation == normal
    assert dwconv.Conv2D(ones, activation=given).activation == normal
    assert dwconv.PointwiseConv2D(ones, activation=given).activation == normal
    separable = dwconv.SeparableConv2D(K, ones, depthwise_activation=given)
    assert (separable.depthwise_activation, separable.activation) == (normal, None)
    assert dwconv.SeparableConv2D(K, ones, activation=given).activation == normal
    block = dwconv.InvertedResidual(ones, K, ones, activation=given, gate_activation=given)
    assert (block.activation, block.squeeze_activation, block.gate_activation) == (normal, "relu", normal)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_packed_bytes_are_at_least_the_weights(operation: str) -> None:
    case = Case(operation, (1, 5, 5, 4))
    assert case.layer().nbytes >= sum(a.nbytes for name, a in case.arrays.items() if name != "x")


def test_layers_of_other_dtypes_run_through_numpy() -> None:
    for dtype in (np.float16, np.float64):
        layer = dwconv.DepthwiseConv2D(K.astype(dtype))
        assert layer.backend == "numpy"
        assert layer(X.astype(dtype)).dtype == dtype


# ---- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"strides": [1, 2, 3, 1]}, {"strides": (2, 3)}),
        ({"strides": np.int64(2)}, {"strides": (2, 2)}),
        ({"dilations": np.array([2, 1])}, {"dilations": [1, 2, 1, 1]}),
        ({"padding": "SAME"}, {"padding": "same"}),
        ({"padding": 2}, {"padding": ((2, 2), (2, 2))}),
        ({"padding": np.array([[1, 0], [2, 3]])}, {"padding": ((1, 0), (2, 3))}),
        ({"strides": np.array(2), "padding": np.array(1)}, {"strides": 2, "padding": 1}),
        ({"padding": (1, 2)}, {"padding": ((1, 1), (2, 2))}),
        ({"padding": [[0, 0], [1, 0], [2, 3], [0, 0]]}, {"padding": ((1, 0), (2, 3))}),
        ({"activation": "leaky_relu"}, {"activation": ("leaky_relu", 0.2)}),
        ({"activation": "relu6"}, {"activation": ["clip", 0, 6]}),
        ({"activation": "ReLU6"}, {"activation": "relu6"}),
        ({"activation": ("Clip", 0, 0.5)}, {"activation": ("clip", 0, 0.5)}),
        ({"activation": "linear"}, {"activation": None}),
        ({"activation": "swish"}, {"activation": "silu"}),
        ({"activation": "hard_silu"}, {"activation": "hard_swish"}),
        ({"activation": "Hardswish"}, {"activation": "hard_swish"}),
        ({"activation": "HardSigmoid"}, {"activation": "hard_sigmoid"}),
        ({"data_format": "nhwc"}, {"data_format": "NHWC"}),
        ({"data_format": "channels_last"}, {"data_format": "NHWC"}),
        ({"data_format": "channels_first"}, {"data_format": "NCHW"}),
        ({"data_format": "Nchw"}, {"data_format": "NCHW"}),
        ({"bias": [1, 2, 3, 4, 5, 6]}, {"bias": np.arange(1, 7, dtype=np.float32)}),
    ],
    ids=str,
)
def test_forms_of_arguments_mean_the_same(given: dict[str, Any], same: dict[str, Any]) -> None:
    filters = random(3, 3, 9, 1) if same.get("data_format") == "NCHW" else K
    np.testing.assert_array_equal(
        dwconv.depthwise_conv2d(X, filters, **given), dwconv.depthwise_conv2d(X, filters, **same)
    )


def test_lists_of_numbers_take_the_dtype_of_the_tensors() -> None:
    for dtype in (np.float32, np.float64):
        y = dwconv.depthwise_conv2d(np.ones((1, 2, 2, 1), dtype), [[[[2]]]], bias=[0.5])
        np.testing.assert_array_equal(y, np.full((1, 2, 2, 1), 2.5, dtype), strict=True)
    assert dwconv.depthwise_conv2d([[[[1], [2]]]], [[[[3]]]]).tolist() == [[[[3], [6]]]]


@pytest.mark.parametrize("operation", ["depthwise", "conv", "separable"])
def test_nchw_is_the_transposed_way(operation: str) -> None:
    case = Case(operation, (2, 7, 8, 5), out_channels=3, strides=(2, 1))
    expected = case.call().transpose(0, 3, 1, 2)
    x = np.ascontiguousarray(case.x.transpose(0, 3, 1, 2))
    four = {"strides": [1, 1, 2, 1], "data_format": "NCHW"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(case.call(x, **four), expected)
        out = np.empty_like(expected, order="C")
        assert case.call(x, out=out, **four) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_empty_batch_gives_an_empty_result(operation: str) -> None:
    case = Case(operation, (0, 6, 5, 3), out_channels=7)
    y = case.call()
    assert y.dtype == np.float32
    assert y.shape == case.layer().output_shape((0, 6, 5, 3)) == case.layer()(case.x).shape
    out = np.empty_like(y)
    assert case.layer()(case.x, out=out) is out


# ---- layouts ----------------------------------------------------------------------------------


def test_one_buffer_can_hold_input_and_output_channels() -> None:
    both = np.full((2, 9, 8, 14), -5, np.float32)
    both[..., :6] = X
    x, out = both[..., :6], both[..., 7:13]
    layer = dwconv.DepthwiseConv2D(K, padding="same")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x, out=out)
    np.testing.assert_array_equal(out, layer(X))
    np.testing.assert_array_equal(x, X)
    assert np.all(both[..., [6, 13]] == -5)


def unaligned(x: np.ndarray) -> np.ndarray:
    memory = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    memory[...] = x
    return memory


COPIED = {
    "channels apart": lambda: np.repeat(X, 2, axis=-1)[..., ::2],
    "channels first": lambda: np.ascontiguousarray(X.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0),
    "channels reversed": lambda: np.ascontiguousarray(X[..., ::-1])[..., ::-1],
    "unaligned": lambda: unaligned(X),
    "broadcast": lambda: np.broadcast_to(X[:, :1], X.shape),
}


@pytest.mark.parametrize("layout", COPIED)
def test_other_layouts_are_copied_with_a_warning(layout: str, backend: str) -> None:
    x = COPIED[layout]()
    layer = dwconv.DepthwiseConv2D(K)
    expected = layer(x.copy())
    if backend == "numpy":
        np.testing.assert_array_equal(layer(x), expected)
        return
    with pytest.warns(dwconv.PerformanceWarning, match="^DepthwiseConv2D: x is copied") as seen:
        np.testing.assert_array_equal(layer(x), expected)
    assert seen[0].filename == __file__
    with pytest.warns(dwconv.PerformanceWarning, match="^depthwise_conv2d: x is copied") as seen:
        np.testing.assert_array_equal(dwconv.depthwise_conv2d(x, K), expected)
    assert seen[0].filename == __file__


def test_outputs_that_are_not_channel_contiguous_are_copied_with_a_warning(backend: str) -> None:
    layer = dwconv.DepthwiseConv2D(K)
    out = np.zeros((6, 2, 7, 6), np.float32).transpose(1, 2, 3, 0)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert layer(X, out=out) is out
    assert [w.category for w in seen] == ([] if backend == "numpy" else [dwconv.PerformanceWarning])
    np.testing.assert_array_equal(out, layer(X))


def test_pixels_of_the_input_may_overlap() -> None:
    """What `as_strided` makes has no bound by memory: here more elements than 2**40, in 16 MB."""
    channels, stride = 2**20, 2**24
    memory = np.arange(2 * channels, dtype=np.float32)
    x = np.lib.stride_tricks.as_strided(memory, (1, 1, channels, channels), (4, 4, 4, 4), writeable=False)
    layer = dwconv.DepthwiseConv2D(np.ones((1, 1, channels, 1), np.float32), strides=(stride, channels // 2))
    y = layer(x)
    np.testing.assert_array_equal(y[0, 0], [memory[:channels], memory[channels // 2 : -channels // 2]])


def test_rows_of_one_buffer_may_take_turns() -> None:
    """No element is shared, but the core cannot tell: the input is copied."""
    memory = np.zeros((1, 18, 8, 6), np.float32)
    memory[:, ::2] = X[:1]
    layer = dwconv.DepthwiseConv2D(K, padding="same")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dwconv.PerformanceWarning)
        layer(memory[:, ::2], out=memory[:, 1::2])
    np.testing.assert_array_equal(memory[:, 1::2], layer(X[:1]))


def test_functions_give_what_layers_give_into_out() -> None:
    out = np.empty((2, 7, 6, 6), np.float32)
    assert dwconv.depthwise_conv2d(X, K, out=out, num_threads=2) is out
    np.testing.assert_array_equal(out, dwconv.DepthwiseConv2D(K)(X))


@pytest.mark.parametrize(("residual", "expected"), [(None, 2), (True, 2), (np.True_, 2), (False, 1)])
def test_residual_decides_whether_the_input_is_added(residual: bool | None, expected: int) -> None:
    x, one = np.ones((1, 3, 3, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    y = dwconv.inverted_residual(x, None, one, one, residual=residual)
    np.testing.assert_array_equal(y, np.full_like(x, expected))
