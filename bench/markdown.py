"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def plain(op: str) -> str:
    return op.replace("_", " ")


def header(*names: str) -> Iterable[str]:
    yield line(*names)
    yield line(*("---" for _ in names))


def line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
