"""Small TFLite files, written with the schema of the package `tflite`, and what they give."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwconv.graph import Graph
from dwconv.importers.tflite import read
from dwconv.nodes_numpy import compute

tflite = pytest.importorskip("tflite")
flatbuffers = pytest.importorskip("flatbuffers")

KINDS = {
    "f4": "FLOAT32",
    "f2": "FLOAT16",
    "i4": "INT32",
    "i8": "INT64",
    "i1": "INT8",
    "u1": "UINT8",
    "b1": "BOOL",
}


class Writer:
    """
    m = Writer()
    y = m.op("RELU", [m.input("x", (1, 4))])
    content = m.content([y])
    """

    def __init__(self) -> None:
        self.b = flatbuffers.Builder(1024)
        self.tensors: list[dict[str, Any]] = []
        self.buffers: list[bytes] = [b""]
        self.operators: list[tuple[Any, ...]] = []
        self.inputs: list[int] = []
        self.codes: list[tuple[int, str, int]] = []
        self.subgraphs: list[tuple[Any, list[int], list[int]]] = []  # (operators, inputs, outputs)

    def tensor(
        self, name: str = "", shape: Any = (), kind: str = "FLOAT32", data: bytes = b"", **more: Any
    ) -> int:
        buffer = 0
        if data:
            self.buffers.append(data)
            buffer = len(self.buffers) - 1
        name = name or f"tensor_{len(self.tensors)}"
        self.tensors.append({"name": name, "shape": shape, "kind": kind, "buffer": buffer, **more})
        return len(self.tensors) - 1

    def input(self, name: str, shape: Any, kind: str = "FLOAT32", **more: Any) -> int:
        self.inputs.append(self.tensor(name, shape, kind, **more))
        return self.inputs[-1]

    def constant(self, data: Any, **more: Any) -> int:
        array = np.asarray(data)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        kind = more.pop("kind", None) or KINDS[array.dtype.str[1:]]
        shape = more.pop("shape", array.shape)
        return self.tensor("", shape, kind, array.tobytes(), **more)

    def op(
        self,
        op: str,
        inputs: list[int],
        options: str = "",
        *,
        outputs: Any = 1,
        kind: str = "FLOAT32",
        version: int = 1,
        **fields: Any,
    ) -> Any:
        """The tensor that it gives, or a list of them. `options`: a table of the schema with these fields."""
        made = [self.tensor("", (), kind) for _ in range(outputs)] if isinstance(outputs, int) else outputs
        custom = op if not hasattr(tflite.BuiltinOperator, op) else ""
        code = tflite.BuiltinOperator.CUSTOM if custom else getattr(tflite.BuiltinOperator, op)
        if (code, custom, version) not in self.codes:
            self.codes.append((code, custom, version))
        self.operators.append((self.codes.index((code, custom, version)), inputs, made, options, fields))
        return made[0] if len(made) == 1 else made

    def subgraph(self, inputs: list[int], outputs: list[int]) -> int:
        """Of the operators so far, with these tensors; its index."""
        self.subgraphs.append((self.operators, inputs, outputs))
        self.operators = []
        return len(self.subgraphs)

    # ---- bytes --------------------------------------------------------------------------------

    def table(self, cls: str, **fields: Any) -> int:
        module = import_module(f"tflite.{cls}")
        getattr(module, f"{cls}Start")(self.b)
        for name, value in fields.items():
            if value is not None:
                getattr(module, f"{cls}Add{name}")(self.b, value)
        return int(getattr(module, f"{cls}End")(self.b))

    def numbers(self, values: Any, dtype: Any = np.int32) -> int:
        return int(self.b.CreateNumpyVector(np.asarray(values, dtype).reshape(-1)))

    def offsets(self, values: list[int]) -> int:
        self.b.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.b.PrependUOffsetTRelative(value)
        return int(self.b.EndVector())

    def _tensor(self, tensor: dict[str, Any]) -> int:
        quantization = signature = sparsity = None
        if "scale" in tensor:
            scale, zero = (
                self.numbers(tensor["scale"], np.float32),
                self.numbers(tensor.get("zero", 0), np.int64),
            )
            quantization = self.table(
                "QuantizationParameters",
                Scale=scale,
                ZeroPoint=zero,
                QuantizedDimension=tensor.get("axis", 0),
            )
        if "signature" in tensor:
            signature = self.numbers(tensor["signature"])
        if "sparsity" in tensor:
            sparsity = self._sparsity(*tensor["sparsity"])
        name, shape = self.b.CreateString(tensor["name"]), self.numbers(tensor["shape"])
        return self.table(
            "Tensor", Name=name, Shape=shape, Type=getattr(tflite.TensorType, tensor["kind"]),
            Buffer=tensor["buffer"], Quantization=quantization, ShapeSignature=signature, Sparsity=sparsity,
            IsVariable=tensor.get("variable"),
        )  # fmt: skip

    def _sparsity(self, order: Any, block_map: Any, levels: Any) -> int:
        tables = []
        for level in levels:
            if isinstance(level, int):
                tables.append(self.table("DimensionMetadata", Format=0, DenseSize=level))
                continue
            vectors = [self.table("Int32Vector", Values=self.numbers(values)) for values in level]
            tables.append(
                self.table(
                    "DimensionMetadata",
                    Format=1,
                    ArraySegmentsType=1,
                    ArraySegments=vectors[0],
                    ArrayIndicesType=1,
                    ArrayIndices=vectors[1],
                )
            )
        levels, order, blocks = self.offsets(tables), self.numbers(order), self.numbers(block_map)
        return self.table("SparsityParameters", TraversalOrder=order, BlockMap=blocks, DimMetadata=levels)

    def _operator(self, code: int, inputs: Any, outputs: Any, options: str, fields: dict[str, Any]) -> int:
        union = {}
        if options:
            known = {n: self.numbers(v) if isinstance(v, list) else v for n, v in fields.items()}
            name = "BuiltinOptions" if hasattr(tflite.BuiltinOptions, options) else "BuiltinOptions2"
            kind = getattr(getattr(tflite, name), options)
            union = {f"{name}Type": kind, name: self.table(options, **known)}
        elif "custom" in fields:
            union = {"CustomOptions": self.b.CreateByteVector(fields["custom"])}
        a, b = self.numbers(inputs), self.numbers(outputs)
        return self.table("Operator", OpcodeIndex=code, Inputs=a, Outputs=b, **union)

    def _graph(self, operators: Any, inputs: list[int], outputs: list[int]) -> int:
        """With all tensors of the file."""
        tensors = self.offsets([self._tensor(tensor) for tensor in self.tensors])
        steps = self.offsets([self._operator(*operator) for operator in operators])
        a, b = self.numbers(inputs), self.numbers(outputs)
        return self.table("SubGraph", Tensors=tensors, Inputs=a, Outputs=b, Operators=steps)

    def content(self, outputs: list[int]) -> bytes:
        codes = []
        for code, custom, version in self.codes:
            name = self.b.CreateString(custom) if custom else None
            codes.append(
                self.table(
                    "OperatorCode",
                    DeprecatedBuiltinCode=min(code, 127),
                    BuiltinCode=code,
                    CustomCode=name,
                    Version=version,
                )
            )
        buffers = []
        for data in self.buffers:
            vector = self.b.CreateByteVector(data) if data else None
            buffers.append(self.table("Buffer", Data=vector))
        graphs = [self._graph(*graph) for graph in ((self.operators, self.inputs, outputs), *self.subgraphs)]
        model = self.table(
            "Model", Version=3, OperatorCodes=self.offsets(codes), Subgraphs=self.offsets(graphs),
            Buffers=self.offsets(buffers),
        )  # fmt: skip
        self.b.Finish(model, b"TFL3")
        return bytes(self.b.Output())


# ---- results ------------------------------------------------------------------------------------


def opened(content: bytes | Path, **options: Any) -> tuple[Graph, Any, Any]:
    source = read(content, **options)
    return source.graph, source.inputs, source.outputs


def ran(graph: Graph, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    known = {name: value.data for name, value in graph.values.items() if value.data is not None} | inputs
    for node in graph.nodes:
        known[node.output] = compute(node, [known[name] for name in node.inputs])
        assert known[node.output].shape == graph.values[node.output].shape, node
    return [known[name] for name in graph.outputs]


def litert(content: bytes, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """LiteRT's reference kernels, or the plain ones for operators that have no reference."""
    package = pytest.importorskip("ai_edge_litert.interpreter")
    kinds = package.OpResolverType
    try:
        interpreter = package.Interpreter(
            model_content=content, experimental_op_resolver_type=kinds.BUILTIN_REF
        )
    except ValueError:
        plain = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = package.Interpreter(model_content=content, experimental_op_resolver_type=plain)
    for detail in interpreter.get_input_details():
        interpreter.resize_tensor_input(detail["index"], inputs[detail["name"]].shape)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def agree(got: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 1e-4) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert np.abs(a.astype(float) - b).max() <= tolerance * np.abs(b).max()
