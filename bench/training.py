"""Whole steps of training, forward, backward and update: PyTorch alone, and the same model on dwconv.

Both models have the same weights and images, in `torch.channels_last`, and run in this process, in turn. What
dwconv computes is convolutions and batch normalizations with the clamps behind them
(`dwconv.torch.accelerate`); the loss and SGD are PyTorch's in both.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import machine, whole_models

MODELS = ("mobilenet_v1", "mobilenet_v2")
ROUNDS = 3  # at least


@dataclass(frozen=True)
class Step:
    """Least milliseconds of the whole step and of its forward pass; `difference`: of the losses, relative."""

    model: str
    batch: int
    threads: int
    dwconv: tuple[float, float]
    pytorch: tuple[float, float]
    difference: float

    @property
    def gain(self) -> float:
        return self.pytorch[0] / self.dwconv[0]


def measure(models: Sequence[str], batches: Sequence[int], threads: int, seconds: float) -> Iterator[Step]:
    """`seconds` for each model and batch, after the first step of each. Pins this process."""
    machine.pin(threads, bind=False)  # before PyTorch starts threads
    import torch

    import dwconv.torch

    torch.set_num_threads(threads)
    for name in models:
        theirs = whole_models.load(name).module.train()
        ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
        for batch in batches:
            steps = [_step(model, _images(name, batch)) for model in (ours, theirs)]
            losses = [step()[2] for step in steps]
            difference = abs(losses[0] - losses[1]) / abs(losses[1])
            least, end, rounds = [(float("inf"),) * 2] * 2, time.perf_counter() + seconds, 0
            while rounds < ROUNDS or time.perf_counter() < end:
                for index, step in enumerate(steps):
                    whole, forward, _ = step()
                    least[index] = min(least[index][0], whole), min(least[index][1], forward)
                rounds += 1
            yield Step(name, batch, threads, least[0], least[1], difference)


def _images(name: str, batch: int) -> Any:
    import torch

    _, *shape = whole_models.Model(name).image().shape
    images = torch.from_numpy(whole_models.random(batch, *shape))
    return images.to(memory_format=torch.channels_last)


def _step(model: Any, images: Any) -> Callable[[], tuple[float, float, float]]:
    """(milliseconds, those of forward, the loss) of one step of SGD; the learning rate moves little."""
    import torch

    labels = torch.arange(len(images))
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)

    def run() -> tuple[float, float, float]:
        begin = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        forward = time.perf_counter()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return 1e3 * (time.perf_counter() - begin), 1e3 * (forward - begin), float(loss.detach())

    return run


def text(found: Iterable[Step]) -> str:
    head = f"{'model':14} {'batch':>5} {'threads':>7} {'dwconv, ms':>17} {'PyTorch, ms':>17} {'gain':>6}"
    lines = [f"{head}   whole step, forward pass"]
    for step in found:
        times = " ".join("{:9.1f} {:7.1f}".format(*pair) for pair in (step.dwconv, step.pytorch))
        lines.append(f"{step.model:14} {step.batch:5} {step.threads:7} {times} {step.gain:6.2f}")
    return "\n".join(lines)
