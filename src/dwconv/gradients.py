"""Gradients of convolutions, biases and activations: what training runs backward.

With y = convolution(x, filters) and `out_backprop` the gradient of a loss with respect to y, the functions
give its gradients with respect to x, the filters and the bias. Names and positional order are those of
`tf.nn` and `tf.compat.v1.nn`. The bits of results are the same with any number of threads.
"""

from __future__ import annotations

from . import gradient_engine, gradients_numpy
from .activation import ActivationLike, Array, parse
from .arrays import TensorLike, as_array, check_apart, check_out
from .build import Sliding
from .geometry import DataFormat, Integers, PaddingLike, StepsLike, shape
from .geometry import data_format as is_nchw
from .gradient_arguments import both_gradients, filter_gradient, input_gradient, into, tensor
from .interface import function


@function
def depthwise_conv2d_backprop_input(
    input_sizes: Integers,
    filters: TensorLike,
    out_backprop: TensorLike,
    strides: StepsLike,
    padding: PaddingLike,
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The gradient of `depthwise_conv2d` with respect to x.

    `input_sizes`: the shape of x; `filters`: [kernel_h, kernel_w, channels, multiplier]; the result has the
    shape of x. Semantics: TensorFlow's `tf.nn.depthwise_conv2d_backprop_input`.

    >>> import numpy as np, dwconv
    >>> filters, dy = np.ones((3, 3, 2, 1), np.float32), np.ones((1, 4, 4, 2), np.float32)
    >>> dwconv.depthwise_conv2d_backprop_input((1, 4, 4, 2), filters, dy, 1, "same")[0, :, :, 0]
    array([[4., 6., 6., 4.],
           [6., 9., 9., 6.],
           [6., 9., 9., 6.],
           [4., 6., 6., 4.]], dtype=float32)
    """
    sliding = Sliding(strides, padding, dilations, is_nchw("depthwise_conv2d_backprop_input", data_format))
    return input_gradient("depthwise", input_sizes, filters, out_backprop, sliding, 1, out, num_threads)


@function
def depthwise_conv2d_backprop_filter(
    x: TensorLike,
    filter_sizes: Integers,
    out_backprop: TensorLike,
    strides: StepsLike,
    padding: PaddingLike,
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    with_bias: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array | tuple[Array, Array]:
    """The gradient of `depthwise_conv2d` with respect to the filters.

    `filter_sizes`: their shape, [kernel_h, kernel_w, channels, multiplier], which the result has. Semantics:
    TensorFlow's `tf.nn.depthwise_conv2d_backprop_filter`.

    >>> import numpy as np, dwconv
    >>> x, dy = np.ones((2, 4, 4, 3), np.float32), np.ones((2, 4, 4, 3), np.float32)
    >>> dwconv.depthwise_conv2d_backprop_filter(x, (3, 3, 3, 1), dy, 1, "same")[:, :, 0, 0]
    array([[18., 24., 18.],
           [24., 32., 24.],
           [18., 24., 18.]], dtype=float32)
    """
    sliding = Sliding(strides, padding, dilations, is_nchw("depthwise_conv2d_backprop_filter", data_format))
    return filter_gradient(
        "depthwise", x, filter_sizes, out_backprop, sliding, 1, with_bias, out, num_threads
    )


@function
def conv2d_backprop_input(
    input_sizes: Integers,
    filters: TensorLike,
    out_backprop: TensorLike,
    strides: StepsLike,
    padding: PaddingLike,
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    groups: int = 1,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The gradient of `conv2d` with respect to x.

    `input_sizes`: the shape of x; `filters`: [kernel_h, kernel_w, channels / groups, outputs]; the result has
    the shape of x. Semantics: TensorFlow's `tf.compat.v1.nn.conv2d_backprop_input`.

    >>> import numpy as np, dwconv
    >>> filters, dy = np.ones((3, 3, 2, 5), np.float32), np.ones((1, 2, 2, 5), np.float32)
    >>> dwconv.conv2d_backprop_input([1, 5, 5, 2], filters, dy, strides=2, padding="valid").shape
    (1, 5, 5, 2)
    """
    sliding = Sliding(strides, padding, dilations, is_nchw("conv2d_backprop_input", data_format))
    return input_gradient("conv", input_sizes, filters, out_backprop, sliding, groups, out, num_threads)


@function
def conv2d_backprop_filter(
    x: TensorLike,
    filter_sizes: Integers,
    out_backprop: TensorLike,
    strides: StepsLike,
    padding: PaddingLike,
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    groups: int = 1,
    with_bias: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array | tuple[Array, Array]:
    """The gradient of `conv2d` with respect to the filters.

    `filter_sizes`: their shape, [kernel_h, kernel_w, channels / groups, outputs], which the result has.
    Semantics: TensorFlow's `tf.compat.v1.nn.conv2d_backprop_filter`.

    >>> import numpy as np, dwconv
    >>> x, dy = np.ones((1, 5, 5, 2), np.float32), np.ones((1, 2, 2, 4), np.float32)
    >>> dwconv.conv2d_backprop_filter(x, [3, 3, 2, 4], dy, strides=2, padding="valid").shape
    (3, 3, 2, 4)
    """
    sliding = Sliding(strides, padding, dilations, is_nchw("conv2d_backprop_filter", data_format))
    return filter_gradient(
        "conv", x, filter_sizes, out_backprop, sliding, groups, with_bias, out, num_threads
    )


@function
def pointwise_conv2d_backprop_input(
    input_sizes: Integers,
    filters: TensorLike,
    out_backprop: TensorLike,
    strides: StepsLike = 1,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The gradient of `pointwise_conv2d` with respect to x: zero at pixels between the strides.

    `input_sizes`: the shape of x; `filters`: [channels, outputs] or [1, 1, channels, outputs]; the result has
    the shape of x. Semantics: TensorFlow's `tf.compat.v1.nn.conv2d_backprop_input` with a 1x1 kernel.

    >>> import numpy as np, dwconv
    >>> dy = np.ones((1, 1, 2, 3), np.float32)
    >>> dwconv.pointwise_conv2d_backprop_input((1, 1, 2, 2), [[1, 2, 3], [1, 1, 1]], dy)
    array([[[[6., 3.],
             [6., 3.]]]], dtype=float32)
    """
    sliding = Sliding(strides)
    return input_gradient("pointwise", input_sizes, filters, out_backprop, sliding, 1, out, num_threads)


@function
def pointwise_conv2d_backprop_filter(
    x: TensorLike,
    filter_sizes: Integers,
    out_backprop: TensorLike,
    strides: StepsLike = 1,
    *,
    with_bias: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array | tuple[Array, Array]:
    """The gradient of `pointwise_conv2d` with respect to the filters.

    `filter_sizes`: their shape, [channels, outputs] or [1, 1, channels, outputs], which the result has.
    Semantics: TensorFlow's `tf.compat.v1.nn.conv2d_backprop_filter` with a 1x1 kernel.

    >>> import numpy as np, dwconv
    >>> x, dy = np.ones((2, 4, 4, 2), np.float32), np.ones((2, 4, 4, 3), np.float32)
    >>> dwconv.pointwise_conv2d_backprop_filter(x, (2, 3), dy)
    array([[32., 32., 32.],
           [32., 32., 32.]], dtype=float32)
    """
    sliding = Sliding(strides)
    return filter_gradient(
        "pointwise", x, filter_sizes, out_backprop, sliding, 1, with_bias, out, num_threads
    )


@function
def depthwise_conv2d_backprop(
    x: TensorLike,
    filters: TensorLike,
    out_backprop: TensorLike,
    strides: StepsLike,
    padding: PaddingLike,
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    with_bias: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[Array, ...]:
    """The gradients of `depthwise_conv2d` with respect to x, the filters and, `with_bias`, the bias.

    `filters`: [kernel_h, kernel_w, channels, multiplier]; the result, (dx, dw) or (dx, dw, db), has
    the very values of `depthwise_conv2d_backprop_input` and
    `depthwise_conv2d_backprop_filter`. One walk reads `out_backprop` from memory once: that is faster.
    `out` is for dx.

    >>> import numpy as np, dwconv
    >>> x, filters = np.ones((2, 4, 4, 3), np.float32), np.ones((3, 3, 3, 1), np.float32)
    >>> dx, dw, db = dwconv.depthwise_conv2d_backprop(x, filters, np.ones_like(x), 1, "same", with_bias=True)
    >>> dx.shape, dw.shape, db
    ((2, 4, 4, 3), (3, 3, 3, 1), array([32., 32., 32.], dtype=float32))
    """
    sliding = Sliding(strides, padding, dilations, is_nchw("depthwise_conv2d_backprop", data_format))
    return both_gradients("depthwise", x, filters, out_backprop, sliding, 1, with_bias, out, num_threads)


@function
def conv2d_backprop(
    x: TensorLike,
    filters: TensorLike,
    out_backprop: TensorLike,
    strides: StepsLike,
    padding: PaddingLike,
    data_format: DataFormat = "NHWC",
    dilations: StepsLike = 1,
    *,
    groups: int = 1,
    with_bias: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[Array, ...]:
    """The gradients of `conv2d` with respect to x, the filters and, `with_bias`, the bias.

    `filters`: [kernel_h, kernel_w, channels / groups, outputs]; the result, (dx, dw) or (dx, dw, db), has
    the very values of `conv2d_backprop_input` and
    `conv2d_backprop_filter`. `out` is for dx.

    >>> import numpy as np, dwconv
    >>> x, filters = np.ones((2, 4, 4, 3), np.float32), np.ones((3, 3, 3, 5), np.float32)
    >>> dy = np.ones((2, 2, 2, 5), np.float32)
    >>> [gradient.shape for gradient in dwconv.conv2d_backprop(x, filters, dy, 1, "valid")]
    [(2, 4, 4, 3), (3, 3, 3, 5)]
    """
    sliding = Sliding(strides, padding, dilations, is_nchw("conv2d_backprop", data_format))
    return both_gradients("conv", x, filters, out_backprop, sliding, groups, with_bias, out, num_threads)


@function
def pointwise_conv2d_backprop(
    x: TensorLike,
    filters: TensorLike,
    out_backprop: TensorLike,
    strides: StepsLike = 1,
    *,
    with_bias: bool = False,
    out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[Array, ...]:
    """The gradients of `pointwise_conv2d` with respect to x, the filters and, `with_bias`, the bias.

    `filters`: [channels, outputs] or [1, 1, channels, outputs]; the result, (dx, dw) or (dx, dw, db), has
    the very values of `pointwise_conv2d_backprop_input` and
    `pointwise_conv2d_backprop_filter`. `out` is for dx.

    >>> import numpy as np, dwconv
    >>> x, filters = np.ones((1, 4, 4, 2), np.float32), np.ones((2, 3), np.float32)
    >>> dy = np.ones((1, 4, 4, 3), np.float32)
    >>> [gradient.shape for gradient in dwconv.pointwise_conv2d_backprop(x, filters, dy)]
    [(1, 4, 4, 2), (2, 3)]
    """
    sliding = Sliding(strides)
    return both_gradients("pointwise", x, filters, out_backprop, sliding, 1, with_bias, out, num_threads)


@function
def bias_backprop(
    out_backprop: TensorLike,
    data_format: DataFormat = "NHWC",
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The gradient of a bias: the sum of `out_backprop` over batch, height and width, [channels].

    Semantics: the gradient of TensorFlow's `tf.nn.bias_add`.

    >>> import numpy as np, dwconv
    >>> dwconv.bias_backprop(np.ones((2, 4, 4, 3), np.float32))
    array([32., 32., 32.], dtype=float32)
    """
    name = "bias_backprop"
    nchw = is_nchw(name, data_format)
    dy = tensor(name, "out_backprop", out_backprop, None, nchw)
    threads = gradient_engine.threads_of(name, num_threads)
    shape(f"{name}: out_backprop", dy.shape)
    if out is not None:
        check_out(name, out, dy.shape[3:], dy, argument="out_backprop")
    return into(out, gradient_engine.bias_gradient(name, dy, threads))


@function
def activation_backprop(
    activation: ActivationLike,
    out_backprop: TensorLike,
    *,
    x: TensorLike | None = None,
    y: TensorLike | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The gradient of y = activation(x) with respect to x, from one of x and y: tensors of any one shape.

    `x`: what the activation was given; every activation takes it. `y`: what it gave, which a fused layer
    returns; it tells the slope of None, "relu", "relu6", "clip", "leaky_relu" of a positive slope,
    "hard_sigmoid", "sigmoid" and "tanh". The slope is that between the corners of an activation and 0 on the
    corners of "relu", "relu6", "clip" and "hard_sigmoid", as in TensorFlow and PyTorch; "leaky_relu" has the
    slope of its negative side at 0, "hard_swish" 0 at -3 and 1 at 3. Where the slope is 0, so is the result,
    whatever `out_backprop` is there. `out` may be out_backprop.

    >>> import numpy as np, dwconv
    >>> y = np.array([0, 0.5, 6], np.float32)
    >>> dwconv.activation_backprop("relu6", np.full(3, 7, np.float32), y=y)
    array([0., 7., 0.], dtype=float32)
    """
    name = "activation_backprop"
    parsed = parse(name, "activation", activation)
    dy = as_array(name, "out_backprop", out_backprop, None)
    threads = gradient_engine.threads_of(name, num_threads)
    if (x is None) == (y is None):
        raise TypeError(f"{name}: pass one of x and y, what the activation was given or what it gave")
    argument = "x" if y is None else "y"
    values = as_array(name, argument, x if y is None else y, dy.dtype)
    if values.shape != dy.shape:
        raise ValueError(
            f"{name}: {argument} and out_backprop must have one shape, not {values.shape} and {dy.shape}"
        )
    from_output = y is not None
    if from_output and not gradients_numpy.has_slope_of_output(parsed):
        raise ValueError(
            f"{name}: the output of {activation!r} does not tell its slope, as two inputs can give the same "
            "output: pass x=, what the activation was given"
        )
    if out is not None and out is not dy:
        check_out(name, out, dy.shape, dy, argument="out_backprop")
        check_apart(name, out, [(argument, values)])
    return gradient_engine.activation_gradient(dy, values, parsed, from_output, out, threads)
