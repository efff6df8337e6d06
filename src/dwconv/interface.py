"""What the public functions and layers have in common: the arguments that they describe, the words they know.

Each says what is its own in its docstring; `function` and `layer` add the arguments that many share, so that
`help()` of any of them stands on its own. What other libraries call an argument is answered with its name.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# In the order of signatures. An argument that the docstring itself describes is left out.
ARGUMENTS = {
    "x": """\
    x: tensor [batch, height, width, channels] of float32, which runs native, or of float64 or float16, which
        NumPy computes in float64 and float32. NumPy arrays, and what NumPy's protocols read without a copy
        (buffers, `__array__`, `__dlpack__` on the CPU); lists of numbers become float32. Crops and channel
        slices are read in place. Masked arrays are refused.""",
    "out_backprop": """\
    out_backprop: the gradient of a loss with respect to the result of the forward pass, of its shape and
        dtype; float32, float64 or float16. Crops and channel slices are read in place.""",
    "strides": """\
    strides: pixels from one output to the next: an int, (height, width), or TensorFlow's
        [1, height, width, 1].""",
    "padding": """\
    padding: pixels of zeros around x: "valid" (none), "same" (as many outputs as ceil(size / stride); the odd
        row or column comes last), an int, (height, width), ((top, bottom), (left, right)), or TensorFlow's
        [[0, 0], [top, bottom], [left, right], [0, 0]].""",
    "data_format": """\
    data_format: "NHWC" (or "channels_last"), or "NCHW" (or "channels_first"), which is the slow way: x and
        the result are transposed. Strides, padding and dilations of 4 items then follow that order. Filters
        keep their layout.""",
    "dilations": """\
    dilations: pixels from one tap of the kernel to the next, in the forms of strides; any mix of both
        works.""",
    "expand_bias": """\
    expand_bias: one value for each channel that the expansion gives, or None.""",
    "depthwise_bias": """\
    depthwise_bias: one value for each channel that the depthwise convolution gives, or None.""",
    "depthwise_activation": """\
    depthwise_activation: between depthwise and pointwise, in the forms of `activation`.""",
    "bias": """\
    bias: one value for each output channel, or None. Lists of numbers take the dtype of the tensors.""",
    "activation": """\
    activation: applied after the bias, in any case: None (or "linear"), "relu", "relu6", "leaky_relu" (slope
        0.2), ("leaky_relu", slope), ("clip", low, high), "hard_sigmoid", "hard_swish" (or "hard_silu"),
        "sigmoid", "silu" (or "swish"), "tanh", "gelu" (with erf), "gelu_tanh".""",
    "with_bias": """\
    with_bias: True gives (filter gradient, bias gradient) in one pass over out_backprop.""",
    "groups": """\
    groups: the outputs of group g see the channels of group g alone; it divides channels and outputs.""",
    "residual": """\
    residual: None adds x where strides are 1 and the result has the shape of x; False never does; True raises
        ValueError where they differ.""",
    "squeeze_excite": """\
    squeeze_excite: None, or (reduce_filter, reduce_bias, expand_filter, expand_bias), filters [wide, few] and
        [few, wide] for the `wide` channels that depthwise gives, biases or None. With d what depthwise gives
        and mean(d) over height and width, d is multiplied, before it is projected, by
        gate(squeeze(mean(d) @ reduce_filter + reduce_bias) @ expand_filter + expand_bias).""",
    "squeeze_activation": """\
    squeeze_activation: `squeeze` above: "relu" is MobileNetV3's, "silu" EfficientNet's.""",
    "gate_activation": """\
    gate_activation: `gate` above: "hard_sigmoid" is MobileNetV3's, "sigmoid" EfficientNet's.""",
    "dtype": """\
    dtype: None for a layer of floats; "int8" or "uint8" for one that takes and gives quantized numbers, with
        int8 filters of zero point 0. The arguments below are for these alone; docs/int8.md tells what is
        computed.""",
    "filter_scale": """\
    filter_scale: what a weight of 1 stands for: a number, or one for each output channel. Biases are int32,
        in units of input scale * filter scale.""",
    "expand_filter_scale": """\
    expand_filter_scale: the same of the expansion.""",
    "depthwise_filter_scale": """\
    depthwise_filter_scale: the same of the depthwise convolution.""",
    "input_quantization": """\
    input_quantization: (scale, zero_point) of x: q stands for scale * (q - zero_point).""",
    "output_quantization": """\
    output_quantization: the same of the result.""",
    "expand_output_quantization": """\
    expand_output_quantization: the same of what the expansion gives, its activation included.""",
    "depthwise_output_quantization": """\
    depthwise_output_quantization: the same of what the depthwise convolution gives, its activation
        included.""",
    "sum_quantization": """\
    sum_quantization: the same after x was added, where it is; output_quantization is then what the projection
        is rounded to before. Whether x is added depends on strides and channels alone.""",
    "rounding": """\
    rounding: "even": the bits of ONNX Runtime and XNNPACK, or "tflite": those of TensorFlow Lite's reference
        kernels, TFLite Micro and CMSIS-NN.""",
    "activation_quantization": """\
    activation_quantization: (scale, zero_point) of what the activation takes, needed where it is more than a
        clamp. Activations may also be ("clamp", low, high) in integers, or a table: an array of 256 entries
        of `dtype`, by q as uint8.""",
    "expand_activation_quantization": """\
    expand_activation_quantization: (scale, zero_point) of what the activation of the expansion takes, needed
        where it is more than a clamp. Activations may also be ("clamp", low, high) in integers, or a table:
        an array of 256 entries of `dtype`, by q as uint8.""",
    "depthwise_activation_quantization": """\
    depthwise_activation_quantization: the same of the activation of the depthwise convolution.""",
    "output_dtype": """\
    output_dtype: "float32" for a result that is dequantized; None for `dtype`.""",
    "squeeze_excite_quantization": """\
    squeeze_excite_quantization: a `dwconv.SqueezeExciteQuantization`: what the mean, the factors and the
        product stand for; needed where there is squeeze_excite.""",
    "flush_denormals": """\
    flush_denormals: True makes weights below the smallest normal number zero: they slow most CPUs down 40 to
        100 times.""",
    "out": """\
    out: array of exactly the shape and dtype of the result, writable, apart from x, filters and biases; it is
        returned. Other channels of the buffer of x are fine. None: a new array.""",
    "num_threads": """\
    num_threads: at most so many threads; None: `dwconv.get_num_threads()`. The bits of the result are the
        same with any number.""",
}
FUNCTION_ERRORS = """\
Raises TypeError for a wrong type or dtype (filters and biases have the dtype of x), ValueError for a wrong
value or shape, such as a kernel larger than the padded input. Messages name the argument, the shapes and the
rule. Warns with `dwconv.PerformanceWarning` where x or out is copied, as its channels are not adjacent."""
LAYER_ERRORS = """\
The dtype of the filters is the dtype of the tensors that the layer takes. Filters and biases are copied; a
layer never changes, and any number of threads may call it at once. It can be pickled and copied.

Raises TypeError for a wrong type or dtype, ValueError for a wrong value or shape. Messages name the argument,
the shapes and the rule."""

# Names that other libraries have for an argument, or that callers guess.
SYNONYMS = {
    "dilation": "dilations", "dilation_rate": "dilations", "rate": "dilations", "rates": "dilations",
    "stride": "strides",
    "pad": "padding", "pads": "padding", "paddings": "padding",
    "weight": "filters", "weights": "filters", "kernel": "filters", "filter": "filters",
    "depthwise_kernel": "depthwise_filter", "depthwise_weight": "depthwise_filter",
    "pointwise_kernel": "pointwise_filter", "pointwise_weight": "pointwise_filter",
    "input_shape": "input_sizes", "input_size": "input_sizes", "filter_shape": "filter_sizes",
    "filter_size": "filter_sizes", "grad_output": "out_backprop", "grad": "out_backprop",
    "dy": "out_backprop", "input": "x", "inputs": "x", "images": "x",
    "biases": "bias", "group": "groups", "feature_group_count": "groups",
    "data_layout": "data_format", "layout": "data_format",
    "output": "out", "threads": "num_threads", "n_threads": "num_threads", "n_jobs": "num_threads",
    "skip": "residual", "use_residual": "residual",
}  # fmt: skip
# Arguments of other libraries that have no counterpart of one name.
ANSWERS = {
    "kernel_size": "the shape of the filters tells it",
    "ksize": "the shape of the filters tells it",
    "in_channels": "the shape of the filters tells it",
    "out_channels": "the shape of the filters tells it",
    "depth_multiplier": "the last axis of a depthwise filter is the multiplier",
    "channel_multiplier": "the last axis of a depthwise filter is the multiplier",
    "use_bias": "bias=None is a layer without a bias",
    "padding_mode": "padding is with zeros; numpy.pad makes others",
    "alpha": "a slope is given as activation=('leaky_relu', slope)",
    "negative_slope": "a slope is given as activation=('leaky_relu', slope)",
    "dtype": "the dtype is that of the filters",
    "device": "dwconv computes on the CPU",
    "name": "there are no names",
    "data_format": "it takes NHWC; x.transpose(0, 2, 3, 1) makes that of NCHW",
    "groups": "dwconv.conv2d and dwconv.Conv2D have groups; one per channel is a depthwise convolution",
    "out": "it is an argument of the layer's call",
    "num_threads": "it is an argument of the layer's call",
}


def function(call: Callable[P, R]) -> Callable[P, R]:
    """A public function, documented, which answers keywords that it does not have."""
    call.__doc__ = _documented(call.__doc__, call, FUNCTION_ERRORS)
    return _answering(call.__name__, call)


def layer(cls: type[T]) -> type[T]:
    """The same for the constructor of a layer."""
    constructor = cls.__init__
    cls.__doc__ = _documented(cls.__doc__, constructor, LAYER_ERRORS)
    setattr(cls, "__init__", _answering(cls.__name__, constructor))  # noqa: B010
    return cls


def _documented(text: str | None, call: Callable[..., Any], errors: str) -> str | None:
    if text is None:  # python -OO
        return None
    text = inspect.cleandoc(text)
    names = [name for name in inspect.signature(call).parameters if f"`{name}`:" not in text]
    arguments = "\n".join(ARGUMENTS[name] for name in names if name in ARGUMENTS)
    return f"{text}\n\nArguments:\n{arguments}\n\n{errors}\n"


def _answering(name: str, call: Callable[P, R]) -> Callable[P, R]:
    known = dict.fromkeys(inspect.signature(call).parameters)

    @wraps(call)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        for word in kwargs:
            if word not in known:
                raise TypeError(f"{name}: {word}: {_answer(word, list(known))}")
        return call(*args, **kwargs)

    return checked


def _answer(word: str, known: list[str]) -> str:
    """What to say where `word` is no argument."""
    meant = SYNONYMS.get(word, word)
    if meant in known:
        return f"dwconv calls this {meant}"
    if meant == "filters" and "depthwise_filter" in known:
        return "each convolution has a filter of its own, such as depthwise_filter"
    if meant in ANSWERS:
        return ANSWERS[meant]
    close = difflib.get_close_matches(word, known, 1, cutoff=0.7)
    choice = f"{close[0]!r}?" if close else f"there are {', '.join(name for name in known if name != 'self')}"
    return f"there is no such argument; {choice}"
