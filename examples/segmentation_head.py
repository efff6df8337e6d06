"""A depthwise-separable segmentation head on an image of 512x512, timed against PyTorch's layers if present.

    python examples/segmentation_head.py
    python examples/segmentation_head.py --size 64 --rounds 1 --threads 1

The photograph is SciPy's public-domain raccoon where SciPy and its copy of it are installed, else the example
paints a picture. A stem and three separable blocks find features at full size, a pointwise layer gives a
score for each of 21 classes; weights are random: what is shown is the time, and that both libraries agree.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import dwconv

CLASSES = 21
WIDTHS = ((32, 64, 1), (64, 64, 2), (64, 64, 4))  # inputs, outputs, dilation of the separable blocks


def photograph(size: int) -> tuple[str, np.ndarray]:
    """Its name, and [1, size, size, 3] in 0 to 1."""
    try:
        from scipy.datasets import face

        image = face().astype(np.float32) / 255
        name = "raccoon"
    except Exception:  # SciPy is not there, or it would have to download and cannot
        y, x = np.mgrid[0:1:512j, 0:1:512j].astype(np.float32)
        disc = ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.06).astype(np.float32)
        image = np.stack([x * (1 - disc), y, disc + 0.2 * np.sin(40 * x * y)], axis=-1)
        name = "painting"
    rows, columns = (np.linspace(0, length - 1, size).astype(int) for length in image.shape[:2])
    return name, np.ascontiguousarray(image[np.newaxis, rows[:, np.newaxis], columns])


def weights() -> list[tuple[np.ndarray, ...]]:
    """Filters and biases of the stem, of the separable blocks and of the classifier."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    blocks = [
        (
            rng.normal(0, 1 / 3, (3, 3, c, 1)).astype(np.float32),
            normal(1, c)[0],
            normal(c, n),
            normal(1, n)[0],
        )
        for c, n, _ in WIDTHS
    ]
    last = WIDTHS[-1][1]
    return [
        (normal(3, 3, 3, WIDTHS[0][0]), normal(1, 32)[0]),
        *blocks,
        (normal(last, CLASSES), normal(1, 21)[0]),
    ]


def with_dwconv(threads: int) -> Callable[[np.ndarray], np.ndarray]:
    (stem, stem_bias), *blocks, (last, last_bias) = weights()
    layers = [dwconv.Conv2D(stem, padding="same", bias=stem_bias, activation="relu")]
    layers += [
        dwconv.SeparableConv2D(
            depthwise, pointwise, padding="same", dilations=dilation, depthwise_bias=depthwise_bias,
            depthwise_activation="relu", bias=bias, activation="relu",
        )
        for (depthwise, depthwise_bias, pointwise, bias), (_, _, dilation) in zip(blocks, WIDTHS, strict=True)
    ]  # fmt: skip
    layers.append(dwconv.PointwiseConv2D(last, bias=last_bias))

    def run(x: np.ndarray) -> np.ndarray:
        for layer in layers:
            x = layer(x, num_threads=threads)
        return x

    return run


def with_torch(threads: int) -> Callable[[np.ndarray], np.ndarray] | None:
    """None where there is no PyTorch. Its layers run on channels_last tensors, so that nothing is copied."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)

    def layer(filters: np.ndarray, bias: np.ndarray, dilation: int = 1, groups: int = 1) -> torch.nn.Module:
        if filters.ndim == 2:
            filters = filters[np.newaxis, np.newaxis]
        if groups > 1:  # [kh, kw, c, 1] is [kh, kw, 1, c]
            filters = filters.swapaxes(2, 3)
        kernel, inputs, outputs = filters.shape[0], filters.shape[2] * groups, filters.shape[3]
        module = torch.nn.Conv2d(
            inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=groups
        )
        module.weight.data = torch.from_numpy(filters.transpose(3, 2, 0, 1).copy())
        module.bias.data = torch.from_numpy(bias)
        return module

    (stem, stem_bias), *blocks, last = weights()
    modules = [layer(stem, stem_bias), torch.nn.ReLU()]
    for (depthwise, depthwise_bias, pointwise, bias), (channels, _, dilation) in zip(
        blocks, WIDTHS, strict=True
    ):
        modules += [layer(depthwise, depthwise_bias, dilation, channels), torch.nn.ReLU()]
        modules += [layer(pointwise, bias), torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules, layer(*last)).to(memory_format=torch.channels_last)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()

    return run


def milliseconds(run: Callable[[np.ndarray], np.ndarray], x: np.ndarray, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="height and width of the image")
    parser.add_argument("--rounds", type=int, default=10, help="the fastest of so many counts")
    parser.add_argument("--threads", type=int, default=dwconv.get_num_threads())
    arguments = parser.parse_args()
    name, x = photograph(arguments.size)
    ours, theirs = with_dwconv(arguments.threads), with_torch(arguments.threads)
    scores = ours(x)
    found = np.unique(scores.argmax(-1)).size
    print(f"{name} {x.shape} -> scores {scores.shape}, {found} classes found, {arguments.threads} threads")
    print(f"dwconv  {milliseconds(ours, x, arguments.rounds):8.2f} ms")
    if theirs is None:
        print("PyTorch is not installed")
        return
    difference = np.abs(theirs(x) - scores).max() / np.abs(scores).max()
    print(f"PyTorch {milliseconds(theirs, x, arguments.rounds):8.2f} ms, largest difference {difference:.1e}")
    if not difference < 1e-4:
        raise SystemExit("PyTorch gives something else")


if __name__ == "__main__":
    main()
