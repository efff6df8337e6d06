"""Where does less work take longer? Random layers beside slightly larger ones, blocks beside their layers.

Networks have round numbers of channels. A layer of 30 that takes longer than one of 32 has left the path
that it should be on, as has a block that takes longer than what it fuses. Both of a pair are measured in
turn, in one process; what looks like a cliff is measured again when all others are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

from bench import machine, pairs
from bench.workloads import Stage, Workload

LOSS = 0.05  # from here on it is named
MOST_MACS = 50_000_000
_SAMPLE_SECONDS = 3e-4
_SIZES = (4, 5, 7, 8, 9, 10, 12, 13, 14, 17, 20, 22, 24, 28, 32, 35, 40, 48, 56, 64, 75, 80, 100, 112)
_CHANNELS = (1, 2, 3, 4, 5, 8, 10, 12, 16, 17, 20, 24, 30, 32, 36, 40, 48, 58, 60, 64, 72, 80, 96, 100)
_MANY = (*_CHANNELS[10:], 116, 128, 150, 192, 232, 255, 256, 320, 384, 512)


@dataclass(frozen=True)
class Pair:
    """`workload` should take no longer than `other`: one with more `of` something, or itself as "layers"."""

    workload: Workload
    other: Workload
    of: str


@dataclass(frozen=True)
class Cliff:
    """Microseconds per call, the least of many samples."""

    pair: Pair
    taken: float
    other: float

    @property
    def loss(self) -> float:
        return self.taken / self.other - 1


def draw(seed: int, count: int) -> list[Pair]:
    """As many random pairs, the same for the same seed."""
    random = Random(seed)
    makers = (_depthwise, _depthwise, _pointwise, _dense, _separable, _inverted_residual)
    drawn: list[Pair] = []
    while len(drawn) < count:
        height = random.choice(_SIZES)
        width = height if random.random() < 0.6 else random.choice(_SIZES)
        stages = random.choice(makers)(random)
        residual = (
            len(stages) == 3 and stages[1].stride == 1 and stages[0].in_channels == stages[2].out_channels
        )
        workload = Workload("cliffs", stages, height, width, residual=residual)
        pair = Pair(workload, workload, "layers") if len(stages) > 1 else _larger(random, workload)
        if pair.other.macs <= MOST_MACS:
            drawn.append(pair)
    return drawn


def _depthwise(random: Random) -> tuple[Stage, ...]:
    channels = random.choice(_CHANNELS + _MANY)
    multiplier = random.choice((1, 1, 1, 1, 2, 3)) if channels <= 100 else 1
    kernel, dilation = random.choice((3, 3, 3, 5, 7)), random.choice((1, 1, 1, 2))
    stride = 1 if dilation > 1 else random.choice((1, 1, 2))
    return (Stage("depthwise", channels, channels * multiplier, (kernel, kernel), stride, dilation),)


def _pointwise(random: Random) -> tuple[Stage, ...]:
    return (Stage("pointwise", random.choice(_CHANNELS + _MANY), random.choice(_CHANNELS + _MANY)),)


def _dense(random: Random) -> tuple[Stage, ...]:
    kernel, stride = random.choice((2, 3, 3, 5)), random.choice((1, 2, 2))
    return (Stage("conv", random.choice(_CHANNELS), random.choice(_CHANNELS), (kernel, kernel), stride),)


def _separable(random: Random) -> tuple[Stage, ...]:
    channels, kernel = random.choice(_CHANNELS[3:] + _MANY), random.choice((3, 3, 5, 7))
    return (
        Stage(
            "depthwise", channels, channels, (kernel, kernel), random.choice((1, 1, 2)), activation="relu6"
        ),
        Stage("pointwise", channels, random.choice(_CHANNELS[5:] + _MANY), activation="relu6"),
    )


def _inverted_residual(random: Random) -> tuple[Stage, ...]:
    channels, kernel = random.choice(_CHANNELS[5:]), random.choice((3, 3, 5))
    expanded = channels * random.choice((2, 3, 4, 6))
    stride, activation = random.choice((1, 1, 2)), random.choice(("relu6", "hard_swish"))
    outputs = channels if random.random() < 0.5 else random.choice(_CHANNELS[5:])
    return (
        Stage("pointwise", channels, expanded, activation=activation),
        Stage("depthwise", expanded, expanded, (kernel, kernel), stride, activation=activation),
        Stage("pointwise", expanded, outputs),
    )


def _larger(random: Random, workload: Workload) -> Pair:
    """A layer beside one with more columns, rows or channels; of these as many as are whole vectors."""
    (stage,) = workload.stages
    of = random.choice(("columns", "rows", "channels", "channels"))
    if of == "columns":
        return Pair(workload, replace(workload, width=workload.width + stage.stride), of)
    if of == "rows":
        return Pair(workload, replace(workload, height=workload.height + stage.stride), of)
    inputs, outputs = stage.in_channels, stage.out_channels
    more = outputs // 16 * 16 + 16
    if stage.op == "depthwise":
        multiplier = outputs // inputs
        inputs = inputs // 16 * 16 + 16
        more = inputs * multiplier
    return Pair(
        workload, replace(workload, stages=(replace(stage, in_channels=inputs, out_channels=more),)), of
    )


def measure(drawn: Iterable[Pair], threads: int, seconds: float) -> Iterator[Cliff]:
    """The cliffs among them, `seconds` each for those that look like one. Raises CompileError, Absent.

    Pins this process: to be called in one of its own.
    """
    machine.pin(threads)
    library = pairs.core()

    def visit(pair: Pair, seconds: float) -> Cliff:
        both = (pair.workload, True), (pair.other, pair.of != "layers")
        with pairs.prepared(*((library, workload, threads, fuse) for workload, fuse in both)) as runners:
            times = pairs.measure([runner.run for runner in runners], _SAMPLE_SECONDS, seconds)
        return Cliff(pair, *times.min(axis=0))

    suspects = [pair for pair in drawn if visit(pair, seconds / 10).loss > LOSS]
    yield from (cliff for pair in suspects if (cliff := visit(pair, seconds)).loss > LOSS)


def line(cliff: Cliff) -> str:
    pair = cliff.pair
    against = "its layers" if pair.of == "layers" else f"{pair.other.shape}, more {pair.of}"
    return (
        f"{pair.workload.op:18} {pair.workload.shape:36} {cliff.taken:9.2f} us, "
        f"{cliff.taken / cliff.other:.2f} of {against}"
    )
