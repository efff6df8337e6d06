"""Maximum and mean over windows, on a tape, as TensorFlow's `tf.nn.max_pool2d` and `tf.nn.avg_pool2d`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activation import Array
from ..build import Sliding
from ..fallback import taps
from ..geometry import Window, data_format, shape, steps
from .elements import channels_first, channels_last, tensor
from .tape import record


def max_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = "NHWC",
    name: str | None = None,
) -> Array:  # fmt: skip
    """The largest value of every window; the first of equal ones has the gradient.

    `ksize`, `strides`: an int, (height, width) or [1, height, width, 1]; `padding` as in `dwconv.ops`.

    >>> max_pool2d(np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1), 2, 2, "VALID").ravel()
    array([ 5.,  7., 13., 15.], dtype=float32)
    """
    return _pooled("max_pool2d", _maximum, input, ksize, strides, padding, data_format)


def avg_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = "NHWC",
    name: str | None = None,
) -> Array:  # fmt: skip
    """The mean of every window, over those of its pixels that are in the image.

    Arguments as for `max_pool2d`.

    >>> avg_pool2d(np.ones((1, 3, 3, 1), np.float32), 2, 2, "SAME").ravel()
    array([1., 1., 1., 1.], dtype=float32)
    """
    return _pooled("avg_pool2d", _mean, input, ksize, strides, padding, data_format)


def _pooled(
    name: str, function: Any, input: Any, ksize: Any, strides: Any, padding: Any, layout: Any
) -> Array:
    nchw = data_format(name, layout or "NHWC")
    key, x = tensor(name, "input", input)
    if nchw:
        return channels_first(_pooled(name, function, channels_last(input), _inner(name, "ksize", ksize),
                                      _inner(name, "strides", strides), padding, "NHWC"))  # fmt: skip
    window = Sliding(strides, padding).window(name, *steps(name, "ksize", ksize))
    sizes = shape(f"{name}: input", x.shape)
    size = window.output_size(name, sizes[1], sizes[2])
    y = function(key, x, np.empty((len(x), *size, x.shape[3]), x.dtype), window)
    return y  # type: ignore[no-any-return]


def _inner(name: str, argument: str, value: Any) -> tuple[int, int]:
    return steps(name, argument, value, nchw=True)


def _maximum(key: Any, x: Array, y: Array, window: Window) -> Array:
    """`chosen` has the number of the tap whose value it was."""
    y.fill(-np.inf)
    chosen = np.full(y.shape, -1, np.int32)
    places = list(taps(window, x.shape))
    for number, (_, outputs, inputs) in enumerate(places):
        better = (x[inputs] > y[outputs]) | np.isnan(x[inputs]) | (chosen[outputs] < 0)
        better &= ~np.isnan(y[outputs])
        np.copyto(y[outputs], x[inputs], where=better)
        np.copyto(chosen[outputs], number, where=better)
    _no_empty_window(chosen[0, ..., 0] >= 0 if len(x) else np.ones(1, bool))

    def backward(dy: Array, wanted: tuple[bool, ...]) -> list[Array]:
        dx = np.zeros(x.shape, dy.dtype)
        for number, (_, outputs, inputs) in enumerate(places):
            dx[inputs] += np.where(chosen[outputs] == number, dy[outputs], 0)
        return [dx]

    return record(y, [key], backward)


def _mean(key: Any, x: Array, y: Array, window: Window) -> Array:
    y.fill(0)
    counts = np.zeros((1, *y.shape[1:3], 1), x.dtype)
    places = list(taps(window, x.shape))
    for _, outputs, inputs in places:
        y[outputs] += x[inputs]
        counts[outputs] += 1
    _no_empty_window(counts > 0)
    y /= counts

    def backward(dy: Array, wanted: tuple[bool, ...]) -> list[Array]:
        dx, shares = np.zeros(x.shape, dy.dtype), dy / counts
        for _, outputs, inputs in places:
            dx[inputs] += shares[outputs]
        return [dx]

    return record(y, [key], backward)


def _no_empty_window(has_pixels: Array) -> None:
    if not has_pixels.all():
        raise ValueError("pooling: padding makes windows without a pixel of the image: it must be smaller")
