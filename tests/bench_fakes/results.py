"""Results that nobody measured."""

from __future__ import annotations

from typing import Any

from bench.schema import Results, Row, compare_peers

LADDER = [
    {"bytes": 1 << 14, "read": 200e9, "write": 100e9, "copy": 150e9},
    {"bytes": 1 << 20, "read": 40e9, "write": 20e9, "copy": 25e9},
]
LIMITS = {
    "cores": [1],
    "isa": {
        "baseline": {"1": {"gflops": 10.0, "bandwidth": LADDER}},
        "avx2": {"1": {"gflops": 100.0, "bandwidth": LADDER}},
    },
}


def row(peer: str, us: float | None, shape: str = "56x56 64 3x3", **fields: Any) -> Row:
    values: dict[str, Any] = {
        "network": "classic", "op": "depthwise", "shape": shape, "count": 2, "threads": 1, "peer": peer,
        "version": "1", "flops": 1000, "bytes": 500, "correct": us is not None, "min_us": us, "median_us": us,
        "noise": 0.01 if us else None, "gflops": 1 / us if us else None, "status": "ok" if us else "failed",
    }  # fmt: skip
    return Row(**(values | fields))


def results(rows: list[Row], **fields: Any) -> Results:
    machine = {
        "cpu": "A <fast> CPU", "architecture": "x86_64", "cores": 2, "flags": ["avx2"],
        "system": "Linux 6", "date": "2026-01-02T03:04:05", "commit": "abc", "modified": False,
        "compiler": "cc 1", "caches": {"L1": 32768, "L2": 1 << 20},
    }  # fmt: skip
    compare_peers(rows, lambda peer: peer.startswith("dwconv"))
    peers: dict[str, dict[str, Any]] = {r.peer: {"version": r.version} for r in rows}
    peers["missing"] = {"absent": "not installed\nat all"}
    return Results(
        machine, {"cold_bytes": 0}, peers, noise={"steal_share": 0, "noisy_rows": 0}, rows=rows, **fields
    )
