"""Depthwise, pointwise, dense, separable and inverted-residual convolution on CPUs.

Functions take filters with every call; layers pack them once and are the fast way. Tensors are NHWC. What all
functions share is told in `dwconv.ops`; `show_config()` tells what runs them.
"""

from .config import (
    PerformanceWarning,
    config,
    get_include,
    get_num_threads,
    set_num_threads,
    show_config,
    version,
)
from .layers import Conv2D, DepthwiseConv2D, InvertedResidual, PointwiseConv2D, SeparableConv2D
from .ops import conv2d, depthwise_conv2d, inverted_residual, pointwise_conv2d, separable_conv2d

__version__ = version()

__all__ = [
    "Conv2D",
    "DepthwiseConv2D",
    "InvertedResidual",
    "PerformanceWarning",
    "PointwiseConv2D",
    "SeparableConv2D",
    "__version__",
    "config",
    "conv2d",
    "depthwise_conv2d",
    "get_include",
    "get_num_threads",
    "inverted_residual",
    "pointwise_conv2d",
    "separable_conv2d",
    "set_num_threads",
    "show_config",
]
