"""A network for inputs of one shape each: its graph, what runs it, how long that takes. A few are kept."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .activation import Array
from .config import config, core, native_isa
from .emit_problems import roundings
from .graph import Graph, UnsupportedModel
from .passes import run_passes
from .runners import NativeRunner, NumpyRunner, Runner
from .sources import Sizes, Source, TensorInfo, as_info
from .streams import StreamState
from .work import multiply_adds

Key: TypeAlias = tuple[Sizes, ...]
MOST_KEPT = 8  # bound networks: each has packed weights of its own


class Measured(NamedTuple):
    """Seconds of every node, timed one by one, and of the whole, as a call takes; of so many runs."""

    nodes: list[float]
    whole: float
    runs: int


class Bound:
    """Immutable, but for `used`, by which the oldest is told.

    The core runs the graph after all passes. NumPy runs it as it is: that is what the core is compared with.
    """

    def __init__(
        self,
        graph: Graph,
        name: str,
        threads: int,
        workspaces: Any = None,
        dtypes: Sequence[np.dtype[Any]] | None = None,
    ) -> None:
        """`dtypes`: of the outputs, where those of whole numbers are not the graph's."""
        _spell_native_order(graph)
        if len(roundings(graph)) > 1:
            raise ValueError(
                f'{name}: its integers round in both ways, "even" and "tflite"; a network has one rounding'
            )
        self.macs = multiply_adds(graph)
        self.input_shapes = _shapes(graph, graph.public_inputs)
        self.output_shapes = _shapes(graph, graph.public_outputs)
        values = [graph.values[name] for name in graph.public_outputs]
        given = [value.dtype for value in values] if dtypes is None else dtypes
        self._outputs = [(value.shape, dtype) for value, dtype in zip(values, given, strict=True)]
        self._output_shapes = list(self.output_shapes)
        self._whole = {i: value.dtype for i, value in enumerate(values) if value.dtype != given[i]}
        self.has_state = bool(graph.states)
        self.notes: list[tuple[str, str]] = []  # nodes, and why passes left them alone
        self.runner = _runner(graph, name, threads, workspaces, self.notes)
        self.graph: Graph = self.runner.graph
        self.used = 0

    def new_outputs(self) -> list[Array]:
        return [np.empty(shape, dtype) for shape, dtype in self._outputs]

    def outputs_of(self, out: Any, infos: Sequence[TensorInfo]) -> list[Array] | None:
        """The arrays of `out` in order, if they have the shapes of the outputs; the core sees to the rest."""
        if self._whole:
            return None
        given = out if type(out) in (list, tuple) else [out]
        if type(out) is dict and len(out) == len(infos):
            given = [out.get(info.name) for info in infos]
        shapes = [y.shape for y in given if type(y) is np.ndarray]
        return list(given) if shapes == self._output_shapes and len(shapes) == len(given) else None

    def new_state(self) -> StreamState:
        return StreamState.of(self.graph)

    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int, state: StreamState | None
    ) -> None:
        """`state`: needed where there are variables."""
        if self._whole:
            self._run_whole(inputs, outputs, threads, state)
        elif state is None:
            self.runner.run(inputs, outputs, threads)
        else:
            with state as (now, following):
                if self.runner.isa is not None:
                    now, following = state.writable()
                self.runner.run([*inputs, *now], [*outputs, *following], threads)

    def _run_whole(
        self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int, state: StreamState | None
    ) -> None:
        targets = self._targets(outputs)
        with contextlib.nullcontext(([], [])) if state is None else state as (now, following):
            self.runner.run([*inputs, *now], [*targets, *following], threads)
        with np.errstate(invalid="ignore"):  # of NaN
            for index in self._whole:
                np.copyto(outputs[index], targets[index], casting="unsafe")

    def _targets(self, outputs: Sequence[Array]) -> list[Array]:
        """What the graph writes: float32, most often, in place of outputs of whole numbers."""
        targets = list(outputs)
        for index, dtype in self._whole.items():
            targets[index] = np.empty(outputs[index].shape, dtype)
        return targets

    def profile(self, inputs: Sequence[Array], threads: int, seconds: float) -> Measured:
        """The median of each node, and of the whole, of runs within about so many seconds; at least three."""
        with self.new_state() as (now, following):
            inputs, outputs = [*inputs, *now], [*self._targets(self.new_outputs()), *following]
        self.runner.run(inputs, outputs, threads)
        begin, whole, parts = time.perf_counter(), list[float](), list[list[float]]()
        while len(whole) < 3 or time.perf_counter() - begin < seconds:
            before = time.perf_counter()
            self.runner.run(inputs, outputs, threads)
            whole.append(time.perf_counter() - before)
            parts.append(self.runner.times(inputs, outputs, threads))
        return Measured([float(t) for t in np.median(parts, axis=0)], float(np.median(whole)), len(whole))


def _spell_native_order(graph: Graph) -> None:
    """A dtype that names its byte order, as readers of files make it, has a buffer format of its own."""
    for value in graph.values.values():
        value.dtype = value.dtype.newbyteorder("=")
        if value.data is not None and value.data.dtype.byteorder not in "=|":
            value.data = value.data.view(value.dtype)


def _shapes(graph: Graph, names: Sequence[str]) -> Key:
    return tuple(graph.values[name].shape for name in names)


def _runner(graph: Graph, name: str, threads: int, workspaces: Any, notes: list[tuple[str, str]]) -> Runner:
    isa = native_isa()
    if isa is None:
        return NumpyRunner(graph, config()["reason"] or "")
    try:
        return NativeRunner(run_passes(graph, log=notes), name, isa, threads, workspaces)
    except UnsupportedModel as error:
        return NumpyRunner(graph, "; ".join(error.problems))


class Cache:
    """The bound forms of one source by the shapes of its inputs; the least recently used one makes room.

    Making one is serial: threads that wait for the same shapes find it made. Looking one up takes no lock.
    """

    def __init__(self, source: Source, name: str) -> None:
        self._source, self._name = source, name
        self._workspaces = None if core is None else core.Workspaces()  # of all forms: runs take turns
        self._lock = threading.Lock()
        self._bound: dict[tuple[Key, str | None], Bound] = {}
        self._clock = itertools.count(1)
        self.latest: Key | None = None  # the shapes of the form that was made last

    def find(self, key: Key, threads: int) -> Bound | None:
        """What was made for these shapes, the instruction set in force, and at least so many threads."""
        bound = self._bound.get((key, native_isa()))
        if bound is None or bound.runner.threads < threads:
            return None
        bound.used = next(self._clock)
        return bound

    def get(self, key: Key, threads: int) -> Bound:
        """The same, made where it is missing. Raises ValueError where there is no form for these shapes."""
        bound = self.find(key, threads)
        if bound is None:
            with self._lock:
                bound = self.find(key, threads)
                if bound is None:
                    bound = self._made(key, threads)
                    bound.used = next(self._clock)
                    self._keep((key, native_isa()), bound)
        return bound

    def __len__(self) -> int:
        return len(self._bound)

    def _made(self, key: Key, threads: int) -> Bound:
        graph = self._source.lower(dict(zip((info.name for info in self._source.inputs), key, strict=True)))
        dtypes = [as_info(info).dtype for info in self._source.outputs]
        return Bound(graph, self._name, threads, self._workspaces, dtypes)

    def _keep(self, full: tuple[Key, str | None], bound: Bound) -> None:
        kept = dict(self._bound)
        kept[full] = bound
        while len(kept) > MOST_KEPT:
            others = (item for item in kept.items() if item[0] != full)
            del kept[min(others, key=lambda item: item[1].used)[0]]
        self._bound = kept  # replaced, never changed: readers need no lock
        self.latest = full[0]
