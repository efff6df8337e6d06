"""Libraries that run whole networks, each in its best form: one stream, inputs and outputs bound once.

Each gives a `Runner`: `run(loops)`, and `output()` in the order and layout of the model file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.peers import Unsupported
from bench.problem import Array
from bench.whole_models import Model, random

Outputs = list[Array]


@dataclass
class Runner:
    """A prepared network: `run(n)` computes it n times, `output()` copies the last results."""

    run: Callable[[int], None]
    output: Callable[[], Outputs]
    scratch_bytes: int | None = None  # its workspace, where that is known
    keep: object = None  # what the library reads without owning it
    others: Callable[[], dict[str, float]] | None = None  # shares of the time of all but convolutions


def network(model: Model) -> Any:
    """dwconv's."""
    import dwconv as package

    if model.module is not None:
        import torch

        return package.Network.from_torch(model.module, torch.from_numpy(model.image()))
    if model.suffix == ".onnx":
        return package.Network.from_onnx(str(model.path), input_shapes=model.shapes or None)
    return package.load(str(model.path))


def dwconv(model: Model, threads: int, variant: str) -> Runner:
    """The extension of this source tree, called from Python; variant "float32": the float network of the
    same layers as one of integers, any other is an instruction set."""
    if variant == "float32":
        from bench import whole_integers

        model = whole_integers.floating(model)
    elif variant:
        os.environ["DWCONV_ISA"] = variant
    net = network(model)
    feeds = {i.name: random(*model.shapes.get(i.name, known(i.shape)), dtype=i.dtype) for i in net.inputs}
    first: Any = net(feeds)
    many = isinstance(first, dict)
    out: Any = {k: np.empty_like(v) for k, v in first.items()} if many else np.empty_like(first)

    def run(loops: int) -> None:
        for _ in range(loops):
            net(feeds, out=out, num_threads=threads)

    def others() -> dict[str, float]:
        return shares_of_others(net, [feeds[name] for name in net.input_names], threads)

    return Runner(
        run, lambda: list(out.values()) if many else [out], scratch_bytes=net.workspace_bytes, others=others
    )


def shares_of_others(net: Any, arrays: list[Array], threads: int) -> dict[str, float]:
    """Of the nodes' time, what those without multiply-adds take, by operation, the largest first."""
    from dwconv.table import operation
    from dwconv.work import of_node

    bound = net.bind([x.shape for x in arrays])._latest()
    times = bound.profile(arrays, threads, 0.3).nodes
    found: dict[str, float] = {}
    for node, seconds in zip(bound.graph.nodes, times, strict=True):
        if not of_node(bound.graph, node):
            name = operation(bound.graph, node)
            found[name] = found.get(name, 0.0) + seconds / sum(times)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def onnxruntime(model: Model, threads: int, variant: str) -> Runner:
    import onnxruntime as ort

    if model.suffix == ".tflite":
        raise Unsupported("TFLite files")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model.onnx()), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    keep: list[Any] = []
    for value in session.get_inputs():
        x = ort.OrtValue.ortvalue_from_numpy(random(*model.shapes.get(value.name, known(value.shape))))
        keep.append(x)
        binding.bind_ortvalue_input(value.name, x)
    for value in session.get_outputs():
        binding.bind_output(value.name, "cpu")

    def run(loops: int) -> None:
        for _ in range(loops):
            session.run_with_iobinding(binding)

    return Runner(run, lambda: [v.numpy() for v in binding.get_outputs()], keep=keep)


def openvino(model: Model, threads: int, variant: str) -> Runner:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would fork a reporter
    import openvino as ov

    read = ov.Core().read_model(str(model.path if model.suffix == ".tflite" else model.onnx()))
    if model.shapes:
        read.reshape({name: list(shape) for name, shape in model.shapes.items()})
    elif read.is_dynamic():
        read.reshape(
            {port: [d.get_length() if d.is_static else 1 for d in port.partial_shape] for port in read.inputs}
        )
    options = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    request = ov.Core().compile_model(read, "CPU", options).create_infer_request()
    keep: list[Any] = []
    for i, port in enumerate(read.inputs):
        x = random(*port.partial_shape.to_shape(), dtype=port.get_element_type().to_dtype())
        keep.append(x)
        request.set_input_tensor(i, ov.Tensor(x, shared_memory=True))
    count = len(read.outputs)

    def run(loops: int) -> None:
        for _ in range(loops):
            request.start_async()
            request.wait()

    return Runner(run, lambda: [request.get_output_tensor(i).data.copy() for i in range(count)], keep=keep)


def litert(model: Model, threads: int, variant: str) -> Runner:
    from ai_edge_litert import interpreter as lite

    if model.suffix != ".tflite":
        raise Unsupported("anything but TFLite files")
    interpreter = lite.Interpreter(model_path=str(model.path), num_threads=threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], random(*detail["shape"], dtype=detail["dtype"]))

    def run(loops: int) -> None:
        for _ in range(loops):
            interpreter.invoke()

    details = interpreter.get_output_details()
    return Runner(run, lambda: [interpreter.get_tensor(d["index"]).copy() for d in details])


def torch(model: Model, threads: int, variant: str) -> Runner:
    """channels_last; variant "inductor": compiled, where there is a compiler."""
    import torch as library

    if model.module is None:
        raise Unsupported("model files")
    library.set_num_threads(threads)
    x = library.from_numpy(model.image()).to(memory_format=library.channels_last)
    module = model.module
    if variant == "inductor":
        import torch._inductor.config as config

        config.freezing = True
        module = library.compile(module)
    result: Any = None

    def run(loops: int) -> None:
        nonlocal result
        with library.inference_mode():
            for _ in range(loops):
                result = module(x)

    def output() -> Outputs:
        items = result if isinstance(result, tuple | list) else [result]
        return [item.contiguous().numpy() for item in items]

    return Runner(run, output)


PEERS = {"dwconv": dwconv, "onnxruntime": onnxruntime, "openvino": openvino, "litert": litert, "torch": torch}
USUAL = (*PEERS, "torch@inductor")


def known(shape: Any) -> tuple[int, ...]:
    """With 1 for sizes that the file leaves open."""
    return tuple(size if isinstance(size, int) else 1 for size in shape)
