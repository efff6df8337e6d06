"""Where arrays lie in memory, which decides more than many a kernel: on purpose, and alike in every run.

A store whose address agrees with that of a later load in its last 12 bits delays the load, and an array that
starts at the wrong line evicts another from the first cache. An allocator gives one place after another by
chance, or the same two again and again: the same code was measured to take 16 or 34 us.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LINE, _PAGE = 64, 4096
_LINES = _PAGE // _LINE

_made = 0


def restart() -> None:
    """The next arrays are placed as the first ones were: every workload meets the same places."""
    global _made
    _made = 0


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An uninitialised array on a cache line, each on another one of its page.

    The distances between one and the next go round all lines of a page: 9, 18, 27...
    """
    global _made
    first = _LINE * (9 * _made * (_made + 1) // 2 % _LINES)
    _made += 1
    count = int(np.prod(shape))
    memory = np.empty(count + 2 * _PAGE, dtype)
    start = (-memory.ctypes.data % _PAGE + first) // memory.itemsize
    return memory[start : start + count].reshape(shape)
