"""The numbers of a workload: input, weights and the expected output, made once and read by every peer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.workloads import Stage, Workload

Array = NDArray[np.float32]

# Of the largest magnitude of the expected output. float32 sums of these sizes stay below 1e-5 of it in any
# order; arithmetic in bfloat16, float16 or TF32 starts at 5e-4.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Problem:
    """x is NHWC, filters are in dwconv's layout, biases have one value per output channel; all float32.

    filters and biases are of the workload's stages, and after these of its squeeze_excite.
    """

    workload: Workload
    x: Array
    filters: list[Array]
    biases: list[Array]

    @property
    def layers(self) -> list[tuple[Stage, Array, Array]]:
        """The stages, each with its filter and bias."""
        stages = self.workload.stages
        return list(zip(stages, self.filters, self.biases, strict=False))

    @property
    def squeeze_excite(self) -> list[tuple[Stage, Array, Array]]:
        """Empty, or the two stages of the gate, each with its filter and bias."""
        stages, start = self.workload.squeeze_excite, len(self.workload.stages)
        return list(zip(stages, self.filters[start:], self.biases[start:], strict=True))


def make(workload: Workload, seed: int = 0) -> Problem:
    """Random values whose magnitude stays near 1 through a chain, so that activations do not saturate."""
    rng = np.random.default_rng(seed)
    filters = []
    stages = workload.stages + workload.squeeze_excite
    for stage in stages:
        shape = stage.filter_shape
        fan_in = shape[0] * shape[1] * stage.in_channels // stage.groups
        filters.append(_normal(rng, shape, (2 / fan_in) ** 0.5))
    biases = [_normal(rng, (stage.out_channels,), 0.1) for stage in stages]
    return Problem(workload, _normal(rng, workload.input_shape, 1), filters, biases)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Array:
    values: Array = rng.standard_normal(shape, np.float32) * np.float32(scale)
    return values


def reference(problem: Problem) -> Array:
    """The expected output: plain sums over taps in float64, by none of the code under measurement."""
    y = problem.x.astype(np.float64)
    for i, (stage, filters, bias) in enumerate(problem.layers):
        y = _activate(convolve(y, stage, filters.astype(np.float64)) + bias, stage.activation)
        if i + 2 == len(problem.layers):
            y = y * _gate(problem, y)
    return (y + problem.x if problem.workload.residual else y).astype(np.float32)


def _gate(problem: Problem, scaled: NDArray[np.float64]) -> NDArray[np.float64] | float:
    """The factor for every image and channel."""
    y = scaled.mean(axis=(1, 2), keepdims=True)
    for stage, filters, bias in problem.squeeze_excite:
        y = _activate(y @ filters[0, 0].astype(np.float64) + bias, stage.activation)
    return y if problem.squeeze_excite else 1.0


def convolve(x: NDArray[np.float64], stage: Stage, filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Plain sums over taps."""
    out_h, out_w = stage.output_size(*x.shape[1:3])
    top, bottom, left, right = stage.pads(*x.shape[1:3])
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros((x.shape[0], out_h, out_w, stage.out_channels))
    for row, column in np.ndindex(*stage.kernel):
        i, j = row * stage.dilation, column * stage.dilation
        taps = padded[:, i : i + (out_h - 1) * stage.stride + 1, j : j + (out_w - 1) * stage.stride + 1]
        taps = taps[:, :: stage.stride, :: stage.stride]
        if stage.op == "depthwise":
            y += np.repeat(taps, filters.shape[3], axis=3) * filters[row, column].ravel()
        else:
            y += taps @ filters[row, column]
    return y


def _activate(y: NDArray[np.float64], name: str | None) -> NDArray[np.float64]:
    functions: dict[str | None, Callable[[], NDArray[np.float64]]] = {
        None: lambda: y,
        "relu": lambda: np.maximum(y, 0),
        "relu6": lambda: np.clip(y, 0, 6),
        "hard_swish": lambda: y * np.clip(y + 3, 0, 6) / 6,
        "hard_sigmoid": lambda: np.clip(y + 3, 0, 6) / 6,
        "sigmoid": lambda: 1 / (1 + np.exp(-y)),
        "silu": lambda: y / (1 + np.exp(-y)),
        "gelu": lambda: y * (1 + _erf(y / 2**0.5)) / 2,
    }
    return functions[name]()


def _erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Abramowitz and Stegun 7.1.26, absolute error 1.5e-7: far below TOLERANCE."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - poly * np.exp(-x * x))


def error(got: Array, expected: Array) -> float:
    """Largest difference as a share of the largest magnitude; infinite where shapes differ or NaNs appear."""
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("inf")
    scale = float(np.abs(expected).max()) or 1.0
    return float(np.abs(got.astype(np.float64) - expected).max()) / scale


def save(problem: Problem, expected: Array | None, folder: Path) -> None:
    """`expected` None: what is computed will not be compared."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "workload.json").write_text(json.dumps(problem.workload.to_json()))
    np.save(folder / "x.npy", problem.x)
    if expected is not None:
        np.save(folder / "expected.npy", expected)
    for i, (filters, bias) in enumerate(zip(problem.filters, problem.biases, strict=True)):
        np.save(folder / f"filter{i}.npy", filters)
        np.save(folder / f"bias{i}.npy", bias)


def load(folder: Path) -> tuple[Problem, Array | None]:
    workload = Workload.from_json(json.loads((folder / "workload.json").read_text()))
    stages = range(len(workload.stages + workload.squeeze_excite))
    filters = [np.load(folder / f"filter{i}.npy") for i in stages]
    biases = [np.load(folder / f"bias{i}.npy") for i in stages]
    problem = Problem(workload, np.load(folder / "x.npy"), filters, biases)
    expected = folder / "expected.npy"
    return problem, np.load(expected, mmap_mode="r") if expected.exists() else None
