"""Networks of PyTorch modules for other sizes than the example's: bound, open, or refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dwconv

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from torch_results import BOUND, random, worst  # noqa: E402


class Sized(nn.Module):
    """A convolution, and what a function makes of it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(self.conv(x))


def to_twice(y: Any) -> Any:
    return functional.interpolate(y, (2 * y.shape[2], 2 * y.shape[3]))


# What modules compute of the size of an image.
SPECIALISED: dict[str, Callable[[Any], Any]] = {
    "a factor": lambda y: y.sum((2, 3)) / (y.shape[2] * y.shape[3]),
    "a reshape": lambda y: y.view(1, 4 * y.shape[2] * y.shape[3]).relu().view(1, 4, y.shape[2], y.shape[3]),
    "a constant": lambda y: y + torch.arange(y.shape[3], dtype=torch.float32),
    "a part": lambda y: y[:, :, : y.shape[2] // 2],
    "the size of an image": to_twice,
    "adaptive pooling": lambda y: functional.adaptive_avg_pool2d(y, 4),
    "operations": lambda y: y.relu() if y.shape[2] > 20 else y.sigmoid(),
    "results": lambda y: (y, y.relu()) if y.shape[2] > 20 else (y.relu(), y),
}
# What does not depend on it.
FREE: dict[str, Callable[[Any], Any]] = {
    "a part": lambda y: torch.cat([y[..., ::2, ::2], y[..., 1::2, ::2], y[..., ::2, 1::2]], 1),
    "a mean": lambda y: functional.adaptive_avg_pool2d(y, 1).flatten(1),
    "a scale": lambda y: functional.interpolate(y, scale_factor=2.0),
    "the rows of a matrix": lambda y: y.flatten(2).transpose(1, 2).softmax(-1),
}


@pytest.mark.parametrize("name", SPECIALISED)
def test_sizes_that_a_module_computes_with_are_refused(name: str) -> None:
    module, x = Sized(SPECIALISED[name]), random(1, 3, 16, 24)
    network = dwconv.Network.from_torch(module, x)
    network.bind((1, 3, 16, 24))
    with pytest.raises(ValueError, match=r"example of 'x' \(1, 3, 16, 24\).*input_shapes=.*None, None"):
        network.bind((1, 3, 48, 56))
    with pytest.raises(ValueError, match=r"cannot stay open.*Make one network for each image size"):
        dwconv.Network.from_torch(module, x, input_shapes={"x": (1, 3, None, None)})


@pytest.mark.parametrize("name", FREE)
def test_open_sizes_match_pytorch(name: str, tmp_path: Path) -> None:
    module, shapes = Sized(FREE[name]), {"x": (None, 3, None, None)}
    network = dwconv.Network.from_torch(module, random(1, 3, 16, 24), input_shapes=shapes)
    assert network.inputs[0].shape == (None, 3, None, None)
    network.save(tmp_path / "net.npz")
    for net in (network, dwconv.load(tmp_path / "net.npz")):
        x = random(2, 3, 20, 14)
        with torch.no_grad():
            assert worst([net(x.numpy())], module(x)) < BOUND


def test_a_saved_network_keeps_its_sizes(tmp_path: Path) -> None:
    network = dwconv.Network.from_torch(Sized(SPECIALISED["a factor"]), random(1, 3, 16, 24))
    network.save(tmp_path / "net.npz")
    for net in (
        dwconv.load(tmp_path / "net.npz"),
        pickle.loads(pickle.dumps(network)),
        network.layout("NHWC"),
    ):
        assert net.bind((2, *net.inputs[0].shape[1:])) is net
        with pytest.raises(ValueError, match="was made with an example"):
            net.bind((1, *(2 * size if size > 3 else size for size in net.inputs[0].shape[1:])))


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        ({"y": (1, 3, None, None)}, r"no \['y'\]; there are \['x'\]"),
        ({"x": (1, 3, None)}, r"is \(1, 3, 16, 24\) in the example"),
        ({"x": (1, 3, 32, None)}, r"is \(1, 3, 16, 24\) in the example"),
        ({"x": (1, None, 16, 24)}, "cannot stay open: with others"),
    ],
)
def test_open_sizes_that_do_not_fit_are_told(shapes: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        dwconv.Network.from_torch(Sized(FREE["a mean"]), random(1, 3, 16, 24), input_shapes=shapes)
