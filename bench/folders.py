"""Problems of any dtype in folders: written by the run, read by the workers, and how results are judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import problem, quantized
from bench.workloads import Workload


def write(workload: Workload, folder: Path) -> str:
    """With the expected result."""
    folder.mkdir(parents=True, exist_ok=True)
    if workload.dtype == "int8":
        (folder / "workload.json").write_text(json.dumps(workload.to_json()))
        quantized.save(*quantized.make(workload), folder)
    else:
        made = problem.make(workload)
        problem.save(made, problem.reference(made), folder)
    return str(folder)


def load(folder: Path) -> tuple[Any, Any]:
    """The problem and its expected result, or None."""
    workload = Workload.from_json(json.loads((folder / "workload.json").read_text()))
    return quantized.load(workload, folder) if workload.dtype == "int8" else problem.load(folder)


def judge(workload: Workload, got: Any, expected: Any) -> tuple[float, bool]:
    """The error, and whether it is small enough."""
    if expected is None:
        return 0.0, True
    if workload.dtype == "int8":
        error = quantized.error(got, expected)
        return error, error <= quantized.tolerance(workload)
    error = problem.error(got, expected)
    return error, error <= problem.TOLERANCE
