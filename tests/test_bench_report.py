"""What is made of results: tables, the Markdown document, the page, docs/performance.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
from bench import networks, tables
from bench.peers import PEERS
from bench.schema import Results
from bench_fakes.results import LIMITS, results, row

ROOT = Path(__file__).resolve().parent.parent


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
    from bench import document

    text = document.markdown(measured)
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
        "performance.html", "performance.md", "roofline.png", "speedup.png", "workloads.png",
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


# ---- the published document -------------------------------------------------------------------


def full() -> Results:
    """Every workload, every peer, two thread counts: dwconv takes 10 microseconds, its blocks 15."""
    rows = []
    for name in networks.NETWORKS:
        for work in networks.expand(name):
            for threads in (1, 2):
                for i, peer in enumerate(PEERS):
                    us = (15.0 if work.kind == "blocks" else 10.0) + i
                    fields = {"network": name, "op": work.op, "threads": threads, "count": work.count}
                    rows.append(row(peer, us, work.shape, **fields))
    found = results(rows)
    del found.peers["missing"]
    found.settings |= {"ops": list(networks.OPS), "threads": [1, 2], "match": []}
    return found


def test_performance_is_written_from_a_full_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    written = report.write_docs(full(), Path("full.json.xz"), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    headings = re.findall("^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "Who is faster", "Where dwconv loses", "Network by network", "Whole networks",
        "First call and memory", "Every measurement", "Peers",
    ]  # fmt: skip
    assert "python -m bench report bench/results/full.json.xz --docs" in text
    pictures = re.findall(r"\]\((performance/[^)]*)\)", text)
    assert [tmp_path / name for name in pictures] == written[1:]
    assert all((tmp_path / name).stat().st_size < 200_000 for name in pictures)


def test_performance_is_not_written_from_a_partial_run(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    partial = full()
    partial.peers["torch"] = {"absent": "not installed"}
    partial.rows = [r for r in partial.rows if r.network != "xception"]
    with pytest.raises(ValueError, match="no full run: network xception, peer torch, workloads"):
        report.write_docs(partial, Path("partial.json"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_blocks_counts_each_block_once() -> None:
    """MobileNetV1: a first layer, 13 pairs and the classifier."""
    _, totals = tables.whole_networks(tables.groups(full().rows), "dwconv")
    total = totals["mobilenet_v1", 1]
    assert total["dwconv"] == pytest.approx(10.0 * (1 + 2 * 13 + 1))
    assert total["dwconv, blocks"] == pytest.approx(10.0 + 15.0 * 13 + 10.0)
    assert "dwconv, blocks" not in totals["convnext_tiny", 1]


def test_a_workload_of_several_networks_counts_once_in_means() -> None:
    found = tables.groups([row("dwconv", 1.0, network=name) for name in ("mobilenet_v1", "mobilenet_v2")])
    assert len(found) == 2
    assert len(tables.distinct(found)) == 1


def test_costs_are_the_median_call_and_the_most_memory() -> None:
    rows = [row("dwconv", 1.0, str(us), first_call_us=us, peak_bytes=int(us)) for us in (1.0, 2.0, 30.0)]
    assert tables.costs([*rows, row("onednn", None)]) == {"dwconv": (2.0, 30)}


@pytest.mark.skipif(not (ROOT / "docs/performance.md").exists(), reason="no full run was published yet")
def test_the_published_performance_is_that_of_its_result(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    published = (ROOT / "docs/performance.md").read_text()
    source = re.search(r"bench report (bench/results/\S+) --docs", published)
    assert source
    path = ROOT / source[1]
    assert path.stat().st_size < 500_000
    report.write_docs(Results.load(path), path, tmp_path)
    assert (tmp_path / "performance.md").read_text() == published
