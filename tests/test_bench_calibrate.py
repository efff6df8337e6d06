"""`python -m bench calibrate`: what it concludes from given times, and that it measures what it says."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("rich")
from bench import __main__ as command
from bench import calibrate, machine
from bench.calibrate import Row
from bench.peers import Runner, shim
from bench.peers import dwconv as peer
from bench.workloads import Stage, Workload

POINTWISE = Stage("pointwise", 16, 16)


def row(
    estimate: float, serial: float, parallel: float, decided: float, shared: bool = False, size: int = 7
) -> Row:
    workload = Workload("test", (POINTWISE,), size, size)
    return Row(workload, estimate, shared, {"serial": serial, "parallel": parallel, "decided": decided})


ROWS = [row(1, 1, 2, 1.2), row(3, 3, 2.5, 3, size=14), row(8, 8, 5, 5, shared=True, size=28)]


def test_loss_is_the_decisions_against_the_better_of_both() -> None:
    assert [r.loss for r in ROWS] == pytest.approx([0, 0.2, 0])
    assert [r.measured_loss for r in ROWS] == pytest.approx([0.2, 0.2, 0])
    assert row(1, 1, 2, 1, shared=True).loss == 1


def test_best_limit_lies_between_what_should_be_serial_and_what_should_not() -> None:
    assert calibrate.best_limit(ROWS) == (0, 2)


@pytest.mark.parametrize(("parallel", "limit"), [(0.5, 0), (2, 2)])
def test_best_limit_may_be_below_or_above_all(parallel: float, limit: float) -> None:
    assert calibrate.best_limit([row(1, 1, parallel, 1)]) == (0, limit)


def test_blocks_do_not_count_for_the_limit_of_layers() -> None:
    depthwise = Stage("depthwise", 16, 16, (3, 3))
    block = Row(Workload("test", (depthwise, POINTWISE), 7, 7), 0.5, False, {"serial": 9, "parallel": 1})
    assert calibrate.best_limit([*ROWS, block]) == (0, 2)


def test_text_names_what_loses_and_the_limit() -> None:
    printed = calibrate.text(ROWS, (0.6, 0.7), threads=2)
    lines = {line.split()[1]: line for line in printed.splitlines()[1:4]}
    assert [shape for shape, line in lines.items() if line.endswith("%")] == ["14x14"]
    assert [shape for shape, line in lines.items() if "*" in line] == ["28x28"]
    assert lines["14x14"].endswith("20%")
    assert "an empty region takes 0.60 us in OpenMP, 0.70 us in dwconv" in printed
    assert "noise: 1 of 3" in printed
    assert "DWC_SERIAL_NANOSECONDS of 2000" in printed
    assert printed.endswith("mean 6.7%, worst 20%; the bound of 5% does not hold for 1 of 3")


def test_bound_holds_whatever_is_noise() -> None:
    assert calibrate.verdict([ROWS[0]]).endswith("worst 0%; the bound of 5% holds")


def test_set_covers_every_operation_and_costly_activations() -> None:
    found = list(calibrate.layers())
    assert {w.op for w in found} == {"pointwise", "depthwise", "conv", "separable", "inverted_residual"}
    for op in ("pointwise", "depthwise", "separable", "inverted_residual"):
        kinds = {stage.activation for w in found if w.op == op for stage in w.stages}
        assert {"relu6", "silu"} <= kinds
        assert "hard_swish" in kinds
    assert len({(w.op, w.shape) for w in found}) == len(found)


@pytest.mark.usefixtures("pinning")
def test_each_mode_has_its_build_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread and two of the build whose limit is 0; two of the one that decides."""
    prepared, calls = [], []

    class Library(str):
        regions_openmp = regions_dwconv = staticmethod(lambda threads, loops: None)

    def prepare(library: Library, problem: object, threads: int, fuse: bool) -> Runner:
        assert fuse  # blocks as they are
        prepared.append((str(library), threads))
        return Runner(lambda loops: calls.append(loops), lambda: None, estimate_us=1.5, workers=threads)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(peer, "build", lambda csrc, *flags, beside=(): " ".join(flags))
    monkeypatch.setattr(shim, "load", Library)
    monkeypatch.setattr(shim, "prepare", prepare)
    rows, regions = calibrate.measure([Workload("test", (POINTWISE,), 7, 7)], 2, seconds=0)
    flag = "-DDWC_SERIAL_NANOSECONDS=0"
    assert prepared == [(flag, 1), (flag, 2), ("", 2)]
    assert [(r.estimate, r.shared, set(r.times)) for r in rows] == [(1.5, True, set(calibrate.MODES))]
    assert len(regions) == 2
    assert calls


def test_command_prints_the_table_and_fails_where_the_bound_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: [1, 0])
    monkeypatch.setattr(calibrate, "measure", lambda *_: (ROWS, [0.6, 0.7]))
    assert command.main(["calibrate"]) == 1
    assert "does not hold" in capsys.readouterr().out
    monkeypatch.setattr(calibrate, "measure", lambda *_: ([ROWS[0], ROWS[2]], [0.6, 0.7]))
    assert command.main(["calibrate"]) == 0
    assert "the bound of 5% holds" in capsys.readouterr().out
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0])
    assert command.main(["calibrate"]) == 2
    assert "one core" in capsys.readouterr().err
