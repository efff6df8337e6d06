"""Every refusal: its type, and that its message names the function, the argument and the rule."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import dwconv

F4 = np.float32


def ones(*shape: int, dtype: Any = F4) -> np.ndarray:
    return np.ones(shape, dtype)


X = ones(1, 8, 8, 4)
K = ones(3, 3, 4, 1)
MEMORY = ones(236)  # shared by the calls that must be refused for it


def depthwise(x: Any = X, filters: Any = K, **extra: Any) -> Any:
    return dwconv.depthwise_conv2d(x, filters, **extra)


def conv(filters: Any = None, **extra: Any) -> Any:
    return dwconv.conv2d(X, ones(3, 3, 4, 6) if filters is None else filters, **extra)


def pointwise(filters: Any = None, **extra: Any) -> Any:
    return dwconv.pointwise_conv2d(X, ones(4, 6) if filters is None else filters, **extra)


def separable(depthwise_filter: Any = K, pointwise_filter: Any = None, **extra: Any) -> Any:
    pointwise_filter = ones(1, 1, 4, 6) if pointwise_filter is None else pointwise_filter
    return dwconv.separable_conv2d(X, depthwise_filter, pointwise_filter, **extra)


def block(expand: Any = None, filters: Any = K, project: Any = None, **extra: Any) -> Any:
    return dwconv.inverted_residual(X, expand, filters, ones(4, 6) if project is None else project, **extra)


def big_endian(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder(">"))


def read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


Call = Callable[[], Any]
SHAPES: dict[str, Call] = {
    "depthwise_conv2d: filters expect 3 channels but x has 4 (x (1, 8, 8, 4), filters (3, 3, 3, 1))":
        lambda: depthwise(filters=ones(3, 3, 3, 1)),
    "DepthwiseConv2D: filters expect 3 channels but x has 4 (x (1, 8, 8, 4), filters (3, 3, 3, 1))":
        lambda: dwconv.DepthwiseConv2D(ones(3, 3, 3, 1))(X),
    "conv2d: filters expect 6 channels in 2 groups but x has 4 (x (1, 8, 8, 4), filters (3, 3, 3, 2))":
        lambda: conv(ones(3, 3, 3, 2), groups=2),
    "separable_conv2d: depthwise_filter expects 5 channels but x has 4":
        lambda: separable(ones(3, 3, 5, 1), ones(5, 2)),
    "separable_conv2d: pointwise_filter expects 4 channels but depthwise_filter gives 8 "
    "(depthwise_filter (3, 3, 4, 2), pointwise_filter (1, 1, 4, 6))": lambda: separable(ones(3, 3, 4, 2)),
    "inverted_residual: expand_filter expects 3 channels but x has 4":
        lambda: block(ones(3, 9), ones(3, 3, 9, 1), ones(9, 3)),
    "inverted_residual: depthwise_filter expects 4 channels but expand_filter gives 9":
        lambda: block(ones(4, 9)),
    "inverted_residual: project_filter expects 7 channels but depthwise_filter gives 4":
        lambda: block(project=ones(7, 2)),
    "depthwise_conv2d: x must have 4 axes [batch, height, width, channels], not (8, 8, 4)":
        lambda: depthwise(X[0]),
    "depthwise_conv2d: x must not have an empty height, width or channels axis, not (1, 0, 8, 4)":
        lambda: depthwise(X[:, :0]),
    "Conv2D: x must not have an empty height, width or channels axis, not (0, 5, 0, 4)":
        lambda: dwconv.Conv2D(ones(3, 3, 4, 2)).output_shape((0, 5, 0, 4)),
    "Conv2D: x must have 4 axes [batch, height, width, channels], not (5, 5)":
        lambda: dwconv.Conv2D(ones(3, 3, 4, 2)).output_shape((5, 5)),
    "depthwise_conv2d: x is not an array: ": lambda: depthwise([[1], [2, 3]]),
    "depthwise_conv2d: filters must be [kernel height, kernel width, channels, multiplier], not (3, 3, 4); "
    "if filters are [kernel height, kernel width, channels], pass filters[..., np.newaxis]":
        lambda: depthwise(filters=K[..., 0]),
    "depthwise_conv2d: filters must be [kernel height, kernel width, channels, multiplier] without an empty "
    "axis, not (3, 3, 4, 0)": lambda: depthwise(filters=K[..., :0]),
    "conv2d: filters must be [kernel height, kernel width, channels / groups, outputs]":
        lambda: conv(ones(3, 3, 4)),
    "pointwise_conv2d: filters must be [channels, outputs] or [1, 1, channels, outputs], not (3, 3, 4, 6)":
        lambda: pointwise(ones(3, 3, 4, 6)),
    "pointwise_conv2d: filters must be [channels, outputs] or [1, 1, channels, outputs] without an empty":
        lambda: pointwise(ones(4, 0)),
    "conv2d: groups=4 must divide 6 output channels (filters (3, 3, 1, 6))":
        lambda: conv(ones(3, 3, 1, 6), groups=4),
    "conv2d: groups must be between 1 and": lambda: conv(groups=0),
    "depthwise_conv2d: bias must have the shape (8,), one value for each output channel, not (4,)":
        lambda: depthwise(filters=ones(3, 3, 4, 2), bias=ones(4)),
    "separable_conv2d: depthwise_bias must have the shape (4,)": lambda: separable(depthwise_bias=ones(6)),
    "inverted_residual: expand_bias needs an expand_filter": lambda: block(expand_bias=ones(4)),
    "inverted_residual: expand_bias must have the shape (4,)":
        lambda: block(ones(4, 4), expand_bias=ones(1, 4)),
    "depthwise_conv2d: the kernel spans 9x9 but the padded input is smaller (input 8x8, kernel (3, 3), "
    "dilations (4, 4), padding 'valid')": lambda: depthwise(dilations=4),
    "conv2d: the kernel spans 11x3 but": lambda: conv(ones(11, 3, 4, 1), padding=1),
    "inverted_residual: reduce_filter of squeeze_excite expects 5 channels but depthwise_filter gives 4 "
    "(depthwise_filter (3, 3, 4, 1), reduce_filter of squeeze_excite (1, 1, 5, 2))":
        lambda: block(squeeze_excite=(ones(5, 2), None, ones(2, 4), None)),
    "inverted_residual: expand_filter of squeeze_excite expects 3 channels but reduce_filter of "
    "squeeze_excite gives 2": lambda: block(squeeze_excite=(ones(4, 2), None, ones(3, 4), None)),
    "inverted_residual: expand_filter of squeeze_excite must give a factor for each of the 4 channels that "
    "depthwise_filter gives, not 5": lambda: block(squeeze_excite=(ones(4, 2), None, ones(2, 5), None)),
    "inverted_residual: reduce_bias of squeeze_excite must have the shape (2,)":
        lambda: block(squeeze_excite=(ones(4, 2), ones(4), ones(2, 4), None)),
    "InvertedResidual: gate_activation must be None":
        lambda: dwconv.InvertedResidual(None, K, ones(4, 4), gate_activation="softmax"),
    "inverted_residual: residual=True needs strides of 1": lambda: block(residual=True),
    "InvertedResidual: residual=True needs an output of the shape of x (x (1, 8, 8, 4), output (1,":
        lambda: dwconv.InvertedResidual(None, K, ones(4, 4), padding="valid", residual=True)(X),
}  # fmt: skip
VALUES: dict[str, Call] = {
    "depthwise_conv2d: strides must be between 1 and 2147483647, not 0": lambda: depthwise(strides=0),
    "conv2d: strides must be an integer, (h, w) or [1, h, w, 1], not (1, 2, 3)":
        lambda: conv(strides=(1, 2, 3)),
    "conv2d: strides must be an integer, (h, w) or [1, h, w, 1], not [2, 1, 1, 1]":
        lambda: conv(strides=[2, 1, 1, 1]),
    "conv2d: strides must be an integer, (h, w) or [1, 1, h, w], not [1, 2, 2, 1]":
        lambda: dwconv.conv2d(ones(1, 4, 8, 8), ones(3, 3, 4, 1), [1, 2, 2, 1], data_format="NCHW"),
    "conv2d: dilations must be between 1 and": lambda: conv(dilations=(1, -1)),
    "depthwise_conv2d: dilations must be between 1 and 2147483647, not 2147483648":
        lambda: depthwise(dilations=2**31),
    "depthwise_conv2d: padding must be 'valid', 'same', an integer": lambda: depthwise(padding="full"),
    "depthwise_conv2d: padding must be between 0 and": lambda: depthwise(padding=-1),
    "conv2d: padding must be 'valid', 'same'": lambda: conv(padding=((1, 1), (1, 1), (0, 0))),
    "depthwise_conv2d: padding must be 'valid', 'same', an integer, (h, w), ((top, bottom), (left, right)) "
    "or [[0, 0], [t, b], [l, r], [0, 0]], not (1, 2, 3, 4)": lambda: depthwise(padding=(1, 2, 3, 4)),
    "separable_conv2d: padding must be": lambda: separable(padding=[[0, 0], [1, 1], [1, 1], [0, 1]]),
    "conv2d: padding must be ": lambda: conv(padding=((1, 2, 3), (1, 1))),
    "depthwise_conv2d: data_format must be 'NHWC' or 'NCHW', not 'NHCW'":
        lambda: depthwise(data_format="NHCW"),
    "depthwise_conv2d: activation must be None, 'relu', 'relu6'": lambda: depthwise(activation="selu"),
    "separable_conv2d: depthwise_activation must be None": lambda: separable(depthwise_activation="clip"),
    "conv2d: activation: 'clip' needs low <= high, not 1.0 and 0.0":
        lambda: conv(activation=("clip", 1, 0)),
    "conv2d: activation must have numbers after its name that fit a float":
        lambda: conv(activation=("clip", 0, 10**400)),
    "conv2d: activation: 'clip' needs low <= high, not nan and 1.0":
        lambda: conv(activation=("clip", np.nan, 1)),
    "conv2d: activation: the slope of 'leaky_relu' must not be NaN":
        lambda: conv(activation=("leaky_relu", np.nan)),
    "conv2d: activation must be None, ": lambda: conv(activation=("relu", 1)),
    "depthwise_conv2d: num_threads must be between 1 and 1024, not 0": lambda: depthwise(num_threads=0),
    "DepthwiseConv2D: num_threads must be between 1 and 1024, not -2":
        lambda: dwconv.DepthwiseConv2D(K)(X, num_threads=-2),
    "set_num_threads: n must be between 1 and 1024, not 0": lambda: dwconv.set_num_threads(0),
    "depthwise_conv2d: out has the shape (1, 6, 6, 5) but the result (1, 6, 6, 4) (x (1, 8, 8, 4))":
        lambda: depthwise(out=ones(1, 6, 6, 5)),
    "depthwise_conv2d: out is read-only": lambda: depthwise(out=read_only(ones(1, 6, 6, 4))),
    "depthwise_conv2d: out overlaps x": lambda: depthwise(padding="same", out=X),
    "DepthwiseConv2D: out overlaps x": lambda: dwconv.DepthwiseConv2D(K)(X, out=X[:, 1:7, 1:7]),
    "PointwiseConv2D: out overlaps x":
        lambda: dwconv.PointwiseConv2D(ones(4, 3))(X, out=X[..., 1:]),
    "depthwise_conv2d: out overlaps filters":
        lambda: depthwise(X, MEMORY[:36].reshape(3, 3, 4, 1), out=MEMORY[:144].reshape(1, 6, 6, 4)),
    "separable_conv2d: out overlaps pointwise_filter":
        lambda: separable(K, MEMORY[:24].reshape(4, 6), out=MEMORY[20:].reshape(1, 6, 6, 6)),
    "conv2d (x as NHWC): out overlaps bias":
        lambda: dwconv.conv2d(ones(1, 4, 8, 8), ones(3, 3, 4, 6), bias=MEMORY[230:], data_format="NCHW",
                              out=MEMORY[20:].reshape(1, 6, 6, 6)),
    "DepthwiseConv2D: elements of out share memory (shape (1, 6, 6, 4), strides (0, 0, 16, 4))":
        lambda: dwconv.DepthwiseConv2D(K)(X, out=as_strided(ones(24), (1, 6, 6, 4), (0, 0, 16, 4))),
    "depthwise_conv2d (x as NHWC): out overlaps x":
        lambda: depthwise(X, ones(1, 1, 8, 1), data_format="NCHW", out=X),
}  # fmt: skip
TYPES: dict[str, Call] = {
    "depthwise_conv2d: the dtype of x is int64; float32, float64 and float16 are supported":
        lambda: depthwise(ones(1, 8, 8, 4, dtype=np.int64)),
    "depthwise_conv2d: the dtype of x is complex64;": lambda: depthwise(ones(1, 8, 8, 4, dtype=np.complex64)),
    "depthwise_conv2d: the dtype of x is >f4; float32, float64 and float16 are supported, in native byte "
    "order (convert with .astype(np.float32))": lambda: depthwise(big_endian(X)),
    "DepthwiseConv2D: the dtype of x is bool;": lambda: dwconv.DepthwiseConv2D(K)(X > 0),
    "depthwise_conv2d: the dtype of x is <U1;": lambda: depthwise([["a"]]),
    "depthwise_conv2d: the dtype of filters is float64 but float32 is expected; x, filters and biases must "
    "have the same dtype (convert with .astype(np.float32))": lambda: depthwise(filters=K.astype(float)),
    "depthwise_conv2d: the dtype of filters is float32 but float64 is expected; x, filters and biases must "
    "have the same dtype (convert with .astype(np.float64), or x to float32, which runs native)":
        lambda: depthwise(X.astype(float)),
    "DepthwiseConv2D: the dtype of x is float64 but float32 is expected":
        lambda: dwconv.DepthwiseConv2D(K)(X.astype(float)),
    "depthwise_conv2d: the dtype of bias is float16 but float32 is expected":
        lambda: depthwise(bias=ones(4, dtype=np.float16)),
    "separable_conv2d: the dtype of pointwise_filter is float64 but float32":
        lambda: separable(pointwise_filter=ones(4, 2, dtype=np.float64)),
    "depthwise_conv2d: strides must be an integer, not 1.5": lambda: depthwise(strides=(1.5, 1)),
    "depthwise_conv2d: strides must be an integer, not True": lambda: depthwise(strides=True),
    "depthwise_conv2d: strides must be an integer, (h, w) or [1, h, w, 1], not None":
        lambda: depthwise(strides=None),
    "depthwise_conv2d: strides must be an integer, (h, w) or [1, h, w, 1], not '2'":
        lambda: depthwise(strides="2"),
    "depthwise_conv2d: strides must be an integer, (h, w) or [1, h, w, 1]; 'same' is for padding":
        lambda: dwconv.depthwise_conv2d(X, K, "same"),
    "depthwise_conv2d: strides must be an integer, (h, w) or [1, h, w, 1], not 2.0":
        lambda: depthwise(strides=2.0),
    "conv2d: dilations must be an integer, not 'a'": lambda: conv(dilations=("a", 1)),
    "depthwise_conv2d: padding must be 'valid', 'same', an integer": lambda: depthwise(padding=None),
    "depthwise_conv2d: padding must be an integer, not 0.5": lambda: depthwise(padding=((0.5, 1), (1, 1))),
    "depthwise_conv2d: padding must be an integer, not False": lambda: depthwise(padding=False),
    "conv2d: groups must be an integer, not 2.0": lambda: conv(groups=2.0),
    "depthwise_conv2d: activation must be None": lambda: depthwise(activation=max),
    "conv2d: dilation_rate: dwconv calls this dilations": lambda: conv(dilation_rate=2),
    "DepthwiseConv2D: dilation_rate: dwconv calls this dilations":
        lambda: dwconv.DepthwiseConv2D(K, dilation_rate=2),
    "depthwise_conv2d: weight: dwconv calls this filters": lambda: dwconv.depthwise_conv2d(X, weight=K),
    "separable_conv2d: weights: each convolution has a filter of its own, such as depthwise_filter":
        lambda: dwconv.separable_conv2d(X, weights=K),
    "Conv2D: kernel_size: the shape of the filters tells it": lambda: dwconv.Conv2D(kernel_size=3),
    "conv2d: padding_mode: padding is with zeros; numpy.pad makes others":
        lambda: conv(padding_mode="reflect"),
    "PointwiseConv2D: data_format: it takes NHWC; ":
        lambda: dwconv.PointwiseConv2D(ones(4, 6), data_format="NCHW"),
    "depthwise_conv2d: group: dwconv.conv2d and dwconv.Conv2D have groups;": lambda: depthwise(group=4),
    "pointwise_conv2d: dilations: there is no such argument; there are x, filters, strides, bias, "
    "activation, out, num_threads": lambda: pointwise(dilations=2),
    "Conv2D: strieds: there is no such argument; 'strides'?": lambda: dwconv.Conv2D(K, strieds=2),
    "depthwise_conv2d: activation must have numbers after its name, not 'a'":
        lambda: depthwise(activation=("clip", "a", 1)),
    "inverted_residual: residual must be True, False or None, not 1": lambda: block(residual=1),
    "inverted_residual: squeeze_excite must be None or a tuple (reduce_filter, reduce_bias, expand_filter, "
    "expand_bias), not 2 items": lambda: block(squeeze_excite=(ones(4, 2), ones(2, 4))),
    "inverted_residual: squeeze_excite must be None or a tuple (reduce_filter, reduce_bias, expand_filter, "
    "expand_bias), not ndarray": lambda: block(squeeze_excite=ones(4, 4)),
    "inverted_residual: the dtype of reduce_filter of squeeze_excite is float64 but float32 is expected":
        lambda: block(squeeze_excite=(ones(4, 2, dtype=float), None, ones(2, 4), None)),
    "DepthwiseConv2D: flush_denormals must be True or False, not 1":
        lambda: dwconv.DepthwiseConv2D(K, flush_denormals=1),
    "depthwise_conv2d: num_threads must be an integer, not 2.0": lambda: depthwise(num_threads=2.0),
    "depthwise_conv2d: num_threads must be an integer, not True": lambda: depthwise(num_threads=True),
    "depthwise_conv2d: data_format must be 'NHWC' or 'NCHW', not None": lambda: depthwise(data_format=None),
    "depthwise_conv2d: out must be a NumPy array, not list": lambda: depthwise(out=[]),
    "depthwise_conv2d: out must be a NumPy array, not memoryview: pass np.asarray(out), if that shares its":
        lambda: depthwise(out=memoryview(ones(1, 6, 6, 4))),
    "depthwise_conv2d: the dtype of out is float64 but float32 is expected":
        lambda: depthwise(out=ones(1, 6, 6, 4, dtype=float)),
}  # fmt: skip


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("message", [*SHAPES, *VALUES])
def test_wrong_values_and_shapes_are_value_errors(message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        (SHAPES | VALUES)[message]()


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("message", TYPES)
def test_wrong_types_are_type_errors(message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        TYPES[message]()


@pytest.mark.usefixtures("backend")
def test_a_failed_call_leaves_the_output_alone() -> None:
    out = np.full((1, 6, 6, 4), 7, F4)
    with pytest.raises(ValueError, match="expect 3 channels"):
        depthwise(filters=ones(3, 3, 3, 1), out=out)
    assert np.all(out == 7)


# ---- outputs that overlap what is read --------------------------------------------------------


SHAPES_OF_A_BLOCK = {
    "expand_filter": (4, 4), "depthwise_filter": (3, 3, 4, 1), "project_filter": (4, 6),
    "expand_bias": (4,), "depthwise_bias": (4,), "bias": (6,),
    "reduce_filter of squeeze_excite": (4, 2), "reduce_bias of squeeze_excite": (2,),
    "expand_filter of squeeze_excite": (2, 4), "expand_bias of squeeze_excite": (4,),
}  # fmt: skip


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("argument", SHAPES_OF_A_BLOCK)
@pytest.mark.parametrize("step", [1, 3])
def test_outputs_that_overlap_an_array_of_a_block_are_refused(argument: str, step: int) -> None:
    """The array as it is used, and as every third element of memory, which is copied before it is used."""
    memory = np.full(8 * 8 * 6, 7, F4)
    arrays = {name: ones(*shape) for name, shape in SHAPES_OF_A_BLOCK.items()}
    strides = tuple(step * stride for stride in arrays[argument].strides)
    arrays[argument] = as_strided(memory[5:], arrays[argument].shape, strides)
    gate = [array for name, array in arrays.items() if name.endswith(" of squeeze_excite")]
    others = {name: array for name, array in arrays.items() if " of " not in name}
    with pytest.raises(ValueError, match=f"^inverted_residual: out overlaps {argument}$"):
        dwconv.inverted_residual(X, **others, squeeze_excite=gate, out=memory.reshape(1, 8, 8, 6))
    assert np.all(memory == 7)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("operation", ["depthwise_conv2d", "conv2d", "separable_conv2d"])
def test_outputs_that_overlap_every_other_value_of_a_filter_are_refused(
    operation: str, data_format: str
) -> None:
    memory = np.full(8 * 8 * 4, 7, F4)
    out = memory.reshape((1, 8, 8, 4) if data_format == "NHWC" else (1, 4, 8, 8))
    x = X if data_format == "NHWC" else ones(1, 4, 8, 8)
    filters = as_strided(memory, (1, 1, 4, 4 if operation == "conv2d" else 1), (4, 4, 32, 8))
    extra = (ones(4, 4),) if operation == "separable_conv2d" else ()
    name = {"NHWC": operation, "NCHW": rf"{operation} \(x as NHWC\)"}[data_format]
    argument = "depthwise_filter" if extra else "filters"
    with pytest.raises(ValueError, match=f"^{name}: out overlaps {argument}$"):
        getattr(dwconv, operation)(x, filters, *extra, out=out, data_format=data_format)
    assert np.all(memory == 7)


@pytest.mark.usefixtures("backend")
def test_outputs_between_the_values_of_a_filter_are_fine() -> None:
    memory = np.full(2 * 8 * 8 * 4, 7, F4)
    filters = as_strided(memory[1:], (1, 1, 4, 1), (4, 4, 8, 4))
    out = memory[::2].reshape(1, 8, 8, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dwconv.PerformanceWarning)
        dwconv.depthwise_conv2d(X, filters, out=out)
    assert np.all(out == 7)
    assert np.all(memory[1::2] == 7)


@pytest.mark.usefixtures("backend")
def test_layers_keep_their_filters_from_outputs() -> None:
    layer = dwconv.DepthwiseConv2D(ones(1, 1, 4, 1))
    with pytest.raises(ValueError, match=r"^DepthwiseConv2D: out is read-only$"):
        layer(ones(1, 1, 1, 4), out=layer.filters.reshape(1, 1, 1, 4))
