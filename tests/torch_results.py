"""What the tests of imported PyTorch modules compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils import _pytree as pytree  # noqa: E402

BOUND = 1e-4  # of the largest output


def random(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def worst(results: list[np.ndarray], expected: Any) -> float:
    """The largest difference, of the largest output."""
    tensors = [torch.as_tensor(leaf).numpy() for leaf in pytree.tree_leaves(expected)]
    assert [y.shape for y in results] == [y.shape for y in tensors]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(results, tensors, strict=True))
