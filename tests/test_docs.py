"""What the documents promise exists: paths, links, names, commands. Their Python runs, their C compiles."""

from __future__ import annotations

import importlib.util
import re
import shutil
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

# A file may go by its name alone in these; names of files in C are unique.
FOLDERS = [*ROOT.glob("csrc/**/"), ROOT / "src" / "dwconv"]
LONGEST_LINE = 119  # but of tables
MOST_LINES = {"README.md": 100, "docs/design.md": 260, "docs/limits.md": 110, "docs/performance.md": 300}
GENERATED = re.compile(r"^<!-- Generated: ", re.MULTILINE)

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


def headings(path: Path) -> set[str]:
    """As links name them."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def is_path(code: str) -> bool:
    """`docs/design.md`, `csrc/kernels/`, `setup.py`; not `x / y`, `n/m`, `.inc.h` or `module.attribute`."""
    if not re.fullmatch(r"[\w.{},/-]+", code) or code.startswith(MADE_OR_FOREIGN):
        return False
    return code.endswith("/") or re.search(rf"\.({'|'.join(SUFFIXES)})$", code) is not None


@document
def test_lines_are_short_and_documents_too(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if not GENERATED.search(text):
        assert not [line for line in lines if len(line) > LONGEST_LINE and not line.startswith("|")]
    assert len(lines) <= MOST_LINES.get(path.relative_to(ROOT).as_posix(), len(lines))


@document
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8"))
    places = {
        (path.parent / target if target else path, heading)
        for target, heading in links
        if "://" not in target
    }
    assert not [place for place, _ in places if not place.exists()]
    assert not [(place, heading) for place, heading in places if heading and heading not in headings(place)]


@document
def test_paths_exist(path: Path) -> None:
    paths = [code for code in inline_code(path) if is_path(code)] + fenced_paths(path)
    places = (ROOT, path.parent, *FOLDERS)
    missing = [p for p in paths if not any((place / p).exists() for place in places)]
    assert not missing


@document
def test_names_of_the_core_exist(path: Path) -> None:
    """Functions, types and constants of C, whole words in code and in diagrams; but what a how-to invents."""
    if path.name == "adding-a-kernel.md":
        pytest.skip("it names what there is to be made")
    text = "\n".join(
        [*inline_code(path), *(block for word in ("", "text", "c") for block in blocks(path, word))]
    )
    named = set(re.findall(r"\b(?:dwc|dwconv|DWC|DWCONV)_\w+\b", text))
    sources = [
        *ROOT.glob("csrc/**/*"),
        *ROOT.glob("src/**/*.py"),
        *ROOT.glob("examples/c/*"),
        ROOT / "setup.py",
    ]
    known = " ".join(source.read_text(encoding="utf-8") for source in sources if source.is_file())
    assert named <= set(re.findall(r"\w+", known))


def test_the_trip_of_strides_passes_where_the_design_says() -> None:
    """Lines of `caller -> name    path: what happens there`."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    trip = re.search(r"^## The trip of `strides`$.*?^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert trip is not None
    files = []
    for line in trip[1].splitlines():
        stop, there = re.split(r" {2,}", line.strip(), maxsplit=1)
        name = stop.split(" -> ")[-1].split("(")[0].split(".")[-1]
        if place := re.match(r"(?:csrc|src)/[\w/]+\.\w+", there):
            files.append((name, place[0]))
    assert len(files) > 8
    missing = [
        (name, file) for name, file in files if not re.search(rf"\b{name}\b", (ROOT / file).read_text())
    ]
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
        shutil.copytree(ROOT / "src" / "dwconv" / "data", tmp_path, dirs_exist_ok=True)  # model files
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"example {number + 1}:\n{result.stderr}"


# What the snippets of C talk about.
PRELUDE = """
#include <stdlib.h>
#include "dwconv_network.h"
enum { HEIGHT = 112, WIDTH = 112, CHANNELS = 32 };
static float filter[9 * CHANNELS], in[HEIGHT * WIDTH * CHANNELS], out[HEIGHT * WIDTH * CHANNELS];
static float image[64], probabilities[10];
dwconv_status digits_init(void), digits_run(const float *, float *);
const dwconv_network *digits_network(void);
dwconv_conv_desc conv;
dwconv_desc desc;
dwconv_plan *plan;
dwconv_status status;
dwconv_tensor x, y;
dwconv_threads threads;
void *scratch, *my_pool;
size_t scratch_bytes;
int three, omp_get_thread_num(void);
"""
WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-Wno-unused",
    "-Wno-missing-field-initializers",
)


@document
def test_c_examples_compile(path: Path, tmp_path: Path) -> None:
    if path.name == "adding-a-kernel.md":
        pytest.skip("its lines are for files of csrc/")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    for number, code in enumerate(blocks(path, "c")):
        functions = "".join(re.findall(r"^static .*?^}\n", code, re.MULTILINE | re.DOTALL))
        statements = code.replace(functions, "", 1)
        source = tmp_path / f"{number}.c"
        source.write_text(f"{PRELUDE}{functions}void example(void);\nvoid example(void) {{\n{statements}}}\n")
        command = [compiler, "-std=c11", *WARNINGS, f"-I{ROOT / 'csrc'}", "-fsyntax-only", str(source)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"example {number + 1}:\n{result.stderr}"


def test_the_figure_of_the_readme_is_in_the_report() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    figure = re.search(
        r"On (\d+) inverted-residual blocks .* it is ([\d.]+) times as fast .* commit (\w+)\.", readme
    )
    assert figure is not None
    report = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    row = re.search(r"^\| inverted residual \| 1 +\| ([\d.]+) +\| \d+ of (\d+) ", report, re.MULTILINE)
    assert row is not None
    assert (row[2], row[1]) == (figure[1], figure[2])
    assert f"commit {figure[3]}," in report
