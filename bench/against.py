"""Two builds of the Python package side by side: the same bits, and how long they take.

A build is a source tree with the extension in its src/. Each has a process of its own and is called through
the Python API alone, so that the C interfaces of the two may differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import geometric_mean, median

import numpy as np

from bench import machine
from bench import problem as problems
from bench.compiling import ROOT
from bench.process import WorkerProcess
from bench.workloads import Workload

Trees = tuple[Path, Path]  # old, new

# ---- bits -------------------------------------------------------------------------------------


def isas(tree: Path) -> list[str]:
    """The instruction sets of a build that this CPU runs. ValueError where there is no build."""
    command = "import dwconv; print(dwconv.__file__, *dwconv.config()['isas_available'])"
    environment = _environment(tree) | {"DWCONV_BACKEND": "native"}
    answer = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise ValueError(f"{tree}: {answer.stderr.strip().splitlines()[-1]}")
    file, *names = answer.stdout.split()
    if not Path(file).is_relative_to(tree.resolve()):
        raise ValueError(f"{tree}/src holds no build: dwconv was imported from {file}")
    return names


def differences(trees: Trees, isa: str, seed: int, count: int) -> Iterator[str]:
    """A line for every seed whose results differ, and a last one where a build does not come to the end."""
    workers = [_start(tree, isa, seed, count) for tree in trees]
    for number in range(seed, seed + count):
        answers = [worker.stdout.readline().split() if worker.stdout else [] for worker in workers]
        ended = [str(tree) for tree, answer in zip(trees, answers, strict=True) if not answer]
        if ended or answers[0] != answers[1]:
            what = f"{' and '.join(ended)} ended" if ended else _difference(trees, isa, number)
            yield f"{isa} seed {number}: {what}: {_case(trees[1], number)}"
        if ended:
            break
    for worker in workers:
        worker.kill()
        worker.communicate()


def _environment(tree: Path) -> dict[str, str]:
    path = [str(tree.resolve() / "src"), str(ROOT), str(ROOT / "tests"), *filter(None, sys.path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def _start(tree: Path, isa: str, seed: int, count: int, save: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.bits", str(seed), str(count), *([save] if save else [])]
    environment = _environment(tree) | {"DWCONV_ISA": isa, "DWCONV_BACKEND": "native"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _case(tree: Path, seed: int) -> str:
    command = [sys.executable, "-c", f"from bench.bits import draw_case; print(draw_case({seed}))"]
    return subprocess.run(command, env=_environment(tree), capture_output=True, text=True).stdout.strip()


def _difference(trees: Trees, isa: str, seed: int) -> str:
    """What differs for one seed: on how many threads, in how many values, and the first of them."""
    with tempfile.TemporaryDirectory() as folder:
        saved = [Path(folder) / f"{name}.npz" for name in ("old", "new")]
        lines = []
        for tree, path in zip(trees, saved, strict=True):
            lines.append(_start(tree, isa, seed, 1, str(path)).communicate()[0].split()[1:])
        found = []
        for digests in zip(*lines, strict=False):
            if digests[0] == digests[1]:
                continue
            threads = digests[0].partition(":")[0]
            old, new = (dict(np.load(path)).get(threads) for path in saved)
            if old is None or new is None or old.shape != new.shape:
                found.append(f"{threads} threads: {' and '.join(digests)}")
                continue
            apart = old.view(np.uint32) != new.view(np.uint32)
            apart &= ~(np.isnan(old) & np.isnan(new))
            first = tuple(map(int, np.argwhere(apart)[0]))
            values = f"{apart.sum()} of {apart.size} values, at {first} {old[first]} and {new[first]}"
            found.append(f"{threads} threads: {values}")
        return "; ".join(found) or "not when repeated"


# ---- speed ------------------------------------------------------------------------------------

_SLICE_SECONDS = 0.002
_SUSPECT = 0.97  # below it, a workload is visited again when all others are done


@dataclass
class Timed:
    """Microseconds per call of both builds, in slices right after one another."""

    workload: Workload
    pairs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def least(self) -> tuple[float, float]:
        old, new = zip(*self.pairs, strict=True)
        return min(old), min(new)

    @property
    def ratios(self) -> tuple[float, float]:
        """Old / new: of the least times, and the median of the pairs. Above 1: the new build is faster."""
        old, new = self.least
        return old / new, median(old / new for old, new in self.pairs)


def measure(workloads: Sequence[Workload], trees: Trees, threads: int, pairs: int = 10) -> Iterator[Timed]:
    """Every workload, and again, twice at most, those in which the new build seems to lose.

    Only one build runs at a time, the other one's process is stopped; both are pinned to the same CPUs.
    """
    with ExitStack() as stack:
        workers = []
        for tree in trees:
            worker = WorkerProcess(f"dwconv-python@{tree}", threads, machine.usable_cpus()[:threads])
            stack.callback(worker.close)
            if worker.greeting["status"] != "ok":
                raise ValueError(f"{tree}: {worker.greeting['message']}")
            workers.append(worker)
        found = [Timed(workload) for workload in workloads]
        for timed in found:
            _visit(timed, workers, pairs)
            yield timed
        for _ in range(2):
            for timed in found:
                if min(timed.ratios) < _SUSPECT:
                    _visit(timed, workers, 2 * pairs)


def _visit(timed: Timed, workers: Sequence[WorkerProcess], pairs: int) -> None:
    """Half of the pairs in one place in memory, half in another; each build is first in turn."""
    with tempfile.TemporaryDirectory(prefix="dwconv-bench-") as folder:
        problems.save(problems.make(timed.workload), None, Path(folder))
        for worker in workers:
            answer = worker.ask("prepare", key="call", folder=folder)
            if answer["status"] != "ok":
                raise ValueError(
                    f"{worker.peer}: {timed.workload.op} {timed.workload.shape}: {answer['message']}"
                )
        for number in range(pairs):
            if number == pairs // 2:
                for worker in workers:
                    worker.ask("renew", key="call")
            order = (0, 1) if number % 2 else (1, 0)
            pair = [0.0, 0.0]
            for i in order:
                (pair[i],) = workers[i].ask("sample", key="call", samples=1, seconds=_SLICE_SECONDS)["us"]
            timed.pairs.append((pair[0], pair[1]))
        for worker in workers:
            worker.ask("drop", key="call")


def text(found: Iterable[Timed]) -> str:
    """A line per workload, the worst first, and the geometric means.

    What is slower is so in its least time and in the median; noise mostly shows in one of them.
    """
    found = sorted(found, key=lambda timed: max(timed.ratios))
    lines = [f"{'operation':18} {'shape':44} {'old, us':>10} {'new, us':>10} {'least':>7} {'median':>7}"]
    for timed in found:
        figures = "{:10.2f} {:10.2f} {:7.3f} {:7.3f}".format(*timed.least, *timed.ratios)
        lines.append(f"{timed.workload.op:18} {timed.workload.shape:44} {figures}")
    lines.append("old / new, geometric means (above 1: the new build is faster)")
    for op in [*dict.fromkeys(timed.workload.op for timed in found), "all"]:
        ratios = [timed.ratios for timed in found if op in ("all", timed.workload.op)]
        means = "{:7.3f} {:7.3f}".format(*map(geometric_mean, zip(*ratios, strict=True)))
        worst = f"{max(ratios[0]):.3f}"
        lines.append(f"{op:18} {f'{len(ratios)} workloads, the worst {worst}':44} {means:>37}")
    return "\n".join(lines)
