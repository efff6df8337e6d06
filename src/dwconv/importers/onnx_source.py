"""An ONNX model as a source of graphs: one for every set of input shapes. Needs NumPy alone."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..activation import Array
from ..graph import Budget, Graph, UnsupportedModel
from ..sources import TensorInfo
from .channels_first import ChannelsFirst, T, UnsupportedError
from .onnx_attention import attention
from .onnx_call import Call
from .onnx_dynamic import DYNAMIC_OPS
from .onnx_einsum import einsum
from .onnx_fold import FOLD as ONNX_FOLD
from .onnx_integers import INTEGER_FOLD, INTEGER_OPS, MICROSOFT, MICROSOFT_OPS, ON_BYTES
from .onnx_masks import MASKS
from .onnx_model import Info, OnnxModel, OnnxNode, Opaque, sizes_text
from .onnx_ops import OPS
from .onnx_qdq import fuse
from .onnx_recurrent import RECURRENT
from .onnx_windows import WINDOWS

HANDLERS = (
    OPS | WINDOWS | RECURRENT | MASKS | INTEGER_OPS | DYNAMIC_OPS | {"Attention": attention, "Einsum": einsum}
)
FOLD = ONNX_FOLD | INTEGER_FOLD
FLOATS = ("float32", "int8", "uint8")  # dtypes of inputs and outputs
WHOLE = ("int32", "int64")  # of outputs
ON_WHOLE = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
OPSETS = (6, 28)  # whose operations are known; of 6 and 7 what the later ones have too
# What a handler meets in a file whose attributes or inputs are not those of the operation.
MALFORMED = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError)
# Operations that nothing comes near.
FAR = {
    "If": "no control flow", "Loop": "no control flow", "Scan": "no control flow",
    "LRN": "LayerNormalization",
    "ReverseSequence": "Slice", "GatherElements": "Gather", "GatherND": "Gather",
    "NonMaxSuppression": "no sorting",
    "GridSample": "Resize", "RoiAlign": "Resize", "LpPool": "AveragePool",
    "GlobalLpPool": "GlobalAveragePool", "MaxUnpool": "ConvTranspose", "DeformConv": "Conv",
}  # fmt: skip


class OnnxSource:
    """What `lower` makes graphs of. `name` begins messages. Never changes."""

    kind: ClassVar[str] = "onnx"

    def __init__(self, model: OnnxModel, name: str = "network") -> None:
        self.model, self.name = model, name

    @property
    def inputs(self) -> list[TensorInfo]:
        """As in the file: a size that the call decides is None in a shape."""
        return [_told(info) for info in self.model.inputs]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [_told(info) for info in self.model.outputs]

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """As JSON, and the arrays that it refers to."""
        state, arrays = self.model.state()
        return state | {"name": self.name}, arrays

    @classmethod
    def restored(cls, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> OnnxSource:
        """Of what `state` gave. Raises ValueError for anything else."""
        return cls(OnnxModel.restored(state, arrays), str(state.get("name", "network")))

    def shapes(self, given: Mapping[str, Sequence[int]] | None = None) -> dict[str, tuple[int, ...]]:
        """Of all inputs: of the file, open sizes from `given`. Raises ValueError where they disagree."""
        given = given or {}
        unknown = given.keys() - {info.name for info in self.model.inputs}
        if unknown:
            names = [info.name for info in self.model.inputs]
            raise ValueError(f"{self.name}: there is no input {sorted(unknown)}; there are {names}")
        return {info.name: self._shape(info, given.get(info.name)) for info in self.model.inputs}

    def _shape(self, info: Info, given: Sequence[int] | None) -> tuple[int, ...]:
        if given is None:
            if info.shape is None or None in info.shape:
                raise ValueError(
                    f"{self.name}: input {info.name!r} is {sizes_text(info.shape)}: give its shape, "
                    f"input_shapes={{{info.name!r}: (...)}}"
                )
            return tuple(size for size in info.shape if size is not None)
        sizes = tuple(int(size) for size in given)
        if info.shape is not None and (
            len(sizes) != len(info.shape)
            or any(s not in (None, size) for s, size in zip(info.shape, sizes, strict=True))
        ):
            raise ValueError(f"{self.name}: input {info.name!r} is {sizes_text(info.shape)}, not {sizes}")
        return sizes

    def check(self) -> None:
        """Raises UnsupportedModel for what no shape of the inputs makes possible."""
        problems = self._problems()
        computed = {info.name for info in self.model.inputs}
        for node in self.model.nodes:
            at_run_time = any(name in computed for name in node.inputs)
            if at_run_time and node.op not in ("Shape", "Size"):
                computed.update(node.outputs)
            if not known(node) and (at_run_time or not folds(node)):
                problems.append(self._refusal(node, missing(node)))
        if problems:
            raise UnsupportedModel(self.name, problems)

    def _problems(self) -> list[str]:
        problems = [
            f"{what} {info.name!r} is {info.dtype}; float32, int8 and uint8 are supported"
            for what, infos, more in (("input", self.model.inputs, ()), ("output", self.model.outputs, WHOLE))
            for info in infos
            if info.dtype not in (*FLOATS, *more)
        ]
        version = self.model.opsets.get("", OPSETS[0])
        if not OPSETS[0] <= version <= OPSETS[1]:
            problems.append(f"opset {version}; {OPSETS[0]} to {OPSETS[1]} are supported")
        return problems

    def _refusal(self, node: OnnxNode, what: str) -> str:
        opset = self.model.opsets.get(node.domain, "unknown")
        op = f"{node.domain}::{node.op}" if node.domain else node.op
        return f"{node.label!r} ({op}, opset {opset}): {what}"

    def lower(self, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
        """The graph for inputs of these shapes, those of the file where they are not given.

        Raises ValueError for shapes that do not fit and for a damaged model; UnsupportedModel, which lists
        every node that dwconv cannot run.
        """
        sizes = self.shapes(shapes)
        problems = self._problems()
        budget = Budget()
        model = fuse(self.model)
        for constant in model.constants.values():
            if isinstance(constant, np.ndarray):
                budget.give(constant)
        net = ChannelsFirst(budget)
        values: dict[str, T | Array | Opaque] = dict(model.constants)
        for info in self.model.inputs:
            if info.dtype not in FLOATS:
                continue
            if 0 in sizes[info.name] or len(sizes[info.name]) > 6:
                problems.append(
                    f"input {info.name!r} is {sizes[info.name]}; 1 element to 6 axes are supported"
                )
            else:
                values[info.name] = net.input(info.name, sizes[info.name], np.dtype(info.dtype))
        for node in model.nodes:
            if any(name and name not in values for name in node.inputs):  # of a node that was refused
                if not known(node) and not folds(node):
                    problems.append(self._refusal(node, missing(node)))
                continue
            try:
                values |= self._run(net, budget, node, values, model.opsets)
            except UnsupportedError as error:
                problems.append(self._refusal(node, str(error)))
        for info in self.model.outputs:
            result = values.get(info.name)
            if isinstance(result, T) and info.dtype in ("int8", "uint8") and net.dtype(result) == np.float32:
                problems.append(f"output {info.name!r} is {info.dtype} whose scale is computed")
            elif isinstance(result, T) and (
                (result.value in net.whole) != (info.dtype in WHOLE)
                or result.value in net.masks
                or (info.dtype in FLOATS and net.dtype(result).name != info.dtype)
            ):
                problems.append(f"output {info.name!r} is {info.dtype} and computed as another type")
            elif isinstance(result, T) or (isinstance(result, np.ndarray) and result.dtype.name in FLOATS):
                net.label = info.name
                net.output(info.name, result if isinstance(result, T) else net.constant(result))
            elif result is not None:
                what = result.what if isinstance(result, Opaque) else result.dtype
                problems.append(f"output {info.name!r} is {what}; float32 is supported")
            elif not problems:
                problems.append(
                    f"output {info.name!r} is a further output of its node; the first is supported"
                )
        if problems:
            raise UnsupportedModel(self.name, problems)
        return net.graph

    def _run(
        self,
        net: ChannelsFirst,
        budget: Budget,
        node: OnnxNode,
        values: Mapping[str, Any],
        opsets: Mapping[str, int],
    ) -> dict[str, T | Array | Opaque]:
        """What the node's outputs are, by name."""
        net.label = node.label
        call = Call(
            net,
            budget,
            node,
            opsets.get(node.domain, 1),
            [values.get(n) for n in node.inputs],
            opsets.get("", 1),
        )
        try:
            with np.errstate(all="ignore"):
                if call.is_constant and folds(node):
                    results = FOLD[node.op](call)
                elif not known(node):
                    raise UnsupportedError(missing(node))
                else:
                    _refuse_others(net, node, call)
                    handlers = MICROSOFT_OPS if node.domain == MICROSOFT else HANDLERS
                    results = handlers[node.op](call)
            call.refuse_unread()
            _mark(net, node, call, results)
        except UnsupportedError:
            raise
        except ValueError as error:
            raise ValueError(f"{self.name}: {node.label!r} ({node.op}): {error}") from None
        except MALFORMED as error:
            raise ValueError(f"{self.name}: {node.label!r} ({node.op}) is malformed: {error!r}") from None
        if not isinstance(results, list):
            results = [results]
        found: dict[str, T | Array | Opaque] = {}
        for name, result in zip(node.outputs, results, strict=False):
            data = net.data(result) if isinstance(result, T) else None
            found[name] = result if data is None else data
        for name in node.outputs[len(results) :]:
            found[name] = Opaque(f"a further output of {node.label!r} ({node.op}); the first is supported")
        found.pop("", None)
        return found


def _told(info: Info) -> TensorInfo:
    """Of what is supported."""
    dtype = np.dtype(info.dtype if info.dtype in (*FLOATS, *WHOLE) else np.float32)
    return TensorInfo(info.name, info.shape or (), dtype)


def _refuse_others(net: ChannelsFirst, node: OnnxNode, call: Call) -> None:
    """Integers and truth values where the operation is of floats."""
    inputs = [value for value in call.values if isinstance(value, T)]
    if any(x.value in net.whole for x in inputs) and node.op not in ("Shape", "Size", *ON_WHOLE):
        raise UnsupportedError("integers computed at run time; outputs of the network can be, and Cast")
    if any(x.value in net.masks for x in inputs) and node.op not in ("Shape", "Size", *ON_WHOLE, *MASKS):
        raise UnsupportedError("truth values computed at run time; Where, Cast, And, Or and Not take them")
    if node.domain or node.op in ON_BYTES:
        return
    for index, value in enumerate(call.values):
        if isinstance(value, T) and net.dtype(value) != np.float32:
            raise UnsupportedError(
                f"input {index} of {net.dtype(value)}; DequantizeLinear before it is supported"
            )


def _mark(net: ChannelsFirst, node: OnnxNode, call: Call, result: Any) -> None:
    """The result as integers or truth values, if it is what it is made of in another shape."""
    if node.op in ON_WHOLE[1:] and isinstance(result, T):
        for kind in (net.whole, net.masks):
            if any(value.value in kind for value in call.values if isinstance(value, T)):
                kind.add(result.value)


def known(node: OnnxNode) -> bool:
    return node.op in (HANDLERS if not node.domain else MICROSOFT_OPS if node.domain == MICROSOFT else ())


def folds(node: OnnxNode) -> bool:
    return node.op in (FOLD if not node.domain else INTEGER_FOLD if node.domain == MICROSOFT else ())


def missing(node: OnnxNode) -> str:
    """Why there is no such operation, and what comes near."""
    if folds(node):
        return "it is computed at run time; of constants and shapes it is supported"
    names = sorted(HANDLERS)
    near = FAR.get(node.op) or next(iter(difflib.get_close_matches(node.op, names, 1, 0.7)), None)
    return f"there is no such operation; the nearest: {near or 'none'}"
