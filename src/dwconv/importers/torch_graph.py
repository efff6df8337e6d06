"""An fx graph of ATen operations -> nodes of a network. `dwconv.importers.torch` makes it of a module."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from . import torch_elements, torch_images, torch_integers, torch_masks, torch_shapes  # which register theirs
from .channels_first import ChannelsFirst, T, UnsupportedError
from .torch_ops import OPS

__all__ = ["Reader", "array", "handler", "torch_elements", "torch_images", "torch_shapes"]

# What is meant to be read instead of something that is not there.
NEAREST = {
    "conv3d": "conv2d", "conv_transpose3d": "conv_transpose2d", "avg_pool3d": "avg_pool2d",
    "max_pool3d": "max_pool2d",
    "_upsample_bilinear2d_aa": "upsample_bilinear2d",
    "upsample_trilinear3d": "upsample_bilinear2d", "embedding": "index_select with constant indices",
    "hardshrink": "hardtanh", "argmax": "amax", "sort": "amax",
}  # fmt: skip
CHECKS = (
    "_assert_tensor_metadata",
    "_assert_scalar",
    "_assert_async",
    "sym_constrain_range_for_size",
    "_set_grad_enabled",
)


class Missing:
    """What an unsupported node gives, if its shape is of no use."""


def packet(target: Any) -> str:
    """The name of an operation without its overload."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target._schema.name).split("::")[1]
    return str(getattr(target, "__name__", target))


def handler(target: Any) -> Callable[..., Any] | None:
    if torch_integers.is_conversion(target):
        return torch_integers.evaluate
    if not isinstance(target, torch._ops.OpOverload) or target.namespace not in ("aten", "prims"):
        return None
    name = packet(target)
    return OPS.get(f"{name}.{target._overloadname}", OPS.get(name))


def array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(tensor.detach().contiguous().numpy())


class Reader:
    """Reads nodes one by one, and goes on after one that is not supported, to find them all."""

    def __init__(self) -> None:
        self.net = ChannelsFirst()
        self.found: dict[fx.Node, Any] = {}  # T, a constant of PyTorch, a number, or a tuple of those
        self.problems: list[str] = []

    def read(self, graph: fx.Graph, attributes: Any) -> Any:
        """The outputs, nested as they are in the graph. Placeholders are in `found` before."""
        for node in graph.nodes:
            if node.op == "output":
                return self._values(node.args[0])
            if node.op == "get_attr":
                self.found[node] = operator.attrgetter(node.target)(attributes)
            elif node.op == "call_function" and node.users and packet(node.target) not in CHECKS:
                self.found[node] = self._checked(node)
        raise ValueError("from_torch: a graph without an output")

    def _values(self, item: Any) -> Any:
        return fx.node.map_arg(item, lambda node: self.found[node])

    def _checked(self, node: fx.Node) -> Any:
        try:
            return self.evaluate(node)
        except (ValueError, IndexError, RuntimeError, NotImplementedError) as error:
            self.problems.append(self._problem(node, error))
            return self._stand_in(node)

    def evaluate(self, node: fx.Node) -> Any:
        """Raises ValueError for what is not supported."""
        args, kwargs = self._values(node.args), self._values(node.kwargs)
        inputs = [self.found[used] for used in node.all_input_nodes]
        if node.target is operator.getitem:
            return self._item(*args)
        if not any(map(_flows, inputs)):
            if isinstance(node.target, torch._ops.OpOverload) and (
                torch.Tag.nondeterministic_seeded in node.target.tags
            ):
                raise UnsupportedError("random numbers; constants are supported")
            with torch.no_grad():
                return node.target(*args, **kwargs)
        if torch_integers.is_conversion(node.target):
            self.net.label = place(node)[0] or node.name
            return torch_integers.evaluate(self, node)
        function = handler(node.target)
        if function is None:
            raise UnsupportedError("there is no such operation in dwconv" + nearest(packet(node.target)))
        if any(isinstance(item, Missing) for item in flat(inputs)):
            return Missing()
        _check_dtype(node)
        if packet(node.target) == "as_strided" and not _same_place(node):
            raise UnsupportedError("other elements than those of its input in their order")
        self.net.label = place(node)[0] or node.name
        given = bound(node.target, args, kwargs)
        try:
            result = function(self.net, **{name: _plain(value) for name, value in given.items()})
            if _dtype(node) == torch.bool:
                self.net.masks.add(result.value)
            return result
        except TypeError as error:  # arguments that only this overload has
            raise UnsupportedError(f"an overload that is not supported: {error}") from error

    def _item(self, items: Any, index: int) -> Any:
        if isinstance(items, Missing):
            return items
        if items[index] is None:
            raise UnsupportedError(f"result {index} of an operation; only the first one is supported")
        return items[index]

    def _stand_in(self, node: fx.Node) -> Any:
        """An input of the same shape, so that what follows is checked too."""
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return Missing()
        try:
            return self.net.input(f"unsupported {node.name}", [int(size) for size in value.shape])
        except ValueError:
            return Missing()

    def _problem(self, node: fx.Node, error: Exception) -> str:
        shapes = ", ".join(self._shape(self.found[used]) for used in node.all_input_nodes)
        path, kind, line = place(node)
        where = f"{path} ({kind})" if path else node.name
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        text = f"{where}: {node.target}({shapes}): {reason.removeprefix('network: ')}"
        return f"{text} [{line}]" if line else text

    def _shape(self, value: Any) -> str:
        if isinstance(value, T):
            return str(list(self.net.shape(value)))
        return str(list(value.shape)) if isinstance(value, torch.Tensor) else "?"


def bound(target: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by the names of the schema; `self` and `input` are `x`."""
    found = {}
    for index, argument in enumerate(target._schema.arguments):
        if index < len(args):
            value = args[index]
        elif argument.name in kwargs:
            value = kwargs[argument.name]
        elif argument.has_default_value():
            value = argument.default_value
        else:
            raise UnsupportedError(f"no argument {argument.name}")
        found["x" if argument.name in ("self", "input") else argument.name] = value
    return found


def flat(items: Any) -> Iterable[Any]:
    for item in items:
        if isinstance(item, list | tuple) and not isinstance(item, T):
            yield from flat(item)
        else:
            yield item


def _flows(item: Any) -> bool:
    """Whether it is computed at run time."""
    return any(isinstance(part, T | Missing) for part in flat([item]))


def _plain(value: Any) -> Any:
    """Constants as arrays."""
    if isinstance(value, torch.Tensor):
        return array(value)
    if isinstance(value, list | tuple) and not isinstance(value, T):
        return [_plain(item) for item in value]
    return value


def _dtype(node: fx.Node) -> torch.dtype | None:
    """Of the result, or the first of several."""
    value = node.meta.get("val")
    first = value[0] if isinstance(value, list | tuple) and value else value
    return first.dtype if isinstance(first, torch.Tensor) else None


def _check_dtype(node: fx.Node) -> None:
    dtype = _dtype(node)
    if dtype == torch.bool and packet(node.target) in torch_masks.GIVE_MASKS:
        return
    if dtype not in (None, torch.float32):
        raise UnsupportedError(f"a result of {str(dtype).removeprefix('torch.')}; float32 is supported")


def _same_place(node: fx.Node) -> bool:
    """Whether as_strided changes strides of axes of size 1 alone, as after pooling channels_last images."""
    source, size, strides, *offset = node.args
    value = source.meta["val"]
    pairs = zip(size, strides, value.stride(), strict=False)
    same = all(length == 1 or wanted == stride for length, wanted, stride in pairs)
    return same and list(value.shape) == list(size) and not any(offset)


def nearest(name: str) -> str:
    known = [other for other in OPS if min(len(name), len(other)) > 3 and "." not in other]
    close = NEAREST.get(name) or next(iter(difflib.get_close_matches(name, known, 1)), None)
    return f"; the nearest that is supported: {close}" if close else ""


def place(node: fx.Node) -> tuple[str, str, str]:
    """The module that a node comes from, its class, and the line of code outside PyTorch."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    path = re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", str(path))
    path = re.sub(r"^L\.\w+\.?", "", path)
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [f"{file}:{line}" for file, line in frames if "/torch/" not in file.replace("\\", "/")]
    return path, (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2], own[-1] if own else ""
