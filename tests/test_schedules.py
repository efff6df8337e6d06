"""Schedules are what the golden files say, for machines that this one need not be: see scheduled.py."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

import scheduled

SHOWN = 60  # lines of a difference


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


def command(isa: str, programs: dict[str, Path], factory: pytest.TempPathFactory) -> list[str]:
    """What prints schedules, built once per compiler."""
    found = scheduled.tools(isa)
    if not found:
        pytest.skip("no compiler or emulator for it")
    compiler, runner = found
    key = " ".join(compiler)
    if key not in programs:
        programs[key] = scheduled.build(compiler, factory.mktemp("schedules"))
    return [*runner, str(programs[key])]


@pytest.mark.parametrize("caches", scheduled.CACHES)
@pytest.mark.parametrize(
    ("isa", "int8"),
    [
        pytest.param(isa, int8, marks=[pytest.mark.slow] if isa.startswith("neon") else [])
        for int8, isas in ((False, scheduled.ISAS), (True, (*scheduled.INT8_ISAS, *scheduled.SAME_INT8)))
        for isa in isas
    ],
)
def test_schedules_are_those_of_the_golden_files(
    isa: str, int8: bool, caches: str, programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = list(scheduled.schedules(command(isa, programs, tmp_path_factory), isa, caches, int8))
    kept = scheduled.SAME_INT8.get(isa, isa) if int8 else isa
    wanted = scheduled.golden(kept, caches, int8).read_text(encoding="utf-8").splitlines()
    moved = list(difflib.unified_diff(wanted, found, "golden", "now", n=0, lineterm=""))
    if moved:
        more = [f"... and {len(moved) - SHOWN} lines more"] if len(moved) > SHOWN else []
        pytest.fail("\n".join([*moved[:SHOWN], *more, "python tests/scheduled.py writes them anew"]))


def test_caches_of_the_golden_files_make_a_difference() -> None:
    """Each of them decides something: a schedule that ignored them would pass the other test for ever."""
    for isa in scheduled.ISAS:
        texts = {scheduled.golden(isa, caches).read_text(encoding="utf-8") for caches in scheduled.CACHES}
        assert len(texts) == len(scheduled.CACHES)
    for caches in scheduled.CACHES:
        assert len(
            {scheduled.golden(isa, caches).read_text(encoding="utf-8") for isa in scheduled.ISAS}
        ) == len(scheduled.ISAS)
