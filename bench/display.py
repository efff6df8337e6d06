"""What a run shows: a line per visit under a progress bar, and a summary at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import tables
from bench.schema import Row
from bench.stats import NOISY
from bench.workloads import Workload


class Display(Progress):  # type: ignore[misc]
    """`add` takes the rows of one workload."""

    def __init__(self, total: int, console: Console) -> None:
        super().__init__(console=console, disable=not console.is_terminal)
        self._task = self.add_task("measuring", total=total)

    def show(self, workload: Workload) -> None:
        self.update(self._task, description=f"{workload.network} {workload.op} {workload.shape}")

    def add(self, rows: Sequence[Row]) -> None:
        for threads in sorted({row.threads for row in rows}):
            line = _line([row for row in rows if row.threads == threads])
            self.console.print(line, soft_wrap=True, highlight=False, markup=False)
        self.advance(self._task)


def summary(rows: Sequence[Row]) -> Table:
    """How much faster the first of our peers that was measured is than each peer, in geometric mean."""
    title = "geometric mean of peer's time / dwconv's time (above 1: dwconv is faster)"
    result = Table(title=title, box=None)
    times = tables.wide(tables.frame(rows))
    if tables.ours(times) and len(times.columns) > 1:
        means = tables.against_each(times).reset_index()
        for name in means.columns:
            result.add_column(name, justify="left" if name == "peer" else "right")
        for line in means.itertuples(index=False):
            cells = (f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in line)
            result.add_row(*(cell.replace("nan", "") for cell in cells))
    return result


def _line(rows: Sequence[Row]) -> str:
    first = rows[0]
    parts = [f"{first.network:12} {first.op:18}{first.shape:36} {first.threads}t"]
    if first.roofline_us:
        parts.append(f"roofline {first.roofline_us:9.1f}")
    for row in rows:
        figure = f"{row.best_us:9.1f}" if row.best_us else f"{row.status:>9}"
        parts.append(f"{row.peer} {figure}{'~' if row.noise and row.noise > NOISY else ' '}")
    return " | ".join(parts)
