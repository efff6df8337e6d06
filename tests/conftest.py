"""Fixtures that the tests share. This directory is on the path, so that tests can import `oracles`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# PyTorch's threads sleep between operations, else those of one process of tests hold up another's.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import dwconv
from oracles import backends, using


def pytest_configure(config: pytest.Config) -> None:
    """Here, since the tests also run where pyproject.toml is not: beside an installed wheel."""
    text = "slow: compiles for minutes, or for another machine; `make check-all` runs it"
    config.addinivalue_line("markers", text)


@pytest.fixture(params=backends())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on every instruction set and once on the NumPy fallback."""
    with using(request.param):
        yield request.param


@pytest.fixture
def thread_setting() -> Iterator[None]:
    """Puts the default number of threads back."""
    before = dwconv.get_num_threads()
    yield
    dwconv.set_num_threads(before)


@pytest.fixture
def pinning() -> Iterator[None]:
    """Puts back what the benchmark's measurements change of this process: CPUs and OpenMP's variables."""
    variables = dict(os.environ)
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    yield
    os.environ.clear()
    os.environ |= variables
    if cpus:
        os.sched_setaffinity(0, cpus)
