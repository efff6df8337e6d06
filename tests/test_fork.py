"""A forked child computes what its parent does, also after the parent has used its threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

PROGRAM = """
import os, signal
import numpy as np
import dwconv

x = np.random.default_rng(0).normal(size=(2, 61, 57, 48)).astype(np.float32)
block = dwconv.InvertedResidual(
    np.full((48, 96), 0.1, np.float32), np.ones((3, 3, 96, 1), np.float32), np.ones((96, 48), np.float32)
)
expected = block(x, num_threads=2)  # starts the threads
child = os.fork()
if child == 0:
    signal.alarm(60)  # a child that waits for its parent's threads ends by this
    fresh = dwconv.DepthwiseConv2D(np.ones((3, 3, 48, 1), np.float32))
    fresh(x, num_threads=2)
    os._exit(0 if np.array_equal(block(x, num_threads=2), expected) else 3)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), np.array_equal(block(x, num_threads=2), expected))
"""


@pytest.mark.parametrize("backend", ["", "numpy"])
def test_forked_children_compute_the_same(backend: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, "DWCONV_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0", "True"]
