"""The benchmark in 8-bit integers: its problems, who may be timed, and what the page says."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
from bench import folders, limits, measure, networks, quantized
from bench.peers import INT8_PEERS, is_ours
from bench.workloads import Workload
from bench_fakes.results import LIMITS, results, row

if not hasattr(signal, "SIGSTOP"):
    pytest.skip("the benchmark needs POSIX signals", allow_module_level=True)

SHORT = measure.Settings(
    visits=1, most_visits=1, rounds=1, turns=1, samples=1, sample_seconds=1e-5, timeout=120
)


def workloads(rows: str, activation: str | None = "relu6") -> list[Workload]:
    return quantized.clamped(list(networks.layers_of("test", rows, activation)))


PROBLEMS = [
    *workloads("9x7 24 3x3; 10x12 24 5x5 s2; 9x9 16 3x3 m2; 9x9 17 3x3 d2; 5x6 24>40; 12x10 3>8 3x3 s2"),
    *workloads("9x8 24/40; 7x6 8/48/8; 7x6 8/48/16 s2", "relu"),
]


def limit(workload: Workload, threads: int) -> float:
    return 1.0


def test_a_quantized_workload_is_clamped_and_counts_bytes() -> None:
    (layer,) = workloads("8x8 16 3x3", "hard_swish")
    assert layer.stages[0].activation is None
    assert (layer.dtype, layer.op, layer.flops) == (
        "int8",
        "depthwise",
        replace(layer, dtype="float32").flops,
    )
    assert layer.bytes == 8 * 8 * 16 * 2 + 16 * 9 + 16 * 8
    assert [w.count for w in quantized.clamped([layer, replace(layer, count=2)])] == [3]
    assert quantized.clamped(networks.expand("mobilenet_v3_small", ("blocks",)))
    assert all(not w.squeeze_excite for w in quantized.clamped(networks.expand("mobilenet_v3_small")))


@pytest.mark.parametrize("workload", PROBLEMS, ids=lambda w: w.shape)
def test_problems_survive_files_and_use_their_range(workload: Workload, tmp_path: Path) -> None:
    folders.write(workload, tmp_path)
    problem, expected = folders.load(tmp_path)
    made, exact = quantized.make(workload)
    assert np.array_equal(problem.x, made.x)
    assert np.array_equal(expected, exact)
    assert np.array_equal(quantized.reference(problem), exact)
    assert np.ptp(exact.astype(int)) > 100
    unsigned = problem.unsigned()
    assert unsigned.x.dtype == np.uint8
    assert unsigned.layers[0].input.zero_point == problem.layers[0].input.zero_point + 128


@pytest.mark.parametrize(("off", "status"), [(0, "ok"), (1, "ok"), (2, "wrong")])
def test_a_layer_may_be_off_by_one(off: int, status: str) -> None:
    with measure.Crew([f"bench_fakes.peer_int8@{off}"], 1, SHORT) as crew:
        (found,) = measure.visit(measure.Measurement(PROBLEMS[0]), [crew], limit)
    assert (found.status, found.error, found.correct) == (status, off, status == "ok")


def test_float32_beside_int8_computes_the_same_workload_in_float32() -> None:
    with measure.Crew(["bench_fakes.peer_int8@0", "bench_fakes.peer@fine"], 1, SHORT) as crew:
        rows = {r.peer: r for r in measure.visit(measure.Measurement(PROBLEMS[0]), [crew], limit)}
    integers, floats = rows["bench_fakes.peer_int8@0"], rows["bench_fakes.peer@fine"]
    assert (integers.status, floats.status) == ("ok", "ok")
    assert integers.key == floats.key
    assert floats.bytes == replace(PROBLEMS[0], dtype="float32").bytes > 3 * integers.bytes


@pytest.mark.parametrize("name", [name for name in INT8_PEERS if name != "dwconv"])
def test_every_installed_peer_computes_the_reference(name: str) -> None:
    with measure.Crew([name], 1, SHORT) as crew:
        if not crew.peers:
            pytest.skip(crew.described[name]["absent"].splitlines()[0])
        for workload in PROBLEMS:
            (found,) = measure.visit(measure.Measurement(workload), [crew], limit)
            assert found.status == "ok", (workload.shape, found.message, found.error)
            if is_ours(name):
                assert found.error == 0


def test_integers_have_a_peak_of_their_own() -> None:
    known = {"cores": [1], "isa": {"avx2": {"1": {**LIMITS["isa"]["avx2"]["1"], "dot_gops": 400.0}}}}  # type: ignore[index]
    layer = workloads("64x64 256>256")[0]
    assert limits.peak(known, 1) == 100
    assert limits.peak(known, 1, "int8") == 400
    assert limits.roofline_us(known, layer, 1) == pytest.approx(layer.flops / 400e3)
    assert limits.roofline_us(known, replace(layer, dtype="float32"), 1) == pytest.approx(layer.flops / 100e3)
    assert limits.peak(LIMITS, 1, "int8") == 0  # a result from before


def test_the_page_has_every_layer_with_its_ratios() -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    from bench import report

    rows = [
        row("dwconv-int8", 10.0, gflops=40.0),
        row("dwconv", 15.0),
        row("onednn-int8@u8", 20.0),
        row("onednn-int8@s8", 30.0),
    ]
    known = {"cores": [1], "isa": {"avx2": {"1": {**LIMITS["isa"]["avx2"]["1"], "dot_gops": 400.0}}}}  # type: ignore[index]
    found = results(rows, limits=known)
    found.settings["dtype"] = "int8"
    text = report.markdown(found)
    assert "int8, NHWC" in text
    line = next(line for line in text.splitlines() if "56x56 64 3x3" in line and "10.0" in line)
    cells = [cell.strip() for cell in line.split("|") if cell.strip()]
    assert cells[-5:] == ["10.00", "0.10", "1.50", "2.00", "onednn-int8@u8"]
    assert "peer litert-int8" in report.missing(found)
    assert "network mobilenet_v1" in report.missing(found)
