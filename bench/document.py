"""The result as Markdown: summaries first, losses as plainly as wins, every measurement last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from bench import measure, networks, tables, targets
from bench.limits import best_isa
from bench.markdown import header, line, plain
from bench.peers import PEERS, is_ours
from bench.schema import Results
from bench.stats import NOISY

_MOST_LOSSES = 40
_MOST_LOSSES_BESIDES = 10  # of a run that the document has besides the main one
_LOST_BY_FUSING = 0.03  # less is within what rows are uncertain by

# The page of docs/ of the machine that dwconv is developed on; other machines have theirs under other names.
MAIN = "performance"

Found = Sequence[tables.Group]


def markdown(
    results: Results,
    pictures: Mapping[str, str] | None = None,
    source: str = "",
    also: Mapping[str, Results] | None = None,
    name: str = MAIN,
) -> str:
    """`pictures` are titles and paths; `source` is the committed file that page `name` of docs/ is made from.

    `also` are further results by the names of their files, of whole or partial runs: one section for each.
    """
    also = also or {}
    found, mine = tables.ordered(results.rows), tables.ours(results.rows)
    distinct = tables.distinct(found)
    parts = ["# Performance", "", *_introduction(results, source, list(also), name), ""]
    if mine:
        parts += ["## Who is faster", "", *_standings(distinct, mine), ""]
        parts += [*_speedups(results, distinct, mine), ""]
    for title, path in (pictures or {}).items():
        parts += [f"![{title}]({path})", ""]
    if mine:
        parts += ["## Where dwconv loses", "", *_losses(distinct, mine, _MOST_LOSSES), ""]
        parts += targets.section(results, distinct, mine, "##", targets.TARGETS)
        parts += ["## Network by network", "", *_by_network(results, found, mine), ""]
    parts += _networks(found, mine, "##")
    parts += _fusing(found, mine, "##")
    parts += _memory(found, mine)
    for name, further in also.items():
        parts += _section(name, further)
    parts += ["## First call and memory", "", *_costs(results), ""]
    if results.limits:
        parts += ["## Limits of this machine", "", *_limits(results), ""]
    parts += ["## Every measurement", "", _LEGEND, "", *_measurements(found, "###")]
    parts += ["## Peers", "", *_peers(results)]
    return "\n".join(parts).rstrip() + "\n"


def title(results: Results) -> str:
    """What a further result shows, by its settings and peers."""
    parts = ["Cold caches"] if results.settings.get("cold_bytes") else []
    variant = (tables.ours(results.rows) or "").partition("@")[2]
    if variant:
        parts.append(f"{'forced' if parts else 'Forced'} {variant.upper()}")
    return ", ".join(parts) or f"Another run, {results.machine['date'][:10]}"


def missing(results: Results) -> str:
    """What a full run has and this result has not; empty if nothing."""
    measured = {row.network for row in results.rows}
    lacking = [f"network {name}" for name in networks.NETWORKS if name not in measured]
    lacking += [f"operation {op}" for op in networks.OPS if op not in results.settings.get("ops", ())]
    lacking += [f"peer {peer}" for peer in PEERS if "version" not in results.peers.get(peer, {})]
    if results.settings.get("match"):
        lacking.append("what does not match")
    rows = {row.key for row in results.rows}
    wanted = sum(len(networks.expand(name)) for name in networks.NETWORKS)
    if len(rows) < wanted * len(results.settings.get("threads", ())):
        lacking.append(f"workloads, of which it has {len(rows)}")
    return ", ".join(lacking)


NETWORKS_LEGEND = (
    "Milliseconds of all convolutions of a network, one call after another; pooling, gates and the like are "
    'not in it. As "blocks", dwconv runs pairs and inverted residuals as one operation each, which holds the '
    "whole squeeze-and-excite where there is one; everything else is the sum of single layers."
)
_LEGEND = (
    "Microseconds per call; in brackets the share of the roofline. `~` marks a figure that is uncertain by "
    f"more than {NOISY:.0%}, `*` the slope over a chain of layers: the time per layer without what happens "
    "at both ends of a network, where some libraries reorder activations. The fastest of a line is bold. "
    "Empty: the library cannot express it."
)


def _introduction(results: Results, source: str, also: Sequence[str], page: str) -> Iterable[str]:
    machine, noise, settings = results.machine, results.noise, results.settings
    changed = " with changes" if machine["modified"] else ""
    clock = f" at {machine['frequency_mhz']:.0f} MHz as it says" if machine.get("frequency_mhz") else ""
    warmth = "caches evicted before every call" if settings.get("cold_bytes") else "warm caches"
    if source:
        more = f" --name {page}" if page != MAIN else ""
        more += "".join(f" --also bench/results/{name}" for name in also)
        yield f"<!-- Generated: python -m bench report bench/results/{source} --docs{more} -->"
        yield ""
    yield (
        f"Measured on {machine['cpu']}{clock} ({machine['cores']} cores, {', '.join(machine['flags'])}), "
        f"{machine['system']}, on {machine['date'][:10]}, commit {machine['commit'] or 'unknown'}{changed}, "
        f"{machine['compiler']}. All peers side by side in one run, float32, NHWC, minimum of many samples, "
        f"{warmth}. {noise.get('noisy_rows', 0):.0%} of the rows are uncertain by more than {NOISY:.0%}; "
        f"other guests of the host took {noise.get('steal_share', 0):.1%} of the CPU. "
        "[benchmarking.md](benchmarking.md) says how to read it and how to measure another machine."
    )


def _section(name: str, results: Results) -> Iterable[str]:
    """Summaries, and below a fold every measurement. ValueError if dwconv is not in it."""
    found, mine = tables.ordered(results.rows), tables.ours(results.rows)
    if not mine:
        raise ValueError(f"{name}: dwconv was not measured")
    distinct = tables.distinct(found)
    yield from (f"## {title(results)}", "", *_made(results, name, found), "")
    yield from (*_standings(distinct, mine), "", *_speedups(results, distinct, mine), "")
    if results.settings.get("cold_bytes"):
        yield "The same by single calls, which for some libraries hold reorders at both ends."
        yield from ("", *_speedups(results, distinct, mine, single_calls=True), "")
    yield from ("### Where dwconv loses", "", *_losses(distinct, mine, _MOST_LOSSES_BESIDES), "")
    if mine.endswith("@avx2"):
        yield from targets.section(results, distinct, mine, "###", targets.FORCED_AVX2)
    if len(tables.split(found, "network")) > 1:
        yield from ("### Network by network", "", *_by_network(results, found, mine), "")
    if not results.settings.get(
        "cold_bytes"
    ):  # a network finds what its layers wrote, and its own code, warm
        yield from _networks(found, mine, "###")
    yield from _fusing(found, mine, "###")
    yield from ("### Measurements", "", _LEGEND, "")
    yield f"<details><summary>{len(found)} lines</summary>"
    yield from ("", *_measurements(found, "####"), "</details>", "")


def _made(results: Results, name: str, found: Found) -> Iterable[str]:
    """How a further result came about, and which part of a full run it is."""
    machine, settings = results.machine, results.settings
    measured = tables.peers(results.rows)
    changed = " with changes" if machine["modified"] else ""
    yield (
        f"From `bench/results/{name}`, measured on {machine['cpu']} on {machine['date'][:10]}, commit "
        f"{machine['commit'] or 'unknown'}{changed}, by"
    )
    yield ""
    yield f"    {_command(settings, list(results.peers))}"
    yield ""
    if settings.get("cold_bytes"):
        yield (
            "Every sample is a single call after the caches were evicted, with two reads of the clock and "
            "cold code in it: to be compared with each other only. Slopes (`*`) are of layers whose input "
            "was just written, which makes them half warm."
        )
    free = [peer for peer in measured if "@" not in peer]
    if len(free) < len(measured):
        rest = f"; at their own choice: {', '.join(free)}" if free else ""
        forced = ", ".join(peer for peer in measured if "@" in peer)
        yield f"Held to one instruction set: {forced}{rest}."
    if missing(results):
        networks_in = ", ".join(dict.fromkeys(group.first.network for group in found))
        ops = ", ".join(dict.fromkeys(plain(group.first.op) for group in tables.blocks_first(found)))
        count = len({(group.first.network, group.first.op, group.first.shape) for group in found})
        wanted = sum(len(networks.expand(network)) for network in networks.NETWORKS)
        part = f"{count} of {wanted} workloads: networks {networks_in}; operations {ops}"
        part = f"all {count} workloads" if count == wanted else part
        yield f"It is a part of a full run, {part}; libraries {', '.join(measured)}."


def _command(settings: Mapping[str, object], peers: Sequence[str]) -> str:
    """The one that such a result comes from, defaults left out."""

    def chosen(name: str) -> list[str]:
        values = settings.get(name) or ()
        assert isinstance(values, Iterable)
        return [str(value) for value in values]

    method = asdict(measure.QUICK)
    quick = all(settings.get(name) == value for name, value in method.items() if name != "cold_bytes")
    words = ["python -m bench run --quick" if quick else "python -m bench run"]
    for option, defaults, values in (
        ("network", ["classic"] if quick else list(networks.NETWORKS), chosen("network")),
        ("ops", list(networks.OPS), chosen("ops")),
        ("peers", list(PEERS), list(peers)),
        ("threads", ["1"], chosen("threads")),
    ):
        if values and values != defaults:
            words.append(f"--{option} {','.join(values)}")
    words += [f'--match "{text}"' for text in chosen("match")]
    return " ".join([*words, "--cold"] if settings.get("cold_bytes") else words)


def _standings(found: Found, mine: str) -> Iterable[str]:
    yield (
        "Against the fastest other library of every single workload: the geometric mean of its time divided "
        f"by that of `{mine}` (above 1, dwconv is faster), how often dwconv is the fastest, and the worst."
    )
    yield ""
    yield from header("operation", "threads", "mean", "dwconv is the fastest", "worst", "where")
    for (op, threads), part in tables.split(found, "op", "threads").items():
        standing = tables.standing(part, mine)
        if standing:
            worst = standing.worst
            won = f"in {standing.won} of {standing.count}"
            yield line(
                plain(op), threads, f"**{standing.mean:.2f}**", won, _ratio(worst, mine), worst.first.shape
            )


def _speedups(results: Results, found: Found, mine: str, single_calls: bool = False) -> Iterable[str]:
    ops = list(dict.fromkeys(group.first.op for group in found))
    if not single_calls:
        yield from ("Against each, in geometric mean over what both can run:", "")
    yield from header("library", "threads", *map(plain, ops))
    for (threads,), part in tables.split(found, "threads").items():
        for peer in tables.peers(results.rows):
            means = tables.mean_speedups(part, mine, peer, single_calls)
            if peer != mine and means:
                yield line(peer, threads, *(f"{means[op]:.2f}" if op in means else "" for op in ops))


def _losses(found: Found, mine: str, most: int) -> Iterable[str]:
    lost = tables.losses(found, mine)
    compared = sum(group.speedup(mine) is not None for group in found)
    if not lost:
        yield "In this run, nowhere."
        return
    more = f" The {most} worst:" if len(lost) > most else ""
    yield f"In {len(lost)} of {compared} workloads another library is faster than dwconv.{more}"
    yield ""
    yield from header("operation", "shape", "threads", "dwconv, us", "fastest, us", "ratio")
    for group in tables.blocks_first(lost[:most]):
        first, best = group.first, group.best_peer
        assert best is not None
        us = f"{group.best_us(mine) or 0:.1f}", f"{best.best_us or 0:.1f} ({best.peer})"
        yield line(plain(first.op), first.shape, first.threads, *us, _ratio(group, mine))


def _by_network(results: Results, found: Found, mine: str) -> Iterable[str]:
    others = [peer for peer in tables.peers(results.rows) if not is_ours(peer)]
    yield "As above, with the fastest other library of each workload, and with every one of them."
    yield ""
    yield from header("network", "operation", "threads", "fastest", "won", "worst", *others)
    for (network, op, threads), part in tables.split(found, "network", "op", "threads").items():
        standing = tables.standing(part, mine)
        if standing:
            means = (tables.mean_speedups(part, mine, peer).get(op) for peer in others)
            won = f"{standing.won} of {standing.count}"
            head = network, plain(op), threads, f"**{standing.mean:.2f}**", won, _ratio(standing.worst, mine)
            yield line(*head, *(f"{mean:.2f}" if mean else "" for mean in means))


def _networks(found: Found, mine: str | None, level: str) -> Iterable[str]:
    columns, totals = tables.whole_networks(found, mine)
    if not totals:
        return
    yield f"{level} Whole networks"
    yield ""
    yield NETWORKS_LEGEND
    yield ""
    yield from header("network", "threads", *columns)
    for (network, threads), total in totals.items():
        yield line(network, threads, *(f"{total[p] / 1e3:.2f}" if p in total else "" for p in columns))
    yield ""


def _fusing(found: Found, mine: str | None, level: str) -> Iterable[str]:
    by_network = {
        key: fusing
        for key, part in tables.split(found, "network", "threads").items()
        if mine and (fusing := tables.fusing(part, mine))
    }
    if not mine or not by_network:
        return
    layers = tables.as_layers(mine)
    yield f"{level} Blocks: one operation against layers"
    yield ""
    yield (
        f"The time of a block's layers as separate operations of dwconv (`{layers}`), divided by that of the "
        "block as one: above 1, fusing gains. The geometric mean over the blocks of a network, and the "
        "worst. The separate operations are the same kernels on plans of their own; sums with the input, and "
        "the mean and the product of a squeeze-and-excite, are further loops over a whole feature map."
    )
    yield ""
    yield from header("network", "threads", "blocks", "mean", "worst", "where")
    for (network, threads), fusing in by_network.items():
        worst = f"{tables.gain(fusing.worst, mine) or 0:.2f}"
        yield line(network, threads, fusing.count, f"**{fusing.mean:.2f}**", worst, fusing.worst.first.shape)
    yield ""
    lost = tables.losses_by_fusing(tables.distinct(found), mine, _LOST_BY_FUSING)
    if not lost:
        yield f"No block loses more than {_LOST_BY_FUSING:.0%} by fusing."
        yield ""
        return
    yield f"Blocks that lose more than {_LOST_BY_FUSING:.0%} by fusing:"
    yield ""
    yield from header("operation", "shape", "threads", "as one, us", "as layers, us", "ratio")
    for group in lost:
        cells = _cell(group, mine), _cell(group, layers), f"{tables.gain(group, mine) or 0:.2f}"
        yield line(plain(group.first.op), group.first.shape, group.first.threads, *cells)
    yield ""


def _memory(found: Found, mine: str | None) -> Iterable[str]:
    by_network = {
        key: memory
        for key, part in tables.split(found, "network", "threads").items()
        if mine and (memory := tables.block_memory(part, mine))
    }
    if not by_network:
        return
    yield "## Memory of blocks"
    yield ""
    yield (
        "What the blocks of a network need at most beside input and output, in KB: dwconv's scratch, and the "
        "feature maps between the layers where these are computed one after another. The ratio is the "
        "geometric mean over all blocks of scratch to such maps. Scratch grows with the threads and, but for "
        "a squeeze-and-excite, not with the height of the image: for the smallest images it is more than the "
        "maps. The peak counts input and output as well, in MB, each of the block that needs most."
    )
    yield ""
    head = "maps between", "of", "ratio", "less in", "peak as blocks", "peak as layers"
    yield from header("network", "threads", "scratch", *head)
    for (network, threads), memory in by_network.items():
        kilobytes = f"{memory.scratch / 1e3:.0f}", f"{memory.between / 1e3:.0f}", memory.largest.shape
        less = f"{memory.mean:.2f}", f"{memory.less} of {memory.count}"
        peaks = f"{memory.with_maps / 1e6:.2f}", f"{memory.as_layers / 1e6:.2f}"
        yield line(network, threads, *kilobytes, *less, *peaks)
    yield ""


def _costs(results: Results) -> Iterable[str]:
    yield (
        "The median of what the first call takes, planning, packing the weights and compiling included; and "
        "the most memory that the first call of any workload took, copies of its input and output included."
    )
    yield ""
    yield from header("library", "first call, ms", "memory at most, MB")
    for peer, (us, size) in tables.costs(results.rows).items():
        yield line(peer, f"{us / 1e3:.1f}", f"{size / 1e6:.1f}")


def _limits(results: Results) -> Iterable[str]:
    assert results.limits is not None
    isa = best_isa(results.limits)
    peaks = (f"{limit['gflops']:.0f} on {n} core(s)" for n, limit in results.limits["isa"][isa].items())
    yield f"Measured in the same run, with {isa}. Peak of multiply-adds, GFLOP/s: {', '.join(peaks)}."
    yield ""
    yield from header("GB/s", "cores", "read", "write", "copy")
    for cores in results.limits["isa"][isa]:
        for level, step in tables.levels(results.limits, results.machine["caches"], cores):
            yield line(level, cores, *(f"{step[kind] / 1e9:.0f}" for kind in ("read", "write", "copy")))


def _measurements(found: Found, level: str) -> Iterable[str]:
    for (network, op, threads), part in tables.split(found, "network", "op", "threads").items():
        columns = tables.able(part)
        yield f"{level} {network}, {plain(op)}, {threads} thread{'s' if threads > 1 else ''}"
        yield ""
        yield from header("shape", "roofline", *columns)
        for group in part:
            roofline = f"{group.first.roofline_us:.1f}" if group.first.roofline_us else ""
            yield line(group.first.shape, roofline, *(_cell(group, peer) for peer in columns))
        yield ""


def _cell(group: tables.Group, peer: str) -> str:
    row = group.rows.get(peer)
    if row is None or row.status == "unsupported":
        return ""
    if row.best_us is None:
        return row.status
    text = f"{row.best_us:.1f}"
    if row.best_us == min(r.best_us for r in group.rows.values() if r.best_us):
        text = f"**{text}**"
    if row.slope_us == row.best_us:
        text += "*"
    if row.noise and row.noise > NOISY:
        text += "~"
    return f"{text} ({row.roofline_share:.0%})" if row.roofline_share else text


def _peers(results: Results) -> Iterable[str]:
    for peer, described in results.peers.items():
        yield f"- {peer}: {tables.peer_details(described)}"
    if any(is_ours(peer) for peer in results.peers):
        yield ""
        yield "`dwconv` and `onednn` are called in a loop in C, the others from Python, as users call them."


def _ratio(group: tables.Group, mine: str) -> str:
    return f"{group.speedup(mine) or 0:.2f}"
