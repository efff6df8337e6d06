"""The result as one HTML file that needs nothing else: figures, charts, every number behind a filter."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from bench import tables
from bench.charts import Picture
from bench.document import NETWORKS_LEGEND
from bench.peers import is_ours
from bench.schema import Results, Row
from bench.stats import NOISY


def render(results: Results, pictures: Sequence[Picture] = ()) -> str:
    found, mine = tables.ordered(results.rows), tables.ours(results.rows)
    template = Template(Path(__file__).with_name("page.html").read_text())
    return template.substitute(
        machine=escape(_machine(results)),
        cards="".join(_cards(found, mine)) if mine else "",
        explanation=escape(_EXPLANATION),
        pictures="\n".join(_picture(picture) for picture in pictures),
        losses="".join(_losses(found, mine)) if mine else "<p>dwconv was not measured.</p>",
        networks="".join(_networks(found, mine)),
        noisy=f"{NOISY:.0%}",
        sections="\n".join(_sections(found)),
        peers="".join(_peers(results)),
    )


_EXPLANATION = (
    "The figures above are geometric means of the time of the best other library, workload by workload, "
    "divided by the time of dwconv: 1.20 means that the fastest alternative takes 20 % longer. All libraries "
    "ran side by side, in interleaved rounds, each in its best form, and every result was checked before it "
    "was timed."
)


def _machine(results: Results) -> str:
    machine = results.machine
    cold = ", caches evicted" if results.settings.get("cold_bytes") else ""
    origin = f"{machine['date'][:10]}, commit {machine['commit'] or 'unknown'}"
    return f"{machine['cpu']}, {machine['cores']} cores, float32 NHWC{cold}, {origin}"


def _cards(found: Sequence[tables.Group], mine: str) -> Iterable[str]:
    for (op, threads), part in tables.split(tables.distinct(found), "op", "threads").items():
        standing = tables.standing(part, mine)
        if standing:
            name = op.replace("_", " ") + (f", {threads} threads" if threads > 1 else "")
            kind = "win" if standing.mean >= 1 else "loss"
            yield (
                f'<div class="card"><span class="soft">{escape(name)}</span>'
                f'<b class="{kind}">{standing.mean:.2f}&times;</b>'
                f'<span class="soft">fastest in {standing.won} of {standing.count}</span></div>'
            )


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    return f'<img alt="{escape(picture.title)}" src="data:image/png;base64,{data}">'


def _networks(found: Sequence[tables.Group], mine: str | None) -> Iterable[str]:
    columns, totals = tables.whole_networks(found, mine)
    if not totals:
        return
    yield f'<h2>Whole networks</h2><p class="soft">{escape(NETWORKS_LEGEND)}</p>'
    head = "".join(f"<th>{escape(name)}" for name in columns)
    yield f'<div class="scroll"><table><thead><tr><th>network<th>threads{head}</thead><tbody>'
    for (network, threads), total in totals.items():
        best = min(time for name, time in total.items() if name != "roofline")
        cells = (
            f'<td class="{"best" if total.get(name) == best else ""}">'
            + (f"{total[name] / 1e3:.2f}" if name in total else "")
            for name in columns
        )
        yield f"<tr><td>{escape(network)}<td>{threads}{''.join(cells)}"
    yield "</tbody></table></div>"


def _losses(found: Sequence[tables.Group], mine: str) -> Iterable[str]:
    lost = tables.losses(tables.distinct(found), mine)
    if not lost:
        yield "<p>In this run, nowhere.</p>"
        return
    head = "<th>workload<th>threads<th>dwconv, us<th>best peer, us<th>ratio"
    yield f'<div class="scroll"><table><thead><tr>{head}</thead><tbody>'
    for group in lost:
        first, best = group.first, group.best_peer
        assert best is not None
        name = escape(f"{first.op.replace('_', ' ')} {first.shape}")
        yield f"<tr><td>{name}<td>{first.threads}<td>{group.best_us(mine):.1f}"
        yield f'<td>{best.best_us:.1f} ({escape(best.peer)})<td class="loss">{group.speedup(mine):.2f}'
    yield "</tbody></table></div>"


def _sections(found: Sequence[tables.Group]) -> Iterable[str]:
    for (network, op, threads), part in tables.split(found, "network", "op", "threads").items():
        name = f"{network}, {op.replace('_', ' ')}, {threads} thread{'s' if threads > 1 else ''}"
        columns = tables.able(part)
        head = "".join(f"<th>{escape(peer)}" for peer in columns)
        body = "".join(_line(group, columns) for group in part)
        yield (
            f'<details data-name="{escape(name)} {escape(op)}"><summary>{escape(name)}</summary>'
            f'<div class="scroll"><table><thead><tr><th>shape<th>roofline{head}</thead>'
            f"<tbody>{body}</tbody></table></div></details>"
        )


def _line(group: tables.Group, columns: Sequence[str]) -> str:
    roofline = f"{group.first.roofline_us:.1f}" if group.first.roofline_us else ""
    best = min((row.best_us for row in group.rows.values() if row.best_us), default=None)
    cells = "".join(_cell(group.rows.get(peer), best) for peer in columns)
    return f"<tr><td>{escape(group.first.shape)}<td>{roofline}{cells}"


def _cell(row: Row | None, best: float | None) -> str:
    if row is None or row.status == "unsupported":
        return "<td>"
    if row.best_us is None:
        return f'<td title="{escape(row.message)}">{row.status}'
    classes = " ".join(["best"] * (row.best_us == best) + ["ours"] * is_ours(row.peer))
    marks = "*" * (row.slope_us == row.best_us) + "~" * ((row.noise or 0) > NOISY)
    share = min(1.0, row.roofline_share or 0)
    bar = f'<span class="bar" style="width:{share:.0%}"></span>' if share else ""
    title = (
        f"minimum {row.min_us:.1f} us, median {row.median_us:.1f} us, {row.gflops:.1f} GFLOP/s, {row.kernels}"
    )
    return f'<td class="{classes}" title="{escape(title)}">{row.best_us:.1f}{marks}{bar}'


def _peers(results: Results) -> Iterable[str]:
    for peer, described in results.peers.items():
        yield f"<li><b>{escape(peer)}</b> {escape(tables.peer_details(described))}</li>"
