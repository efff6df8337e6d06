"""`python -m bench scaling`: what it makes of pairs of times, and that it measures what it says."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("rich")
from bench import __main__ as command
from bench import machine, scaling
from bench.peers import Runner, shim
from bench.peers import dwconv as peer
from bench.scaling import Gain
from bench.workloads import Stage, Workload

POINTWISE = Stage("pointwise", 16, 16)
LAYER = Workload("test", (POINTWISE,), 7, 7)
BLOCK = Workload("test", (Stage("depthwise", 16, 16, (3, 3)), POINTWISE), 7, 7)


def gain(workload: Workload, median: float) -> Gain:
    return Gain(workload, 100.0, median - 0.1, median, median + 0.1)


def test_blocks_are_asked_for_less_than_layers() -> None:
    assert not gain(LAYER, 1.86).reached
    assert gain(BLOCK, 1.86).reached
    assert gain(LAYER, 1.896).reached  # as printed
    assert not gain(BLOCK, 1.84).reached


def test_summary_counts_by_operation_and_names_the_lowest() -> None:
    text = scaling.summary([gain(LAYER, 1.5), gain(LAYER, 2.0), gain(BLOCK, 1.9)], 2)
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert "mean 1.73, 1.9 in 1 of 2, lowest 1.50 (7x7 16>16)" in lines["pointwise"]
    assert "mean 1.90, 1.85 in 1 of 1" in lines["separable"]


def test_line_marks_what_is_below() -> None:
    assert scaling.line(gain(LAYER, 1.5)).endswith("1.40   1.50   1.60  below")
    assert scaling.line(gain(LAYER, 2.0)).endswith("2.10")


@pytest.mark.usefixtures("pinning")
def test_samples_alternate_and_short_work_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = 0.0, []
    released = []

    def prepare(library: object, *, problem: object, threads: int, fuse: bool) -> Runner:
        assert fuse  # blocks as they are

        def run(loops: int) -> None:
            nonlocal clock
            calls.append(threads)
            clock += loops * (40e-6 if problem == "short" else 400e-6) / threads

        return Runner(run, lambda: None, release=lambda: released.append(threads))  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(peer, "build", lambda csrc: "library")
    monkeypatch.setattr(shim, "load", lambda path: path)
    monkeypatch.setattr(shim, "prepare", prepare)
    monkeypatch.setattr(scaling.problems, "make", lambda w: "short" if w.height == 7 else "long")
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: clock)
    found = list(scaling.measure([LAYER, Workload("test", (POINTWISE,), 14, 14)], 2, seconds=0, visits=2))
    assert [g.workload.height for g in found] == [14, 14]
    assert (found[0].serial, found[0].median) == pytest.approx((400, 2))
    assert calls[-8:] == [1, 1, 2, 2, 1, 1, 2, 2]  # a call to warm up, a sample
    assert released == [1, 2] * 4


def test_command_prints_each_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def measure(workloads: list[Workload], threads: int, seconds: float, visits: int) -> list[Gain]:
        asked.append((len(workloads), threads, seconds, visits))
        return [gain(LAYER, 1.75), gain(LAYER, 1.95), gain(LAYER, 1.85)]

    monkeypatch.setattr(machine, "usable_cpus", lambda: [0, 1])
    monkeypatch.setattr(scaling, "measure", measure)
    assert command.main(["scaling", "--network", "classic", "--ops", "blocks", "--seconds", "2"]) == 0
    printed = capsys.readouterr().out
    assert "1.95" in printed
    assert "pointwise          mean 1.95, 1.9 in 1 of 1" in printed
    assert asked[0][0] > 0
    assert asked[0][1:] == (2, 2.0, 3)
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0])
    assert command.main(["scaling"]) == 2
    assert "2 threads need as many cores" in capsys.readouterr().err
