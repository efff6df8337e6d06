"""`dwconv verify`: every operation and kernel variant that this machine can run, against the reference.

The reference is the C core's plain loops in double precision, or the NumPy fallback in float64 where there is
no extension. Results must be within the error bound that the README states, those of integers equal; and
the same to the bit for every number of threads and for an input that is a crop of a larger image. So must
the gradients of layers.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import build, engine, fallback, verify_gradients, verify_integers
from .activation import Activation, Array
from .build import Sliding
from .config import _force, config, core
from .geometry import Shape
from .operation import Operation, Stage

if TYPE_CHECKING:
    from ._core import Plan

EPS = float(np.finfo(np.float32).eps)
THREADS = (1, 2, 3)
BAR = 50  # characters of the progress bar
ACTIVATIONS: tuple[Any, ...] = (
    None, "relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh", "gelu",
    "gelu_tanh", ("clip", -0.5, 0.75),
)  # fmt: skip
# Of each of them: |activation(x)| <= STEEPEST * |x| + OFFSET, and no slope is steeper.
STEEPEST, OFFSET = 1.5, 0.5


class Case(NamedTuple):
    """An operation with random filters, and the shape of an input for it."""

    operation: Operation
    shape: Shape

    def __str__(self) -> str:
        first = next(stage for stage in self.operation.stages if stage.kind != "pointwise" or self._single)
        window = first.window
        shape, filters = ("x".join(map(str, sizes)) for sizes in (self.shape, first.filters.shape))
        q = self.operation.quantization
        integers = "" if q is None else f" of {q.dtype}, rounding {q.rounding},"
        return (
            f"{self.operation.kind}{integers} of {shape}, filters {filters}, strides {window.strides}, "
            f"padding {window.padding}, dilations {window.dilations}, activation {first.activation.kind}"
        )

    @property
    def _single(self) -> bool:
        return len(self.operation.stages) == 1


# ---- what is tried ----------------------------------------------------------------------------

QUICK_CHANNELS = (1, 8, 17, 40)
CHANNELS = (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 72)  # every kind of tail
QUICK_OUTPUTS = (1, 13, 50)
OUTPUTS = (1, 5, 8, 13, 16, 24, 33, 48, 50, 100)

# (kernel, strides, padding, dilations): the rows of the kernel tables, then what no row is for.
QUICK_WINDOWS: tuple[tuple[Any, Any, Any, Any], ...] = (
    *(((k, k), s, "same", 1) for k in (3, 5, 7) for s in (1, 2)),
    ((1, 1), 1, "valid", 1),
    ((4, 4), 1, "same", 1),
    ((9, 9), 1, ((8, 1), (0, 5)), 1),
    ((1, 7), 1, "same", 1),
    ((7, 1), (3, 1), "same", 1),
    ((3, 3), 1, "same", 2),
)
WINDOWS = (
    *QUICK_WINDOWS,
    ((2, 2), 1, "valid", 1),
    ((3, 3), (1, 2), "valid", 1),
    ((3, 3), 3, ((0, 2), (1, 0)), 1),
    ((3, 3), 2, "same", (5, 3)),
    ((3, 3), 1, "same", 18),
    ((11, 11), 1, "same", 1),
    ((31, 31), 1, "same", 1),
)


class _Maker:
    """Makes cases; their weights are random, their activations take turns."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._activations = itertools.cycle(ACTIVATIONS)

    def uniform(self, *shape: int) -> Array:
        return self._rng.uniform(-1, 1, shape).astype(np.float32)

    def depthwise(self, shape: Shape, kernel: Any, *sliding: Any, multiplier: int = 1) -> Case:
        filters, bias = self.uniform(*kernel, shape[3], multiplier), self.uniform(shape[3] * multiplier)
        activation = next(self._activations)
        return Case(build.depthwise("verify", filters, Sliding(*sliding), bias, activation), shape)

    def pointwise(self, shape: Shape, outputs: int, strides: Any = 1) -> Case:
        filters, bias = self.uniform(1, 1, shape[3], outputs), self.uniform(outputs)
        return Case(build.pointwise("verify", filters, strides, bias, next(self._activations)), shape)

    def conv(self, shape: Shape, kernel: Any, outputs: int, *sliding: Any, groups: int = 1) -> Case:
        filters, bias = self.uniform(*kernel, shape[3] // groups, outputs), self.uniform(outputs)
        activation = next(self._activations)
        return Case(build.conv("verify", filters, Sliding(*sliding), bias, activation, groups), shape)

    def separable(self, shape: Shape, kernel: Any, outputs: int, strides: int = 1) -> Case:
        channels = shape[3]
        operation = build.separable(
            "verify", self.uniform(*kernel, channels, 1), self.uniform(1, 1, channels, outputs),
            Sliding(strides, "same"), self.uniform(channels), "relu6", self.uniform(outputs), "hard_swish",
        )  # fmt: skip
        return Case(operation, shape)

    def inverted_residual(
        self, shape: Shape, wide: int, kernel: Any, outputs: int, strides: int = 1, expand: bool = True,
        squeezed: int = 0,
    ) -> Case:  # fmt: skip
        sizes = ((wide, squeezed), (squeezed,), (squeezed, wide), (wide,))
        gate = tuple(self.uniform(*size) for size in sizes) if squeezed else None
        expand_filter = self.uniform(1, 1, shape[3], wide) if expand else None
        operation = build.inverted_residual(
            "verify", expand_filter, self.uniform(*kernel, wide, 1), self.uniform(1, 1, wide, outputs),
            Sliding(strides, "same"), self.uniform(wide) if expand else None, self.uniform(wide),
            self.uniform(outputs), "relu6", None, gate, "relu", next(self._activations),
        )  # fmt: skip
        return Case(operation, shape)


def cases(quick: bool = False) -> Iterator[Case]:
    """Every row of the kernel tables, the kernels of any window, every operation, with every kind of tail.

    Then the same of 8-bit integers.
    """
    integers = verify_integers.Integers()
    floats = list(_float_cases(quick))
    yield from floats
    for operation, shape in floats:
        yield Case(integers.of(operation, shape), shape)


def _float_cases(quick: bool) -> Iterator[Case]:
    make = _Maker()
    for channels in QUICK_CHANNELS if quick else CHANNELS:
        for kernel, *sliding in QUICK_WINDOWS if quick else WINDOWS:
            yield make.depthwise((2, 19, 17, channels), kernel, *sliding)
        for outputs in QUICK_OUTPUTS if quick else OUTPUTS:
            yield make.pointwise((1, 9, 11, channels), outputs)
    for multiplier in (2, 3) if quick else (2, 3, 4, 8):
        for channels in (3, 8):
            for stride in (1, 2):
                yield make.depthwise((1, 12, 15, channels), (3, 3), stride, "same", multiplier=multiplier)
    for kernel in ((5, 5), (7, 7)):
        yield make.depthwise((1, 12, 15, 8), kernel, 1, "same", multiplier=2)
    yield make.pointwise((2, 9, 8, 12), 20, (2, 3))

    yield make.conv((1, 33, 31, 3), (3, 3), 32, 2, "same")
    yield make.conv((1, 12, 11, 10), (3, 3), 13, 1, ((0, 2), (1, 0)), (2, 1))
    yield make.conv((2, 9, 10, 12), (3, 3), 8, 1, "same", groups=4)
    yield make.conv((1, 9, 10, 6), (5, 5), 6, 1, "same", groups=6)
    yield make.conv((1, 14, 3, 5), (1, 3), 7)
    for stride in (1, 2):
        yield make.conv((1, 13, 15, 16), (3, 3), 16, stride, "same", groups=4)

    for strides in (1, 2):
        for kernel in ((3, 3), (5, 5), (4, 2)):
            yield make.separable((1, 18, 15, 20), kernel, 28, strides)
            yield make.inverted_residual((1, 15, 18, 12), 60, kernel, 12, strides)
    yield make.inverted_residual((2, 9, 8, 17), 17, (3, 3), 17, expand=False)
    yield make.inverted_residual((2, 9, 8, 17), 17, (3, 3), 17, expand=False, squeezed=5)
    for strides in (1, 2):
        yield make.inverted_residual((2, 15, 18, 12), 60, (5, 5), 12, strides, squeezed=9)

    # Large enough for threads to share the work.
    yield make.depthwise((1, 96, 96, 64), (3, 3), 1, "same")
    yield make.pointwise((1, 48, 48, 48), 96)
    yield make.conv((1, 40, 40, 16), (3, 3), 32, 1, "same")
    yield make.separable((1, 56, 56, 32), (3, 3), 48)
    yield make.inverted_residual((1, 40, 40, 16), 96, (3, 3), 16)
    yield make.inverted_residual((1, 40, 40, 16), 96, (3, 3), 24, squeezed=8)
    yield make.inverted_residual((1, 14, 14, 80), 480, (3, 3), 112, squeezed=120)


# ---- checking ---------------------------------------------------------------------------------


def kernels(case: Case, backend: str) -> tuple[str, ...]:
    """What computes a case. A backend is an instruction set or "numpy"."""
    plan = _plan(case, backend)
    return (f"{backend} fallback",) if plan is None else plan.kernels


def _plan(case: Case, backend: str) -> Plan | None:
    with _force(backend="numpy") if backend == "numpy" else _force(isa=backend):
        return engine.create_plan(case.operation)


def check(case: Case, backends: list[str]) -> Iterator[tuple[str, str]]:
    """(backend, what is wrong or "") for every backend."""
    operation = case.operation
    crop = _image(case)[:, 1:-1, 1:-2]
    x = crop.copy()
    wrong = _comparison(operation, x)
    for backend in backends:
        plan = _plan(case, backend)
        y = engine.run(operation, plan, x, None, 1)
        if problem := wrong(y):
            yield backend, problem
            continue
        others = {
            f"{threads} threads": engine.run(operation, plan, x, None, threads) for threads in THREADS[1:]
        }
        others["a cropped input"] = engine.run(operation, plan, crop, None, 1)
        different = [name for name, other in others.items() if other.tobytes() != y.tobytes()]
        problem = f"other bits with {', '.join(different)}" if different else ""
        yield backend, problem or _problem_of_gradients(case, backend)


def _has_gradients(case: Case, backend: str) -> bool:
    return (
        core is not None
        and backend != "numpy"
        and len(case.operation.stages) == 1
        and case.operation.quantization is None
    )


def _problem_of_gradients(case: Case, backend: str) -> str:
    if not _has_gradients(case, backend):
        return ""
    return verify_gradients.problem(case.operation, case.shape, backend, THREADS)


def _image(case: Case) -> Array:
    """Larger than the case's shape, at every side."""
    batch, height, width, channels = case.shape
    shape = (batch, height + 2, width + 3, channels)
    if case.operation.quantization is not None:
        return verify_integers.image(case.operation, shape)
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def _comparison(operation: Operation, x: Array) -> Callable[[Array], str]:
    """What tells what is wrong with a result, or ""."""
    if operation.quantization is not None:
        exact = verify_integers.reference(operation, x)

        def different(y: Array) -> str:
            count = int(np.count_nonzero(y != exact))
            return f"{count} of {y.size} numbers are not those of the reference" if count else ""

        return different

    expected, bound = _reference(operation, x), _bound(operation, x)

    def excessive(y: Array) -> str:
        worst = float(np.max(np.abs(y - expected) / bound))
        return "" if worst <= 1 else f"the error is {worst:.3g} times the bound"  # NaN is wrong too

    return excessive


def _reference(operation: Operation, x: Array) -> Array:
    if core is None:
        return fallback.run(_float64(operation), x.astype(np.float64))
    y = np.empty(operation.output_shape(x.shape), np.float32)
    core.reference(operation, x, y)
    return y


def _float64(operation: Operation) -> Operation:
    def widened(stage: Stage) -> Stage:
        bias = None if stage.bias is None else stage.bias.astype(np.float64)
        return replace(stage, filters=stage.filters.astype(np.float64), bias=bias)

    return _with_stages(operation, widened)


def _with_stages(operation: Operation, change: Callable[[Stage], Stage]) -> Operation:
    stages, gate = (tuple(map(change, chain)) for chain in (operation.stages, operation.squeeze_excite))
    return replace(operation, stages=stages, squeeze_excite=gate)


def _bound(operation: Operation, x: Array) -> Array:
    """The largest errors allowed: (terms + 16) * eps * sum(|x| * |w|), eight of the 16 for the activation.

    Squeeze-and-excite sums rows and then columns, and scales.
    """

    def magnified(stage: Stage) -> Stage:
        bias = np.full(stage.out_channels, OFFSET)
        if stage.bias is not None:
            bias += STEEPEST * np.abs(stage.bias)
        return replace(stage, filters=STEEPEST * np.abs(stage.filters), bias=bias, activation=Activation())

    wide = _float64(operation)
    magnitude = fallback.run(_with_stages(wide, magnified), np.abs(x, dtype=np.float64))
    terms = sum(
        stage.filters[..., 0].size // (stage.in_channels if stage.kind == "depthwise" else 1)
        for stage in operation.every_stage
    )
    if operation.squeeze_excite:
        terms += sum(operation.output_shape(x.shape)[1:3])
    return magnitude * (terms + 16 * len(operation.every_stage)) * EPS


def run(quick: bool = False) -> bool:
    """Tries everything and prints what it found; True if nothing is wrong."""
    settings = config()
    backends = [*settings["isas_available"], "numpy"]
    todo = list(cases(quick))
    print(
        f"dwconv {settings['version']}: {len(todo)} cases, each on {', '.join(backends)}, "
        f"with {', '.join(map(str, THREADS))} threads and with a cropped input"
    )
    if core is None:
        print("The C extension is not there: the NumPy fallback is compared with itself in float64.")
    tried: Counter[str] = Counter()
    failures = []
    with _progress(len(todo)) as advance:
        for case in todo:
            for backend, problem in check(case, backends):
                names = kernels(case, backend)
                tried.update(set(names))
                tried.update([f"{backend} gradients"] * _has_gradients(case, backend))
                if problem:
                    failures.append(
                        f"FAILED {backend}: {problem}\n    {case}\n    computed by {', '.join(names)}"
                    )
            advance()
    print("cases  kernel")
    for name, count in sorted(tried.items()):
        print(f"{count:5d}  {name}")
    print(*failures, sep="\n", end="\n" if failures else "")
    print(
        f"{len(failures)} of {len(todo) * len(backends)} checks failed"
        if failures
        else "everything agrees with the reference"
    )
    return not failures


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Gives a function to call after each of `total` steps: a bar on a terminal, else a line per tenth."""
    terminal = sys.stdout.isatty()
    count = itertools.count(1)

    def advance() -> None:
        done = next(count)
        if terminal:
            filled = BAR * done // total
            print(f"\r[{'#' * filled:<{BAR}}] {done} of {total}", end="", flush=True)
        elif done * 10 // total > (done - 1) * 10 // total:
            print(f"{done * 100 // total:4d} %", flush=True)

    yield advance
    if terminal:
        print(f"\r{'':{BAR + 20}}\r", end="", flush=True)
