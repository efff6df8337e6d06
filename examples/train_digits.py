"""Trains the classifier of `dwconv demo` and writes src/dwconv/data/digits.npz.

    pip install torch==2.13.0 scikit-learn
    python examples/train_digits.py

A stem, a separable convolution, an inverted residual and a strided separable convolution on the 8x8 digits of
scikit-learn. It is trained with batch normalisation, which is folded into the filters and biases afterwards:
at run time nothing is left of it. The file holds the folded weights in dwconv's layouts (float16, to keep the
package small) and the images that training never saw.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from dwconv.demo import Digits

SEED = 0
HELD_OUT = 0.3
TARGET = Path(__file__).resolve().parent.parent / "src" / "dwconv" / "data" / "digits.npz"


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, relu6: bool = True
) -> nn.Sequential:
    """A convolution with batch normalisation, and the activation of MobileNet unless it is linear."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU6()) if relu6 else nn.Sequential(*layers)


class Network(nn.Module):
    """The same layers as `dwconv.demo.Digits`; attributes are the names in the file."""

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
        return self.classifier(x.mean(dim=(2, 3)))


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to one pixel in both directions: handwriting is not centred."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    rows, columns = torch.randint(0, 3, (2, len(images), 1), generator=generator)
    rows, columns = rows + torch.arange(8), columns + torch.arange(8)
    return padded[torch.arange(len(images))[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def train(network: Network, images: Tensor, labels: Tensor, epochs: int, batch: int = 64) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = epochs * -(-len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images), generator=generator).split(batch):
            scores = network(shifted(images[chosen], generator))
            loss = nn.functional.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3d}  loss {total / len(images):.4f}")


def folded(layer: nn.Sequential) -> tuple[np.ndarray, np.ndarray]:
    """(filter, bias) of a convolution with its batch normalisation folded in; [out, in / groups, kh, kw]."""
    convolution, norm = layer[0], layer[1]
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    filters = convolution.weight * scale[:, None, None, None]
    return filters.detach().numpy(), (norm.bias - norm.running_mean * scale).detach().numpy()


def weights(network: Network) -> dict[str, np.ndarray]:
    result = {}
    for name, layer in network.named_children():
        if isinstance(layer, nn.Linear):
            filters, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
        else:
            filters, bias = folded(layer)
            # [out, in / groups, kh, kw] -> [kh, kw, in / groups, out]; depthwise wants [kh, kw, channels, 1].
            depthwise = layer[0].groups > 1
            filters = filters.transpose(2, 3, 0, 1) if depthwise else filters.transpose(2, 3, 1, 0)
        result[f"{name}_filter"] = filters.astype(np.float16)
        result[f"{name}_bias"] = bias.astype(np.float16)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--output", type=Path, default=TARGET)
    arguments = parser.parse_args()

    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # sums in the same order on every machine with this PyTorch
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.images.astype(np.uint8),
        digits.target,
        test_size=HELD_OUT,
        stratify=digits.target,
        random_state=SEED,
    )
    network = Network()
    images = torch.from_numpy(train_x.astype(np.float32) / 16)[:, None]
    train(network, images, torch.from_numpy(train_y), arguments.epochs)

    np.savez_compressed(
        arguments.output, images=test_x, labels=test_y.astype(np.uint8), **weights(network.eval())
    )
    demo = Digits.load(arguments.output)
    accuracy = np.mean(demo.classify(demo.images) == demo.labels)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1000:.0f} kB, accuracy {accuracy:.2%}")


if __name__ == "__main__":
    main()
