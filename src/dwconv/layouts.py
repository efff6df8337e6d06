"""Other layouts of tensors and filters: which of them would fit, for the errors of those that do not.

A layout is suggested only where everything that the error knows fits with it: channels, groups, biases, and
the window in the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from .geometry import Shape
from .operation import Operation, Stage

Sizes: TypeAlias = tuple[int, ...]

WITH_DATA_FORMAT = ("depthwise_conv2d", "conv2d", "separable_conv2d")
# Axes of x that make it NHWC, and what it was before.
ORDERS = (
    ((0, 2, 3, 1), "NCHW"),
    ((3, 0, 1, 2), "[height, width, channels, batch]"),
)


class Guess(NamedTuple):
    """ "if `condition`, pass `action`"; both empty for what was given. `shape`: of the array after that."""

    condition: str
    action: str
    shape: Sizes
    oblong: bool = False  # a kernel that is not square, which is rare: other guesses come first


def checked_shapes(operation: Operation, x: Shape, nchw: bool = False) -> list[Shape]:
    """`operation.shapes(x)`, whose errors name the layouts that would fit. `nchw`: x was transposed."""
    try:
        return operation.shapes(x)
    except ValueError as error:
        raise ValueError(f"{error}{_for_input(operation, x, nchw)}") from None


def check_axes(operation: Operation, x: Sizes, nchw: bool = False) -> None:
    """Raises ValueError unless x has four axes."""
    if len(x) == 4:
        return
    axes = "channels, height, width" if nchw else "height, width, channels"
    guesses = list(_batches(x, nchw, operation.stages[0].window.kernel))
    shapes = [tuple(guess.shape[axis] for axis in ORDERS[0][0]) if nchw else guess.shape for guess in guesses]
    fitting = [(guess,) for guess, s in zip(guesses, shapes, strict=True) if _fits(operation, s)]
    raise ValueError(f"{operation.name}: x must have 4 axes [batch, {axes}], not {x}{_text(fitting)}")


def for_bias(stage: Stage, argument: str, shape: Sizes) -> str:
    """For a bias of this shape, which is not what the outputs of `stage` need."""
    if math.prod(shape) == stage.out_channels:
        return f"; pass {argument.split()[0]}.reshape(-1)"
    fitting = ((g,) for g in _filters(stage) if shape == (_with(stage, g).out_channels,))
    return _text(fitting)


def for_groups(stage: Stage) -> str:
    """For groups that do not divide the outputs of `stage`; a kernel that stays tells nothing."""
    kernel = stage.filters.shape[:2]
    guesses = (guess for guess in _filters(stage) if guess.shape[:2] != kernel)
    return _text((guess,) for guess in guesses if guess.shape[3] % stage.groups == 0)


def for_chain(first: Stage, second: Stage) -> str:
    """For filters of which the second does not take the channels that the first gives."""
    return _text(
        (f, s)
        for f in (_as_it_is(first.filters.shape), *_filters(first))
        for outputs in (_with(first, f).out_channels,)
        for s in (_as_it_is(second.filters.shape), *_filters(second, outputs))
        if _with(second, s).in_channels == outputs
    )


def for_filter_axes(kind: str, argument: str, shape: Sizes) -> str:
    """For filters that do not have the axes of their kind at all."""
    this = argument.split()[0]
    if kind == "depthwise" and len(shape) == 3:
        return _text(
            [(_filter(this, "[kernel height, kernel width, channels]", "[..., np.newaxis]", shape),)]
        )
    if kind != "pointwise":
        return ""
    if len(shape) == 4 and shape[2:] == (1, 1):
        layout, step = "PyTorch's [outputs, channels, 1, 1]", ".transpose(2, 3, 1, 0)"
    elif len(shape) == 4 and shape[1:3] == (1, 1):
        layout, step = "TensorFlow Lite's [outputs, 1, 1, channels]", ".transpose(1, 2, 3, 0)"
    elif len(shape) == 3 and shape[0] == 1:
        layout, step = "[1, channels, outputs]", "[0]"
    else:
        return "; conv2d and Conv2D take larger kernels" if len(shape) == 4 else ""
    return _text([(_filter(this, layout, step, shape),)])


# ---- what fits --------------------------------------------------------------------------------


def _for_input(operation: Operation, x: Shape, nchw: bool) -> str:
    first = operation.stages[0]
    fitting = [
        (image, filters)
        for image in (_as_it_is(x), *_images(operation, x, nchw))
        for filters in (_as_it_is(first.filters.shape), *_filters(first, image.shape[3]))
        if _fits(replace(operation, stages=(_with(first, filters), *operation.stages[1:])), image.shape)
    ]
    if first.kind == "conv" and first.filters.shape[2] == first.groups == 1:
        groups = Guess("every channel has filters of its own", f"groups={x[3]}", first.filters.shape)
        if _fits(replace(operation, stages=(replace(first, groups=x[3]),)), x):
            fitting.append((groups, _as_it_is(x)))
    return _text(fitting)


def _fits(operation: Operation, x: Sizes) -> bool:
    for stage in operation.stages:
        if stage.filters.shape[3] % stage.groups:
            return False
        if stage.bias is not None and len(stage.bias) != stage.out_channels:
            return False
    if any(first.out_channels != second.in_channels for first, second in pairwise(operation.stages)):
        return False
    if len(x) != 4 or 0 in x[1:]:
        return False
    try:
        operation.shapes(x)
    except ValueError:
        return False
    return True


def _with(stage: Stage, guess: Guess) -> Stage:
    """`stage` with filters of the shape of `guess`, and no memory for them."""
    filters = np.broadcast_to(stage.filters.dtype.type(0), guess.shape)
    kernel_h, kernel_w = guess.shape[:2]
    return replace(stage, filters=filters, window=stage.window._replace(kernel=(kernel_h, kernel_w)))


def _text(fitting: Iterable[tuple[Guess, ...]]) -> str:
    """The most likely combinations, which are those of the fewest guesses, as the end of a message."""
    made = [[guess for guess in guesses if guess.action] for guesses in fitting]
    unlikely = [(len(guesses), sum(guess.oblong for guess in guesses)) for guesses in made]
    return "".join(
        f"; if {' and '.join(guess.condition for guess in guesses)}, "
        f"pass {' and '.join(guess.action for guess in guesses)}"
        for guesses, measure in zip(made, unlikely, strict=True)
        if guesses and measure == min(unlikely)
    )


# ---- guesses ----------------------------------------------------------------------------------


def _as_it_is(shape: Sizes) -> Guess:
    return Guess("", "", shape)


def _filter(this: str, layout: str, step: str, shape: Sizes) -> Guess:
    condition = f"{this} {'are' if this == 'filters' else 'is'} {layout}"
    return Guess(condition, f"{this}{step}", shape, oblong=shape[:1] != shape[1:2])


def _filters(stage: Stage, channels: int | None = None) -> Iterator[Guess]:
    """Layouts that the filters of `stage` may have, for an input of so many channels."""
    this, (a, b, c, d) = stage.argument.split()[0], stage.filters.shape
    if stage.kind == "conv":
        layout = "PyTorch's [outputs, channels / groups, kernel height, kernel width]"
        yield _filter(this, layout, ".transpose(2, 3, 1, 0)", (c, d, b, a))
        layout = "TensorFlow Lite's [outputs, kernel height, kernel width, channels]"
        yield _filter(this, layout, ".transpose(1, 2, 3, 0)", (b, c, d, a))
        layout = "[kernel height, kernel width, outputs, channels / groups]"
        yield _filter(this, layout, ".swapaxes(2, 3)", (a, b, d, c))
    elif stage.kind == "pointwise":
        yield _filter(this, "[outputs, channels]", ".swapaxes(-2, -1)", (a, b, d, c))
    else:
        yield from _depthwise_filters(this, (a, b, c, d), channels)


def _depthwise_filters(this: str, shape: Sizes, channels: int | None) -> Iterator[Guess]:
    a, b, c, d = shape
    if b == 1 and channels in (a, None):
        layout = "PyTorch's [channels, 1, kernel height, kernel width]"
        yield _filter(this, layout, ".transpose(2, 3, 0, 1)", (c, d, a, 1))
    elif b == 1 and channels and a % channels == 0:
        layout = "PyTorch's [channels * multiplier, 1, kernel height, kernel width]"
        step = f".reshape({channels}, {a // channels}, {c}, {d}).transpose(2, 3, 0, 1)"
        yield _filter(this, layout, step, (c, d, channels, a // channels))
    if a == 1 and d % (channels or d) == 0:
        channels = channels or d
        layout = "TensorFlow Lite's [1, kernel height, kernel width, channels * multiplier]"
        step = f".reshape({b}, {c}, {channels}, {d // channels})"
        yield _filter(this, layout, step, (b, c, channels, d // channels))
    layout = "[kernel height, kernel width, multiplier, channels]"
    yield _filter(this, layout, ".swapaxes(2, 3)", (a, b, d, c))


def _images(operation: Operation, x: Shape, nchw: bool) -> Iterator[Guess]:
    """Layouts that x [batch, height, width, channels] may have instead."""
    if nchw:
        yield Guess("x is NHWC already", "it without data_format", (x[0], x[3], x[1], x[2]))
        return
    for order, layout in ORDERS:
        action = f"x.transpose{order}"
        if layout == "NCHW" and operation.name in WITH_DATA_FORMAT:
            action += " (or data_format='NCHW')"
        yield Guess(f"x is {layout}", action, tuple(x[axis] for axis in order))


def _batches(x: Sizes, nchw: bool, kernel: tuple[int, int]) -> Iterator[Guess]:
    """What x of other than four axes may be, with four: NCHW if `nchw`."""
    if len(x) == 3:
        a, b, c = x
        first, last = "x is one image [channels, height, width]", "x is one image [height, width, channels]"
        if nchw:
            yield Guess(first, "x[np.newaxis]", (1, a, b, c))
            yield Guess(last, "x.transpose(2, 0, 1)[np.newaxis]", (1, c, a, b))
            return
        yield Guess(last, "x[np.newaxis]", (1, a, b, c))
        yield Guess(first, "x.transpose(1, 2, 0)[np.newaxis]", (1, b, c, a))
        yield Guess("x is [batch, height, width], without channels", "x[..., np.newaxis]", (a, b, c, 1))
        if kernel[0] == 1:
            yield Guess("x is sequences [batch, length, channels]", "x[:, np.newaxis]", (a, 1, b, c))
    elif len(x) == 2 and not nchw:
        yield Guess("x is one image [height, width]", "x[np.newaxis, ..., np.newaxis]", (1, *x, 1))
        yield Guess("x is [batch, channels]", "x[:, np.newaxis, np.newaxis]", (x[0], 1, 1, x[1]))
    elif len(x) == 5:
        action = "x.reshape(-1, *x.shape[2:])"
        yield Guess("x is batches of several images", action, (x[0] * x[1], *x[2:]))
