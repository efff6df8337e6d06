"""`python -m bench against`: it finds what differs between two builds, and nothing where nothing does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dwconv

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
pytest.importorskip("rich")
pytest.importorskip("pandas")
from bench import against
from bench.compiling import ROOT
from bench.workloads import Stage, Workload

pytestmark = pytest.mark.skipif(
    dwconv.config()["backend"] != "native" or not Path(dwconv.__file__).is_relative_to(ROOT / "src"),
    reason="the extension is not built in the source tree",
)
ISA = "baseline"
PATCH = """
def call(self, x, out=None, num_threads=None, call=_Layer.__call__):
    y = call(self, x, out, num_threads)
    if {condition}:
        {action}
    return y


_Layer.__call__ = call
"""


def changed(tmp_path: Path, condition: str, action: str) -> Path:
    """A copy of this build whose layers do something else as well."""
    package = tmp_path / "src" / "dwconv"
    shutil.copytree(ROOT / "src" / "dwconv", package)
    with (package / "layers.py").open("a") as layers:
        layers.write(PATCH.format(condition=condition, action=action))
    return tmp_path


def test_a_build_has_the_bits_of_itself() -> None:
    assert ISA in against.isas(ROOT)
    assert list(against.differences((ROOT, ROOT), ISA, 0, 12)) == []


def test_one_bit_on_one_thread_count_is_found(tmp_path: Path) -> None:
    action = "y.view('u4').flat[0] ^= 1"
    other = changed(tmp_path, "num_threads == 2 and y.size and y.flags.c_contiguous", action)
    found = list(against.differences((ROOT, other), ISA, 0, 12))
    assert found
    assert all(line.startswith(f"{ISA} seed ") and ": 2 threads: 1 of " in line for line in found)
    command = ["against", str(ROOT), "--new", str(other), "--bits", "12", "--isa", ISA]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert f"{ISA}: {len(found)} of 12 calls differ" in done.stdout


def test_a_build_that_crashes_is_named(tmp_path: Path) -> None:
    other = changed(tmp_path, "True", "import os; os.abort()")
    (line,) = against.differences((ROOT, other), ISA, 0, 12)
    assert f"{other} ended" in line


def test_a_tree_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no build|No module named"):
        against.isas(tmp_path)


def test_a_slower_build_is_slower_by_both_figures(tmp_path: Path) -> None:
    other = changed(tmp_path, "True", "import time; time.sleep(0.002)")
    layer = Workload("test", (Stage("pointwise", 8, 8),), 4, 4)
    (timed,) = against.measure([layer], (ROOT, other), 1, pairs=2)
    assert max(timed.ratios) < 0.5
    assert len(timed.pairs) == 2 + 2 * 4  # visited again
    last = against.text([timed]).splitlines()[-1]
    assert last.startswith("all                1 workloads, the worst 0.")
