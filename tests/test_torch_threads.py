"""Modules of `dwconv.torch` compute on PyTorch's own threads: the same bits, and no others are started."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv  # noqa: E402
import dwconv.torch  # noqa: E402
from dwconv.config import core  # noqa: E402

SHARED = core is not None and sys.platform == "linux" and torch.backends.openmp.is_available()
pytestmark = pytest.mark.skipif(not SHARED, reason="there is no OpenMP of PyTorch's to share")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(24, 40, 1), nn.BatchNorm2d(40), nn.ReLU6(), nn.Conv2d(40, 40, 3, 2, 1, groups=40)]
    made: nn.Module = dwconv.torch.accelerate(nn.Sequential(*layers, nn.BatchNorm2d(40)))
    return made


def step(threads: int) -> list[torch.Tensor]:
    """What is large enough to be shared gives: the result and all gradients."""
    torch.set_num_threads(threads)
    trained = model()
    x = torch.randn(3, 24, 61, 57, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = trained(x)
    y.square().mean().backward()
    return [y, x.grad, *(p.grad for p in trained.parameters())]


def own_threads() -> int:
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return names.count("dwconv")


def test_a_step_has_the_same_bits_and_starts_no_threads() -> None:
    expected, before = step(1), own_threads()
    for threads in (2, 3, 7):
        for found, wanted in zip(step(threads), expected, strict=True):
            assert torch.equal(found, wanted)
    assert own_threads() == before


def test_teams_larger_than_openmp_gives_and_without_it() -> None:
    """Also more workers than the C code has places for, whom the library's threads replace."""
    x = np.random.default_rng(0).normal(size=(2, 64, 61, 48)).astype(np.float32)
    layer = dwconv.DepthwiseConv2D(np.ones((3, 3, 48, 1), np.float32))
    expected = layer(x, num_threads=1)
    for count in (2, 5, 64, 65):
        np.testing.assert_array_equal(layer(x, num_threads=core.Team(count)), expected)


def test_the_child_of_a_fork_computes_the_same() -> None:
    torch.set_num_threads(3)
    trained = model().eval()
    x = torch.ones(3, 24, 61, 57).to(memory_format=torch.channels_last)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
        expected = trained(x).numpy()
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a child that waits for its parent's threads ends by this
            os._exit(0 if np.array_equal(trained(x).numpy(), expected) else 3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
