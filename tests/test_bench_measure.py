"""The harness survives its peers: wrong, absent, crashing and hanging ones are reported."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
from bench import measure, networks, placement
from bench.machine import usable_cpus
from bench.peers import MODULES, PEERS, WITH_VARIANTS, Runner, is_ours, peer_class
from bench.schema import Row
from bench.worker import Worker
from bench.workloads import Stage, Workload
from bench_fakes import gated
from dwconv import explain
from dwconv.engine import create_plan

if not hasattr(signal, "SIGSTOP"):
    pytest.skip("the benchmark needs POSIX signals", allow_module_level=True)

LAYER = Workload("test", (Stage("depthwise", 4, 4, (3, 3), activation="relu6"),), 6, 6)
SHORT = measure.Settings(
    visits=2, most_visits=2, rounds=1, turns=1, samples=2, sample_seconds=1e-5, timeout=5
)


@pytest.fixture
def crew(request: pytest.FixtureRequest) -> Iterator[measure.Crew]:
    with measure.Crew([f"bench_fakes.peer@{variant}" for variant in request.param], 1, SHORT) as workers:
        yield workers


def run(crew: measure.Crew, workload: Workload = LAYER) -> dict[str, Row]:
    measurement = measure.Measurement(workload)
    for visited, again in measure.schedule([measurement], crew.settings):
        measure.visit(visited, [crew], lambda workload, threads: 1.0, only_noisy=again)
    rows = measurement.rows.values()
    return {row.peer.partition("@")[2]: row for row in rows}


@pytest.mark.parametrize("crew", [["fine", "wrong", "nan", "unsupported", "raise"]], indirect=True)
def test_only_what_is_correct_is_timed(crew: measure.Crew) -> None:
    rows = run(crew)
    statuses = {name: (row.status, row.correct, row.min_us is not None) for name, row in rows.items()}
    assert statuses == {
        "fine": ("ok", True, True),
        "wrong": ("wrong", False, False),
        "nan": ("wrong", False, False),
        "unsupported": ("unsupported", False, False),
        "raise": ("failed", False, False),
    }
    assert rows["wrong"].error == pytest.approx(0.01, rel=0.999)
    assert rows["raise"].message == "ArithmeticError: cannot pack"
    assert rows["unsupported"].message == "no such operation"


@pytest.mark.parametrize("crew", [["fine"]], indirect=True)
def test_a_row_is_complete(crew: measure.Crew) -> None:
    row = run(crew)["fine"]
    assert (row.network, row.op, row.shape, row.count) == ("test", "depthwise", LAYER.shape, 1)
    assert (row.threads, row.version, row.kernels) == (1, "1.0", "fake")
    assert (row.flops, row.bytes) == (LAYER.flops, LAYER.bytes)
    assert row.min_us is not None
    assert row.median_us is not None
    assert 0 < row.min_us <= row.median_us
    assert row.first_call_us
    assert row.gflops == pytest.approx(row.flops / row.min_us / 1e3)
    assert row.roofline_share == pytest.approx(1.0 / row.min_us)
    assert row.ratio_to_best_peer is None


@pytest.mark.parametrize("crew", [["crash", "fine"]], indirect=True)
def test_a_crash_costs_its_own_row_and_the_peer_comes_back(crew: measure.Crew) -> None:
    for _ in range(2):
        rows = run(crew)
        assert rows["fine"].status == "ok"
        assert rows["crash"].status == "crashed"
        assert "SIGABRT" in rows["crash"].message
        assert rows["crash"].min_us is None


@pytest.mark.parametrize("crew", [["forks", "fine"]], indirect=True)
def test_a_crash_is_seen_though_a_helper_of_the_library_lives_on(crew: measure.Crew) -> None:
    rows = run(crew)
    assert rows["fine"].status == "ok"
    assert rows["forks"].status == "crashed"
    assert rows["forks"].message.startswith("exit code 4")


def test_a_worker_that_died_before_it_was_asked_is_a_crash_too() -> None:
    with measure.Crew(["bench_fakes.peer@fine"], 1, SHORT) as crew:
        (worker,) = crew._workers.values()
        os.killpg(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
        answer = crew.ask("bench_fakes.peer@fine", "describe")
        assert answer["status"] == "crashed"
        assert "SIGKILL" in answer["message"]


@pytest.mark.parametrize("crew", [["hang", "fine"]], indirect=True)
def test_a_peer_that_hangs_is_given_up(crew: measure.Crew) -> None:
    crew.settings = replace(SHORT, timeout=0.5)
    hanging = crew.described["bench_fakes.peer@hang"]["pid"]
    crew.ask("bench_fakes.peer@fine", "describe")  # is warm, whatever half a second means here
    rows = run(crew)
    assert rows["hang"].status == "hung"
    assert not Path(f"/proc/{hanging}").exists()


@pytest.mark.parametrize("crew", [["absent", "dead", "fine"]], indirect=True)
def test_absent_peers_are_named_with_their_reason(crew: measure.Crew) -> None:
    assert crew.described["bench_fakes.peer@absent"] == {"absent": "not on this machine"}
    assert crew.described["bench_fakes.peer@dead"] == {"absent": "crashed at start: exit code 3"}
    assert crew.peers == ["bench_fakes.peer@fine"]
    assert list(run(crew)) == ["fine"]


def test_a_module_that_does_not_import_is_absent() -> None:
    with measure.Crew(["no_such_module.peer"], 1, SHORT) as crew:
        assert "No module named 'no_such_module'" in crew.described["no_such_module.peer"]["absent"]
        assert crew.peers == []


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")
def test_workers_share_the_first_cores_and_their_thread_count() -> None:
    count = min(2, len(usable_cpus()))
    with measure.Crew(["bench_fakes.peer@a", "bench_fakes.peer@b"], count, SHORT) as crew:
        described = list(crew.described.values())
    assert [d["threads"] for d in described] == [str(count)] * 2
    assert [d["cpus"] for d in described] == [sorted(usable_cpus()[:count])] * 2


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
@pytest.mark.parametrize("crew", [["fine"]], indirect=True)
def test_an_idle_worker_is_stopped_and_cannot_spin(crew: measure.Crew) -> None:
    pid = crew.described["bench_fakes.peer@fine"]["pid"]
    run(crew)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)  # returns once the signal has arrived
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_no_worker_outlives_its_crew() -> None:
    with measure.Crew(["bench_fakes.peer@fine"], 1, SHORT) as crew:
        pid = crew.described["bench_fakes.peer@fine"]["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_caches_are_evicted_before_every_cold_call(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    monkeypatch.setattr(Worker, "_evict", lambda self, size: happened.append(f"evict {size}"))
    worker = Worker(peer_class("bench_fakes.peer")[0]("", 1))
    worker.runners["call"] = Runner(lambda loops: happened.append(f"run {loops}"), lambda: np.zeros(1))
    assert len(worker.sample("call", samples=2, seconds=1, cold_bytes=64)["us"]) == 2
    assert happened == ["evict 64", "run 1"] * 2
    # What takes longer than ten samples' time is called once.
    assert len(worker.sample("call", samples=2, seconds=0, cold_bytes=64)["us"]) == 1


def test_eviction_reads_as_much_as_it_is_told() -> None:
    worker = Worker(peer_class("bench_fakes.peer")[0]("", 1))
    worker._evict(1 << 16)
    assert worker.evictor is not None
    assert worker.evictor.nbytes == 1 << 16
    assert worker.evictor.all()  # memory that was never written to is one page, however large


@pytest.mark.parametrize("crew", [["fine"]], indirect=True)
def test_in_a_cold_run_chains_are_measured_of_everybody(crew: measure.Crew) -> None:
    """In a chain input was just written; who reorders has no other fair figure, so that all need this one."""
    for cold_bytes, keys in ((0, {"call"}), (1 << 16, {"call", "chain"})):
        crew.settings = replace(SHORT, cold_bytes=cold_bytes)
        measurement = measure.Measurement(LAYER)
        measure.visit(measurement, [crew], lambda workload, threads: 1.0)
        assert {key for _, _, key in measurement.samples} == keys


# ---- rounds and visits ------------------------------------------------------------------------


class Script:
    """In a crew's place: a sample of a peer is what its function makes of the number of its preparation."""

    threads = 1

    def __init__(self, settings: measure.Settings, **samples: Callable[[int], float]) -> None:
        self.settings, self.samples, self.peers = settings, samples, list(samples)
        self.described = {peer: {"version": "1"} for peer in samples}
        self.prepared = dict.fromkeys(samples, -1)

    def ask(self, peer: str, call: str, **_: Any) -> dict[str, Any]:
        if call in ("prepare", "renew"):
            self.prepared[peer] += 1
        if call == "sample":
            return {"status": "ok", "us": [self.samples[peer](self.prepared[peer])]}
        return {"status": "ok", "correct": True} if call == "prepare" else {"status": "ok"}


def samples_of(
    settings: measure.Settings, monkeypatch: pytest.MonkeyPatch, **samples: Callable[[int], float]
) -> dict[str, int | None]:
    """How many samples each peer had."""
    monkeypatch.setattr(measure, "peer_class", lambda name: peer_class("bench_fakes.peer"))
    script, measurement = Script(settings, **samples), measure.Measurement(LAYER)
    for visited, again in measure.schedule([measurement], settings):
        measure.visit(visited, [script], lambda workload, threads: 1.0, again)  # type: ignore[list-item]
    return {peer: row.samples for (_, peer), row in measurement.rows.items()}


VISITS = measure.Settings(visits=2, most_visits=4, rounds=3, turns=1, samples=1, sample_seconds=1e-5)


def test_only_what_is_noisy_is_visited_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noisy is what every visit sees another minimum of."""
    found = samples_of(
        VISITS, monkeypatch, steady=lambda i: 10.0, other=lambda i: 11.0, noisy=lambda i: 20.0 - i
    )
    assert found == {"steady": 6, "other": 6, "noisy": 12}


def test_a_run_is_as_noisy_as_its_rows_that_are_not_far_behind() -> None:
    def rows(**noises: float) -> dict[tuple[int, str], Row]:
        found = {}
        for i, (peer, noise) in enumerate(noises.items()):
            us = 10.0 if i < 3 else 100.0
            found[1, peer] = Row("n", "depthwise", "s", 1, 1, peer, "1", 1, 1, min_us=us, noise=noise)
        return found

    noisy = measure.Measurement(LAYER, rows(a=0.0, b=0.5, c=0.0, far=0.5))
    quiet = measure.Measurement(LAYER, rows(a=0.0, b=0.01, c=0.0, far=0.0))
    assert measure.noisy_share([noisy, quiet], far=4) == pytest.approx(1 / 8)
    assert measure.noisy_share([], far=4) == 0


def test_what_was_seen_twice_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert samples_of(VISITS, monkeypatch, peer=lambda i: 10.0 if i > 3 else 12.0) == {"peer": 9}


def test_what_is_far_behind_has_one_round_per_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = samples_of(
        VISITS, monkeypatch, fast=lambda i: 10.0, near=lambda i: 39.0, far=lambda i: 41.0 + 9 * (i % 2)
    )
    assert found == {"fast": 6, "near": 6, "far": 2}


def test_arrays_are_placed_alike_in_every_run_and_differently_in_every_round() -> None:
    def places() -> list[int]:
        placement.restart()
        return [placement.aligned((7, 100)).ctypes.data % 4096 for _ in range(16)]

    found = places()
    assert found == places()
    assert all(place % 64 == 0 for place in found)
    assert len({(y - x) % 4096 for x, y in zip(found[::2], found[1::2], strict=True)}) == 8


# ---- the real peers ---------------------------------------------------------------------------


WITH_EXPANSION = gated("7x6 16/16/16", "silu", 4, "silu", "sigmoid")
PROBLEMS = [
    *networks.layers_of("test", "10x12 24 3x3 s2", "relu6"),
    *networks.layers_of("test", "5x6 24>40", "hard_swish"),
    *networks.layers_of("test", "12x10 3>8 3x3 s2", "silu"),
    *networks.layers_of("test", "9x9 16 7x7", "gelu"),
    *networks.layers_of("test", "7x6 8/48/8", "relu"),
    # MobileNetV3's squeeze-and-excite, and EfficientNet's in a block without expansion.
    gated("9x8 8/24/16 5x5 s2 b2", "hard_swish", 6, "relu", "hard_sigmoid"),
    replace(WITH_EXPANSION, stages=WITH_EXPANSION.stages[1:]),
]


@pytest.mark.parametrize("name", PEERS)
def test_every_installed_peer_computes_the_reference(name: str) -> None:
    settings = replace(SHORT, timeout=120)
    with measure.Crew([name], 1, settings) as crew:
        if not crew.peers:
            pytest.skip(crew.described[name]["absent"].splitlines()[0])
        assert crew.described[name]["version"]
        statuses = set()
        for workload in PROBLEMS:
            measurement = measure.Measurement(workload)
            (row,) = measure.visit(measurement, [crew], lambda workload, threads: None)
            statuses.add(row.status)
            # Only blocks have something to fuse, or to take apart.
            expected = ("ok", "unsupported") if name in ("onednn-fused", "dwconv-layers") else ("ok",)
            assert row.status in expected, (workload.op, row.message, row.error)
        assert "ok" in statuses


@pytest.mark.parametrize("threads", [1, 2])
def test_scratch_is_what_the_plan_asks_for(threads: int) -> None:
    block = next(w for w in networks.expand("mobilenet_v2", ("blocks",)) if "56x56 24>144>24" in w.shape)
    if threads > len(usable_cpus()):
        pytest.skip("too few cores")
    with measure.Crew(["dwconv", "onednn"], threads, replace(SHORT, timeout=120)) as crew:
        rows = measure.visit(measure.Measurement(block), [crew], lambda workload, threads: None)
    operation, x = explain.parse(["inverted_residual", "56", "56", "24", "144", "24", "3", "1"])
    plan = create_plan(operation)
    if plan is None or "dwconv" not in crew.peers:
        pytest.skip("no extension, or no compiler")
    found = {row.peer: row.scratch_bytes for row in rows}
    assert found["dwconv"] == -(-plan.scratch_size(x, threads) // 64) * 64
    assert found.get("onednn") is None


def test_layers_are_blocks_without_fusing() -> None:
    with measure.Crew(["dwconv", "dwconv-layers"], 1, replace(SHORT, timeout=120)) as crew:
        if not crew.peers:
            pytest.skip("no compiler")
        for workload in PROBLEMS:
            rows = measure.visit(measure.Measurement(workload), [crew], lambda workload, threads: None)
            block, layers = sorted(rows, key=lambda row: row.peer)
            if len(workload.stages) == 1:
                assert (layers.status, layers.best_us) == ("unsupported", None)
                continue
            assert sorted(layers.kernels.split(", ")) == sorted(block.kernels.split(", "))
            assert layers.scratch_bytes == 0
            assert layers.ratio_to_best_peer is None  # no other library


def test_names_of_peers() -> None:
    assert set(WITH_VARIANTS) <= set(MODULES)
    assert [name for name in PEERS if is_ours(name)] == [
        "dwconv", "dwconv-layers", "dwconv-python", "dwconv-numpy",
    ]  # fmt: skip
    assert is_ours("dwconv@avx2")
    kind, variant = peer_class("bench_fakes.peer@/some/path")
    assert (kind.__module__, variant) == ("bench_fakes.peer", "/some/path")


@pytest.mark.parametrize("text", ["nonsense", "dwconv,nonsense", "torch@avx2"])
def test_the_command_line_refuses_peers_that_do_not_exist(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = pytest.importorskip("bench.__main__", reason="needs rich").main
    with pytest.raises(SystemExit):
        main(["run", "--peers", text])
    assert text.rpartition(",")[2].partition("@")[0] in capsys.readouterr().err
