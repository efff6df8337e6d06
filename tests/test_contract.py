"""The signatures that programs outside this repository rely on, to the letter."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import dwconv

END = "out=None, num_threads=None"
SLIDING = "strides=1, padding='valid', data_format='NHWC', dilations=1"
SQUEEZE = "squeeze_excite=None, squeeze_activation='relu', gate_activation='hard_sigmoid'"
FUNCTIONS = {
    "depthwise_conv2d": f"x, filters, {SLIDING}, *, bias=None, activation=None, {END}",
    "conv2d": f"x, filters, {SLIDING}, *, bias=None, activation=None, groups=1, {END}",
    "pointwise_conv2d": f"x, filters, strides=1, *, bias=None, activation=None, {END}",
    "separable_conv2d": f"x, depthwise_filter, pointwise_filter, {SLIDING}, *, depthwise_bias=None, "
    f"depthwise_activation=None, bias=None, activation=None, {END}",
    "inverted_residual": "x, expand_filter, depthwise_filter, project_filter, strides=1, padding='same', "
    "dilations=1, *, expand_bias=None, depthwise_bias=None, bias=None, activation='relu6', residual=None, "
    f"{SQUEEZE}, {END}",
    "set_num_threads": "n",
    "get_num_threads": "",
    "show_config": "",
    "config": "",
}
STEPS = "strides, padding, data_format='NHWC', dilations=1"
GRADIENTS = {
    "depthwise_conv2d_backprop_input": f"input_sizes, filters, out_backprop, {STEPS}, *, {END}",
    "depthwise_conv2d_backprop_filter": f"x, filter_sizes, out_backprop, {STEPS}, *, with_bias=False, {END}",
    "conv2d_backprop_input": f"input_sizes, filters, out_backprop, {STEPS}, *, groups=1, {END}",
    "conv2d_backprop_filter": f"x, filter_sizes, out_backprop, {STEPS}, *, groups=1, with_bias=False, {END}",
    "pointwise_conv2d_backprop_input": f"input_sizes, filters, out_backprop, strides=1, *, {END}",
    "pointwise_conv2d_backprop_filter": "x, filter_sizes, out_backprop, strides=1, *, with_bias=False, "
    f"{END}",
    "bias_backprop": f"out_backprop, data_format='NHWC', *, {END}",
    "activation_backprop": f"activation, out_backprop, *, x=None, y=None, {END}",
}
FLUSH = "flush_denormals=False"
INT8 = (
    "dtype=None, filter_scale=None, input_quantization=None, output_quantization=None, rounding='even', "
    "activation_quantization=None, output_dtype=None"
)
INT8_SEPARABLE = (
    "dtype=None, depthwise_filter_scale=None, filter_scale=None, input_quantization=None, "
    "depthwise_output_quantization=None, output_quantization=None, rounding='even', "
    "depthwise_activation_quantization=None, activation_quantization=None, output_dtype=None"
)
INT8_BLOCK = (
    "dtype=None, expand_filter_scale=None, depthwise_filter_scale=None, filter_scale=None, "
    "input_quantization=None, expand_output_quantization=None, depthwise_output_quantization=None, "
    "output_quantization=None, sum_quantization=None, rounding='even', "
    "expand_activation_quantization=None, depthwise_activation_quantization=None, output_dtype=None, "
    "squeeze_excite_quantization=None"
)
LAYERS = {
    "DepthwiseConv2D": "filters, *, strides=1, padding='valid', dilations=1, bias=None, activation=None, "
    f"{FLUSH}, {INT8}",
    "Conv2D": "filters, *, strides=1, padding='valid', dilations=1, bias=None, activation=None, groups=1, "
    f"{FLUSH}, {INT8}",
    "PointwiseConv2D": f"filters, *, strides=1, bias=None, activation=None, {FLUSH}, {INT8}",
    "SeparableConv2D": "depthwise_filter, pointwise_filter, *, strides=1, padding='valid', dilations=1, "
    f"depthwise_bias=None, depthwise_activation=None, bias=None, activation=None, {FLUSH}, {INT8_SEPARABLE}",
    "InvertedResidual": "expand_filter, depthwise_filter, project_filter, *, strides=1, padding='same', "
    "dilations=1, expand_bias=None, depthwise_bias=None, bias=None, activation='relu6', residual=None, "
    f"{SQUEEZE}, {FLUSH}, {INT8_BLOCK}",
}


def parameters(function: Any) -> str:
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))[1:-1]


@pytest.mark.parametrize("name", [*FUNCTIONS, *GRADIENTS, *LAYERS])
def test_signatures_are_those_of_the_contract(name: str) -> None:
    assert parameters(getattr(dwconv, name)) == (FUNCTIONS | GRADIENTS | LAYERS)[name]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_share_one_interface(name: str) -> None:
    layer = getattr(dwconv, name)
    assert parameters(layer.__call__) == "self, x, out=None, num_threads=None"
    assert parameters(layer.output_shape) == "self, input_shape"
    assert isinstance(layer.nbytes, property)
    assert isinstance(layer.backend, property)


def test_every_public_function_and_layer_is_documented() -> None:
    for name in dwconv.__all__:
        assert name == "__version__" or getattr(dwconv, name).__doc__, name
