"""Networks as files: one .npz that NumPy alone reads and writes.

    network               uint8, JSON: {"format": 1, "name": ..., "kind": of the source, "state": its own,
                          "arrays": what the state calls the arrays}
    array_0, array_1 ...  these arrays, in that order

What is read is not trusted: sizes are checked before memory is taken, and nothing in a file is executed.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .activation import Array
from .edges import NHWCSource
from .sources import DTYPES, ODD, GraphSource, Source

FORMAT = 1
# Compressed files may grow to this when they are read; others have the size of their arrays.
MOST_BYTES = 2**30
MOST_MEMBERS = 2**16


def save(source: Source, name: str, path: Path) -> None:
    """Raises ValueError for another suffix than .npz, which NumPy would add, and what writing raises."""
    if path.suffix.lower() != ".npz":
        raise ValueError(f"{name}: save: the file must end in .npz, not {path.name!r}")
    state, arrays = source.state()
    told = {
        "format": FORMAT,
        "name": name,
        "kind": source.kind,
        "state": _strict(state),
        "arrays": list(arrays),
    }
    text = json.dumps(told, allow_nan=False)
    members = {f"array_{index}": array for index, array in enumerate(arrays.values())}
    np.savez(path, network=np.frombuffer(text.encode(), np.uint8), **members)  # type: ignore[arg-type]


def restore(path: Path) -> tuple[Source, str]:
    """The source of a saved network and its name. Raises ValueError for any other file."""
    try:
        members = _arrays(path)
        told = _loose(json.loads(members["network"].tobytes()))
        if told["format"] != FORMAT:
            raise ValueError(
                f"it has format {str(told['format'])[:20]}, this version of dwconv reads {FORMAT}"
            )
        name = told["name"]
        if not isinstance(name, str):
            raise ValueError("its name is no text")
        arrays = {key: members[f"array_{index}"] for index, key in enumerate(told["arrays"])}
        return _source(told["kind"], told["state"], arrays), name
    except (ValueError, zipfile.BadZipFile, NotImplementedError, EOFError, *ODD) as error:
        reason = error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path.name}: not a network that dwconv saved: {str(reason)[:500]}") from error


def _source(kind: Any, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> Source:
    if kind == GraphSource.kind:
        return GraphSource.restored(state, arrays)
    if kind == NHWCSource.kind:
        inner = _source(state["kind"], state["source"], arrays)
        inputs, outputs = state["inputs"], state["outputs"]
        known = {info.name: len(info.shape) for info in (*inner.inputs, *inner.outputs)}
        if any(known.get(name) != 4 for name in (*inputs, *outputs)):
            raise ValueError("its images are no inputs or outputs with 4 axes")
        return NHWCSource(inner, inputs, outputs)
    if kind == "onnx":
        module = import_module(".importers.onnx_source", __package__)
        found: Source = module.OnnxSource.restored(state, arrays)
        return found
    raise ValueError(f"there is no kind {str(kind)[:20]!r} of network")


# ---- arrays -------------------------------------------------------------------------------------


def _arrays(path: Path) -> dict[str, Array]:
    """Read-only views of the bytes of the members: nothing is allocated for what a header promises."""
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        total = sum(member.file_size for member in members)
        if total > max(MOST_BYTES, path.stat().st_size) or len(members) > MOST_MEMBERS:
            raise ValueError(f"it would need {total} bytes in {len(members)} arrays")
        found = {}
        for member in members:
            if not member.filename.endswith(".npy"):
                raise ValueError(f"{member.filename[:80]!r} is no array")
            found[member.filename[:-4]] = _array(member.filename, file.read(member))
    return found


def _array(name: str, data: bytes) -> Array:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name[:80]!r} has version {version} of NumPy's format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.name not in DTYPES or not dtype.isnative:
        raise ValueError(f"{name[:80]!r} has dtype {dtype}")
    if (
        len(shape) > 8
        or any(size < 0 for size in shape)
        or math.prod(shape) * dtype.itemsize != len(data) - file.tell()
    ):
        raise ValueError(f"{name[:80]!r} has {len(data) - file.tell()} bytes for the shape {str(shape)[:80]}")
    flat = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


# ---- numbers that JSON lacks --------------------------------------------------------------------


def _strict(item: Any) -> Any:
    """With {"float": "inf"} for what is not finite, and numbers and lists of Python alone."""
    if isinstance(item, dict):
        return {key: _strict(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_strict(value) for value in item]
    if isinstance(item, np.generic):
        item = item.item()
    if isinstance(item, float) and not math.isfinite(item):
        return {"float": str(item)}
    return item


def _loose(item: Any) -> Any:
    if isinstance(item, dict):
        if item.keys() == {"float"}:
            if item["float"] not in ("inf", "-inf", "nan"):
                raise ValueError(f"{str(item['float'])[:20]!r} is no number")
            return float(item["float"])
        return {key: _loose(value) for key, value in item.items()}
    return [_loose(value) for value in item] if isinstance(item, list) else item
