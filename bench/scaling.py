"""What does another thread gain? Every workload on one thread and on several: the median of their ratios
stands for a visit. Of several visits, minutes apart, the best one tells what several cores give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from bench import machine, pairs, tables
from bench.workloads import Workload

LEAST_US = 100  # shorter work is not what is promised to scale
WANTED_OF_BLOCKS, WANTED_OF_LAYERS = 1.85, 1.9
_SAMPLE_SECONDS = 1e-3


def measure(
    workloads: Sequence[Workload], threads: int, seconds: float, visits: int
) -> Iterator[tuple[Workload, float, float, float, float]]:
    """(workload, least us on one thread, quartiles of the gain), for `seconds` each in every visit.

    Pins this process: to be called in one of its own. Raises CompileError, Absent.
    """
    machine.pin(threads)
    library = pairs.core()
    for _ in range(visits):
        for workload in workloads:
            variants = [(library, workload, count, True) for count in (1, threads)]
            with pairs.prepared(*variants) as runners:
                runs = [runner.run for runner in runners]
                if pairs.measure(runs[:1], _SAMPLE_SECONDS, 0).min() >= LEAST_US:
                    serial, shared = pairs.measure(runs, _SAMPLE_SECONDS, seconds).T
                    yield workload, serial.min(), *np.quantile(serial / shared, (0.25, 0.5, 0.75))


def best(seen: Iterable[tuple[Workload, float, float, float, float]]) -> pd.DataFrame:
    """Of each workload the visit with the largest gain."""
    rows = [
        (w.op, w.shape, *figures, WANTED_OF_BLOCKS if w.kind == "blocks" else WANTED_OF_LAYERS)
        for w, *figures in seen
    ]
    table = pd.DataFrame(rows, columns=["op", "shape", "serial_us", "low", "median", "high", "wanted"])
    table = table.sort_values("median", ascending=False).drop_duplicates(["op", "shape"]).sort_index()
    return table.assign(below=table["median"].round(2) < table["wanted"])


def text(found: pd.DataFrame, threads: int) -> str:
    """A line each, then by operation what is gained and how often as much as is wanted."""
    by = found.groupby("op", sort=False)
    summary = by.agg(
        mean=("median", tables.mean), wanted=("wanted", "first"), below=("below", "sum"), of=("op", "size")
    )
    lowest = found.loc[by["median"].idxmin()].set_index("op")
    summary = summary.assign(lowest=lowest["median"], where=lowest["shape"])
    head = f"what {threads} threads gain over one, from {LEAST_US} us on: median of pairs, and its quartiles"
    return f"{found.round(2).to_string(index=False)}\n\n{head}\n{summary.round(2).to_string()}"
