"""The floors of csrc/: graph (what), schedule (how), run (walks), kernels (arithmetic). Nothing looks up."""

from __future__ import annotations

import re
from pathlib import Path

CSRC = Path(__file__).parent.parent / "csrc"
# What the files of a folder may include of this repository, besides the folder itself.
ALLOWED = {
    "kernels": set(),
    "graph": {"kernels"},
    "schedule": {"graph", "kernels"},
    "run": {"schedule", "graph", "kernels"},
    "": {"run", "schedule", "graph", "kernels"},  # explain.c, reference.c
}
# Headers beside the floors: the public one, and what floors and kernels share.
GROUND = {"dwconv.h", "dwconv_network.h", "internal.h"}
OF_KERNELS = {
    "kernels/abi.h",
    "kernels/rows.h",
    "kernels/s8/abi.h",
    "kernels/s8/requant.h",
    "kernels/isa/which.h",
}  # all that other floors may see of them


def floor(path: str) -> str:
    return path.split("/")[0] if "/" in path else ""


def includes() -> dict[str, set[str]]:
    """Of every file of csrc/, the files of csrc/ that it includes."""
    found: dict[str, set[str]] = {}
    for path in sorted(CSRC.rglob("*.[ch]")):
        names = re.findall(r'^#\s*include "(.+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
        files = [(path.parent / name).resolve() for name in names]
        assert all(file.is_file() for file in files), f"{path}: {names}"
        found[path.relative_to(CSRC).as_posix()] = {file.relative_to(CSRC).as_posix() for file in files}
    return found


def test_floors_include_downwards_only() -> None:
    for path, files in includes().items():
        for file in files:
            if file in GROUND:
                continue
            same = floor(file) == floor(path)
            assert same or floor(file) in ALLOWED[floor(path)], f"{path} includes {file}"
            if not same and floor(file) == "kernels":
                assert file in OF_KERNELS, f"{path} includes {file}"


def test_the_ground_includes_no_floor_but_the_contract_of_kernels() -> None:
    found = includes()
    for path in GROUND | OF_KERNELS:
        assert found[path] <= GROUND | OF_KERNELS


def test_no_file_includes_itself_however_far_around() -> None:
    found = includes()
    done: set[str] = set()

    def follow(path: str, above: tuple[str, ...]) -> None:
        assert path not in above, " -> ".join((*above, path))
        if path not in done:
            for file in found[path]:
                follow(file, (*above, path))
            done.add(path)

    for path in found:
        follow(path, ())


def test_names_of_c_files_are_unique() -> None:
    """Objects of one folder are made of them, and so are libraries."""
    names = [path.name for path in CSRC.rglob("*.c") if path.parent.name != "isa"]
    assert len(names) == len(set(names))
