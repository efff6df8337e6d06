"""What one build of the package computes for random calls, as digests: one side of `python -m bench against`.

`python -m bench.bits SEED COUNT [SAVE]` prints a line for every seed from SEED on: the seed, and for each of
THREADS `threads:digest`, of the result and of the memory around it, or the name of the exception. SAVE: a
file of the last seed's results themselves. The package, the drawing of shapes (tests/drawn.py) and the
instruction set (DWCONV_ISA) come from the environment. Arguments and layouts depend on nothing but the seed.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from drawn import Draw, laid_out, random_case, with_special_values

THREADS = (1, 2, 3)


def draw_case(seed: int) -> Any:
    """Of any operation, float32; some larger than the fuzzer's, so that threads share the work."""
    case, draw = random_case(seed), Draw(seed + 2)
    if draw.chance(0.25):
        batch, height, width, channels = case.shape
        longest = max(1, min(8 if 1 in (height, width) else 4, 400_000 // (height * width * channels)))
        sizes = (size * draw.integer(1, longest) if size > 1 else 1 for size in (height, width))
        case = replace(case, shape=(batch, *sizes, channels), arrays={})
    return with_special_values(case, draw) if draw.chance(0.15) else case


def results(seed: int) -> list[np.ndarray[Any, Any] | str]:
    """Of the call on each of THREADS: the memory that `out` is a part of, or the name of an exception."""
    case, draw = draw_case(seed), Draw(seed + 3)
    found: list[np.ndarray[Any, Any] | str] = []
    for threads in THREADS:
        try:
            if draw.chance(0.2):
                found.append(case.call(laid_out(case.x, draw), num_threads=threads))
                continue
            layer = case.layer()
            out = laid_out(np.full(layer.output_shape(case.shape), np.nan, np.float32), draw)
            if not out.flags.writeable:
                out = out.copy()
            layer(laid_out(case.x, draw), out=out, num_threads=threads)
            base = out if out.base is None else out.base
            found.append(base if base.dtype == out.dtype else out)
        except (TypeError, ValueError) as refused:
            found.append(type(refused).__name__)
    return found


def digest(result: np.ndarray[Any, Any] | str) -> str:
    """Of its bits; a NaN is a NaN."""
    if isinstance(result, str):
        return result
    same = np.where(np.isnan(result), np.float32(np.nan), result)
    return hashlib.blake2b(np.ascontiguousarray(same).tobytes(), digest_size=8).hexdigest()


def main(seed: str, count: str, save: str = "") -> None:
    warnings.simplefilter("ignore")  # of layouts that are copied
    for number in range(int(seed), int(seed) + int(count)):
        found = dict(zip(map(str, THREADS), results(number), strict=True))
        print(number, *(f"{threads}:{digest(result)}" for threads, result in found.items()), flush=True)
        if save:
            arrays: Any = {threads: array for threads, array in found.items() if not isinstance(array, str)}
            np.savez(save, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
