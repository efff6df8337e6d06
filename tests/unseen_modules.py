"""PyTorch modules of `unseen.py`: layers for every opset of ONNX, and small networks like well known ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Made = Callable[[], tuple[nn.Module, Tensor]]


class Raw(nn.Module):
    """The tensors of a detector of torchvision before boxes are chosen."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x: Tensor) -> Any:
        return self.head(list(self.backbone(x).values()))


class Call(nn.Module):
    """A separable convolution, then a function."""

    def __init__(self, function: Callable[[Tensor], Any], channels: int = 12) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, channels, 1))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.conv(x))


class Then(nn.Sequential):
    """The same, then modules."""

    def __init__(self, *modules: nn.Module, channels: int = 12) -> None:
        super().__init__(nn.Conv2d(3, 3, 3, padding=1, groups=3), nn.Conv2d(3, channels, 1), *modules)


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: Any = nn.ReLU
) -> Any:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), *([act()] if act else []))


def separable(inputs: int, outputs: int, stride: int = 1, kernel: int = 3, act: Any = nn.ReLU) -> Any:
    return nn.Sequential(conv(inputs, inputs, kernel, stride, inputs, act), conv(inputs, outputs, 1, act=act))


# ---- layers ---------------------------------------------------------------------------------------


def layer_norm_first(x: Tensor) -> Tensor:
    """LayerNorm over channels as ConvNeXt spells it for NCHW."""
    mean = x.mean(1, keepdim=True)
    return (x - mean) / torch.sqrt((x - mean).pow(2).mean(1, keepdim=True) + 1e-6)


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, 3, c // 3, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def like(x: Tensor, **how: Any) -> Tensor:
    """Up to the size of another tensor, as feature pyramids do."""
    return x + F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:], **how)


FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "adaptive_average": lambda x: F.adaptive_avg_pool2d(x, 4),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 1),
    "attention": lambda x: F.scaled_dot_product_attention(*x.flatten(2).chunk(3, 1)),
    "average_ceil": lambda x: F.avg_pool2d(x, 3, 2, 1, True, False),
    "channel_shuffle": shuffled,
    "clamp": lambda x: (x.clamp(0, 6), x.clamp(min=0), x.clamp(max=0.5), x.clamp(-0.3, 0.4)),
    "depth_to_space": lambda x: F.pixel_shuffle(x, 2),
    "einsum": lambda x: torch.einsum("nchw,nkhw->nck", x, x),
    "global_mean": lambda x: x.mean((2, 3)) + x.mean(3).amax(2),
    "group_norm": lambda x: F.group_norm(x, 3, torch.linspace(0.5, 1.5, 12), torch.linspace(-1, 1, 12)),
    "instance_norm": F.instance_norm,
    "l2_normalize": F.normalize,
    "layer_norm": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (12,), torch.linspace(0.5, 1.5, 12)),
    "layer_norm_first": layer_norm_first,
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "max_ceil": lambda x: F.max_pool2d(x, 3, 2, 0, ceil_mode=True),
    "pad_edge": lambda x: F.pad(x, (1, 2, 3, 1), mode="replicate"),
    "pad_reflect": lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect"),
    "pad_value": lambda x: F.pad(x, (1, 0, 2, 1), value=0.7),
    "pow_sqrt": lambda x: (x.abs() + 0.1).sqrt() + x.pow(2).mean(1, True).rsqrt() + x.abs().pow(1.5),
    "reduce": lambda x: (x.amax((2, 3)), x.sum(1), x.norm(dim=1), x.std(1), x.logsumexp(1), x.amin(-1)),
    "resize_bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "resize_corners": lambda x: F.interpolate(x, size=(21, 30), mode="bilinear", align_corners=True),
    "resize_like": lambda x: like(x, mode="bilinear"),
    "resize_nearest": lambda x: F.interpolate(x, scale_factor=2),
    "resize_nearest_like": lambda x: like(x, mode="nearest"),
    "resize_odd": lambda x: F.interpolate(x, size=(13, 17), mode="nearest"),
    "softmax": lambda x: (F.softmax(x, 1), F.softmax(x, -1)),
    "space_to_depth": lambda x: F.pixel_unshuffle(x, 2),
    "split": lambda x: torch.cat([*x.split([2, 4, 6], 1), x[:, ::2], x[:, 1:5] * x[:, :1]], 1),
    "slice": lambda x: x[:, :, 1:-1:2].mean(2, True).expand_as(x),
    "squeeze": lambda x: x.mean((2, 3), True).squeeze(-1).squeeze(-1).unsqueeze(0),
    "stack": lambda x: torch.stack([x, x * 2], 2).flatten(1, 2).sigmoid(),
    "unfold": lambda x: F.unfold(x, 2, stride=2),
    "where": lambda x: torch.where(x > 0, x, x.exp() - 1),
}  # fmt: skip
MODULES: dict[str, Callable[[], list[nn.Module]]] = {
    "celu_selu_elu": lambda: [nn.CELU(0.7), nn.SELU(), nn.ELU(0.5)],
    "conv_transpose": lambda: [
        nn.ConvTranspose2d(12, 6, 3, 2, 1, 1),
        nn.ConvTranspose2d(6, 6, 2, 2, groups=6),
    ],
    "gelu": lambda: [nn.GELU(), nn.GELU("tanh")],
    "gru": lambda: [nn.Flatten(2), nn.GRU(256, 16, batch_first=True)],
    "hard": lambda: [nn.Hardswish(), nn.Hardsigmoid(), nn.Hardtanh(-0.5, 0.8)],
    "leaky_prelu": lambda: [nn.LeakyReLU(0.1), nn.PReLU(12), nn.PReLU()],
    "linear": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 7), nn.LayerNorm(7)],
    "lstm": lambda: [nn.Flatten(2), nn.LSTM(256, 16, bidirectional=True, batch_first=True)],
    "mish_silu_softplus": lambda: [nn.Mish(), nn.SiLU(), nn.Softplus(), nn.Softsign(), nn.LogSigmoid()],
    "norm": lambda: [nn.BatchNorm2d(12), nn.GroupNorm(4, 12), nn.InstanceNorm2d(12, affine=True)],
    "padded": lambda: [nn.ReflectionPad2d(2), nn.Conv2d(12, 12, 5, groups=12), nn.ZeroPad2d(1), nn.ReLU6()],
    "upsample": lambda: [nn.Upsample(scale_factor=3), nn.UpsamplingBilinear2d(scale_factor=2)],
}
LAYERS: dict[str, Made] = {
    **{name: lambda f=f: (Call(f), torch.randn(1, 3, 16, 16)) for name, f in FUNCTIONS.items()},  # type: ignore[misc]
    **{name: lambda f=f: (Then(*f()), torch.randn(1, 3, 16, 16)) for name, f in MODULES.items()},  # type: ignore[misc]
}


# ---- networks ---------------------------------------------------------------------------------------


class Mixer(nn.Module):
    """The block of SVTR (Du et al., arXiv 2205.00159): attention over the tokens of an image, then an MLP."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.out, self.heads = (
            nn.Linear(channels, 3 * channels),
            nn.Linear(channels, channels),
            heads,
        )
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.SiLU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.first(x)).reshape(n, -1, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] * (c // self.heads) ** -0.5 @ qkv[1].transpose(-2, -1)).softmax(-1)
        x = x + self.out((weights @ qkv[2]).transpose(1, 2).reshape(n, -1, c))
        return (x + self.mlp(self.second(x))).transpose(1, 2).reshape(n, c, h, w)


class Recogniser(nn.Module):
    """Lines of text as PP-OCR's recognisers read them: LCNet, SVTR or an LSTM, scores of every column."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2, act=nn.Hardswish), separable(16, 32, 1, 3, nn.Hardswish))
        self.deep = nn.Sequential(separable(32, 64, (2, 1), 5, nn.Hardswish), nn.AvgPool2d((3, 2)))  # type: ignore[arg-type]
        self.mix = nn.LSTM(64, 32, 2, bidirectional=True, batch_first=True) if recurrent else Mixer(64)
        self.recurrent, self.scores = recurrent, nn.Linear(64, 97)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.stem(x))
        if not self.recurrent:
            x = self.mix(x)
        x = x.mean(2).transpose(1, 2)
        return self.scores(self.mix(x)[0] if self.recurrent else x).softmax(2)


class Gated(nn.Module):
    """YOLOv8's parts, depthwise: C2f, SPPF, a head with a distribution over distances, boxes decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2, act=nn.SiLU), separable(16, 32, 2, act=nn.SiLU))
        self.split, self.inner = conv(32, 32, 1, act=nn.SiLU), separable(16, 16, act=nn.SiLU)
        self.join, self.pool = conv(48, 32, 1, act=nn.SiLU), nn.MaxPool2d(5, 1, 2)
        self.box = nn.Sequential(separable(128, 64, act=nn.SiLU), nn.Conv2d(64, 64, 1))
        self.cls, self.dfl = nn.Conv2d(128, 5, 1), nn.Conv2d(16, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.split(self.stem(x)).chunk(2, 1)
        x = self.join(torch.cat([a, b, b + self.inner(b)], 1))
        pooled = [x, self.pool(x), self.pool(self.pool(x)), self.pool(self.pool(self.pool(x)))]
        x = torch.cat(pooled, 1)
        n, _, h, w = x.shape
        box = self.dfl(self.box(x).view(n, 4, 16, h * w).transpose(2, 1).softmax(1)).view(n, 4, h * w)
        y, z = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        low, high = (centre := torch.stack([z, y]).flatten(1)) - box[:, :2], centre + box[:, 2:]
        box = torch.cat([(low + high) / 2, high - low], 1) * 4
        return torch.cat([box, self.cls(x).flatten(2).sigmoid()], 1)


class Blaze(nn.Module):
    """BlazeFace (arXiv 1907.05047): residuals whose channels are padded, two scales of boxes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 24, 5, 2)
        self.blocks = nn.ModuleList([separable(24, 28, 1, 5, None), separable(28, 32, 2, 5, None)])
        self.scores, self.boxes = nn.Conv2d(32, 2, 1), nn.Conv2d(28, 32, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        a = F.relu(self.blocks[0](x) + F.pad(x, (0, 0, 0, 0, 0, 4)))
        b = F.relu(self.blocks[1](a) + F.pad(F.max_pool2d(a, 2), (0, 0, 0, 0, 0, 4)))
        scores = self.scores(b).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 1)
        return scores, self.boxes(a).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 16)


class Sound(nn.Module):
    """Depthwise-separable convolution over time: causal, dilated, normed over all, as Conv-TasNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Conv1d(1, 32, 16, 8, bias=False), nn.ConvTranspose1d(32, 1, 16, 8)
        parts = [self.block(2**i) for i in range(3)]
        self.blocks = nn.ModuleList(parts)

    @staticmethod
    def block(dilation: int) -> nn.Sequential:
        depthwise = nn.Conv1d(48, 48, 3, dilation=dilation, groups=48)
        norm, last = nn.GroupNorm(1, 48), nn.Sequential(nn.PReLU(), nn.BatchNorm1d(48), nn.Conv1d(48, 32, 1))
        return nn.Sequential(
            nn.Conv1d(32, 48, 1), nn.PReLU(), norm, nn.ConstantPad1d((2 * dilation, 0), 0.0), depthwise, last
        )

    def forward(self, x: Tensor) -> Tensor:
        codes = mask = F.relu(self.encode(x))
        for block in self.blocks:
            mask = mask + block(mask)
        return self.decode(codes * mask.sigmoid())


def keywords() -> nn.Module:
    """DS-CNN (Zhang et al., arXiv 1711.07128): keywords in 49 x 10 coefficients."""
    layers = [nn.Conv2d(1, 64, (10, 4), 2, (5, 1)), nn.BatchNorm2d(64), nn.ReLU()]
    layers += [separable(64, 64) for _ in range(4)]
    return nn.Sequential(
        *layers, nn.Dropout(0.4), nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(64, 12), nn.Softmax(1)
    )


class UNet(nn.Module):
    """A segmenter of three scales, whose ways up are transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 16, 3, 2), separable(16, 32, 2), separable(32, 48, 2)
        self.up, self.up2 = nn.ConvTranspose2d(48, 32, 2, 2), nn.ConvTranspose2d(64, 16, 4, 2, 1)
        self.out = nn.Sequential(separable(32, 16, kernel=5), nn.Conv2d(16, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(self.a(x))
        b = torch.cat([b, self.up(self.c(b))], 1)
        y = self.out(torch.cat([a, self.up2(b)], 1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False).softmax(1)


MODELS: dict[str, Made] = {
    "blazeface": lambda: (Blaze(), torch.randn(1, 3, 64, 64)),
    "conv_tasnet": lambda: (Sound(), torch.randn(1, 1, 800)),
    "crnn": lambda: (Recogniser(True), torch.randn(1, 3, 24, 96)),
    "ds_cnn": lambda: (keywords(), torch.randn(1, 1, 49, 10)),
    "svtr": lambda: (Recogniser(False), torch.randn(1, 3, 24, 96)),
    "unet": lambda: (UNet(), torch.randn(1, 3, 64, 64)),
    "yolo": lambda: (Gated(), torch.randn(1, 3, 64, 64)),
}
