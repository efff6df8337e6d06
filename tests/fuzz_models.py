"""Broken model files, for as long as wanted: each must give a network that runs or a ValueError, soon.

    python tests/fuzz_models.py --seconds 60 --seed 0
    python tests/fuzz_models.py --seed 0 model.onnx other.tflite     bytes of these files too

Files are generated (`broken_onnx.py`, `broken_tflite.py`). What is made of one is bound, and run if that is
little work. Findings are other errors, crashes, more memory or time than a small file may take; each is a
line that says how to repeat it. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import faulthandler
import math
import multiprocessing
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dwconv
from broken import edited
from broken_onnx import broken_onnx, originals
from broken_tflite import broken_tflite
from drawn import Draw

SECONDS = 20  # for one file: what the slowest takes on a slow machine
MEMORY = 3 << 30  # beyond what the process has to begin with
MACS = 10**8  # a network that takes more is not run
FATES = ("ran", "bound", "refused")

Files = dict[str, list[bytes]]


def broken(seed: int, sound: list[bytes], files: Files) -> tuple[str, bytes]:
    """The kind of a file and its content."""
    draw = Draw(seed)
    kinds = [kind for kind, contents in files.items() if contents]
    if kinds and draw.chance(0.3):
        kind = draw.choice(kinds)
        return kind, edited(draw.choice(files[kind]), draw)
    if draw.chance(0.5):
        return "tflite", broken_tflite(draw)
    return "onnx", broken_onnx(draw.choice(sound), draw)


def check(kind: str, content: bytes) -> str:
    """One of FATES. Raises whatever else a file makes dwconv raise."""
    read = dwconv.Network.from_onnx if kind == "onnx" else dwconv.Network.from_tflite
    try:
        net = read(content)
        shapes = [tuple(size or 1 for size in info.shape) for info in net.inputs]
        if sum(map(math.prod, shapes)) > MACS:
            return "bound"  # a large image is no fault of a file
        net.bind(shapes)
    except ValueError:
        return "refused"
    elements = sum(math.prod(size or 1 for size in info.shape) for info in net.outputs)
    if max(net.macs, net.workspace_bytes, elements) > MACS:
        return "bound"
    rng = np.random.default_rng(0)
    inputs = [rng.integers(0, 2, s).astype(i.dtype) for s, i in zip(shapes, net.inputs, strict=True)]
    with np.errstate(all="ignore"):
        y = net(*inputs)
    found = y if isinstance(y, dict) else {net.outputs[0].name: y}
    assert list(found) == [info.name for info in net.outputs], "other outputs"
    return "ran"


def too_long(*_: object) -> None:
    raise TimeoutError(f"takes more than {SECONDS} s")


class Worker:
    """Checks files in a process that may crash. `state`: the file at work, numbers of findings and fates."""

    def __init__(self, make: Callable[[int], tuple[str, bytes]], first: int, last: int, end: float) -> None:
        self.make, self.last, self.end = make, last, end
        self.context = multiprocessing.get_context("fork")
        self.state = self.context.Array("q", [first, 0, *(0 for _ in FATES)], lock=False)

    def run(self) -> None:
        while self.state[0] < self.last and time.monotonic() < self.end:
            child = self.context.Process(target=self.work)
            child.start()
            child.join()
            if child.exitcode:  # the next process goes on behind the file
                self.tell(self.make(self.state[0])[0], f"the process ended with {child.exitcode}")
                self.state[0] += 1

    def work(self) -> None:
        faulthandler.enable()
        warnings.simplefilter("ignore")
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGALRM, too_long)
        for seed in range(self.state[0], self.last):
            if time.monotonic() > self.end:
                break
            self.state[0] = seed
            kind, content = self.make(seed)
            signal.alarm(SECONDS)
            try:
                self.state[2 + FATES.index(check(kind, content))] += 1
            except Exception as error:  # whatever it is, it is a finding
                self.tell(kind, f"{type(error).__name__}: {error}")
            signal.alarm(0)
            self.state[0] = seed + 1

    def tell(self, kind: str, what: str) -> None:
        self.state[1] += 1
        again = f"python tests/fuzz_models.py --seed {self.state[0]} --count 1"
        print(f"FINDING: {kind}: {what[:500]}\n  again: {again}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first file; file n has seed + n")
    parser.add_argument("--count", type=int, default=sys.maxsize, help="stop after so many")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the first broken file, and stop")
    options = parser.parse_args()
    files: Files = {
        kind: [path.read_bytes() for path in options.files if path.suffix == f".{kind}"]
        for kind in ("onnx", "tflite")
    }
    sound = originals()

    def make(seed: int) -> tuple[str, bytes]:
        return broken(seed, sound, files)

    if options.keep:
        options.keep.write_bytes(make(options.seed)[1])
        return 0
    end = time.monotonic() + options.seconds
    worker = Worker(make, options.seed, options.seed + options.count, end)
    worker.run()
    next_seed, findings, *counts = worker.state
    fates = ", ".join(f"{count} {fate}" for fate, count in zip(FATES, counts, strict=True))
    print(f"{next_seed - options.seed} files ({fates}): {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
