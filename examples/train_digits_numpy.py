"""Trains a classifier of handwritten digits with NumPy and dwconv alone, and runs it as a network.

    python examples/train_digits_numpy.py

The network of examples/train_digits.py, from scratch: a stem, a separable convolution, an inverted residual
and a strided separable convolution, with batch normalisation, which `to_network` folds into them. The images
are those of data/README.md of the package: 1257 to learn from, 540 that training never sees.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from dwconv import demo, nn

SEED = 0
HERE = Path(__file__).resolve().parent


def conv(layer: nn.Layer, relu6: bool = True) -> list[nn.Layer]:
    """A convolution with batch normalisation, and the activation of MobileNet unless it is linear."""
    norm = nn.BatchNorm(momentum=0.9, epsilon=1e-5)
    return [layer, norm, nn.ReLU(6)] if relu6 else [layer, norm]


def classifier() -> nn.Sequential:
    """[batch, 8, 8, 1] from 0 to 1 -> the logits of ten digits."""
    options: dict[str, Any] = {"padding": "same", "use_bias": False}
    pointwise: dict[str, Any] = {"kernel_size": 1, **options}
    residual = [
        *conv(nn.Conv2D(128, **pointwise)),
        *conv(nn.DepthwiseConv2D(3, **options)),
        *conv(nn.Conv2D(32, **pointwise), relu6=False),
    ]
    return nn.Sequential(
        [
            *conv(nn.Conv2D(16, 3, **options)),
            *conv(nn.DepthwiseConv2D(3, **options)),
            *conv(nn.Conv2D(32, **pointwise)),
            nn.Residual(residual),
            *conv(nn.DepthwiseConv2D(3, strides=2, **options)),
            *conv(nn.Conv2D(96, **pointwise)),
            nn.GlobalAveragePool2D(),
            nn.Dense(10),
        ],
        name="digits",
    )


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to one pixel in both directions: handwriting is not centred."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = rng.integers(0, 3, (2, len(images), 1)) + np.arange(8)
    return padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def one_cycle(peak: float, steps: int) -> Any:
    """Up to the peak in the first third, then down to nothing, along cosines (Smith, 2018)."""

    def rate(step: int) -> float:
        up = 0.3 * steps
        phase = step / up - 1 if step < up else (step - up) / (steps - up)
        return peak * (1 + math.cos(math.pi * phase)) / 2

    return rate


def train(model: nn.Sequential, images: np.ndarray, labels: np.ndarray, epochs: int, batch: int = 64) -> None:
    rng = np.random.default_rng(SEED)
    steps = epochs * -(-len(images) // batch)
    optimizer = nn.Adam(one_cycle(6e-3, steps), weight_decay=1e-2)
    for epoch in range(epochs):
        total = 0.0
        order = rng.permutation(len(images))
        for chosen in np.split(order, range(batch, len(order), batch)):
            with nn.GradientTape() as tape:
                logits = model(shifted(images[chosen], rng), training=True)
                loss = nn.softmax_cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            variables = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            total += float(loss) * len(chosen)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3d}  loss {total / len(images):.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="where to save the network")
    arguments = parser.parse_args()

    data = np.load(HERE / "digits_training.npz")
    images = data["images"][..., np.newaxis].astype(np.float32) / 16
    nn.set_seed(SEED)
    model = classifier()
    began = time.perf_counter()
    train(model, images, data["labels"], arguments.epochs)
    seconds = time.perf_counter() - began

    network = model.to_network()
    unseen = demo.Digits.load()
    pixels = unseen.images[..., np.newaxis].astype(np.float32) / 16
    guesses = np.argmax(network.bind(pixels.shape)(pixels), axis=1)
    print(f"accuracy {np.mean(guesses == unseen.labels):.2%} on {len(pixels)} images, {seconds:.0f} seconds")
    if arguments.output:
        network.save(arguments.output)


if __name__ == "__main__":
    main()
