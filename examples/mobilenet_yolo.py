"""A MobileNet-YOLO detector written as PyTorch, run as one dwconv network, with its boxes decoded here.

    python examples/mobilenet_yolo.py
    python examples/mobilenet_yolo.py --size 96 --rounds 1 --threads 1

The backbone is MobileNetV2 (Sandler et al., CVPR 2018); neck and heads are YOLOv3's (Redmon and Farhadi,
arXiv 1804.02767) with depthwise-separable convolutions and two scales. Weights are random: what is shown is
that a module goes in and the same boxes come out, and the time. A trained detector goes in just the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import dwconv

try:
    import torch
    from torch import nn
except ImportError:
    raise SystemExit("this example needs PyTorch: pip install 'dwconv[torch]'") from None

CLASSES = 20
# Width and height in pixels of an image of 416x416, for both scales: those that YOLOv3-tiny has.
ANCHORS = {16: ((10, 14), (23, 27), (37, 58)), 32: ((81, 82), (135, 169), (344, 319))}


# ---- the detector -------------------------------------------------------------------------------


def conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if act else []))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(inputs, inputs, 3, stride, inputs), conv(inputs, outputs))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, ratio: int) -> None:
        super().__init__()
        hidden = inputs * ratio
        expand = [conv(inputs, hidden)] if ratio > 1 else []
        self.body = nn.Sequential(
            *expand, conv(hidden, hidden, 3, stride, hidden), conv(hidden, outputs, act=False)
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class Detector(nn.Module):
    """[batch, 3, size, size] in 0 to 1 -> predictions at strides 16 and 32.

    Their channels are anchors * (4 + 1 + classes).
    """

    # ratio, outputs, repeats, stride
    PLAN = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, 32, 3, 2)]
        channels = 32
        for ratio, outputs, repeats, stride in self.PLAN:
            for i in range(repeats):
                layers.append(InvertedResidual(channels, outputs, stride if i == 0 else 1, ratio))
                channels = outputs
        self.fine, self.coarse = nn.Sequential(*layers[:14]), nn.Sequential(*layers[14:])
        self.neck = nn.Sequential(conv(320, 256), separable(256, 256), separable(256, 256))
        self.lateral, self.up = conv(256, 128), nn.Upsample(scale_factor=2, mode="nearest")
        self.merge = nn.Sequential(conv(128 + 96, 128), separable(128, 128))
        outputs = len(ANCHORS[32]) * (5 + classes)
        self.head32 = nn.Sequential(separable(256, 512), nn.Conv2d(512, outputs, 1))
        self.head16 = nn.Sequential(separable(128, 256), nn.Conv2d(256, outputs, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        fine = self.fine(x)
        neck = self.neck(self.coarse(fine))
        merged = self.merge(torch.cat([self.up(self.lateral(neck)), fine], dim=1))
        return {"stride16": self.head16(merged), "stride32": self.head32(neck)}


def detector(seed: int = 0) -> Detector:
    """With random weights that keep the size of what flows through it, ready to predict."""
    torch.manual_seed(seed)
    module = Detector()
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, a=0.5)  # a variance that 35 layers keep
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
    return module.eval()


# ---- boxes ----------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def decode(predictions: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] as left, top, right, bottom in pixels, and scores [n, classes], of the first image."""
    boxes, scores = [], []
    for stride, anchors in ANCHORS.items():
        raw = predictions[f"stride{stride}"][0].astype(np.float64)
        channels, height, width = raw.shape
        cells = raw.reshape(len(anchors), channels // len(anchors), height, width)
        rows, columns = np.mgrid[:height, :width]
        sizes = np.array(anchors)[:, :, np.newaxis, np.newaxis] * np.exp(np.clip(cells[:, 2:4], -8, 8))
        centres = (sigmoid(cells[:, :2]) + np.stack([columns, rows])) * stride
        boxes.append(np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1))
        scores.append(sigmoid(cells[:, 4:5]) * sigmoid(cells[:, 5:]))

    def flat(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([part.transpose(0, 2, 3, 1).reshape(-1, part.shape[1]) for part in parts])

    return flat(boxes), flat(scores)


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.asarray(shared / (np.prod(box[2:] - box[:2]) + area - shared))


def detections(
    predictions: dict[str, np.ndarray], threshold: float = 0.5, most_overlap: float = 0.45, most: int = 20
) -> list[tuple[int, float, np.ndarray]]:
    """(class, score, box), the best first: per class, boxes that overlap a better one are left out."""
    boxes, scores = decode(predictions)
    found = []
    for label in range(scores.shape[1]):
        rest = np.flatnonzero(scores[:, label] > threshold)
        rest = rest[np.argsort(-scores[rest, label], kind="stable")]
        while rest.size:
            best, rest = rest[0], rest[1:]
            found.append((label, float(scores[best, label]), boxes[best]))
            rest = rest[overlap(boxes[best], boxes[rest]) < most_overlap]
    return sorted(found, key=lambda item: -item[1])[:most]


# ---- both, compared ------------------------------------------------------------------------------


def milliseconds(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


def with_openvino(module: nn.Module, x: torch.Tensor, threads: int) -> Callable[[], object] | None:
    """None where there is no OpenVINO."""
    try:
        import openvino
    except ImportError:
        return None
    model = openvino.convert_model(torch.export.export(module, (x,)))
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.compile_model(model, "CPU", options)
    return lambda: compiled([x.numpy()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", type=int, default=416, help="height and width of the image, a multiple of 32"
    )
    parser.add_argument("--rounds", type=int, default=20, help="the fastest of so many counts")
    parser.add_argument("--threads", type=int, default=dwconv.get_num_threads())
    parser.add_argument("--openvino", action="store_true", help="time OpenVINO as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    module = detector()
    x = torch.rand(1, 3, arguments.size, arguments.size, generator=torch.Generator().manual_seed(1))
    network = dwconv.Network.from_torch(module, x)
    image = x.numpy()
    ours = network(image, num_threads=arguments.threads)
    boxes = detections(ours)
    print(network)
    print(f"{len(boxes)} boxes after non-maximum suppression; the first:")
    for label, score, box in boxes[:5]:
        print(f"  class {label:2} {score:.3f}  " + " ".join(f"{edge:7.1f}" for edge in box))
    with torch.no_grad():
        theirs = {name: tensor.numpy() for name, tensor in module(x).items()}
        difference = max(
            np.abs(ours[name] - theirs[name]).max() / np.abs(theirs[name]).max() for name in theirs
        )
        rounds, last = arguments.rounds, x.to(memory_format=torch.channels_last)
        fast = module.to(memory_format=torch.channels_last)
        print(
            f"dwconv   {milliseconds(lambda: network(image, num_threads=arguments.threads), rounds):8.2f} ms"
        )
        print(f"PyTorch  {milliseconds(lambda: fast(last), rounds):8.2f} ms, channels_last")
    other = with_openvino(module, x, arguments.threads) if arguments.openvino else None
    if other is not None:
        print(f"OpenVINO {milliseconds(other, rounds):8.2f} ms")
    print(f"largest difference to PyTorch, of the largest output: {difference:.1e}")
    if not difference < 1e-4:
        raise SystemExit("PyTorch gives something else")


if __name__ == "__main__":
    main()
