"""What training makes small, on a tape: scalars of the dtype of the logits or weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..activation import Array
from .elements import reduce_mean, tensor
from .tape import record
from .variables import Variable


def softmax_cross_entropy(logits: Any, labels: Any, label_smoothing: float = 0.0) -> Any:
    """The mean over the batch of -sum(p * log(softmax(logits))).

    `logits`: [batch, classes]. `labels`: integers [batch], or probabilities [batch, classes], p.
    `label_smoothing`: this share of p is spread over all classes. Semantics:
    `torch.nn.functional.cross_entropy`. Raises ValueError for shapes or classes that do not fit.

    >>> float(softmax_cross_entropy(np.zeros((2, 4), np.float32), [1, 3]).round(4))
    1.3863
    """
    return reduce_mean(_cross_entropies("softmax_cross_entropy", logits, labels, label_smoothing))


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any, name: str | None = None) -> Array:
    """The same for each image of the batch, of integers. Semantics: TensorFlow's function of `tf.nn`."""
    return _cross_entropies("sparse_softmax_cross_entropy_with_logits", logits, labels)


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: int = -1, name: Any = None) -> Array:
    """The same for each image of the batch, of probabilities. Semantics: TensorFlow's function of `tf.nn`."""
    if axis not in (-1, 1):
        raise ValueError(f"softmax_cross_entropy_with_logits: axis must be the last one, not {axis!r}")
    return _cross_entropies("softmax_cross_entropy_with_logits", logits, labels)


def _cross_entropies(name: str, logits: Any, labels: Any, smoothing: float = 0.0) -> Array:
    key, x = tensor(name, "logits", logits)
    p = _probabilities(name, x, labels)
    if not 0 <= smoothing < 1:
        raise ValueError(f"{name}: label_smoothing must be in [0, 1), not {smoothing!r}")
    if smoothing:
        p = p * x.dtype.type(1 - smoothing) + x.dtype.type(smoothing / x.shape[1])
    shifted = x - x.max(axis=1, keepdims=True)
    exponents = np.exp(shifted)
    totals = exponents.sum(axis=1, keepdims=True)
    losses = np.asarray((p * (np.log(totals) - shifted)).sum(axis=1))

    def backward(dy: Array, _: tuple[bool, ...]) -> list[Array]:
        weights = p.sum(axis=1, keepdims=True)
        return [(exponents / totals * weights - p) * dy[:, None]]

    return record(losses, [key], backward)


def _probabilities(name: str, x: Array, labels: Any) -> Array:
    given = np.asarray(labels)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"{name}: logits must be [batch, classes], not {x.shape}")
    if given.dtype.kind in "iu" and given.shape == x.shape[:1]:
        if given.min() < 0 or given.max() >= x.shape[1]:
            raise ValueError(
                f"{name}: labels must be from 0 to {x.shape[1] - 1}, not {given.min()} to {given.max()}"
            )
        return np.asarray(np.eye(x.shape[1], dtype=x.dtype)[given])
    if given.shape != x.shape or given.dtype.kind not in "fiu":
        raise ValueError(
            f"{name}: labels must be integers [batch] or probabilities [batch, classes], not "
            f"{given.dtype} {given.shape} (logits {x.shape})"
        )
    return given.astype(x.dtype)


def mean_squared_error(predictions: Any, targets: Any) -> Any:
    """The mean of (predictions - targets)^2 over all elements.

    >>> mean_squared_error(np.ones(3, np.float32), [1, 2, 3])
    np.float32(1.6666666)
    """
    key, x = tensor("mean_squared_error", "predictions", predictions)
    difference = x - np.asarray(targets, x.dtype)
    if difference.shape != x.shape or x.size == 0:
        raise ValueError(
            f"mean_squared_error: targets must have the shape {x.shape} of predictions, not "
            f"{np.shape(targets)}"
        )
    loss = x.dtype.type(np.mean(np.square(difference), dtype=np.float64))
    return record(loss, [key], lambda dy, _: [difference * x.dtype.type(2 * dy / x.size)])


def penalty(variable: Variable) -> Any:
    """What the regulariser of a variable says of it."""
    regularizer, value = variable.regularizer, variable.value
    if regularizer is None:
        raise ValueError(f"variable {variable.name!r} has no regularizer")
    loss = value.dtype.type(regularizer(value))
    return record(loss, [variable], lambda dy, _: [regularizer.gradient(value) * value.dtype.type(dy)])


def activity_penalty(regularizer: Any, y: Array) -> Any:
    """What a regulariser says of a result, divided by the size of the batch, as Keras does."""
    count = y.dtype.type(max(1, len(y)))
    loss = y.dtype.type(regularizer(y) / count)
    return record(loss, [y], lambda dy, _: [regularizer.gradient(y) * (y.dtype.type(dy) / count)])
