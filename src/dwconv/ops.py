"""One-call functions: filters in, result out.

Each call packs its filters anew. Where the same filters serve many calls, the layers of `dwconv.layers` are
the fast way: they pack once.

Tensors are [batch, height, width, channels]; an empty batch gives an empty result. Convolutions are
cross-correlations: the filter is not flipped. `help()` of a function tells all its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import build
from .activation import ActivationLike, Array
from .arrays import TensorLike, as_array
from .build import Sliding
from .engine import create_plan_for_call, run, run_nchw
from .geometry import DataFormat, PaddingLike, StepsLike
from .geometry import data_format as is_nchw
from .interface import function


@function
def depthwise_conv2d(
    x: TensorLike,
    filters: TensorLike,
    strides: StepsLike = 1,
    padding: PaddingLike = "valid",
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    bias: TensorLike | None = None,
    activation: ActivationLike = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Filters every channel on its own; nothing is summed over channels.

    `filters`: [kernel_h, kernel_w, channels, multiplier]. Output channel c * multiplier + q is input channel
    c filtered by filters[:, :, c, q]; the result is [batch, out_h, out_w, channels * multiplier]. Semantics:
    TensorFlow's `tf.nn.depthwise_conv2d`. `dwconv.DepthwiseConv2D` is the same with filters packed once.

    >>> import numpy as np, dwconv
    >>> x = np.ones((1, 8, 8, 3), np.float32)
    >>> filters = np.ones((3, 3, 3, 2), np.float32)
    >>> dwconv.depthwise_conv2d(x, filters, [1, 2, 2, 1], "SAME", bias=[0, 1, 2, 3, 4, 5]).shape
    (1, 4, 4, 6)
    """
    name = "depthwise_conv2d"
    nchw = is_nchw(name, data_format)
    x = as_array(name, "x", x, None)
    sliding = Sliding(strides, padding, dilations, nchw)
    operation = build.depthwise(name, filters, sliding, bias, activation, dtype=x.dtype)
    if nchw:
        return run_nchw(operation, x, out, num_threads)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


@function
def conv2d(
    x: TensorLike,
    filters: TensorLike,
    strides: StepsLike = 1,
    padding: PaddingLike = "valid",
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    bias: TensorLike | None = None,
    activation: ActivationLike = None,
    groups: int = 1,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Dense convolution: filters every channel, then sums over the channels of a group.

    `filters`: [kernel_h, kernel_w, channels / groups, outputs]; the result is [batch, out_h, out_w, outputs].
    Semantics: TensorFlow's `tf.nn.conv2d`; groups as in `torch.nn.Conv2d`. `dwconv.Conv2D` is the same with
    filters packed once.

    >>> import numpy as np, dwconv
    >>> x = np.ones((1, 5, 5, 3), np.float32)
    >>> filters = np.ones((3, 3, 3, 2), np.float32)
    >>> dwconv.conv2d(x, filters, strides=2, padding=1, bias=[1, 0]).shape
    (1, 3, 3, 2)
    """
    name = "conv2d"
    nchw = is_nchw(name, data_format)
    x = as_array(name, "x", x, None)
    sliding = Sliding(strides, padding, dilations, nchw)
    operation = build.conv(name, filters, sliding, bias, activation, groups, dtype=x.dtype)
    if nchw:
        return run_nchw(operation, x, out, num_threads)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


@function
def pointwise_conv2d(
    x: TensorLike,
    filters: TensorLike,
    strides: StepsLike = 1,
    *,
    bias: TensorLike | None = None,
    activation: ActivationLike = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """A weighted sum over channels at every pixel, or at every stride-th one.

    `filters`: [channels, outputs] or [1, 1, channels, outputs]; the result is [batch, out_h, out_w, outputs].
    Semantics: TensorFlow's `tf.nn.conv2d` with a 1x1 kernel. `dwconv.PointwiseConv2D` is the same with
    filters packed once.

    >>> import numpy as np, dwconv
    >>> x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    >>> dwconv.pointwise_conv2d(x, [[1, 2, 3], [1, 1, 1]])
    array([[[[1., 1., 1.],
             [5., 7., 9.]]]], dtype=float32)
    """
    name = "pointwise_conv2d"
    x = as_array(name, "x", x, None)
    operation = build.pointwise(name, filters, strides, bias, activation, dtype=x.dtype)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


@function
def separable_conv2d(
    x: TensorLike,
    depthwise_filter: TensorLike,
    pointwise_filter: TensorLike,
    strides: StepsLike = 1,
    padding: PaddingLike = "valid",
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    depthwise_bias: TensorLike | None = None,
    depthwise_activation: ActivationLike = None,
    bias: TensorLike | None = None,
    activation: ActivationLike = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """Depthwise, then pointwise convolution; the tensor between them is never stored whole.

    `depthwise_filter`: [kernel_h, kernel_w, channels, multiplier]; `pointwise_filter`:
    [1, 1, channels * multiplier, outputs] or [channels * multiplier, outputs]. `depthwise_bias` and
    `depthwise_activation` belong to the first, `bias` and `activation` to the second; strides, padding and
    dilations to the first. The result is [batch, out_h, out_w, outputs]. Semantics: TensorFlow's
    `tf.nn.separable_conv2d`. `dwconv.SeparableConv2D` is the same with filters packed once.

    >>> import numpy as np, dwconv
    >>> x = np.ones((1, 8, 8, 4), np.float32)
    >>> depthwise, pointwise = np.ones((3, 3, 4, 1), np.float32), np.ones((4, 16), np.float32)
    >>> dwconv.separable_conv2d(x, depthwise, pointwise, padding="same", depthwise_activation="relu6").shape
    (1, 8, 8, 16)
    """
    name = "separable_conv2d"
    nchw = is_nchw(name, data_format)
    x = as_array(name, "x", x, None)
    operation = build.separable(
        name, depthwise_filter, pointwise_filter, Sliding(strides, padding, dilations, nchw), depthwise_bias,
        depthwise_activation, bias, activation, dtype=x.dtype,
    )  # fmt: skip
    if nchw:
        return run_nchw(operation, x, out, num_threads)
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)


@function
def inverted_residual(
    x: TensorLike,
    expand_filter: TensorLike | None,
    depthwise_filter: TensorLike,
    project_filter: TensorLike,
    strides: StepsLike = 1,
    padding: PaddingLike = "same",
    dilations: StepsLike = 1,
    *,
    expand_bias: TensorLike | None = None,
    depthwise_bias: TensorLike | None = None,
    bias: TensorLike | None = None,
    activation: ActivationLike = "relu6",
    residual: bool | None = None,
    squeeze_excite: Sequence[TensorLike | None] | None = None,
    squeeze_activation: ActivationLike = "relu",
    gate_activation: ActivationLike = "hard_sigmoid",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """MobileNetV2's block: pointwise expansion, depthwise, pointwise projection, plus the input.

    `expand_filter`: [channels, expanded] or [1, 1, channels, expanded], or None for a block without
    expansion; `depthwise_filter`: [kernel_h, kernel_w, expanded, multiplier]; `project_filter`: [expanded *
    multiplier, outputs] or [1, 1, expanded * multiplier, outputs]. `activation` follows expansion and
    depthwise; the projection is linear. The result is [batch, out_h, out_w, outputs]. Sources: Sandler et
    al., MobileNetV2 (CVPR 2018); squeeze-and-excite: Howard et al., MobileNetV3 (ICCV 2019), Tan and Le,
    EfficientNet (ICML 2019). `dwconv.InvertedResidual` is the same with filters packed once.

    >>> import numpy as np, dwconv
    >>> x = np.ones((1, 8, 8, 4), np.float32)
    >>> expand, depthwise = np.ones((4, 24), np.float32), np.ones((3, 3, 24, 1), np.float32)
    >>> project = np.zeros((24, 4), np.float32)
    >>> bool(np.all(dwconv.inverted_residual(x, expand, depthwise, project) == x))  # zeros, plus the input
    True
    """
    name = "inverted_residual"
    x = as_array(name, "x", x, None)
    operation = build.inverted_residual(
        name, expand_filter, depthwise_filter, project_filter, Sliding(strides, padding, dilations),
        expand_bias, depthwise_bias, bias, activation, residual, squeeze_excite, squeeze_activation,
        gate_activation, dtype=x.dtype,
    )  # fmt: skip
    return run(operation, create_plan_for_call(operation, out), x, out, num_threads)
