"""Modules of PyTorch that the tests of `dwconv.torch` share."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv.torch  # noqa: E402
from dwconv.torch import functions  # noqa: E402

LAST = torch.channels_last


def pair(inputs: int = 8, outputs: int = 16, **options: Any) -> tuple[nn.Conv2d, nn.Conv2d]:
    torch.manual_seed(0)
    theirs = nn.Conv2d(inputs, outputs, **options)
    ours = dwconv.torch.Conv2d(inputs, outputs, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def image(*shape: int, layout: Any = torch.contiguous_format, seed: int = 1, **options: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, **options).to(memory_format=layout)


def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What dwconv is called for from here on."""
    found: list[str] = []

    def note(name: str) -> None:
        function = getattr(functions, name)

        def noted(*arguments: Any) -> Any:
            found.append(name)
            return function(*arguments)

        monkeypatch.setattr(functions, name, noted)

    for name in ("convolve", "predict", "backward"):
        note(name)
    return found


def tutorial() -> nn.Module:
    """The module as people write it."""

    class DepthwiseSeparableConv(nn.Module):
        def __init__(self, in_channels, out_channels, kernel_size=3, stride=1, padding=1):  # type: ignore[no-untyped-def]
            super().__init__()
            self.depthwise = nn.Conv2d(
                in_channels, in_channels, kernel_size=kernel_size, stride=stride, padding=padding,
                groups=in_channels,
            )  # fmt: skip
            self.pointwise = nn.Conv2d(in_channels, out_channels, kernel_size=1)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.pointwise(self.depthwise(x))

    torch.manual_seed(0)
    return DepthwiseSeparableConv(8, 16, stride=2)


def block() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        dwconv.torch.DepthwiseSeparableConv(3, 8), nn.BatchNorm2d(8), nn.ReLU6(), dwconv.torch.Conv2d(8, 4, 3)
    )
