"""Samples through a network of floats: the ranges and means of what lies between its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from . import feeds
from .activation import Array
from .config import config, get_num_threads, native_isa
from .fitting import Moments
from .graph import Graph, Node, UnsupportedModel
from .quantizing import Range
from .runners import NativeRunner, NumpyRunner, Runner
from .sources import TensorInfo

Sample: TypeAlias = list[Array]  # the inputs of one call, in their order
Seen: TypeAlias = tuple[Node, tuple[int, ...]]  # a convolution, and the shape of its filters

METHODS = ("percentile", "minmax", "mse")
BINS = 2048
MOST_COUNTED = 2**16  # of a value of a sample, for its histogram
SHARES = np.linspace(0.2, 1.0, 81)  # of the whole range, of which the best is chosen


# ---- samples ------------------------------------------------------------------------------------


def read_samples(name: str, infos: Sequence[TensorInfo], samples: Any) -> list[Sample]:
    """Checked inputs of each call, all of one shape: an array of a single input is cut along its batch.

    Raises ValueError where there are none, for NaN and infinity, and for wrong shapes; TypeError for dtypes.
    """
    calls = [_read(name, infos, item) for item in split(infos, samples)]
    if not calls:
        raise ValueError(f"{name}: samples are needed: ranges are measured on them, and there is none")
    for index, call in enumerate(calls):
        for info, first, array in zip(infos, calls[0], call, strict=True):
            if array.shape != first.shape:
                raise ValueError(
                    f"{name}: samples must be of one shape, but sample {index} of {info.name!r} is "
                    f"{array.shape} and sample 0 is {first.shape}"
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(
                    f"{name}: sample {index} of {info.name!r} holds NaN or infinity: it has no range"
                )
    return calls


def split(infos: Sequence[TensorInfo], samples: Any) -> Iterator[Any]:
    """What calls take: an array of a single input is cut along its batch."""
    if isinstance(samples, Mapping):
        raise TypeError(
            "quantized: samples must be an array or a list of samples, not one dict: pass [samples]"
        )
    if not hasattr(samples, "__iter__"):
        raise TypeError(f"quantized: samples must be an array or a list of samples, not {samples!r}")
    if len(infos) > 1 or not hasattr(samples, "shape") or not len(samples.shape):
        yield from samples
        return
    batch = infos[0].shape[0] if infos[0].shape else 1
    step = batch or 1
    if len(samples.shape) == len(infos[0].shape) and len(samples) % step == 0:
        for begin in range(0, len(samples), step):
            yield samples[begin : begin + step]
    else:
        yield samples  # of a wrong shape, which is told of where it is read


def _read(name: str, infos: Sequence[TensorInfo], item: Any) -> Sample:
    inputs = item if isinstance(item, tuple | list) else (item,)
    arrays = []
    for info, given in zip(infos, feeds.by_name(name, infos, inputs), strict=True):
        array = feeds.read_input(name, info, given)
        if not feeds.fits(info, array.shape):
            raise feeds.shape_error(f"{name}: samples", info, array.shape)
        arrays.append(np.require(array, None, ["C", "A"]))
    return arrays


# ---- running ------------------------------------------------------------------------------------


class Probe:
    """Gives what some values of a graph are, by name. The graph stays as it is."""

    def __init__(self, graph: Graph, names: Iterable[str], label: str) -> None:
        made = {node.output for node in graph.nodes}
        self._names = [name for name in dict.fromkeys(names) if name in made]
        shown = graph.copy()
        shown.outputs = list(self._names)
        self._inputs = list(graph.inputs)
        self._shapes = [(graph.values[n].shape, graph.values[n].dtype) for n in self._names]
        self._threads = get_num_threads()
        self._runner = _runner(shown, label, self._threads)

    def run(self, sample: Sample) -> dict[str, Array]:
        outputs = [np.empty(shape, dtype) for shape, dtype in self._shapes]
        if outputs:
            self._runner.run(sample, outputs, self._threads)
        return dict(zip(self._inputs, sample, strict=True)) | dict(zip(self._names, outputs, strict=True))


def _runner(graph: Graph, label: str, threads: int) -> Runner:
    isa = native_isa()
    if isa is None:
        return NumpyRunner(graph, config()["reason"] or "")
    try:
        return NativeRunner(graph.copy(), label, isa, threads)
    except UnsupportedModel as error:
        return NumpyRunner(graph, "; ".join(error.problems))


# ---- statistics ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Statistics:
    """By value: the least and the largest number, which count 0 in; by convolution: what its filters see."""

    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)


def measure(
    probe: Probe, samples: Iterable[Sample], ranged: Iterable[str], convolutions: Mapping[str, Seen]
) -> Statistics:
    """Of all samples; `convolutions`: by what they give. Raises ValueError where a value overflows."""
    found, ranged = Statistics(), list(ranged)
    found.moments = {name: Moments() for name in convolutions}
    for index, sample in enumerate(samples):
        values = probe.run(sample)
        for name in ranged:
            low, high = float(values[name].min()), float(values[name].max())
            if not np.isfinite([low, high]).all():
                raise ValueError(f"quantized: {name!r} is not finite for sample {index}: it has no range")
            found.low[name] = min(found.low.get(name, 0.0), low)
            found.high[name] = max(found.high.get(name, 0.0), high)
        for name, (node, filters) in convolutions.items():
            found.moments[name].add(node, filters, values[node.inputs[0]])
    return found


def largest(probe: Probe, samples: Iterable[Sample], names: Iterable[str]) -> dict[str, Array]:
    """By value, the largest magnitude in each channel."""
    found: dict[str, Array] = {}
    names = list(names)
    for sample in samples:
        values = probe.run(sample)
        for name in names:
            most = np.abs(values[name]).reshape(-1, values[name].shape[-1]).max(0)
            found[name] = np.maximum(found.get(name, 0.0), most)
    return found


def clipped_ranges(
    probe: Probe, samples: Iterable[Sample], groups: Mapping[str, Sequence[str]], whole: Mapping[str, Range],
    method: str, percentile: float,
) -> dict[str, Range]:  # fmt: skip
    """By group of values of one scale, the range that the method chooses within the whole one."""
    counts = {name: np.zeros(BINS) for name in groups}
    for sample in samples:
        values = probe.run(sample)
        for name, members in groups.items():
            for member in members:
                flat = values[member].reshape(-1)
                part = flat[:: max(1, flat.size // MOST_COUNTED) | 1]
                if whole[name][0] < whole[name][1]:
                    counts[name] += np.histogram(part, BINS, whole[name])[0]
    choose = _least_error if method == "mse" else lambda c, r: _percentiles(c, r, percentile)
    return {name: choose(counts[name], whole[name]) if counts[name].any() else whole[name] for name in groups}


def _least_error(counts: Array, whole: Range) -> Range:
    """The share of the range with the least squared error: of rounding inside, of clipping beyond."""
    low, high = whole
    centres = low + (np.arange(BINS) + 0.5) * (high - low) / BINS
    best, least = whole, np.inf
    for share in SHARES[::-1]:
        a, b = low * share, high * share
        beyond = centres - np.clip(centres, a, b)
        rounding = ((b - a) / 255) ** 2 / 12
        error = float((counts * np.where(beyond == 0, rounding, beyond**2)).sum())
        if error < least:
            best, least = (float(a), float(b)), error
    return best


def _percentiles(counts: Array, whole: Range, percentile: float) -> Range:
    """What leaves out the same small part at either end; 0 stays in."""
    low, high = whole
    edges = np.linspace(low, high, BINS + 1)
    share = np.cumsum(counts) / counts.sum()
    outside = 1 - percentile / 100
    a = edges[int(np.searchsorted(share, outside, "right"))]
    b = edges[min(int(np.searchsorted(share, 1 - outside)) + 1, BINS)]
    return min(float(a), 0.0), max(float(b), 0.0)
