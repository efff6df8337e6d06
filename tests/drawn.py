"""What the fuzzer draws: configurations, layouts of tensors, and ways to spoil a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracles import ACTIVATIONS, OPERATIONS, Case


class Draw:
    """Random numbers as the fuzzer wants them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def pair(self, low: int, high: int) -> tuple[int, int]:
        return self.integer(low, high), self.integer(low, high)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choice(self, items: Any) -> Any:
        return items[self.integer(0, len(items) - 1)]


# ---- configurations ---------------------------------------------------------------------------


def _activation(draw: Draw) -> Any:
    if draw.chance(0.7):
        return draw.choice(ACTIVATIONS)
    if draw.chance(0.5):
        return "leaky_relu", float(draw.rng.normal())
    low, high = sorted(float(bound) for bound in draw.rng.normal(size=2))
    return "clip", -np.inf if draw.chance(0.2) else low, np.inf if draw.chance(0.2) else high


def _channels(draw: Draw) -> int:
    kind = draw.integer(0, 9)
    return draw.integer(1, 20) if kind < 5 else draw.integer(1, 140) if kind < 9 else draw.integer(141, 1100)


def random_case(seed: int) -> Case:
    draw = Draw(seed)
    operation = draw.choice(OPERATIONS)
    channels, groups, out_channels = _channels(draw), 1, draw.integer(1, 100)
    if operation == "conv" and draw.chance(0.5):
        if draw.chance(0.4):  # depthwise in disguise, with or without a multiplier
            groups, out_channels = channels, channels * draw.integer(1, 3)
        elif draw.chance(0.4):  # groups of few channels, several of which fill a vector
            groups, outputs = draw.integer(2, 24), 2 ** draw.integer(1, 4)
            channels, out_channels = groups * draw.integer(1, outputs), groups * outputs
        else:
            groups = draw.integer(2, 6)
            channels, out_channels = groups * draw.integer(1, 12), groups * draw.integer(1, 100 // groups)
    if operation == "inverted_residual" and draw.chance(0.5):
        out_channels = channels
    kernel = draw.pair(1, 8)
    if draw.chance(0.6):
        kernel = (2 * draw.integer(0, 3) + 1,) * 2
    elif draw.chance(0.1):
        kernel = draw.pair(9, 31)
    largest = 40 if channels <= 140 else 9
    height, width = draw.pair(1, largest)
    if draw.chance(0.1):  # images of one row or column
        across = draw.chance(0.5)
        height, width = (1, width) if across else (height, 1)
        if draw.chance(0.5):  # sequences, not all of them short
            length, taps = draw.integer(1, 5 * largest), draw.integer(1, 12)
            height, width, kernel = (1, length, (1, taps)) if across else (length, 1, (taps, 1))
    multiplied = operation not in ("pointwise", "conv")
    return Case(
        operation,
        (draw.integer(0, 3) if draw.chance(0.3) else 1, height, width, channels),
        kernel,
        multiplier=draw.integer(2, 8) if multiplied and draw.chance(0.2) else 1,
        out_channels=out_channels,
        groups=groups,
        expanded=draw.integer(1, 200) if operation == "inverted_residual" and draw.chance(0.7) else 0,
        strides=(draw.integer(1, 3),) * 2 if draw.chance(0.7) else draw.pair(1, 5),
        padding=draw.choice(("same", "valid", (draw.pair(0, 6), draw.pair(0, 6)))),
        dilations=(1, 1) if draw.chance(0.7) else draw.pair(1, 18 if draw.chance(0.2) else 4),
        activation=_activation(draw),
        bias=draw.chance(0.5),
        residual=draw.choice((None, None, None, False, True)),
        squeezed=draw.integer(1, 60) if operation == "inverted_residual" and draw.chance(0.5) else 0,
        squeeze_activation=_activation(draw),
        gate_activation=_activation(draw),
        seed=seed,
    )


def with_special_values(case: Case, draw: Draw) -> Case:
    """Some infinities and NaN among the inputs. Weights stay finite: padding is zero, and zero times them."""
    x = case.x.copy()
    for _ in range(draw.integer(1, 3) if x.size else 0):
        x[tuple(draw.integer(0, size - 1) for size in x.shape)] = draw.choice((np.inf, -np.inf, np.nan))
    return case.with_arrays(x=x)


# ---- layouts ----------------------------------------------------------------------------------


def _framed(x: np.ndarray, draw: Draw) -> np.ndarray:
    """A crop of a slice of channels, surrounded by NaN."""
    before, after = draw.rng.integers(0, 3, 4), draw.rng.integers(0, 3, 4)
    frame = np.full(np.array(x.shape) + before + after, np.nan, x.dtype)
    view = frame[tuple(slice(b, b + size) for b, size in zip(before, x.shape, strict=True))]
    view[...] = x
    return view


def _flipped(x: np.ndarray, draw: Draw) -> np.ndarray:
    backwards = tuple(slice(None, None, -1 if draw.chance(0.5) else 1) for _ in range(3))
    return np.ascontiguousarray(x[backwards])[backwards]


def _rotated(x: np.ndarray, draw: Draw) -> np.ndarray:
    """Axes in another order in memory; channels may be apart, which needs a copy."""
    axes = tuple(int(axis) for axis in draw.rng.permutation(4))
    return np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))


def _spaced(x: np.ndarray, draw: Draw) -> np.ndarray:
    """Every second row or pixel of a larger tensor."""
    steps = draw.choice(((2, 1), (1, 2), (3, 2)))
    n, h, w, c = x.shape
    memory = np.full((n, h * steps[0], w * steps[1], c), np.nan, x.dtype)
    view = memory[:, :: steps[0], :: steps[1]]
    view[...] = x
    return view


def _unaligned(x: np.ndarray, draw: Draw) -> np.ndarray:
    """One byte off, which needs a copy."""
    memory = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    memory[...] = x
    return memory


def _read_only(x: np.ndarray, draw: Draw) -> np.ndarray:
    x = x.copy()
    x.setflags(write=False)
    return x


_LAYOUTS: tuple[Callable[[np.ndarray, Draw], np.ndarray], ...] = (
    _framed, _framed, _flipped, _rotated, _spaced, _unaligned, _read_only,
)  # fmt: skip


def laid_out(x: np.ndarray, draw: Draw) -> np.ndarray:
    """The same values in some layout."""
    return x if draw.chance(0.3) else draw.choice(_LAYOUTS)(x, draw)


# ---- calls that must be refused ---------------------------------------------------------------


def spoiled(case: Case, y: np.ndarray, draw: Draw) -> tuple[str, dict[str, Any]]:
    """(what is wrong, arguments of `Case.call` with which it must raise ValueError or TypeError)."""
    x, strides = case.x, case.strides
    wider = np.zeros((*x.shape[:3], x.shape[3] + 1), x.dtype)
    ways: list[tuple[str, dict[str, Any]]] = [
        ("a channel too many", {"x": wider}),
        ("three axes", {"x": x[:, :, 0]}),
        ("no rows", {"x": x[:, :0]}),
        ("no columns", {"x": x[:, :, :0]}),
        ("no channels", {"x": x[..., :0]}),
        ("integers", {"x": np.zeros(x.shape, np.int32)}),
        ("foreign byte order", {"x": x.astype(x.dtype.newbyteorder())}),
        (
            "another dtype than the filters'",
            {"x": np.zeros(x.shape, np.float16 if x.dtype == np.float32 else np.float32)},
        ),
        ("a stride of 0", {"strides": (strides[0], 0)}),
        ("a negative stride", {"strides": (-1, strides[1])}),
        ("a fraction of a stride", {"strides": (1.5, strides[1])}),
        ("three strides", {"strides": (1, 2, 3)}),
        ("an unknown activation", {"activation": "softmax"}),
        ("swapped bounds", {"activation": ("clip", 1.0, -1.0)}),
        ("no threads", {"num_threads": 0}),
        ("a bias of the wrong length", {"bias": np.zeros(y.shape[3] + 1, x.dtype)}),
        ("out of another shape", {"out": np.zeros((*y.shape[:3], y.shape[3] + 1), y.dtype)}),
        ("out of another dtype", {"out": np.zeros(y.shape, np.int32)}),
        ("out that is read-only", {"out": _read_only(y, draw)}),
    ]
    if case.operation != "pointwise":
        ways += [
            ("negative padding", {"padding": ((0, -1), (0, 0))}),
            ("unknown padding", {"padding": "full"}),
            ("a dilation of 0", {"dilations": (0, 1)}),
            ("a kernel beyond the input", {"padding": "valid", "dilations": 10**6})
            if case.kernel != (1, 1)
            else ("unknown padding", {"padding": ""}),
        ]
    if case.squeezed:
        gate = ("reduce_filter", "reduce_bias", "restore_filter", "restore_bias")
        arrays = [case.arrays.get(name) for name in gate]
        few = np.ones((case.squeezed + 1, y.shape[3]), x.dtype)
        ways += [
            ("three arrays of squeeze-and-excite", {"squeeze_excite": tuple(arrays[:3])}),
            ("a restoring filter that does not fit", {"squeeze_excite": (*arrays[:2], few, None)}),
            ("an unknown gate", {"gate_activation": "softmax"}),
        ]
    if case.operation == "conv":
        ways.append(("groups that do not divide", {"groups": case.out_channels + 1}))
    if y.size and x.size:
        memory = np.zeros(x.size + y.size - 1, x.dtype)  # one element is shared
        shared = {"x": memory[: x.size].reshape(x.shape), "out": memory[x.size - 1 :].reshape(y.shape)}
        ways.append(("out over x", shared))
    return draw.choice(ways)  # type: ignore[no-any-return]
