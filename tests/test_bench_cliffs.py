"""`python -m bench cliffs`: what it draws, and that it names what takes longer than it should."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("rich")
from bench import __main__ as command
from bench import cliffs, machine, scaling
from bench.cliffs import Cliff, Pair
from bench.peers import Runner, shim
from bench.peers import dwconv as peer
from bench.workloads import Stage, Workload

LAYER = Workload("test", (Stage("pointwise", 16, 30),), 7, 7)
LARGER = Workload("test", (Stage("pointwise", 16, 32),), 7, 7)
BLOCK = Workload("test", (Stage("depthwise", 16, 16, (3, 3)), Stage("pointwise", 16, 8)), 7, 7)


def test_pairs_are_the_same_for_a_seed_and_the_other_is_more_work() -> None:
    pairs = cliffs.draw(1, 200)
    assert pairs == cliffs.draw(1, 200) != cliffs.draw(2, 200)
    assert {pair.of for pair in pairs} == {"columns", "rows", "channels", "layers"}
    assert {pair.workload.op for pair in pairs} >= {"depthwise", "pointwise", "conv", "separable"}
    for pair in pairs:
        if pair.of == "layers":
            assert pair.other == pair.workload
            assert len(pair.workload.stages) > 1
            assert pair.fused == (True, False)
        else:
            assert pair.other.flops > pair.workload.flops
            assert pair.other.macs <= cliffs.MOST_MACS
            assert pair.fused == (True, True)
            assert pair.other.sizes()[-1] >= pair.workload.sizes()[-1]


@pytest.mark.usefixtures("pinning")
def test_only_what_is_slow_twice_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, visits = 0.0, 0
    released = []

    def prepare(library: object, problem: Workload, threads: int, fuse: bool) -> Runner:
        nonlocal visits
        visits += 1
        seconds = {LAYER: 12e-6, LARGER: 10e-6, BLOCK: 12e-6 if fuse and visits < 7 else 10e-6}[problem]

        def run(loops: int) -> None:
            nonlocal clock
            clock += loops * seconds

        return Runner(run, lambda: None, release=lambda: released.append(fuse))  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(peer, "build", lambda csrc: "library")
    monkeypatch.setattr(shim, "load", lambda path: path)
    monkeypatch.setattr(shim, "prepare", prepare)
    monkeypatch.setattr(cliffs.problems, "make", lambda workload: workload)
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: clock)
    pairs = [Pair(LARGER, LAYER, "channels"), Pair(LAYER, LARGER, "channels"), Pair(BLOCK, BLOCK, "layers")]
    found = list(cliffs.measure(pairs, 1, seconds=0.01))
    assert [cliff.pair for cliff in found] == pairs[1:2]  # the block is slow in the first visit alone
    assert (found[0].taken, found[0].other, found[0].loss) == pytest.approx((12, 10, 0.2))
    assert released == [True, True, True, True, True, False, True, True, True, False]


def test_command_names_cliffs_the_steepest_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Cliff(Pair(LAYER, LARGER, "channels"), 11, 10), Cliff(Pair(BLOCK, BLOCK, "layers"), 15, 10)]
    monkeypatch.setattr(cliffs, "measure", lambda pairs, threads, seconds: (list(pairs), found)[1])
    assert command.main(["cliffs", "--count", "3"]) == 0
    block, layer, summary = capsys.readouterr().out.splitlines()[-3:]
    assert block.startswith("separable")
    assert block.endswith("15.00 us, 1.50 of its layers")
    assert layer.endswith("11.00 us, 1.10 of 7x7 16>32, more channels")
    assert summary == "2 of 3 pairs take over 5% longer than they should"
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0])
    assert command.main(["cliffs", "--threads", "2"]) == 2
    assert "2 threads need as many cores" in capsys.readouterr().err
