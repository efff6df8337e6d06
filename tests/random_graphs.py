"""Random graphs to test networks with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dwconv.graph import Graph
from graphs import Drawn

SMOOTH_KINDS = ("relu", "sigmoid", "tanh", "hard_swish", "abs", "neg", "gelu", "erf", "softplus", "sin")


def random_graph(seed: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """Ops on each other's results, with parts, forms and concatenations above all; several outputs."""
    d = Drawn(seed)
    batch = d.integer(1, 2)
    values = [d.input(batch, *d.pair(4, 7), d.choice((1, 3, 4, 6, 8))) for _ in range(d.integer(1, 2))]
    for _ in range(d.integer(3, 14)):
        draw = d.choice(RANDOM_OPS)
        # What came last is read most often, so that there are chains.
        name = values[-1] if d.chance(0.6) else d.choice(values)
        made = draw(d, name, values)
        if made is not None and math.prod(d.b.shape(made)) <= 4000:
            values.append(made)
    computed = [name for name in values if name not in d.b.graph.inputs]
    now: dict[str, str] = {}  # outputs give values their names
    for index in range(d.integer(1, 3)):
        name = d.choice(computed or values) if d.chance(0.9) else d.choice(values)
        name = name if index else (computed or values)[-1]
        d.b.output(f"y{index}", now.get(name, name))
        if name not in d.b.graph.values:
            now[name] = f"y{index}"
    return d.b.graph, d.inputs()


def _random_conv(d: Drawn, x: str, values: list[str]) -> str | None:
    shape = d.b.shape(x)
    if len(shape) != 4:
        return None
    kernel, channels = d.pair(1, 3), shape[3]
    if d.chance(0.3):
        filters, groups = d.array(*kernel, 1, channels), channels
    else:
        filters, groups = d.array(*kernel, channels, d.integer(1, 8)), 1
    scaled = filters / np.float32(math.sqrt(filters[..., 0].size))
    strides = d.choice(((1, 1), (1, 1), (2, 1)))
    activation = d.choice((None, "relu"))
    return d.b.node(
        "conv", x, scaled, d.array(filters.shape[3]), padding="same", groups=groups, strides=strides,
        activation=activation,
    )  # fmt: skip


def _random_transposed(d: Drawn, x: str, values: list[str]) -> str | None:
    shape = d.b.shape(x)
    if len(shape) != 4 or shape[1] > 8:
        return None
    filters = d.array(*d.choice(((2, 2), (3, 3))), shape[3], d.integer(1, 4)) / np.float32(shape[3])
    padding = ((0, 0), (0, 0)) if filters.shape[0] == 2 else ((1, 0), (0, 1))
    return d.b.node("transpose_conv", x, filters, strides=(2, 2), padding=padding)


def _random_pool(d: Drawn, x: str, values: list[str]) -> str | None:
    if len(d.b.shape(x)) != 4:
        return None
    op = d.choice(("max_pool", "average_pool"))
    return d.b.node(op, x, kernel=(2, 3), strides=d.choice(((1, 1), (2, 2))), padding="same")


def _random_unary(d: Drawn, x: str, values: list[str]) -> str:
    return d.b.node("unary", x, kind=d.choice(SMOOTH_KINDS))


def _random_binary(d: Drawn, x: str, values: list[str]) -> str:
    same = [name for name in values if d.b.shape(name) == d.b.shape(x)]
    other = d.choice(same) if d.chance(0.7) else d.array(*d.b.shape(x)[-1:])
    inputs = (x, other) if d.chance(0.5) else (other, x)
    return d.b.node("binary", *inputs, kind=d.choice(("add", "sub", "max", "min")))


def _random_concat(d: Drawn, x: str, values: list[str]) -> str | None:
    shape = d.b.shape(x)
    if not shape:
        return None
    axis = d.integer(0, len(shape) - 1)
    fit = [
        name
        for name in values
        if len(d.b.shape(name)) == len(shape)
        and all(a == b for i, (a, b) in enumerate(zip(d.b.shape(name), shape, strict=True)) if i != axis)
    ]
    inputs = [x, *(d.choice(fit[-3:]) for _ in range(d.integer(0, 2)))]
    fresh = [_random_unary(d, name, values) if d.chance(0.5) else name for name in inputs]
    return d.b.node("concat", *fresh, axis=axis - len(shape) if d.chance(0.3) else axis)


def _random_slice(d: Drawn, x: str, values: list[str]) -> str:
    slices = []
    for size in d.b.shape(x):
        start = d.integer(0, size - 1)
        stop = d.integer(start + 1, size)
        backwards = (stop - 1, start - 1 if start else None, -d.integer(1, 2))
        step: Any = (start, stop, d.integer(1, 2)) if d.chance(0.8) else backwards
        slices.append(step if d.chance(0.4) else None)
    return d.b.node("slice", x, slices=tuple(slices))


def _random_pad(d: Drawn, x: str, values: list[str]) -> str | None:
    if not d.b.shape(x):
        return None
    pads = tuple(d.pair(0, 1) if d.chance(0.5) else (0, 0) for _ in d.b.shape(x))
    mode = d.choice(("constant", "constant", "edge"))
    return d.b.node("pad", x, pads=pads, mode=mode, **({"value": 0.25} if mode == "constant" else {}))


def _random_transpose(d: Drawn, x: str, values: list[str]) -> str:
    return d.b.node("transpose", x, perm=tuple(d.rng.permutation(len(d.b.shape(x))).tolist()))


def _random_reshape(d: Drawn, x: str, values: list[str]) -> str:
    """Neighbours become one, or one becomes two; and images again."""
    shape = list(d.b.shape(x))
    if len(shape) > 1 and d.chance(0.5):
        axis = d.integer(0, len(shape) - 2)
        shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
    elif shape and len(shape) < 6:
        axis = d.integer(0, len(shape) - 1)
        factor = d.choice([f for f in (1, 2, 3, 4) if shape[axis] % f == 0])
        shape[axis : axis + 1] = [factor, shape[axis] // factor]
    if len(shape) < 4 and d.chance(0.5):
        shape = [1] * (4 - len(shape)) + shape
    return d.b.node("reshape", x, shape=tuple(shape))


def _random_expand(d: Drawn, x: str, values: list[str]) -> str:
    return d.b.node("expand", x, shape=tuple(3 if size == 1 else size for size in d.b.shape(x)))


def _random_reduce(d: Drawn, x: str, values: list[str]) -> str | None:
    rank = len(d.b.shape(x))
    if rank < 2:
        return None
    axes = tuple(axis for axis in range(rank) if d.chance(0.4))
    return d.b.node("reduce", x, kind=d.choice(("mean", "max")), axes=axes, keepdims=d.chance(0.7))


def _random_softmax(d: Drawn, x: str, values: list[str]) -> str | None:
    rank = len(d.b.shape(x))
    return d.b.node("softmax", x, axis=d.integer(-rank, rank - 1)) if rank else None


def _random_norm(d: Drawn, x: str, values: list[str]) -> str | None:
    shape = d.b.shape(x)
    if not shape or shape[-1] < 3:  # of two values it tells the sign of their difference alone
        return None
    return d.b.node("layer_norm", x, d.array(shape[-1]), d.array(shape[-1]), epsilon=0.1)


def _random_matmul(d: Drawn, x: str, values: list[str]) -> str | None:
    shape = d.b.shape(x)
    if len(shape) < 2:
        return None
    if d.chance(0.5):
        return d.b.node("matmul", x, d.array(shape[-1], d.integer(1, 8)) / np.float32(shape[-1]))
    turned = d.b.node("transpose", x, perm=(*range(len(shape) - 2), len(shape) - 1, len(shape) - 2))
    return d.b.node("unary", d.b.node("matmul", x, turned), kind="tanh")


def _random_gather(d: Drawn, x: str, values: list[str]) -> str | None:
    shape = d.b.shape(x)
    if not 0 < len(shape) < 6:
        return None
    axis = d.integer(0, len(shape) - 1)
    return d.b.node("gather", x, d.rng.integers(0, shape[axis], d.choice(((), 1, 2, 3, (2, 2)))), axis=axis)


def _random_blocks(d: Drawn, x: str, values: list[str]) -> str | None:
    shape = d.b.shape(x)
    if len(shape) != 4:
        return None
    if shape[3] % 4 == 0:
        return d.b.node("depth_to_space", x, block=2, mode=d.choice(("dcr", "crd")))
    if shape[1] % 2 == 0 and shape[2] % 2 == 0:
        return d.b.node("space_to_depth", x, block=2)
    return d.b.node("resize", x, kind=d.choice(("nearest", "linear")), sizes=d.pair(2, 9))


RANDOM_OPS: tuple[Callable[[Drawn, str, list[str]], str | None], ...] = (
    _random_conv,
    _random_conv,
    _random_conv,
    _random_transposed,
    _random_pool,
    _random_unary,
    _random_unary,
    _random_binary,
    _random_binary,
    _random_concat,
    _random_concat,
    _random_concat,
    _random_slice,
    _random_pad,
    _random_transpose,
    _random_reshape,
    _random_reshape,
    _random_expand,
    _random_reduce,
    _random_softmax,
    _random_norm,
    _random_matmul,
    _random_gather,
    _random_blocks,
)
