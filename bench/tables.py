"""What results say, as pandas frames: who is faster by how much, whole networks, fusing, memory.

`wide` has a line per workload and thread count and a column of times per peer. The form of dwconv that is
compared, `mine`, is the first of a result. Reports only print what this makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bench import networks
from bench.peers import is_ours
from bench.schema import Row
from bench.workloads import Workload

KEY = ["network", "op", "shape", "threads"]
BLOCKS = ("separable", "inverted_residual")
OPS = (*BLOCKS, "depthwise", "pointwise", "conv")  # what the project is for comes first


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """A line per row, and its `best_us`. Networks as they came, of each the blocks before the layers."""
    table = pd.DataFrame([asdict(row) | {"best_us": row.best_us} for row in rows])
    if table.empty:
        raise ValueError("the result holds no row")
    order = np.lexsort(
        (table["op"].map(OPS.index), table["network"].map(list(table["network"].unique()).index))
    )
    numbers = [name for name, kind in Row.__annotations__.items() if kind.startswith(("float", "int"))]
    return table.iloc[order].astype({name: float for name in (*numbers, "best_us") if name not in KEY})


def wide(table: pd.DataFrame, value: str = "best_us") -> pd.DataFrame:
    index = pd.MultiIndex.from_frame(table[KEY].drop_duplicates())
    return table.pivot(index=KEY, columns="peer", values=value).reindex(index, columns=table["peer"].unique())


def distinct(times: pd.DataFrame) -> pd.DataFrame:
    """Every workload once, however many networks hold it, blocks first: what means over all are taken of."""
    once = times[~times.index.droplevel("network").duplicated()]
    return once.iloc[np.argsort(once.index.get_level_values("op").map(OPS.index), kind="stable")]


def ours(times: pd.DataFrame) -> str | None:
    return next(filter(is_ours, times.columns), None)


def speedups(times: pd.DataFrame) -> pd.DataFrame:
    """Of workloads that somebody else ran too: our time, the best other peer's, its name, and their ratio."""
    others = [peer for peer in times.columns if not is_ours(peer)]
    compared = times[times[ours(times)].notna() & times[others].notna().any(axis=1)]
    found = pd.DataFrame({"us": compared[ours(times)], "best_us": compared[others].min(axis=1)})
    found["peer"] = compared[others].idxmin(axis=1) if len(compared) else ""
    return found.assign(ratio=found["best_us"] / found["us"])


def mean(values: Any) -> float:
    """The geometric one, of what is a number."""
    return float(np.exp(np.log(pd.Series(values, dtype=float).dropna()).mean()))


def standings(times: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Against the best other peer of each workload, by levels of the index: mean, won of how many, worst."""
    found = []
    for key, part in speedups(times).groupby(list(by), sort=False):
        won = f"{(part['ratio'] >= 1).sum()} of {len(part)}"
        worst = part["ratio"].min(), part["ratio"].idxmin()[KEY.index("shape")]
        found.append([*key, mean(part["ratio"]), won, *worst])
    return pd.DataFrame(found, columns=[*by, "mean", "won", "worst", "where"])


def against_each(times: pd.DataFrame) -> pd.DataFrame:
    """Geometric means of a peer's time / ours, over what both ran: a line per peer, a column per op."""
    mine = ours(times)
    ratios = times.drop(columns=mine).div(times[mine], axis=0)
    means = ratios.groupby(level=["threads", "op"], sort=False).agg(mean)
    found = means.T.stack("threads", future_stack=True).dropna(how="all").swaplevel()
    return found.sort_index(level=0, sort_remaining=False)


def of_float(table: pd.DataFrame, times: pd.DataFrame, mine: str, peaks: dict[int, float]) -> pd.DataFrame:
    """Every workload in 8-bit integers once: our time, its operations as a share of the peak of dot products,
    and the times of our float32 and of the fastest other library divided by it.

    `peaks`: 1e9 operations per second by threads.
    """
    once = distinct(times)
    heads = table[table["peer"] == mine].drop_duplicates(KEY).set_index(KEY).loc[once.index]
    found = speedups(once).reindex(once.index)
    result = pd.DataFrame({"us": once[mine], "peak": heads["gflops"]})
    result["peak"] /= [
        peaks.get(threads, float("nan")) for threads in result.index.get_level_values("threads")
    ]
    result["float32"] = once["dwconv"] / once[mine] if "dwconv" in once else float("nan")
    result["peers"], result["best"] = found["ratio"], found["peer"].fillna("")
    return result[result["us"].notna()].reset_index().drop(columns="network")


def losses(times: pd.DataFrame) -> pd.DataFrame:
    """Where another peer is faster, the worst first."""
    found = speedups(times)
    return found[found["ratio"] < 1].sort_values("ratio", kind="stable")


def network_totals(table: pd.DataFrame) -> pd.DataFrame:
    """Microseconds of all layers of a network one after another, of those who ran all; the roofline's too.

    "blocks": ours, where pairs and inverted residuals are one operation each.
    """
    layers = table[~table["op"].isin(BLOCKS) & ~table["network"].isin(networks.SETS)]
    if layers.empty:
        return pd.DataFrame()
    times = wide(layers)
    mine = ours(times)
    heads = layers.drop_duplicates(KEY).set_index(KEY)
    times["roofline"] = heads["roofline_us"]
    by = times.mul(heads["count"], axis=0).groupby(level=["network", "threads"], sort=False)
    totals = by.agg(lambda column: column.sum(skipna=False)).dropna(axis=1, how="all")
    if mine:
        fused = [_as_blocks(wide(table)[mine], *key) for key in totals.index]
        totals.insert(0, f"{mine}, blocks", pd.Series(fused, totals.index))
    return totals.dropna(axis=1, how="all")


def _as_blocks(times: pd.Series[float], network: str, threads: int) -> float:
    """NaN where a block or a layer outside of one was not measured."""
    if network not in networks.NETWORKS:
        return float("nan")
    called = _with_blocks_called(networks.NETWORKS[network]())
    return float(sum(times.get((network, w.op, w.shape, threads), float("nan")) for w in called))


def _with_blocks_called(found: Iterable[Workload]) -> Iterable[Workload]:
    """A network's blocks without the layers that follow each and that it is made of, and its other layers."""
    inside = 0
    for workload in found:
        if inside:
            inside -= 1
            continue
        if workload.kind == "blocks":
            inside = len(workload.stages + workload.squeeze_excite)
        yield workload


def fusing(times: pd.DataFrame) -> pd.Series[float]:
    """Of every block measured both ways: its time as layers of dwconv / as one operation."""
    base, at, variant = (ours(times) or "").partition("@")
    layers = f"{base}-layers{at}{variant}"
    if layers not in times:
        return times[ours(times)][:0]
    ratio = (times[layers] / times[ours(times)]).dropna()
    return ratio[ratio.index.get_level_values("op").isin(BLOCKS)]


def block_memory(table: pd.DataFrame, mine: str | None) -> pd.DataFrame:
    """By network and threads, in KB: our scratch at most, and the maps between layers at most."""
    blocks = table[table["op"].isin(BLOCKS) & (table["peer"] == mine) & table["scratch_bytes"].notna()]
    found = blocks.assign(ratio=blocks["scratch_bytes"] / blocks["between_bytes"])
    by = found.astype({"threads": int}).groupby(["network", "threads"], sort=False)
    memory = by.agg(scratch=("scratch_bytes", "max"), maps=("between_bytes", "max"), ratio=("ratio", mean))
    return memory.assign(scratch=memory["scratch"] // 1000, maps=memory["maps"] // 1000).astype(
        {"scratch": int, "maps": int}
    )


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """By peer: the median first call in microseconds, and the most memory that one took, in bytes.

    Freed memory is often still the worker's own when the next workload comes: only the most says something.
    """
    by = table[table["first_call_us"].notna()].groupby("peer", sort=False)
    return by.agg({"first_call_us": "median", "peak_bytes": "max"})
