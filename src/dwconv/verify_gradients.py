"""Gradients for `dwconv verify`: of a layer's convolution, against the plain loops of the C core."""

from __future__ import annotations

import math

import numpy as np

from .activation import Array
from .config import core
from .geometry import Shape
from .gradients_numpy import Convolution
from .operation import Operation

EPS = float(np.finfo(np.float32).eps)


def problem(operation: Operation, shape: Shape, backend: str, threads: tuple[int, ...]) -> str:
    """What is wrong with the gradients of an operation of one stage, or ""."""
    (stage,) = operation.stages
    depthwise = stage.kind == "depthwise"
    y = stage.output_shape(operation.name, shape)
    kernel_h, kernel_w, inputs, last = stage.filters.shape
    conv = Convolution(
        operation.name, depthwise, shape, (kernel_h, kernel_w, inputs, last), y, stage.window, stage.groups
    )
    rng = np.random.default_rng(2)
    x, dy = (rng.uniform(-1, 1, size).astype(np.float32) for size in (shape, y))
    plain = _gradients(conv, "reference", x, stage.filters, dy, 1)
    magnitude = _gradients(conv, "reference", np.abs(x), np.abs(stage.filters), np.abs(dy), 1)
    pixels = math.prod(y[:3])
    groups = shape[3] if depthwise else stage.groups
    terms = kernel_h * kernel_w * y[3] // groups, pixels, pixels
    found = _gradients(conv, backend, x, stage.filters, dy, threads[0])
    for name, value, right, most, count in zip(
        ("input", "filter", "bias"), found, plain, magnitude, terms, strict=True
    ):
        if not np.all(np.abs(value - right) <= (count + 16) * EPS * most):  # NaN is wrong too
            return f"the {name} gradient is wrong"
    for count in threads[1:]:
        others = _gradients(conv, backend, x, stage.filters, dy, count)
        if any(a.tobytes() != b.tobytes() for a, b in zip(found, others, strict=True)):
            return f"other bits of a gradient with {count} threads"
    return ""


def _gradients(
    conv: Convolution, isa: str, x: Array, filters: Array, dy: Array, threads: int
) -> tuple[Array, Array, Array]:
    """Of input, filter and bias."""
    gradient = core.Gradient(conv, isa)
    dw, db = gradient.of_filter(x, dy, True, True, threads)
    found = gradient.of_input(filters, dy, None, threads), dw, db
    together = gradient.of_both(filters, x, dy, None, True, threads)
    if any(a.tobytes() != b.tobytes() for a, b in zip(found, together, strict=True)):
        raise RuntimeError("one call of both gradients has other bits than one of each")
    return found
