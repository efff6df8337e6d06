"""What a network keeps from one call to the next: the variables of streaming models."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from .activation import Array
from .config import core
from .graph import Graph


class StreamState:
    """One stream through a network: `Network.new_state` makes it, `net(x, state=...)` reads and changes it.

    `arrays`: what the variables hold, by name: copies. Calls with the same state take turns. States can be
    pickled and copied (copy.deepcopy): the stream then goes on in each of them.
    """

    __slots__ = ("_graph", "_initial", "_lock", "_names", "_next", "_now", "_writable")

    def __init__(self, names: Sequence[str], initial: Sequence[Array], now: Sequence[Array]) -> None:
        self._names = list(names)
        self._initial = list(initial)
        self._lock = threading.Lock()
        self._now = [np.array(array) for array in now]
        self._next = [np.empty_like(array) for array in self._now]
        self._writable: tuple[list[Any], list[Any]] | None = None
        self._graph: Graph | None = None  # that it is known to fit

    @classmethod
    def of(cls, graph: Graph) -> StreamState:
        initial = [state.initial for state in graph.states]
        return cls([state.input for state in graph.states], initial, initial)

    def __reduce__(self) -> tuple[Any, ...]:
        return StreamState, (self._names, self._initial, list(self.arrays.values()))

    @property
    def arrays(self) -> dict[str, Array]:
        with self._lock:
            return {name: array.copy() for name, array in zip(self._names, self._now, strict=True)}

    def fits(self, graph: Graph) -> bool:
        """Whether it is a state of this graph, or of another form of the same network."""
        if graph is self._graph:
            return True
        initial = [state.initial for state in graph.states]
        found = self._names == [state.input for state in graph.states] and all(
            a.shape == b.shape and a.dtype == b.dtype for a, b in zip(self._initial, initial, strict=True)
        )
        if found:
            self._graph = graph
        return found

    def reset(self) -> None:
        """What a stream begins with."""
        with self._lock:
            for array, initial in zip(self._now, self._initial, strict=True):
                array[...] = initial

    def __enter__(self) -> tuple[Sequence[Array], Sequence[Array]]:
        """The arrays to read, and those to write; of this thread until the end."""
        self._lock.acquire()
        return self._now, self._next

    def writable(self) -> tuple[list[Any], list[Any]]:
        """The same as the core takes them at once; for who entered."""
        if self._writable is None:
            now, following = ([core.writable(array) for array in side] for side in (self._now, self._next))
            self._writable = now, following
        return self._writable

    def __exit__(self, kind: object, *error: object) -> None:
        """What was written is what is read next, unless the run failed."""
        if kind is None:
            self._now, self._next = self._next, self._now
            if self._writable is not None:
                self._writable = self._writable[::-1]
        self._lock.release()
