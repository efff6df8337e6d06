"""Writes a result as Markdown with charts, as one self-contained HTML page, and as a page of docs/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench import charts, document, page
from bench.compiling import ROOT
from bench.document import MAIN
from bench.schema import Results


def write(results: Results, folder: Path) -> list[Path]:
    """performance.md, its charts and performance.html in `folder`; returns what was written.

    ValueError if the result holds no row.
    """
    pictures = _draw(results, folder)
    text, html = folder / "performance.md", folder / "performance.html"
    text.write_text(document.markdown(results, {p.title: p.path.name for p in pictures}))
    html.write_text(page.render(results, pictures))
    return [text, html, *(picture.path for picture in pictures)]


def write_docs(
    results: Results,
    source: Path,
    docs: Path = ROOT / "docs",
    also: Mapping[str, Results] | None = None,
    name: str = MAIN,
) -> list[Path]:
    """`name`.md in `docs`, with its charts in a folder beside it; `source` is the result's file.

    `also` are further results, by the names of their files, that have a section each and may be of partial
    runs. ValueError if the main one is, or holds no row: what is published leaves nothing out.
    """
    missing = document.missing(results)
    if missing:
        raise ValueError(f"{source} is no full run: {missing}")
    pictures = _draw(results, docs / name)
    text = docs / f"{name}.md"
    paths = {picture.title: f"{name}/{picture.path.name}" for picture in pictures}
    text.write_text(document.markdown(results, paths, source.name, also, name))
    return [text, *(picture.path for picture in pictures)]


def _draw(results: Results, folder: Path) -> list[charts.Picture]:
    if not results.rows:
        raise ValueError("the result holds no row")
    folder.mkdir(parents=True, exist_ok=True)
    return charts.draw(results, folder)
