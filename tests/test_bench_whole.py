"""The page of whole networks is made of a file of results, to which other commands may add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.graph import Builder

pytest.importorskip("pandas")
pytest.importorskip("tabulate")

from bench import whole, whole_peers


def results(path: Path) -> Path:
    """Of two libraries, on one thread and on two."""
    rows = [
        whole.Row("a", threads, peer, ms=ms / threads, first_ms=20, workspace=64, error=1e-7)
        for threads in (1, 2)
        for peer, ms in (("dwconv", 1.0), ("onnxruntime", 2.0))
    ]
    rows[2].exchange_ns = 53.4
    whole.save(rows, {"cpu": "some CPU", "cores": 2, "commit": "abc"}, path)
    return path


def serving(peer: str, callers: int, per_second: float) -> dict[str, Any]:
    row = {"model": "a", "peer": peer, "callers": callers, "per_second": per_second}
    return row | {"median_ms": 1.5, "p99_ms": 2.5}


def test_the_page_tells_times_gains_and_what_callers_wait(tmp_path: Path) -> None:
    path = results(tmp_path / "whole.json")
    whole.join_serving(path, [serving("dwconv", 8, 123.0), serving("openvino", 8, 100.0)], "abd")
    page = whole.write_docs(path, tmp_path).read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    assert ["a", "1", "1", "2", "2"] in lines
    assert ["a", "2", "53"] in lines
    assert ["a", "8", "dwconv", "123", "1.5", "2.5"] in lines
    assert all(len(line) < 120 for line in page.splitlines() if line[:1] not in ("|", "<"))


def test_without_callers_and_second_threads_the_page_says_nothing_of_them(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    rows = [
        whole.Row("a", 1, peer, ms=1.0, first_ms=2.0, workspace=1, error=0.0) for peer in ("dwconv", "torch")
    ]
    whole.save(rows, {"cpu": "some CPU", "cores": 1, "commit": "abc"}, path)
    page = whole.write_docs(path, tmp_path).read_text()
    assert "Many callers" not in page
    assert "Other operations" not in page
    assert "second thread" not in page


def test_later_callers_take_the_place_of_earlier_ones(tmp_path: Path) -> None:
    path = results(tmp_path / "whole.json")
    whole.join_serving(path, [serving("dwconv", 1, 10.0), serving("dwconv", 8, 20.0)], "abd")
    whole.join_serving(path, [serving("dwconv", 8, 30.0)], "abe")
    found = [row["per_second"] for row in json.loads(path.read_text())["serving"]]
    assert found == [10.0, 30.0]
    assert "Commit abd, abe." in whole.write_docs(path, tmp_path).read_text()
    assert len(whole.load(path)[1]) == 4


def test_the_page_lists_what_else_than_convolutions_takes_time(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    shares = {"resize nearest": 0.06, "add": 0.03, "softmax": 0.01, "mean": 0.005}
    rows = [
        whole.Row("a", 1, "dwconv", ms=1.0, first_ms=2.0, workspace=1, error=0.0, others=shares),
        whole.Row("a", 1, "torch", ms=1.0, first_ms=2.0),
    ]
    whole.save(rows, {"cpu": "some CPU", "cores": 1, "commit": "abc"}, path)
    page = whole.write_docs(path, tmp_path).read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    assert ["a", "10.5%", "resize nearest 6.0%, add 3.0%, softmax 1.0%"] in lines


def test_shares_are_of_operations_that_multiply_nothing() -> None:
    b = Builder()
    x = b.input("x", (1, 8, 8, 4))
    y = b.node("conv", x, np.ones((3, 3, 4, 4), np.float32), padding="same")
    pooled = b.node("max_pool", y, kernel=(2, 2))
    b.output("y", b.node("softmax", pooled))
    network = dwconv.Network(b)
    shares = whole_peers.shares_of_others(network, [np.ones((1, 8, 8, 4), np.float32)], 1)
    assert set(shares) == {"max pool 2x2", "softmax"}
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert 0 < sum(shares.values()) < 1
