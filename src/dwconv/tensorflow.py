"""What programs for TensorFlow use around convolutions, under its names: `import dwconv.tensorflow as tf`.

TensorFlow itself is not needed. Everything computes at once, on NumPy's arrays, as in TensorFlow 2; scopes,
`get_variable` and `tf.layers` are those of TensorFlow 1. `tf.nn`: `dwconv.nn`; `tf.layers`: `dwconv.layers`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from . import layers, nn
from .nn import (
    AUTO_REUSE,
    GradientTape,
    Variable,
    add,
    add_n,
    get_variable,
    reduce_mean,
    reset_default_graph,
    reshape,
    trainable_variables,
    variable_scope,
)
from .nn.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
    set_seed,
)

# Under TensorFlow 1's names, whose defaults are not always those of Keras.
constant_initializer = Constant
glorot_normal_initializer = GlorotNormal
glorot_uniform_initializer = GlorotUniform
ones_initializer = Ones
orthogonal_initializer = Orthogonal
variance_scaling_initializer = VarianceScaling
zeros_initializer = Zeros
set_random_seed = set_seed


def random_normal_initializer(
    mean: float = 0.0, stddev: float = 1.0, seed: int | None = None
) -> RandomNormal:
    return RandomNormal(mean, stddev, seed)


def random_uniform_initializer(
    minval: float = 0.0, maxval: float = 1.0, seed: int | None = None
) -> RandomUniform:
    return RandomUniform(minval, maxval, seed)


def truncated_normal_initializer(
    mean: float = 0.0, stddev: float = 1.0, seed: int | None = None
) -> TruncatedNormal:
    return TruncatedNormal(mean, stddev, seed)


def _sparse_softmax_cross_entropy(labels: Any, logits: Any) -> Any:
    """The mean over the batch. Semantics: TensorFlow 1's `tf.losses.sparse_softmax_cross_entropy`."""
    return nn.softmax_cross_entropy(logits, labels)


losses = SimpleNamespace(
    get_regularization_losses=nn.get_regularization_losses,
    sparse_softmax_cross_entropy=_sparse_softmax_cross_entropy,
)
random = SimpleNamespace(set_seed=set_seed)


class _Keras:
    """`tf.keras`: what is of NumPy alone; `layers` are trainable layers of `dwconv.nn`."""

    regularizers, constraints, initializers = nn.regularizers, nn.constraints, nn.initializers
    layers = SimpleNamespace(
        Conv2D=nn.Conv2D, DepthwiseConv2D=nn.DepthwiseConv2D, SeparableConv2D=nn.SeparableConv2D,
        Dense=nn.Dense, BatchNormalization=nn.BatchNorm, ReLU=nn.ReLU, Dropout=nn.Dropout,
        MaxPool2D=nn.MaxPool2D, AveragePooling2D=nn.AveragePool2D, Flatten=nn.Flatten,
        GlobalAveragePooling2D=nn.GlobalAveragePool2D, Activation=nn.Activation, Softmax=nn.Softmax,
    )  # fmt: skip
    optimizers = SimpleNamespace(SGD=nn.SGD, Adam=nn.Adam)
    Sequential = nn.Sequential


keras: Any = _Keras

__all__ = [
    "AUTO_REUSE",
    "GradientTape",
    "Variable",
    "add",
    "add_n",
    "constant_initializer",
    "get_variable",
    "glorot_normal_initializer",
    "glorot_uniform_initializer",
    "keras",
    "layers",
    "losses",
    "nn",
    "ones_initializer",
    "orthogonal_initializer",
    "random",
    "random_normal_initializer",
    "random_uniform_initializer",
    "reduce_mean",
    "reset_default_graph",
    "reshape",
    "set_random_seed",
    "trainable_variables",
    "truncated_normal_initializer",
    "variable_scope",
    "variance_scaling_initializer",
    "zeros_initializer",
]
