"""Small ONNX models of 8-bit integers, and what ONNX Runtime makes of them. Needs both packages."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as runtime
from onnx import helper, numpy_helper

import dwconv

FLOAT = onnx.TensorProto.FLOAT
SHAPE = (1, 3, 9, 8)


def model(
    nodes: list[Any], constants: dict[str, Any], x: Any = FLOAT, y: Any = FLOAT, shape: Any = SHAPE
) -> bytes:
    arrays = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", x, shape)],
        [helper.make_tensor_value_info("y", y, None)], arrays,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def ort(content: bytes, x: np.ndarray, optimised: bool = False) -> np.ndarray:
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def floats(seed: int, shape: Any = SHAPE) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 2).astype(np.float32)


class Chain:
    """Nodes with conversions around each; constants are converted as quantisers do."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.count = 0

    def convert(self, name: str, scale: float, zero: int) -> str:
        self.count += 1
        s, z, q, y = (f"{letter}{self.count}" for letter in "szqy")
        self.constants |= {s: np.float32(scale), z: np.int8(zero)}
        self.nodes.append(helper.make_node("QuantizeLinear", [name, s, z], [q]))
        self.nodes.append(helper.make_node("DequantizeLinear", [q, s, z], [y]))
        return y

    def number(self, value: float) -> str:
        self.count += 1
        q, s = f"c{self.count}", f"cs{self.count}"
        self.constants |= {q: np.array(127, np.int8), s: np.float32(value / 127)}
        self.nodes.append(helper.make_node("DequantizeLinear", [q, s], [f"n{self.count}"]))
        return f"n{self.count}"

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        self.nodes.append(
            helper.make_node(op, inputs, [f"v{self.count}"], name=f"{op}{self.count}", **attributes)
        )
        return f"v{self.count}"

    def content(self, result: str, shape: Any = SHAPE) -> bytes:
        self.nodes.append(helper.make_node("Identity", [result], ["y"]))
        return model(self.nodes, self.constants, shape=shape)


def after_passes(net: dwconv.Network, shape: Any = SHAPE) -> list[str]:
    from dwconv.passes import run_passes

    source: Any = net._source
    return [node.op for node in run_passes(source.lower({"x": shape})).nodes]


def every_byte(scale: float, zero: int) -> np.ndarray:
    numbers = (np.arange(-128, 128) - zero) * np.float32(scale)
    return numbers.astype(np.float32).reshape(1, 1, 16, 16)
