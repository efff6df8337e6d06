"""What becomes of ONNX's own node tests: `onnx_cases.txt` lists them, by name or by a beginning with a star.

python tests/onnx_cases.py      writes the list anew, from what happens
"""

from __future__ import annotations

import re
import sys
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from dwconv import onnx_backend
from dwconv.graph import UnsupportedModel

LIST = Path(__file__).with_name("onnx_cases.txt")
FATES = ("pass", "refuse")


def cases() -> Iterator[tuple[str, Any]]:
    """Name, without "test_", and test case of onnx."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        for case in collect_testcases(None):
            yield case.name.removeprefix("test_"), case


def array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def fate(case: Any) -> str:
    """One of FATES, or what went wrong."""
    try:
        rep = onnx_backend.prepare(case.model)
        for inputs, outputs in case.data_sets:
            found = rep.run([array(value) for value in inputs])
            for ours, theirs in zip(found, map(np.asarray, outputs), strict=True):
                if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
                    return f"{ours.dtype} {ours.shape} instead of {theirs.dtype} {theirs.shape}"
                np.testing.assert_allclose(ours, theirs, case.rtol, case.atol)
    except UnsupportedModel:
        return "refuse"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "pass"


def listed() -> tuple[str, dict[str, str]]:
    """The version of onnx that the list is for, and the fate of every name and beginning in it."""
    parts = re.split(r"^# (\S+).*\n", LIST.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    return found["onnx"].strip(), {word: kind for kind in FATES for word in found[kind].split()}


def lookup(patterns: dict[str, str], name: str) -> str | None:
    """What the list says of a name: the longest entry counts."""
    if name in patterns:
        return patterns[name]
    beginnings = (f"{name[:end]}*" for end in range(len(name), -1, -1))
    return next((patterns[pattern] for pattern in beginnings if pattern in patterns), None)


def shortened(fates: dict[str, str]) -> dict[str, str]:
    """A beginning for names that have the same fate."""
    found: dict[str, str] = {}

    def visit(beginning: str, names: list[str]) -> None:
        if len({fates[name] for name in names}) == 1:
            found[f"{beginning}*" if len(names) > 1 else names[0]] = fates[names[0]]
            return
        longer = defaultdict(list)
        for name in names:
            word = re.match(r"_?[^_]*", name[len(beginning) :])
            longer[beginning + (word.group() if word else "")].append(name)
        if beginning in longer:  # a name that is a beginning of others
            longer.pop(beginning)
            found[beginning] = fates[beginning]
        for more in sorted(longer):
            visit(more, longer[more])

    visit("", sorted(fates))
    return found


def main() -> int:
    fates = {name: fate(case) for name, case in cases()}
    odd = {name: what for name, what in fates.items() if what not in FATES}
    for name, what in odd.items():
        print(name, what, sep="\n  ", file=sys.stderr)
    patterns = shortened({name: what for name, what in fates.items() if name not in odd})
    text = f"# onnx\n{onnx.__version__}\n"
    for kind in FATES:
        words = " ".join(pattern for pattern, what in patterns.items() if what == kind)
        text += f"# {kind}\n{textwrap.fill(words, 118, break_on_hyphens=False, break_long_words=False)}\n"
    LIST.write_text(text, encoding="utf-8")
    print({kind: sum(what == kind for what in fates.values()) for kind in FATES})
    return bool(odd)


if __name__ == "__main__":
    sys.exit(main())
