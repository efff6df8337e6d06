"""The file of results: one JSON object, versioned.

    schema     SCHEMA; a reader refuses any other
    machine    see machine.describe
    settings   how it was measured: visits, rounds, samples, seconds per sample, networks, ops, threads, cold
    limits     see limits.measure, or null
    peers      name -> {"version": ..., ...}, or {"absent": reason}
    noise      {"steal_share": of CPU time taken by other guests, "noisy_rows": share above stats.NOISY}
    rows       one per (workload, threads, peer): the fields of Row

Times are microseconds, sizes bytes, shares and ratios plain numbers; a figure that does not exist is null.
Numbers have four digits, which is more than any of them is worth. A file named "....xz" is compressed.
"""

from __future__ import annotations

import json
import lzma
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = 1

# Why a row has no time, beside "ok": the result differed, the peer cannot express it, raised, died, did not
# answer.
STATUSES = ("ok", "wrong", "unsupported", "failed", "crashed", "hung")


@dataclass
class Row:
    network: str
    op: str
    shape: str
    count: int  # how often the network holds this layer or block
    threads: int
    peer: str
    version: str
    flops: int  # needed: two per tap on the image, of integers too
    bytes: int  # that must move once
    # Feature maps: input and output; at most at once, where stages are computed one after another, of those
    # between the stages and of all.
    map_bytes: int = 0
    between_bytes: int = 0
    layers_bytes: int = 0
    status: str = "ok"
    correct: bool = False
    # Against the reference, as a share of its largest magnitude; of integers the largest difference.
    error: float | None = None
    message: str = ""
    min_us: float | None = None
    median_us: float | None = None
    spread: float | None = None  # interquartile range / minimum
    noise: float | None = None  # uncertainty of the minimum, or of the slope where that is less
    samples: int | None = None  # that the minimum and the median are of
    slope_us: float | None = None  # per layer in a chain of them: without the reorders at its ends
    first_call_us: float | None = None  # preparing and the first run
    peak_bytes: int | None = None  # memory that both took at most, beyond what the worker had already
    scratch_bytes: int | None = None  # beside input, output and weights, in every call; null: not known
    gflops: float | None = None
    roofline_us: float | None = None  # no machine with these limits can be faster
    roofline_share: float | None = None  # roofline_us / best_us
    ratio_to_best_peer: float | None = None  # best time of the other peers / best_us: above 1 is faster
    kernels: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What rows of different peers or runs have in common."""
        return self.network, self.op, self.shape, self.threads

    @property
    def best_us(self) -> float | None:
        """The peer's fairer figure: of a library with a layout of its own, its time inside a network."""
        times = [t for t in (self.min_us, self.slope_us) if t]
        return min(times) if times else None


@dataclass
class Results:
    machine: dict[str, Any]
    settings: dict[str, Any]
    peers: dict[str, dict[str, Any]] = field(default_factory=dict)
    limits: dict[str, Any] | None = None
    noise: dict[str, float] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes beside the file first, so that an interrupted write leaves the old one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(path.suffix + ".part")
        data = json.dumps(_rounded({"schema": SCHEMA, **asdict(self)}), indent=1).encode() + b"\n"
        partial.write_bytes(lzma.compress(data) if path.suffix == ".xz" else data)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """ValueError where the file is no result of this schema."""
        stored = path.read_bytes()
        data = json.loads(lzma.decompress(stored) if path.suffix == ".xz" else stored)
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            raise ValueError(f"{path}: not a benchmark result of schema {SCHEMA}")
        try:
            rows = [Row(**row) for row in data.pop("rows")]
            return cls(**data, rows=rows)
        except (KeyError, TypeError) as problem:
            raise ValueError(f"{path}: {problem}") from problem


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def compare_peers(rows: list[Row], is_ours: Any) -> None:
    """Fills ratio_to_best_peer. dwconv itself is nobody's peer."""
    groups: dict[tuple[str, str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    for group in groups.values():
        for row in group:
            others = [r.best_us for r in group if r is not row and r.best_us and not is_ours(r.peer)]
            row.ratio_to_best_peer = min(others) / row.best_us if others and row.best_us else None
