"""`accelerate`: exchanges the modules of a model in place."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import torch
from torch import nn

from ..config import PerformanceWarning
from .chains import fuse
from .modules import Conv2d, about_convolution, lay_out
from .normalization import BatchNorm2d, about_norm

M = TypeVar("M", bound=nn.Module)


def accelerate(model: M, *, channels_last: bool = True) -> M:
    """Makes the convolutions and batch normalizations of a model run on dwconv, in place, and gives the model
    itself.

    Every `nn.Conv2d` becomes a `dwconv.torch.Conv2d`, every `nn.BatchNorm2d` a `dwconv.torch.BatchNorm2d`:
    the same module with the same parameters, hooks and state dict keys; optimizers that know its parameters
    go on. A normalization is computed together with the convolution before it and an `nn.ReLU` or `nn.ReLU6`
    behind it, all without hooks, in an `nn.Sequential` and where the source of a `forward` calls them one
    after another. `channels_last`: moves the model to `torch.channels_last`, and what is exchanged gives such
    tensors. What dwconv does not have stays as it is, which a `dwconv.PerformanceWarning` lists with reasons.

    >>> import torch, dwconv.torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    >>> [type(module).__module__ for module in dwconv.torch.accelerate(model)][:2]
    ['dwconv.torch', 'dwconv.torch']
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise TypeError(f"accelerate: model must be an nn.Module, not {type(model).__name__}")
    left = []
    if channels_last:
        model.to(memory_format=torch.channels_last)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            reason = _exchange(module, nn.Conv2d, Conv2d, about_convolution)
        elif isinstance(module, nn.BatchNorm2d):
            reason = _exchange(module, nn.BatchNorm2d, BatchNorm2d, about_norm)
        else:
            continue
        if reason is not None:
            left.append(f"{name or 'the model'} ({type(module).__name__}): {reason}")
            continue
        if channels_last:
            module.always_channels_last = True
    for module in model.modules():
        fuse(module)
    if left:
        lines = "".join(f"\n  - {line}" for line in left)
        warnings.warn(
            f"accelerate: PyTorch still computes {len(left)} module(s):{lines}",
            PerformanceWarning,
            stacklevel=2,
        )
    return model


def _exchange(module: nn.Module, theirs: Any, ours: Any, about: Any) -> str | None:
    """Why not, or None."""
    if type(module) not in (theirs, ours):
        return f"only nn.{theirs.__name__} is exchanged"
    reason: str | None = about(module)
    if reason is None:
        module.__class__ = ours
        if ours is Conv2d:
            lay_out(module)
    return reason
