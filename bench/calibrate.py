"""When are two threads worth waking? Small layers on one thread, on several, and as the library decides.

Where several threads are to share whatever the work, the core is compiled with a limit of 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import mean, median, quantiles

import pandas as pd

from bench import machine, pairs
from bench.networks import layers_of
from bench.peers import shim
from bench.workloads import Workload

MODES = ("serial", "parallel", "decided")
LOSS = 0.05  # more than this against the better of serial and parallel is named
_SAMPLE_SECONDS = 3e-4

# Of 0.3 to 100 us on one core, of every operation, with clamps and with activations that cost more.
_LAYERS = {
    "relu6": """1x1 24>96; 1x1 480>120; 1x1 48>1152; 1x1 144>576; 1x1 256>512; 1x1 960>1280;
        7x7 16>16; 14x14 16>16; 20x20 16>16; 28x28 16>16; 40x40 16>16; 56x56 16>16; 112x112 16>16;
        7x7 32>64; 7x7 64>64; 7x7 96>96; 7x7 160>160; 14x14 16>96; 14x14 48>48; 14x14 96>96;
        7x7 32 3x3; 7x7 96 3x3; 7x7 256 3x3; 7x7 512 3x3; 7x7 1040 3x3; 14x14 24 3x3; 14x14 64 3x3;
        14x14 128 3x3; 14x14 240 3x3; 28x28 24 3x3; 28x28 64 3x3 s2; 56x56 24 3x3 s2; 14x14 120 5x5;
        7x7 16>16 3x3; 14x14 8>16 3x3; 16x16 3>16 3x3 s2; 32x32 3>32 3x3 s2; 56x56 3>32 3x3 s2;
        7x7 16/16; 14x14 16/32; 14x14 32/64 s2; 28x28 16/32; 7x7 64/64; 28x28 32/32 s2;
        7x7 8/32/8; 7x7 16/64/16; 14x14 8/48/8; 7x7 24/96/24; 28x28 8/32/8 s2; 28x28 8/16/8; 7x7 32/128/32;
        14x14 16/96/24 s2""",
    "silu": """1x1 16>96; 1x1 48>1152; 1x1 144>576; 1x1 16>4096; 7x7 16>64; 14x14 16>96; 7x7 128 3x3;
        14x14 64 3x3; 56x56 16 3x3; 7x7 32/32; 7x7 16/64/16""",
    "hard_swish": """1x1 24>960; 1x1 120>480; 1x1 960>1280; 14x14 40>240; 14x14 120 5x5; 14x14 32/32;
        14x14 8/48/8""",
    "gelu": "28x28 16>64",
}


def layers() -> Iterator[Workload]:
    return itertools.chain.from_iterable(layers_of("calibrate", rows, kind) for kind, rows in _LAYERS.items())


def measure(workloads: Sequence[Workload], threads: int, seconds: float) -> tuple[pd.DataFrame, list[float]]:
    """A line per workload: microseconds of each mode, the cost model's estimate for one thread, and whether
    it was shared; and the microseconds of an empty region, OpenMP's and dwconv's.

    Pins this process: to be called in one of its own. Raises CompileError, Absent.
    """
    machine.pin(threads)
    decides = pairs.core()
    shares = pairs.core("-DDWC_SERIAL_NANOSECONDS=0", beside=(shim.SHIMS / "regions.c",))
    rows = []
    for workload in workloads:
        modes = (shares, 1), (shares, threads), (decides, threads)
        with pairs.prepared(*((library, workload, count, True) for library, count in modes)) as runners:
            runs = [runner.run for runner in runners]
            least = pairs.measure(runs, _SAMPLE_SECONDS, seconds / len(workloads)).min(axis=0)
            shared = (runners[-1].workers or 1) > 1
            rows.append((workload.op, workload.shape, runners[0].estimate_us or 0.0, *least, shared))
    regions = [partial(getattr(shares, name), threads) for name in ("regions_openmp", "regions_dwconv")]
    table = pd.DataFrame(rows, columns=["op", "shape", "estimate", *MODES, "shared"])
    return with_losses(table), list(pairs.measure(regions, _SAMPLE_SECONDS, 0).min(axis=0))


def with_losses(table: pd.DataFrame) -> pd.DataFrame:
    """`loss`: of the decision, against the better of both. `measured`: of the library that decides, which
    runs that code in another build and other memory."""
    better = table[["serial", "parallel"]].min(axis=1)
    taken = table["parallel"].where(table["shared"], table["serial"])
    return table.assign(loss=taken / better - 1, measured=table["decided"] / better - 1)


def text(table: pd.DataFrame, regions: Sequence[float], threads: int) -> str:
    """A table, and what follows from it."""
    least, limit = best_limit(table)
    gained = median(table["parallel"] - table["serial"] / threads)
    long = table[table["serial"] >= 1]
    ratios = list(long["estimate"] / long["serial"])
    low, middle, high = quantiles(ratios, n=4)
    noise = ((table["measured"] > LOSS) & (table["loss"] <= LOSS)).sum()
    wrong, worst = (table["loss"] > LOSS).sum(), table["loss"].max()
    said = f"does not hold for {wrong} of {len(table)}" if wrong else "holds"
    return f"""{table.sort_values("serial").round(2).to_string(index=False)}
an empty region takes {regions[0]:.2f} us in OpenMP, {regions[1]:.2f} us in dwconv
sharing costs {gained:.2f} us (median); {threads} win from {gained * threads / (threads - 1):.1f} us on
estimate / serial from 1 us on: median {middle:.2f}, half of them {low:.2f} to {high:.2f}
layers would lose least, mean {least:.1%}, with DWC_SERIAL_NANOSECONDS of {limit * 1000:.0f}
noise: {noise} of {len(table)} decide well, and yet lose more than {LOSS:.0%} as measured
loss as decided: mean {mean(table["loss"]):.1%}, worst {worst:.0%}; the bound of {LOSS:.0%} {said}"""


def best_limit(table: pd.DataFrame) -> tuple[float, float]:
    """The least mean loss of layers with any limit, and that in microseconds, midway between two estimates.

    Blocks go by what sharing spares, which depends on how they are cut.
    """
    of_layers = table[table["op"].isin(("pointwise", "depthwise", "conv"))]
    estimates = sorted({0.0, *of_layers["estimate"]})
    limits = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(estimates)), 2 * estimates[-1]]

    def loss(limit: float) -> float:
        return float(with_losses(of_layers.assign(shared=of_layers["estimate"] >= limit))["loss"].mean())

    return min((loss(limit), limit) for limit in limits)
