"""PyTorch in float64 agrees, on every instruction set and the fallback."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import ACTIVATIONS, Case, activate, backends, numpy_conv, torch_conv, using
from shapes import cases

torch = pytest.importorskip("torch")
F = torch.nn.functional


@pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.operation}-{c.seed}")
def test_two_oracles_agree(case: Case) -> None:
    value, _ = case.expected(numpy_conv)
    other, _ = case.expected(torch_conv)
    np.testing.assert_allclose(value, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("case", cases(), ids=lambda c: f"{c.operation}-{c.seed}")
def test_operations_match_torch(case: Case, backend: str) -> None:
    with using(backend):
        case.check(case.call(), torch_conv)
        case.check(case.layer()(case.x), torch_conv)


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("stride", [1, 2])
def test_torch_modules_convert_to_separable(backend: str, stride: int) -> None:
    torch.manual_seed(stride)
    channels, outputs = 6, 10
    depthwise = torch.nn.Conv2d(channels, channels, 3, stride, 1, groups=channels).double()
    pointwise = torch.nn.Conv2d(channels, outputs, 1).double()
    case = Case("separable", (2, 9, 11, channels), (3, 3), out_channels=outputs, strides=(stride, stride),
                padding=((1, 1), (1, 1)))  # fmt: skip
    case = case.with_arrays(
        depthwise_filter=depthwise.weight.detach().float().numpy().transpose(2, 3, 0, 1).copy(),
        depthwise_bias=depthwise.bias.detach().float().numpy(),
        pointwise_filter=pointwise.weight.detach().float().numpy().transpose(2, 3, 1, 0).copy(),
        bias=pointwise.bias.detach().float().numpy(),
    )
    with torch.no_grad(), using(backend):
        expected = pointwise.float().double()(
            depthwise.float().double()(torch.from_numpy(case.x.transpose(0, 3, 1, 2).astype(np.float64)))
        )
        y = case.call()
    _, bound = case.expected()
    assert np.all(np.abs(y - expected.numpy().transpose(0, 2, 3, 1)) <= bound)


def test_activation_formulas_match_torch() -> None:
    x = np.concatenate([np.linspace(-20, 20, 4001), [0.0, -0.0, 1e-30, -1e-30, 1e30]])
    t = torch.from_numpy(x)
    torch_activations = {
        None: t,
        "relu": F.relu(t),
        "relu6": F.relu6(t),
        "leaky_relu": F.leaky_relu(t, 0.2),
        "hard_sigmoid": F.hardsigmoid(t),
        "hard_swish": F.hardswish(t),
        "sigmoid": F.sigmoid(t),
        "silu": F.silu(t),
        "tanh": torch.tanh(t),
        "gelu": F.gelu(t),
        "gelu_tanh": F.gelu(t, approximate="tanh"),
    }
    for activation in ACTIVATIONS:
        if activation in torch_activations:
            np.testing.assert_allclose(
                activate(x, activation), torch_activations[activation].numpy(), rtol=1e-9, atol=1e-14
            )
