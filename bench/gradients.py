"""Layers forward and backward, as a step of training runs them, beside PyTorch's with channels last.

Filters change with every step, so dwconv packs them in every call. Backward is the gradients of input,
filter and bias. Both run in this process, in turn. Padding is PyTorch's: as much on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

import numpy as np

import dwconv
from bench import machine, pairs
from bench.workloads import Stage, Workload

LAYERS = ("depthwise", "pointwise", "conv")
_SAMPLE_SECONDS = 2e-3


@dataclass(frozen=True)
class Timed:
    """Least microseconds per call, (forward, backward); None: PyTorch is not installed."""

    workload: Workload
    dwconv: tuple[float, float]
    pytorch: tuple[float, float] | None

    @property
    def gains(self) -> tuple[float, float] | None:
        """PyTorch's times by dwconv's, of backward alone and of both."""
        if self.pytorch is None:
            return None
        return self.pytorch[1] / self.dwconv[1], sum(self.pytorch) / sum(self.dwconv)


def measure(workloads: Sequence[Workload], batch: int, threads: int, seconds: float) -> Iterator[Timed]:
    """`seconds` for each layer. Pins this process: to be called in one of its own."""
    machine.pin(threads, bind=False)
    for workload in workloads:
        arrays = Arrays(workload, batch)
        ours, theirs = of_dwconv(arrays, threads), of_pytorch(arrays, threads)
        runs = [_repeated(run) for run in (*ours, *(theirs or ()))]
        least = pairs.measure(runs, _SAMPLE_SECONDS, seconds).min(axis=0).tolist()
        yield Timed(workload, (least[0], least[1]), (least[2], least[3]) if theirs else None)


def _repeated(run: Callable[[], Any]) -> Callable[[int], None]:
    def repeat(loops: int) -> None:
        for _ in range(loops):
            run()

    return repeat


class Arrays:
    """Random tensors of one layer: dwconv's layouts, which PyTorch's channels last shares."""

    def __init__(self, workload: Workload, batch: int) -> None:
        (self.stage,) = workload.stages
        rng = np.random.default_rng(0)
        stage: Stage = self.stage
        self.pads = tuple(kernel // 2 * stage.dilation for kernel in stage.kernel)
        self.x = rng.standard_normal((batch, workload.height, workload.width, stage.in_channels), np.float32)
        self.filters = rng.standard_normal(stage.filter_shape, np.float32)
        self.bias = rng.standard_normal(stage.out_channels, np.float32)
        self.y = self.forward(None)
        self.dy = rng.standard_normal(self.y.shape, np.float32)

    def steps(self) -> dict[str, Any]:
        if self.stage.op == "pointwise":
            return {"strides": self.stage.stride}
        return {"strides": self.stage.stride, "padding": self.pads, "dilations": self.stage.dilation}

    def function(self, suffix: str = "") -> Any:
        prefix = "" if self.stage.op == "conv" else f"{self.stage.op}_"
        return getattr(dwconv, f"{prefix}conv2d{suffix}")

    def forward(self, threads: int | None) -> Any:
        call = self.function()
        return call(self.x, self.filters, **self.steps(), bias=self.bias, num_threads=threads)


def of_dwconv(a: Arrays, threads: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(forward, backward)."""
    steps = a.steps()
    of_all = a.function("_backprop")

    def backward() -> Any:
        return of_all(a.x, a.filters, a.dy, **steps, with_bias=True, num_threads=threads)

    return lambda: a.forward(threads), backward


def of_pytorch(a: Arrays, threads: int) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    stage = a.stage
    x, dy = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in (a.x, a.dy))
    filters = a.filters.reshape(*stage.kernel, -1, stage.out_channels)
    weights = torch.from_numpy(np.ascontiguousarray(filters.transpose(3, 2, 0, 1)))
    weights = weights.contiguous(memory_format=torch.channels_last)
    bias = torch.from_numpy(a.bias)
    pads = (0, 0) if stage.op == "pointwise" else a.pads
    steps = [stage.stride] * 2, list(pads), [stage.dilation] * 2
    wanted = [True, True, True]

    def forward() -> Any:
        with torch.no_grad():
            return torch.nn.functional.conv2d(x, weights, bias, *steps, stage.groups)

    def backward() -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, weights, [stage.out_channels], *steps, False, [0, 0], stage.groups, wanted
        )

    return forward, backward


def text(found: Iterable[Timed], batch: int, threads: int) -> str:
    """A line each, then the geometric means by operation."""
    found = list(found)
    head = f"{'layer':34} {'dwconv, us':>23} {'PyTorch, us':>23} {'gain':>13}"
    lines = [f"batch {batch}, {threads} thread(s); forward, backward; gain of backward, of both", head]
    for timed in found:
        theirs = "{:11.1f} {:11.1f}".format(*timed.pytorch) if timed.pytorch else f"{'absent':>23}"
        gains = "{:6.2f} {:6.2f}".format(*timed.gains) if timed.gains else ""
        name = f"{timed.workload.op} {timed.workload.shape}"
        lines.append(f"{name:34} {timed.dwconv[0]:11.1f} {timed.dwconv[1]:11.1f} {theirs} {gains}")
    for op in dict.fromkeys(timed.workload.op for timed in found):
        pairs = [timed.gains for timed in found if timed.workload.op == op and timed.gains]
        if pairs:
            means = "{:6.2f} {:6.2f}".format(*(geometric_mean(column) for column in zip(*pairs, strict=True)))
            lines.append(f"{op + ', geometric mean':82} {means}")
    return "\n".join(lines)
