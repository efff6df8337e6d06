"""Training with NumPy and dwconv alone: layers, losses and optimizers, and TensorFlow's names for them.

    model = nn.Sequential([nn.SeparableConv2D(32, 3, padding="same"), nn.BatchNorm(), nn.ReLU(6), ...])
    with nn.GradientTape() as tape:
        loss = nn.softmax_cross_entropy(model(images, training=True), labels)
    optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables))
    network = model.to_network()      # for prediction: fused, packed, saved, compiled

Images are NHWC. What is differentiated are calls of functions and layers of this module under a tape:
arithmetic of NumPy is not seen; `add_n` adds.
"""

from . import constraints, initializers, regularizers
from .convolutional import Conv2D, DepthwiseConv2D, SeparableConv2D
from .elements import (
    add,
    add_n,
    gelu,
    leaky_relu,
    reduce_mean,
    relu,
    relu6,
    reshape,
    sigmoid,
    silu,
    softmax,
    swish,
    tanh,
)
from .initializers import set_seed
from .layer import Layer
from .losses import (
    mean_squared_error,
    softmax_cross_entropy,
    softmax_cross_entropy_with_logits,
    sparse_softmax_cross_entropy_with_logits,
)
from .model import Residual, Sequential
from .optimizers import SGD, Adam
from .others import (
    Activation,
    AveragePool2D,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    MaxPool2D,
    ReLU,
    Softmax,
)
from .pooling import avg_pool2d, max_pool2d
from .tape import GradientTape
from .tf_nn import (
    bias_add,
    conv2d,
    conv2d_backprop_filter,
    conv2d_backprop_input,
    depthwise_conv2d,
    depthwise_conv2d_backprop_filter,
    depthwise_conv2d_backprop_input,
    separable_conv2d,
)
from .variables import (
    AUTO_REUSE,
    Variable,
    VariableStore,
    get_regularization_losses,
    get_variable,
    reset_default_graph,
    trainable_variables,
    variable_scope,
)

__all__ = [
    "AUTO_REUSE",
    "SGD",
    "Activation",
    "Adam",
    "AveragePool2D",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePool2D",
    "GradientTape",
    "Layer",
    "MaxPool2D",
    "ReLU",
    "Residual",
    "SeparableConv2D",
    "Sequential",
    "Softmax",
    "Variable",
    "VariableStore",
    "add",
    "add_n",
    "avg_pool2d",
    "bias_add",
    "constraints",
    "conv2d",
    "conv2d_backprop_filter",
    "conv2d_backprop_input",
    "depthwise_conv2d",
    "depthwise_conv2d_backprop_filter",
    "depthwise_conv2d_backprop_input",
    "gelu",
    "get_regularization_losses",
    "get_variable",
    "initializers",
    "leaky_relu",
    "max_pool2d",
    "mean_squared_error",
    "reduce_mean",
    "regularizers",
    "relu",
    "relu6",
    "reset_default_graph",
    "reshape",
    "separable_conv2d",
    "set_seed",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_logits",
    "sparse_softmax_cross_entropy_with_logits",
    "swish",
    "tanh",
    "trainable_variables",
    "variable_scope",
]
