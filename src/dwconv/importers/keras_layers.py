"""Layers of Keras as nodes. Images are channels_last; sequences are images of one row."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .keras_graph import Net, T, UnsupportedError, array, handles


def _channels_last(layer: Any) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UnsupportedError(
            "data_format='channels_first'; channels_last is supported: build the model with it and copy the "
            "weights, which have the same layout in both"
        )


def _two(value: Any, one: int = 1) -> tuple[int, int]:
    """Of height and width; a sequence has a height of 1."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return (one, int(sizes[0])) if len(sizes) == 1 else (int(sizes[0]), int(sizes[1]))


def _image(net: Net, x: T) -> T:
    shape = net.shape(x)
    if len(shape) == 4:
        return x
    if len(shape) != 3:
        raise UnsupportedError(f"{len(shape) - 2} spatial axes; 1 and 2 are supported")
    return net.reshape(x, (0, 1, *shape[1:]))


def _like(net: Net, y: T, x: T) -> T:
    """An image as a sequence, where x is one."""
    if net.rank(x) == 4:
        return y
    return net.reshape(y, (0, *net.shape(y)[2:]))


# ---- convolutions -------------------------------------------------------------------------------


def _window(layer: Any, kernel: Any) -> dict[str, Any]:
    strides, dilations, padding = _two(layer.strides), _two(layer.dilation_rate), layer.padding.lower()
    if padding == "causal":
        padding = ((0, 0), ((kernel[1] - 1) * dilations[1], 0))
    return {"strides": strides, "padding": padding, "dilations": dilations}


def _rows(kernel: Any) -> Any:
    """Filters [kernel, in, out] of a sequence with one row."""
    return kernel if kernel.ndim == 4 else kernel[None]


def _bias(layer: Any) -> Any:
    return array(layer.bias) if layer.use_bias else None


@handles("Conv1D", "Conv2D")
def conv(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    kernel = _rows(array(layer.kernel))
    window = _window(layer, kernel.shape)
    y = net.node("conv", _image(net, x), kernel, _bias(layer), groups=layer.groups, **window)
    return net.activated(_like(net, y, x), layer.activation)


def _depthwise(net: Net, layer: Any, x: T, kernel: Any, bias: Any) -> T:
    kernel = _rows(kernel)
    height, width, channels, multiplier = kernel.shape
    filters = kernel.reshape(height, width, 1, channels * multiplier)
    return net.node("conv", x, filters, bias, groups=channels, **_window(layer, kernel.shape))


@handles("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    y = _depthwise(net, layer, _image(net, x), array(layer.kernel), _bias(layer))
    return net.activated(_like(net, y, x), layer.activation)


@handles("SeparableConv1D", "SeparableConv2D")
def separable(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    y = _depthwise(net, layer, _image(net, x), array(layer.depthwise_kernel), None)
    y = net.node("conv", y, _rows(array(layer.pointwise_kernel)), _bias(layer))
    return net.activated(_like(net, y, x), layer.activation)


@handles("Conv1DTranspose", "Conv2DTranspose")
def conv_transpose(net: Net, layer: Any, x: T) -> T:
    """Where backends of Keras differ (PyTorch pads on one side alone), what TensorFlow and JAX compute."""
    _channels_last(layer)
    image, kernel = _image(net, x), _rows(array(layer.kernel))
    strides, dilations = _two(layer.strides), _two(layer.dilation_rate)
    given = (None, None) if layer.output_padding is None else _two(layer.output_padding, 0)
    cut, more = [], []
    for axis in range(2):
        reach = (kernel.shape[axis] - 1) * dilations[axis] + 1
        full = (net.shape(image)[1 + axis] - 1) * strides[axis] + reach
        before, out = _cut(layer.padding.lower(), reach, strides[axis], full, given[axis])
        cut.append((before, max(full - before - out, 0)))
        more.append(max(before + out - full, 0))
    filters = np.ascontiguousarray(kernel.transpose(0, 1, 3, 2))
    y = net.node(
        "transpose_conv", image, filters, _bias(layer),
        strides=strides, dilations=dilations, padding=tuple(cut), output_padding=tuple(more),
    )  # fmt: skip
    return net.activated(_like(net, y, x), layer.activation)


def _cut(padding: str, reach: int, stride: int, full: int, more: int | None) -> tuple[int, int]:
    """(rows cut off at the front of the full result, rows that are kept), as in keras.ops.conv_transpose."""
    if padding == "valid":
        return 0, full + (max(stride - reach, 0) if more is None else more)
    total = stride + reach - 2 if more is None else reach + reach % 2 - 2 + more
    before = reach - 1 - min(total // 2 + total % 2, reach - 1)
    return before, full - reach + (stride if more is None else reach % 2 + more)


@handles("Dense")
def dense(net: Net, layer: Any, x: T) -> T:
    """Over the last axis: a 1x1 convolution."""
    kernel, shape = array(layer.kernel), net.shape(x)
    inputs, outputs = kernel.shape
    rank = len(shape)
    if rank == 4:
        image = x
    elif rank == 3:
        image = net.reshape(x, (0, 1, *shape[1:]))
    else:
        image = net.reshape(x, (0, 1, int(np.prod(shape[1:-1], dtype=np.int64)), inputs))
    y = net.node("conv", image, kernel.reshape(1, 1, inputs, outputs), _bias(layer))
    y = y if rank == 4 else net.reshape(y, (0, *shape[1:-1], outputs))
    return net.activated(y, layer.activation)


# ---- norms and scales ---------------------------------------------------------------------------


@handles("BatchNormalization")
def batch_normalization(net: Net, layer: Any, x: T) -> T:
    mean, variance = (array(v).astype(np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = 1 / np.sqrt(variance + layer.epsilon)
    scale = scale * array(layer.gamma) if layer.scale else scale
    offset = (array(layer.beta) if layer.center else 0) - mean * scale
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    at = [net.axis(x, axis) for axis in axes]
    shape = [n if axis in at else 1 for axis, n in enumerate(net.shape(x))]
    return scaled(net, x, scale.reshape(shape), offset.reshape(shape))


def scaled(net: Net, x: T, scale: Any, offset: Any) -> T:
    """x * scale + offset with constants."""
    scale, offset = (np.asarray(item, np.float32) for item in (scale, offset))
    if scale.size == 1 and offset.size == 1:
        return net.unary("linear", x, float(scale.reshape(())), float(offset.reshape(())))
    y = net.binary("mul", x, scale)
    return net.binary("add", y, offset) if offset.any() else y


@handles("Rescaling")
def rescaling(net: Net, layer: Any, x: T) -> T:
    return scaled(net, x, layer.scale, layer.offset)


@handles("Normalization")
def normalization(net: Net, layer: Any, x: T) -> T:
    """After `adapt`, or with the mean and variance it was made with."""
    layer.finalize_state()
    mean, variance = (array(v).astype(np.float64) for v in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.backend.epsilon())
    if layer.invert:
        return scaled(net, x, deviation, mean)
    return scaled(net, x, 1 / deviation, -mean / deviation)


# ---- pools and sizes ----------------------------------------------------------------------------


def _pool(net: Net, layer: Any, x: T, op: str) -> T:
    _channels_last(layer)
    padding = layer.padding.lower()
    window = {"kernel": _two(layer.pool_size), "strides": _two(layer.strides), "padding": padding}
    return _like(net, net.node(op, _image(net, x), **window), x)


@handles("MaxPooling1D", "MaxPooling2D")
def max_pool(net: Net, layer: Any, x: T) -> T:
    return _pool(net, layer, x, "max_pool")


@handles("AveragePooling1D", "AveragePooling2D")
def average_pool(net: Net, layer: Any, x: T) -> T:
    return _pool(net, layer, x, "average_pool")


@handles("GlobalAveragePooling1D", "GlobalAveragePooling2D")
def global_average_pool(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    return net.reduce("mean", x, list(range(1, net.rank(x) - 1)), layer.keepdims)


@handles("GlobalMaxPooling1D", "GlobalMaxPooling2D")
def global_max_pool(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    return net.reduce("max", x, list(range(1, net.rank(x) - 1)), layer.keepdims)


def _pairs(value: Any) -> list[tuple[int, int]]:
    """((top, bottom), (left, right)), or (left, right) of a sequence."""
    items = [value] if isinstance(value[0], int) else value
    return [(int(before), int(after)) for before, after in items]


@handles("ZeroPadding1D", "ZeroPadding2D")
def zero_padding(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    return net.node("pad", x, pads=((0, 0), *_pairs(layer.padding), (0, 0)))


@handles("Cropping1D", "Cropping2D")
def cropping(net: Net, layer: Any, x: T) -> T:
    """Negative ends, so that the sizes of the image are no part of the graph."""
    _channels_last(layer)
    inner = [(before, -after if after else None, 1) for before, after in _pairs(layer.cropping)]
    return net.node("slice", x, slices=(None, *inner, None))


@handles("UpSampling1D", "UpSampling2D")
def up_sampling(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    kind = getattr(layer, "interpolation", "nearest")
    scales = tuple(float(n) for n in _two(layer.size))
    if kind == "nearest":
        how = {"kind": "nearest", "coordinates": "asymmetric", "rounding": "floor"}
    elif kind == "bilinear":
        how = {"kind": "linear", "coordinates": "half_pixel"}
    else:
        raise UnsupportedError(f"interpolation={kind!r}; 'nearest' and 'bilinear' are supported")
    return _like(net, net.node("resize", _image(net, x), scales=scales, **how), x)


# ---- shapes -------------------------------------------------------------------------------------


@handles("Flatten")
def flatten(net: Net, layer: Any, x: T) -> T:
    _channels_last(layer)
    return net.reshape(x, (0, -1))


@handles("Reshape")
def reshape(net: Net, layer: Any, x: T) -> T:
    return net.reshape(x, (0, *layer.target_shape))


@handles("Permute")
def permute(net: Net, layer: Any, x: T) -> T:
    return net.node("transpose", x, perm=(0, *layer.dims))


@handles("Concatenate")
def concatenate(net: Net, layer: Any, x: list[T]) -> T:
    if len(x) == 1:
        return x[0]
    return net.node("concat", *x, axis=net.axis(x[0], layer.axis))


MERGED = {
    "Add": "add", "Subtract": "sub", "Multiply": "mul", "Average": "add", "Maximum": "max", "Minimum": "min",
}  # fmt: skip


@handles(*MERGED)
def merge(net: Net, layer: Any, x: list[T]) -> T:
    """Of several tensors; those of fewer axes get axes of 1 behind the batch."""
    kind = next(MERGED[cls.__name__] for cls in type(layer).__mro__ if cls.__name__ in MERGED)
    rank = max(net.rank(item) for item in x)
    same = []
    for item in x:
        missing = rank - net.rank(item)
        same.append(net.reshape(item, (0, *[1] * missing, *net.shape(item)[1:])) if missing else item)
    y = same[0]
    for item in same[1:]:
        y = net.binary(kind, y, item)
    return net.unary("linear", y, 1 / len(same)) if isinstance(layer, keras.layers.Average) else y


# ---- elementwise --------------------------------------------------------------------------------


@handles("Activation")
def activation(net: Net, layer: Any, x: T) -> T:
    return net.activated(x, layer.activation)


@handles("PReLU")
def prelu(net: Net, layer: Any, x: T) -> T:
    return net.node("prelu", x, array(layer.alpha))


@handles("Softmax")
def softmax(net: Net, layer: Any, x: Any) -> T:
    if not isinstance(x, T):
        raise UnsupportedError("a mask; Softmax of one tensor is supported")
    if not isinstance(layer.axis, int):
        raise UnsupportedError(f"axis={layer.axis}; one axis is supported")
    return net.node("softmax", x, axis=net.axis(x, layer.axis))


@handles(
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise",
    "ActivityRegularization", "Identity", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom",
    "RandomContrast", "RandomBrightness",
)  # fmt: skip
def nothing(net: Net, layer: Any, x: T) -> T:
    """What does something in training alone."""
    return x
