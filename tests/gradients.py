"""Gradients in float64, by PyTorch and TensorFlow, and how far off float32 ones may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import dwconv
from dwconv.geometry import Window
from dwconv.gradients_numpy import Convolution
from oracles import EPS, extent

Pair = tuple[int, int]


@dataclass(frozen=True)
class Gradients:
    """Those of one forward convolution, with random arrays. `last`: the multiplier or the outputs."""

    kind: str  # "depthwise", "pointwise" or "conv"
    shape: tuple[int, int, int, int]
    last: int = 1
    kernel: Pair = (3, 3)
    strides: Pair = (1, 1)
    padding: Any = "same"
    dilations: Pair = (1, 1)
    groups: int = 1
    seed: int = 0
    arrays: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.arrays and self.possible:
            rng = np.random.default_rng(self.seed)
            for name, shape in (("x", self.shape), ("filters", self.filter_shape), ("dy", self.y_shape)):
                self.arrays[name] = rng.uniform(-1, 1, shape).astype(np.float32)

    @property
    def torch_groups(self) -> int:
        return self.shape[3] if self.kind == "depthwise" else self.groups

    @property
    def outputs(self) -> int:
        return self.shape[3] * self.last if self.kind == "depthwise" else self.last

    @property
    def filter_shape(self) -> tuple[int, ...]:
        return (*self.kernel, self.shape[3] // self.groups, self.last)

    def extents(self) -> list[tuple[int, int, int]]:
        steps = zip(self.kernel, self.strides, self.dilations, strict=True)
        return [extent(self.shape[1 + i], k, s, d, self.padding, i) for i, (k, s, d) in enumerate(steps)]

    @property
    def possible(self) -> bool:
        return all(out >= 1 for out, _, _ in self.extents())

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        (h, _, _), (w, _, _) = self.extents()
        return self.shape[0], h, w, self.outputs

    def steps(self) -> tuple[Any, ...]:
        """The positional arguments after out_backprop."""
        if self.kind == "pointwise":
            return (self.strides,)
        return self.strides, self.padding, "NHWC", self.dilations

    def keywords(self) -> dict[str, Any]:
        return {"groups": self.groups} if self.kind == "conv" else {}

    def function(self, of: str) -> Any:
        prefix = "" if self.kind == "conv" else f"{self.kind}_"
        return getattr(dwconv, f"{prefix}conv2d_backprop{of}")

    def input(self, dtype: Any = np.float32, **keywords: Any) -> np.ndarray:
        filters, dy = (self.arrays[name].astype(dtype, copy=False) for name in ("filters", "dy"))
        call = self.function("_input")
        return call(self.shape, filters, dy, *self.steps(), **self.keywords(), **keywords)

    def filter(self, dtype: Any = np.float32, **keywords: Any) -> np.ndarray:
        x, dy = (self.arrays[name].astype(dtype, copy=False) for name in ("x", "dy"))
        call = self.function("_filter")
        return call(x, self.filter_shape, dy, *self.steps(), **self.keywords(), **keywords)

    def both(self, dtype: Any = np.float32, **keywords: Any) -> Any:
        x, filters, dy = (self.arrays[name].astype(dtype, copy=False) for name in ("x", "filters", "dy"))
        return self.function("")(x, filters, dy, *self.steps(), **self.keywords(), **keywords)

    def convolution(self) -> Convolution:
        window = Window(self.kernel, self.strides, self.padding, self.dilations)
        filters = self.filter_shape
        return Convolution(
            "test", self.kind == "depthwise", self.shape, filters, self.y_shape, window, self.groups
        )

    def bounds(self, expect: Any) -> tuple[np.ndarray, np.ndarray]:
        """What float32 input and filter gradients may be off: `expect` is `torch_gradients` or alike.

        Terms of a sum, at most, times eps of the sum of their magnitudes, and roundings beside it.
        """
        positive = Gradients(**{**self.__dict__, "arrays": {k: abs(a) for k, a in self.arrays.items()}})
        dx, dw, _ = expect(positive)
        taps = self.kernel[0] * self.kernel[1] * self.outputs // self.torch_groups
        pixels = max(1, int(np.prod(self.y_shape[:3])))
        return (taps + 8) * EPS * dx, (pixels + 8) * EPS * dw


def torch_gradients(case: Gradients) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of x, filters and bias, in float64."""
    import torch

    torch.set_num_threads(1)  # these are small
    (_, top, bottom), (_, left, right) = case.extents()
    x = torch.from_numpy(case.arrays["x"].transpose(0, 3, 1, 2).astype(np.float64)).requires_grad_()
    filters = case.arrays["filters"].astype(np.float64)
    if case.kind == "depthwise":
        filters = filters.reshape(*case.kernel, 1, -1)
    weights = torch.from_numpy(filters.transpose(3, 2, 0, 1).copy()).requires_grad_()
    bias = torch.zeros(case.outputs, dtype=torch.float64, requires_grad=True)
    image = torch.nn.functional.pad(x, (left, right, top, bottom))
    y = torch.nn.functional.conv2d(
        image, weights, bias, stride=case.strides, dilation=case.dilations, groups=case.torch_groups
    )
    y.backward(torch.from_numpy(case.arrays["dy"].transpose(0, 3, 1, 2).astype(np.float64)))
    dw = weights.grad.numpy().transpose(2, 3, 1, 0).reshape(case.filter_shape)
    return x.grad.numpy().transpose(0, 2, 3, 1), dw, bias.grad.numpy()


def tensorflow_gradients(case: Gradients) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same by the functions whose names and order dwconv's have."""
    import tensorflow as tf

    arrays = {name: array.astype(np.float64) for name, array in case.arrays.items()}
    steps = [1, *case.strides, 1], case.padding.upper()
    if case.kind == "depthwise":
        names = tf.nn.depthwise_conv2d_backprop_input, tf.nn.depthwise_conv2d_backprop_filter
    else:
        names = tf.compat.v1.nn.conv2d_backprop_input, tf.compat.v1.nn.conv2d_backprop_filter
    dx = names[0](case.shape, arrays["filters"], arrays["dy"], *steps)
    dw = names[1](arrays["x"], case.filter_shape, arrays["dy"], *steps)
    return dx.numpy(), dw.numpy(), arrays["dy"].sum((0, 1, 2))


def random_gradients(seed: int) -> Gradients:
    """Of any geometry that is possible, small enough for PyTorch in float64."""
    rng = np.random.default_rng(seed)
    pick = rng.integers
    while True:
        kind = ("depthwise", "depthwise", "conv", "pointwise")[pick(4)]
        groups = int(rng.choice((1, 1, 2, 3, 5))) if kind == "conv" else 1
        channels = int(rng.choice((1, 2, 3, 4, 8, 15, 16, 17, 24, 33, 40, 64, 100)))
        outputs = (1, 3, 8, 17, 32, 40, 120, 568) if kind == "pointwise" else (1, 3, 8, 17, 32, 40)
        last = int(rng.choice((1, 1, 2, 3) if kind == "depthwise" else outputs))
        dilated = rng.random() < 0.3 and kind != "pointwise"
        case = Gradients(
            kind,
            (int(pick(1, 4)), int(pick(1, 20)), int(pick(1, 20)), channels * groups),
            last * groups,
            kernel=(1, 1) if kind == "pointwise" else (int(pick(1, 8)), int(pick(1, 8))),
            strides=(int(pick(1, 4)), int(pick(1, 4))) if rng.random() < 0.5 else (1, 1),
            padding="valid" if kind == "pointwise" else _random_padding(rng),
            dilations=(int(pick(1, 4)), int(pick(1, 4))) if dilated else (1, 1),
            groups=groups,
            seed=seed,
        )  # fmt: skip
        if case.possible:
            return case


def _random_padding(rng: np.random.Generator) -> Any:
    if rng.random() < 0.6:
        return "same" if rng.random() < 0.7 else "valid"
    top, bottom, left, right = (int(n) for n in rng.integers(0, 8, 4))
    return (top, bottom), (left, right)
