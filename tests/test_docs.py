"""What the documents promise exists: paths, links, make targets, commands; and their Python runs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dwconv import cli

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/dwconv/data/*.md")])
pytestmark = pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="this is not the source tree")

SUFFIXES = ("c", "h", "md", "py", "pyx", "sh", "toml")
# What the documents name without the source tree holding it: results of commands, parts of the machine.
MADE_OR_FOREIGN = ("/", "~", ".inc.h", "build/", "dist/", ".venv", "results", "*")

document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(path: Path, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [block for of, block in found if of == language]


def commands(path: Path) -> list[list[str]]:
    """The words of every command line, comments and variables left out."""
    lines = [line.split("#")[0].split() for block in blocks(path, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := [word for word in line if "=" not in word])]


def inline_code(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def fenced_paths(path: Path) -> list[str]:
    """Paths that open a line of a block without a language, such as a map of the tree."""
    words = (line.split() for block in blocks(path, "") for line in block.splitlines())
    return [line[0] for line in words if line and is_path(line[0])]


def is_path(code: str) -> bool:
    """`docs/design.md`, `csrc/kernels/`, `setup.py`; not `x / y`, `n/m`, `.inc.h` or `module.attribute`."""
    if not re.fullmatch(r"[\w.{},/-]+", code) or code.startswith(MADE_OR_FOREIGN):
        return False
    return code.endswith("/") or re.search(rf"\.({'|'.join(SUFFIXES)})$", code) is not None


@document
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert not missing


@document
def test_paths_exist(path: Path) -> None:
    paths = [code for code in inline_code(path) if is_path(code)] + fenced_paths(path)
    places = (ROOT, path.parent, ROOT / "csrc", ROOT / "csrc" / "kernels", ROOT / "src" / "dwconv")
    missing = [p for p in paths if not any((place / p).exists() for place in places)]
    assert not missing


@document
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    words = [*commands(path), *(code.split() for code in inline_code(path))]
    named = {line[1] for line in words if len(line) > 1 and line[0] == "make"}
    assert named <= targets


@document
def test_commands_exist(path: Path) -> None:
    for words in [*commands(path), *(code.split() for code in inline_code(path))]:
        if Path(words[0]).name == "dwconv" and len(words) > 1 and "|" not in words:
            cli._parser().parse_args(words[1:])  # exits where it does not know a command or an option
        if words[0] in ("python", "python3") and len(words) > 2 and words[1] == "-m":
            assert (ROOT / words[2]).exists() or importlib.util.find_spec(words[2]), words
        elif words[0] in ("python", "python3") and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), words
        elif "/" in words[0] and words[0].endswith(".sh"):
            assert (ROOT / words[0]).exists(), words


@document
def test_python_examples_run(path: Path, tmp_path: Path) -> None:
    for number, code in enumerate(blocks(path, "python")):
        modules = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
        if any(importlib.util.find_spec(module) is None for module in modules):
            continue
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"example {number + 1}:\n{result.stderr}"
