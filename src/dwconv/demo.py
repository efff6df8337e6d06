"""`dwconv demo`: a network on handwritten digits that it never saw, and two blocks of networks on the clock.

The images and where they come from: data/README.md. The training: examples/train_digits.py.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from dwconv.config import _force, config
from dwconv.constructors import load
from dwconv.layers import InvertedResidual, SeparableConv2D
from dwconv.network import Network

Array: TypeAlias = np.ndarray[Any, Any]
Layer: TypeAlias = Callable[..., Array]

DATA = Path(__file__).resolve().parent / "data"
LOWEST_ACCURACY = 0.97
SHADES = " ░▒▓█"
ASCII_SHADES = " .:*#"


class Digits:
    """A classifier of 8x8 digits, and the held-out images to try it on.

    `network` takes images [batch, 1, 8, 8] from 0 to 1 and gives the probabilities of ten digits; `images`
    are uint8 [count, 8, 8] from 0 to 16, `labels` the digits they show.
    """

    def __init__(self, network: Network, images: Array, labels: Array) -> None:
        self.images, self.labels = images, labels
        self.network = network.bind((len(images), 1, 8, 8))

    @classmethod
    def load(cls, directory: Path = DATA) -> Digits:
        images, labels = (np.load(directory / f"digits_{name}.npy") for name in ("images", "labels"))
        return cls(load(directory / "digits.npz"), images, labels)

    def pixels(self) -> Array:
        """The images as the network takes them."""
        return self.images[:, np.newaxis].astype(np.float32) / 16

    def classify(self) -> Array:
        """The digits that it sees in the images."""
        return np.asarray(np.argmax(self.network(self.pixels()), axis=1))


def run(plot: Path | None = None) -> bool:
    """Prints what the module promises; True if accuracy and agreement are as they must be."""
    started = time.perf_counter()
    digits = Digits.load()
    predictions = digits.classify()
    milliseconds = 1e3 * (time.perf_counter() - started)
    with _force(backend="numpy"):
        fallback = Digits.load().classify()

    correct = predictions == digits.labels
    accuracy, agreement = float(np.mean(correct)), int(np.sum(predictions == fallback))
    chosen = np.r_[np.flatnonzero(correct)[:4], np.flatnonzero(~correct)[:2]]
    _print(f"{len(digits.images)} handwritten digits that training never saw, {_backend()}\n")
    _print(_drawing(digits.images[chosen], predictions[chosen], digits.labels[chosen]))
    _print(f"accuracy            {accuracy:.2%} ({np.sum(correct)} of {len(correct)})")
    _print(f"NumPy fallback      agrees on {agreement} of {len(correct)} images")
    _print(f"time                {milliseconds:.0f} ms, loading included")
    if plot is not None:
        _plot(digits, predictions, plot)
        _print(f"picture             {plot}")
    _print("\nThe network that saw them, a model file of dwconv's own, for one image:\n")
    _print(digits.network.bind((1, 1, 8, 8)).summary())
    _print("\nThe same on the clock:\n")
    _print(digits.network.profile(seconds=0.2))
    if config()["backend"] == "numpy":
        _print("\nno race             NumPy alone has nothing to be compared with")
    else:
        _print(f"\n{'224x224 networks':<20}{'layer':<24}{'dwconv':>12}{'NumPy':>13}{'speed-up':>11}")
        for line in _timings():
            _print(line)
    if accuracy < LOWEST_ACCURACY:
        _print(f"\nFAILED: accuracy is below {LOWEST_ACCURACY:.0%}")
    if agreement < len(correct):
        _print("\nFAILED: the NumPy fallback classifies some images differently")
    return accuracy >= LOWEST_ACCURACY and agreement == len(correct)


def _backend() -> str:
    settings = config()
    if settings["backend"] == "numpy":
        return "NumPy fallback (the C extension is not in use)"
    threads = settings["threads"]
    return f"native code, {settings['isa']}, {threads} thread{'s' if threads > 1 else ''}"


# ---- pictures ---------------------------------------------------------------------------------


def _print(text: str) -> None:
    """A terminal that lacks block characters gets plain ones."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(str.maketrans(SHADES, ASCII_SHADES))
    print(text, flush=True)


def _drawing(images: Array, predictions: Array, labels: Array) -> str:
    """The images side by side, two characters per pixel, with what the network saw in them."""
    shades = (images.astype(int) * (len(SHADES) - 1) + 8) // 16
    rows = ["  ".join("".join(SHADES[s] * 2 for s in image[y]) for image in shades) for y in range(8)]
    captions = [
        f"{guess}" if guess == label else f"{guess} (is {label})"
        for guess, label in zip(predictions, labels, strict=True)
    ]
    return "\n".join([*rows, "  ".join(f"{caption:^16}" for caption in captions), ""])


def _plot(digits: Digits, predictions: Array, path: Path) -> None:
    from matplotlib.figure import Figure

    correct = predictions == digits.labels
    wrong = np.flatnonzero(~correct)[:10]
    chosen = np.r_[np.flatnonzero(correct)[: 30 - len(wrong)], wrong]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, i in zip(figure.subplots(3, 10).flat, chosen, strict=False):
        axes.imshow(digits.images[i], cmap="gray_r", vmin=0, vmax=16)
        axes.set_title(
            f"{predictions[i]}" if correct[i] else f"{predictions[i]}, is {digits.labels[i]}",
            color="black" if correct[i] else "red",
        )
        axes.set_axis_off()
    figure.suptitle("Held-out digits and what dwconv sees in them")
    figure.savefig(path, dpi=120)


# ---- timing -----------------------------------------------------------------------------------


def _timings() -> Iterator[str]:
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> Array:
        limit = 1 / np.sqrt(np.prod(shape[:3]))
        return rng.uniform(-limit, limit, shape).astype(np.float32)

    pair = weights(3, 3, 32, 1), weights(1, 1, 32, 64)
    block = weights(1, 1, 24, 144), weights(3, 3, 144, 1), weights(1, 1, 144, 24)

    def build_pair() -> Layer:
        return SeparableConv2D(*pair, padding="same", depthwise_activation="relu6", activation="relu6")

    def build_block() -> Layer:
        return InvertedResidual(*block, padding="same", activation="relu6")

    cases: list[tuple[str, str, tuple[int, ...], Callable[[], Layer]]] = [
        ("MobileNetV1 pair", "112x112, 32 > 64", (1, 112, 112, 32), build_pair),
        ("MobileNetV2 block", "56x56, 24 > 144 > 24", (1, 56, 56, 24), build_block),
    ]
    for name, geometry, shape, build in cases:
        x = rng.uniform(-1, 1, shape).astype(np.float32)
        with _force(backend="numpy"):
            numpy = _best(build(), x)
        ours = _best(build(), x)
        ratio = f"{numpy / ours:.1f}x"
        yield f"{name:<20}{geometry:<24}{1e3 * ours:>9.2f} ms{1e3 * numpy:>10.2f} ms{ratio:>11}"


def _best(layer: Layer, x: Array, seconds: float = 0.5) -> float:
    """The fastest of at least three calls into one output, within about `seconds`."""
    out, times = layer(x), list[float]()
    begin = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        layer(x, out=out)
        times.append(time.perf_counter() - before)
    return min(times)
