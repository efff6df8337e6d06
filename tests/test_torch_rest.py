"""What the modules of `dwconv.torch` do not have is PyTorch's: dtypes, devices, errors, compilers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv  # noqa: E402
import dwconv.torch  # noqa: E402
from torch_modules import image, pair  # noqa: E402


@pytest.mark.parametrize(
    ("options", "dtype", "words"),
    [
        ({"padding": 1, "padding_mode": "reflect"}, torch.float32, "padding_mode is 'reflect'"),
        ({}, torch.bfloat16, "the weights are torch.bfloat16"),
    ],
)
def test_pytorch_computes_the_rest_and_it_is_said_once(options: Any, dtype: Any, words: str) -> None:
    ours, theirs = pair(kernel_size=3, **options)
    ours, theirs, x = ours.to(dtype), theirs.to(dtype), image(1, 8, 6, 6).to(dtype)
    with pytest.warns(dwconv.PerformanceWarning, match=words):
        y = ours(x)
    assert torch.equal(y, theirs(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(x)


def test_other_devices_are_pytorchs() -> None:
    module = dwconv.torch.Conv2d(8, 4, 3, device="meta")
    with pytest.warns(dwconv.PerformanceWarning, match="the weights are on meta"):
        assert module(torch.empty(1, 8, 6, 6, device="meta")).shape == (1, 4, 4, 4)


def test_autocast_is_pytorchs() -> None:
    ours, theirs = pair(kernel_size=3)
    x = image(1, 8, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.warns(dwconv.PerformanceWarning, match="autocast"):
            y = ours(x)
        assert y.dtype == torch.bfloat16
        assert torch.equal(y, theirs(x))


@pytest.mark.parametrize(
    "x", [torch.ones(1, 7, 6, 6), torch.ones(1, 8, 2, 6), torch.ones(1, 8, 6, 6).double(), torch.ones(8, 6)]
)
def test_errors_are_pytorchs(x: torch.Tensor) -> None:
    ours, theirs = pair(kernel_size=3)
    with pytest.raises(RuntimeError) as expected:
        theirs(x)
    with pytest.raises(RuntimeError) as found:
        ours(x)
    assert str(found.value) == str(expected.value)


def test_transformations_and_exporters_see_pytorchs_convolution() -> None:
    ours, theirs = pair(kernel_size=3, groups=8)
    x = image(3, 8, 6, 6)

    def loss(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: module(x[None]).square().sum()

    found, expected = (torch.func.vmap(torch.func.grad(loss(module)))(x) for module in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    layer = dwconv.from_torch(ours)
    assert type(layer) is dwconv.DepthwiseConv2D
    network = dwconv.Network.from_torch(nn.Sequential(ours, nn.ReLU()), x)
    np.testing.assert_allclose(network(x.numpy()), ours(x).relu().detach().numpy(), rtol=1e-4, atol=1e-5)
    program = torch.export.export(ours, (x,))
    torch.testing.assert_close(program.module()(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_modules_run_on_the_backend() -> None:
    torch._dynamo.reset()
    ours, theirs = pair(kernel_size=3, groups=8)
    x = image(1, 8, 6, 6)
    with torch.no_grad():
        y = torch.compile(ours, backend=dwconv.torch.dwconv_backend)(x)
    torch.testing.assert_close(y, theirs(x).detach(), rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
