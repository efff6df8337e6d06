"""What a run shows while it goes on: a progress bar over a table in a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench import tables
from bench.peers import is_ours
from bench.schema import Row
from bench.stats import NOISY
from bench.workloads import Workload


class Display(AbstractContextManager["Display"]):
    """`add` takes the rows of one workload."""

    def __init__(self, peers: Sequence[str], total: int, console: Console | None = None) -> None:
        self.console = console or Console(width=None)
        # Groups by what their rows have in common: another visit replaces what the one before found.
        self.peers, self.groups = list(peers), dict[tuple[str, str, str, int], list[Row]]()
        bar = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*bar, console=self.console)
        self._task = self._progress.add_task("measuring", total=total)
        self._live = Live(self._view(), console=self.console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()
            self.console.print(table(self.groups.values(), self.peers))

    def start(self, workload: Workload) -> None:
        name = f"{workload.network} {workload.op} {workload.shape}"
        self._progress.update(self._task, description=name)

    def add(self, rows: Sequence[Row]) -> None:
        for threads in sorted({row.threads for row in rows}):
            group = [row for row in rows if row.threads == threads]
            self.groups.pop(group[0].key, None)  # what was measured last is shown last
            self.groups[group[0].key] = group
            if not self.console.is_terminal:
                self.console.print(_line(group), soft_wrap=True, highlight=False, markup=False)
        self._progress.advance(self._task)
        progress = self._progress.tasks[0]
        if progress.completed > (progress.total or 0):  # visits of what is noisy come on top
            self._progress.update(self._task, total=progress.completed)
        if self.console.is_terminal:
            self._live.update(self._view())

    def _view(self) -> Group:
        room = max(5, self.console.height - 8)
        return Group(table(list(self.groups.values())[-room:], self.peers), self._progress)


def table(groups: Iterable[Sequence[Row]], peers: Sequence[str]) -> Table:
    """A line per workload, a column per peer: microseconds, and times as long as the best of the line."""
    result = Table(box=None, pad_edge=False)
    for name in ("network", "operation", "shape", "threads", "roofline"):
        result.add_column(
            name, justify="right" if name in ("threads", "roofline") else "left", overflow="fold"
        )
    for peer in peers:
        result.add_column(peer, justify="right", style="bold" if is_ours(peer) else "", overflow="fold")
    for rows in groups:
        first = rows[0]
        best = min((row.best_us for row in rows if row.best_us), default=None)
        roofline = next((f"{row.roofline_us:.1f}" for row in rows if row.roofline_us), "")
        cells = {row.peer: _cell(row, best) for row in rows}
        head = (first.network, first.op, first.shape, str(first.threads), roofline)
        result.add_row(*head, *(cells.get(peer, "") for peer in peers))
    return result


def summary(rows: Sequence[Row]) -> Table:
    """How much faster the first of our peers that was measured is than each peer, in geometric mean."""
    result = Table(
        title="geometric mean of peer's time / dwconv's time (above 1: dwconv is faster)", box=None
    )
    mine = tables.ours(rows)
    ops = list(dict.fromkeys(row.op for row in rows))
    for name in ("peer", "threads", *ops):
        result.add_column(name, justify="left" if name == "peer" else "right")
    for threads in sorted({row.threads for row in rows}):
        found = tables.groups(row for row in rows if row.threads == threads)
        for peer in tables.peers(rows):
            means = tables.mean_speedups(found, mine, peer) if mine and peer != mine else {}
            if means:
                result.add_row(peer, str(threads), *(f"{means[op]:.2f}" if op in means else "" for op in ops))
    return result


def _cell(row: Row, best: float | None) -> str:
    if row.best_us is None or best is None:
        return row.status
    text = f"{row.best_us:.1f} ({row.best_us / best:.2f})"
    if row.noise and row.noise > NOISY:
        text += "~"
    return f"[green]{text}[/green]" if row.best_us == best else text


def _line(rows: Sequence[Row]) -> str:
    first = rows[0]
    parts = [f"{first.network:12} {first.op:18}{first.shape:36} {first.threads}t"]
    if first.roofline_us:
        parts.append(f"roofline {first.roofline_us:9.1f}")
    for row in rows:
        figure = f"{row.best_us:9.1f}" if row.best_us else f"{row.status:>9}"
        parts.append(f"{row.peer} {figure}{'~' if row.noise and row.noise > NOISY else ' '}")
    return " | ".join(parts)
