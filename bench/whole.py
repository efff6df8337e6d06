"""Whole networks: every peer on one after another, all samples interleaved, on one and on two threads."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.machine import exchange_ns, usable_cpus
from bench.process import WorkerError, WorkerProcess

TOLERANCE = 1e-4  # of the largest output
ORACLES = ("onnxruntime", "litert", "torch", "openvino")


@dataclass
class Row:
    model: str
    threads: int
    peer: str
    status: str = "ok"
    message: str = ""
    ms: float | None = None  # the least
    median_ms: float | None = None
    first_ms: float | None = None  # loading, packing and the first run
    peak_bytes: int | None = None
    workspace: int | None = None
    others: dict[str, float] | None = None  # shares of the time of all but convolutions, by operation
    exchange_ns: float | None = None  # of two threads: see bench.machine
    error: float | None = None  # against the first of ORACLES that runs it, as a share of its largest output
    outputs: int | None = None  # of networks of integers: how many values, and how many are not dwconv's
    differing: int | None = None


Compare = Callable[[Sequence["Row"], Path], None]


def measure(
    models: Sequence[str],
    peers: Sequence[str],
    threads: Sequence[int],
    seconds: float,
    rounds: int,
    compare: Compare | None = None,
) -> Iterator[Row]:
    """One row for each; a peer that cannot run a network says why in `status` and `message`.

    `compare` sets the fields of rows that say how far outputs, arrays in `folder / f"{peer}.npz"`, differ.
    """
    for model in models:
        for count in threads:
            with tempfile.TemporaryDirectory() as folder:
                yield from _one(model, peers, count, seconds, rounds, Path(folder), compare or _compare)


def _one(
    model: str,
    peers: Sequence[str],
    threads: int,
    seconds: float,
    rounds: int,
    folder: Path,
    compare: Compare,
) -> Iterator[Row]:
    rows, workers = [Row(Path(model).name, threads, peer) for peer in peers], {}
    for row in rows:
        try:
            worker = WorkerProcess(row.peer, threads, usable_cpus()[:threads], module="bench.whole_worker")
            answer = worker.ask("prepare", 600, model=model, outputs=str(folder / f"{row.peer}.npz"))
        except (WorkerError, ImportError) as lost:
            row.status, row.message = getattr(lost, "status", "absent"), str(lost)
            continue
        row.status, row.message = answer.pop("status"), answer.pop("message", "")
        if row.status != "ok":
            worker.close()
            continue
        workers[row.peer] = worker
        for key, value in answer.items():
            setattr(row, key, value)
    compare(rows, folder)
    if threads > 1:
        exchange = exchange_ns()
        for row in rows:
            row.exchange_ns = exchange
    samples: dict[str, list[float]] = {peer: [] for peer in workers}
    for number in range(rounds):
        order = list(workers)
        for peer in order[number % len(order) :] + order[: number % len(order)]:
            samples[peer] += workers[peer].ask("sample", 600, seconds=seconds)["ms"]
    for row in rows:
        if samples.get(row.peer):
            row.ms, row.median_ms = min(samples[row.peer]), float(np.median(samples[row.peer]))
    for worker in workers.values():
        worker.close()
    yield from rows


def _compare(rows: Sequence[Row], folder: Path) -> None:
    found = {
        row.peer: list(np.load(folder / f"{row.peer}.npz").values()) for row in rows if row.status == "ok"
    }
    oracle = next((found[name] for name in ORACLES if name in found), None)
    if oracle is None:
        return
    for row in rows:
        if row.status != "ok":
            continue
        results = found[row.peer]
        if [y.size for y in results] != [y.size for y in oracle]:
            row.status, row.message = "wrong", "outputs of other shapes"
            continue
        errors = [
            float(np.abs(y.ravel() - e.ravel()).max() / max(np.abs(e).max(), 1e-30))
            for y, e in zip(results, oracle, strict=True)
        ]
        row.error = max(errors, default=0.0)
        if not row.error <= TOLERANCE:
            row.status = "differs"


def joined(path: Path, rows: Sequence[Row]) -> list[Row]:
    """What a file of results holds, if there is one, with these rows in place of its own of the same."""
    stored = load(path)[1] if path.is_file() else []
    return list({(row.model, row.threads, row.peer): row for row in [*stored, *rows]}.values())


def save(rows: Sequence[Row], machine: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def join_serving(path: Path, rows: Sequence[dict[str, Any]], commit: str) -> None:
    """Into a file of results, in place of what it has of the same model, library and callers."""
    rows = [row | {"commit": commit} for row in rows]
    stored = json.loads(path.read_text())
    known = {(row["model"], row["peer"], row["callers"]): row for row in [*stored.get("serving", []), *rows]}
    path.write_text(json.dumps({**stored, "serving": list(known.values())}, indent=1) + "\n")


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    stored = json.loads(path.read_text())
    return stored["machine"], [Row(**row) for row in stored["rows"]]


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Milliseconds by model and threads, a column for each peer; `ratio`: the best other one over dwconv."""
    frame = pd.DataFrame([asdict(row) for row in rows])
    wide = frame.pivot_table(index=["model", "threads"], columns="peer", values="ms", sort=False)
    if "dwconv" in wide.columns and any(not c.startswith("dwconv") for c in wide.columns):
        wide["ratio"] = least_ratio(wide)
    return wide


def least_ratio(times: pd.DataFrame) -> pd.Series[float]:
    others = [c for c in times.columns if not c.startswith("dwconv") and c != "ratio"]
    return times[others].min(axis=1) / times["dwconv"]


def write_docs(source: Path, docs: Path) -> Path:
    """docs/network-times.md, made of a file of results."""
    machine, rows = load(source)
    times, frame = table(rows), pd.DataFrame([asdict(row) for row in rows])
    ours = frame[(frame.peer == "dwconv") & frame.ms.notna()].set_index(["model", "threads"])
    first = frame[frame.threads == 1].pivot_table(
        index="model", columns="peer", values="first_ms", sort=False
    )
    parts = [
        "# Whole networks",
        f"<!-- Generated: python -m bench whole --report {source.as_posix()} -->",
        f"{machine['cpu']}, {machine['cores']} cores, commit {machine['commit']}; milliseconds per run,\n"
        "the least of many, all libraries in turn in one run, threads pinned.\n"
        "[Which models](../bench/whole_models.py); [how libraries are called](../bench/whole_peers.py).",
        "\n".join(
            f"- {threads} thread{'s' * (threads > 1)}: the fastest other library takes {mean(ratios):.2f} "
            f"times as long as dwconv in geometric mean,\n  and at least {ratios.min():.2f} times."
            for threads, ratios in times.groupby(level="threads")["ratio"]
        ),
        markdown(times.round(3)),
        "`ratio`: the fastest other library over dwconv; above 1, dwconv is faster.\nEmpty: the library "
        "cannot read the model.",
    ]
    if 2 in ours.index.get_level_values("threads"):
        two = ours.xs(2, level="threads")
        gain = pd.DataFrame({"gain": (ours.ms.xs(1, level="threads") / two.ms).dropna().round(2)})
        parts += ["## What a second thread gains"]
        if two.exchange_ns.notna().any():
            gain["exchange_ns"] = two.exchange_ns.round()
            parts += [
                "`exchange_ns`: a cache line from one of the two CPUs to the other and back, just before.\n"
                "50 say that they share a cache. Virtual CPUs may share none at another time: then 300,\n"
                "and all that threads hand to each other takes several times as long, in every library."
            ]
        parts += [markdown(gain)]
    serving = json.loads(source.read_text()).get("serving", [])
    if serving:
        parts += [
            "## Many callers",
            "Python threads that call one network, one thread per call, each again when it is answered:\n"
            f"requests per second, and milliseconds that a caller waits. Commit {_commits(serving)}.",
            markdown(_serving(serving)),
        ]
    listed = _others(rows)
    if len(listed):
        parts += [
            "## Other operations",
            "The share of dwconv's time, on one thread, that nodes take which are neither convolutions nor\n"
            "products, nor fused into one; and the three that take most of it.",
            markdown(listed),
        ]
    parts += ["## First call", "Reading the model, packing weights and the first run, in milliseconds.",
              markdown(first.round(1))]  # fmt: skip
    memory = ours.xs(1, level="threads")[["workspace", "error"]]
    parts += [
        "## Memory and error of dwconv",
        "Bytes of workspace; the largest error as a share of the largest output,\nagainst the first of "
        f"{', '.join(ORACLES)} that reads the model.",
        markdown(memory),
    ]
    path = docs / "network-times.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def _commits(rows: Sequence[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(row["commit"]) for row in rows))


def _serving(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).drop(columns="commit").set_index(["model", "callers", "peer"])
    frame = frame.rename(columns={"per_second": "requests / s", "median_ms": "median", "p99_ms": "99 %"})
    return frame.sort_index(level=["model", "callers"], sort_remaining=False).round(2)


def _others(rows: Sequence[Row]) -> pd.DataFrame:
    found = [
        {
            "model": row.model,
            "share": f"{sum(row.others.values()):.1%}",
            "most of it": ", ".join(f"{name} {share:.1%}" for name, share in list(row.others.items())[:3]),
        }
        for row in rows
        if row.peer == "dwconv" and row.threads == 1 and row.others is not None
    ]
    return pd.DataFrame(found).set_index("model") if found else pd.DataFrame()


def mean(ratios: pd.Series[float]) -> float:
    return float(np.exp(np.log(ratios.dropna()).mean()))


def markdown(values: pd.DataFrame | pd.Series[float]) -> str:
    return str(values.reset_index().to_markdown(index=False)).replace(" nan |", "     |")
