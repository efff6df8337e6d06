"""Depthwise, pointwise, dense, separable and inverted-residual convolution on CPUs.

Functions take filters with every call; layers pack them once and are the fast way. Tensors are NHWC. What all
functions share is told in `dwconv.ops`; `show_config()` tells what runs them. Whole networks come from model
files with `load`, or from modules of other frameworks: `dwconv.network`. `dwconv.nn` trains.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import (
    PerformanceWarning,
    config,
    get_include,
    get_num_threads,
    set_num_threads,
    show_config,
    version,
)
from .constructors import load
from .gradients import (
    activation_backprop,
    bias_backprop,
    conv2d_backprop,
    conv2d_backprop_filter,
    conv2d_backprop_input,
    depthwise_conv2d_backprop,
    depthwise_conv2d_backprop_filter,
    depthwise_conv2d_backprop_input,
    pointwise_conv2d_backprop,
    pointwise_conv2d_backprop_filter,
    pointwise_conv2d_backprop_input,
)
from .graph import UnsupportedModel
from .layers import Conv2D, DepthwiseConv2D, InvertedResidual, PointwiseConv2D, SeparableConv2D
from .network import Network
from .ops import conv2d, depthwise_conv2d, inverted_residual, pointwise_conv2d, separable_conv2d
from .quantized import SqueezeExciteQuantization, dequantize, quantize

if TYPE_CHECKING:
    from . import nn  # noqa: F401

__version__ = version()


def __getattr__(name: str) -> Any:
    """`dwconv.nn`, which only training needs, is imported where it is used first."""
    if name == "nn":
        return import_module(".nn", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def from_torch(module: Any, example_input: Any = None, **options: Any) -> Any:
    """A layer or a network of a PyTorch module: see `dwconv.importers.torch.from_torch`."""
    from .importers import torch

    return torch.from_torch(module, example_input, **options)


def from_keras(model: Any, **options: Any) -> Any:
    """A layer or a network of a Keras 3 layer or model: see `dwconv.importers.keras.from_keras`."""
    from .importers.keras import from_keras as made

    return made(model, **options)


__all__ = [
    "Conv2D",
    "DepthwiseConv2D",
    "InvertedResidual",
    "Network",
    "PerformanceWarning",
    "PointwiseConv2D",
    "SeparableConv2D",
    "SqueezeExciteQuantization",
    "UnsupportedModel",
    "__version__",
    "activation_backprop",
    "bias_backprop",
    "config",
    "conv2d",
    "conv2d_backprop",
    "conv2d_backprop_filter",
    "conv2d_backprop_input",
    "depthwise_conv2d",
    "depthwise_conv2d_backprop",
    "depthwise_conv2d_backprop_filter",
    "depthwise_conv2d_backprop_input",
    "dequantize",
    "from_keras",
    "from_torch",
    "get_include",
    "get_num_threads",
    "inverted_residual",
    "load",
    "pointwise_conv2d",
    "pointwise_conv2d_backprop",
    "pointwise_conv2d_backprop_filter",
    "pointwise_conv2d_backprop_input",
    "quantize",
    "separable_conv2d",
    "set_num_threads",
    "show_config",
]
