"""How far a model's float32 is from float64: dwconv's and other libraries', on the same input.

    python tests/exactness.py MODEL [1,3,640,640] [--text]

The model as it was read, in float64 and node by node, is what is exact. Where two libraries differ, this
tells which of them is off. Inputs are normal noise, or with --text black on white, as a page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import dwconv
from interpreted import evaluate

Arrays = list[np.ndarray]


def exact(net: dwconv.Network, feeds: Mapping[str, np.ndarray]) -> Arrays:
    graph = net._source.lower({name: x.shape for name, x in feeds.items()})
    return evaluate(graph, {name: feeds[name] for name in graph.public_inputs}, np.float64)


def onnx_runtime(path: Path, feeds: Mapping[str, np.ndarray]) -> Arrays:
    import onnxruntime

    return list(onnxruntime.InferenceSession(str(path)).run(None, dict(feeds)))


def litert(path: Path, feeds: Mapping[str, np.ndarray], reference: bool = False) -> Arrays:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(str(path), experimental_op_resolver_type=kinds)
    interpreter.allocate_tensors()
    for detail, x in zip(interpreter.get_input_details(), feeds.values(), strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).copy() for detail in interpreter.get_output_details()]


PEERS: dict[str, dict[str, Callable[..., Arrays]]] = {
    ".onnx": {"onnxruntime": onnx_runtime},
    ".tflite": {"litert": litert, "litert, reference": lambda path, feeds: litert(path, feeds, True)},
}


def distances(found: Arrays, expected: Arrays) -> list[float]:
    """The largest difference of each output, as a share of its largest number."""
    return [
        float(np.abs(np.asarray(y, np.float64).reshape(e.shape) - e).max() / np.abs(e).max())
        for y, e in zip(found, expected, strict=True)
    ]


def text(shape: tuple[int, ...]) -> np.ndarray:
    """[1, 3, height, width]: lines of marks as large as letters, -1 on 1."""
    rng, x = np.random.default_rng(0), np.ones(shape, np.float32)
    for top in range(8, shape[2] - 16, 24):
        for left in range(8, shape[3] - 12, 10):
            x[..., top : top + 12, left : left + 8] = np.where(rng.random((12, 8)) < 0.5, 1, -1)
    return x


def as_list(y: Any) -> Arrays:
    return list(y.values()) if isinstance(y, dict) else [y]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("shape", nargs="?", help="of its only input, where the file leaves sizes open")
    parser.add_argument("--text", action="store_true")
    options = parser.parse_args()
    net = dwconv.load(options.model)
    told = [tuple(map(int, options.shape.split(",")))] if options.shape else [i.shape for i in net.inputs]
    rng = np.random.default_rng(0)
    feeds = {
        info.name: text(shape) if options.text else rng.standard_normal(shape, np.float32)
        for info, shape in zip(net.inputs, told, strict=True)
    }
    expected = exact(net, feeds)
    found = {"dwconv": as_list(net(feeds))}
    found |= {name: peer(options.model, feeds) for name, peer in PEERS[options.model.suffix].items()}
    for name, y in found.items():
        print(f"{name:20}", *(f"{share:8.1e}" for share in distances(y, expected)))


if __name__ == "__main__":
    main()
