"""What is made of results: tables, the report, the pages of docs/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("pandas")
pytest.importorskip("matplotlib")
from bench import networks, report, tables, targets
from bench.peers import PEERS
from bench.schema import Results
from bench_fakes.results import LIMITS, results, row

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(ROOT.glob("docs/performance*.md"))


def times(*rows: object) -> tables.pd.DataFrame:
    return tables.wide(tables.frame(rows))  # type: ignore[arg-type]


@pytest.fixture
def measured() -> Results:
    rows = [
        row("dwconv", 10.0, roofline_us=8.0),
        row("onednn", 20.0, roofline_us=8.0),
        row("dwconv", 30.0, "14x14 <odd>", roofline_us=8.0),
        row("onednn", 15.0, "14x14 <odd>", noise=0.5, roofline_us=8.0),
    ]
    return results(rows, limits=LIMITS)


@pytest.fixture(scope="module")
def full() -> Results:
    """Every workload, every peer, two thread counts: dwconv takes 10 microseconds, its blocks 15."""
    rows = []
    for name in networks.NETWORKS:
        for work in networks.expand(name):
            for threads in (1, 2):
                for i, peer in enumerate(PEERS):
                    us = (15.0 if work.kind == "blocks" else 10.0) + i
                    fields = {"network": name, "op": work.op, "threads": threads, "count": work.count}
                    rows.append(row(peer, us, work.shape, roofline_us=1.0, **fields))
    found = results(rows, limits=LIMITS)
    del found.peers["missing"]
    found.settings |= {"ops": list(networks.OPS), "threads": [1, 2], "match": []}
    return found


def test_tables_say_who_wins_and_where_dwconv_loses(measured: Results) -> None:
    found = times(*measured.rows)
    assert tables.speedups(found)["ratio"].tolist() == [2.0, 0.5]
    assert tables.against_each(found)["depthwise"].tolist() == pytest.approx([1])
    assert tables.losses(found).index.get_level_values("shape").tolist() == ["14x14 <odd>"]
    (standing,) = tables.standings(found, "op", "threads").itertuples(index=False)
    assert standing == ("depthwise", 1, pytest.approx(1), "1 of 2", 0.5, "14x14 <odd>")


def test_a_network_has_a_total_of_those_who_ran_every_layer() -> None:
    rows = [row(peer, us, network="xception") for peer, us in (("dwconv", 10.0), ("onednn", 20.0))]
    rows += [
        row("dwconv", 1.0, "another", network="xception"),
        row("onednn", None, "another", network="xception"),
    ]
    (total,) = tables.network_totals(tables.frame(rows)).to_dict("records")
    assert total == {"dwconv": 2 * 11.0}


def test_a_network_of_blocks_counts_each_block_once(full: Results) -> None:
    """MobileNetV1: a first layer, 13 pairs, the classifier. EfficientNet: 16 blocks, three layers."""
    totals = tables.network_totals(tables.frame(full.rows))
    assert totals.loc[("mobilenet_v1", 1), "dwconv"] == pytest.approx(10.0 * (1 + 2 * 13 + 1))
    assert totals.loc[("mobilenet_v1", 1), "dwconv, blocks"] == pytest.approx(10.0 + 15.0 * 13 + 10.0)
    assert totals.loc[("efficientnet_b0", 1), "dwconv, blocks"] == pytest.approx(10.0 + 16 * 15.0 + 2 * 10.0)
    assert "classic" not in totals.index


def test_a_workload_of_several_networks_counts_once_in_means() -> None:
    found = times(*(row("dwconv", 1.0, network=name) for name in ("mobilenet_v1", "mobilenet_v2")))
    assert (len(found), len(tables.distinct(found))) == (2, 1)


def test_blocks_come_before_layers(full: Results) -> None:
    found = tables.standings(tables.distinct(times(*full.rows)), "op", "threads")
    assert list(dict.fromkeys(found["op"])) == list(tables.OPS)


def test_costs_are_the_median_call_and_the_most_memory() -> None:
    rows = [row("dwconv", 1.0, str(us), first_call_us=us, peak_bytes=int(us)) for us in (1.0, 2.0, 30.0)]
    assert tables.costs(tables.frame([*rows, row("onednn", None)])).loc["dwconv"].tolist() == [2, 30]
    assert len(tables.costs(tables.frame(rows))) == 1


def test_layers_of_dwconv_are_no_other_library_and_tell_what_fusing_gains() -> None:
    rows = []
    for shape, fused, layers in (("gains", 10.0, 20.0), ("loses", 10.0, 9.0)):
        memory = {"between_bytes": 16000, "scratch_bytes": 4000}
        rows += [row("dwconv@avx2", fused, shape, op="separable", **memory)]
        rows += [row("dwconv-layers@avx2", layers, shape, op="separable")]
    rows += [row("dwconv@avx2", 1.0), row("dwconv-layers@avx2", None, status="unsupported")]
    found = times(*rows)
    assert tables.speedups(found).empty
    assert tables.fusing(found).tolist() == [2.0, 0.9]
    text = report.markdown(results(rows))
    assert re.search(r"\| classic +\| 1 +\| 2 +\| 1\.34 +\| 0\.90 +\| 4 +\| 16 +\| 0\.25 +\|", text)
    assert "1 block(s) lose more than 3% by fusing" in text


# ---- targets ----------------------------------------------------------------------------------


def test_targets_are_judged_layer_by_layer() -> None:
    shares = {"112x112 32 3x3 relu6": 0.96, "56x56 128 3x3 relu6": 0.946, "14x14 512 3x3 relu6": 0.70}
    rows = [
        row("dwconv", 200.0 * threads, shape, roofline_us=10.0, roofline_share=share, threads=threads)
        for shape, share in shares.items()
        for threads in (1, 2)
    ]
    judged = targets.judge(tables.frame(rows), "dwconv", None, targets.TARGETS)
    assert set(judged["target"]) == {"depthwise 3x3"}  # without limits nobody knows what bounds a layer
    assert judged["reached"].tolist() == [0.70, 0.946, 0.96]
    assert judged["met"].tolist() == [False, True, True]  # what rounds to the target meets it


def test_a_second_thread_is_judged_where_multiply_adds_bound_the_layer() -> None:
    rows = []
    for shape, alone, both in (
        ("112x112 32 3x3 relu6", 200.0, 100.0),
        ("56x56 128 3x3 relu6", 200.0, 125.0),
        ("28x28 256 3x3 relu6", 90.0, 90.0),
        ("512x512 32 3x3 relu6", 2000.0, 1900.0),
    ):
        flops = 5_000_000 if shape.startswith("512") else 10_000_000
        for threads, us in ((1, alone), (2, both)):
            rows.append(row("dwconv", us, shape, threads=threads, roofline_us=100.0, flops=flops))
    judged = targets.judge(tables.frame(rows), "dwconv", LIMITS, targets.TARGETS)
    assert dict(zip(judged["shape"], judged["met"], strict=True)) == {
        "56x56 128 3x3 relu6": False, "112x112 32 3x3 relu6": True,
    }  # fmt: skip


def test_every_target_has_layers() -> None:
    """So that none is passed over because a shape or a network was renamed."""
    workloads = [w for name in networks.NETWORKS for w in networks.expand(name)]
    for target in (*targets.TARGETS, *targets.FORCED_AVX2):
        assert any(target.applies(w) for w in workloads), target.name


# ---- reports ----------------------------------------------------------------------------------


def test_a_report_shows_losses_as_plainly_as_wins(measured: Results, tmp_path: Path) -> None:
    written = report.write(measured, tmp_path / "report")
    names = ["performance.html", "performance.md", "roofline.png", "speedup.png"]
    assert sorted(path.name for path in written) == names
    text = written[0].read_text()
    losses = text.split("## Where dwconv loses")[1].split("##")[0]
    assert re.search(r"14x14 <odd> +\| 1 +\| 30\.00 +\| 15\.00 +\| onednn +\| 0\.50", losses)
    assert "missing: absent (not installed)" in text
    assert "14x14 &lt;odd&gt;" in written[1].read_text()


def test_a_result_without_rows_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no row"):
        report.write(results([]), tmp_path)


def test_what_is_published_leaves_nothing_out(full: Results, tmp_path: Path) -> None:
    cold = results([row("dwconv@avx2", 10.0), row("onednn@avx2", 15.0)])
    cold.settings |= {"cold_bytes": 1 << 20}
    written = report.write_docs(
        full, Path("full.json.xz"), {"cold.json": cold}, "performance-other", tmp_path
    )
    text = (tmp_path / "performance-other.md").read_text()
    assert (
        "bench/results/full.json.xz --docs --name performance-other --also bench/results/cold.json -->"
        in text
    )
    assert "## Cold caches, forced AVX2" in text
    pictures = re.findall(r"\]\((performance-other/[^)]*)\)", text)
    assert [tmp_path / name for name in pictures] == written[1:]
    assert all((tmp_path / name).stat().st_size < 200_000 for name in pictures)
    assert len(text.splitlines()) <= 300
    absent = full.peers | {"torch": {"absent": "not installed"}}
    partial = Results(
        full.machine, full.settings, absent, rows=[r for r in full.rows if r.network != "xception"]
    )
    with pytest.raises(ValueError, match="no full run: network xception, peer torch"):
        report.write_docs(partial, Path("partial.json"), {}, docs=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_published_page_is_that_of_its_result(page: Path) -> None:
    published = page.read_text()
    command = re.search(r"bench report (\S+) --docs(?: --name (\S+))?((?: --also \S+)*) -->", published)
    assert command
    name = command[2] or report.MAIN
    source, *also = [ROOT / path for path in (command[1], *command[3].split()[1::2])]
    assert name == page.stem
    assert all(path.stat().st_size < 500_000 for path in (source, *also))
    assert len(published.splitlines()) <= 300
    # Not by write_docs, which refuses a result once a network has gained workloads that it lacks.
    pictures = dict(re.findall(r"!\[(.*?)\]\((.*?)\)", published))
    further = {path.name: Results.load(path) for path in also}
    assert report.markdown(Results.load(source), pictures, source.name, further, name) == published
