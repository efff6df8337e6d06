"""Whole networks: a model file in, predictions out.

    net = dwconv.load("model.onnx")    # or .tflite, or .npz of net.save
    y = net(x)                         # inputs and outputs are exactly those of the file
    print(net.summary())

What it is made from never changes: any number of threads may call one network at the same time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import edges, feeds, table
from .activation import Array
from .bound import Bound, Cache, Key
from .config import get_num_threads
from .constructors import Constructors
from .feeds import fits, random_inputs, shown
from .geometry import integer, thread_count
from .graph import Builder, Graph, UnsupportedModel
from .sources import GraphSource, Sizes, Source, TensorInfo, as_info, with_open_sizes
from .streams import StreamState


class Network(Constructors):
    """A network of convolutions and what stands between them, made of a graph, or by one of the constructors
    `from_onnx`, `from_tflite`, `from_torch`, `from_keras` and `dwconv.load`.

    `graph`: a `dwconv.graph.Builder`, or its graph; constants are copied. `input_shapes`: for inputs by name,
    their shapes with None for sizes that calls decide. `name`: begins every message. Raises ValueError for a
    graph that is none.

    >>> import numpy as np
    >>> from dwconv.graph import Builder
    >>> b = Builder()
    >>> y = b.node("conv", b.input("x", (1, 8, 8, 3)), np.ones((3, 3, 3, 4), np.float32), padding="same")
    >>> b.output("y", b.node("unary", y, kind="relu"))
    >>> net = Network(b)
    >>> net(np.ones((1, 8, 8, 3), np.float32)).shape
    (1, 8, 8, 4)
    """

    __slots__ = ("_allowed", "_cache", "_inputs", "_lock", "_name", "_outputs", "_source", "_state")

    def __init__(
        self,
        graph: Builder | Graph | Source,
        *,
        input_shapes: Mapping[str, Sequence[int | None]] | None = None,
        name: str = "network",
    ) -> None:
        graph = graph.graph if isinstance(graph, Builder) else graph
        source: Source = GraphSource(graph) if isinstance(graph, Graph) else graph
        if not hasattr(source, "lower"):
            raise TypeError(f"{name}: graph must be a dwconv.graph.Builder, not {type(graph).__name__}")
        if input_shapes is not None:
            source = with_open_sizes(name, source, input_shapes)
        self._start(source, name, frozenset())

    def _start(self, source: Source, name: str, allowed: frozenset[Key]) -> None:
        self._name = name
        self._source = source
        self._cache = Cache(source, name)
        self._lock = threading.Lock()
        self._state: StreamState | None = None  # of calls that name none
        self._allowed = allowed  # shapes beside those of the file that `bind` was told of
        self._inputs = tuple(map(as_info, source.inputs))
        self._outputs = tuple(map(as_info, source.outputs))

    # ---- running --------------------------------------------------------------------------------

    def __call__(
        self,
        *inputs: Any,
        out: Any = None,
        num_threads: int | None = None,
        state: StreamState | None = None,
    ) -> Any:
        """The result, or a dict of the results in the order of `outputs` where there are several.

        `inputs`: arrays in the order of `inputs`, or one dict by name; of exactly the dtypes and shapes of
        the model file, layout included. What NumPy's protocols read is read; an array that is not contiguous
        is copied once. `out`: an array, or a dict or list of arrays where there are several outputs,
        contiguous ones written in place; they must not overlap the inputs. `num_threads`: at most so many
        threads; None: `dwconv.get_num_threads()`. `state`: of a streaming network, what `new_state` made: the
        stream that this call goes on with; None: the network's own.

        Raises TypeError for a wrong number, name or dtype, ValueError for a wrong shape. The first call with
        shapes makes what runs them; see `bind`.
        """
        threads = get_num_threads() if num_threads is None else self._threads(num_threads)
        given = inputs
        if len(inputs) == 1 and type(inputs[0]) is dict and len(inputs[0]) == len(self._inputs):
            given = tuple([inputs[0].get(info.name) for info in self._inputs])
        bound = self._cache.find(tuple([x.shape for x in given if type(x) is np.ndarray]), threads)
        if bound is not None and bound.runner.isa is not None:  # the way of every call but the first
            outs = bound.new_outputs() if out is None else bound.outputs_of(out, self._outputs)
            try:
                if outs is not None:
                    stream = self._stream(bound, state) if state is not None or bound.has_state else None
                    bound.run(given, outs, threads, stream)
                    return self._named(outs)
            except (BufferError, TypeError, ValueError):
                outs = None  # what the core refuses without a name is looked at again
        return self._named(self._run_checked(inputs, out, threads, state))

    def _run_checked(
        self, inputs: Sequence[Any], out: Any, threads: int, state: StreamState | None
    ) -> list[Array]:
        """The same with every check; what is not contiguous is copied."""
        arrays = self._read(inputs)
        bound = self._bound(tuple(array.shape for array in arrays), threads)
        if out is None:
            outs = targets = bound.new_outputs()
        else:
            named = list(zip(self.input_names, arrays, strict=True))
            outs = feeds.check_outputs(self._name, self._outputs, bound.output_shapes, out, named)
            targets = [feeds.contiguous(array) for array in outs]
        stream = self._stream(bound, state)
        bound.run([np.require(array, None, ["C", "A"]) for array in arrays], targets, threads, stream)
        for array, target in zip(outs, targets, strict=True):
            if array is not target:
                array[...] = target
        return outs

    def _stream(self, bound: Bound, state: StreamState | None) -> StreamState | None:
        if state is not None and not (isinstance(state, StreamState) and state.fits(bound.graph)):
            raise TypeError(f"{self.name}: state must be what its new_state() made, not {state!r}")
        if state is not None or not bound.has_state:
            return state
        with self._lock:
            if self._state is None:
                self._state = bound.new_state()
            return self._state

    def new_state(self) -> StreamState:
        """A new stream through a network with state: `net(x, state=state)` goes on with it.

        Streams share the network; each is for one thread at a time. Raises ValueError for a network without
        state variables.
        """
        bound = self._latest()
        if not bound.has_state:
            raise ValueError(f"{self.name}: has no state variables")
        return bound.new_state()

    def reset(self) -> None:
        """Calls without `state` begin a new stream; networks without state variables stay as they are."""
        with self._lock:
            self._state = None

    def _read(self, inputs: Sequence[Any]) -> list[Array]:
        given = feeds.by_name(self._name, self._inputs, inputs)
        return [feeds.read_input(self._name, *pair) for pair in zip(self._inputs, given, strict=True)]

    def _named(self, outs: list[Array]) -> Any:
        if len(outs) == 1:
            return outs[0]
        return {info.name: array for info, array in zip(self._outputs, outs, strict=True)}

    def bind(self, shapes: Mapping[str, Sequence[int]] | Sequence[Any]) -> Network:
        """Makes what runs inputs of these shapes now, and gives the network itself.

        `shapes`: by name, or in the order of `inputs`; one shape where there is one input. They may differ
        from those of the model file, as in the batch or the size of the image: calls with them are allowed
        from then on. Raises ValueError where the network has no form for them. The forms of 8 shapes are
        kept.
        """
        infos = self._inputs
        key = tuple(
            self._shape(info, shape) for info, shape in zip(infos, self._by_name(shapes), strict=True)
        )
        self._make(key, get_num_threads())
        if not self._declared(key):
            with self._lock:
                self._allowed |= {key}
        return self

    def _by_name(self, shapes: Any) -> list[Any]:
        infos = self._inputs
        if not isinstance(shapes, Iterable):
            raise TypeError(f"{self.name}: bind: shapes must be a shape, several, or a dict, not {shapes!r}")
        one = len(infos) == 1 and not isinstance(shapes, Mapping)
        if one and all(hasattr(n, "__index__") for n in shapes):
            shapes = [shapes]
        if isinstance(shapes, Mapping):  # those that the file decides may be left out
            decided = {info.name: info.shape for info in infos if None not in info.shape}
            shapes = decided | dict(shapes)
        return feeds.by_name(f"{self.name}: bind", infos, [shapes] if isinstance(shapes, Mapping) else shapes)

    def _shape(self, info: TensorInfo, shape: Any) -> Sizes:
        where = f"{self.name}: bind: {info.name!r}"
        if not isinstance(shape, Iterable) or isinstance(shape, str):
            raise TypeError(f"{where} needs a shape, not {shape!r}")
        sizes = tuple(integer(where, size) for size in shape)
        if len(sizes) != len(info.shape):
            raise ValueError(f"{where} has {len(info.shape)} axes, not {sizes}: input {shown(info)}")
        return sizes

    def _threads(self, num_threads: int) -> int:
        return thread_count(f"{self.name}: num_threads", num_threads)

    def _declared(self, key: Key) -> bool:
        return all(fits(info, shape) for info, shape in zip(self._inputs, key, strict=True))

    def _bound(self, key: Key, threads: int) -> Bound:
        """What runs inputs of these shapes, if the file or `bind` has them."""
        if not self._declared(key) and key not in self._allowed:
            for info, shape in zip(self._inputs, key, strict=True):
                if not fits(info, shape):
                    raise feeds.shape_error(self.name, info, shape)
        return self._make(key, threads)

    def _make(self, key: Key, threads: int) -> Bound:
        try:
            return self._cache.get(key, max(threads, get_num_threads()))
        except UnsupportedModel:
            raise
        except ValueError as error:
            names = (f"{info.name!r} {shape}" for info, shape in zip(self._inputs, key, strict=True))
            raise ValueError(f"{self.name}: cannot take {', '.join(names)}: {error}") from error

    def _latest(self) -> Bound:
        """The form of the shapes that were bound last, or of those of the file."""
        if self._cache.latest is not None:
            return self._make(self._cache.latest, get_num_threads())
        key = []
        for info in self._inputs:
            sizes = tuple(size for size in info.shape if size is not None)
            if len(sizes) < len(info.shape):
                raise ValueError(
                    f"{self.name}: sizes of input {shown(info)} are open: "
                    f"net.bind({{{info.name!r}: (...)}}) decides them"
                )
            key.append(sizes)
        return self._make(tuple(key), get_num_threads())

    # ---- what it is -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """That of the file or the module: it begins every message."""
        return self._name

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of `inputs`, in order."""
        return tuple(info.name for info in self._inputs)

    @property
    def input_shapes(self) -> tuple[Sizes, ...]:
        """The shapes bound last, or those of the file; ValueError, as for `macs`, if there are none."""
        return self._latest().input_shapes

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """(name, shape, dtype, quantization) of each, as in the model file; None in a shape: calls decide."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The same of what it gives."""
        return self._outputs

    @property
    def backend(self) -> Literal["native", "numpy"]:
        """What runs it."""
        return "numpy" if self._latest().runner.isa is None else "native"

    @property
    def workspace_bytes(self) -> int:
        """Bytes that a run needs beside inputs, outputs and weights, for the shapes that were bound last.

        Like `macs` and `workspace_lower_bound`, raises ValueError if sizes are open and nothing is bound.
        """
        return self._latest().runner.workspace_bytes

    @property
    def workspace_lower_bound(self) -> int:
        """The most bytes that are alive during one node: no placement of values needs less."""
        return self._latest().runner.lower_bound

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and matrix products, padding left out; of the shapes bound last."""
        return self._latest().macs

    def summary(self) -> str:
        """A table of what runs for the shapes bound last: node, operation, shape, kernel, millions of
        multiply-adds, place in the workspace, bytes; and what was fused into what."""
        return table.summary(self.name, self.inputs, self.outputs, self._latest())

    def profile(
        self, *inputs: Any, num_threads: int | None = None, gflops: float | None = None, seconds: float = 0.5
    ) -> str:
        """The same with microseconds of every node: the median of runs within about `seconds`.

        `inputs` as for a call; none: random ones of the shapes bound last. `num_threads` as for a call.
        `gflops`: what these threads reach at most, two to a multiply-add; with it the table has each node's
        share of that limit, without it of the whole time.
        """
        threads = get_num_threads() if num_threads is None else self._threads(num_threads)
        if inputs:
            arrays = self._read(inputs)
            bound = self._bound(tuple(array.shape for array in arrays), threads)
        else:
            bound = self._latest()
            arrays = random_inputs(self._inputs, bound.input_shapes)
        measured = bound.profile([np.require(array, None, ["C", "A"]) for array in arrays], threads, seconds)
        return table.profile(self.name, self.inputs, self.outputs, bound, measured, gflops)

    def layout(self, layout: str) -> Network:
        """The same network with images at its edges in another layout.

        `layout`: "NHWC", as images are computed, without the transpositions of a model file that has NCHW;
        "NCHW", as such a file has them.
        Raises ValueError where that is not possible: an NHWC file has no other form.
        """
        if not isinstance(layout, str) or layout.upper() not in ("NHWC", "NCHW"):
            raise ValueError(f"{self.name}: layout must be 'NHWC' or 'NCHW', not {layout!r}")
        if isinstance(self._source, edges.NHWCSource):
            return self if layout.upper() == "NHWC" else Network(self._source.source, name=self.name)
        bound = self._latest()
        graph = self._source.lower(dict(zip(self.input_names, bound.input_shapes, strict=True)))
        inputs, outputs = edges.images(graph)
        if layout.upper() == "NCHW":
            if inputs or outputs:
                return self
            raise ValueError(f"{self.name}: takes NHWC, as its file does; pass x.transpose(0, 2, 3, 1)")
        if not inputs and not outputs:
            return self
        turned = Network(edges.NHWCSource(self._source, inputs, outputs), name=self.name)
        if any(None in info.shape for info in self._inputs) or not self._declared(bound.input_shapes):
            order = [(0, 2, 3, 1) if info.name in inputs else None for info in self._inputs]
            pairs = zip(bound.input_shapes, order, strict=True)
            turned.bind([s if perm is None else tuple(s[axis] for axis in perm) for s, perm in pairs])
        return turned

    # ---- files and copies -----------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one file, weights included, that `dwconv.load` reads with NumPy alone.

        `path`: ends in .npz. Raises ValueError for another name, and OSError.
        """
        from .saved import save

        save(self._source, self.name, Path(path))

    def to_c(self, directory: str | os.PathLike[str], name: str | None = None) -> list[Path]:
        """Writes C for libdwconv, for the shapes bound last, and gives the paths of NAME.h, NAME.c,
        NAME_weights.c.

        That runs in static memory, with no parser and no allocation: NAME_init() once, then
        NAME_run(inputs..., outputs...). `directory` is made if it is missing. `name`: an identifier of C;
        None: made of the network's name. Raises ValueError for another name or without the compiled core,
        `dwconv.UnsupportedModel` for what runs through NumPy alone, and OSError.
        """
        from .ccode import export

        shapes = dict(zip(self.input_names, self.input_shapes, strict=True))
        return export(self._name, self._source.lower(shapes), Path(directory), name)

    def __reduce__(self) -> tuple[Any, ...]:
        """What was bound is made anew where it is loaded."""
        return _restore, (type(self), self._source, self.name, self._allowed)

    def __copy__(self) -> Network:
        return _restore(type(self), self._source, self.name, self._allowed)

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self.__copy__()  # sources never change

    def __repr__(self) -> str:
        tensors = (", ".join(map(shown, infos)) for infos in (self.inputs, self.outputs))
        return f"<dwconv.Network {self.name!r}: {' -> '.join(tensors)}>"


def _restore(cls: type[Network], source: Source, name: str, allowed: frozenset[Key]) -> Network:
    made = cls.__new__(cls)
    made._start(source, name, allowed)
    return made
