"""A TFLite file as plain data. A file is untrusted: whatever does not fit raises ValueError.

Positions and lengths of a flatbuffer are checked by what reads them, and by a budget: an honest file mentions
each of its bytes about once, while one that points to the same table many times would keep a reader busy.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..activation import Array
from ..graph import Quantization

# Of the tensor types, those that NumPy has.
DTYPES = {
    "FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8", "INT32": "<i4", "INT64": "<i8", "INT16": "<i2",
    "INT8": "i1", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "BOOL": "?",
}  # fmt: skip
MOST_AXES = 8


class Sparsity(NamedTuple):
    """How the values of a sparse constant are laid out: one level for every axis of blocks and of a block."""

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[tuple[int, Array | None, Array | None], ...]  # dense size, or segments and indices


@dataclass(slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]  # -1 where the size is known only when the model runs
    kind: str  # as the schema calls it: FLOAT32, INT8 ...
    data: Array | None = None  # of a constant; a view of the file, flat if sparse
    quantization: Quantization | None = None
    sparsity: Sparsity | None = None
    variable: bool = False


@dataclass(slots=True)
class Operator:
    op: str  # CONV_2D ...; a custom one is CUSTOM:its name
    inputs: tuple[int, ...]  # indices of tensors; -1: an optional one is missing
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Model:
    """The first subgraph of a file. `others`: all that follow, for what they make variables begin with."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    others: list[Model] = field(default_factory=list)


def parse(content: bytes, where: str) -> Model:
    """The model in `content`. Raises ValueError if it is none, ImportError without the package `tflite`."""
    try:
        schema = import_module("tflite")
    except ImportError:
        raise ImportError(
            f'{where}: reading it needs the package tflite: pip install "dwconv[tflite]"'
        ) from None
    if len(content) < 8 or content[4:8] != b"TFL3":
        raise ValueError(f"{where}: this is no TFLite file: the identifier TFL3 is missing")
    try:
        return _Reader(schema, content).model()
    except (ValueError, TypeError, IndexError, OverflowError, AssertionError, struct.error) as error:
        raise ValueError(f"{where}: the TFLite file is broken: {error}") from None


class _Reader:
    def __init__(self, schema: Any, content: bytes) -> None:
        self.schema = schema
        self.content = content
        self.budget = len(content) + 65536
        self.types = _names(schema.TensorType)
        self.builtins = _names(schema.BuiltinOperator)
        self.unions = (_names(schema.BuiltinOptions), _names(schema.BuiltinOptions2))
        self.fields: dict[type, tuple[list[str], list[str]]] = {}

    def model(self) -> Model:
        root = self.schema.Model.GetRootAs(self.content, 0)
        if root.Version() != 3:
            raise ValueError(f"schema version {root.Version()}, not 3")
        codes = [self._code(table) for table in self._tables(root, "OperatorCodes")]
        buffers = self._tables(root, "Buffers")
        graphs = self._tables(root, "Subgraphs")
        first, *others = (self._graph(graph, codes, buffers) for graph in graphs)
        if -1 in first.inputs + first.outputs or not first.outputs:
            raise ValueError("its inputs and outputs must be tensors, and one output at least")
        first.others = others
        return first

    def _graph(self, graph: Any, codes: list[str], buffers: list[Any]) -> Model:
        tensors = [self._tensor(table, buffers) for table in self._tables(graph, "Tensors")]
        operators = [self._operator(table, codes, len(tensors)) for table in self._tables(graph, "Operators")]
        inputs = self._indices(graph, "Inputs", len(tensors))
        outputs = self._indices(graph, "Outputs", len(tensors))
        made = set(inputs).union(*(operator.outputs for operator in operators))
        for index, tensor in enumerate(tensors):
            if 0 in tensor.shape and tensor.data is None and index not in made and tensor.kind in DTYPES:
                tensor.data = np.zeros(tensor.shape, np.dtype(DTYPES[tensor.kind]))  # has no buffer
        return Model(tensors, operators, inputs, outputs)

    def _spend(self, amount: int) -> None:
        self.budget -= amount
        if self.budget < 0:
            raise ValueError("it has more tables than fit its size")

    def _tables(self, table: Any, name: str) -> list[Any]:
        count = getattr(table, f"{name}Length")()
        self._spend(16 * count)
        return [getattr(table, name)(i) for i in range(count)]

    def _vector(self, table: Any, name: str) -> Array:
        found = getattr(table, f"{name}AsNumpy")()
        if isinstance(found, int):  # absent
            return np.zeros(0, np.int32)
        self._spend(found.size)
        return found  # type: ignore[no-any-return]

    def _integers(self, table: Any, name: str) -> tuple[int, ...]:
        return tuple(self._vector(table, name).tolist())

    def _indices(self, table: Any, name: str, count: int) -> tuple[int, ...]:
        found = self._integers(table, name)
        if any(not -1 <= index < count for index in found):
            raise ValueError(f"a tensor in {name.lower()} {found[:8]} does not exist; there are {count}")
        return found

    def _text(self, value: bytes | None) -> str:
        self._spend(len(value or b""))
        return (value or b"").decode("utf-8", "replace")

    def _code(self, table: Any) -> str:
        # Codes above 126 are in the newer field alone.
        number = max(table.DeprecatedBuiltinCode(), table.BuiltinCode())
        name = self.builtins.get(number, f"operator {number}")
        return f"CUSTOM:{self._text(table.CustomCode())}" if name == "CUSTOM" else name

    # ---- tensors ------------------------------------------------------------------------------

    def _tensor(self, table: Any, buffers: list[Any]) -> Tensor:
        name = self._text(table.Name())
        shape = self._integers(table, "Shape")
        signature = self._integers(table, "ShapeSignature") or shape
        if len(shape) > MOST_AXES or len(signature) > MOST_AXES:
            raise ValueError(f"tensor {name!r} has more than {MOST_AXES} axes")
        kind = self.types.get(table.Type(), f"type {table.Type()}")
        index = table.Buffer()
        if not 0 <= index < max(len(buffers), 1):
            raise ValueError(f"tensor {name!r} has buffer {index} of {len(buffers)}")
        tensor = Tensor(name, shape, signature, kind, variable=bool(table.IsVariable()))
        tensor.quantization = self._quantization(table.Quantization(), tensor)
        sparsity = table.Sparsity()
        if sparsity is not None:
            tensor.sparsity = self._sparsity(sparsity)
        data = self._bytes(buffers[index]) if buffers else b""
        if len(data):
            tensor.data = _array(data, tensor)
        return tensor

    def _bytes(self, buffer: Any) -> Any:
        """A buffer's content: in the table, or, in a file above 2 GB, behind the flatbuffer."""
        start, size = buffer.Offset(), buffer.Size()
        if start <= 1:
            found = buffer.DataAsNumpy()
            return b"" if isinstance(found, int) else found
        if start + size > len(self.content):
            raise ValueError(f"a buffer at {start} of {size} bytes lies beyond the end")
        return np.frombuffer(self.content, np.uint8, size, start)

    def _quantization(self, table: Any, tensor: Tensor) -> Quantization | None:
        if table is None or not table.ScaleLength():
            return None
        scale = self._vector(table, "Scale").astype(np.float32)
        zero = self._vector(table, "ZeroPoint").astype(np.int64)
        zero = zero if zero.size else np.zeros_like(scale, np.int64)
        axis = table.QuantizedDimension()
        if scale.size == 1 and zero.size == 1:
            return Quantization(scale[0], zero[0])
        if len(tensor.shape) == 1:  # biases, where old converters write the axis of the filters
            axis = 0
        fits = (
            0 <= axis < len(tensor.shape)
            and scale.size == tensor.shape[axis]
            and zero.size in (1, scale.size)
        )
        if not fits:
            raise ValueError(
                f"tensor {tensor.name!r} of {tensor.shape} has {scale.size} scales on axis {axis}"
            )
        return Quantization(scale, np.broadcast_to(zero, scale.shape), axis)

    def _sparsity(self, table: Any) -> Sparsity:
        levels: list[tuple[int, Array | None, Array | None]] = []
        for level in self._tables(table, "DimMetadata"):
            if level.Format() == self.schema.DimensionType.DENSE:
                levels.append((level.DenseSize(), None, None))
            else:
                segments = self._sparse_index(level.ArraySegmentsType(), level.ArraySegments())
                indices = self._sparse_index(level.ArrayIndicesType(), level.ArrayIndices())
                levels.append((0, segments, indices))
        return Sparsity(
            self._integers(table, "TraversalOrder"), self._integers(table, "BlockMap"), tuple(levels)
        )

    def _sparse_index(self, kind: int, table: Any) -> Array:
        name = _names(self.schema.SparseIndexVector).get(kind)
        if name not in ("Int32Vector", "Uint16Vector", "Uint8Vector") or table is None:
            raise ValueError("a sparse tensor without its indices")
        vector = getattr(self.schema, name)()
        vector.Init(table.Bytes, table.Pos)
        return self._vector(vector, "Values").astype(np.int64)

    # ---- operators ----------------------------------------------------------------------------

    def _operator(self, table: Any, codes: list[str], tensors: int) -> Operator:
        index = table.OpcodeIndex()
        if not 0 <= index < len(codes):
            raise ValueError(f"operator code {index} of {len(codes)}")
        inputs, outputs = (self._indices(table, name, tensors) for name in ("Inputs", "Outputs"))
        if -1 in outputs:
            raise ValueError(f"{codes[index]} has an output that is no tensor")
        options = self._options(table)
        if codes[index] == "VAR_HANDLE":
            options["SharedName"] = self._shared_name(table)
        if codes[index].startswith("CUSTOM:"):
            options["Custom"] = bytes(self._vector(table, "CustomOptions"))
        return Operator(codes[index], inputs, outputs, options)

    def _shared_name(self, table: Any) -> str:
        """Of a variable: with its container."""
        union = table.BuiltinOptions()
        if union is None:
            raise ValueError("a variable without a name")
        options = self.schema.VarHandleOptions()
        options.Init(union.Bytes, union.Pos)
        return f"{self._text(options.Container())}/{self._text(options.SharedName())}"

    def _options(self, table: Any) -> dict[str, Any]:
        kinds = (table.BuiltinOptionsType(), table.BuiltinOptions2Type())
        unions = (table.BuiltinOptions(), table.BuiltinOptions2())
        for names, kind, union in zip(self.unions, kinds, unions, strict=True):
            cls = getattr(self.schema, names.get(kind, ""), None)
            if union is not None and cls is not None:
                options = cls()
                options.Init(union.Bytes, union.Pos)
                return self._attributes(options)
        return {}

    def _attributes(self, options: Any) -> dict[str, Any]:
        """Numbers and vectors of an options table by the schema's names; text and tables are left out."""
        cls = type(options)
        if cls not in self.fields:
            methods = {name: m for name, m in vars(cls).items() if hasattr(m, "__code__") and name != "Init"}
            vectors = [name[:-7] for name in methods if name.endswith("AsNumpy")]
            helpers = {f"{name}{end}" for name in vectors for end in ("AsNumpy", "Length", "IsNone")}
            scalars = [n for n, m in methods.items() if m.__code__.co_argcount == 1 and n not in helpers]
            self.fields[cls] = scalars, vectors
        scalars, vectors = self.fields[cls]
        found: dict[str, Any] = {name: self._integers(options, name) for name in vectors}
        values = {name: getattr(options, name)() for name in scalars}
        return found | {
            name: value for name, value in values.items() if isinstance(value, bool | int | float)
        }


def _names(enum: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _array(data: Any, tensor: Tensor) -> Array | None:
    """A constant; None for a type that NumPy lacks, which is unsupported where it is used."""
    if tensor.kind not in DTYPES:
        return None
    dtype = np.dtype(DTYPES[tensor.kind])
    if tensor.sparsity is None:
        count = 1
        for size in tensor.shape:
            count *= size
        if min(tensor.shape, default=0) < 0 or count * dtype.itemsize != len(data):
            raise ValueError(f"tensor {tensor.name!r} of {tensor.shape} {tensor.kind} has {len(data)} bytes")
    elif len(data) % dtype.itemsize:
        raise ValueError(f"sparse tensor {tensor.name!r} of {tensor.kind} has {len(data)} bytes")
    flat = np.frombuffer(data, dtype)
    flat = flat.astype(dtype.newbyteorder("="), copy=not flat.flags.aligned)
    return flat if tensor.sparsity is not None else flat.reshape(tensor.shape)
