"""Whole steps of training, forward, backward and update: PyTorch alone, and the same model on dwconv.

Both models have the same weights and images, in `torch.channels_last`. Each runs in a process of its own, as
training does: in one process either would use memory that the other leaves, without it being zeroed again.
What dwconv computes is convolutions and batch normalizations with the clamps behind them
(`dwconv.torch.accelerate`); the loss and SGD are PyTorch's in both.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    """`seconds` for each model, batch and library, in two shares, after the first step of each."""
    spawn = multiprocessing.get_context("spawn")
    for name in models:
        for batch in batches:
            found: list[list[_Best]] = [[], []]
            for index in (0, 1, 1, 0):
                with spawn.Pool(1) as process:
                    arguments = name, batch, threads, seconds / 2, index == 0
                    found[index].append(process.apply(_run, arguments))
            ours, theirs = (_Best(*map(min, zip(*both, strict=True))) for both in found)
            difference = abs(ours.loss - theirs.loss) / abs(theirs.loss)
            yield Step(name, batch, threads, ours[:2], theirs[:2], difference)


class _Best(NamedTuple):
    """Least milliseconds, and the first loss."""

    whole: float
    forward: float
    loss: float


def _run(name: str, batch: int, threads: int, seconds: float, accelerated: bool) -> _Best:
    """Pins this process."""
    machine.pin(threads, bind=False)  # before PyTorch starts threads
    import torch

    torch.set_num_threads(threads)
    model = whole_models.load(name).module.train()
    if accelerated:
        import dwconv.torch

        dwconv.torch.accelerate(model)
    step = _step(model, _images(name, batch))
    loss, end = step()[2], time.perf_counter() + seconds
    steps: list[tuple[float, float]] = []
    while len(steps) < ROUNDS or time.perf_counter() < end:
        steps.append(step()[:2])
    whole, forward = map(min, zip(*steps, strict=True))
    return _Best(whole, forward, loss)


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
