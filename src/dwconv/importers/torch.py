"""PyTorch modules -> graphs, through `torch.export`."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from ..graph import Graph, UnsupportedModel
from ..passes.dead import drop_dead
from ..sources import GraphSource
from . import torch_sizes
from .torch_graph import Missing, Reader, handler


def read(module: Any, example_input: Any) -> Graph:
    """The graph of a module, in evaluation mode, for inputs of the shapes of the example.

    `module`: an `nn.Module`, or an `ExportedProgram`. `example_input`: a float32 tensor or array, a tuple of
    the arguments of `forward`, or a mapping of them by name. The module is not changed. Sizes that `forward`
    computes of the shape of its input are those of the example.

    Raises `UnsupportedModel`, which lists all operations that dwconv does not have, and ValueError where
    `torch.export` cannot follow the module.
    """
    program = _functional(_exported(module, example_input))
    signature = program.graph_signature
    if signature.buffers_to_mutate:
        names = ", ".join(sorted(signature.buffers_to_mutate.values()))
        raise UnsupportedModel("from_torch", [f"forward writes to {names}; a network has no state"])
    reader = Reader()
    values = {**program.state_dict, **program.constants}
    targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    targets.update(signature.inputs_to_lifted_tensor_constants)
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        value = node.meta.get("val")
        if node.name in targets:
            reader.found[node] = values[targets[node.name]].detach()
        elif not isinstance(value, torch.Tensor):
            reader.found[node] = value
        else:
            reader.found[node] = reader.net.input(node.name, value.shape, _float32(node.name, value.dtype))
    results = reader.read(program.graph, program.graph_module)
    if reader.problems:
        raise UnsupportedModel("from_torch", reader.problems)
    kinds = [spec.kind.name for spec in signature.output_specs]
    kept = [value for value, kind in zip(results, kinds, strict=True) if kind == "USER_OUTPUT"]
    for name, value in zip(_output_names(program.call_spec.out_spec, len(kept)), kept, strict=True):
        if value is not None:
            _give(reader, name, value)
    drop_dead(reader.net.graph)  # convolutions of floats that became some of integers
    return reader.net.graph


def source(
    module: Any, example_input: Any, *, input_shapes: Mapping[str, Sequence[int | None]] | None = None
) -> GraphSource:
    """The same for calls. `input_shapes`: by input, None for sizes that these decide; the module is read for
    others, too, to see that it computes nothing else of them. Raises ValueError where it does."""

    def export(shapes: Mapping[str, Sequence[int]]) -> Graph:
        if isinstance(module, torch.export.ExportedProgram):
            raise ValueError("an ExportedProgram is what its example made it; pass the module")
        return read(module, _resized(example_input, list(shapes.values())))

    return torch_sizes.source(read(module, example_input), input_shapes, export)


def _resized(example_input: Any, shapes: list[Sequence[int]]) -> Any:
    """The example with tensors of other shapes, in the order of the inputs."""
    left = iter(shapes)

    def tensor(leaf: Any) -> Any:
        return torch.zeros(*next(left)) if isinstance(leaf, torch.Tensor | np.ndarray) else leaf

    return pytree.tree_map(tensor, example_input)


def from_torch(module: Any, example_input: Any = None) -> Any:
    """A layer of `dwconv.layers` for a module that is one layer or block, else a `Network`.

    `module`: as a `Conv2d`, or depthwise, pointwise, batch norm and activation in an `nn.Sequential`, or an
    inverted residual; batch norm is folded. A layer takes and gives NHWC images, a network what the module
    does. `example_input`: as for `Network.from_torch`, which raises the same errors; a layer or
    block needs none.

    >>> import dwconv, numpy as np, torch
    >>> depthwise = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
    >>> layer = dwconv.from_torch(torch.nn.Sequential(depthwise, torch.nn.Conv2d(8, 4, 1)))
    >>> layer(np.ones((1, 6, 6, 8), np.float32)).shape
    (1, 6, 6, 4)
    """
    from ..network import Network
    from .single import layer_of

    name = type(module).__name__
    example = _image_for(module) if example_input is None else example_input
    made = source(module, example)
    layer = layer_of(made.graph)
    if layer is None and example_input is None:
        raise ValueError(
            f"from_torch: {name} is more than one layer or block: pass example_input, a tensor of the shape "
            "that the network is made for"
        )
    return Network(made, name=name) if layer is None else layer


def _image_for(module: Any) -> torch.Tensor:
    """An image that the first convolution of a block takes."""
    if not isinstance(module, torch.nn.Module):
        return torch.zeros(())  # `read` tells what it has to be
    convs = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)]
    if not convs:
        raise ValueError(f"from_torch: {type(module).__name__} has no Conv2d: pass example_input")
    size = 16 + sum(d * k for conv in convs for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    return torch.zeros(1, convs[0].in_channels, size, size)


def _float32(name: str, dtype: torch.dtype) -> Any:
    if dtype != torch.float32:
        raise ValueError(f"from_torch: {name} is {dtype}; networks are float32: pass x.float()")
    return np.float32


def _give(reader: Reader, name: str, value: Any) -> None:
    if isinstance(value, Missing | int | float | torch.Tensor):
        raise UnsupportedModel(
            "from_torch", [f"{name} does not depend on the input: it is {type(value).__name__}"]
        )
    if value.value in reader.net.masks:
        raise UnsupportedModel(
            "from_torch", [f"{name} is bool; float32 is supported: return it as x.float()"]
        )
    reader.net.label = name
    reader.net.output(name, value)


def _output_names(spec: Any, count: int) -> list[str]:
    """`output` for one tensor, keys where forward gives a mapping, else `output_0`, `output_1`."""
    tree = pytree.tree_unflatten(list(range(count)), spec)
    names = []
    for path, _ in pytree.tree_flatten_with_path(tree)[0]:
        keys = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
        named = path and not isinstance(path[0], pytree.SequenceKey)
        names.append("_".join(keys if named else ["output", *keys]))
    return names


# ---- export ---------------------------------------------------------------------------------


def _exported(module: Any, example_input: Any) -> Any:
    if isinstance(module, torch.export.ExportedProgram):
        return module
    if not isinstance(module, torch.nn.Module) or isinstance(module, torch.jit.ScriptModule):
        what = "an ExportedProgram or an nn.Module that is not scripted"
        raise TypeError(f"from_torch: module must be {what}, not {type(module).__name__}")
    args, kwargs = _arguments(example_input)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise ValueError(
                f"from_torch: {name} is {tensor.dtype}; networks are float32: pass module.float()"
            )
        if tensor.device.type != "cpu":
            raise ValueError(f"from_torch: {name} is on {tensor.device}; pass module.cpu()")
    first: Exception | None = None
    with evaluating(module), torch.no_grad(), quiet():
        for attempt in (_plain_export, _strict_export, _traced_export):
            try:
                return attempt(module, args, kwargs)
            except Exception as error:
                first = first or error
    reason = str(first).strip().splitlines()[0] if str(first).strip() else type(first).__name__
    raise ValueError(
        f"from_torch: torch.export cannot follow {type(module).__name__}.forward: {reason}\n"
        "Its data must not decide what runs; see torch.export.export(module, (x,)) for the whole message."
    ) from first


def _plain_export(module: Any, args: Any, kwargs: Any) -> Any:
    return torch.export.export(module, args, kwargs, strict=False)


def _strict_export(module: Any, args: Any, kwargs: Any) -> Any:
    return torch.export.export(module, args, kwargs, strict=True)


def _traced_export(module: Any, args: Any, kwargs: Any) -> Any:
    return torch.export.export(torch.fx.symbolic_trace(module), args, kwargs, strict=False)


def _functional(program: Any) -> Any:
    """Without operations in place. One that dwconv lacks is spelled out where it has all that this takes."""
    with quiet():
        program = program.run_decompositions({})
        unknown = _unknown(program)
        table = torch.export.default_decompositions() if unknown else {}
        for target in unknown & table.keys():
            spelled = program.run_decompositions({target: table[target]})
            if _unknown(spelled) < _unknown(program):
                program = spelled
    return program


def _unknown(program: Any) -> set[Any]:
    """Operations that dwconv lacks; constants are computed by PyTorch."""
    inputs, found = set(program.graph_signature.user_inputs), set()
    flowing: set[Any] = set()
    for node in program.graph.nodes:
        if node.name in inputs or not flowing.isdisjoint(node.all_input_nodes):
            flowing.add(node)
            if isinstance(node.target, torch._ops.OpOverload) and not handler(node.target):
                found.add(node.target)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of PyTorch about its own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _arguments(example_input: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_input, Mapping):
        return (), {name: _tensors(item) for name, item in example_input.items()}
    if isinstance(example_input, Sequence) and not isinstance(example_input, str):
        return tuple(_tensors(item) for item in example_input), {}
    return (_tensors(example_input),), {}


def _tensors(item: Any) -> Any:
    """Arrays as tensors, at any depth."""

    def tensor(leaf: Any) -> Any:
        return torch.from_numpy(np.ascontiguousarray(leaf)) if isinstance(leaf, np.ndarray) else leaf

    return pytree.tree_map(tensor, item)


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """`module.eval()` for as long as this lasts, of exported modules, which refuse it, without; attention is
    spelled out."""
    before = [(part, part.training) for part in module.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        with contextlib.suppress(NotImplementedError):
            module.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, training in before:
            part.training = training
