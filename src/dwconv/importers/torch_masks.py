"""ATen operations on truth values that are computed at run time. See `dwconv.importers.masks`."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import masks
from .channels_first import ChannelsFirst, T
from .torch_ops import number, op, tensor

KINDS = {
    "gt": "greater", "greater": "greater", "lt": "less", "less": "less",
    "ge": "greater_equal", "greater_equal": "greater_equal", "le": "less_equal", "less_equal": "less_equal",
    "eq": "equal", "ne": "not_equal", "not_equal": "not_equal",
}  # fmt: skip
LOGIC = {"and": masks.both, "or": masks.either, "xor": masks.one_of}
# What may give truth values: these, and what moves elements.
GIVE_MASKS = {
    *KINDS, *(f"{kind}_{name}" for kind in ("logical", "bitwise") for name in (*LOGIC, "not")),
    "_to_copy", "to", "clone", "alias", "detach", "contiguous", "view", "_unsafe_view", "reshape", "permute",
    "transpose", "t", "expand", "unsqueeze", "squeeze", "slice", "select", "flatten",
}  # fmt: skip


def _comparison(kind: str) -> Any:
    return lambda net, x, other: masks.compare(net, kind, number(x), number(other))


for _name, _kind in KINDS.items():
    op(_name)(_comparison(_kind))


def truth(net: ChannelsFirst, x: Any) -> Any:
    """1 for what is not 0."""
    if not isinstance(x, T):
        return np.asarray(np.asarray(x) != 0, np.float32)
    return x if x.value in net.masks else masks.compare(net, "not_equal", x, np.float32(0))


def _logic(function: Any) -> Any:
    return lambda net, x, other: function(net, truth(net, x), truth(net, other))


for _name, _function in LOGIC.items():
    op(f"logical_{_name}", f"bitwise_{_name}")(_logic(_function))


@op("logical_not", "bitwise_not")
def negated(net: ChannelsFirst, x: T) -> T:
    return masks.negated(net, truth(net, x))


@op("_to_copy", "to")
def copied(net: ChannelsFirst, x: T, dtype: Any = None, **_: Any) -> T:
    """To another type; the reader checks that it is one that is supported."""
    if str(dtype) == "torch.bool":
        return tensor(net, truth(net, x))
    return net.unary("linear", x, 1.0) if x.value in net.masks and dtype is not None else x


@op("where")
def where(net: ChannelsFirst, condition: Any, x: Any, other: Any) -> T:
    if isinstance(condition, T):
        return masks.select(net, condition, number(x), number(other))
    return net.where(np.asarray(condition, bool), number(x), number(other))


@op("masked_fill")
def masked_fill(net: ChannelsFirst, x: T, mask: Any, value: Any) -> T:
    return where(net, mask, value, x)
