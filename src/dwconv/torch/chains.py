"""Modules one after another: what dwconv computes of several at once, and modules whose `forward` does so.

A convolution, the batch normalization behind it and a ReLU or ReLU6 are one operation, forward and backward,
where nothing else sees what is between them: in an `nn.Sequential`, and where the source of a `forward` says
so (`rewriting`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from torch import nn

from .modules import Conv2d
from .normalization import CLAMPS, BatchNorm2d
from .plain import is_bare, is_plain
from .rewriting import rewritten


def run(modules: Sequence[Callable[[Any], Any]], x: Any) -> Any:
    """What the last one gives, each being called with what the one before it gave."""
    plain = is_plain(x)
    while modules:
        conv, norm, clamp = _unit(modules) if plain else (None, None, None)
        if norm is None:
            x, modules = modules[0](x), modules[1:]
        else:
            count = 1 + (conv is not None) + (clamp is not None)
            x, modules = norm.normalize(x, clamp, conv), modules[count:]
    return x


def _unit(modules: Sequence[Any]) -> tuple[Conv2d | None, BatchNorm2d | None, nn.Module | None]:
    """What is one operation at the begin; no normalization: nothing is."""
    conv = modules[0] if type(modules[0]) is Conv2d else None
    rest = modules if conv is None else modules[1:]
    norm = rest[0] if rest and type(rest[0]) is BatchNorm2d else None
    if norm is None or not is_bare(norm) or (conv is not None and not is_bare(conv)):
        return None, None, None
    clamp = rest[1] if len(rest) > 1 and type(rest[1]) in CLAMPS and is_bare(rest[1]) else None
    return (None, None, None) if conv is None and clamp is None else (conv, norm, clamp)


def _joins(first: Any, second: Any) -> bool:
    if type(first) is Conv2d:
        return type(second) is BatchNorm2d
    return type(first) is BatchNorm2d and type(second) in CLAMPS


# ---- classes ----------------------------------------------------------------------------------


class Fusing:
    """A module whose `forward` computes several of its parts at once; copies and pickles are the same."""

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        return _blank, (self._plain_class,), self.__getstate__()

    def __getstate__(self: Any) -> dict[str, Any]:
        return dict(self.__dict__)


def _forward_of_sequence(self: Any, input: Any) -> Any:
    if not is_plain(input):
        return self._plain_class.forward(self, input)
    return run(list(self._modules.values()), input)


def _is_sequence(cls: Any) -> bool:
    return issubclass(cls, nn.Sequential) and cls.forward is nn.Sequential.forward


@cache
def fusing(plain: Any) -> Any:
    """The subclass of this one that fuses."""
    own = rewritten(plain, run).forward or plain.forward  # as after a pickle that comes to other source
    forward = _forward_of_sequence if _is_sequence(plain) else own
    members = {
        "_plain_class": plain, "__module__": plain.__module__, "__doc__": plain.__doc__, "forward": forward
    }  # fmt: skip
    return type(plain.__name__, (Fusing, plain), members)


def _blank(plain: Any) -> Any:
    cls = fusing(plain)
    return cls.__new__(cls)


def fuse(module: nn.Module) -> None:
    """Makes a module that has a normalization and its neighbours in a chain one that fuses, in place."""
    cls: Any = type(module)
    if issubclass(cls, Fusing) or "forward" in module.__dict__:
        return
    if _is_sequence(cls):
        chains = [list(module._modules.values())]
    else:
        chains = [[getattr(module, name, None) for name in chain] for chain in rewritten(cls, run).chains]
    if any(_joins(*pair) for chain in chains for pair in pairwise(chain)):
        module.__class__ = fusing(cls)
