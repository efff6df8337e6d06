"""python -m bench.micro MODEL.tflite ...: networks with rounding="tflite" beside TFLite Micro.

Inputs are random bytes, and in every second call ends of their range alone: all of them the least, all the
largest, then mixed. Counted are the values of outputs that differ. Streams go on from call to call in both.
Times are the least of a call, of both from Python with one thread; TFLite Micro has its reference kernels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import dwconv
from bench.problem import Array


class Found(NamedTuple):
    calls: int
    values: int
    differing: int
    milliseconds: tuple[float, float]  # dwconv's, TFLite Micro's


def feeds(infos: Any, calls: int, seed: int = 0) -> Iterator[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    for call in range(calls):
        feed = {}
        for info in infos:
            shape, dtype = [size or 1 for size in info.shape], np.dtype(info.dtype)
            if dtype.kind not in "iu":
                feed[info.name] = rng.standard_normal(shape).astype(dtype)
                continue
            ends = np.iinfo(dtype).min, np.iinfo(dtype).max
            some = ends if call > 3 else ends[call // 2 : call // 2 + 1]
            any_byte = rng.integers(*ends, shape, endpoint=True)
            feed[info.name] = (rng.choice(some, shape) if call % 2 else any_byte).astype(dtype)
        yield feed


def compare(content: bytes, calls: int) -> Found:
    runtime: Any = import_module("tflite_micro.python.tflite_micro.runtime")
    net = dwconv.Network.from_tflite(content, rounding="tflite")
    micro = runtime.Interpreter.from_bytes(content)
    values, differing, least = 0, 0, [np.inf, np.inf]
    for feed in feeds(net.inputs, calls):
        times = [time.perf_counter()]
        y = net(feed, num_threads=1)
        times.append(time.perf_counter())
        for index, info in enumerate(net.inputs):
            micro.set_input(feed[info.name], index)
        micro.invoke()
        expected = [np.array(micro.get_output(index)) for index in range(len(net.outputs))]
        times.append(time.perf_counter())
        got = list(y.values()) if isinstance(y, dict) else [y]
        for a, b in zip(got, expected, strict=True):
            values, differing = values + a.size, differing + int((a != b).sum())
        least = [min(old, float(new)) for old, new in zip(least, np.diff(times), strict=True)]
    return Found(calls, values, differing, (1e3 * least[0], 1e3 * least[1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--calls", type=int, default=1000)
    options = parser.parse_args()
    print("| TFLite file | calls | values of outputs | that differ | dwconv, ms | TFLite Micro, ms |")
    print("|:--|--:|--:|--:|--:|--:|")
    for model in options.models:
        found = compare(model.read_bytes(), options.calls)
        ours, theirs = (f"{ms:.3g}" for ms in found.milliseconds)
        cells = (f"{found.calls:,}", f"{found.values:,}", f"{found.differing:,}", ours, theirs)
        print(f"| {model.stem} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
