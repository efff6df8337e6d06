"""`torch.compile(model, backend="dwconv")` gives what PyTorch gives, whatever of the model dwconv runs."""

from __future__ import annotations

import gc
import importlib.metadata
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv.torch  # noqa: E402
import models_torch  # noqa: E402
from dwconv.torch import backend  # noqa: E402
from models_torch import ConvNorm  # noqa: E402

BOUND = 1e-5


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The networks that subgraphs make in a test; None: left to PyTorch."""
    torch._dynamo.reset()
    found: list[Any] = []
    make = backend.Subgraph._network

    def noted(self: Any, args: Any) -> Any:
        result = make(self, args)
        found.append(result[0])
        return result

    monkeypatch.setattr(backend.Subgraph, "_network", noted)
    with torch.no_grad():
        yield found
    torch._dynamo.reset()


def compiled(module: Any, **options: Any) -> Any:
    return torch.compile(module, backend=dwconv.torch.dwconv_backend, **options)


def small(seed: int = 0) -> nn.Module:
    layers = [
        ConvNorm(3, 8, 3, 2, act=None),
        nn.ReLU(inplace=True),
        ConvNorm(8, 8, 3, 1, 8),
        ConvNorm(8, 16, 1),
    ]
    return models_torch.seeded(nn.Sequential(*layers), seed)


def image(*shape: int) -> Any:
    return torch.randn(*(shape or (2, 3, 16, 12)), generator=torch.Generator().manual_seed(4))


def check(module: Any, fast: Any, *inputs: Any) -> None:
    expected, result = module(*inputs), fast(*inputs)
    assert result.shape == expected.shape
    assert result.stride() == expected.stride()
    assert (result - expected).abs().max() <= BOUND * expected.abs().max()


def test_the_backend_is_found_by_name() -> None:
    try:
        points = importlib.metadata.distribution("dwconv").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("dwconv is not installed, but on the path")
    mine = [point for point in points if point.group == "torch_dynamo_backends"]
    if not mine:
        pytest.skip("an older dwconv is installed")
    assert mine[0].name == "dwconv"
    assert mine[0].load() is dwconv.torch.dwconv_backend
    assert "dwconv" in torch._dynamo.list_backends()


@pytest.mark.parametrize(
    ("name", "layout"), [("shufflenet_v2", "contiguous_format"), ("mobilenet_v3_large", "channels_last")]
)
def test_a_network_is_one_subgraph(name: str, layout: str, made: list[Any]) -> None:
    memory_format = getattr(torch, layout)
    module = models_torch.build(name).to(memory_format=memory_format)
    x = models_torch.example(name, 32).contiguous(memory_format=memory_format)
    check(module, compiled(module), x)
    assert len(made) == 1
    assert made[0] is not None


def test_channels_last_is_read_and_written_in_place(made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module = small().to(memory_format=torch.channels_last)
    fast, x = compiled(module), image().contiguous(memory_format=torch.channels_last)
    check(module, fast, x)
    (network,) = made
    assert network.inputs[0].shape == (2, 16, 12, 3)
    assert network.outputs[0].shape == (2, 8, 6, 16)
    seen: list[tuple[int, int]] = []
    call = type(network).__call__

    def noted(self: Any, array: np.ndarray, out: Any, num_threads: int) -> Any:
        seen.append((array.ctypes.data, out[0].ctypes.data))
        return call(self, array, out=out, num_threads=num_threads)

    monkeypatch.setattr(type(network), "__call__", noted)
    y = fast(x)
    assert seen == [(x.data_ptr(), y.data_ptr())]


def test_weights_that_change_are_read_again(made: list[Any]) -> None:
    module, x = small(), image()
    fast = compiled(module)
    check(module, fast, x)
    check(module, fast, x)
    assert len(made) == 1
    module[0][0].weight.mul_(2)
    check(module, fast, x)
    module.load_state_dict(small(5).state_dict())
    check(module, fast, x)
    assert len(made) == 3


def test_modules_that_share_a_graph_keep_their_weights(made: list[Any]) -> None:
    x, modules = image(), [small(1), small(2)]
    for _ in range(2):
        for module in modules:
            check(module, compiled(module), x)
    assert len(made) == 2


def test_other_sizes_get_networks_of_their_own(made: list[Any]) -> None:
    module = small()
    fast = compiled(module)
    for shape in ((2, 3, 16, 12), (3, 3, 16, 12), (4, 3, 16, 12), (1, 3, 20, 32), (3, 3, 16, 12)):
        check(module, fast, image(*shape))
    assert None not in made
    assert len(made) == 4


def test_inputs_of_any_strides_are_taken() -> None:
    module = small()
    fast = compiled(module)
    x = image(4, 3, 20, 24)
    for view in (x[:, :, 2:-2, 1::2], x[:1].expand(4, -1, -1, -1), x.transpose(2, 3)):
        check(module, fast, view)


class Mixed(nn.Module):
    """Supported parts, operations that dwconv lacks, a graph break, and a write to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = small(), nn.Conv2d(16, 4, 1)
        self.table = nn.Embedding(10, 16)

    def forward(self, x: Any, labels: Any) -> Any:
        y = torch.cumsum(self.first(x), 1) + self.table(labels)[:, :, None, None]
        torch._dynamo.graph_break()
        y = self.second(y) if y.sum() > 0 else -self.second(y)
        x[:, 0].add_(1)
        return y.sort(1)[0], y.argmax(1), y.view(y.shape[0], -1)


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_rest_stays_pytorch(dynamic: bool, made: list[Any]) -> None:
    module = models_torch.seeded(Mixed())
    fast = compiled(module, dynamic=dynamic)
    for batch in (2, 3):
        x, other, labels = image(batch, 3, 16, 12), image(batch, 3, 16, 12), torch.arange(batch)
        for result, expected in zip(fast(x, labels), module(other, labels), strict=True):
            assert result.stride() == expected.stride()
            assert (result - expected).abs().max() <= BOUND * expected.abs().max()
        assert torch.equal(x, other)
    assert None not in made
    assert len(made) == 4


def test_gradients_are_left_to_pytorch(made: list[Any]) -> None:
    module, x = small(), image()
    fast = compiled(module)
    check(module, fast, x)
    with torch.enable_grad():
        fast(x).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert len(made) == 1
    module.requires_grad_(False)
    with torch.enable_grad():
        check(module, fast, x)
    assert len(made) == 2


def test_inference_mode_is_served() -> None:
    module = small()
    fast = compiled(module)
    with torch.inference_mode():
        check(module, fast, image())
        check(module, fast, image())


def test_training_and_other_dtypes_are_left_to_pytorch(made: list[Any]) -> None:
    module, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train(), image()
    mean = 0.1 * module[0](x).mean((0, 2, 3))
    result = compiled(module)(x)
    assert (result.mean((0, 2, 3)).abs() < 1e-5).all()
    torch.testing.assert_close(module[1].running_mean, mean)
    wide = small().double()
    check(wide, compiled(wide), x.double())
    assert None not in made


def test_what_it_cannot_make_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("no such network")

    monkeypatch.setattr(backend, "Network", refuse)
    module = small()
    check(module, compiled(module), image())


def test_options_are_refused() -> None:
    with pytest.raises(Exception, match="has no options"):
        compiled(small(), options={"fast": True})(image())


def test_a_module_is_not_kept_alive() -> None:
    module = small()
    compiled(module)(image())
    reference = weakref.ref(module[0][0].weight)
    del module
    torch._dynamo.reset()
    gc.collect()
    assert reference() is None
