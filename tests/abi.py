"""What the headers and their .pxd files declare, and the layout that a compiler gives it.

`python tests/abi.py` prints the ABI of this version; `tests/abi/MAJOR.MINOR.txt` keeps it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "csrc" / "dwconv.h"
NETWORK = ROOT / "csrc" / "dwconv_network.h"
GRADIENT = ROOT / "csrc" / "dwconv_gradient.h"
PXD = ROOT / "src" / "dwconv" / "__init__.pxd"
NETWORK_PXD = PXD.with_name("_network.pxd")
GRADIENT_PXD = PXD.with_name("_gradient.pxd")


class Declarations(NamedTuple):
    enums: dict[str, list[str]]
    structs: dict[str, list[str]]  # fields: "int64_t batch"
    functions: dict[str, str]  # "int (int, const char *)"; callbacks too


def _type(text: str) -> str:
    """`const int64_t input[4]`, or `const int64_t *`, as "const int64_t *"."""
    text = re.sub(r"(\w+)\s*\[\d*\]$", r"*\1", text.strip())
    words = re.findall(r"\w+|\*", text)
    if words[-1] != "*" and len([word for word in words if word not in ("const", "*")]) > 1:
        words.pop()  # the name
    return " ".join("int" if word == "bint" else word for word in words)


def _fields(declaration: str) -> list[str]:
    """`int64_t a, b[2]` as ["int64_t a", "int64_t b[2]"]; the same for pointers."""
    first, *others = declaration.split(",")
    kind = re.sub(r"\W*\w+\s*(\[\w+\])?\s*$", "", first)
    return [
        f"{kind.strip()} {'* ' if '*' in name else ''}{name.strip(' *')}"
        for name in (first.removeprefix(kind), *others)
    ]


def _signature(result: str, arguments: str) -> str:
    types = [_type(argument) for argument in arguments.split(",")] if arguments.strip() else []
    return f"{_type(result + ' name')} ({', '.join(types)})"


def header(*paths: Path) -> Declarations:
    """Of all headers, or of those given."""
    text = "".join(path.read_text(encoding="utf-8") for path in paths or (HEADER, NETWORK, GRADIENT))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = " ".join(re.sub(r"^\s*#(\\\n|.)*$", "", text, flags=re.MULTILINE).split())
    enums = {
        name: [word.split("=")[0].strip() for word in body.split(",") if word.strip()]
        for name, body in re.findall(r"typedef enum (\w+) \{(.*?)\} \w+;", text)
    }
    structs = {
        name: [field for line in body.split(";") if line.strip() for field in _fields(line.strip())]
        for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \w+;", text)
    }
    functions = re.findall(r"DWCONV_API (.*?)(\w+)\(([^)]*)\);", text)
    callbacks = re.findall(r"typedef (\w+ )\(\*(\w+)\)\(([^)]*)\);", text)
    signatures = {
        name: _signature(result, "" if arguments == "void" else arguments)
        for result, name, arguments in functions + callbacks
    }
    return Declarations(enums, structs, signatures)


def pxd(path: Path = PXD) -> Declarations:
    text = path.read_text(encoding="utf-8").split("nogil:\n", 1)[1]
    text = re.sub(r"\(\s+", "(", re.sub(r",\s*\n\s*", ", ", text))  # a declaration on a line
    text = re.sub(r",?\s*\n\s*\)", ")", text).replace(",)", ")").replace(", )", ")")
    enums: dict[str, list[str]] = {}
    structs: dict[str, list[str]] = {}
    functions: dict[str, str] = {}
    members: list[str] = []
    callback, function = r"    ctypedef (\w+ )\(\*(\w+)\)\(([^)]*)\)", r"    (.*?)(\w+)\(([^)]*)\)$"
    for line in text.splitlines():
        if found := re.match(r"    ctypedef (enum|struct) (\w+):", line):
            members = (enums if found[1] == "enum" else structs).setdefault(found[2], [])
        elif line.startswith("        "):
            members += [line.strip()] if " " not in line.strip() else _fields(line.strip())
        elif found := re.match(callback, line) or re.match(function, line):
            functions[found[2]] = _signature(found[1], found[3])
    structs = {name: fields for name, fields in structs.items() if fields != ["pass"]}
    return Declarations(enums, structs, functions)


def layout() -> str:
    """Values of enumerators, sizes and offsets of structs, signatures of functions: a line each."""
    found = header()
    prints = [f'printf("{name} = %d\\n", (int){name});' for names in found.enums.values() for name in names]
    for name, fields in found.structs.items():
        prints.append(f'printf("{name}: %zu bytes\\n", sizeof({name}));')
        for field in fields:
            member = field.split()[-1].partition("[")[0]
            prints.append(f'printf("    %zu {field}\\n", offsetof({name}, {member}));')
    compiler = shutil.which("cc")
    assert compiler is not None
    with tempfile.TemporaryDirectory() as directory:
        source, program = Path(directory, "layout.c"), Path(directory, "layout")
        body = "\n".join(prints)
        source.write_text(
            f'#include <stdio.h>\n#include "{NETWORK}"\n#include "{GRADIENT}"\n'
            f"int main(void) {{\n{body}\n}}\n"
        )
        subprocess.run([compiler, "-std=c11", str(source), "-o", str(program)], check=True)
        lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return lines + "".join(f"{name}: {signature}\n" for name, signature in sorted(found.functions.items()))


if __name__ == "__main__":
    sys.stdout.write(layout())
