"""Convolution of PyTorch's tensors on dwconv, forward and backward: one `autograd.Function`.

Tensors in `torch.channels_last` are arrays [batch, height, width, channels] of the same memory. Others are
copied, and results have the layout that PyTorch's own convolution would give them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from .. import engine, gradient_engine, layers
from ..activation import Activation, Array
from ..config import core, native_isa
from ..geometry import Window
from ..gradients_numpy import Convolution as ForwardConvolution
from ..operation import Operation, Stage
from .teams import threads

Pair = tuple[int, int]
NUMPY_ORDER = (0, 2, 3, 1)
# Memory of larger tensors is kept for the next ones: zeroing it takes the system as long as filling it.
KEPT_BYTES = 64 << 10


class Geometry(NamedTuple):
    """What a convolution is besides its weights; `padding` is ((top, bottom), (left, right))."""

    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    def kind(self, weight: torch.Tensor) -> Literal["depthwise", "pointwise", "conv"]:
        """The operation of dwconv that it is; grouped products of single channels are depthwise."""
        if self.groups > 1 and weight.shape[1] == 1:
            return "depthwise"
        if self.groups == 1 and weight.shape[2:] == (1, 1) and self.padding == ((0, 0), (0, 0)):
            return "pointwise"
        return "conv"

    def options(self, kind: str) -> dict[str, Any]:
        if kind == "pointwise":
            return {"strides": self.stride}
        found = {"strides": self.stride, "padding": self.padding, "dilations": self.dilation}
        return found | {"groups": self.groups} if kind == "conv" else found


# ---- tensors and arrays -----------------------------------------------------------------------


def looks_channels_last(tensor: torch.Tensor) -> bool:
    """As PyTorch's `suggest_memory_format` decides by strides; what could be both is not."""
    if tensor.ndim != 4 or tensor.stride(1) == 0:
        return False
    least = 0
    for axis in (1, 3, 2, 0):
        size, stride = tensor.shape[axis], tensor.stride(axis)
        if size == 0 or stride < least or (axis == 0 and least == tensor.stride(1)):
            return False
        least = stride * max(size, 1)
    return True


def nhwc(tensor: torch.Tensor) -> Array:
    """The memory of an image tensor as [batch, height, width, channels]; a copy where dwconv needs it."""
    if not tensor.is_contiguous(memory_format=torch.channels_last) or tensor.stride(1) != 1:
        sizes, strides = tensor.shape, tensor.stride()
        spread = any(size > 1 and stride == 0 for size, stride in zip(sizes, strides, strict=True))
        if spread or (sizes[1] > 1 and strides[1] != 1) or not _nested(tensor):
            tensor = tensor.contiguous(memory_format=torch.channels_last)
            if tensor.stride(1) != 1 and sizes[1] > 1:  # it could be both layouts, and is called contiguous
                return np.ascontiguousarray(_array(tensor).transpose(NUMPY_ORDER))
    return _array(tensor).transpose(NUMPY_ORDER)  # type: ignore[no-any-return]


def _array(tensor: torch.Tensor) -> Any:
    return tensor.detach().numpy()


def _nested(tensor: torch.Tensor) -> bool:
    """Whether pixels hold whole vectors of channels, and do not overlap."""
    channels = tensor.shape[1]
    return all(
        size == 1 or stride >= channels
        for size, stride in zip(tensor.shape[2:], tensor.stride()[2:], strict=True)
    )


def new_image(shape: tuple[int, int, int, int], like: torch.Tensor) -> tuple[torch.Tensor, Array]:
    """An empty tensor in channels_last, and its memory as an array."""
    n, c, h, w = shape
    size = n * c * h * w
    if core is None or size * like.element_size() < KEPT_BYTES:
        tensor = torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last)
    else:  # no view, which could not be changed in place
        memory = torch.frombuffer(core.Memory(size * like.element_size()), dtype=like.dtype)
        strides = (h * w * c, 1, w * c, c)
        tensor = torch.empty(0, dtype=like.dtype).set_(memory.untyped_storage(), 0, shape, strides)
    return tensor, tensor.numpy().transpose(NUMPY_ORDER)


def release_memory() -> None:
    """Gives back to the system the memory of tensors that nobody uses any more.

    It is kept for tensors of the same size, as the next step of training needs them: never more, with what is
    in use, than was in use at one time since this was called last.

    >>> import dwconv.torch
    >>> dwconv.torch.release_memory()
    """
    if core is not None:
        core.release_memory()


def in_layout(tensor: torch.Tensor, last: bool) -> torch.Tensor:
    """As it is where it is to be in `channels_last`, else contiguous, to the last stride."""
    if last:
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def lay_out(weight: torch.Tensor) -> torch.Tensor:
    """The same, in memory as filters of dwconv, [height, width, inputs / groups, outputs]."""
    return weight.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)


def filters(weight: torch.Tensor, kind: str, groups: int) -> Array:
    """[outputs, inputs / groups, height, width] as dwconv's filters of this kind."""
    array = np.ascontiguousarray(_array(weight).transpose(2, 3, 1, 0))
    return array.reshape(*array.shape[:2], groups, -1) if kind == "depthwise" else array


def as_weight(found: Array, weight: torch.Tensor) -> torch.Tensor:
    """A gradient of dwconv's filters in the shape and the layout of `weight`."""
    outputs, inputs, height, width = weight.shape
    tensor = torch.from_numpy(found.reshape(height, width, inputs, outputs)).permute(3, 2, 0, 1)
    return tensor if tensor.stride() == weight.stride() else torch.empty_like(weight).copy_(tensor)


# ---- the convolution --------------------------------------------------------------------------


def packed(weight: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry) -> Any:
    """The layer of `dwconv.layers` with these weights."""
    kind = geometry.kind(weight)
    made: Any = {
        "depthwise": layers.DepthwiseConv2D, "pointwise": layers.PointwiseConv2D, "conv": layers.Conv2D
    }[kind]  # fmt: skip
    offset = None if bias is None else bias.detach().numpy()
    return made(filters(weight, kind, geometry.groups), bias=offset, **geometry.options(kind))


def predict(x: torch.Tensor, layer: Any, last: bool) -> torch.Tensor:
    """What a layer of `dwconv.layers` gives for x; `last`: the result is to be in channels_last."""
    image = nhwc(x)
    n, h, w, c = layer.output_shape(image.shape)
    y, out = new_image((n, c, h, w), x)
    layer(image, out=out, num_threads=threads())
    return in_layout(y, last)


class Convolution(torch.autograd.Function):  # type: ignore[misc]
    """Of x, weight, bias, a `Geometry`, and whether results are to be in channels_last; float32 or float64 on
    the CPU, x of four axes."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry,
        last: bool,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight)
        ctx.geometry, ctx.last = geometry, last
        return convolve(x, weight, bias, geometry, last)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # create_graph=True: gradients of gradients are PyTorch's
            return (*_pytorch_backward(dy, x, weight, ctx.geometry, wanted), None, None)
        return (*backward(dy, x, weight, ctx.geometry, wanted, ctx.last), None, None)


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry, last: bool
) -> torch.Tensor:
    """Forward alone, with weights that are packed for this call."""
    conv = shapes_of(geometry, tuple(x.shape), tuple(weight.shape))
    n, height, width, channels = conv.y
    y, out = new_image((n, channels, height, width), x)
    kind = geometry.kind(weight)
    values, offset = filters(weight, kind, geometry.groups), None if bias is None else _array(bias)
    stage = Stage(kind, "weight", values, offset, Activation(), conv.window, conv.groups)
    operation = Operation(conv.name, kind, (stage,))
    engine.run(operation, engine.create_plan(operation), nhwc(x), out, threads())
    return in_layout(y, last)


@lru_cache(1024)
def shapes_of(geometry: Geometry, x: tuple[int, ...], weight: tuple[int, ...]) -> ForwardConvolution:
    """Of images and weights of these shapes, as dwconv knows them."""
    n, channels, height, width = x
    outputs, inputs, kernel_h, kernel_w = weight
    depthwise = geometry.groups > 1 and inputs == 1
    window = Window((kernel_h, kernel_w), geometry.stride, geometry.padding, geometry.dilation)
    name = "torch.nn.Conv2d"
    size = window.output_size(name, height, width)
    shape = (
        (kernel_h, kernel_w, channels, outputs // channels)
        if depthwise
        else (kernel_h, kernel_w, inputs, outputs)
    )
    groups = 1 if depthwise else geometry.groups
    return ForwardConvolution(
        name, depthwise, (n, height, width, channels), shape, (n, *size, outputs), window, groups
    )


def backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, wanted: Any, last: bool
) -> tuple[torch.Tensor | None, ...]:
    kind, workers = geometry.kind(weight), threads()
    conv = shapes_of(geometry, tuple(x.shape), tuple(weight.shape))
    array = nhwc(dy)
    dx = dw = db = found = offset = None
    if wanted[0]:
        dx, out = new_image(x.shape, x)
        values = filters(weight, kind, geometry.groups).reshape(conv.filters)
        if wanted[1]:
            _, found, offset = gradient_engine.both_gradients(
                conv, values, nhwc(x), array, out, wanted[2], workers
            )
        else:
            gradient_engine.input_gradient(conv, values, array, out, workers)
        dx = in_layout(dx, last)
    elif wanted[1]:
        found, offset = gradient_engine.filter_gradient(conv, nhwc(x), array, wanted[2], workers)
    if found is not None:
        dw = as_weight(found, weight)
        db = None if offset is None else torch.from_numpy(offset)
    elif wanted[2]:
        db = torch.from_numpy(gradient_engine.bias_gradient(conv.name, array, workers))
    return dx, dw, db


def goes_with_norm(geometry: Geometry, weight: torch.Tensor, of_input: bool) -> bool:
    """Whether the core makes what a normalization behind it gives back where this convolution reads it."""
    kind = geometry.kind(weight)
    if not of_input:
        return kind == "depthwise" or geometry.groups == 1
    if kind == "depthwise":
        return int(weight.shape[0]) == geometry.groups
    return kind == "pointwise" and geometry.stride == (1, 1) and bool(weight.shape[0] >= weight.shape[1])


def gradient_of(geometry: Geometry, x: torch.Tensor, weight: torch.Tensor) -> tuple[Any, Array]:
    """Of the C core, for float32 and the best instruction set, and its filters."""
    conv = shapes_of(geometry, tuple(x.shape), tuple(weight.shape))
    values = filters(weight, geometry.kind(weight), geometry.groups).reshape(conv.filters)
    return gradient_engine.gradient_of(conv, native_isa()), values


def _pytorch_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, geometry: Geometry, wanted: Any
) -> tuple[torch.Tensor | None, ...]:
    """The same by operations that PyTorch differentiates."""
    (top, _), (left, _) = geometry.padding
    dx, dw, db = torch.ops.aten.convolution_backward(
        dy, _padded(x, geometry), weight, [weight.shape[0]], geometry.stride, (0, 0), geometry.dilation,
        False, (0, 0), geometry.groups, list(wanted),
    )  # fmt: skip
    if dx is not None:
        dx = dx[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return dx, dw, db


def pytorch_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, geometry: Geometry
) -> torch.Tensor:
    """The same as PyTorch computes it."""
    return torch.nn.functional.conv2d(
        _padded(x, geometry), weight, bias, geometry.stride, 0, geometry.dilation, geometry.groups
    )


def _padded(x: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    (top, bottom), (left, right) = geometry.padding
    return torch.nn.functional.pad(x, (left, right, top, bottom))
