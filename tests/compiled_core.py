"""The core compiled for what tests link with it: on all CPUs, a file at a time, so that ccache serves."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CSRC = Path(__file__).resolve().parent.parent / "csrc"
BASELINE = tuple(f"-DDWCONV_NO_{isa}" for isa in ("AVX2", "AVX512", "NEON"))  # alone, for the time
FLAGS = ("-std=c11", "-ffp-contract=off", "-fno-math-errno")


def objects(compiler: str, folder: Path, *options: str) -> list[Path]:
    def compiled(source: Path) -> None:
        command = [compiler, *FLAGS, *options, "-c", str(source)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compiled, CSRC.rglob("*.c")))
    return sorted(folder.glob("*.o"))
