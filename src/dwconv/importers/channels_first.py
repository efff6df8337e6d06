"""A builder that speaks the order of axes of ONNX and PyTorch, and stores images NHWC. See `logical`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..activation import Array
from .logical import Logical, Pairs, T, UnsupportedError, channels_last, stored

__all__ = ["ChannelsFirst", "T", "UnsupportedError", "channels_last", "stored"]


class ChannelsFirst(Logical):
    """Tensors [batch, channels, height, width] or [batch, channels, length] over a `Builder`.

    >>> net = ChannelsFirst()
    >>> x = net.input("x", (1, 3, 8, 8))
    >>> y = net.conv(x, np.ones((4, 3, 3, 3), np.float32), strides=(2, 2), pads=[(1, 1), (1, 1)])
    >>> net.shape(y)
    (1, 4, 4, 4)
    >>> net.output("y", net.unary("relu", y))
    >>> net.graph.values["y"].shape
    (1, 4, 4, 4)

    Pads are (before, after) of every axis that they are about. An operation that cannot be expressed raises
    `UnsupportedError`, shapes that do not fit ValueError.
    """

    # ---- images ---------------------------------------------------------------------------------

    def _image(self, x: T) -> str:
        """[batch, height, width, channels]; a sequence is an image of one row."""
        if len(x.perm) not in (3, 4):
            raise UnsupportedError(f"{len(x.perm) - 2} spatial axes; 1 and 2 are supported")
        value = self.nhwc(x)
        if len(x.perm) == 4:
            return value
        batch, length, channels = self.builder.shape(value)
        return self._reshape(value, (batch, 1, length, channels))

    def _from_image(self, value: str, rank: int) -> T:
        if rank == 3:
            batch, _, length, channels = self.builder.shape(value)
            value = self._reshape(value, (batch, length, channels))
        return stored(value, channels_last(rank))

    def _padding(self, x: T, pads: Pairs | None, auto_pad: str, window: Sequence[Sequence[int]]) -> Any:
        """(x, padding of a node). window: kernel, strides, dilations, of two axes."""
        spatial = len(x.perm) - 2
        if auto_pad == "SAME_UPPER":
            return x, "same"
        if auto_pad == "SAME_LOWER":
            pads = []
            for size, kernel, stride, dilation in zip(
                self.shape(x)[2:], *(w[-spatial:] for w in window), strict=True
            ):
                total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
                pads.append((total - total // 2, total // 2))
        elif auto_pad not in ("NOTSET", "", "VALID"):
            raise ValueError(f"there is no auto_pad {auto_pad!r}")
        if not pads or auto_pad == "VALID" or not any(a or b for a, b in pads):
            return x, "valid"
        if len(pads) != spatial:
            raise ValueError(f"{len(pads)} pairs of pads do not fit {spatial} spatial axes")
        if any(a < 0 or b < 0 for a, b in pads):
            x = self.pad(x, [(0, 0), (0, 0), *((min(a, 0), min(b, 0)) for a, b in pads)])
            pads = [(max(a, 0), max(b, 0)) for a, b in pads]
        return x, tuple(_two([(int(a), int(b)) for a, b in pads], (0, 0)))

    def conv(
        self,
        x: T,
        w: T | Array,
        bias: T | Array | None = None,
        *,
        strides: Sequence[int] = (1, 1),
        pads: Pairs | None = None,
        dilations: Sequence[int] = (1, 1),
        groups: int = 1,
        auto_pad: str = "NOTSET",
    ) -> T:
        """w [outputs, inputs / groups, (kernel height,) kernel width], a constant; bias [outputs]."""
        filters = self._filters(x, w)
        strides, dilations = _two(strides[-len(x.perm) + 2 :]), _two(dilations[-len(x.perm) + 2 :])
        x, padding = self._padding(x, pads, auto_pad, (filters.shape[2:], strides, dilations))
        window = {"strides": strides, "padding": padding, "dilations": dilations, "groups": groups}
        hwio = np.ascontiguousarray(filters.transpose(2, 3, 1, 0))
        return self._with_bias("conv", x, hwio, bias, window)

    def conv_transpose(
        self,
        x: T,
        w: T | Array,
        bias: T | Array | None = None,
        *,
        strides: Sequence[int] = (1, 1),
        pads: Pairs | None = None,
        output_padding: Sequence[int] = (0, 0),
        dilations: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> T:
        """w [inputs, outputs / groups, (kernel height,) kernel width], constant; pads are cut off."""
        hwio, window = self.transposed(
            x,
            w,
            strides=strides,
            pads=pads,
            output_padding=output_padding,
            dilations=dilations,
            groups=groups,
        )
        return self._with_bias("transpose_conv", x, hwio, bias, window)

    def transposed(
        self,
        x: T,
        w: T | Array,
        *,
        strides: Sequence[int],
        pads: Pairs | None,
        output_padding: Sequence[int],
        dilations: Sequence[int],
        groups: int,
    ) -> tuple[Array, dict[str, Any]]:
        """Filters and window of a transposed convolution, as its node has them."""
        filters, spatial = self._filters(x, w), len(x.perm) - 2
        inputs, outputs, height, width = filters.shape
        if inputs % groups:
            raise ValueError(f"{inputs} inputs cannot be in {groups} groups")
        window: dict[str, Any] = {
            "strides": _two(strides[-spatial:]),
            "padding": tuple(_two([(int(a), int(b)) for a, b in pads or ((0, 0),) * spatial], (0, 0))),
            "output_padding": _two(output_padding[-spatial:], 0),
            "dilations": _two(dilations[-spatial:]),
            "groups": groups,
        }
        if any(a < 0 or b < 0 for a, b in pads or ()):
            raise UnsupportedError("negative pads; pads of at least 0 are supported")
        grouped = filters.reshape(groups, inputs // groups, outputs, height, width).transpose(3, 4, 1, 0, 2)
        hwio = np.ascontiguousarray(grouped).reshape(height, width, inputs // groups, groups * outputs)
        return hwio, window

    def _filters(self, x: T, w: T | Array) -> Array:
        filters = self._known(w, "filters")
        if len(x.perm) not in (3, 4):
            raise UnsupportedError(f"{len(x.perm) - 2} spatial axes; 1 and 2 are supported")
        if filters.ndim != len(x.perm):
            raise ValueError(f"filters {filters.shape} do not fit x {self.shape(x)}")
        return filters if filters.ndim == 4 else filters[:, :, None, :]

    def _with_bias(self, op: str, x: T, hwio: Array, bias: T | Array | None, window: dict[str, Any]) -> T:
        fixed = None if bias is None else self.data(bias) if isinstance(bias, T) else np.asarray(bias)
        y = self._from_image(self._node(op, self._image(x), hwio, fixed, **window), len(x.perm))
        if isinstance(bias, T) and fixed is None:
            y = self.binary("add", y, self.reshape(bias, (-1, *(1,) * (len(x.perm) - 2))))
        return y

    def pool(
        self,
        kind: str,
        x: T,
        kernel: Sequence[int],
        *,
        strides: Sequence[int] | None = None,
        pads: Pairs | None = None,
        dilations: Sequence[int] | None = None,
        auto_pad: str = "NOTSET",
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> T:
        """kind: max or average. Strides of 1 where none are given."""
        rank, ones = len(x.perm), (1,) * len(kernel)
        if len(kernel) != rank - 2:
            raise ValueError(f"a kernel {tuple(kernel)} does not fit x {self.shape(x)}")
        size, strides, dilations = _two(kernel), _two(strides or ones), _two(dilations or ones)
        x, padding = self._padding(x, pads, auto_pad, (size, strides, dilations))
        window = {"kernel": size, "strides": strides, "padding": padding, "dilations": dilations}
        more = {} if kind == "max" else {"count_include_pad": bool(count_include_pad)}
        value = self._node(f"{kind}_pool", self._image(x), ceil_mode=bool(ceil_mode), **window, **more)
        return self._from_image(value, rank)

    def global_pool(self, kind: str, x: T) -> T:
        """kind: mean or max, over all spatial axes, which stay with size 1."""
        return self.reduce(kind, x, range(2, len(x.perm)), True)

    def resize(
        self,
        x: T,
        kind: str,
        *,
        sizes: Sequence[int] | None = None,
        scales: Sequence[float] | None = None,
        coordinates: str = "half_pixel",
        rounding: str = "round_prefer_floor",
    ) -> T:
        """kind: nearest or linear; sizes or scales of the spatial axes."""
        value = self._image(x)
        to = {
            "sizes": None if sizes is None else _two(sizes),
            "scales": None if scales is None else _two(scales, 1.0),
        }
        value = self._node("resize", value, kind=kind, coordinates=coordinates, rounding=rounding, **to)
        return self._from_image(value, len(x.perm))

    def depth_to_space(self, x: T, block: int, mode: str = "dcr") -> T:
        return self._from_image(self._node("depth_to_space", self._image(x), block=block, mode=mode), 4)

    def space_to_depth(self, x: T, block: int) -> T:
        return self._from_image(self._node("space_to_depth", self._image(x), block=block), 4)

    # ---- norms ----------------------------------------------------------------------------------

    def batch_norm(
        self, x: T, scale: T | Array, bias: T | Array, mean: T | Array, var: T | Array, eps: float
    ) -> T:
        """Over axis 1, as a product and a sum with constants."""
        known = [self._known(a, "parameters").astype(np.float64) for a in (scale, bias, mean, var)]
        with np.errstate(all="ignore"):
            factor = known[0] / np.sqrt(known[3] + eps)
            shift = known[1] - known[2] * factor
        dtype = self.dtype(x)
        shape = (-1, *(1,) * (len(x.perm) - 2))
        y = self.binary("mul", x, factor.astype(dtype).reshape(shape))
        return self.binary("add", y, shift.astype(dtype).reshape(shape))

    def layer_norm(
        self,
        x: T,
        axes: Iterable[int],
        scale: T | Array | None = None,
        bias: T | Array | None = None,
        eps: float = 1e-5,
    ) -> T:
        """Over the last axes, `axes`, or over any single one; scale and bias are broadcast to them."""
        rank, sizes = len(x.perm), self.shape(x)
        over = sorted({self.axis(x, axis) for axis in axes})
        if len(over) != 1 and over != list(range(rank - len(over), rank)):
            raise UnsupportedError(f"normalisation over axes {over} of {rank}; the last ones are supported")
        dtype, normal = self.dtype(x), tuple(sizes[axis] for axis in over)
        scale = self._tensor(np.ones((), dtype) if scale is None else scale)
        bias = self._tensor(np.zeros((), dtype) if bias is None else bias)
        known = self.data(scale), self.data(bias)
        constant = known[0] is not None and known[1] is not None
        if not constant and over[-1] != rank - 1:
            raise UnsupportedError("scale and bias computed at run time, of an axis that is not the last")
        flat = [
            np.ascontiguousarray(
                np.broadcast_to(default if a is None or not constant else a, normal)
            ).reshape(-1)
            for a, default in zip(known, (dtype.type(1), dtype.type(0)), strict=True)
        ]
        y = x if len(over) == 1 else self.flatten(x, over[0], -1)
        order = [axis for axis in y.order if axis != over[0]] + [over[0]]
        y = stored(self._node("layer_norm", self._ordered(y, order), *flat, epsilon=float(eps)), order)
        y = y if len(over) == 1 else self.reshape(y, sizes)
        if not constant:
            y = self.binary("add", self.binary("mul", y, scale), bias)
        return y

    def instance_norm(self, x: T, scale: T | Array | None, bias: T | Array | None, eps: float = 1e-5) -> T:
        """Every channel of every image for itself; scale and bias [channels]."""
        return self._scaled(self._normal(x, range(2, len(x.perm)), eps), scale, bias)

    def group_norm(
        self, x: T, groups: int, scale: T | Array | None, bias: T | Array | None, eps: float = 1e-5
    ) -> T:
        """Groups of neighbouring channels; scale and bias [channels]."""
        sizes = self.shape(x)
        if groups < 1 or sizes[1] % groups:
            raise ValueError(f"{sizes[1]} channels cannot be in {groups} groups")
        y = self.reshape(x, (sizes[0], groups, sizes[1] // groups, *sizes[2:]))
        y = self._normal(y, range(2, len(y.perm)), eps)
        return self._scaled(self.reshape(y, sizes), scale, bias)

    def _normal(self, x: T, axes: Iterable[int], eps: float) -> T:
        axes = tuple(axes)
        centred = self.binary("sub", x, self.reduce("mean", x, axes))
        variance = self.reduce("mean", self.unary("square", centred), axes)
        return self.binary("div", centred, self.unary("sqrt", self.unary("linear", variance, 1.0, eps)))

    def _scaled(self, x: T, scale: T | Array | None, bias: T | Array | None) -> T:
        shape = (-1, *(1,) * (len(x.perm) - 2))
        for kind, factor in (("mul", scale), ("add", bias)):
            if factor is not None:
                x = self.binary(kind, x, self.reshape(self._tensor(factor), shape))
        return x

    # ---- products -------------------------------------------------------------------------------

    def linear(self, x: T, w: T | Array, bias: T | Array | None = None) -> T:
        """x @ w + bias over the last axis: a 1x1 convolution. w constant [inputs, outputs]."""
        weights, sizes = self._known(w, "weights"), self.shape(x)
        if not sizes or weights.ndim != 2 or sizes[-1] != weights.shape[0]:
            raise ValueError(f"weights {weights.shape} do not fit x {sizes}")
        inputs, outputs = weights.shape
        order = [axis for axis in x.order if axis != len(sizes) - 1] + [len(sizes) - 1]
        value = self._ordered(x, order)
        outer = [sizes[axis] for axis in order[:-1]]
        batch, rest = (outer[0], outer[1:]) if len(outer) > 1 else (outer[0] if outer else 1, [])
        image = (
            batch,
            rest[0] if len(rest) > 1 else 1,
            math.prod(rest[1:] if len(rest) > 1 else rest),
            inputs,
        )
        fixed = None if bias is None else self.data(bias) if isinstance(bias, T) else np.asarray(bias)
        y = self._node("conv", self._reshape(value, image), weights.reshape(1, 1, inputs, outputs), fixed)
        result = stored(self._reshape(y, (*outer, outputs)), order)
        return result if bias is None or fixed is not None else self.binary("add", result, bias)

    def matmul(self, a: T, b: T) -> T:
        """As np.matmul. With constant weights [inputs, outputs] it is `linear`."""
        if self.data(b) is not None and self.data(a) is None and len(b.perm) == 2 and a.perm:
            return self.linear(a, b)
        left, right = len(a.perm) == 1, len(b.perm) == 1
        a = self.unsqueeze(a, [0]) if left else a
        b = self.unsqueeze(b, [1]) if right else b
        value = self._node("matmul", self.plain(a), self.plain(b))
        y = T(value, tuple(range(len(self.builder.shape(value)))))
        return self.squeeze(y, [-2] * left + [-1] * right) if left or right else y


def _two(numbers: Sequence[Any], one: Any = 1) -> tuple[Any, Any]:
    """Of height and width; a sequence has a height of 1."""
    found = tuple(numbers)
    return found if len(found) == 2 else (one, *found)
