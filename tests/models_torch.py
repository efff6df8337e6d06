"""Convolution networks of the literature as PyTorch modules, at full size, in evaluation mode.

`build(name)` and `example(name)` make one of `MODELS` and an input. Weights are random but seeded, and batch
norm has statistics of its own, so that folding it matters. Each class cites the paper it follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, activation; padded so that a stride of 1 keeps the size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        act: Callable[[], nn.Module] | None = nn.ReLU,
        epsilon: float = 1e-5,
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(outputs, eps=epsilon)]
        super().__init__(*layers, *([act()] if act else []))


def head(features: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(features, classes))


class MobileNetV1(nn.Sequential):
    """Howard et al., arXiv 1704.04861."""

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
        plan += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
        channels = int(32 * width)
        layers: list[nn.Module] = [ConvNorm(3, channels, 3, 2)]
        for outputs, stride in plan:
            outputs = int(outputs * width)
            layers += [ConvNorm(channels, channels, 3, stride, channels), ConvNorm(channels, outputs, 1)]
            channels = outputs
        super().__init__(*layers, head(channels, classes))


def divisible(channels: float, by: int = 8) -> int:
    """The nearest multiple that is not more than 10 % below."""
    found = max(by, int(channels + by / 2) // by * by)
    return found + by if found < 0.9 * channels else found


class InvertedResidual(nn.Module):
    """Sandler et al., arXiv 1801.04381; parameters have torchvision's names."""

    def __init__(self, inputs: int, outputs: int, stride: int, ratio: int) -> None:
        super().__init__()
        hidden = inputs * ratio
        layers: list[nn.Module] = [ConvNorm(inputs, hidden, 1, act=nn.ReLU6)] if ratio != 1 else []
        layers += [ConvNorm(hidden, hidden, 3, stride, hidden, nn.ReLU6)]
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Takes torchvision's state dict."""

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        channels = divisible(32 * width)
        layers: list[nn.Module] = [ConvNorm(3, channels, 3, 2, act=nn.ReLU6)]
        plan = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        for ratio, outputs, repeats, stride in plan:
            outputs = divisible(outputs * width)
            for i in range(repeats):
                layers.append(InvertedResidual(channels, outputs, stride if i == 0 else 1, ratio))
                channels = outputs
        last = max(1280, divisible(1280 * width))
        self.features = nn.Sequential(*layers, ConvNorm(channels, last, 1, act=nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcite(nn.Module):
    """Hu et al., arXiv 1709.01507."""

    def __init__(
        self, channels: int, squeezed: int, act: Callable[[], nn.Module], gate: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        scale = functional.adaptive_avg_pool2d(x, 1)
        return x * self.gate(self.expand(self.act(self.reduce(scale))))


class MobileBlock(nn.Module):
    """The inverted residual of MobileNetV3 and EfficientNet, with squeeze-and-excite if `squeeze`."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        kernel: int,
        stride: int,
        act: Callable[[], nn.Module],
        squeeze: nn.Module | None,
        epsilon: float,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(ConvNorm(inputs, hidden, 1, act=act, epsilon=epsilon))
        layers.append(ConvNorm(hidden, hidden, kernel, stride, hidden, act, epsilon))
        if squeeze is not None:
            layers.append(squeeze)
        layers.append(ConvNorm(hidden, outputs, 1, act=None, epsilon=epsilon))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return x + y if self.residual else y


class MobileNetV3Large(nn.Module):
    """Howard et al., arXiv 1905.02244."""

    # kernel, hidden, outputs, squeeze-and-excite, hard-swish, stride
    PLAN = (
        (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2),
        (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1),
        (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 480, 112, 1, 1, 1),
        (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2),
        (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1),
    )  # fmt: skip

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, 16, 3, 2, act=nn.Hardswish, epsilon=1e-3)]
        channels = 16
        for kernel, hidden, outputs, squeeze, swish, stride in self.PLAN:
            gate = SqueezeExcite(hidden, divisible(hidden / 4), nn.ReLU, nn.Hardsigmoid) if squeeze else None
            act = nn.Hardswish if swish else nn.ReLU
            layers.append(MobileBlock(channels, hidden, outputs, kernel, stride, act, gate, 1e-3))
            channels = outputs
        self.features = nn.Sequential(*layers, ConvNorm(channels, 960, 1, act=nn.Hardswish, epsilon=1e-3))
        self.classifier = nn.Sequential(
            nn.Linear(960, 1280), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(1280, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class EfficientNetB0(nn.Module):
    """Tan and Le, arXiv 1905.11946."""

    # ratio, kernel, stride, outputs, repeats
    PLAN = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
            (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))  # fmt: skip

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2, act=nn.SiLU, epsilon=1e-3)]
        channels = 32
        for ratio, kernel, stride, outputs, repeats in self.PLAN:
            for i in range(repeats):
                hidden = channels * ratio
                gate = SqueezeExcite(hidden, channels // 4, nn.SiLU, nn.Sigmoid)
                step = stride if i == 0 else 1
                layers.append(MobileBlock(channels, hidden, outputs, kernel, step, nn.SiLU, gate, 1e-3))
                channels = outputs
        self.features = nn.Sequential(*layers, ConvNorm(channels, 1280, 1, act=nn.SiLU, epsilon=1e-3))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class Separable(nn.Sequential):
    """Xception's: nothing between depthwise and pointwise."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )


class XceptionBlock(nn.Module):
    def __init__(self, widths: Sequence[int], stride: int, first: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            if i or first:
                layers.append(nn.ReLU())
            layers.append(Separable(inputs, outputs))
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.body = nn.Sequential(*layers)
        same = stride == 1 and widths[0] == widths[-1]
        self.skip = nn.Identity() if same else ConvNorm(widths[0], widths[-1], 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.skip(x)


class Xception(nn.Sequential):
    """Chollet, arXiv 1610.02357."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__(
            ConvNorm(3, 32, 3, 2),
            ConvNorm(32, 64),
            XceptionBlock((64, 128, 128), 2, first=False),
            XceptionBlock((128, 256, 256), 2),
            XceptionBlock((256, 728, 728), 2),
            *(XceptionBlock((728,) * 4, 1) for _ in range(8)),
            XceptionBlock((728, 728, 1024), 2),
            Separable(1024, 1536),
            nn.ReLU(),
            Separable(1536, 2048),
            nn.ReLU(),
            head(2048, classes),
        )


class ChannelsFirstNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand, self.project = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(0.5 * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.project(functional.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtTiny(nn.Sequential):
    """Liu et al., arXiv 2201.03545."""

    def __init__(self, classes: int = 1000, depths: Sequence[int] = (3, 3, 9, 3)) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelsFirstNorm(96, eps=1e-6)]
        for stage, depth in enumerate(depths):
            channels = 96 << stage
            layers += [ConvNeXtBlock(channels) for _ in range(depth)]
            if stage < 3:
                layers += [ChannelsFirstNorm(channels, eps=1e-6), nn.Conv2d(channels, 2 * channels, 2, 2)]
        super().__init__(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(1),
            nn.LayerNorm(768, eps=1e-6),
            nn.Linear(768, classes),
        )


def shuffled(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class ShuffleBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.split = stride == 1
        left = [ConvNorm(inputs, inputs, 3, 2, inputs, None), ConvNorm(inputs, half, 1)]
        self.left = nn.Sequential(*([] if self.split else left))
        self.right = nn.Sequential(
            ConvNorm(half if self.split else inputs, half, 1),
            ConvNorm(half, half, 3, stride, half, None),
            ConvNorm(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1) if self.split else (x, x)
        return shuffled(torch.cat((self.left(a), self.right(b)), dim=1), 2)


class ShuffleNetV2(nn.Sequential):
    """Ma et al., arXiv 1807.11164."""

    def __init__(self, classes: int = 1000) -> None:
        layers: list[nn.Module] = [ConvNorm(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
        channels = 24
        for outputs, repeats in ((116, 4), (232, 8), (464, 4)):
            layers += [ShuffleBlock(channels, outputs, 2)]
            layers += [ShuffleBlock(outputs, outputs, 1) for _ in range(repeats - 1)]
            channels = outputs
        super().__init__(*layers, ConvNorm(channels, 1024, 1), head(1024, classes))


class RegNetBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(inputs, outputs, 1),
            ConvNorm(outputs, outputs, 3, stride, outputs // width),
            ConvNorm(outputs, outputs, 1, act=None),
        )
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.skip(x) + self.body(x), inplace=True)


class RegNetX400(nn.Sequential):
    """RegNetX-400MF of Radosavovic et al., arXiv 2003.13678: thin groups of 16 channels."""

    def __init__(self, classes: int = 1000) -> None:
        layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2)]
        channels = 32
        for outputs, depth in ((32, 1), (64, 2), (160, 7), (400, 12)):
            for i in range(depth):
                layers.append(RegNetBlock(channels, outputs, 2 if i == 0 else 1, 16))
                channels = outputs
        super().__init__(*layers, head(channels, classes))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_large": MobileNetV3Large,
    "efficientnet_b0": EfficientNetB0,
    "xception": Xception,
    "convnext_tiny": ConvNeXtTiny,
    "shufflenet_v2": ShuffleNetV2,
    "regnet_x_400mf": RegNetX400,
}
SIZES = {"xception": 299}  # pixels; 224 otherwise


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with weights that neither grow nor vanish from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if tensor.ndim > 1:
                tensor.copy_(noise * math.sqrt(1.6 / tensor[0].numel()))
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + noise.abs())
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(0.1 * noise)
            else:
                tensor.copy_(1 + 0.1 * noise)
    return module.eval()


def build(name: str, seed: int = 0) -> nn.Module:
    return seeded(MODELS[name](), seed)


def example(name: str, size: int | None = None, batch: int = 1) -> Tensor:
    """An input of full size, or of `size` pixels."""
    pixels = size or SIZES.get(name, 224)
    return torch.randn(batch, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))
