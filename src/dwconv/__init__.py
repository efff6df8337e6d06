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
    """A layer of `dwconv.layers` for a PyTorch module that is one layer or block, else a `dwconv.Network`.

    `module`: in evaluation mode, on the CPU, in float32, as `nn.Sequential(nn.Conv2d(...),
    nn.BatchNorm2d(...), nn.ReLU6())`; batch norm is folded. A layer takes and gives NHWC images, a network
    what the module does. `example_input`: a tensor, or a tuple of them, of the shape that a network is made
    for; a layer needs none.

    Raises ValueError for a network without an example and for other dtypes, TypeError for what is no module,
    `dwconv.UnsupportedModel` for operations that dwconv lacks. Source: `torch.export`.

        layer = dwconv.from_torch(torch.nn.Conv2d(8, 8, 3, padding=1, groups=8))  # a DepthwiseConv2D
        net = dwconv.from_torch(torchvision.models.mobilenet_v2().eval(), torch.zeros(1, 3, 224, 224))
    """
    from .importers import torch

    return torch.from_torch(module, example_input, **options)


def from_keras(model: Any, **options: Any) -> Any:
    """A layer of `dwconv.layers` for a Keras 3 layer or block, else a `dwconv.Network`.

    `model`: a layer, a list of layers that follow each other, or a model, in float32 and "channels_last";
    batch norm is folded. `input_shape`: [batch, height, width, channels], None for sizes that calls decide;
    needed for layers that have not been built.

    Raises ValueError for other dtypes and shapes, TypeError for what is no layer, `dwconv.UnsupportedModel`
    for operations that dwconv lacks.

        layer = dwconv.from_keras(keras.layers.Conv2D(4, 3), input_shape=(1, 8, 8, 3))  # a Conv2D
        net = dwconv.from_keras(keras.applications.MobileNetV2())
    """
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
