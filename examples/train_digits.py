"""Trains the classifier of `dwconv demo` and writes what src/dwconv/data holds of it.

    pip install torch==2.13.0
    python examples/train_digits.py

A stem, a separable convolution, an inverted residual and a strided separable convolution on 8x8 digits. Its
convolutions run on dwconv, forward and backward (`dwconv.torch.accelerate`). The module becomes a network by
`Network.from_torch`, and a file that NumPy alone reads by `Network.save`; batch normalisation, which training
needs, is folded into the convolutions before. Beside it go the images that training never saw.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import dwconv.torch
from dwconv import demo

SEED = 0
HERE = Path(__file__).resolve().parent


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu6: bool = True
) -> nn.Sequential:
    """A convolution with batch normalisation, and the activation of MobileNet unless it is linear."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if relu6 else nn.Sequential(*layers)


class Digits(nn.Module):
    """[batch, 1, 8, 8] from 0 to 1 -> the probabilities of ten digits; while it is trained, their logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 16, 3)
        self.separable1_depthwise = conv(16, 16, 3, groups=16)
        self.separable1_pointwise = conv(16, 32, 1)
        self.residual_expand = conv(32, 128, 1)
        self.residual_depthwise = conv(128, 128, 3, groups=128)
        self.residual_project = conv(128, 32, 1, relu6=False)
        self.separable2_depthwise = conv(32, 32, 3, stride=2, groups=32)
        self.separable2_pointwise = conv(32, 96, 1)
        self.classifier = nn.Linear(96, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.separable1_pointwise(self.separable1_depthwise(self.stem(images)))
        x = x + self.residual_project(self.residual_depthwise(self.residual_expand(x)))
        x = self.separable2_pointwise(self.separable2_depthwise(x))
        logits = self.classifier(x.mean(dim=(2, 3)))
        return logits if self.training else logits.softmax(dim=1)


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel in both directions: handwriting is not centred."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    rows, columns = torch.randint(0, 3, (2, len(images), 1), generator=generator)
    rows, columns = rows + torch.arange(8), columns + torch.arange(8)
    return padded[torch.arange(len(images))[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def train(network: Digits, images: Tensor, labels: Tensor, epochs: int, batch: int = 64) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = epochs * -(-len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images), generator=generator).split(batch):
            logits = network(shifted(images[chosen], generator))
            loss = nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3d}  loss {total / len(images):.4f}")


def without_norms(network: Digits) -> Digits:
    """The same with batch normalisation folded into the convolutions, ready to predict."""
    network = copy.deepcopy(network).eval()
    for layer in network.children():
        if isinstance(layer, nn.Sequential):
            layer[0], layer[1] = fuse_conv_bn_eval(layer[0], layer[1]), nn.Identity()
    return network


def write(network: Digits, images: np.ndarray, labels: np.ndarray, directory: Path) -> None:
    """`images`: uint8 [count, 8, 8] from 0 to 16; `labels`: what they show."""
    dwconv.Network.from_torch(without_norms(network), torch.zeros(1, 1, 8, 8)).save(directory / "digits.npz")
    np.save(directory / "digits_images.npy", images)
    np.save(directory / "digits_labels.npy", labels.astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--output", type=Path, default=demo.DATA, metavar="DIR")
    parser.add_argument(
        "--pytorch", action="store_true", help="PyTorch alone: the file of the package was made so"
    )
    arguments = parser.parse_args()

    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in the same order on every machine of these vectors with this PyTorch
    data, unseen = np.load(HERE / "digits_training.npz"), demo.Digits.load()
    network = Digits()
    if not arguments.pytorch:
        dwconv.torch.accelerate(network)
    images = torch.from_numpy(data["images"].astype(np.float32) / 16)[:, None]
    began = time.perf_counter()
    train(network, images, torch.from_numpy(data["labels"].astype(np.int64)), arguments.epochs)
    seconds = time.perf_counter() - began

    write(network, unseen.images, unseen.labels, arguments.output)
    written = demo.Digits.load(arguments.output)
    accuracy = np.mean(written.classify() == written.labels)
    print(f"{arguments.output}: accuracy {accuracy:.2%}, {seconds:.0f} seconds of training")


if __name__ == "__main__":
    main()
