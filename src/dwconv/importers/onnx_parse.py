"""Reads ONNX files, with the package onnx. A file is untrusted: what does not fit is a ValueError."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..activation import Array
from .onnx_model import DTYPES, Info, OnnxModel, OnnxNode, Opaque, ordered

MOST_BYTES = 2**31 - 1  # of a file: protobuf's own limit
# TensorProto: the field that has the elements where raw_data has not.
TYPED_FIELDS = {
    "float32": "float_data", "int32": "int32_data", "int16": "int32_data", "int8": "int32_data",
    "uint16": "int32_data", "uint8": "int32_data", "bool": "int32_data", "float16": "int32_data",
    "bfloat16": "int32_data", "int64": "int64_data", "float64": "double_data", "uint32": "uint64_data",
    "uint64": "uint64_data",
}  # fmt: skip
HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(np.uint16)}


def parse(source: str | os.PathLike[str] | bytes) -> OnnxModel:
    """A path, the bytes of a file, or a `ModelProto`. Raises ValueError for what is no model."""
    import onnx

    folder = None
    if isinstance(source, onnx.ModelProto):
        proto = source
    else:
        if isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
        else:
            path = Path(source)
            folder = path.parent
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"{path}: a model file has less than 2 GiB; weights may be external data")
            data = path.read_bytes()
        try:
            proto = onnx.load_model_from_string(data)
        except Exception as error:  # protobuf has several classes for it
            raise ValueError(f"network: this is no ONNX model ({error})") from None
    return _Parser(folder).model(proto)


class _Parser:
    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.external: dict[tuple[str, int, int], bytes] = {}

    def model(self, proto: Any) -> OnnxModel:
        graph = proto.graph
        if not graph.output:
            raise ValueError("network: this is no ONNX model, or one without outputs")
        opsets = {_domain(item.domain): int(item.version) for item in proto.opset_import}
        constants: dict[str, Array | Opaque] = {}
        for tensor in graph.initializer:
            name = _text(tensor.name)
            if name in constants:
                raise ValueError(f"network: two constants are called {name!r}")
            constants[name] = self.tensor(tensor)
        for sparse in graph.sparse_initializer:
            constants[_text(sparse.values.name)] = Opaque("a sparse tensor")
        nodes = [self.node(node) for node in graph.node]
        inputs = [info for info in map(_info, graph.input) if info.name not in constants]
        names = [info.name for info in inputs]
        if len(set(names)) != len(names):
            raise ValueError("network: two inputs have the same name")
        model = OnnxModel(opsets or {"": 1}, inputs, [_info(v) for v in graph.output], constants, nodes)
        model.nodes = ordered(model)
        read = {name for node in model.nodes for name in node.inputs} | {info.name for info in model.outputs}
        model.constants = {name: value for name, value in constants.items() if name in read}
        return model

    def node(self, proto: Any) -> OnnxNode:
        attributes = {_text(attribute.name): self.attribute(attribute) for attribute in proto.attribute}
        inputs, outputs = ([_text(name) for name in names] for names in (proto.input, proto.output))
        return OnnxNode(
            _text(proto.op_type), _domain(proto.domain), _text(proto.name), inputs, outputs, attributes
        )

    def attribute(self, proto: Any) -> Any:
        kind = proto.AttributeType.Name(proto.type) if proto.type in proto.AttributeType.values() else ""
        if kind == "FLOAT":
            return float(proto.f)
        if kind == "INT":
            return int(proto.i)
        if kind == "STRING":
            return proto.s.decode("utf-8", "replace")
        if kind == "TENSOR":
            return self.tensor(proto.t)
        if kind == "FLOATS":
            return [float(item) for item in proto.floats]
        if kind == "INTS":
            return [int(item) for item in proto.ints]
        if kind == "STRINGS":
            return [item.decode("utf-8", "replace") for item in proto.strings]
        return Opaque(f"an attribute of type {kind or proto.type}")

    def tensor(self, proto: Any) -> Array | Opaque:
        """Every size is checked against the bytes that are there before an array is made."""
        dtype = DTYPES.get(proto.data_type, str(proto.data_type))
        if dtype not in TYPED_FIELDS:
            return Opaque(f"a tensor of {dtype}")
        shape = tuple(int(size) for size in proto.dims)
        if len(shape) > 32 or any(not 0 <= size < 2**40 for size in shape):
            raise ValueError(f"network: constant {proto.name!r} has an impossible shape {shape}")
        count = math.prod(shape)
        kind = HALVES.get(dtype) or np.dtype(dtype)
        if proto.data_location == 1:
            raw = self.outside(proto, count * kind.itemsize)
            array = np.frombuffer(raw, kind.newbyteorder("<"))
        elif proto.HasField("raw_data"):
            _count(proto, len(proto.raw_data), count * kind.itemsize, "bytes")
            array = np.frombuffer(proto.raw_data, kind.newbyteorder("<"))
        else:
            items = getattr(proto, TYPED_FIELDS[dtype])
            _count(proto, len(items), count, "elements")
            array = _typed(items, dtype, kind)
        if dtype == "bfloat16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(shape)

    def outside(self, proto: Any, count: int) -> bytes:
        """External data: a file inside the folder of the model."""
        entries = {_text(entry.key): _text(entry.value) for entry in proto.external_data}
        location, name = entries.get("location", ""), _text(proto.name)
        if self.folder is None:
            raise ValueError(
                f"network: constant {name!r} is in the file {location!r}: load the model by its path"
            )
        folder = self.folder.resolve()
        if not location or "\0" in location or "\\" in location or Path(location).is_absolute():
            raise ValueError(f"network: constant {name!r} is in {location!r}, which is no file of the folder")
        path = (folder / location).resolve()
        if folder not in path.parents:
            raise ValueError(
                f"network: constant {name!r} is in {location!r}, outside the folder of the model"
            )
        if not path.is_file():
            raise ValueError(f"network: constant {name!r} is in {location!r}, which does not exist")
        offset = _integer(entries.get("offset", "0"))
        length = _integer(entries.get("length", str(count)))
        if length != count or offset < 0 or offset + length > path.stat().st_size:
            raise ValueError(
                f"network: constant {name!r} needs {count} bytes at {offset} of {location!r}, "
                f"which has {path.stat().st_size} (it says {length})"
            )
        key = (str(path), offset, length)
        if key not in self.external:
            read = sum(size for file, _, size in self.external if file == key[0])
            if read + length > path.stat().st_size:
                raise ValueError(f"network: constant {name!r} shares bytes of {location!r} with another one")
            with path.open("rb") as file:
                file.seek(offset)
                self.external[key] = file.read(length)
        _count(proto, len(self.external[key]), count, "bytes")
        return self.external[key]


def _typed(items: Any, dtype: str, kind: np.dtype[Any]) -> Array:
    if dtype == "float16":  # the bits
        return np.array(items, np.int64).astype(np.uint16).view(np.float16)
    wide = {"float_data": np.float32, "double_data": np.float64, "uint64_data": np.uint64}
    return np.array(items, wide.get(TYPED_FIELDS[dtype], np.int64)).astype(kind)


def _count(proto: Any, have: int, need: int, what: str) -> None:
    if have != need:
        sizes = tuple(proto.dims)
        raise ValueError(f"network: constant {proto.name!r} {sizes} has {have} {what} instead of {need}")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"network: external data has {text!r} where a number belongs") from None


def _text(value: str | bytes) -> str:
    """protobuf gives bytes where they are no UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _domain(domain: str | bytes) -> str:
    return "" if _text(domain) == "ai.onnx" else _text(domain)


def _info(value: Any) -> Info:
    kind = value.type.WhichOneof("value")
    if kind is None:  # outputs may have no type
        return Info(_text(value.name), None, "float32")
    if kind != "tensor_type":
        return Info(_text(value.name), None, kind)
    tensor = value.type.tensor_type
    dtype = DTYPES.get(tensor.elem_type, f"type {tensor.elem_type}")
    if not tensor.HasField("shape"):
        return Info(_text(value.name), None, dtype)
    sizes = []
    for dim in tensor.shape.dim:
        known = dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0
        sizes.append(int(dim.dim_value) if known else None)
    return Info(_text(value.name), tuple(sizes), dtype)
