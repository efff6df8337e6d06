"""`python -m bench calibrate`, `scaling`, `cliffs`: what they make of times taken in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("rich")
pytest.importorskip("pandas")
import pandas as pd

from bench import __main__ as command
from bench import calibrate, cliffs, machine, pairs, scaling
from bench.cliffs import Cliff, Pair
from bench.peers import Runner, shim
from bench.peers import dwconv as peer
from bench.workloads import Stage, Workload

POINTWISE = Stage("pointwise", 16, 16)
LAYER = Workload("test", (POINTWISE,), 7, 7)
LARGER = Workload("test", (POINTWISE,), 14, 14)
BLOCK = Workload("test", (Stage("depthwise", 16, 16, (3, 3)), POINTWISE), 7, 7)


class Library(str):
    regions_openmp = regions_dwconv = staticmethod(lambda threads, loops: None)


class Clock:
    """Stands for the machine: calls take what `seconds` says, and are noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[..., float]) -> None:
        self.now, self.seconds = 0.0, seconds
        self.prepared: list[Any] = []
        self.calls: list[int] = []
        self.released: list[int] = []
        monkeypatch.setattr(peer, "build", lambda csrc, *flags, beside=(): " ".join(flags))
        monkeypatch.setattr(shim, "load", Library)
        monkeypatch.setattr(shim, "prepare", self.prepare)
        monkeypatch.setattr(pairs.problems, "make", lambda workload: workload)
        monkeypatch.setattr(pairs.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(machine, "usable_cpus", lambda: [1, 0])
        monkeypatch.setattr(machine, "pin", lambda threads: None)

    def prepare(self, library: Library, workload: Workload, threads: int, fuse: bool) -> Runner:
        number = len(self.prepared)
        self.prepared.append((str(library), workload, threads, fuse))
        taken = self.seconds(workload, threads, fuse)

        def run(loops: int) -> None:
            self.calls.append(number)
            self.now += loops * taken

        release = lambda: self.released.append(number)  # noqa: E731
        return Runner(run, lambda: None, release=release, estimate_us=1.5, workers=threads)  # type: ignore[arg-type,return-value]


def test_samples_alternate_after_calls_to_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, lambda workload, threads, fuse: 1e-6 * threads)
    with pairs.prepared(*((pairs.core(), LAYER, threads, True) for threads in (1, 2))) as runners:
        times = pairs.measure([runner.run for runner in runners], 1e-3, seconds=0)
    assert times.min(axis=0).tolist() == pytest.approx([1, 2])
    assert clock.calls[-8:] == [0, 0, 1, 1] * 2
    assert clock.released == [0, 1]


# ---- scaling ----------------------------------------------------------------------------------


def test_short_work_is_left_out_and_the_best_visit_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = iter([40e-6, 40e-6, 400e-6, 300e-6, 40e-6, 40e-6, 400e-6, 200e-6])
    Clock(monkeypatch, lambda workload, threads, fuse: next(visits))
    found = scaling.best(scaling.measure([LAYER, LARGER], 2, seconds=0, visits=2))
    ((shape, *figures),) = found[["shape", "serial_us", "median"]].to_numpy().tolist()
    assert (shape, figures) == (LARGER.shape, pytest.approx([400, 2]))


def test_blocks_are_asked_for_less_than_layers() -> None:
    seen = [(w, 100.0, 1.0, gain, 2.0) for w, gain in ((LAYER, 1.86), (BLOCK, 1.86), (LARGER, 1.896))]
    found = scaling.best(seen)
    assert dict(zip(found["shape"], found["below"], strict=True)) == {
        LAYER.shape: True, BLOCK.shape: False, LARGER.shape: False,
    }  # fmt: skip
    summary = scaling.text(found, 2).splitlines()[-2:]
    assert summary[-1].split() == ["separable", "1.86", "1.85", "0", "1", "1.86", *BLOCK.shape.split()]


# ---- cliffs -----------------------------------------------------------------------------------


def test_pairs_are_the_same_for_a_seed_and_the_other_is_more_work() -> None:
    drawn = cliffs.draw(1, 200)
    assert drawn == cliffs.draw(1, 200) != cliffs.draw(2, 200)
    assert {pair.of for pair in drawn} == {"columns", "rows", "channels", "layers"}
    assert {pair.workload.op for pair in drawn} >= {"depthwise", "pointwise", "conv", "separable"}
    for pair in drawn:
        if pair.of == "layers":
            assert pair.other == pair.workload
            assert len(pair.workload.stages) > 1
        else:
            assert pair.other.flops > pair.workload.flops
            assert pair.other.macs <= cliffs.MOST_MACS


def test_only_what_is_slow_twice_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block is slower than its layers in the first visit alone."""
    clock = Clock(
        monkeypatch,
        lambda workload, threads, fuse: {LAYER: 12e-6, LARGER: 10e-6}.get(
            workload, 12e-6 if fuse and len(clock.prepared) < 7 else 10e-6
        ),
    )
    drawn = [Pair(LARGER, LAYER, "channels"), Pair(LAYER, LARGER, "channels"), Pair(BLOCK, BLOCK, "layers")]
    (found,) = cliffs.measure(drawn, 1, seconds=0.01)
    assert found.pair == drawn[1]
    assert (found.taken, found.other, found.loss) == pytest.approx((12, 10, 0.2))
    assert [fuse for *_, fuse in clock.prepared] == [*[True] * 5, False, *[True] * 3, False]


def test_command_names_cliffs_the_steepest_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Cliff(Pair(LAYER, LARGER, "channels"), 11, 10), Cliff(Pair(BLOCK, BLOCK, "layers"), 15, 10)]
    monkeypatch.setattr(cliffs, "measure", lambda drawn, threads, seconds: (list(drawn), found)[1])
    assert command.main(["cliffs", "--count", "3"]) == 0
    block, layer, summary = capsys.readouterr().out.splitlines()[-3:]
    assert block.endswith("15.00 us, 1.50 of its layers")
    assert layer.endswith("11.00 us, 1.10 of 14x14 16>16, more channels")
    assert summary == "2 of 3 pairs take over 5% longer than they should"


# ---- calibrate --------------------------------------------------------------------------------


def table(*rows: tuple[float, float, float, float, bool], op: str = "pointwise") -> Any:
    columns = ["estimate", "serial", "parallel", "decided", "shared"]
    return calibrate.with_losses(pd.DataFrame(rows, columns=columns).assign(op=op, shape="7x7"))


ROWS = table((1, 1, 2, 1.2, False), (3, 3, 2.5, 3, False), (8, 8, 5, 5, True))


def test_loss_is_the_decisions_against_the_better_of_both() -> None:
    assert ROWS["loss"].tolist() == pytest.approx([0, 0.2, 0])
    assert ROWS["measured"].tolist() == pytest.approx([0.2, 0.2, 0])


@pytest.mark.parametrize(
    ("rows", "limit"),
    [(ROWS, 2), (table((1, 1, 0.5, 1, False)), 0), (table((1, 1, 2, 1, False)), 2),
     (pd.concat([ROWS, table((0.5, 9, 1, 1, True), op="separable")]), 2)],
)  # fmt: skip
def test_best_limit_is_that_of_layers(rows: Any, limit: float) -> None:
    assert calibrate.best_limit(rows) == (0, limit)


def test_each_mode_has_its_build_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread and two of the build whose limit is 0; two of the one that decides."""
    clock = Clock(monkeypatch, lambda workload, threads, fuse: 1e-6)
    rows, regions = calibrate.measure([LAYER], 2, seconds=0)
    flag = "-DDWC_SERIAL_NANOSECONDS=0"
    assert clock.prepared == [(flag, LAYER, 1, True), (flag, LAYER, 2, True), ("", LAYER, 2, True)]
    assert rows[["estimate", "shared"]].to_numpy().tolist() == [[1.5, True]]
    assert len(regions) == 2


def test_set_covers_every_operation_and_costly_activations() -> None:
    found = list(calibrate.layers())
    assert {w.op for w in found} == {"pointwise", "depthwise", "conv", "separable", "inverted_residual"}
    assert {s.activation for w in found for s in w.stages} == {"relu6", "silu", "hard_swish", "gelu", None}
    assert len({(w.op, w.shape) for w in found}) == len(found)


@pytest.mark.parametrize(("rows", "code"), [(ROWS, 1), (ROWS.drop(1), 0)])
def test_command_fails_where_the_bound_does_not_hold(
    rows: Any, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibrate, "measure", lambda *_: (rows, [0.6, 0.7]))
    assert command.main(["calibrate"]) == code
    printed = capsys.readouterr().out
    assert f"the bound of 5% {'does not hold for 1 of 3' if code else 'holds'}" in printed
    assert "an empty region takes 0.60 us in OpenMP, 0.70 us in dwconv" in printed
    assert "DWC_SERIAL_NANOSECONDS of" in printed


def test_more_threads_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cpus", lambda: [0])
    with pytest.raises(ValueError, match="2 threads need as many cores"):
        machine.pin(2)
    with pytest.raises(SystemExit):
        command.main(["scaling", "--threads", "2"])
