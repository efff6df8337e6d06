"""What is made of results: tables, the Markdown document, the page, docs/performance.md."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
from bench import measure, networks, tables
from bench.peers import PEERS
from bench.schema import Results
from bench_fakes.results import LIMITS, results, row

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(ROOT.glob("docs/performance*.md"))


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


def test_single_calls_are_compared_without_slopes() -> None:
    found = tables.groups([row("dwconv", 10.0, slope_us=8.0), row("onednn", 40.0, slope_us=4.0)])
    assert tables.mean_speedups(found, "dwconv", "onednn") == {"depthwise": pytest.approx(0.5)}
    alone = tables.mean_speedups(found, "dwconv", "onednn", single_calls=True)
    assert alone == {"depthwise": pytest.approx(4)}


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
        "Blocks: one operation against layers", "First call and memory", "Every measurement", "Peers",
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


def cold() -> Results:
    """Part of a run, which dwconv loses with one of its blocks and 11 of its layers."""
    blocks = {"network": "mobilenet_v2", "op": "inverted_residual"}
    rows = [row("dwconv", 10.0), row("onednn", 20.0)]
    rows += [row("dwconv", 10.0, "a block", **blocks), row("onednn", 5.0, "a block", **blocks)]
    for i in range(11):
        rows += [row("dwconv", 10.0, f"loss {i}"), row("onednn", 9.0 - 0.1 * i, f"loss {i}")]
    found = results(rows)
    del found.peers["missing"]
    found.settings |= {"cold_bytes": 1 << 20, "ops": ["depthwise", "blocks"], "threads": [1], "match": []}
    found.settings["network"] = ["classic", "mobilenet_v2"]
    return found


def avx2() -> Results:
    found = results([row("dwconv@avx2", 10.0), row("onednn@avx2", 15.0), row("litert", 16.0)])
    del found.peers["missing"]
    found.settings |= asdict(measure.QUICK)
    found.settings |= {"ops": ["depthwise"], "threads": [1], "match": ["56x56"], "network": ["classic"]}
    return found


def test_further_results_have_a_section_each(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    also = {"cold.json.xz": cold(), "avx2.json": avx2()}
    report.write_docs(full(), Path("full.json.xz"), tmp_path, also)
    text = (tmp_path / "performance.md").read_text()
    files = "--also bench/results/cold.json.xz --also bench/results/avx2.json"
    assert f"python -m bench report bench/results/full.json.xz --docs {files} -->" in text
    sections = dict(part.partition("\n")[::2] for part in re.split("^## ", text, flags=re.MULTILINE)[1:])
    made = sections["Cold caches"]
    assert "python -m bench run --network classic,mobilenet_v2 --ops depthwise,blocks" in made
    assert "--peers dwconv,onednn --cold" in made
    assert "operations inverted residual, depthwise; libraries dwconv, onednn." in made
    assert "In 12 of 13 workloads another library is faster than dwconv. The 10 worst:" in made
    lost = made.split("### Where dwconv loses")[1].split("###")[0]
    assert re.findall(r"^\| .*? \| (a block|loss \d+) ", lost, re.MULTILINE) == [
        "a block", *(f"loss {i}" for i in range(10, 1, -1)),
    ]  # fmt: skip
    assert "The same by single calls" in made
    assert "| mobilenet_v2 | inverted residual | 1 | **0.50** | 0 of 1 |" in made
    folded = made.split("<details><summary>13 lines</summary>")[1].split("</details>")[0]
    assert "#### mobilenet_v2, inverted residual, 1 thread" in folded
    forced = sections["Forced AVX2"]
    assert "The same by single calls" not in forced
    assert "Network by network" not in forced
    assert "### Targets" not in made
    assert "Held to one instruction set: dwconv@avx2, onednn@avx2; at their own choice: litert." in forced
    assert "| depthwise | 1 | **1.50** | in 1 of 1 |" in forced
    assert "| onednn@avx2 | 1 | 1.50 |" in forced
    command = 'run --quick --ops depthwise --peers dwconv@avx2,onednn@avx2,litert --match "56x56"'
    assert f"    python -m bench {command}\n" in forced


def test_a_further_result_without_dwconv_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    also = {"other.json": results([row("onednn", 1.0)])}
    with pytest.raises(ValueError, match=r"other\.json: dwconv was not measured"):
        report.write_docs(full(), Path("full.json"), tmp_path, also)
    assert not (tmp_path / "performance.md").exists()


def test_blocks_come_before_layers() -> None:
    from bench import document

    text = document.markdown(full())
    ops = re.findall(r"^\| (separable|inverted residual|depthwise) \| 1 \|", text, re.MULTILINE)
    assert ops == ["separable", "inverted residual", "depthwise"]
    headings = re.findall("^### mobilenet_v2, (.*), 1 thread$", text, re.MULTILINE)
    assert headings == ["separable", "inverted residual", "conv", "depthwise", "pointwise"]


def test_page_and_charts_have_blocks_first_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import charts, page

    found = full()
    text = page.render(found)
    cards = re.findall(r'<div class="card"><span class="soft">(\D*?)</span>', text)
    assert cards == ["separable", "inverted residual", "depthwise", "pointwise", "conv"]
    sections = re.findall(r"<summary>mobilenet_v1, ([a-z ]*), 1 thread</summary>", text)
    assert sections == ["separable", "conv", "depthwise", "pointwise"]
    figure, _ = charts._speedups(tables.distinct(tables.groups(found.rows)), "dwconv", "1 thread")
    ops = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ops == ["separable", "inverted residual", "depthwise", "pointwise", "conv"]


def test_memory_of_blocks_is_told_by_network() -> None:
    from bench import document

    block = {"op": "separable", "layers_bytes": 5_000_000}
    rows = [
        row("dwconv", 1.0, "small", map_bytes=1000, between_bytes=1000, scratch_bytes=4000, **block),
        row("dwconv", 1.0, "large", map_bytes=3_000_000, between_bytes=16000, scratch_bytes=1000, **block),
        row("onednn", 1.0, "large", map_bytes=3_000_000, between_bytes=16000, **block),
        row("dwconv", 1.0, "a layer", scratch_bytes=64),
    ]
    text = document.markdown(results(rows)).split("## Memory of blocks")[1].split("##")[0]
    assert "| classic | 1 | 4 | 16 | large | 0.50 | 1 of 2 | 3.00 | 5.00 |" in text
    assert "Memory of blocks" not in document.markdown(results(rows[2:]))


def test_targets_are_judged_layer_by_layer() -> None:
    from bench import document

    shares = {"112x112 32 3x3 relu6": 0.96, "56x56 128 3x3 relu6": 0.946, "14x14 512 3x3 relu6": 0.70}
    rows = [
        row("dwconv", 200.0 * threads, shape, roofline_us=10.0, roofline_share=share, threads=threads)
        for shape, share in shares.items()
        for threads in (1, 2)
    ]
    rows += [row("dwconv", 9.0, "7x7 40>40 relu6", op="pointwise", roofline_share=0.5), row("onednn", 1.0)]
    text = document.markdown(results(rows)).split("## Targets")[1].split("\n## ")[0]
    assert "| depthwise 3x3 | 95% | 2 of 3 | 86% | 70% | 14x14 512 3x3 relu6 |" in text
    assert "All 1 that miss" in text
    assert "| depthwise 3x3 | depthwise 14x14 512 3x3 relu6 | 200.0 | 70% | 25% |" in text
    assert "two threads" not in text  # without limits nobody knows what bounds a layer


def test_a_second_thread_is_judged_where_multiply_adds_bound_the_layer() -> None:
    from bench import targets

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
    (verdict,) = targets.verdicts(tables.groups(rows), "dwconv", LIMITS)
    assert [figure.row.shape for figure in verdict.met] == ["112x112 32 3x3 relu6"]
    assert [(figure.row.shape, figure.reached) for figure in verdict.missed] == [("56x56 128 3x3 relu6", 1.6)]


def test_every_target_has_layers() -> None:
    """So that none is passed over because a shape or a network was renamed."""
    from bench import targets

    workloads = [w for name in networks.NETWORKS for w in networks.expand(name)]
    for target in (*targets.TARGETS, *targets.FORCED_AVX2):
        assert any(target.applies(w) for w in workloads), target.name


def blocks_and_layers(variant: str = "") -> Results:
    rows = []
    for shape, fused, layers in (("gains", 10.0, 20.0), ("even", 10.0, 9.8), ("loses", 10.0, 9.0)):
        for network in ("mobilenet_v1", "xception"):
            block = {"op": "separable", "network": network}
            rows += [row(f"dwconv{variant}", fused, shape, **block)]
            rows += [row(f"dwconv-layers{variant}", layers, shape, **block)]
    rows += [row(f"dwconv{variant}", 1.0), row(f"dwconv-layers{variant}", None, status="unsupported")]
    rows += [row("onednn", 30.0, "gains", op="separable")]
    return results(rows)


@pytest.mark.parametrize("variant", ["", "@avx2"])
def test_what_fusing_gains_is_told_by_network_and_losses_block_by_block(variant: str) -> None:
    from bench import document

    found = blocks_and_layers(variant)
    text = document.markdown(found)
    section = text.split("## Blocks: one operation against layers")[1].split("##")[0]
    mean = (2.0 * 0.98 * 0.9) ** (1 / 3)
    for network in ("mobilenet_v1", "xception"):
        assert f"| {network} | 1 | 3 | **{mean:.2f}** | 0.90 | loses |" in section
    assert section.count("| separable |") == 1  # once, however many networks hold it
    assert "| separable | loses | 1 | 10.0 | **9.0** | 0.90 |" in section
    found.rows = [r for r in found.rows if r.shape != "loses"]
    assert "No block loses more than 3% by fusing." in document.markdown(found)
    found.rows = [r for r in found.rows if "layers" not in r.peer]
    assert "against layers" not in document.markdown(found)


def test_layers_are_no_other_library() -> None:
    from bench import document

    found = blocks_and_layers()
    assert all(r.ratio_to_best_peer is None for r in found.rows if r.network == "xception")
    assert tables.losses(tables.groups(found.rows), "dwconv") == []
    assert tables.ours(found.rows) == "dwconv"
    depthwise = document.markdown(found).split("### classic, depthwise, 1 thread")[1]
    assert "dwconv-layers" not in depthwise.split("##")[0]


def test_a_gate_belongs_to_its_block() -> None:
    """EfficientNet-B0 as blocks: a first layer, 16 blocks, a last layer and the classifier."""
    _, totals = tables.whole_networks(tables.groups(full().rows), "dwconv")
    assert totals["efficientnet_b0", 1]["dwconv, blocks"] == pytest.approx(10.0 + 16 * 15.0 + 2 * 10.0)


def test_another_machine_has_a_page_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import report

    written = report.write_docs(full(), Path("full.json.xz"), tmp_path, name="performance-other")
    assert written[0] == tmp_path / "performance-other.md"
    text = written[0].read_text()
    assert "python -m bench report bench/results/full.json.xz --docs --name performance-other -->" in text
    assert all(path.parent == tmp_path / "performance-other" for path in written[1:])
    assert f"](performance-other/{written[1].name})" in text


@pytest.mark.skipif(not PAGES, reason="no full run was published yet")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_published_page_is_that_of_its_result(page: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench import charts, document

    published = page.read_text()
    # Not by write_docs, which refuses a result once a network has gained workloads that it lacks.
    command = re.search(r"bench report (\S+) --docs(?: --name (\S+))?((?: --also \S+)*) -->", published)
    assert command
    name = command[2] or document.MAIN
    assert name == page.stem
    source, *also = [ROOT / path for path in (command[1], *command[3].split()[1::2])]
    assert all(path.stat().st_size < 500_000 for path in (source, *also))
    results = Results.load(source)
    pictures = {p.title: f"{name}/{p.path.name}" for p in charts.draw(results, tmp_path)}
    further = {path.name: Results.load(path) for path in also}
    assert document.markdown(results, pictures, source.name, further, name) == published
