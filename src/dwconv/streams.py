"""What a network keeps from one call to the next: the variables of streaming models."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from .activation import Array
from .graph import Graph


class StreamState:
    """One stream through a network: `Network.new_state` makes it, `net(x, state=...)` reads and changes it.

    `arrays`: what the variables hold, by name: copies. Calls with the same state take turns.
    """

    __slots__ = ("_initial", "_lock", "_names", "_next", "_now")

    def __init__(self, graph: Graph) -> None:
        self._names = [state.input for state in graph.states]
        self._initial = [state.initial for state in graph.states]
        self._lock = threading.Lock()
        self._now = [np.array(array) for array in self._initial]
        self._next = [np.empty_like(array) for array in self._now]

    @property
    def arrays(self) -> dict[str, Array]:
        with self._lock:
            return {name: array.copy() for name, array in zip(self._names, self._now, strict=True)}

    def fits(self, graph: Graph) -> bool:
        """Whether it is a state of this graph, or of another form of the same network."""
        return self._names == [state.input for state in graph.states]

    def reset(self) -> None:
        """What a stream begins with."""
        with self._lock:
            for array, initial in zip(self._now, self._initial, strict=True):
                array[...] = initial

    def __enter__(self) -> tuple[Sequence[Array], Sequence[Array]]:
        """The arrays to read, and those to write; of this thread until the end."""
        self._lock.acquire()
        return self._now, self._next

    def __exit__(self, kind: object, *error: object) -> None:
        """What was written is what is read next, unless the run failed."""
        if kind is None:
            self._now, self._next = self._next, self._now
        self._lock.release()
