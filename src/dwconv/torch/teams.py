"""The threads that modules compute on: PyTorch's own, where it has those of OpenMP.

Between its operations PyTorch's threads watch for work, on a processor each; others would share these with
them. So operations of dwconv are given to the same threads, through the interface of GCC's compiler to
OpenMP, which those of LLVM and Intel have on Linux, too. Elsewhere dwconv's own threads do the work.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

import torch

from ..config import core


def threads() -> int:
    """As many as PyTorch uses, and which."""
    return _team(torch.get_num_threads())


@lru_cache
def _team(count: int) -> int:
    return count if core is None else core.Team(count)


def _share_openmp() -> None:
    if core is None or not hasattr(os, "register_at_fork") or not torch.backends.openmp.is_available():
        return
    library = ctypes.CDLL(torch._C.__file__)  # finds what PyTorch was linked to
    try:
        functions = library.GOMP_parallel, library.omp_get_thread_num
    except AttributeError:
        return
    region, number = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    core.use_openmp(region, number)
    os.register_at_fork(after_in_child=lambda: core.use_openmp(0, 0))  # its threads are the parent's


_share_openmp()
