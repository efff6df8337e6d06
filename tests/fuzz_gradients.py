"""Gradients of random convolutions on every instruction set, beside NumPy's in float64.

    python tests/fuzz_gradients.py --count 4000 --seed 0

Values are within their bounds, and the same to the bit on one, two and three threads, for tensors that are
slices of larger ones, and where one call computes all. `check` raises AssertionError.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import dwconv
from gradients import Gradients, random_gradients
from oracles import EPS, backends, using


def sliced(array: np.ndarray) -> np.ndarray:
    """The same values, in the middle of a larger array."""
    wide = np.full([size + 2 for size in array.shape], np.nan, array.dtype)
    view = wide[1:-1, 1:-1, 1:-1, 1:-1]
    view[...] = array
    return view


def gradients_of(case: Gradients, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dw, db = case.filter(with_bias=True, num_threads=threads)
    found = case.input(num_threads=threads), dw, db
    for value, same in zip(found, case.both(with_bias=True, num_threads=threads), strict=True):
        np.testing.assert_array_equal(value, same)
    return found


def check(case: Gradients) -> None:
    exact = case.input(np.float64), *case.filter(np.float64, with_bias=True)
    positive = Gradients(**{**case.__dict__, "arrays": {name: abs(a) for name, a in case.arrays.items()}})
    magnitude = positive.input(np.float64), *positive.filter(np.float64, with_bias=True)
    pixels = int(np.prod(case.y_shape[:3]))
    terms = case.kernel[0] * case.kernel[1] * case.outputs // case.torch_groups, pixels, pixels
    strided = {name: sliced(array) if name != "filters" else array for name, array in case.arrays.items()}
    other = Gradients(**{**case.__dict__, "arrays": strided})
    for isa in backends():
        if isa == "numpy":
            continue
        with using(isa):
            found = gradients_of(case, 1)
            for value, right, most, count in zip(found, exact, magnitude, terms, strict=True):
                assert np.all(np.abs(value - right) <= (count + 8) * EPS * most), isa
            for same in (gradients_of(case, 2), gradients_of(case, 3), gradients_of(other, 1)):
                for value, again in zip(found, same, strict=True):
                    np.testing.assert_array_equal(value, again, isa)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first convolution; number n has seed + n")
    options = parser.parse_args()
    findings = 0
    for seed in range(options.seed, options.seed + options.count):
        case = random_gradients(seed)
        try:
            check(case)
        except Exception as error:  # whatever it is, it is a finding
            findings += 1
            again = f"python tests/fuzz_gradients.py --seed {seed} --count 1"
            print(
                f"FINDING: {case}: {type(error).__name__}: {str(error)[:300]}\n  again: {again}", flush=True
            )
    print(f"{options.count} convolutions on {len(backends()) - 1} instruction sets: {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    assert dwconv.config()["backend"] == "native"
    sys.exit(main())
