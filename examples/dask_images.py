"""Classifies a folder of images over a Dask cluster.

    pip install "dwconv[onnx,images]" distributed
    python examples/dask_images.py model.onnx photos --out classes.csv               # on this machine
    python examples/dask_images.py model.onnx photos --scheduler tcp://10.0.0.5:8786 # on a cluster that runs

A network pickles: every worker gets it once. Workers have one thread each and call it with num_threads=1, the
fastest way through many images, and the bits are those of one process. A worker may die at any time: what it
had not delivered is computed by others. Workers read the files themselves, by the same paths.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dwconv

try:
    from distributed import CancelledError, Client, KilledWorker, LocalCluster, as_completed
except ImportError:
    raise SystemExit("this example needs Dask: pip install distributed") from None

SUFFIXES = (".npy", ".png", ".jpg", ".jpeg", ".bmp", ".webp")
ROUNDS = 3  # so often is handed out anew what was lost
Read = Callable[[Path, Sequence[int]], np.ndarray]
Result = np.ndarray | str  # scores, or what is wrong with the file


# ---- what workers do ------------------------------------------------------------------------------


def read(path: Path, shape: Sequence[int], mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    """An array; or an image in the shape of the network's input, its pixels (value / 255 - mean) / std."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    from PIL import Image

    first = shape[1] in (1, 3)  # [1, channels, height, width]
    channels, (height, width) = (shape[1], shape[2:]) if first else (shape[3], shape[1:3])
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((width, height)))
    x = (pixels.reshape(1, height, width, channels).astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if first else x, np.float32)


def run_files(paths: Sequence[Path], net: dwconv.Network, read: Read) -> list[tuple[Path, Result]]:
    """One task: a few files, since a task costs the scheduler a millisecond."""
    found: list[tuple[Path, Result]] = []
    for path in paths:
        try:
            x = read(path, net.inputs[0].shape)
            found.append((path, net(x, num_threads=1).reshape(-1)))
        except (OSError, ValueError, TypeError) as error:  # of this file: the others go on
            found.append((path, f"{type(error).__name__}: {error}"))
    return found


# ---- what hands out the work --------------------------------------------------------------------------


def classify(
    client: Client, net: dwconv.Network, paths: Sequence[Path], read: Read = read, per_task: int = 8
) -> Iterator[tuple[Path, Result]]:
    """Each path once, with its scores, in the order in which they are done.

    The scheduler itself hands out again what a dead worker had taken or had not delivered. What it gives up
    (the last copy of the network is gone, or one task has killed several workers) goes out in a new round.
    Raises RuntimeError if files are left after the last one.
    """
    left = dict.fromkeys(paths)  # in order
    for _ in range(ROUNDS):
        if not left:
            return
        shared = client.scatter(net, broadcast=True, hash=False)
        waiting = list(left)
        tasks = [waiting[i : i + per_task] for i in range(0, len(waiting), per_task)]
        for future in as_completed(client.map(run_files, tasks, net=shared, read=read, pure=False)):
            try:
                found = future.result()
            except (CancelledError, KilledWorker):
                continue
            for path, result in found:
                if path in left:
                    del left[path]
                    yield path, result
    if left:
        raise RuntimeError(
            f"{len(left)} files are left, the first is {next(iter(left))}: workers died of them"
        )


def progress(results: Iterator[tuple[Path, Result]], count: int) -> Iterator[tuple[Path, Result]]:
    """Tells on the terminal how far it is."""
    begin = time.perf_counter()
    for done, item in enumerate(results, 1):
        yield item
        if sys.stderr.isatty() and (done % 16 == 0 or done == count):
            rate = done / (time.perf_counter() - begin)
            print(f"\r{done} of {count} images, {rate:.0f} a second", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a model file with one image as input, scores as output")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="a table: file, class, score; default: standard output")
    parser.add_argument("--scheduler", help="of a cluster that runs; default: processes of this machine")
    parser.add_argument("--workers", type=int, help="without --scheduler; default: one for each CPU")
    parser.add_argument("--mean", type=float, default=0.0, help="subtracted from pixels of 0 to 1")
    parser.add_argument("--std", type=float, default=1.0, help="what they are divided by then")
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    net = dwconv.load(options.model)
    if len(net.inputs) != 1 or len(net.outputs) != 1 or None in net.inputs[0].shape:
        raise SystemExit(f"{options.model}: needs one input of a known shape and one output: {net}")
    cluster: Any = options.scheduler or LocalCluster(
        n_workers=options.workers or dwconv.get_num_threads(),
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
    )
    results = {}
    with Client(cluster) as client:
        found = classify(client, net, paths, partial(read, mean=options.mean, std=options.std))
        results.update(progress(found, len(paths)))
    if not options.scheduler:
        cluster.close()
    bad = {path: result for path, result in results.items() if isinstance(result, str)}
    with options.out.open("w", newline="") if options.out else sys.stdout as file:
        table = csv.writer(file)
        table.writerow(["file", "class", "score"])
        for path in paths:
            if path not in bad:
                best = int(results[path].argmax())
                table.writerow([path.name, best, f"{results[path][best]:.9g}"])
    for path, reason in bad.items():
        print(f"{path}: {reason}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
