"""Random configurations against an independent float64 oracle, for as long as wanted.

    python tests/fuzz.py --seconds 60 --seed 0

Draws every operation, on every instruction set and the NumPy fallback: wrong values, impossible geometries
that are accepted, possible ones that are refused. The oracle is PyTorch in float64 where it is installed,
else NumPy.
Every finding is one line that says how to repeat it. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time

import numpy as np

from oracles import ACTIVATIONS, OPERATIONS, Case, backends, numpy_conv, torch_conv, using


def random_case(seed: int) -> Case:
    rng = np.random.default_rng(seed)

    def integer(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def pair(low: int, high: int) -> tuple[int, int]:
        return integer(low, high), integer(low, high)

    operation = OPERATIONS[integer(0, len(OPERATIONS) - 1)]
    groups = integer(2, 6) if operation == "conv" and rng.random() < 0.4 else 1
    channels = groups * integer(1, 12) if groups > 1 else integer(1, 20 if rng.random() < 0.5 else 140)
    expanded = integer(1, 200) if operation == "inverted_residual" and rng.random() < 0.8 else 0
    out_channels = groups * integer(1, 100 // groups)
    if operation == "inverted_residual" and rng.random() < 0.5:
        out_channels = channels
    kernel = pair(1, 8)
    if rng.random() < 0.6:
        kernel = (2 * integer(0, 3) + 1,) * 2
    elif rng.random() < 0.1:
        kernel = pair(9, 31)
    multiplied = operation not in ("pointwise", "conv")
    padding = ("same", "valid", (pair(0, 6), pair(0, 6)))[integer(0, 2)]
    return Case(
        operation,
        (integer(0, 3) if rng.random() < 0.3 else 1, integer(1, 40), integer(1, 40), channels),
        kernel,
        multiplier=integer(2, 8) if multiplied and rng.random() < 0.2 else 1,
        out_channels=out_channels,
        groups=groups,
        expanded=expanded,
        strides=(integer(1, 3),) * 2 if rng.random() < 0.7 else pair(1, 5),
        padding=padding,
        dilations=(1, 1) if rng.random() < 0.7 else pair(1, 18 if rng.random() < 0.2 else 4),
        activation=ACTIVATIONS[integer(0, len(ACTIVATIONS) - 1)],
        bias=bool(integer(0, 1)),
        residual=False if rng.random() < 0.2 else None,
        seed=seed,
    )


def strided(x: np.ndarray, seed: int) -> np.ndarray:
    """The same values as a view into a larger array of NaN."""
    rng = np.random.default_rng(seed)
    before, after = rng.integers(0, 3, 4), rng.integers(0, 3, 4)
    frame = np.full(np.array(x.shape) + before + after, np.nan, np.float32)
    view = frame[tuple(slice(b, b + size) for b, size in zip(before, x.shape, strict=True))]
    view[...] = x
    return view


def check(case: Case, backend: str, conv: object) -> str | None:
    """What is wrong, or None."""
    rng = np.random.default_rng(case.seed + 1)
    threads = int(rng.integers(1, 4))
    x = case.x if rng.random() < 0.5 else strided(case.x, case.seed)
    with using(backend):
        if not case.possible:
            try:
                case.call(x, num_threads=threads)
            except ValueError:
                return None
            return f"{case}: accepted, but the kernel does not fit the padded input"
        try:
            y = (
                case.layer()(x, num_threads=threads)
                if rng.random() < 0.5
                else case.call(x, num_threads=threads)
            )
            case.check(y, conv)  # type: ignore[arg-type]
        except Exception as error:  # whatever it is, it is a finding
            return f"{type(error).__name__}: {error}" if str(case) in str(error) else f"{case}: {error!r}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; case n has seed + n")
    parser.add_argument("--count", type=int, default=0, help="stop after this many cases; 0: only by time")
    parser.add_argument("--backend", action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    chosen = options.backend or backends()
    with_torch = importlib.util.find_spec("torch") is not None
    conv = torch_conv if with_torch else numpy_conv
    print(
        f"oracle: {'PyTorch' if with_torch else 'NumPy'} float64; backends: {', '.join(chosen)}", flush=True
    )
    end = time.monotonic() + options.seconds
    done = impossible = findings = 0
    while time.monotonic() < end and (not options.count or done < options.count):
        case = random_case(options.seed + done)
        impossible += not case.possible
        for backend in chosen:
            problem = check(case, backend, conv)
            if problem:
                findings += 1
                again = f"python tests/fuzz.py --seed {case.seed} --count 1 --backend {backend}"
                print(f"FINDING on {backend}: {problem}\n  again: {again}", flush=True)
        done += 1
    print(f"{done} cases ({impossible} impossible) on {len(chosen)} backends: {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
