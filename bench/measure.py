"""One honest run: all peers side by side on one workload after another, in interleaved rounds.

Every turn goes round the peers, so that drift of the machine hits all alike, and begins with another peer
each time. Rounds are added while a row is too noisy. A peer that is wrong, crashes or hangs is reported as
such; the run goes on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import problem as problems
from bench import stats
from bench.machine import usable_cpus
from bench.peers import is_ours, peer_class
from bench.process import WorkerError, WorkerProcess
from bench.schema import Row, compare_peers
from bench.workloads import Workload

CHAIN = 4  # layers; the slope is (time of the chain - time of one) / (CHAIN - 1)


@dataclass(frozen=True)
class Settings:
    """A sample is long against the clock's 50 ns and short against the scheduler's milliseconds.

    A round is a preparation of every peer in other memory than before, then `turns` turns of `samples`.
    Rounds beyond `rounds` are added while a row is noisy, but none after `patience` seconds on a workload.
    """

    rounds: int
    turns: int
    samples: int
    sample_seconds: float
    most_rounds: int
    patience: float = 5
    timeout: float = 120
    cold_bytes: int = 0


QUICK = Settings(rounds=4, turns=2, samples=3, sample_seconds=0.002, most_rounds=10)
FULL = Settings(rounds=4, turns=3, samples=4, sample_seconds=0.003, most_rounds=10)


class Crew(AbstractContextManager["Crew"]):
    """The workers of all peers at one thread count; a lost one is started again for the next workload."""

    def __init__(self, peers: Sequence[str], threads: int, settings: Settings) -> None:
        self.threads, self.settings = threads, settings
        self.described: dict[str, dict[str, Any]] = {}
        self._workers: dict[str, WorkerProcess] = {}
        for peer in peers:
            self._start(peer)

    @property
    def peers(self) -> list[str]:
        return [peer for peer, described in self.described.items() if "absent" not in described]

    def ask(self, peer: str, call: str, **arguments: Any) -> dict[str, Any]:
        """A failure of the worker is an answer too."""
        try:
            if peer not in self._workers:
                self._start(peer)
            return self._workers[peer].ask(call, self.settings.timeout, **arguments)
        except WorkerError as lost:
            self._workers.pop(peer, None)
            return {"status": lost.status, "message": str(lost)}

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _start(self, peer: str) -> None:
        cpus = usable_cpus()[: self.threads]
        try:
            worker = WorkerProcess(peer, self.threads, cpus)
        except WorkerError as lost:
            if peer in self.described:
                raise
            self.described[peer] = {"absent": f"{lost.status} at start: {lost}"}
            return
        except ImportError as problem:
            self.described[peer] = {"absent": str(problem)}
            return
        greeting = dict(worker.greeting)
        if greeting.pop("status") == "ok":
            self._workers[peer] = worker
            self.described.setdefault(peer, greeting)
        else:
            worker.close()
            self.described[peer] = {"absent": greeting["message"]}


def run_workload(
    workload: Workload, crews: Sequence[Crew], limits: Callable[[Workload, int], float | None]
) -> list[Row]:
    """Rows of every peer at every thread count. `limits` gives the roofline time in microseconds."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="dwconv-bench-") as folder:
        keys = {"call": _write(workload, Path(folder) / "call")}
        chain = workload.chain(CHAIN)
        if chain and any(peer_class(peer)[0].reorders for crew in crews for peer in crew.peers):
            keys["chain"] = _write(chain, Path(folder) / "chain")
        for crew in crews:
            rows += _rows(workload, crew, keys, limits(workload, crew.threads))
    compare_peers(rows, is_ours)
    return rows


def _write(workload: Workload, folder: Path) -> str:
    problem = problems.make(workload)
    problems.save(problem, problems.reference(problem), folder)
    return str(folder)


def _rows(workload: Workload, crew: Crew, folders: dict[str, str], roofline_us: float | None) -> list[Row]:
    rows = {peer: _prepare(workload, crew, peer, folders["call"]) for peer in crew.peers}
    timed = [(peer, "call") for peer, row in rows.items() if row.status == "ok"]
    for peer, _ in list(timed):
        if "chain" in folders and peer_class(peer)[0].reorders:
            answer = crew.ask(peer, "prepare", key="chain", folder=folders["chain"])
            if answer["status"] == "ok" and answer["correct"]:
                timed.append((peer, "chain"))
    timings = _interleave(crew, timed, rows)
    for peer, row in rows.items():
        if (peer, "call") in timings:
            _fill(row, timings[peer, "call"], timings.get((peer, "chain")), roofline_us)
        for key in folders:
            if row.status not in ("crashed", "hung"):
                crew.ask(peer, "drop", key=key)
    return list(rows.values())


def _prepare(workload: Workload, crew: Crew, peer: str, folder: str) -> Row:
    version = str(crew.described[peer].get("version", ""))
    head = (workload.network, workload.op, workload.shape, workload.count, crew.threads, peer, version)
    row = Row(*head, flops=workload.flops, bytes=workload.bytes)
    answer = crew.ask(peer, "prepare", key="call", folder=folder)
    row.status = answer.pop("status")
    for name, value in answer.items():
        setattr(row, name, value)
    if row.status == "ok" and not row.correct:
        row.status = "wrong"
    return row


def _interleave(
    crew: Crew, timed: list[tuple[str, str]], rows: dict[str, Row]
) -> dict[tuple[str, str], stats.Timing]:
    settings = crew.settings
    rounds: dict[tuple[str, str], list[list[float]]] = {pair: [] for pair in timed}
    arguments = {
        "samples": settings.samples,
        "seconds": settings.sample_seconds,
        "cold_bytes": settings.cold_bytes,
    }

    def ask(peer: str, call: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer of a peer that works; one that fails is marked in its row."""
        row = rows[peer]
        if row.status != "ok":
            return None
        answer = crew.ask(peer, call, **arguments)
        if answer["status"] != "ok":
            row.status, row.message = answer["status"], answer["message"]
            return None
        return answer

    started = time.monotonic()
    for number in range(settings.most_rounds):
        for (peer, key), samples in rounds.items():
            samples.append([])
            if number:
                ask(peer, "renew", key=key)
        for turn in range(settings.turns):
            pairs = list(rounds)
            start = (number * settings.turns + turn) % len(pairs) if pairs else 0
            for peer, key in pairs[start:] + pairs[:start]:
                answer = ask(peer, "sample", key=key, **arguments)
                if answer:
                    rounds[peer, key][-1] += answer["us"]
        rounds = {pair: samples for pair, samples in rounds.items() if rows[pair[0]].status == "ok"}
        if number + 1 < settings.rounds:
            continue
        quiet = not any(stats.summarize(samples).noisy for samples in rounds.values())
        if quiet or time.monotonic() - started > settings.patience:
            break
    return {pair: stats.summarize(samples) for pair, samples in rounds.items()}


def _fill(row: Row, call: stats.Timing, chain: stats.Timing | None, roofline_us: float | None) -> None:
    row.min_us, row.median_us = call.minimum, call.median
    row.spread, row.noise = call.spread, call.noise
    if chain and chain.minimum > call.minimum:
        row.slope_us = (chain.minimum - call.minimum) / (CHAIN - 1)
    best = row.best_us or call.minimum
    row.gflops = row.flops / best / 1e3
    row.roofline_us = roofline_us
    row.roofline_share = roofline_us / best if roofline_us else None
