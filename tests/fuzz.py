"""Random configurations against an independent float64 oracle, for as long as wanted.

    python tests/fuzz.py --seconds 60 --seed 0

Draws every operation, on every instruction set and the NumPy fallback, in every layout, dtype and way of
calling: wrong values, other bits with other threads, writes beside `out`, impossible calls that are accepted,
possible ones that are refused. The oracle is PyTorch in float64 where it is installed, else NumPy.
Every finding is one line that says how to repeat it. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import importlib.util
import pickle
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import dwconv
from drawn import Draw, laid_out, random_case, spoiled, with_special_values
from oracles import Case, Engine, backends, numpy_conv, torch_conv, using

Expected = tuple[np.ndarray, np.ndarray]  # value, bound


def cast(case: Case, dtype: Any) -> Case:
    return case.with_arrays(**{name: array.astype(dtype) for name, array in case.arrays.items()})


def expected_of(case: Case, conv: Engine) -> Expected | None:
    """None: the call must be refused."""
    if not case.possible:
        return None
    with np.errstate(all="ignore"):
        value, bound = case.expected(conv)
        dtype = case.x.dtype
        if dtype == np.float64:
            bound = 1e-6 * bound
        elif dtype == np.float16:
            bound = bound + 0.501 * np.spacing(np.abs(value).astype(dtype)).astype(np.float64)
    if case.residual and (case.strides != (1, 1) or value.shape != case.shape):
        return None if case.operation == "inverted_residual" else (value, bound)
    return value, bound


def must_be_refused(what: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except (TypeError, ValueError):
        return
    raise AssertionError(f"accepted: {what}")


def channels_first(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 3, 1, 2)


def way_of_calling(case: Case, draw: Draw) -> Callable[..., np.ndarray]:
    way = draw.integer(0, 3)
    if way == 0:
        return case.call
    if way == 1 and case.operation in ("depthwise", "conv", "separable"):

        def nchw(x: np.ndarray, out: np.ndarray | None = None, **extra: Any) -> np.ndarray:
            target = None if out is None else channels_first(out)
            y = case.call(channels_first(x), data_format="NCHW", out=target, **extra)
            return y.transpose(0, 2, 3, 1) if out is None else out

        return nchw
    layer = case.layer()
    assert tuple(layer.output_shape(case.shape)) == layer(case.x).shape
    return pickle.loads(pickle.dumps(layer)) if way == 2 else layer  # type: ignore[no-any-return]


def check_out(x: np.ndarray, y: np.ndarray, call: Callable[..., np.ndarray], draw: Draw) -> None:
    """The same with `out`, in some layout: the same bits, and nothing written beside it."""
    same_pixels = x.shape[:3] == y.shape[:3]
    if same_pixels and draw.chance(0.5):  # input and output are channels of one buffer
        channels, gap = x.shape[3], draw.integer(0, 2)
        memory = np.full((*x.shape[:3], channels + gap + y.shape[3]), np.nan, x.dtype)
        out = memory[..., channels + gap :]
        memory[..., :channels] = x
        x = memory[..., :channels]
    else:
        out = laid_out(np.full_like(y, np.nan), draw)
        if not out.flags.writeable:
            out = np.full_like(y, np.nan)
        memory = out if out.base is None else out.base
    before = x.copy()
    assert call(x, out=out, num_threads=draw.integer(1, 4)) is out
    assert np.array_equal(out, y, equal_nan=True), "out has other bits"
    assert np.array_equal(x, before, equal_nan=True), "x was changed"
    if memory.dtype == y.dtype and memory.shape[:3] != x.shape[:3]:
        out[...] = np.nan
        assert np.isnan(memory).all(), "something beside out was written"


def check(case: Case, backend: str, expected: Expected | None) -> None:
    """Raises AssertionError, or whatever else a correct call raised."""
    draw = Draw(case.seed + 1)
    with using(backend):
        if expected is None:
            must_be_refused("an impossible geometry", case.call)
            must_be_refused("an impossible geometry, by a layer", lambda: case.layer()(case.x))
            return
        x, threads = laid_out(case.x, draw), draw.integer(1, 4)
        call = way_of_calling(case, draw)
        y = call(x, num_threads=threads)
        assert y.dtype == case.x.dtype
        case.compare(y, *expected)
        if backend != "numpy":  # promised for one instruction set of the native core
            again = call(case.x, num_threads=draw.integer(1, 4))
            assert np.array_equal(again, y, equal_nan=True), "other bits in another layout or thread count"
            check_out(case.x, y, call, draw)
        what, arguments = spoiled(case, y, draw)
        must_be_refused(what, lambda: case.call(**arguments))


def drawn(seed: int) -> Case:
    case, draw = random_case(seed), Draw(seed + 2)
    if draw.chance(0.15):
        case = with_special_values(case, draw)
    return cast(case, np.float64 if draw.chance(0.5) else np.float16) if draw.chance(0.15) else case


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; case n has seed + n")
    parser.add_argument("--count", type=int, default=0, help="stop after this many cases; 0: only by time")
    parser.add_argument("--backend", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    chosen = options.backend or backends()
    with_torch = importlib.util.find_spec("torch") is not None
    conv = torch_conv if with_torch else numpy_conv
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", dwconv.PerformanceWarning)
    print(
        f"oracle: {'PyTorch' if with_torch else 'NumPy'} float64; backends: {', '.join(chosen)}", flush=True
    )
    end = time.monotonic() + options.seconds
    done = impossible = findings = 0
    while time.monotonic() < end and (not options.count or done < options.count):
        case = drawn(options.seed + done)
        expected = expected_of(case, conv)
        impossible += expected is None
        for backend in chosen:
            try:
                check(case, backend, expected)
            except Exception as error:  # whatever it is, it is a finding
                findings += 1
                again = f"python tests/fuzz.py --seed {case.seed} --count 1 --backend {backend}"
                print(f"FINDING on {backend}: {case}: {error!r}\n  again: {again}", flush=True)
        done += 1
    print(f"{done} cases ({impossible} impossible) on {len(chosen)} backends: {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
