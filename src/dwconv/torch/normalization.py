"""Batch normalization of PyTorch's tensors on dwconv, with the convolution before it and the clamp behind it.

Source: Ioffe and Szegedy (ICML 2015); semantics: `torch.nn.BatchNorm2d`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from ..activation import ActivationLike, Array, parse
from ..config import core, native_isa
from ..normalization import batch_norm, batch_norm_backprop
from . import functions
from .functions import Geometry, in_layout, looks_channels_last, new_image, nhwc
from .modules import Conv2d, geometry_of
from .plain import DTYPES, PLAIN, Telling, is_plain, needs_gradients
from .teams import threads

# What may follow, and is computed in the same pass.
CLAMPS: dict[type[nn.Module], Any] = {nn.ReLU: "relu", nn.ReLU6: "relu6"}


class Normalization(torch.autograd.Function):  # type: ignore[misc]
    """Of x, weight and bias, all float32 or float64 on the CPU; `state` is a `State`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, state: State
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.state = state
        return state.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        wanted, tensors = ctx.needs_input_grad[:3], ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: gradients of gradients are PyTorch's
            x, weight, bias = tensors
            return (*_pytorch_backward(dy, tensors, x, weight, bias, ctx.state, wanted), None)
        return (*ctx.state.backward(dy, *tensors, wanted), None)


class Unit(torch.autograd.Function):  # type: ignore[misc]
    """A convolution of x, weight and bias, and the normalization of what it gives: one operation."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
        scale: torch.Tensor | None, offset: torch.Tensor | None, geometry: Geometry, state: State,
    ) -> torch.Tensor:  # fmt: skip
        between = functions.convolve(x, weight, bias, geometry, True)
        ctx.save_for_backward(x, weight, bias, scale, offset, between)
        ctx.geometry, ctx.state = geometry, state
        return state.forward(between, scale, offset)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        *tensors, between = ctx.saved_tensors
        x, weight, bias, scale, offset = tensors
        wanted, geometry, state = ctx.needs_input_grad[:5], ctx.geometry, ctx.state
        if torch.is_grad_enabled():
            convolution = functions.pytorch_convolution(x, weight, bias, geometry)
            found = _pytorch_backward(dy, tensors, convolution, scale, offset, state, wanted)
            return (*found, None, None)
        at_once = state.backward_through(dy, x, weight, geometry, between, scale, offset, wanted)
        if at_once is not None:
            return (*at_once, None, None)
        slope, *of_channels = state.backward(dy, between, scale, offset, (any(wanted[:3]), *wanted[3:]))
        of_weights: Any = (None, None, None)
        if slope is not None:
            of_weights = functions.backward(slope, x, weight, geometry, wanted[:3], True)
        return (*of_weights, *of_channels, None, None)


class State:
    """One normalization: its options, and the moments that it is given or finds."""

    def __init__(
        self, epsilon: float, activation: ActivationLike, moments: tuple[Array, Array] | None, last: bool
    ) -> None:
        self.epsilon, self.activation, self.last = epsilon, activation, last
        self.moments, self.fixed = moments, moments is not None

    def forward(self, x: torch.Tensor, weight: Any, bias: Any) -> torch.Tensor:
        y, out = new_image(x.shape, x)
        workers, of_channels = threads(), (_array(weight), _array(bias))
        kernel = self._kernel(x)
        if kernel is None:
            options: Any = {"epsilon": self.epsilon, "moments": self.moments, "activation": self.activation}
            _, *moments = batch_norm(nhwc(x), *of_channels, **options, out=out, num_threads=workers)
            self.moments = moments[0], moments[1]
        else:
            if self.moments is None:
                self.moments = np.empty(x.shape[1], np.float32), np.empty(x.shape[1], np.float32)
            kernel.forward(nhwc(x), *of_channels, *self.moments, out, workers)
        return in_layout(y, self.last)

    def _kernel(self, x: torch.Tensor) -> Any:
        """Of the C core, whose arguments are known to be right; None where NumPy must do."""
        isa = native_isa() if x.dtype == torch.float32 and x.numel() else None
        return isa and _kernel_of(x.shape[1], self.epsilon, self.activation, self.fixed, isa)

    def backward(
        self, dy: torch.Tensor, x: torch.Tensor, weight: Any, bias: Any, wanted: Any
    ) -> tuple[torch.Tensor | None, ...]:
        assert self.moments is not None
        dx, out = new_image(x.shape, x) if wanted[0] else (None, None)
        workers, given, kernel = threads(), (_array(weight), _array(bias)), self._kernel(x)
        if kernel is None:
            options: Any = {"epsilon": self.epsilon, "activation": self.activation, "fixed": self.fixed}
            _, *found = batch_norm_backprop(
                nhwc(dy), nhwc(x), *given, self.moments, **options, wanted=tuple(wanted), out=out,
                num_threads=workers,
            )  # fmt: skip
        else:
            found = [np.empty(x.shape[1], np.float32) if flag else None for flag in wanted[1:]]
            kernel.backward(nhwc(x), *given, *self.moments, nhwc(dy), out, *found, workers)
        of_channels = [None if array is None else torch.from_numpy(array) for array in found]
        return None if dx is None else in_layout(dx, self.last), *of_channels

    def backward_through(
        self, dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry,
        between: torch.Tensor, scale: Any, offset: Any, wanted: Any,
    ) -> tuple[torch.Tensor | None, ...] | None:  # fmt: skip
        """And of the convolution of x that gave `between`; None where the core does not do both at once."""
        assert self.moments is not None
        kernel = self._kernel(between)
        if kernel is None or not wanted[1] or not functions.goes_with_norm(geometry, weight, wanted[0]):
            return None
        dx, out = new_image(x.shape, x) if wanted[0] else (None, None)
        found = [np.empty(between.shape[1], np.float32) if flag else None for flag in wanted[3:]]
        given = _array(scale), _array(offset), *self.moments
        weights = kernel.backward_through(
            *functions.gradient_of(geometry, x, weight), nhwc(x), nhwc(between), *given, nhwc(dy), out,
            wanted[2], *found, threads(),
        )  # fmt: skip
        if weights is NotImplemented:
            return None
        dw, *rest = weights
        arrays = [None if array is None else torch.from_numpy(array) for array in (*rest, *found)]
        return dx, functions.as_weight(dw, weight), *arrays


@lru_cache(256)
def _kernel_of(channels: int, epsilon: float, activation: Any, fixed: bool, isa: str) -> Any:
    return core.BatchNorm(channels, epsilon, parse("BatchNorm2d", "activation", activation), fixed, isa)


def _array(tensor: torch.Tensor | None) -> Array | None:
    return None if tensor is None else tensor.detach().numpy()


def _pytorch_backward(
    dy: torch.Tensor, tensors: Any, x: torch.Tensor, weight: Any, bias: Any, state: State, wanted: Any
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of `tensors`, which x is made of, by operations that PyTorch differentiates."""
    assert state.moments is not None
    mean, variance = (torch.from_numpy(array) for array in state.moments)
    y = nn.functional.batch_norm(x, mean, variance, weight, bias, not state.fixed, 0.0, state.epsilon)
    if state.activation is not None:
        y = nn.functional.relu(y) if state.activation == "relu" else nn.functional.relu6(y)
    inputs = [tensor for tensor, flag in zip(tensors, wanted, strict=True) if flag]
    found = iter(torch.autograd.grad(y, inputs, dy, create_graph=True))
    return tuple(next(found) if flag else None for flag in wanted)


class BatchNorm2d(Telling, nn.BatchNorm2d):  # type: ignore[misc]
    """`torch.nn.BatchNorm2d`, with the same arguments, state and results, computed by dwconv.

    Tensors in `torch.channels_last` are read and written in place, forward and backward; others are
    PyTorch's. Results differ from PyTorch's by rounding.

    >>> import torch, dwconv.torch
    >>> norm = dwconv.torch.BatchNorm2d(8)
    >>> norm(torch.rand(2, 8, 6, 6).to(memory_format=torch.channels_last)).mean().abs().item() < 1e-5
    True
    """

    always_channels_last = False  # else only what is in that layout is dwconv's

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.normalize(input, None)

    def normalize(self, x: torch.Tensor, clamp: nn.Module | None, conv: Conv2d | None = None) -> torch.Tensor:
        """And what is around it, without hooks: a `Conv2d` of dwconv before it, an `nn.ReLU` or `nn.ReLU6`
        behind it."""
        pixels = None if conv is None else self._pixels_of(conv, x)
        if conv is not None and pixels is None:
            return self.normalize(conv(x), clamp)
        if pixels is None:
            reason = self._reason(x) if is_plain(x) else ""
            if reason is not None:
                if reason:
                    self._tell(reason)
                y = super().forward(x)
                return y if clamp is None else clamp(y)
            pixels = x.numel() // x.shape[1]
        share = self._count()
        learns = self.training or self.running_mean is None
        moments = None if learns else (self.running_mean.numpy(), self.running_var.numpy())
        state = State(self.eps, None if clamp is None else CLAMPS[type(clamp)], moments, True)
        if conv is not None:
            of_channels = self.weight, self.bias
            y = Unit.apply(x, conv.weight, conv.bias, *of_channels, geometry_of(conv), state)
        elif needs_gradients(x, self.weight, self.bias):
            y = Normalization.apply(x, self.weight, self.bias, state)
        else:
            y = state.forward(x, self.weight, self.bias)
        if learns and self.running_mean is not None and self.track_running_stats:
            self._follow(state, share, pixels)
        return y

    def _pixels_of(self, conv: Conv2d, x: torch.Tensor) -> int | None:
        """How many there are to normalise where both are one operation, which has gradients; else None."""
        geometry = conv.geometry_for(x)
        if geometry is None or x.ndim != 4 or not conv._gives_channels_last(x):
            return None
        weight = conv.weight
        if not needs_gradients(weight, x, conv.bias, self.weight, self.bias):
            return None
        n, height, width, channels = functions.shapes_of(geometry, tuple(x.shape), tuple(weight.shape)).y
        fits = channels == self.num_features and n * height * width > 1
        return n * height * width if fits and self._about_state(x) is None else None

    def _count(self) -> float:
        """The share of this batch in the running moments."""
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1.0 / float(self.num_batches_tracked)
        return 0.0 if self.momentum is None else float(self.momentum)

    def _follow(self, state: State, share: float, pixels: int) -> None:
        """As PyTorch: the variance divided by one pixel less."""
        assert state.moments is not None
        mean, variance = state.moments
        unbiased = pixels / (pixels - 1)
        for name, found, factor in (("running_mean", mean, 1.0), ("running_var", variance, unbiased)):
            running = self._buffers[name].numpy()
            running *= 1 - share
            running += found * (share * factor)

    def _reason(self, x: torch.Tensor) -> str | None:
        """Why PyTorch has to do: "" where that is its own error to tell, or another layout."""
        reason = self._about_state(x)
        if reason is not None:
            return reason
        if x.dtype not in DTYPES:
            return f"the input is {x.dtype}; dwconv has float32, and float64 through NumPy"
        if not x.is_cpu or x.layout != torch.strided:
            return f"the input is {x.layout} on {x.device}; dwconv takes strided tensors on CPUs"
        if x.ndim != 4 or x.shape[1] != self.num_features or x.numel() <= x.shape[1]:
            return ""
        return None if self.always_channels_last or looks_channels_last(x) else ""

    def _about_state(self, x: torch.Tensor) -> str | None:
        """The same of parameters and buffers."""
        tensors, dtype = _state_of(self), x.dtype
        for t in tensors:
            if t is None:
                continue
            if t.dtype != dtype or not t.is_cpu or not t.is_contiguous():
                return about_norm(self) or f"the input is {dtype}, not all parameters and buffers are"
            if type(t) not in PLAIN:
                return about_norm(self)
        return "" if (tensors[2] is None) != (tensors[3] is None) else None


BatchNorm2d.__module__ = "dwconv.torch"  # where pickles look for it


def about_norm(module: nn.BatchNorm2d) -> str | None:
    """Why a normalization is PyTorch's, whatever it is given."""
    for tensor in _state_of(module):
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            return f"its state is on {tensor.device}; dwconv runs on CPUs"
        if tensor.dtype not in DTYPES:
            return f"its state is {tensor.dtype}; dwconv has float32, and float64 through NumPy"
        if type(tensor) not in PLAIN:
            return f"its state is a {type(tensor).__name__}"
    return None


def _state_of(module: nn.BatchNorm2d) -> tuple[torch.Tensor | None, ...]:
    return module.weight, module.bias, module.running_mean, module.running_var
