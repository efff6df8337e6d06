"""TFLite's complex numbers, which sound networks have between a Fourier transform and its magnitudes.

They are two values, the real and the imaginary parts. The transform is a product with a matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .tflite_call import Call, UnsupportedError
from .tflite_shapes import SHAPE_OPS

Parts = tuple[str, str]
LONGEST = 4096  # its matrix has 64 MB
MOVES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "REVERSE_V2")


def rfft2d(call: Call) -> Parts:
    """Of rows, [..., 1, n] with a length of [1, n]: half of the spectrum, [..., 1, n / 2 + 1]."""
    shape, length = call.shape(0), call.integers(1, "length")
    if len(shape) < 2 or len(length) != 2:
        raise ValueError(f"a length of {length[:4]} does not fit {shape}")
    if length != [1, shape[-1]] or shape[-2] != 1 or shape[-1] > LONGEST:
        raise UnsupportedError(
            f"a transform of {shape[-2:]} with a length of {length}; of one row of its own length, "
            f"{LONGEST} at most, is supported"
        )
    n, bins = shape[-1], shape[-1] // 2 + 1
    turns = np.outer(np.arange(n), np.arange(bins)) % n * (2 * np.pi / n)
    matrix = np.concatenate([np.cos(turns), -np.sin(turns)], 1).astype(np.float32)
    image = call.reshape(call.value(0), (-1, 1, 1, n))
    both = call.node("conv", image, matrix.reshape(1, 1, n, 2 * bins))
    parts = (call.node("slice", both, slices=(None, None, None, (b, b + bins, 1))) for b in (0, bins))
    real, imaginary = (call.reshape(part, (*shape[:-1], bins)) for part in parts)
    return real, imaginary


def absolute(call: Call, parts: Parts) -> str:
    squares = [call.unary("square", part) for part in parts]
    return call.unary("sqrt", call.node("binary", *squares, kind="add"))


OF_COMPLEX: dict[str, Callable[[Call, Parts], str]] = {
    "COMPLEX_ABS": absolute,
    "REAL": lambda call, parts: parts[0],
    "IMAG": lambda call, parts: parts[1],
    "CAST": lambda call, parts: parts[0],
}


def takes(op: str) -> bool:
    """Whether an operator of complex numbers is supported."""
    return op in OF_COMPLEX or op in MOVES


def lower(call: Call, parts: Parts) -> str | Parts:
    """The operator of a complex input 0; of shape operators both parts."""
    op = call.operator.op
    if op in OF_COMPLEX:
        if call.output_dtype() != np.float32:
            raise UnsupportedError("a result that is not FLOAT32")
        return OF_COMPLEX[op](call, parts)
    real, imaginary = (SHAPE_OPS[op](call.with_input(0, part)) for part in parts)
    return real, imaginary
