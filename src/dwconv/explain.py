"""`dwconv info --plan`: which kernels and blocking an operation on one image gets, and its roofline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import build, verify_integers
from .build import Sliding
from .config import core, get_num_threads, native_isa
from .engine import create_plan
from .geometry import Shape, Window, integer, shape
from .gradients_numpy import Convolution
from .operation import Operation

# The sizes that an operation takes; those in brackets may be left out, from the last on.
FORMS = {
    "depthwise": "H W C K S [DILATION] [MULTIPLIER]",
    "pointwise": "H W K N",
    "conv": "H W K N KERNEL STRIDE",
    "separable": "H W C N K S",
    "inverted_residual": "H W CIN E COUT K S [SQUEEZED]",
}

DTYPES = ("float32", "int8")

ABSENT = ("E", "SQUEEZED")  # sizes that may be 0
KERNELS = {"depthwise": "K", "conv": "KERNEL", "separable": "K", "inverted_residual": "K"}  # 3, or 1x9


def parse(words: Sequence[str]) -> tuple[Operation, Shape]:
    """The operation that words like "depthwise 112 112 32 3 1" name, and its input; padding is "same".

    Raises ValueError, which names the form, unless they are one of `FORMS` in integers from 1 on. An
    inverted residual with E 0 has no expansion, with SQUEEZED 0 or none no squeeze-and-excite.
    """
    kind, *numbers = words
    if kind not in FORMS:
        raise ValueError(f"--plan {kind}: there is no such operation; there are {', '.join(FORMS)}")
    names = [name.strip("[]") for name in FORMS[kind].split()]
    optional = FORMS[kind].count("[")
    where = f"--plan {kind} {FORMS[kind]}"
    if not len(names) - optional <= len(numbers) <= len(names):
        raise ValueError(f"{where}: {len(numbers)} sizes were given")
    kernel, sizes = (1, 1), []
    for name, word in zip(names, numbers, strict=False):
        if name == KERNELS.get(kind):
            sides = [_size(f"{where}: {name}", side, 1) for side in word.split("x", 1)]
            kernel = sides[0], sides[-1]
        else:
            sizes.append(_size(f"{where}: {name}", word, 0 if name in ABSENT else 1))
    sizes += [0 if name in ABSENT else 1 for name in names[len(numbers) :]]
    height, width, channels = sizes[:3]
    return _operation(kind, channels, kernel, sizes[3:]), (1, height, width, channels)


def _size(where: str, word: str, low: int) -> int:
    if not word.lstrip("-").isdecimal():
        raise ValueError(f"{where} must be an integer, not {word!r}")
    return integer(where, int(word), low)


def _operation(kind: str, channels: int, kernel: tuple[int, int], sizes: list[int]) -> Operation:
    if kind == "depthwise":
        stride, dilation, multiplier = sizes
        sliding = Sliding(stride, "same", dilation)
        return build.depthwise(kind, _filters(kernel, channels, multiplier), sliding, None, None)
    if kind == "pointwise":
        return build.pointwise(kind, _filters((1, 1), channels, *sizes), 1, None, None)
    if kind == "conv":
        outputs, stride = sizes
        return build.conv(kind, _filters(kernel, channels, outputs), Sliding(stride, "same"), None, None, 1)
    if kind == "separable":
        outputs, stride = sizes
        first, last = _filters(kernel, channels, 1), _filters((1, 1), channels, outputs)
        return build.separable(kind, first, last, Sliding(stride, "same"), None, None, None, None)
    expanded, outputs, stride, squeezed = sizes
    wide = expanded or channels
    one = (1, 1)
    gate = (_filters(one, wide, squeezed), None, _filters(one, squeezed, wide), None) if squeezed else None
    expand = _filters(one, channels, expanded) if expanded else None
    first, last = _filters(kernel, wide, 1), _filters(one, wide, outputs)
    sliding = Sliding(stride, "same")
    return build.inverted_residual(kind, expand, first, last, sliding, None, None, None, None, None, gate)


def _filters(kernel: tuple[int, int], inputs: int, outputs: int) -> Any:
    return np.zeros((*kernel, inputs, outputs), np.float32)


# ---- what there is to do ----------------------------------------------------------------------


def real_taps(window: Window, axis: int, size: int) -> int:
    """How many taps of all outputs along an axis fall on the image and not on padding."""
    outputs, before = window.extent(axis, size)
    stride, dilation = window.strides[axis], window.dilations[axis]
    taps = 0
    for tap in range(window.kernel[axis]):
        offset = tap * dilation - before  # output o sees o * stride + offset
        first = max(0, -(offset // stride))
        taps += max(0, min(outputs, (size - 1 - offset) // stride + 1) - first)
    return taps


def multiply_adds(operation: Operation, x: Shape) -> int:
    total = 0
    for stage, (batch, height, width, _) in zip(operation.stages, operation.shapes(x), strict=False):
        taps = real_taps(stage.window, 0, height) * real_taps(stage.window, 1, width)
        summed = 1 if stage.kind == "depthwise" else stage.in_channels // stage.groups
        total += batch * taps * summed * stage.out_channels
    return total + x[0] * sum(stage.filters.size for stage in operation.squeeze_excite)


# ---- what is said -----------------------------------------------------------------------------


def facts(
    words: Sequence[str],
    threads: int | None = None,
    gflops: float | None = None,
    gbs: float | None = None,
    dtype: str = "float32",
) -> list[tuple[str, str]]:
    """(label, text) for an operation in the words of `parse`, on at most so many threads.

    `dtype`: "float32", or "int8" with scales that are made up.

    First what the core tells of such a run, then what there is to do.
    The roofline needs what the threads reach together: `gflops`, two to a multiply-add, and `gbs`, 10^9 bytes
    per second. Raises ValueError where the words are not understood, MemoryError where filters are too large.
    """
    threads = get_num_threads() if threads is None else threads
    operation, x = parse(words)
    if dtype == "int8":
        operation = verify_integers.Integers().of(operation, x)
    y = operation.output_shape(shape("x", x))
    work = multiply_adds(operation, x)
    size = operation.dtype.itemsize
    inputs, outputs = size * math.prod(x), size * math.prod(y)
    filters = sum(stage.filters.nbytes for stage in operation.every_stage)
    lines = [("operation", f"{' '.join(words)}: {_sizes(x)} -> {_sizes(y)}")]
    plan = create_plan(operation)
    if plan is None:
        lines.append(("kernels", "none: NumPy computes"))
    else:
        told = (line.partition(": ") for line in plan.explain_text(x, threads).splitlines())
        lines += [(label, text) for label, _, text in told]
    lines += [
        ("multiply-adds", f"{work:,} on real taps, padding left out"),
        ("bytes", f"{inputs:,} in, {outputs:,} out, {filters:,} of filters"),
    ]
    return lines + _roofline(2 * work, inputs + outputs + filters, gflops, gbs)


def gradient_facts(words: Sequence[str], batch: int, threads: int | None = None) -> list[tuple[str, str]]:
    """The same of the gradients of a convolution for a batch: kernels, chunks, workers, scratch.

    Raises ValueError where the words are not understood, or name an operation of several convolutions.
    """
    threads = get_num_threads() if threads is None else threads
    operation, (_, *image) = parse(words)
    if len(operation.stages) > 1:
        raise ValueError(f"--gradients: {words[0]} is several convolutions, each with gradients of its own")
    (stage,) = operation.stages
    x = batch, image[0], image[1], image[2]
    y, isa = stage.output_shape(operation.name, x), native_isa()
    kernel_h, kernel_w, inputs, last = stage.filters.shape
    conv = Convolution(
        operation.name, stage.kind == "depthwise", x, (kernel_h, kernel_w, inputs, last), y, stage.window,
        stage.groups,
    )  # fmt: skip
    lines = [("gradients of", f"{' '.join(words)}: {'x'.join(map(str, x))} -> {'x'.join(map(str, y))}")]
    if isa is None:
        return [*lines, ("kernels", "none: NumPy computes")]
    told = (line.partition(": ") for line in core.Gradient(conv, isa).explain_text(threads).splitlines())
    return lines + [(label, text) for label, _, text in told]


def _sizes(x: Shape) -> str:
    return "x".join(map(str, x[1:]))


def _roofline(flops: int, moved: int, gflops: float | None, gbs: float | None) -> list[tuple[str, str]]:
    """In microseconds; a bound whose rate is unknown is left out."""
    times, rates = {}, {}
    if gflops is not None:
        times["arithmetic"], rates["arithmetic"] = flops / gflops / 1000, f"{gflops:g} GFLOP/s"
    if gbs is not None:
        times["memory"], rates["memory"] = moved / gbs / 1000, f"{gbs:g} GB/s"
    lines = [(f"  {bound}", f"{time:.3g} us at {rates[bound]}") for bound, time in times.items()]
    if len(times) == 2:
        bound = max(times, key=lambda bound: times[bound])
        lines.insert(0, ("roofline", f"{times[bound]:.3g} us: bound by {bound}"))
    return lines
