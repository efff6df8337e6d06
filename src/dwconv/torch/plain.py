"""What the modules of dwconv share: tensors and modules that are plain, and saying why not."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from ..config import PerformanceWarning

DTYPES = (torch.float32, torch.float64)
PLAIN = (torch.Tensor, nn.Parameter)


def is_plain(x: Any) -> bool:
    """Not of a subclass, a compiler, a tracer or a functional transformation."""
    return (
        type(x) in PLAIN
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
    )


def is_bare(*modules: nn.Module) -> bool:
    """Without hooks, which would not run, and a `forward` of its own."""
    if nn.modules.module._has_any_global_hook():
        return False
    return not any(
        m._forward_hooks
        or m._forward_pre_hooks
        or m._backward_hooks
        or m._backward_pre_hooks
        or "forward" in m.__dict__
        for m in modules
    )


def needs_gradients(*tensors: torch.Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class Telling:
    """Says once for each module and reason that PyTorch computes something."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_packed", "_told")}

    def _tell(self, reason: str) -> None:
        told = self.__dict__.setdefault("_told", set())
        if reason not in told:
            told.add(reason)
            warnings.warn(
                f"dwconv.torch.{type(self).__name__}: PyTorch computes this: {reason}",
                PerformanceWarning,
                stacklevel=4,
            )
