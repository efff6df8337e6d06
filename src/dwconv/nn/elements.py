"""What stands between convolutions, on a tape: activations, sums, shapes, batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import gradients
from ..activation import Activation, Array, apply, parse
from ..arrays import as_array
from ..normalization import batch_norm, batch_norm_backprop
from .tape import record
from .variables import Variable, value_of


def tensor(name: str, argument: str, x: Any) -> tuple[Any, Array]:
    """What tapes know it by, a variable, a scalar of NumPy or the very array; and its numbers."""
    array = as_array(name, argument, value_of(x), None)
    return (x if isinstance(x, Variable | np.generic) else array), array


# ---- activations ------------------------------------------------------------------------------


def activation_of(activation: Any) -> Any:
    """The name that a function of `dwconv.nn` stands for; everything else as it is."""
    return getattr(activation, "activation", activation) if callable(activation) else activation


def activate(x: Any, activation: Any) -> Array:
    """activation(x), elementwise, of any shape; the forms of `dwconv.ops`."""
    parsed: Activation = parse("activation", "activation", activation_of(activation))
    key, values = tensor("activation", "x", x)
    with np.errstate(all="ignore"):
        y = np.asarray(apply(values.copy(), parsed))
    return record(
        y,
        [key],
        lambda dy, _: [gradients.activation_backprop(parsed.normal, dy, x=values)],
    )


def softmax(logits: Any, axis: int = -1, name: str | None = None) -> Array:
    """exp(logits) / sum(exp(logits)) over `axis`. Semantics: TensorFlow's `tf.nn.softmax`.

    >>> softmax(np.zeros((1, 4), np.float32))
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    key, source = tensor("softmax", "logits", logits)
    y = np.exp(source - source.max(axis, keepdims=True))
    y /= y.sum(axis, keepdims=True)
    return record(y, [key], lambda dy, _: [y * (dy - (dy * y).sum(axis, keepdims=True))])


# ---- sums and shapes --------------------------------------------------------------------------


def add(x: Any, y: Any, name: str | None = None) -> Array:
    """x + y, of one shape, as for a residual connection. Semantics: TensorFlow's `tf.add`."""
    return add_n([x, y])  # type: ignore[no-any-return]


def add_n(inputs: Sequence[Any], name: str | None = None) -> Any:
    """The sum of arrays of one shape, or of losses. Semantics: TensorFlow's `tf.add_n`.

    >>> add_n([np.float32(1), np.float32(2)])
    np.float32(3.0)
    """
    if not inputs:
        raise ValueError("add_n: inputs is empty")
    values = [value_of(item) for item in inputs]
    if len({np.shape(value) for value in values}) > 1:
        raise ValueError(f"add_n: inputs must have one shape, not {[np.shape(v) for v in values]}")
    total = values[0] + 0  # another object than any input
    for value in values[1:]:
        total = total + value
    return record(total, inputs, lambda dy, wanted: [dy if flag else None for flag in wanted])


def reshape(x: Any, shape: Sequence[int]) -> Array:
    """Of as many elements; -1 follows from the others."""
    key, source = tensor("reshape", "x", x)
    before = source.shape
    y = source.reshape(tuple(shape))
    return record(y.view(), [key], lambda dy, _: [dy.reshape(before)])


def channels_last(x: Any) -> Array:
    """[batch, channels, height, width] as [batch, height, width, channels]."""
    return _transposed(x, (0, 2, 3, 1), (0, 3, 1, 2))


def channels_first(x: Any) -> Array:
    """[batch, height, width, channels] as [batch, channels, height, width]."""
    return _transposed(x, (0, 3, 1, 2), (0, 2, 3, 1))


def _transposed(x: Any, axes: tuple[int, ...], back: tuple[int, ...]) -> Array:
    key, source = tensor("transpose", "x", x)
    y = np.ascontiguousarray(source.transpose(axes))
    return record(y, [key], lambda dy, _: [np.ascontiguousarray(dy.transpose(back))])


def reduce_mean(
    input_tensor: Any,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    name: str | None = None,
) -> Any:
    """The mean over some axes, or over all. Semantics: TensorFlow's `tf.reduce_mean`.

    >>> reduce_mean(np.ones((1, 2, 2, 3), np.float32), axis=[1, 2])
    array([[1., 1., 1.]], dtype=float32)
    """
    key, source = tensor("reduce_mean", "input_tensor", input_tensor)
    axes = axis if axis is None or isinstance(axis, int) else tuple(axis)
    y = source.mean(axes, keepdims=keepdims)
    share = source.dtype.type(np.size(y) / max(1, source.size))
    kept = source.mean(axes, keepdims=True).shape

    def backward(dy: Array, _: tuple[bool, ...]) -> list[Array]:
        return [np.broadcast_to((dy * share).reshape(kept), source.shape).copy()]

    return record(y, [key], backward)


def dropped(x: Any, rate: float, rng: np.random.Generator) -> Array:
    """Each element is 0 with the probability `rate`; the others are divided by 1 - rate."""
    key, source = tensor("dropout", "x", x)
    kept = np.asarray(rng.random(source.shape) >= rate)
    factors = kept.astype(source.dtype) * source.dtype.type(1 / (1 - rate))
    return record(source * factors, [key], lambda dy, _: [dy * factors])


# ---- normalisation ----------------------------------------------------------------------------


def normalize(
    x: Any, scale: Any, offset: Any, epsilon: float, moments: tuple[Array, Array] | None = None,
    activation: Any = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """activation((x - mean) / sqrt(variance + epsilon) * scale + offset) over the last axis; and mean and
    variance.

    `moments`: mean and variance where they are known; None: those of x. `scale`, `offset` may be None;
    `activation`: None or one of `dwconv.normalization.CLAMPS`. Source: Ioffe and Szegedy (ICML 2015).
    """
    key, source = tensor("batch_normalization", "x", x)
    if source.size == 0 and moments is None:
        raise ValueError(f"batch_normalization: x is empty ({source.shape}): there is no mean to learn from")
    of_channels, options = (value_of(scale), value_of(offset)), {"epsilon": epsilon, "activation": activation}
    y, *found = batch_norm(source, *of_channels, moments=moments, **options)

    def backward(dy: Array, wanted: tuple[bool, ...]) -> list[Array | None]:
        fixed, asked = moments is not None, (wanted[0], wanted[1], wanted[2])
        return list(
            batch_norm_backprop(
                dy, source, *of_channels, (found[0], found[1]), fixed=fixed, wanted=asked, **options
            )
        )

    record(y, [key, scale, offset], backward)
    return y, found[0], found[1]


# ---- functions of TensorFlow's names ----------------------------------------------------------


def _named(activation: str, argument: str) -> Callable[..., Array]:
    def function(features: Any, name: str | None = None) -> Array:
        return activate(features, activation)

    function.__name__ = function.__qualname__ = activation
    function.__doc__ = (
        f"The activation {activation!r}, elementwise. Semantics: TensorFlow's `tf.nn.{argument}`."
    )
    function.activation = activation  # type: ignore[attr-defined]
    return function


relu = _named("relu", "relu")
relu6 = _named("relu6", "relu6")
sigmoid = _named("sigmoid", "sigmoid")
tanh = _named("tanh", "tanh")
silu = _named("silu", "silu")
swish = silu


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Array:
    """x, or alpha * x where x is negative. Semantics: TensorFlow's `tf.nn.leaky_relu`."""
    return activate(features, ("leaky_relu", alpha))


leaky_relu.activation = "leaky_relu"  # type: ignore[attr-defined]


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Array:
    """x * P(normal <= x), by erf or approximately by tanh. Semantics: TensorFlow's `tf.nn.gelu`."""
    return activate(features, "gelu_tanh" if approximate else "gelu")


gelu.activation = "gelu"  # type: ignore[attr-defined]
