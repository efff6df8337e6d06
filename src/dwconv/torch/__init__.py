"""PyTorch on dwconv: modules that train and predict, and a backend of `torch.compile`.

    model = dwconv.torch.accelerate(model)                  # in place, for training too
    block = dwconv.torch.DepthwiseSeparableConv(32, 64)     # or modules of dwconv from the start
    fast = torch.compile(model, backend="dwconv")           # prediction: whole parts of a model as networks

`torch.channels_last` is the fast layout: tensors are read and written in place, forward and backward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .accelerating import accelerate
from .functions import release_memory
from .modules import Conv2d, DepthwiseSeparableConv
from .normalization import BatchNorm2d

if TYPE_CHECKING:
    from .backend import dwconv_backend

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "DepthwiseSeparableConv",
    "accelerate",
    "dwconv_backend",
    "release_memory",
]


def __getattr__(name: str) -> Any:
    """The backend brings the compiler of PyTorch with it: imported where it is used first."""
    if name == "dwconv_backend":
        from .backend import dwconv_backend

        return dwconv_backend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
