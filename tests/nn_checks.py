"""Random arrays and finite differences for the tests of `dwconv.nn`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dwconv import nn


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def differences(loss: Callable[[], Any], variable: nn.Variable, step: float = 1e-6) -> np.ndarray:
    """The slope of a loss along up to eight elements of a variable, by central differences; others NaN."""
    old, found = variable.value, np.full(variable.shape, np.nan)
    places = np.random.default_rng(0).permutation(old.size)[:8]
    for place in places:
        values = []
        for change in (step, -step):
            moved = old.copy()
            moved.flat[place] += change
            variable.assign(moved)
            values.append(float(loss()))
        found.flat[place] = (values[0] - values[1]) / (2 * step)
    variable.assign(old)
    return found


def check(loss: Callable[[], Any], variables: list[nn.Variable]) -> None:
    with nn.GradientTape() as tape:
        value = loss()
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        numeric = differences(loss, variable)
        some = ~np.isnan(numeric)
        assert gradient.shape == variable.shape
        np.testing.assert_allclose(gradient[some], numeric[some], rtol=1e-4, atol=1e-8)
