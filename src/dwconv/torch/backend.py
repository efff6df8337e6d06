"""`torch.compile(model, backend="dwconv")`: what dwconv supports runs as networks, the rest stays PyTorch.

Only inference: under `torch.no_grad()` or `torch.inference_mode()`, or where no tensor requires a gradient.
Weights are packed at the first call, and again after PyTorch counted a change of them; it does not count
those through `.data`. Models in `torch.channels_last` are the fast ones: their tensors are read and written
in place.

    model = model.eval().to(memory_format=torch.channels_last)
    fast = torch.compile(model, backend="dwconv")
    with torch.inference_mode():
        y = fast(x.to(memory_format=torch.channels_last))
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._guards import TracingContext
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase

from ..config import native_isa
from ..importers.channels_first import T, stored
from ..importers.torch_graph import Reader, handler, packet
from ..network import Network

log = logging.getLogger(__name__)

# A subgraph without one of these is not worth leaving PyTorch for.
HEAVY = ("convolution", "mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product_flash_attention_for_cpu")
MOST_KEPT = 8  # networks of a subgraph: of other shapes, layouts or weights
CHANNELS_LAST = (0, 2, 3, 1)


def dwconv_backend(
    module: fx.GraphModule, example_inputs: Sequence[Any], **options: Any
) -> Callable[..., Any]:
    """What `torch.compile` calls with a graph and its inputs; gives what runs instead of it.

    Graphs that need gradients are left to PyTorch. Raises TypeError for `options`, which it has none of.
    """
    if options:
        raise TypeError(f"dwconv: torch.compile's backend has no options, not {sorted(options)}")
    tensors = [item for item in (*example_inputs, *module.parameters()) if isinstance(item, torch.Tensor)]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        log.info("left to PyTorch, since gradients are enabled: call it under torch.inference_mode()")
        forward: Callable[..., Any] = module.forward
        return forward
    compiled: Callable[..., Any] = aot_autograd(fw_compiler=compile_functional)(module, example_inputs)
    return compiled


def compile_functional(module: fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """Of a graph of ATen operations without side effects."""
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    weights = {placeholders[index] for index in _static_inputs() if index < len(placeholders)}
    constant = _constant_nodes(module.graph, weights)
    _one_reader_each(module.graph, constant - weights)
    constant = _constant_nodes(module.graph, weights)
    partitioner = CapabilityBasedPartitioner(module, _Supported(constant), allows_single_node_partition=True)
    chosen = [
        partition
        for partition in partitioner.propose_partitions()
        if any(packet(node.target) in HEAVY for node in partition.nodes)
    ]
    names = {node.name for node in weights}
    fused = partitioner.fuse_partitions(chosen)
    for node in fused.graph.nodes:
        if node.op == "call_module":
            inner = fused.get_submodule(node.target)
            fixed = [index for index, arg in enumerate(node.args) if arg.name in names]
            fused.set_submodule(node.target, Subgraph(inner, fixed))
    fused.recompile()
    return make_boxed_func(fused.forward)  # type: ignore[no-any-return]


def _static_inputs() -> Sequence[int]:
    """Indices of parameters and buffers among the inputs of the graph."""
    context = TracingContext.try_get()
    metadata = context.fw_metadata if context is not None else None
    return list(metadata.static_input_indices) if metadata is not None else []


def _constant_nodes(graph: fx.Graph, weights: set[fx.Node]) -> set[fx.Node]:
    """Nodes that depend on weights alone."""
    found = set(weights)
    for node in graph.nodes:
        if node.op == "get_attr" or (
            node.op == "call_function"
            and isinstance(node.target, torch._ops.OpOverload)
            and torch.Tag.nondeterministic_seeded not in node.target.tags
            and found.issuperset(node.all_input_nodes)
        ):
            found.add(node)
    return found


def _one_reader_each(graph: fx.Graph, constant: set[fx.Node]) -> None:
    """Copies what is computed of weights for each node that reads it: it lands in the reader's subgraph."""
    for node in reversed(list(graph.nodes)):
        if node in constant and node.op == "call_function":
            for reader in list(node.users)[1:]:
                with graph.inserting_before(reader):
                    copy = graph.node_copy(node, lambda used: used)
                reader.replace_input_with(node, copy)


class _Supported(OperatorSupportBase):  # type: ignore[misc]
    """Whether dwconv runs a node: tried on a network of this node alone."""

    def __init__(self, constant: set[fx.Node]) -> None:
        self.constant = constant
        self.known: dict[fx.Node, bool] = {}

    def is_node_supported(self, submodules: Any, node: fx.Node) -> bool:
        if node not in self.known:
            self.known[node] = node.op == "call_function" and self._tried(node)
        return self.known[node]

    def _tried(self, node: fx.Node) -> bool:
        if node in self.constant:
            return True
        if packet(node.target) == "getitem":
            source = node.args[0]
            return isinstance(source, fx.Node) and self.is_node_supported(None, source)
        if handler(node.target) is None:
            return False
        reader = Reader()
        try:
            for index, used in enumerate(node.all_input_nodes):
                reader.found[used] = self._stand_in(reader, f"x{index}", used)
            result = reader.evaluate(node)
        except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError) as error:
            log.info("%s is left to PyTorch: %s", node.format_node(), error)
            return False
        if isinstance(result, T) and result.value in reader.net.masks:
            return False  # truth values may leave a subgraph, and are no float32 there
        return self._all_read(node, result)

    def _stand_in(self, reader: Reader, name: str, node: fx.Node) -> Any:
        value = node.meta["val"]
        if isinstance(value, torch.SymInt):
            return _hint(value)
        if not isinstance(value, torch.Tensor):
            return value
        shape = [_hint(size) for size in value.shape]
        if value.device.type != "cpu" or (value.dtype != torch.float32 and node not in self.constant):
            raise ValueError(f"{value.dtype} on {value.device}")
        if node in self.constant:
            return np.zeros(shape, str(value.dtype).removeprefix("torch."))
        return reader.net.input(name, shape)

    @staticmethod
    def _all_read(node: fx.Node, result: Any) -> bool:
        """Whether those of several results that are used are there."""
        if not isinstance(result, tuple | list) or isinstance(result, T):
            return True
        return all(
            packet(user.target) == "getitem" and result[user.args[1]] is not None for user in node.users
        )


def _hint(size: Any) -> int:
    """The size of the example where it is a symbol."""
    if isinstance(size, torch.SymInt):
        size = size.node.hint
    if size is None:
        raise ValueError("a size that depends on data")
    return int(size)


# ---- subgraphs --------------------------------------------------------------------------------


class Output(NamedTuple):
    """`constant`: what does not depend on the inputs. Else a result of the network, stored in `order`."""

    constant: torch.Tensor | None
    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    strides: tuple[int, ...]


class Form(NamedTuple):
    """A network for inputs of some shapes and layouts, with weights of one moment. None: PyTorch runs it."""

    network: Network | None
    outputs: list[Output]
    weights: list[Any]  # weak references
    versions: list[int | None]

    def is_of(self, weights: Sequence[torch.Tensor]) -> bool:
        for reference, version, weight in zip(self.weights, self.versions, weights, strict=True):
            if reference() is not weight or (version is not None and weight._version != version):
                return False
        return True


class Subgraph(torch.nn.Module):  # type: ignore[misc]
    """Calls a part of a graph as a network. `fixed`: which arguments are weights."""

    def __init__(self, module: fx.GraphModule, fixed: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self.fixed = frozenset(fixed)
        self.forms: dict[Any, list[Form]] = {}
        self.lock = threading.Lock()

    def forward(self, *args: Any) -> Any:
        flowing = [arg for index, arg in enumerate(args) if index not in self.fixed]
        weights = [args[index] for index in sorted(self.fixed)]
        tensors = [(arg, _order(arg)) for arg in flowing if isinstance(arg, torch.Tensor)]
        key = (
            tuple((tuple(tensor.shape), order) for tensor, order in tensors),
            tuple(arg for arg in flowing if not isinstance(arg, torch.Tensor)),
        )
        form = self._form(key, weights) or self._made(key, args, weights)
        if form.network is None:
            return self.module(*args)
        inputs = [_array(tensor, order) for tensor, order in tensors]
        results = [
            output.constant if output.constant is not None else _empty(output) for output in form.outputs
        ]
        arrays = [
            _array(result, output.order)
            for result, output in zip(results, form.outputs, strict=True)
            if output.constant is None
        ]
        form.network(*inputs, out=arrays, num_threads=torch.get_num_threads())
        given = [_as_expected(result, output) for result, output in zip(results, form.outputs, strict=True)]
        return given[0] if len(given) == 1 else tuple(given)

    def _form(self, key: Any, weights: Sequence[torch.Tensor]) -> Form | None:
        return next((form for form in self.forms.get(key, ()) if form.is_of(weights)), None)

    def _made(self, key: Any, args: Sequence[Any], weights: Sequence[torch.Tensor]) -> Form:
        with self.lock:
            form = self._form(key, weights)
            if form is None:
                versions = [None if weight.is_inference() else weight._version for weight in weights]
                network, outputs = self._network(args)
                form = Form(network, outputs, [weakref.ref(weight) for weight in weights], versions)
                self._keep(key, form)
        return form

    def _keep(self, key: Any, form: Form) -> None:
        """The newest, without those of weights that are gone or have changed."""
        pairs = [(k, f) for k, forms in self.forms.items() for f in forms if _alive(f)]
        kept: dict[Any, list[Form]] = {}
        for other, old in [*pairs[-MOST_KEPT + 1 :], (key, form)]:
            kept.setdefault(other, []).append(old)
        self.forms = kept  # replaced, never changed: callers need no lock

    def _network(self, args: Sequence[Any]) -> tuple[Network | None, list[Output]]:
        try:
            network, outputs = self._read(args)
        except ValueError as error:
            log.warning("a subgraph is left to PyTorch: %s", error)
            return None, []
        if network.backend == "numpy" and native_isa() is not None:
            log.warning("a subgraph is left to PyTorch: the core has no form of it")
            return None, []
        return network, outputs

    def _read(self, args: Sequence[Any]) -> tuple[Network, list[Output]]:
        module = self._concrete(args)
        reader = Reader()
        placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
        for index, (node, arg) in enumerate(zip(placeholders, args, strict=True)):
            if index in self.fixed or not isinstance(arg, torch.Tensor):
                reader.found[node] = arg.detach() if isinstance(arg, torch.Tensor) else arg
                continue
            order = _order(arg) or tuple(range(arg.ndim))
            value = reader.net.builder.input(f"x{index}", [arg.shape[axis] for axis in order])
            reader.found[node] = stored(value, order)
        results = reader.read(module.graph, module)
        if reader.problems:
            raise ValueError("; ".join(reader.problems))
        final = next(node for node in module.graph.nodes if node.op == "output").args[0]
        single = isinstance(final, fx.Node)
        pairs = [(results, final)] if single else zip(results, final, strict=True)
        outputs = [_give(reader, value, node.meta["val"]) for value, node in pairs]
        return Network(reader.net.graph, name="torch.compile"), outputs

    def _concrete(self, args: Sequence[Any]) -> fx.GraphModule:
        """The graph with sizes as numbers."""
        values = [node.meta.get("val") for node in self.module.graph.nodes]
        sizes = [size for value in values if isinstance(value, torch.Tensor) for size in value.shape]
        if not any(isinstance(item, torch.SymInt) for item in (*values, *sizes)):
            return self.module
        with torch.no_grad():
            return make_fx(self.module, tracing_mode="fake")(*args)


def _alive(form: Form) -> bool:
    weights = [reference() for reference in form.weights]
    return all(weight is not None for weight in weights) and form.is_of(weights)


def _order(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """How the axes of a tensor follow in memory: channels_last, as they are named (), or neither, None."""
    if tensor.is_contiguous():
        return ()
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return CHANNELS_LAST
    return None


def _array(tensor: torch.Tensor, order: tuple[int, ...] | None) -> Any:
    if order:
        tensor = tensor.permute(order)
    elif order is None:
        tensor = tensor.contiguous()
    return tensor.detach().numpy()


def _give(reader: Reader, value: Any, expected: torch.Tensor) -> Output:
    """Makes an output in the layout that PyTorch expects."""
    shape, strides = tuple(map(int, expected.shape)), tuple(map(int, expected.stride()))
    if isinstance(value, torch.Tensor):
        return Output(value, shape, None, strides)
    order = _order(expected) or ()
    graph = reader.net.graph
    name = f"y{len(graph.outputs)}"
    if order:
        reader.net.builder.output(name, reader.net.nhwc(value))
    else:
        reader.net.output(name, value)
    return Output(None, shape, order, strides)


def _empty(output: Output) -> torch.Tensor:
    layout = torch.channels_last if output.order else torch.contiguous_format
    return torch.empty(output.shape, memory_format=layout)


def _as_expected(result: torch.Tensor, output: Output) -> torch.Tensor:
    """With the strides that PyTorch's operations after it were chosen for."""
    if result.stride() == output.strides:
        return result
    with contextlib.suppress(RuntimeError):
        other = torch.empty_strided(output.shape, output.strides, dtype=result.dtype)
        return other.copy_(result)
    return result
