"""The report of a result: Markdown and charts, every measurement as a page, and the pages of docs/.

Summaries first, losses as plainly as wins. What a table is made of stands in tables.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench import charts, networks, tables, targets
from bench.compiling import ROOT
from bench.limits import best_isa, peak
from bench.peers import defaults
from bench.schema import Results
from bench.stats import NOISY

MAIN = "performance"  # the page of docs/ of the machine that dwconv is developed on
_MOST = 10  # lines of a table of losses
_LOST_BY_FUSING = 0.03  # less is within what rows are uncertain by


def write(results: Results, folder: Path) -> list[Path]:
    """performance.md with its charts, and performance.html with every measurement, in `folder`.

    ValueError if the result holds no row.
    """
    table = tables.frame(results.rows)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = charts.draw(results, table, folder)
    text, page = folder / "performance.md", folder / "performance.html"
    text.write_text(markdown(results, {title: path.name for title, path in pictures.items()}))
    page.write_text(every_measurement(table))
    return [text, page, *pictures.values()]


def write_docs(
    results: Results, source: Path, also: Mapping[str, Results], name: str = MAIN, docs: Path = ROOT / "docs"
) -> list[Path]:
    """`name`.md in `docs`, with its charts in a folder beside it; `source` is the result's file.

    `also` are further results by the names of their files, which may be of partial runs. ValueError if the
    main one is: what is published leaves nothing out.
    """
    if lacking := missing(results):
        raise ValueError(f"{source} is no full run: {lacking}")
    (docs / name).mkdir(parents=True, exist_ok=True)
    pictures = charts.draw(results, tables.frame(results.rows), docs / name)
    paths = {title: f"{name}/{path.name}" for title, path in pictures.items()}
    text = markdown(results, paths, source.name, also, name)
    (docs / f"{name}.md").write_text(text)
    return [docs / f"{name}.md", *pictures.values()]


def missing(results: Results) -> str:
    """What a full run has and this result has not; empty if nothing."""
    measured, dtype = {row.network for row in results.rows}, _dtype(results)
    lacking = [f"network {name}" for name in networks.defaults(dtype) if name not in measured]
    lacking += [f"operation {op}" for op in networks.OPS if op not in results.settings.get("ops", ())]
    lacking += [f"peer {peer}" for peer in defaults(dtype) if "version" not in results.peers.get(peer, {})]
    if results.settings.get("match"):
        lacking.append("what does not match")
    return ", ".join(lacking)


def markdown(
    results: Results,
    pictures: Mapping[str, str] | None = None,
    source: str = "",
    also: Mapping[str, Results] | None = None,
    name: str = MAIN,
) -> str:
    """`pictures` are titles and paths; `source` is the committed file that page `name` is made from."""
    parts = ["# Performance", *_introduction(results, source, also or {}, name)]
    parts += _section(results, pictures or {}, "##")
    for file, further in (also or {}).items():
        parts += [f"## {title(further)}", *_made(file, further), *_section(further, {}, "###")]
    if results.limits:
        parts += ["## Limits of this machine", *_limits(results.limits, results.machine["caches"])]
    parts += ["## Peers", "\n".join(f"- {peer}: {_details(peer, of)}" for peer, of in results.peers.items())]
    parts.append(
        "`dwconv` and `onednn` are called in a loop in C, the others from Python, as users call them."
    )
    return "\n\n".join(parts) + "\n"


def title(results: Results) -> str:
    """What a further result shows, by its settings and peers."""
    variant = (tables.ours(tables.wide(tables.frame(results.rows))) or "").partition("@")[2]
    parts = ["cold caches"] * bool(results.settings.get("cold_bytes")) + [f"forced {variant.upper()}"] * bool(
        variant
    )
    text = ", ".join(parts) or f"another run, {results.machine['date'][:10]}"
    return text[0].upper() + text[1:]


def _introduction(results: Results, source: str, also: Mapping[str, Results], page: str) -> Iterable[str]:
    machine, noise = results.machine, results.noise
    if source:
        options = f" --name {page}" * (page != MAIN) + "".join(
            f" --also bench/results/{name}" for name in also
        )
        yield f"<!-- Generated: python -m bench report bench/results/{source} --docs{options} -->"
    clock = f" at {machine['frequency_mhz']:.0f} MHz as it says" if machine.get("frequency_mhz") else ""
    yield (
        f"Measured on {machine['cpu']}{clock} ({machine['cores']} cores, {', '.join(machine['flags'])}), "
        f"{machine['system']}, {_origin(machine)}, {machine['compiler']}. All peers side by side in one run, "
        f"{_dtype(results)}, NHWC, minimum of many samples. {noise.get('noisy_rows', 0):.0%} of the rows are "
        f"uncertain by more than {NOISY:.0%}; other guests of the host took "
        f"{noise.get('steal_share', 0):.1%} of the CPU."
    )
    yield (
        "[benchmarking.md](benchmarking.md) tells how to read it and how to measure another machine. "
        f"`python -m bench report {f'bench/results/{source}' if source else 'RESULT'}` makes a page of every "
        "measurement."
    )


def _dtype(results: Results) -> str:
    return str(results.settings.get("dtype", "float32"))


def _origin(machine: Mapping[str, Any]) -> str:
    changed = " with changes" if machine["modified"] else ""
    return f"on {machine['date'][:10]}, commit {machine['commit'] or 'unknown'}{changed}"


def _made(file: str, results: Results) -> Iterable[str]:
    """Where a further result comes from."""
    machine, settings = results.machine, results.settings
    peers = ", ".join(peer for peer, of in results.peers.items() if "absent" not in of)
    yield (
        f"From `bench/results/{file}`, measured on {machine['cpu']} {_origin(machine)}: {peers}; networks "
        f"{', '.join(dict.fromkeys(row.network for row in results.rows))}."
    )
    if settings.get("cold_bytes"):
        yield (
            "Every sample is a single call after the caches were evicted, with two reads of the clock and "
            "cold code in it: to be compared with each other only."
        )


def _section(results: Results, pictures: Mapping[str, str], level: str) -> Iterable[str]:
    """What one result says. ValueError if it has no row."""
    table = tables.frame(results.rows)
    times = tables.wide(table)
    mine, once = tables.ours(times), tables.distinct(times)
    if mine and not tables.speedups(times).empty:
        yield (
            "Against the fastest other library of every single workload: the geometric mean of its time "
            f"divided by that of `{mine}` (above 1, dwconv is faster), how often dwconv is the fastest, and "
            "the worst."
        )
        yield _table(tables.standings(once, "op", "threads"))
        if len(times.columns) > 2:
            yield "Against each, in geometric mean over what both can run:"
            yield _table(tables.against_each(once).reset_index().rename(columns={"peer": "library"}))
        yield from (f"![{title}]({path})" for title, path in pictures.items())
        yield from (f"{level} Where dwconv loses", *_losses(once))
    if mine:
        wanted = targets.FORCED_AVX2 if mine.endswith("@avx2") else targets.TARGETS
        if _dtype(results) == "int8":
            wanted = targets.INT8
            yield from _of_float(results, table, mine, level)
        cold = bool(results.settings.get("cold_bytes"))
        yield from () if cold else _targets(targets.judge(table, mine, results.limits, wanted), level)
        yield from () if cold else _networks(table, level)
        yield from _blocks(table, times, mine, level)
    if level == "##":
        yield from (f"{level} First call and memory", *_costs(table))


def _losses(once: pd.DataFrame) -> Iterable[str]:
    lost, compared = tables.losses(once), len(tables.speedups(once))
    if lost.empty:
        yield "In this run, nowhere."
        return
    yield f"In {len(lost)} of {compared} workloads another library is faster than dwconv. The worst:"
    shown = lost.reset_index()[["op", "shape", "threads", "us", "best_us", "peer", "ratio"]].head(_MOST)
    yield _table(shown.rename(columns={"us": "dwconv, us", "best_us": "fastest, us", "peer": "which"}))


def _targets(judged: pd.DataFrame, level: str) -> Iterable[str]:
    if judged.empty:
        return
    yield f"{level} Targets"
    yield (
        "What the project set itself, as a share of the roofline on one thread or as the gain of a second "
        "thread, for every layer and block once. [limits.md](limits.md) says what holds up those that miss. "
        "The roofline takes activations for free."
    )
    lines = []
    for (target, wanted), part in judged.groupby(["target", "wanted"], sort=False):
        lowest = part.loc[part["reached"].idxmin()]
        figures = {"target": wanted, "mean": tables.mean(part["reached"]), "lowest": lowest["reached"]}
        met = f"{part['met'].sum()} of {len(part)}"
        lines.append({"what": target, **figures, "where": lowest["shape"], "met": met})
    yield _table(pd.DataFrame(lines))


def _of_float(results: Results, table: pd.DataFrame, mine: str, level: str) -> Iterable[str]:
    known = results.limits
    peaks = {count: peak(known, count, "int8") for count in known["cores"]} if known else {}
    found = tables.of_float(table, tables.wide(table), mine, peaks)
    yield f"{level} Layer by layer"
    yield (
        "`peak`: operations on real taps as a share of what the machine's dot products of 8-bit integers can "
        "do. A 3x3 window fills three of the four bytes of each, and rounding takes the same pipes: no "
        "depthwise layer can come near 1. `float32`: dwconv's own time in float32 divided by that in int8. "
        "`peers`: the time of the fastest other library in int8, in its best form, divided by dwconv's."
    )
    by = found.groupby(["op", "threads"], sort=False)[["peak", "float32", "peers"]].agg(tables.mean)
    yield _table(by.reset_index())
    yield _table(found)


def _networks(table: pd.DataFrame, level: str) -> Iterable[str]:
    totals = tables.network_totals(table)
    if totals.empty:
        return
    yield f"{level} Whole networks"
    yield (
        "Milliseconds of all convolutions of a network, one call after another; pooling, gates and the like "
        'are not in it. As "blocks", dwconv runs pairs and inverted residuals as one operation each, with '
        "the whole squeeze-and-excite where there is one; everything else is the sum of single layers."
    )
    yield _table((totals / 1e3).reset_index())


def _blocks(table: pd.DataFrame, times: pd.DataFrame, mine: str, level: str) -> Iterable[str]:
    gains = tables.fusing(times)
    if gains.empty:
        return
    by = gains.groupby(level=["network", "threads"], sort=False)
    found = by.agg(blocks="count", gain=tables.mean, worst="min")
    yield f"{level} Blocks: one operation against layers"
    yield (
        "Gain: the time of a block's layers as separate operations of dwconv, divided by that of the block "
        "as one, in geometric mean over a network, and the worst; sums with the input, and the mean and the "
        "product of a squeeze-and-excite, are further loops over a whole feature map there. Scratch, maps: "
        "what blocks need at most beside input and output, in KB, as one operation, and as layers between "
        "these; and the geometric mean of scratch / maps."
    )
    yield _table(found.join(tables.block_memory(table, mine)).reset_index())
    lost = tables.fusing(tables.distinct(times))
    lost = lost[lost < 1 - _LOST_BY_FUSING].sort_values()
    yield f"{len(lost) or 'No'} block(s) lose more than {_LOST_BY_FUSING:.0%} by fusing."
    if len(lost):
        yield _table(lost.rename("gain").reset_index().head(_MOST))


def _costs(table: pd.DataFrame) -> Iterable[str]:
    yield (
        "The median of what the first call takes, planning, packing the weights and compiling included; and "
        "the most memory that the first call of any workload took, copies of its input and output included."
    )
    found = tables.costs(table).rename_axis("library") / [1e3, 1e6]
    yield _table(found.set_axis(["first call, ms", "memory at most, MB"], axis=1).reset_index())


def _limits(limits: dict[str, Any], caches: Mapping[str, int]) -> Iterable[str]:
    isa = best_isa(limits)
    found = limits["isa"][isa]
    peaks = (f"{limit['gflops']:.0f} on {n} core(s)" for n, limit in found.items())
    dots = (f"{limit['dot_gops']:.0f} on {n}" for n, limit in found.items() if limit.get("dot_gops"))
    integers = f"; of dot products of 8-bit integers, GOP/s: {text}" if (text := ", ".join(dots)) else ""
    yield (
        f"Measured in the same run, with {isa}. Peak of multiply-adds, GFLOP/s: {', '.join(peaks)}"
        f"{integers}. GB/s:"
    )
    yield _table(
        pd.DataFrame(
            {
                "level": level,
                "cores": cores,
                **{kind: round(step[kind] / 1e9) for kind in ("read", "write", "copy")},
            }
            for cores in limits["isa"][isa]
            for level, step in levels(limits, caches, cores)
        )
    )


def levels(
    limits: dict[str, Any], caches: Mapping[str, int], cores: str
) -> Iterable[tuple[str, dict[str, Any]]]:
    """L1, L2, L3 and memory, and the rates of a buffer that surely lies there."""
    ladder = limits["isa"][best_isa(limits)][cores]["bandwidth"]
    for level, size in caches.items():
        inside = [step for step in ladder if step["bytes"] <= size / 2]
        if inside:
            yield level, inside[-1]
    yield "memory", ladder[-1]


def every_measurement(table: pd.DataFrame) -> str:
    """A page of HTML: a line per workload and thread count, a column per peer, the fastest marked."""
    times = tables.wide(table)
    styled = times.reset_index().style.hide(axis="index").format(precision=1, na_rep="", escape="html")
    styled.highlight_min(subset=list(times.columns), axis=1, props="font-weight: bold; background: #d7efe5")
    css = [{"selector": "td", "props": "text-align: right; padding: 0 0.5em"}]
    page = styled.set_table_styles(css).set_caption("Microseconds per call").to_html(doctype_html=True)
    return str(page)


def _details(peer: str, described: dict[str, Any]) -> str:
    """What a peer says of itself, or why it is absent, in one line."""
    if "absent" in described:
        return f"absent ({described['absent'].splitlines()[0]})"
    more = [f"{key} {value}" for key, value in described.items() if key != "version" and value]
    return ", ".join([str(described.get("version", "")), *more])


def _table(table: pd.DataFrame) -> str:
    """Numbers with two digits, or one from 100 on; operations as words."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "" if value != value else f"{value:.{1 if value >= 100 else 2}f}"
        return str(value).replace("inverted_residual", "inverted residual")

    text: str = table.map(cell).to_markdown(index=False, disable_numparse=True, headers=map(cell, table))
    return text
