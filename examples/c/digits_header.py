"""Turns the weights and images of `dwconv demo` into a C header, without any package.

python examples/c/digits_header.py src/dwconv/data/digits.npz digits.h
"""

from __future__ import annotations

import ast
import math
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any


def array(data: bytes) -> tuple[list[Any], tuple[int, ...]]:
    """The values of a .npy file in C order, and its shape."""
    start = 10 + struct.unpack_from("<H", data, 8)[0]
    header = ast.literal_eval(data[10:start].decode("latin1"))
    shape, count = header["shape"], math.prod(header["shape"])
    code = {"|u1": "B", "<f2": "e", "<i8": "q"}[header["descr"]]
    values = list(struct.unpack_from(f"<{count}{code}", data, start))
    if header["fortran_order"]:
        values = [values[fortran_offset(index, shape)] for index in range(count)]
    return values, shape


def fortran_offset(index: int, shape: tuple[int, ...]) -> int:
    """Where the element that is number `index` in C order lies in Fortran order."""
    position = []
    for size in reversed(shape):
        index, remainder = divmod(index, size)
        position.insert(0, remainder)
    offset, step = 0, 1
    for place, size in zip(position, shape, strict=True):
        offset += place * step
        step *= size
    return offset


def definition(name: str, data: bytes) -> str:
    values, shape = array(data)
    if isinstance(values[0], float):
        kind, texts = "float", [f"{value.hex()}f" for value in values]
    else:
        kind, texts = "unsigned char", [str(value) for value in values]
    lines = [", ".join(texts[i : i + 16]) for i in range(0, len(texts), 16)]
    body = ",\n    ".join(lines)
    return f"/* {list(shape)} */\nstatic const {kind} digits_{name}[{len(values)}] = {{\n    {body}}};\n"


def main(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        parts = [definition(name.removesuffix(".npy"), archive.read(name)) for name in archive.namelist()]
    target.write_text(
        f"/* Made from {source.name} by {Path(__file__).name}. */\n" + "\n".join(parts), "ascii"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
