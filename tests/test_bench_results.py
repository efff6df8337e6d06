"""What the benchmark keeps and compares: statistics, the file of results, the roofline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("pandas")
from bench import compare, limits, stats
from bench.schema import SCHEMA, Results
from bench.workloads import Stage, Workload
from bench_fakes.results import LADDER, LIMITS, results, row

COMMITTED = Path(__file__).resolve().parent.parent / "bench" / "results"

# ---- statistics -------------------------------------------------------------------------------


def test_summary_of_visits() -> None:
    timing = stats.summarize([[10, 12], [11, 14], [10.2, 30]])
    assert (timing.minimum, timing.median, timing.samples) == (10, 11.5, 6)
    assert timing.spread == pytest.approx((13.5 - 10.4) / 10)
    # The second visit to come near 10 saw 10.2.
    assert timing.noise == pytest.approx(0.02)


def test_one_outlier_is_no_noise() -> None:
    timing = stats.summarize([[10, 10, 10, 10], [10, 500, 10, 10]])
    assert (timing.minimum, timing.noise, timing.spread) == (10, 0, 0)


def test_a_single_visit_is_as_noisy_as_can_be() -> None:
    assert stats.summarize([[10, 10]]).noise == 1


def test_statistics_of_nothing_are_errors() -> None:
    with pytest.raises(ValueError, match="at least one array"):
        stats.summarize([[], []])


def timing(minimum: float, noise: float = 0.0) -> stats.Timing:
    return stats.Timing(minimum, minimum, 0.0, noise, 4)


def test_slope_is_what_one_more_layer_takes() -> None:
    assert stats.slope(timing(30), timing(60), 4) == (10, 0)


def test_slope_is_less_certain_than_what_it_is_the_difference_of() -> None:
    found = stats.slope(timing(30, 0.01), timing(60, 0.02), 4)
    assert found is not None
    assert found[1] == pytest.approx((0.3 + 1.2) / 30)


def test_a_chain_that_is_no_longer_has_no_slope() -> None:
    assert stats.slope(timing(30), timing(29), 4) is None
    assert stats.slope(timing(30), timing(33, 0.1), 4) is None  # or may not be longer


# ---- results ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["results.json", "results.json.xz"])
def test_results_survive_the_disk(name: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / name
    saved = results([row("dwconv", 10.0), row("onednn", None)])
    saved.save(path)
    assert Results.load(path) == saved
    assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("path", sorted(COMMITTED.glob("*.json.xz")), ids=lambda path: path.name)
def test_committed_results_can_be_read(path: Path) -> None:
    assert Results.load(path).rows


def test_stored_numbers_have_four_digits(tmp_path: Path) -> None:
    results([row("dwconv", 1234.5678)]).save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json").rows[0].min_us == 1235


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"schema": 0, "rows": []}', f'{{"schema": {SCHEMA}, "rows": [{{}}]}}']
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json"):
        Results.load(path)


def test_ratio_is_to_the_best_other_library() -> None:
    """Neither dwconv's own variants nor rows without a time count as peers."""
    times = {"dwconv": 10.0, "dwconv-python": 5.0, "onednn": 20.0, "torch": 40.0, "litert": None}
    found = results([row(peer, us) for peer, us in times.items()]).rows
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
    found = compare.changes(compare.pairs(old, new))
    assert found[found["slower"]]["shape"].tolist() == ["d", "a"]
    assert found[found["faster"]]["shape"].tolist() == ["c"]
    text = compare.text(old, new)
    assert text.splitlines()[-1] == "4 rows compared: 2 slower, 1 faster, the rest within the noise"
    assert re.search(r"^crashed .* dwconv$", text, re.MULTILINE)


def drifting(factor: float, dwconv_us: float) -> Results:
    """Twelve workloads of an unchanged library on a machine `factor` times slower, and one of dwconv."""
    shapes = [f"{size}x{size} 64 3x3" for size in range(12)]
    rows = [row("onednn", 100.0 * factor, shape) for shape in shapes]
    return results([*rows, row("dwconv", dwconv_us * factor, shapes[0])])


def test_a_slower_machine_is_no_slower_program() -> None:
    old, new = drifting(1, 50), drifting(1.3, 50)
    both = compare.pairs(old, new)
    assert compare.drift(both) == pytest.approx(1.3)
    assert not compare.changes(both)["slower"].any()
    assert "taken out of the ratios: +30.0%" in compare.text(old, new)


def test_a_slower_program_on_a_slower_machine_is_named() -> None:
    found = compare.changes(compare.pairs(drifting(1, 50), drifting(1.3, 60)))
    (slower,) = found[found["slower"]].itertuples()
    assert (slower.peer, round(slower.ratio, 3)) == ("dwconv", 1.2)


def test_another_version_says_nothing_about_the_machine() -> None:
    old, new = drifting(1, 50), drifting(1.3, 50)
    for changed in new.rows:
        changed.version = "2"
    assert compare.drift(compare.pairs(old, new)) == 1


def test_agreement_is_of_ratios_to_dwconv() -> None:
    """Of its peers only, whatever the machine does to all of them."""
    shapes = ("a", "b", "c")
    old = [row(peer, us, shape) for shape in shapes for peer, us in (("dwconv", 10.0), ("onednn", 20.0))]
    new = [row(r.peer, 2 * r.min_us, r.shape) for r in old]  # type: ignore[operator]
    new[-1].min_us = 50.0
    assert compare.agreement(results(old), results(new)) == (2, 3)
    assert "67% of 3 agree within 5%" in compare.text(results(old), results(new))


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


def test_roofline_of_what_computes_is_the_peak() -> None:
    work = Workload("test", (Stage("pointwise", 256, 256),), 14, 14)
    assert limits.roofline_us(LIMITS, work, 1) == pytest.approx(2 * 14 * 14 * 256 * 256 / 100e9 * 1e6)


def test_roofline_of_what_moves_bytes_is_the_bandwidth() -> None:
    """Of the level that holds them: here the outer one, and reading then writing is slower than copying."""
    work = Workload("test", (Stage("depthwise", 512, 512, (1, 1)),), 28, 28)
    in_turn, copying = work.read_bytes / 40e9 + work.write_bytes / 20e9, work.bytes / 25e9
    assert limits.roofline_us(LIMITS, work, 1) == pytest.approx(min(in_turn, copying) * 1e6)


def test_roofline_of_cold_caches_is_that_of_memory() -> None:
    work = Workload("test", (Stage("depthwise", 8, 8, (1, 1)),), 4, 4)
    warm, cold = (limits.roofline_us(LIMITS, work, 1, cold=cold) for cold in (False, True))
    assert warm < cold == pytest.approx((work.read_bytes / 40e9 + work.write_bytes / 20e9) * 1e6)


@pytest.mark.parametrize(
    ("size", "index"), [(100, 0), (1 << 14, 0), ((1 << 20) - 1, 0), (1 << 20, 1), (1 << 30, 1)]
)
def test_a_size_is_given_to_the_level_that_surely_holds_it(size: int, index: int) -> None:
    assert limits.held_by(LADDER, size) is LADDER[index]
