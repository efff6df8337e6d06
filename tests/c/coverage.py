"""Which lines of the kernels do the C suites never run?

    python tests/c/coverage.py BUILD_DIR

Builds them by tests/c/run.sh with gcov's instrumentation and without optimisation, for the instruction sets
in ISAS, and runs them. Instruction sets share their algorithms: a line counts as run if one of them runs it.
Prints the lines that none does, and the functions that an instruction set has and never calls: variants that
nobody needs, or that no test knows. The exit code is 1 if too few lines are run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
KERNELS = ROOT / "csrc" / "kernels"
LEAST_SHARE = 0.96

WRAPPER = '#!/bin/sh\nexec gcc "$@" -O0 --coverage\n'


def build_and_run(build: Path) -> None:
    """Leaves what was counted in `build`."""
    compiler = build / "gcc-coverage"
    compiler.write_text(WRAPPER)
    compiler.chmod(0o755)
    environment = os.environ | {"CC": str(compiler), "CCACHE_DISABLE": "1"}
    subprocess.run([ROOT / "tests" / "c" / "run.sh", build], env=environment, check=True)


def counted(build: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(instruction set, what gcov tells of one of its source files)."""
    for data in sorted(build.glob("csrc_kernels_isa_*.gcda")):
        isa = data.name.removeprefix("csrc_kernels_isa_").partition(".")[0]
        command = ["gcov", "--json-format", "--stdout", data.name]
        answer = subprocess.run(command, cwd=build, check=True, capture_output=True, text=True).stdout
        for line in answer.splitlines():
            for file in json.loads(line)["files"]:
                if Path(file["file"]).resolve().is_relative_to(KERNELS):
                    yield isa, file


def ranges(numbers: list[int]) -> str:
    """`3-5, 9`."""
    runs = [list(run) for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else f"{run[0][1]}" for run in runs)


def main() -> int:
    build = Path(sys.argv[1]).resolve()
    build.mkdir(parents=True, exist_ok=True)
    build_and_run(build)
    lines: dict[Path, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    calls: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for isa, file in counted(build):
        path = Path(file["file"]).resolve().relative_to(ROOT)
        for line in file["lines"]:
            lines[path][line["line_number"]] += line["count"]
        for function in file["functions"]:
            calls[isa][function["name"]] += function["execution_count"]
    for isa, of in calls.items():
        never = sorted(name for name, count in of.items() if not count)
        print(f"{isa}: {len(never)} of {len(of)} functions are never called: {' '.join(never)}")
    for path, of_path in sorted(lines.items()):
        never_run = [number for number, count in of_path.items() if not count]
        if never_run:
            print(f"{path}: never run: {ranges(never_run)}")
    total = sum(map(len, lines.values()))
    run = sum(count > 0 for of_path in lines.values() for count in of_path.values())
    share = run / total if total else 0.0
    print(f"the C suites run {run} of {total} lines of the kernels: {share:.1%}; wanted {LEAST_SHARE:.0%}")
    return 0 if share >= LEAST_SHARE and total else 1


if __name__ == "__main__":
    sys.exit(main())
