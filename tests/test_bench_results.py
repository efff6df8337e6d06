"""What the benchmark keeps, compares and reports: statistics, the file, the roofline, tables, pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
from bench import compare, limits, stats, tables
from bench.schema import SCHEMA, Results, Row, compare_peers
from bench.workloads import Stage, Workload

# ---- statistics -------------------------------------------------------------------------------


def test_summary_of_interleaved_rounds() -> None:
    timing = stats.summarize([[10, 12], [11, 14], [10.1, 30]])
    assert (timing.minimum, timing.median, timing.samples) == (10, 11.5, 6)
    assert timing.spread == pytest.approx((14 - 10.1) / 10)
    # The even rounds have 10 as their minimum, the odd one 11.
    assert timing.noise == pytest.approx(0.1)
    assert timing.noisy


def test_one_outlier_is_no_noise() -> None:
    timing = stats.summarize([[10, 10], [10, 500], [10, 10], [10, 10]])
    assert (timing.minimum, timing.noise, timing.spread) == (10, 0, 0)


def test_a_single_round_is_as_noisy_as_can_be() -> None:
    assert stats.summarize([[10, 10]]).noise == 1


def test_statistics_of_nothing_are_errors() -> None:
    with pytest.raises(ValueError, match="no samples"):
        stats.summarize([[], []])
    with pytest.raises(ValueError, match="no values"):
        stats.geometric_mean([])


def test_geometric_mean() -> None:
    assert stats.geometric_mean([0.5, 2]) == pytest.approx(1)
    assert stats.geometric_mean([8, 1, 1]) == pytest.approx(2)


# ---- results ----------------------------------------------------------------------------------


def row(peer: str, us: float | None, shape: str = "56x56 64 3x3", **fields: Any) -> Row:
    values: dict[str, Any] = {
        "network": "classic", "op": "depthwise", "shape": shape, "count": 2, "threads": 1, "peer": peer,
        "version": "1", "flops": 1000, "bytes": 500, "correct": us is not None, "min_us": us, "median_us": us,
        "noise": 0.01 if us else None, "gflops": 1 / us if us else None, "status": "ok" if us else "failed",
    }  # fmt: skip
    return Row(**(values | fields))


def results(rows: list[Row], **fields: Any) -> Results:
    machine = {
        "cpu": "A <fast> CPU", "architecture": "x86_64", "cores": 2, "flags": ["avx2"],
        "system": "Linux 6", "date": "2026-01-02T03:04:05", "commit": "abc", "modified": False,
        "compiler": "cc 1", "caches": {"L1": 32768, "L2": 1 << 20},
    }  # fmt: skip
    compare_peers(rows, lambda peer: peer.startswith("dwconv"))
    peers: dict[str, dict[str, Any]] = {r.peer: {"version": r.version} for r in rows}
    peers["missing"] = {"absent": "not installed\nat all"}
    return Results(
        machine, {"cold_bytes": 0}, peers, noise={"steal_share": 0, "noisy_rows": 0}, rows=rows, **fields
    )


def test_results_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    saved = results([row("dwconv", 10.0), row("onednn", None)])
    saved.save(path)
    assert Results.load(path) == saved
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_rows_have_the_documented_fields() -> None:
    documented = {
        *("network", "op", "shape", "threads", "peer", "version", "min_us", "median_us", "first_call_us"),
        *("gflops", "roofline_share", "ratio_to_best_peer", "correct"),
    }
    assert documented <= set(Row.__dataclass_fields__)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"schema": 0, "rows": []}',
        f'{{"schema": {SCHEMA}}}',
        f'{{"schema": {SCHEMA}, "rows": [{{}}]}}',
    ],
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json"):
        Results.load(path)


def test_ratio_is_to_the_best_other_library() -> None:
    """Neither dwconv's own variants nor rows without a time count as peers."""
    found = results(
        [
            row("dwconv", 10.0),
            row("dwconv-python", 5.0),
            row("onednn", 20.0),
            row("torch", 40.0),
            row("litert", None),
        ]
    ).rows
    assert [r.ratio_to_best_peer for r in found] == [2.0, 4.0, 2.0, 0.5, None]


def test_a_reordering_library_is_judged_by_its_slope() -> None:
    """Only where the slope is the lower figure."""
    assert row("openvino", 30.0, slope_us=12.0).best_us == 12
    assert row("openvino", 30.0, slope_us=31.0).best_us == 30
    assert row("openvino", None).best_us is None


# ---- comparing --------------------------------------------------------------------------------


def test_compare_names_what_changed_beyond_the_noise() -> None:
    old = results([row("dwconv", 100.0, shape) for shape in "abcd"])
    new = results(
        [
            row("dwconv", 120.0, "a"),
            row("dwconv", 120.0, "b", noise=0.3),  # within what this run is sure of
            row("dwconv", 80.0, "c"),
            row("dwconv", None, "d", status="crashed"),
            row("dwconv", 50.0, "not in the old result"),
        ]
    )
    found = compare.changes(old, new)
    assert [change.new.shape for change in found if change.slower] == ["d", "a"]
    assert [change.new.shape for change in found if change.faster] == ["c"]
    text = compare.text(found)
    assert text.splitlines()[-1] == "4 rows compared: 2 slower, 1 faster, the rest within the noise"
    assert re.search(r"^crashed .* dwconv$", text, re.MULTILINE)


@pytest.mark.parametrize(("us", "code"), [(100.0, 0), (70.0, 0), (150.0, 1)])
def test_compare_exits_with_1_if_anything_got_slower(
    us: float, code: int, tmp_path: Path, capsys: Any
) -> None:
    main = pytest.importorskip("bench.__main__", reason="needs rich").main
    results([row("dwconv", 100.0)]).save(tmp_path / "old.json")
    results([row("dwconv", us)]).save(tmp_path / "new.json")
    assert main(["compare", str(tmp_path / "old.json"), str(tmp_path / "new.json")]) == code
    assert "1 rows compared" in capsys.readouterr().out


# ---- the roofline -----------------------------------------------------------------------------

LADDER = [
    {"bytes": 1 << 14, "read": 200e9, "write": 100e9, "copy": 150e9},
    {"bytes": 1 << 20, "read": 40e9, "write": 20e9, "copy": 25e9},
]
LIMITS = {
    "cores": [1],
    "isa": {
        "baseline": {"1": {"gflops": 10.0, "bandwidth": LADDER}},
        "avx2": {"1": {"gflops": 100.0, "bandwidth": LADDER}},
    },
}


def test_roofline_of_what_computes_is_the_peak() -> None:
    work = Workload("test", (Stage("pointwise", 256, 256),), 14, 14)
    assert limits.roofline_us(LIMITS, work, 1) == pytest.approx(2 * 14 * 14 * 256 * 256 / 100e9 * 1e6)


def test_roofline_of_what_moves_bytes_is_the_bandwidth() -> None:
    """Of the level that holds them: here the outer one, and reading then writing is slower than copying."""
    work = Workload("test", (Stage("depthwise", 512, 512, (1, 1)),), 28, 28)
    in_turn, copying = work.read_bytes / 40e9 + work.write_bytes / 20e9, work.bytes / 25e9
    assert limits.roofline_us(LIMITS, work, 1) == pytest.approx(min(in_turn, copying) * 1e6)


@pytest.mark.parametrize(
    ("size", "index"), [(100, 0), (1 << 14, 0), ((1 << 20) - 1, 0), (1 << 20, 1), (1 << 30, 1)]
)
def test_a_size_is_given_to_the_level_that_surely_holds_it(size: int, index: int) -> None:
    assert limits.held_by(LADDER, size) is LADDER[index]


# ---- reports ----------------------------------------------------------------------------------


@pytest.fixture
def measured() -> Results:
    return results(
        [
            row("dwconv", 10.0, roofline_us=8.0, roofline_share=0.8),
            row("onednn", 20.0, roofline_us=8.0, roofline_share=0.4),
            row("dwconv", 30.0, "14x14 <odd>", roofline_us=8.0, roofline_share=0.27),
            row("onednn", 15.0, "14x14 <odd>", noise=0.5, roofline_us=8.0, roofline_share=0.53),
        ],
        limits=LIMITS,
    )


def test_tables_say_who_wins_and_where_dwconv_loses(measured: Results) -> None:
    found = tables.groups(measured.rows)
    assert [group.speedup("dwconv") for group in found] == [2.0, 0.5]
    assert tables.mean_speedups(found, "dwconv", "onednn") == {"depthwise": pytest.approx(1)}
    assert [group.first.shape for group in tables.losses(found, "dwconv")] == ["14x14 <odd>"]
    totals = {"dwconv": 2 * 40.0, "onednn": 2 * 35.0, "roofline": 2 * 16.0}
    assert tables.network_totals(found) == {("classic", 1): totals}


def test_a_network_has_no_total_where_a_layer_is_missing(measured: Results) -> None:
    measured.rows.append(row("onednn", None, "another"))
    measured.rows.append(row("dwconv", 1.0, "another"))
    assert tables.network_totals(tables.groups(measured.rows)) == {("classic", 1): {"dwconv": 2 * 41.0}}


def test_report_shows_losses_as_plainly_as_wins(measured: Results) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    text = report.markdown(measured)
    losses = text.split("## Where dwconv loses")[1].split("##")[0]
    assert "14x14 <odd>" in losses
    assert "0.50" in losses
    assert "**15.0**~ (53%)" in text
    assert "missing: absent (not installed)" in text


def test_page_needs_nothing_else(measured: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    written = report.write(measured, tmp_path / "report")
    assert sorted(path.name for path in written) == [
        "performance.html", "performance.md", "roofline.png", "speedup.png",
    ]  # fmt: skip
    page = (tmp_path / "report" / "performance.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "A &lt;fast&gt; CPU" in page
    assert "<odd>" not in page
    assert "$" not in re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def test_a_result_without_rows_has_no_report(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    with pytest.raises(ValueError, match="no row"):
        report.write(results([]), tmp_path)
