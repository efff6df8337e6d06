"""What is kept of many samples, and how sure it is. Times are microseconds per call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Above this, a row's minimum would likely come out differently in another run; such rows are repeated, then
# flagged.
NOISY = 0.03


@dataclass(frozen=True)
class Timing:
    """`spread` is the interquartile range and `noise` the uncertainty of `minimum`, both as shares of it."""

    minimum: float
    median: float
    spread: float
    noise: float
    samples: int

    @property
    def noisy(self) -> bool:
        return self.noise > NOISY


def summarize(rounds: Sequence[Sequence[float]]) -> Timing:
    """The timing of samples taken in interleaved rounds. ValueError without a sample.

    The noise is what two shorter measurements would have disagreed by: the minimum of the even rounds against
    the minimum of the odd ones.
    """
    samples = sorted(value for turn in rounds for value in turn)
    if not samples:
        raise ValueError("no samples")
    best = samples[0]
    halves = [[value for turn in rounds[start::2] for value in turn] for start in (0, 1)]
    noise = abs(min(halves[0]) - min(halves[1])) / best if all(halves) else 1.0
    quarter = len(samples) // 4
    spread = (samples[-1 - quarter] - samples[quarter]) / best
    return Timing(best, median(samples), spread, noise, len(samples))


def geometric_mean(values: Sequence[float]) -> float:
    """ValueError without a value."""
    if not values:
        raise ValueError("no values")
    product = 1.0
    for value in values:
        product *= value ** (1 / len(values))
    return product
