"""One-call functions: filters in, result out.

Each call packs its filters anew. Where the same filters serve many calls, the layers of `dwconv.layers` are
the fast way: they pack once.

Common to all functions, unless a docstring says otherwise:

- `x`: array [batch, height, width, channels] (NHWC) of float32, which runs native, or of float64 or float16,
  which run through NumPy, in float64 and float32. Crops and channel slices are read in place.
- `strides`, `dilations`: an int, (h, w), or TensorFlow's [1, h, w, 1]; any combination.
- `padding`: "valid", "same" (TensorFlow's rule: the odd row or column comes last), an int, (h, w),
  ((top, bottom), (left, right)), or TensorFlow's [[0, 0], [top, bottom], [left, right], [0, 0]].
- `data_format`: "NHWC", or "NCHW", which is the slow way: x and the result are transposed. The 4-item forms
  of the other arguments then follow that order, as in TensorFlow. Filters keep their layout.
- `bias`: one value per output channel, or None.
- `activation`, applied after the bias: None, "relu", "relu6", "leaky_relu" (slope 0.2), ("leaky_relu",
  slope), ("clip", low, high), "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh", "gelu" (with erf),
  "gelu_tanh".
- `out`: array of exactly the shape and dtype of the result, writable, not overlapping `x`, filters or
  biases; it is returned. Other channels of the same buffer as `x` are fine.
- `num_threads`: at most so many threads; None: `get_num_threads()`. The result has the same bits with any
  number.
- Filters and biases have the dtype of x; lists of numbers are converted to it.
- TypeError for a wrong type or dtype, ValueError for a wrong value or shape, both naming argument and rule.
  A kernel larger than the padded input is an error; an empty batch gives an empty result.
- Convolutions are cross-correlations: the filter is not flipped.
"""

from __future__ import annotations

from typing import Any

from . import build
from .activation import ActivationLike, Array
from .build import Sliding
from .engine import as_input, create_plan_for_call, run, run_nchw
from .geometry import data_format as is_nchw


def depthwise_conv2d(
    x: Any,
    filters: Any,
    strides: Any = 1,
    padding: Any = "valid",
    data_format: str = "NHWC",
    dilations: Any = 1,
    *,
    bias: Any = None,
    activation: ActivationLike = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Filters every channel on its own; nothing is summed over channels.

    `filters`: [kernel_h, kernel_w, channels, multiplier]. Output channel c * multiplier + q is input channel
    c filtered by filters[:, :, c, q]; the result is [batch, out_h, out_w, channels * multiplier]. Semantics:
    `tf.nn.depthwise_conv2d`. Other arguments and errors: see `dwconv.ops`.
    """
    name = "depthwise_conv2d"
    nchw = is_nchw(name, data_format)
    x = as_input(name, x)
    sliding = Sliding(strides, padding, dilations, nchw)
    operation = build.depthwise(name, filters, sliding, bias, activation, dtype=x.dtype)
    if nchw:
        return run_nchw(operation, x, out, num_threads)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


def conv2d(
    x: Any,
    filters: Any,
    strides: Any = 1,
    padding: Any = "valid",
    data_format: str = "NHWC",
    dilations: Any = 1,
    *,
    bias: Any = None,
    activation: ActivationLike = None,
    groups: int = 1,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Dense convolution: filters every channel, then sums over the channels of a group.

    `filters`: [kernel_h, kernel_w, channels / groups, outputs]; the outputs of group g see the channels of
    group g only. The result is [batch, out_h, out_w, outputs]. Semantics: `tf.nn.conv2d`; groups as in
    `torch.nn.Conv2d`. Other arguments and errors: see `dwconv.ops`.
    """
    name = "conv2d"
    nchw = is_nchw(name, data_format)
    x = as_input(name, x)
    sliding = Sliding(strides, padding, dilations, nchw)
    operation = build.conv(name, filters, sliding, bias, activation, groups, dtype=x.dtype)
    if nchw:
        return run_nchw(operation, x, out, num_threads)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


def pointwise_conv2d(
    x: Any,
    filters: Any,
    strides: Any = 1,
    *,
    bias: Any = None,
    activation: ActivationLike = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """A weighted sum over channels at every pixel, or at every stride-th one.

    `filters`: [channels, outputs] or [1, 1, channels, outputs]; the result is [batch, out_h, out_w, outputs].
    Semantics: `tf.nn.conv2d` with a 1x1 kernel. Other arguments and errors: see `dwconv.ops`.
    """
    name = "pointwise_conv2d"
    x = as_input(name, x)
    operation = build.pointwise(name, filters, strides, bias, activation, dtype=x.dtype)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


def separable_conv2d(
    x: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any = 1,
    padding: Any = "valid",
    data_format: str = "NHWC",
    dilations: Any = 1,
    *,
    depthwise_bias: Any = None,
    depthwise_activation: ActivationLike = None,
    bias: Any = None,
    activation: ActivationLike = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Depthwise, then pointwise convolution; the tensor between them is never stored whole.

    `depthwise_filter`: [kernel_h, kernel_w, channels, multiplier]; `pointwise_filter`:
    [1, 1, channels * multiplier, outputs] or [channels * multiplier, outputs]. `depthwise_bias` and
    `depthwise_activation` belong to the first, `bias` and `activation` to the second.
    Semantics: `tf.nn.separable_conv2d`. Other arguments and errors: see `dwconv.ops`.
    """
    name = "separable_conv2d"
    nchw = is_nchw(name, data_format)
    x = as_input(name, x)
    operation = build.separable(
        name, depthwise_filter, pointwise_filter, Sliding(strides, padding, dilations, nchw), depthwise_bias,
        depthwise_activation, bias, activation, dtype=x.dtype,
    )  # fmt: skip
    if nchw:
        return run_nchw(operation, x, out, num_threads)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


def inverted_residual(
    x: Any,
    expand_filter: Any,
    depthwise_filter: Any,
    project_filter: Any,
    strides: Any = 1,
    padding: Any = "same",
    dilations: Any = 1,
    *,
    expand_bias: Any = None,
    depthwise_bias: Any = None,
    bias: Any = None,
    activation: ActivationLike = "relu6",
    residual: bool | None = None,
    squeeze_excite: Any = None,
    squeeze_activation: ActivationLike = "relu",
    gate_activation: ActivationLike = "hard_sigmoid",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """MobileNetV2's block: pointwise expansion, depthwise, pointwise projection, plus the input.

    `expand_filter`: [channels, expanded] or [1, 1, channels, expanded], or None for a block without
    expansion; `depthwise_filter`: [kernel_h, kernel_w, expanded, multiplier]; `project_filter`: [expanded *
    multiplier, outputs] or [1, 1, expanded * multiplier, outputs]. `activation` follows expansion and
    depthwise; the projection is linear. `residual`: None adds x where strides are 1 and the shapes of x and
    of the result agree; False never does; True raises ValueError where they do not agree. Source: Sandler et
    al., MobileNetV2 (CVPR 2018).

    `squeeze_excite`: None, or (reduce_filter, reduce_bias, expand_filter, expand_bias), filters [wide, few]
    and [few, wide] for the `wide` = expanded * multiplier channels that depthwise gives, biases or None.
    With d what depthwise gives and mean(d) over height and width, d is multiplied by
    gate_activation(squeeze_activation(mean(d) @ reduce_filter + reduce_bias) @ expand_filter + expand_bias)
    before it is projected. The defaults are MobileNetV3's (Howard et al., ICCV 2019); EfficientNet (Tan and
    Le, ICML 2019) has "silu" and "sigmoid". Other arguments and errors: see `dwconv.ops`.
    """
    name = "inverted_residual"
    x = as_input(name, x)
    operation = build.inverted_residual(
        name, expand_filter, depthwise_filter, project_filter, Sliding(strides, padding, dilations),
        expand_bias, depthwise_bias, bias, activation, residual, squeeze_excite, squeeze_activation,
        gate_activation, dtype=x.dtype,
    )  # fmt: skip
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)
