"""`python -m bench run`: from the command line to the file of results, with fake peers, without limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("rich")
pytest.importorskip("pandas")
from bench import __main__ as command
from bench import compiling, limits, measure
from bench.schema import Results

PEER = "bench_fakes.peer"
TINY = measure.Settings(
    visits=2, most_visits=2, rounds=1, turns=1, samples=1, sample_seconds=1e-5, timeout=30
)


@pytest.fixture(autouse=True)
def quick_and_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any) -> dict[str, Any]:
        raise compiling.CompileError("cannot run cc: no such file")

    monkeypatch.setattr(limits, "measure", no_compiler)
    monkeypatch.setattr(measure, "QUICK", TINY)


def run(path: Path, *options: str) -> Results:
    assert command.main(["run", "--quick", "--out", str(path), *options]) == 0
    return Results.load(path)


def test_run_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--ops", "depthwise", "--match", "7x7 10", "--peers", f"{PEER},{PEER}@wrong,{PEER}@absent")
    results = run(tmp_path / "results.json", *options)
    shapes = ["7x7 1024 3x3 relu6", "7x7 1040 3x3 relu6"]
    assert [(row.shape, row.peer, row.status) for row in results.rows] == [
        (shape, peer, status)
        for shape in shapes
        for peer, status in [(PEER, "ok"), (f"{PEER}@wrong", "wrong")]
    ]
    assert results.peers[f"{PEER}@absent"] == {"absent": "not on this machine"}
    assert results.limits is None
    assert results.machine["cpu"]
    printed = capsys.readouterr().out
    assert "no roofline: cannot run cc" in printed
    assert f"{PEER}@absent: absent: not on this machine" in printed


def test_interrupted_run_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen = measure.visit, []

    def interrupted(measurement: Any, *arguments: Any, **options: Any) -> Any:
        if seen:
            raise KeyboardInterrupt
        seen.append(measurement.workload)
        return whole(measurement, *arguments, **options)

    monkeypatch.setattr(measure, "visit", interrupted)
    results = run(tmp_path / "results.json", "--ops", "depthwise", "--match", "7x7 10", "--peers", PEER)
    assert [row.shape for row in results.rows] == [seen[0].shape]


def test_a_layer_of_two_networks_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen = measure.visit, []

    def counted(measurement: Any, *arguments: Any, **options: Any) -> Any:
        seen.append(measurement.workload.network)
        return whole(measurement, *arguments, **options)

    monkeypatch.setattr(measure, "visit", counted)
    options = ("--network", "mobilenet_v2,mobilenet_v1", "--match", "conv 224x224", "--peers", PEER)
    rows = run(tmp_path / "results.json", *options).rows
    assert seen == ["mobilenet_v2"] * TINY.visits
    assert [row.network for row in rows] == ["mobilenet_v2", "mobilenet_v1"]
    assert rows[0].min_us == rows[1].min_us


def test_report_writes_beside_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "results.json.xz"
    run(path, "--ops", "depthwise", "--match", "7x7 10", "--peers", PEER)
    assert command.main(["report", str(path)]) == 0
    assert str(tmp_path / "results" / "performance.html") in capsys.readouterr().out
    assert command.main(["report", str(path), "--docs"]) == 2
    assert "is no full run" in capsys.readouterr().err
    assert command.main(["report", str(path), "--also", str(path)]) == 2
    assert "--also and --name go with --docs" in capsys.readouterr().err


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert command.main(["run", "--quick", "--match", "no such shape", "--out", str(path)]) == 2
    assert not path.exists()


def test_list_names_networks_and_peers(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "mobilenet_v1" in printed
    assert "568.7 M" in printed
    assert "onednn" in printed


@pytest.mark.parametrize(
    "options", [["--network", "alexnet"], ["--ops", "pooling"], ["--threads", "0"], ["--threads", "100000"]]
)
def test_wrong_options_are_named(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["run", *options])
    assert options[0] in capsys.readouterr().err
