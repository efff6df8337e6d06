"""What is measured: a workload is a chain of convolutions on one NHWC image size.

A layer is a chain of one stage, a depthwise-separable pair has two, an inverted residual three, and two
more beside them where it has a squeeze-and-excite. Padding is dwconv's ("same" is TensorFlow's rule). Sizes
are pixels, counts are exact integers.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, replace
from typing import Any

FLOAT_BYTES = 4
CLAMPS = (None, "relu", "relu6")


@dataclass(frozen=True)
class Stage:
    """One convolution: `op` is "depthwise", "pointwise" or "conv"; activation as dwconv names it, or None."""

    op: str
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    dilation: int = 1
    padding: str = "same"
    activation: str | None = None

    @property
    def groups(self) -> int:
        return self.in_channels if self.op == "depthwise" else 1

    @property
    def filter_shape(self) -> tuple[int, int, int, int]:
        """The filter in dwconv's layout."""
        if self.op == "depthwise":
            return (*self.kernel, self.in_channels, self.out_channels // self.in_channels)
        return (*self.kernel, self.in_channels, self.out_channels)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        return self._extent(height, 0)[0], self._extent(width, 1)[0]

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Rows and columns of padding: top, bottom, left, right."""
        return (*self._extent(height, 0)[1:], *self._extent(width, 1)[1:])

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates as papers count them: taps on padding included."""
        out_h, out_w = self.output_size(height, width)
        return out_h * out_w * self.kernel[0] * self.kernel[1] * self._channel_products()

    def real_macs(self, height: int, width: int) -> int:
        """Multiply-accumulates whose tap falls on the image."""
        return self._real_taps(height, 0) * self._real_taps(width, 1) * self._channel_products()

    def _channel_products(self) -> int:
        return self.out_channels * self.in_channels // self.groups

    def _extent(self, size: int, axis: int) -> tuple[int, int, int]:
        effective = (self.kernel[axis] - 1) * self.dilation + 1
        if self.padding == "valid":
            if effective > size:
                raise ValueError(f"a kernel of {effective} does not fit an image of {size}")
            return (size - effective) // self.stride + 1, 0, 0
        out = -(-size // self.stride)
        total = max((out - 1) * self.stride + effective - size, 0)
        return out, total // 2, total - total // 2

    def _real_taps(self, size: int, axis: int) -> int:
        out, before, _ = self._extent(size, axis)
        return sum(
            0 <= o * self.stride - before + k * self.dilation < size
            for o in range(out)
            for k in range(self.kernel[axis])
        )


@dataclass(frozen=True)
class Workload:
    """A chain of stages on images [batch, height, width, channels], `count` times in its network.

    `squeeze_excite` is empty or two pointwise stages: of the mean over each image of what the stage before
    the last gives, they make the factors that multiply it. `dtype` is "float32", or "int8" for images and
    filters of 8-bit integers.
    """

    network: str
    stages: tuple[Stage, ...]
    height: int
    width: int
    batch: int = 1
    residual: bool = False
    squeeze_excite: tuple[Stage, ...] = ()
    count: int = 1
    dtype: str = "float32"

    @property
    def op(self) -> str:
        if len(self.stages) == 1:
            return self.stages[0].op
        if all(stage == self.stages[0] for stage in self.stages):
            return "chain"
        is_inverted = self.residual or self.squeeze_excite or len(self.stages) == 3
        return "inverted_residual" if is_inverted else "separable"

    @property
    def kind(self) -> str:
        """What `--ops` selects by: an operation of one stage, or "blocks"."""
        return self.op if len(self.stages) == 1 else "blocks"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.height, self.width, self.stages[0].in_channels

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.batch, *self.sizes()[-1], self.stages[-1].out_channels

    def sizes(self) -> list[tuple[int, int]]:
        """Image sizes from the input through the output of every stage."""
        sizes = [(self.height, self.width)]
        for stage in self.stages:
            sizes.append(stage.output_size(*sizes[-1]))
        return sizes

    @property
    def macs(self) -> int:
        chain = sum(s.macs(*size) for s, size in zip(self.stages, self.sizes(), strict=False))
        return self.batch * (chain + sum(s.macs(1, 1) for s in self.squeeze_excite))

    @property
    def flops(self) -> int:
        """Floating-point operations that are needed: two per tap that falls on the image; a gate adds two per
        value that it scales, a sum and a product, and its own products."""
        real = sum(s.real_macs(*size) for s, size in zip(self.stages, self.sizes(), strict=False))
        if self.squeeze_excite:
            height, width = self.sizes()[-2]
            real += height * width * self.stages[-2].out_channels
            real += sum(s.real_macs(1, 1) for s in self.squeeze_excite)
        return 2 * self.batch * real

    @property
    def item_bytes(self) -> int:
        return 1 if self.dtype == "int8" else FLOAT_BYTES

    @property
    def read_bytes(self) -> int:
        """Input and weights; what stages pass on could stay in cache. Of integers a bias and a factor."""
        of_channel = 8 if self.dtype == "int8" else FLOAT_BYTES
        weights = sum(
            self.item_bytes * _product(s.filter_shape) + of_channel * s.out_channels
            for s in self.stages + self.squeeze_excite
        )
        return self.item_bytes * _product(self.input_shape) + weights

    @property
    def write_bytes(self) -> int:
        return self.item_bytes * _product(self.output_shape)

    @property
    def bytes(self) -> int:
        """Memory that must move once."""
        return self.read_bytes + self.write_bytes

    @property
    def map_bytes(self) -> int:
        """Input and output."""
        maps = self._maps()
        return maps[0] + maps[-1]

    @property
    def between_bytes(self) -> int:
        """Feature maps between stages that are computed one after another: the most that exist at once."""
        inner = [0, *self._maps()[1:-1], 0]
        return max(map(sum, itertools.pairwise(inner)))

    @property
    def layers_bytes(self) -> int:
        """As between_bytes, with input and output; the input goes once it is read, or is added at the end."""
        maps = self._maps()
        first, *later = map(sum, itertools.pairwise(maps))
        return max(first, *(both + maps[0] * self.residual for both in later), 0)

    def _maps(self) -> list[int]:
        """Bytes of the input and of the output of every stage."""
        channels = [self.stages[0].in_channels, *(stage.out_channels for stage in self.stages)]
        sizes = zip(self.sizes(), channels, strict=True)
        return [self.item_bytes * self.batch * height * width * c for (height, width), c in sizes]

    @property
    def shape(self) -> str:
        """A short name, unique within a network: `56x56 24>144>24 3x3 s2`."""
        parts = [f"{self.height}x{self.width}"]
        if self.batch > 1:
            parts.insert(0, f"{self.batch}x")
        if self.op == "depthwise":
            first = self.stages[0]
            parts.append(f"{first.in_channels}")
            if first.out_channels != first.in_channels:
                parts.append(f"m{first.out_channels // first.in_channels}")
        else:
            channels = [
                self.stages[0].in_channels,
                *(s.out_channels for s in self.stages if s.op != "depthwise"),
            ]
            parts.append(">".join(map(str, channels)))
        for stage in self.stages:
            if stage.kernel != (1, 1) or stage.op == "depthwise":
                parts.append(f"{stage.kernel[0]}x{stage.kernel[1]}")
            if stage.stride > 1:
                parts.append(f"s{stage.stride}")
            if stage.dilation > 1:
                parts.append(f"d{stage.dilation}")
            if stage.padding == "valid" and stage.kernel != (1, 1):
                parts.append("valid")
        if self.squeeze_excite:
            parts.append(f"se{self.squeeze_excite[0].out_channels}")
        if self.residual:
            parts.append("+x")
        activation = next((s.activation for s in self.stages if s.activation), None)
        return " ".join([*parts, activation] if activation else parts)

    def chain(self, length: int) -> Workload | None:
        """`length` copies of a layer in a row, or None where its output is not its own input."""
        if len(self.stages) != 1 or self.output_shape != self.input_shape:
            return None
        return replace(self, stages=self.stages * length)

    def quantized(self) -> Workload:
        """In int8; an activation that is no clamp is left out."""
        stages = [s if s.activation in CLAMPS else replace(s, activation=None) for s in self.stages]
        return replace(self, stages=tuple(stages), dtype="int8")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Workload:
        chains = {
            name: tuple(Stage(**{**s, "kernel": tuple(s["kernel"])}) for s in data[name])
            for name in ("stages", "squeeze_excite")
        }
        return cls(**{**data, **chains})


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
