"""Weights of nine bits, -255 to 255: bytes less a zero point."""

from __future__ import annotations

import numpy as np

from .activation import Array


def narrow(weights: Array) -> Array:
    """In int8, where all of them fit, or in int16."""
    fits = not weights.size or (weights.min() >= -128 and weights.max() <= 127)
    return weights.astype(np.int8 if fits else np.int16)


def _outputs_last(kind: str, weights: Array) -> Array:
    """[..., outputs], where the outputs of "depthwise" are two axes."""
    outputs = weights.shape[-2] * weights.shape[-1] if kind == "depthwise" else weights.shape[-1]
    return weights.reshape(-1, outputs)


def spread(kind: str, weights: Array) -> Array:
    """How far the weights of an output channel and 0 are apart: of bytes less a zero point, at most 255."""
    columns = _outputs_last(kind, weights)
    apart: Array = np.maximum(columns.max(0), 0).astype(np.int32) - np.minimum(columns.min(0), 0)
    return apart


def as_bytes(kind: str, weights: Array) -> tuple[Array, Array | None]:
    """(filters, zero points): int8 as they are, without; others as uint8, with one, or one per output."""
    if weights.dtype == np.int8:
        return weights, None
    columns = _outputs_last(kind, weights).astype(np.int32)
    shared = max(columns.max(), 0) - min(columns.min(), 0) <= 255
    least = columns.min(None if shared else 0)
    zeros = np.ascontiguousarray(np.atleast_1d(-np.minimum(least, 0)).astype(np.int32))
    return (columns + zeros).astype(np.uint8).reshape(weights.shape), zeros
