"""One honest run: all peers side by side on one workload after another, in interleaved rounds, and all of it
more than once.

Every turn goes round the peers, so that drift of the machine hits all alike, and begins with another peer
each time. Minutes later every workload is visited again: only what was seen twice is sure. A peer that is
wrong, crashes or hangs is reported as such; the run goes on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import folders as problems
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

    The run visits every workload `visits` times, minutes apart, and then, up to `most_visits`, those that are
    still noisy. A visit has `rounds`: each a preparation of every peer in other memory than before, then
    `turns` turns of `samples`. A peer that is `far` times slower than the fastest has one round of them, and
    after `patience` seconds nobody has another.
    """

    visits: int
    most_visits: int
    rounds: int
    turns: int
    samples: int
    sample_seconds: float
    patience: float = 4
    far: float = 4
    timeout: float = 120
    cold_bytes: int = 0


QUICK = Settings(visits=2, most_visits=5, rounds=3, turns=2, samples=3, sample_seconds=0.002)
FULL = Settings(visits=2, most_visits=3, rounds=3, turns=2, samples=3, sample_seconds=0.002)


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


@dataclass
class Measurement:
    """What is known of one workload: a row of every peer at every thread count, and the samples behind it."""

    workload: Workload
    rows: dict[tuple[int, str], Row] = field(default_factory=dict)
    # (threads, peer, "call" or "chain") -> samples in microseconds, visit by visit
    samples: dict[tuple[int, str, str], list[list[float]]] = field(default_factory=dict)

    def noisy(self, far: float) -> set[tuple[int, str]]:
        """Rows that another visit would be for: uncertain ones that are not far behind."""
        fastest: dict[int, float] = {}
        for (threads, _), row in self.rows.items():
            if row.best_us:
                fastest[threads] = min(row.best_us, fastest.get(threads, row.best_us))
        return {
            (threads, peer)
            for (threads, peer), row in self.rows.items()
            if row.best_us and row.best_us <= far * fastest[threads] and (row.noise or 0) > stats.NOISY
        }


def noisy_share(measurements: Iterable[Measurement], far: float) -> float:
    """The share of all timed rows that are noisy; those that are far behind may be."""
    noisy = timed = 0
    for measurement in measurements:
        noisy += len(measurement.noisy(far))
        timed += sum(row.min_us is not None for row in measurement.rows.values())
    return noisy / timed if timed else 0.0


def schedule(measurements: Sequence[Measurement], settings: Settings) -> Iterator[tuple[Measurement, bool]]:
    """What to visit next, and whether only its noisy rows."""
    for number in range(settings.most_visits):
        again = number >= settings.visits
        for measurement in measurements:
            if not again or measurement.noisy(settings.far):
                yield measurement, again


def visit(
    measurement: Measurement,
    crews: Sequence[Crew],
    limits: Callable[[Workload, int], float | None],
    only_noisy: bool = False,
) -> list[Row]:
    """Adds to the measurement and returns its rows. `limits` gives the roofline time in microseconds.

    An interrupted visit adds nothing.
    """
    workload = measurement.workload
    rows = dict(measurement.rows)
    added: dict[tuple[int, str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="dwconv-bench-") as folder:
        of_peers = {peer: as_run_by(workload, peer) for crew in crews for peer in crew.peers}
        takes_chains = any(_takes_chains(crew, peer) for crew in crews for peer in crew.peers)
        folders = {
            of: _write(of, takes_chains, Path(folder) / of.dtype) for of in dict.fromkeys(of_peers.values())
        }
        for crew in crews:
            peers = _whom_to_ask(measurement, crew, only_noisy)
            own = {peer: folders[of_peers[peer]] for peer in peers}
            found = {peer: _prepare(of_peers[peer], crew, peer, own[peer]["call"]) for peer in peers}
            for (peer, key), samples in _sample(crew, found, own).items():
                added[crew.threads, peer, key] = samples
            for peer, row in found.items():
                # What the first call took is only known of the first visit.
                if row.status != "ok" or (crew.threads, peer) not in rows:
                    rows[crew.threads, peer] = row
    for series, samples in added.items():
        measurement.samples.setdefault(series, []).append(samples)
    measurement.rows = rows
    for (threads, peer), row in rows.items():
        timings = {
            key: stats.summarize(measurement.samples[threads, peer, key])
            for key in ("call", "chain")
            if (threads, peer, key) in measurement.samples
        }
        if row.status == "ok":
            _fill(row, timings["call"], timings.get("chain"), limits(as_run_by(workload, peer), threads))
    compare_peers(list(rows.values()), is_ours)
    return list(rows.values())


def _takes_chains(crew: Crew, peer: str) -> bool:
    """Whoever reorders. In a cold run everybody: inside a chain, input was just written, and is not cold."""
    return crew.settings.cold_bytes > 0 or peer_class(peer)[0].reorders


def as_run_by(workload: Workload, peer: str) -> Workload:
    """Beside quantized peers dwconv's float32 computes the same workload in float32."""
    return replace(workload, dtype=getattr(peer_class(peer)[0], "dtype", "float32"))


def _write(workload: Workload, chains: bool, folder: Path) -> dict[str, str]:
    """The folders of one layer and, if it can be and anybody takes one, of a chain of it."""
    found = {"call": workload, "chain": workload.chain(CHAIN) if chains else None}
    return {key: problems.write(of, folder / key) for key, of in found.items() if of}


def _whom_to_ask(measurement: Measurement, crew: Crew, only_noisy: bool) -> list[str]:
    noisy = measurement.noisy(crew.settings.far) if only_noisy else set()
    return [
        peer
        for peer in crew.peers
        # A failure is not tried again.
        if (row := measurement.rows.get((crew.threads, peer))) is None
        or (row.status == "ok" and (not only_noisy or (crew.threads, peer) in noisy))
    ]


def _prepare(workload: Workload, crew: Crew, peer: str, folder: str) -> Row:
    version = str(crew.described[peer].get("version", ""))
    head = (workload.network, workload.op, workload.shape, workload.count, crew.threads, peer, version)
    row = Row(
        *head,
        flops=workload.flops,
        bytes=workload.bytes,
        map_bytes=workload.map_bytes,
        between_bytes=workload.between_bytes,
        layers_bytes=workload.layers_bytes,
    )
    answer = crew.ask(peer, "prepare", key="call", folder=folder)
    row.status = answer.pop("status")
    for name, value in answer.items():
        setattr(row, name, value)
    if row.status == "ok" and not row.correct:
        row.status = "wrong"
    return row


def _sample(
    crew: Crew, rows: dict[str, Row], folders: dict[str, dict[str, str]]
) -> dict[tuple[str, str], list[float]]:
    """The samples of all peers whose row is fine; their libraries are left without the workload."""
    timed = [(peer, "call") for peer, row in rows.items() if row.status == "ok"]
    for peer, _ in list(timed):
        if "chain" in folders[peer] and _takes_chains(crew, peer):
            answer = crew.ask(peer, "prepare", key="chain", folder=folders[peer]["chain"])
            if answer["status"] == "ok" and answer["correct"]:
                timed.append((peer, "chain"))
    samples = _interleave(crew, timed, rows)
    for peer, row in rows.items():
        for key in folders[peer]:
            if row.status not in ("crashed", "hung"):
                crew.ask(peer, "drop", key=key)
    return samples


def _interleave(
    crew: Crew, timed: list[tuple[str, str]], rows: dict[str, Row]
) -> dict[tuple[str, str], list[float]]:
    settings = crew.settings
    samples: dict[tuple[str, str], list[float]] = {pair: [] for pair in timed}
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
    pairs = timed
    for number in range(settings.rounds):
        if number:
            for peer, key in pairs:
                ask(peer, "renew", key=key)
        for turn in range(settings.turns):
            start = (number * settings.turns + turn) % len(pairs) if pairs else 0
            for peer, key in pairs[start:] + pairs[:start]:
                answer = ask(peer, "sample", key=key, **arguments)
                if answer:
                    samples[peer, key] += answer["us"]
        samples = {pair: us for pair, us in samples.items() if rows[pair[0]].status == "ok"}
        if time.monotonic() - started > settings.patience:
            break
        near = _near(samples, settings.far)
        pairs = [pair for pair in pairs if pair[0] in near]
    return samples


def _near(samples: dict[tuple[str, str], list[float]], far: float) -> set[str]:
    """The peers that are less than `far` times slower than the fastest, by their time per layer."""
    layer_us: dict[str, float] = {}
    for (peer, key), us in samples.items():
        least = min(us) / (CHAIN if key == "chain" else 1)
        layer_us[peer] = min(least, layer_us.get(peer, least))
    fastest = min(layer_us.values(), default=0)
    return {peer for peer, us in layer_us.items() if us <= far * fastest}


def _fill(row: Row, call: stats.Timing, chain: stats.Timing | None, roofline_us: float | None) -> None:
    row.min_us, row.median_us = call.minimum, call.median
    row.spread, row.noise, row.samples = call.spread, call.noise, call.samples
    slope = stats.slope(call, chain, CHAIN) if chain else None
    if slope:
        row.slope_us = slope[0]
        if row.slope_us < call.minimum:
            row.noise = slope[1]
    best = row.best_us or call.minimum
    row.gflops = row.flops / best / 1e3
    row.roofline_us = roofline_us
    row.roofline_share = roofline_us / best if roofline_us else None
