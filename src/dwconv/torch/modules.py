"""Modules of PyTorch that dwconv runs, forward and backward, in float32; float64 goes through NumPy.

What dwconv does not have is PyTorch's as before, and a `dwconv.PerformanceWarning` says so once for each
module and reason: other padding modes, devices and dtypes, and autocast. Compilers, exporters and functional
transformations see PyTorch's own convolution.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch import nn

from ..layers import SeparableConv2D
from . import functions
from .functions import Convolution, Geometry
from .plain import DTYPES, Telling, is_bare, is_plain, needs_gradients


class _Packed(NamedTuple):
    """A layer for prediction, and the weights that it was made of."""

    layer: Any
    weights: list[Any]  # weak references
    state: list[Any]

    def is_of(self, weights: list[torch.Tensor]) -> bool:
        same = all(found() is weight for found, weight in zip(self.weights, weights, strict=True))
        return same and self.state == _state(weights)


def _state(weights: list[torch.Tensor]) -> list[Any]:
    """Changes with every change that PyTorch counts, and with memory."""
    return [(w.data_ptr(), None if w.is_inference() else w._version) for w in weights]


class _Cached(Telling, nn.Module):  # type: ignore[misc]
    """Keeps the packed layer of the last prediction: until PyTorch counted a change of a weight, and until
    `train` or `eval` is called, since PyTorch does not count changes through `.data`."""

    def _layer(self, weights: list[torch.Tensor], make: Any) -> Any:
        kept = self.__dict__.get("_packed")
        if kept is None or not kept.is_of(weights):
            kept = _Packed(make(), [weakref.ref(weight) for weight in weights], _state(weights))
            self.__dict__["_packed"] = kept
        return kept.layer

    def train(self, mode: bool = True) -> Any:
        self.__dict__.pop("_packed", None)
        return super().train(mode)


class Conv2d(_Cached, nn.Conv2d):  # type: ignore[misc]
    """`torch.nn.Conv2d`, with the same arguments, parameters and results, computed by dwconv.

    Tensors in `torch.channels_last` are read and written in place, forward and backward; the layout of the
    result is that of PyTorch's. Predictions (under `torch.no_grad()`, in evaluation mode) pack the weights
    once: call `.eval()` again after changes through `.data`, which PyTorch does not count. Gradients of
    gradients are PyTorch's. Results differ from PyTorch's by rounding.

    >>> import torch, dwconv.torch
    >>> conv = dwconv.torch.Conv2d(8, 8, 3, padding=1, groups=8)
    >>> y = conv(torch.ones(1, 8, 6, 6).to(memory_format=torch.channels_last))
    >>> y.shape, y.is_contiguous(memory_format=torch.channels_last)
    (torch.Size([1, 8, 6, 6]), True)
    """

    always_channels_last = False  # else the layout of results is that of PyTorch's convolution

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        lay_out(self)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        geometry = self.geometry_for(input)
        if geometry is None:
            return super().forward(input)
        x = input if input.ndim == 4 else input[None]
        last = self._gives_channels_last(x)
        if needs_gradients(x, self.weight, self.bias):
            y = Convolution.apply(x, self.weight, self.bias, geometry, last)
        elif self.training:
            y = functions.convolve(x, self.weight, self.bias, geometry, last)
        else:
            y = functions.predict(x, self._packed_layer(geometry), last)
        return y if input.ndim == 4 else y[0]

    def geometry_for(self, x: torch.Tensor) -> Geometry | None:
        """None where PyTorch computes this, which is told."""
        if not is_plain(x) or not is_plain(self.weight):
            return None
        reason = _reason(self, x)
        if reason:
            self._tell(reason)
        return geometry_of(self) if reason is None else None

    def _gives_channels_last(self, x: torch.Tensor) -> bool:
        looks = functions.looks_channels_last
        return self.always_channels_last or looks(x) or looks(self.weight)

    def _packed_layer(self, geometry: Geometry) -> Any:
        weights = [self.weight] if self.bias is None else [self.weight, self.bias]
        return self._layer(weights, lambda: functions.packed(self.weight, self.bias, geometry))


class DepthwiseSeparableConv(_Cached):
    """A depthwise and a pointwise convolution with biases, the module that tutorials write.

    Parameters are those of `nn.Conv2d` under `depthwise` and `pointwise`, so that state dicts of such a
    module load. `padding`: of the depthwise convolution, as in `nn.Conv2d`; images [batch, channels, height,
    width]. Predictions run both as one operation.

    >>> import torch, dwconv.torch
    >>> block = dwconv.torch.DepthwiseSeparableConv(32, 64)
    >>> block(torch.ones(1, 32, 14, 14)).shape
    torch.Size([1, 64, 14, 14])
    >>> sorted(block.state_dict())
    ['depthwise.bias', 'depthwise.weight', 'pointwise.bias', 'pointwise.weight']
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any = 3, stride: Any = 1, padding: Any = 1,
        dilation: Any = 1, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        more = {"bias": bias, "device": device, "dtype": dtype}
        self.depthwise = Conv2d(
            in_channels, in_channels, kernel_size, stride, padding, dilation, groups=in_channels, **more
        )
        self.pointwise = Conv2d(in_channels, out_channels, kernel_size=1, **more)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        first, last = self.depthwise, self.pointwise
        if not self._runs_as_one(input):
            return last(first(input))
        weights = [w for w in (first.weight, first.bias, last.weight, last.bias) if w is not None]
        layer = self._layer(weights, lambda: _fused(first, last))
        return functions.predict(
            input, layer, first._gives_channels_last(input) or last._gives_channels_last(input)
        )

    def _runs_as_one(self, x: torch.Tensor) -> bool:
        both = [self.depthwise, self.pointwise]
        if self.training or not all(type(part) is Conv2d and is_bare(part) for part in both):
            return False
        if not is_plain(x) or not all(is_plain(part.weight) for part in both) or x.ndim != 4:
            return False
        if needs_gradients(x, *(p for part in both for p in part.parameters())):
            return False
        depthwise, pointwise = both
        if geometry_of(depthwise).kind(depthwise.weight) != "depthwise":
            return False
        simple = geometry_of(pointwise) == Geometry((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
        return (
            simple
            and pointwise.weight.shape[2:] == (1, 1)
            and pointwise.in_channels == depthwise.out_channels
            and all(_reason(part, x) is None for part in (depthwise,))
            and pointwise.weight.dtype == depthwise.weight.dtype
            and pointwise.weight.device == depthwise.weight.device
        )


for _public in (Conv2d, DepthwiseSeparableConv):
    _public.__module__ = "dwconv.torch"  # where pickles look for it


def lay_out(module: nn.Conv2d) -> None:
    """Moves the weights to where dwconv reads them, and their gradients go, without a copy."""
    if module.weight.device.type == "cpu":
        with torch.no_grad():
            module.weight.data = functions.lay_out(module.weight.data)


# ---- what dwconv takes ------------------------------------------------------------------------


def geometry_of(module: nn.Conv2d) -> Geometry:
    left, right, top, bottom = module._reversed_padding_repeated_twice
    return Geometry(
        tuple(module.stride), ((top, bottom), (left, right)), tuple(module.dilation), module.groups
    )


def about_convolution(module: nn.Conv2d) -> str | None:
    """Why a convolution is PyTorch's, whatever it is given."""
    if module.padding_mode != "zeros":
        return f"padding_mode is {module.padding_mode!r}; dwconv pads with zeros"
    weight = module.weight
    if not weight.is_cpu:
        return f"the weights are on {weight.device}; dwconv runs on CPUs"
    if weight.dtype not in DTYPES:
        return f"the weights are {weight.dtype}; dwconv has float32, and float64 through NumPy"
    return None


def _reason(module: nn.Conv2d, x: torch.Tensor) -> str | None:
    """Why PyTorch has to do: "" where that is PyTorch's own error to tell."""
    found = about_convolution(module)
    if found is not None:
        return found
    if not x.is_cpu or x.layout != torch.strided:
        return f"the input is {x.layout} on {x.device}; dwconv takes strided tensors on CPUs"
    if torch.is_autocast_enabled("cpu"):
        return "autocast computes convolutions in half precision"
    bias, shape = module.bias, x.shape
    if x.dtype != module.weight.dtype or (bias is not None and bias.dtype != x.dtype):
        return ""
    if len(shape) not in (3, 4) or shape[-3] != module.in_channels or 0 in shape[-3:]:
        return ""
    (kernel_h, kernel_w), (dilation_h, dilation_w) = module.kernel_size, module.dilation
    left, right, top, bottom = module._reversed_padding_repeated_twice
    fits_down = (kernel_h - 1) * dilation_h < shape[-2] + top + bottom
    fits_across = (kernel_w - 1) * dilation_w < shape[-1] + left + right
    return None if fits_down and fits_across else ""


def _fused(depthwise: Conv2d, pointwise: Conv2d) -> SeparableConv2D:
    geometry = geometry_of(depthwise)

    def array(bias: torch.Tensor | None) -> Any:
        return None if bias is None else bias.detach().numpy()

    return SeparableConv2D(
        functions.filters(depthwise.weight, "depthwise", geometry.groups),
        functions.filters(pointwise.weight, "pointwise", 1),
        depthwise_bias=array(depthwise.bias), bias=array(pointwise.bias), **geometry.options("depthwise"),
    )  # fmt: skip
