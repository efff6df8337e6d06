"""What is kept of many samples, and how sure it is. Times are microseconds per call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Above this, a row's minimum would likely come out differently in another run; such rows are visited again,
# then flagged.
NOISY = 0.03


@dataclass(frozen=True)
class Timing:
    """`spread` is the interquartile range and `noise` the uncertainty of `minimum`, both as shares of it."""

    minimum: float
    median: float
    spread: float
    noise: float
    samples: int


def summarize(visits: Sequence[Sequence[float]]) -> Timing:
    """The timing of samples taken in several visits, minutes apart. ValueError without a sample.

    The noise is by how much the second visit to come near the minimum missed it: what a minimum is worth that
    was seen only once.
    """
    samples = np.concatenate([visit for visit in visits if visit])
    low, median, high = np.quantile(samples, (0.25, 0.5, 0.75))
    best, *others = sorted(min(visit) for visit in visits if visit)
    noise = others[0] / best - 1 if others else 1.0
    return Timing(best, float(median), float((high - low) / best), noise, len(samples))


def slope(call: Timing, chain: Timing, length: int) -> tuple[float, float] | None:
    """Time per layer in a chain of `length`, without what a call costs once, and its noise as a share of it.

    A difference of two times is less certain than either. None where the chain took no longer than one layer,
    or so little that the difference is less than what is uncertain of it.
    """
    difference = chain.minimum - call.minimum
    uncertain = chain.noise * chain.minimum + call.noise * call.minimum
    if difference <= 0 or difference < uncertain:
        return None
    return difference / (length - 1), uncertain / difference
