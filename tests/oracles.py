"""What the operations must compute, in float64 and independent of the package; and how far off they may be.

`numpy_conv` and `torch_conv` are two independent engines for one layer. A `Case` is one call of one operation
with its random arrays: it knows how to run itself through the package and what either engine expects of it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import dwconv

EPS = float(np.finfo(np.float32).eps)
OPERATIONS = ("depthwise", "pointwise", "conv", "separable", "inverted_residual")
ACTIVATIONS: tuple[Any, ...] = (
    None,
    "relu",
    "relu6",
    "leaky_relu",
    "hard_sigmoid",
    "hard_swish",
    "sigmoid",
    "silu",
    "tanh",
    "gelu",
    "gelu_tanh",
    ("clip", -0.5, 0.75),
    ("leaky_relu", 0.01),
)

Padding = Any  # "valid", "same" or ((top, bottom), (left, right))
Pair = tuple[int, int]
Engine = Callable[..., np.ndarray]

# ---- backends ---------------------------------------------------------------------------------


def backends() -> list[str]:
    """Every instruction set this machine runs, and the NumPy fallback."""
    settings = dwconv.config()
    return [*(settings["isas_available"] if settings["backend"] == "native" else ()), "numpy"]


@contextmanager
def using(backend: str) -> Iterator[None]:
    force = importlib.import_module("dwconv.config")._force
    with force(backend="numpy") if backend == "numpy" else force(isa=backend):
        yield


# ---- geometry ---------------------------------------------------------------------------------


def extent(
    size: int, kernel: int, stride: int, dilation: int, padding: Padding, axis: int
) -> tuple[int, int, int]:
    """(output size, padding before, padding after) of one axis; an output size below 1: impossible."""
    effective = (kernel - 1) * dilation + 1
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + effective - size, 0)
        return out, total // 2, total - total // 2
    before, after = (0, 0) if padding == "valid" else padding[axis]
    return (size + before + after - effective) // stride + 1, before, after


def numpy_conv(
    x: np.ndarray, filters: np.ndarray, strides: Pair, padding: Padding, dilations: Pair, groups: int
) -> np.ndarray:
    """Grouped convolution as a sum over taps; padding is never multiplied with anything."""
    kernel_h, kernel_w, _, out_channels = filters.shape
    out_h, top, _ = extent(x.shape[1], kernel_h, strides[0], dilations[0], padding, 0)
    out_w, left, _ = extent(x.shape[2], kernel_w, strides[1], dilations[1], padding, 1)
    grouped = x.astype(np.float64).reshape(*x.shape[:3], groups, x.shape[3] // groups)
    result = np.zeros((x.shape[0], out_h, out_w, groups, out_channels // groups))
    for ky in range(kernel_h):
        rows = np.arange(out_h) * strides[0] + ky * dilations[0] - top
        valid_rows = np.flatnonzero((rows >= 0) & (rows < x.shape[1]))
        for kx in range(kernel_w):
            columns = np.arange(out_w) * strides[1] + kx * dilations[1] - left
            valid_columns = np.flatnonzero((columns >= 0) & (columns < x.shape[2]))
            taps = grouped[:, rows[valid_rows]][:, :, columns[valid_columns]]
            weights = filters[ky, kx].astype(np.float64).reshape(-1, groups, out_channels // groups)
            with np.errstate(invalid="ignore", over="ignore"):
                result[:, valid_rows[:, None], valid_columns] += np.einsum("nhwgc,cgo->nhwgo", taps, weights)
    return result.reshape(*result.shape[:3], out_channels)


def torch_conv(
    x: np.ndarray, filters: np.ndarray, strides: Pair, padding: Padding, dilations: Pair, groups: int
) -> np.ndarray:
    """The same by PyTorch, in float64: its float32 path is known to be wrong for some shapes."""
    import torch

    _, top, bottom = extent(x.shape[1], filters.shape[0], strides[0], dilations[0], padding, 0)
    _, left, right = extent(x.shape[2], filters.shape[1], strides[1], dilations[1], padding, 1)
    image = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float64))
    image = torch.nn.functional.pad(image, (left, right, top, bottom))
    weights = torch.from_numpy(np.ascontiguousarray(filters.transpose(3, 2, 0, 1), dtype=np.float64))
    y = torch.nn.functional.conv2d(image, weights, stride=strides, dilation=dilations, groups=groups)
    return y.numpy().transpose(0, 2, 3, 1)


# ---- activations ------------------------------------------------------------------------------

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def activate(x: np.ndarray, activation: Any) -> np.ndarray:
    """The formulas of the specification in float64, written so that small results keep their digits."""
    name, *numbers = activation if isinstance(activation, tuple) else (activation,)
    x = np.asarray(x, np.float64)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if name is None:
            return x
        if name == "relu":
            return np.maximum(x, 0)
        if name == "relu6":
            return np.clip(x, 0, 6)
        if name == "clip":
            return np.clip(x, *numbers)
        if name == "leaky_relu":
            return np.where(x < 0, (numbers[0] if numbers else 0.2) * x, x)
        if name == "hard_sigmoid":
            return np.clip(x + 3, 0, 6) / 6
        if name == "hard_swish":
            return x * (np.clip(x + 3, 0, 6) / 6)
        if name == "sigmoid":
            return 1 / (1 + np.exp(-x))
        if name == "silu":
            return _weighted(x, 1 / (1 + np.exp(-x)))
        if name == "tanh":
            return np.tanh(x)
        if name == "gelu":
            return _weighted(x, _erfc(-x * math.sqrt(0.5)) / 2)
        if name == "gelu_tanh":
            return _weighted(x, 1 / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    raise ValueError(f"no such activation: {activation!r}")


def _weighted(x: np.ndarray, p: np.ndarray) -> np.ndarray:
    """x * p; where x is -infinity and p vanishes the limit, 0."""
    return np.where(np.isneginf(x), 0.0, x * p)


def _slope_and_offset(activation: Any) -> tuple[float, float]:
    """|activate(x)| <= slope * |x| + offset, and slope is a Lipschitz constant."""
    name, *numbers = activation if isinstance(activation, tuple) else (activation,)
    offset = float(abs(activate(np.zeros(()), activation)))
    if name == "leaky_relu":
        return max(1.0, abs(numbers[0]) if numbers else 0.2), offset
    return {"hard_swish": 1.5, "silu": 1.2, "gelu": 1.2, "gelu_tanh": 1.2}.get(name, 1.0), offset


# ---- cases ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One call. Zero or None stands for what an operation does not have."""

    operation: str
    shape: tuple[int, int, int, int]
    kernel: Pair = (3, 3)
    multiplier: int = 1
    out_channels: int = 4
    groups: int = 1
    expanded: int = 0
    squeezed: int = 0
    strides: Pair = (1, 1)
    padding: Padding = "same"
    dilations: Pair = (1, 1)
    activation: Any = None
    squeeze_activation: Any = "relu"
    gate_activation: Any = "hard_sigmoid"
    bias: bool = True
    residual: bool | None = None
    seed: int = 0
    arrays: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.arrays:
            rng = np.random.default_rng(self.seed)
            for name, dims in self._array_shapes().items():
                self.arrays[name] = rng.uniform(-1, 1, dims).astype(np.float32)

    def with_arrays(self, **arrays: np.ndarray) -> Case:
        return replace(self, arrays={**self.arrays, **arrays})

    @property
    def x(self) -> np.ndarray:
        return self.arrays["x"]

    @property
    def possible(self) -> bool:
        if self.operation == "pointwise":
            return True
        sizes = (self.shape[i + 1] for i in range(2))
        return all(
            extent(size, k, s, d, self.padding, i)[0] >= 1
            for i, (size, k, s, d) in enumerate(
                zip(sizes, self.kernel, self.strides, self.dilations, strict=True)
            )
        )

    def _array_shapes(self) -> dict[str, tuple[int, ...]]:
        channels, wide = self.shape[3], self.expanded or self.shape[3]
        shapes: dict[str, tuple[int, ...]] = {"x": self.shape}
        if self.operation == "depthwise":
            shapes |= {
                "filters": (*self.kernel, channels, self.multiplier),
                "bias": (channels * self.multiplier,),
            }
        elif self.operation == "pointwise":
            shapes |= {"filters": (channels, self.out_channels), "bias": (self.out_channels,)}
        elif self.operation == "conv":
            shapes["filters"] = (*self.kernel, channels // self.groups, self.out_channels)
            shapes["bias"] = (self.out_channels,)
        else:
            if self.expanded:
                shapes |= {"expand_filter": (1, 1, channels, wide), "expand_bias": (wide,)}
            last = "project_filter" if self.operation == "inverted_residual" else "pointwise_filter"
            shapes["depthwise_filter"] = (*self.kernel, wide, self.multiplier)
            shapes["depthwise_bias"] = (wide * self.multiplier,)
            shapes[last] = (1, 1, wide * self.multiplier, self.out_channels)
            shapes["bias"] = (self.out_channels,)
            if self.squeezed:
                wide *= self.multiplier
                shapes |= {"reduce_filter": (wide, self.squeezed), "reduce_bias": (self.squeezed,)}
                shapes |= {"restore_filter": (1, 1, self.squeezed, wide), "restore_bias": (wide,)}
        return {name: dims for name, dims in shapes.items() if self.bias or not name.endswith("bias")}

    # -- the package -----------------------------------------------------------------------------

    def _arguments(self) -> tuple[list[np.ndarray | None], dict[str, Any]]:
        """Filters, and the keywords that functions and layers share."""
        gate = ("reduce_filter", "reduce_bias", "restore_filter", "restore_bias")
        keywords: dict[str, Any] = {
            k: v for k, v in self.arrays.items() if k.endswith("bias") and k not in gate
        }
        keywords |= {"strides": self.strides, "activation": self.activation}
        if self.operation != "pointwise":
            keywords |= {"padding": self.padding, "dilations": self.dilations}
        if self.operation == "conv":
            keywords["groups"] = self.groups
        if self.operation in ("depthwise", "pointwise", "conv"):
            return [self.arrays["filters"]], keywords
        if self.operation == "separable":
            keywords["depthwise_activation"] = self.activation
            return [self.arrays["depthwise_filter"], self.arrays["pointwise_filter"]], keywords
        keywords["residual"] = self.residual
        if self.squeezed:
            keywords["squeeze_excite"] = tuple(map(self.arrays.get, gate))
            keywords |= {
                "squeeze_activation": self.squeeze_activation,
                "gate_activation": self.gate_activation,
            }
        return [
            self.arrays.get("expand_filter"),
            self.arrays["depthwise_filter"],
            self.arrays["project_filter"],
        ], keywords

    def call(self, x: np.ndarray | None = None, **extra: Any) -> np.ndarray:
        """Through the one-call function."""
        functions: dict[str, Callable[..., np.ndarray]] = {
            "depthwise": dwconv.depthwise_conv2d,
            "pointwise": dwconv.pointwise_conv2d,
            "conv": dwconv.conv2d,
            "separable": dwconv.separable_conv2d,
            "inverted_residual": dwconv.inverted_residual,
        }
        filters, keywords = self._arguments()
        return functions[self.operation](self.x if x is None else x, *filters, **(keywords | extra))

    def layer(self, **extra: Any) -> Any:
        layers: dict[str, Any] = {
            "depthwise": dwconv.DepthwiseConv2D,
            "pointwise": dwconv.PointwiseConv2D,
            "conv": dwconv.Conv2D,
            "separable": dwconv.SeparableConv2D,
            "inverted_residual": dwconv.InvertedResidual,
        }
        filters, keywords = self._arguments()
        return layers[self.operation](*filters, **(keywords | extra))

    # -- the oracle ------------------------------------------------------------------------------

    def _stages(self) -> list[tuple[np.ndarray, np.ndarray | None, bool, int, Any]]:
        """(filter in conv2d's layout, bias, windowed, groups, activation) of every layer in turn."""
        arrays, act = self.arrays, self.activation
        if self.operation == "pointwise":
            return [(arrays["filters"][None, None], arrays.get("bias"), True, 1, act)]
        if self.operation == "conv":
            return [(arrays["filters"], arrays.get("bias"), True, self.groups, act)]
        single = self.operation == "depthwise"
        depthwise = arrays["filters" if single else "depthwise_filter"]
        channels = depthwise.shape[2]
        depthwise = depthwise.reshape(*self.kernel, 1, channels * self.multiplier)
        stages = [(depthwise, arrays.get("bias" if single else "depthwise_bias"), True, channels, act)]
        if single:
            return stages
        if self.operation == "separable":
            return [*stages, (arrays["pointwise_filter"], arrays.get("bias"), False, 1, act)]
        stages.append((arrays["project_filter"], arrays.get("bias"), False, 1, None))
        if self.expanded:
            stages.insert(0, (arrays["expand_filter"], arrays.get("expand_bias"), False, 1, act))
        return stages

    def _residual_applies(self, y: np.ndarray) -> bool:
        return (
            self.operation == "inverted_residual"
            and self.residual is not False
            and self.strides == (1, 1)
            and y.shape == self.shape
        )

    def expected(self, conv: Engine = numpy_conv) -> tuple[np.ndarray, np.ndarray]:
        """(value, bound): the float64 result, and the largest error that the specification allows.

        The bound of one layer is (terms + 8) * eps * sum(|x| * |w|), with 8 eps more for an activation; in
        blocks the errors of earlier layers pass through the absolute weights of later ones.
        """
        value = self.x.astype(np.float64)
        magnitude, unit = np.abs(value), 0.0
        stages = self._stages()
        for i, (filters, bias, windowed, groups, activation) in enumerate(stages):
            if self.squeezed and i == len(stages) - 1:
                factors, factor_magnitude, terms = self._factors(value, magnitude)
                value, magnitude, unit = value * factors, magnitude * factor_magnitude, unit + terms * EPS
            window = (self.strides, self.padding, self.dilations) if windowed else ((1, 1), "valid", (1, 1))
            if self.operation == "pointwise":
                window = (self.strides, "valid", (1, 1))
            slope, offset = _slope_and_offset(activation)
            shift = 0.0 if bias is None else bias.astype(np.float64)
            value = activate(conv(value, filters, *window, groups) + shift, activation)
            magnitude = slope * (conv(magnitude, np.abs(filters), *window, groups) + np.abs(shift)) + offset
            unit += (math.prod(filters.shape[:3]) + (8 if activation is None else 16)) * EPS
        if self._residual_applies(value):
            value, magnitude = value + self.x, magnitude + np.abs(self.x)
        bound = magnitude * unit + 2.0**-140
        bound[np.isnan(bound)] = np.inf  # an infinite input times 0: nothing is promised of what it reaches
        return value, bound

    def _factors(self, d: np.ndarray, magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Squeeze-and-excite of d: the factors of its channels, their magnitude, and how many terms err."""
        factors, magnitude = (x.mean((1, 2), keepdims=True) for x in (d, magnitude))
        terms = sum(d.shape[1:3]) + 1
        for name, activation in (
            ("reduce", self.squeeze_activation),
            ("restore", self.gate_activation),
        ):
            filters = self.arrays[f"{name}_filter"].astype(np.float64)
            filters = filters.reshape(filters.shape[-2:])
            bias = self.arrays.get(f"{name}_bias", np.zeros(1)).astype(np.float64)
            slope, offset = _slope_and_offset(activation)
            factors = activate(factors @ filters + bias, activation)
            magnitude = slope * (magnitude @ np.abs(filters) + np.abs(bias)) + offset
            terms += len(filters) + 16
        return factors, magnitude, terms

    def check(self, y: np.ndarray, conv: Engine = numpy_conv) -> None:
        assert y.dtype == np.float32
        self.compare(y, *self.expected(conv))

    def compare(self, y: np.ndarray, value: np.ndarray, bound: np.ndarray) -> None:
        """Fails unless |y - value| <= bound, with NaN and infinities exactly where `value` has them."""
        assert y.shape == value.shape, f"{self}: shape {y.shape}, expected {value.shape}"
        if y.size == 0:
            return
        with np.errstate(invalid="ignore"):
            right = (np.abs(y - value) <= bound) & np.isfinite(y)
        right = np.where(np.isfinite(value), right, (y == value) | (np.isnan(y) & np.isnan(value)))
        if not right.all():
            at = tuple(int(i) for i in np.argwhere(~right)[0])
            raise AssertionError(
                f"{self}: {np.sum(~right)} of {y.size} are wrong; at {at} found {y[at]!r}, expected "
                f"{value[at]!r}, bound {bound[at]!r}"
            )
