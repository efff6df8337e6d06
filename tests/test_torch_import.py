"""PyTorch modules become graphs that compute what PyTorch does; all that cannot is named in one error."""

from __future__ import annotations

import doctest
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.graph import Graph

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

import models_torch  # noqa: E402
from dwconv.importers.torch import from_torch, read  # noqa: E402
from dwconv.interpreter import Interpreter  # noqa: E402
from torch_results import BOUND, random, worst  # noqa: E402

WEIGHTS = Path(__file__).parents[2] / "shared" / "models" / "mobilenet_v2-b0353104.pth"
SIZES = {"xception": 71}  # pixels; 64 otherwise


def interpreted(graph: Graph, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    outs = [np.empty(graph.values[name].shape, np.float32) for name in graph.outputs]
    given = [tensor.numpy() for tensor in pytree.tree_leaves(inputs)]
    Interpreter(graph).run(dict(zip(graph.inputs, given, strict=True)), outs)
    return outs


def check(module: nn.Module, *inputs: Any, bound: float = 1e-5) -> Graph:
    models_torch.seeded(module)
    with torch.no_grad():
        expected = module(*(tensor.clone() for tensor in inputs))
    graph = read(module, inputs)
    assert worst(interpreted(graph, inputs), expected) < bound
    return graph


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


# ---- whole networks ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", models_torch.MODELS)
def test_networks_of_the_literature_match_pytorch(name: str) -> None:
    module, x = models_torch.build(name), models_torch.example(name, SIZES.get(name, 64))
    network = dwconv.Network.from_torch(module, x)
    with torch.no_grad():
        expected = module(x)
    assert worst([network(x.numpy())], expected) < BOUND


@pytest.mark.skipif(not WEIGHTS.exists(), reason="the trained weights are not there")
def test_trained_mobilenet_v2_matches_pytorch() -> None:
    module = models_torch.MobileNetV2().eval()
    module.load_state_dict(torch.load(WEIGHTS))
    x = models_torch.example("mobilenet_v2", 96)
    with torch.no_grad():
        expected = module(x)
    assert worst([dwconv.Network.from_torch(module, x)(x.numpy())], expected) < BOUND


@pytest.mark.skipif(dwconv.config()["backend"] == "numpy", reason="minutes with NumPy")
@pytest.mark.skipif("DWCONV_FULL_SIZE" not in os.environ, reason="slow: set DWCONV_FULL_SIZE")
@pytest.mark.parametrize("name", models_torch.MODELS)
def test_networks_match_pytorch_at_full_size(name: str) -> None:
    module, x = models_torch.build(name), models_torch.example(name)
    with torch.no_grad():
        expected = module(x)
    assert worst([dwconv.Network.from_torch(module, x)(x.numpy())], expected) < BOUND


def test_another_batch_can_be_bound() -> None:
    module, x = models_torch.build("shufflenet_v2"), models_torch.example("shufflenet_v2", 64)
    network = dwconv.Network.from_torch(module, x).bind((3, 3, 64, 64))
    more = random(3, 3, 64, 64)
    with torch.no_grad():
        assert worst([network(more.numpy())], module(more)) < BOUND


# ---- single operations ------------------------------------------------------------------------

IMAGE = (2, 6, 8, 10)
LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Conv2d(6, 8, 3, padding="same", dilation=2), IMAGE),
    (nn.Conv2d(6, 8, (4, 2), padding="same"), IMAGE),
    (nn.Conv2d(6, 9, 3, (2, 1), (1, 2), groups=3), IMAGE),
    (nn.Conv2d(6, 6, 3, groups=6, padding=1, padding_mode="reflect"), IMAGE),
    (nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular"), IMAGE),
    (nn.Conv2d(6, 4, 3), (6, 8, 10)),
    (nn.Conv1d(6, 4, 3, padding=2, stride=2), (2, 6, 9)),
    (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1), IMAGE),
    (nn.ConvTranspose2d(6, 4, 3, 2, groups=2, dilation=2), IMAGE),
    (nn.ConvTranspose1d(6, 4, 3, 2), (2, 6, 9)),
    (nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 4, 3)), IMAGE),
    (nn.Linear(10, 3), IMAGE),
    (nn.Linear(10, 3, bias=False), (10,)),
    (nn.BatchNorm2d(6, affine=False), IMAGE),
    (nn.BatchNorm1d(6), (2, 6)),
    (nn.LayerNorm((8, 10)), IMAGE),
    (nn.GroupNorm(2, 6), IMAGE),
    (nn.InstanceNorm2d(6, affine=True), IMAGE),
    (nn.RMSNorm(10), IMAGE),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 6, 8, 11)),
    (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 6, 8, 11)),
    (nn.AvgPool2d(2, divisor_override=3), IMAGE),
    (nn.MaxPool2d(3, 1, 1, dilation=2), IMAGE),
    (nn.MaxPool2d(2), (6, 8, 8)),
    (nn.MaxPool1d(2), (2, 6, 9)),
    (nn.AdaptiveAvgPool2d((4, 5)), IMAGE),
    (nn.AdaptiveAvgPool2d((3, None)), IMAGE),
    (nn.AdaptiveMaxPool2d((4, 5)), IMAGE),
    (nn.Upsample(scale_factor=(1.5, 2.5), mode="nearest"), IMAGE),
    (nn.Upsample((11, 7), mode="nearest"), IMAGE),
    (nn.Upsample(scale_factor=0.7, mode="bilinear"), IMAGE),
    (nn.Upsample((13, 1), mode="bilinear", align_corners=True), IMAGE),
    (nn.Upsample(scale_factor=2, mode="nearest-exact"), IMAGE),
    (nn.PixelShuffle(2), (2, 8, 3, 4)),
    (nn.PixelUnshuffle(2), IMAGE),
    (nn.ChannelShuffle(3), IMAGE),
    (nn.ZeroPad2d((1, 2, -1, 3)), IMAGE),
    (nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE),
    (nn.Unflatten(1, (2, 3)), IMAGE),
    (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"), (2, 5, 8)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize(("module", "shape"), LAYERS, ids=lambda item: str(item)[:70].split("\n")[0])
def test_layers_match_pytorch(module: nn.Module, shape: tuple[int, ...]) -> None:
    check(module, random(*shape))


def test_activations_match_pytorch() -> None:
    """All of them side by side in one module."""
    activations = [
        nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-2, 1), nn.LeakyReLU(0.1), nn.PReLU(6), nn.ELU(0.5), nn.SELU(),
        nn.CELU(0.7), nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(), nn.Tanh(), nn.GELU(),
        nn.GELU("tanh"), nn.Softplus(2), nn.Mish(), nn.LogSigmoid(), nn.GLU(1), nn.Softsign(), nn.RReLU(),
        nn.Softmax(1),
        nn.LogSoftmax(-1), nn.Softmin(2), nn.Threshold(0, 0), nn.Dropout(), nn.Identity(),
    ]  # fmt: skip
    parts = nn.ModuleList(activations)
    check(Module(parts), 3 * random(*IMAGE))


class Module(nn.Module):
    def __init__(self, parts: nn.ModuleList) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Any) -> Any:
        return [part(x) + 0 for part in self.parts]


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda x, y: (
        3 - x * y, 1 / (x * x + 1) / (y * y + 1), torch.add(x, y, alpha=2), torch.rsub(x, y), x.abs() ** 1.7,
        x**2 + y**3, 2**x, x.abs().pow(y), torch.maximum(x, y), x.clamp(min=y), x.clamp(-1, 0.5), x // 0.3,
        torch.addcmul(x, x, y, value=0.3), torch.lerp(x, y, 0.3), (x * x + 1).rsqrt(), (x * x + 0.1).log(),
        x.sin() + x.cos(), torch.erf(x), x.floor() + x.ceil() + x.round(), x.sign(), -x,
    ),
    "reductions": lambda x, y: (
        x.mean(), x.mean((2, 3), keepdim=True), x.sum(1), x.amax((1, 2)), x.max(1).values, x.prod(1),
        x.var(1), x.std((2, 3), correction=0), functional.normalize(x), x.norm(p=1, dim=1), x.logsumexp(1),
    ),
    "sorted and cubic": lambda x, y: (
        x.topk(3, 1).values, x.topk(4, -1, largest=False)[0],
        functional.interpolate(x, (13, 7), mode="bicubic"),
        functional.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True),
    ),
    "shapes": lambda x, y: (
        x.reshape(2, 2, 3, 80).transpose(1, 2).reshape(2, 6, 8, 10), x.permute(0, 2, 3, 1).reshape(2, -1, 3),
        x.flatten(2).transpose(1, 2), x.movedim((0, 1), (2, 0)), x[:, :, :1].squeeze(2), x[0], x[:, None],
        x[:, 1:5:2, :, -3:], x[:, [0, 2, 1]], x[:, torch.tensor([5, -1])], x.flip((1, 3)),
        x.roll((1, -2), (2, 3)),
        x.repeat(2, 1, 1, 1, 1), x.chunk(4, 1), x.split([1, 2, 3], 1), x.unbind(1)[2], x.narrow(1, 1, 2),
        torch.stack([x, x * 2], 2), torch.cat([x, y.expand_as(x)], 1),
    ),
    "constants": lambda x, y: (
        x.masked_fill(torch.eye(8, 10).bool(), -5.0), torch.where(torch.eye(8, 10) > 0, x, x * 2),
        x * torch.arange(10), torch.tril(x), x + torch.zeros_like(x) + torch.ones(10),
    ),
    "choices": lambda x, y: (
        torch.where(x > y, x, y - 1), torch.where(x > 0, x.log(), -x.relu()),
        torch.where(~(x <= 0.5), x.exp(), y), x.masked_fill(y.ge(0), -2.0),
        torch.where((x < 0) & (y != 0) | torch.eye(8, 10).bool(), x, x.relu().log()),
        (x.bool() ^ (x >= y)).float() * x, x * (x.permute(0, 2, 3, 1) > 0.1).permute(0, 3, 1, 2),
    ),
    "products": lambda x, y: (
        torch.einsum("nchw,ck->nkhw", x, torch.ones(6, 3)), torch.einsum("nchw,nkhw->nck", x, x), x @ x.mT,
        torch.matmul(x, torch.ones(10)), torch.matmul(torch.ones(8), x),
        functional.scaled_dot_product_attention(x, x, x, is_causal=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_match_pytorch(name: str) -> None:
    check(Function(FUNCTIONS[name]), random(*IMAGE), random(6, 1, 10))


def test_operations_in_place_match_pytorch() -> None:
    def forward(x: Any) -> Any:
        y = x * 2
        y[:, 1:3].relu_()
        return y.add_(1), y[:, 0]

    check(Function(forward), random(*IMAGE))


# ---- inputs and outputs -----------------------------------------------------------------------


def test_outputs_are_called_as_forward_calls_them() -> None:
    graph = check(Function(lambda x: {"a": x + 1, "b": [x, x * 2]}), random(2, 3))
    assert graph.outputs == ["a", "b_0", "b_1"]
    assert check(Function(lambda x: (x + 1, x)), random(2, 3)).outputs == ["output_0", "output_1"]
    assert check(nn.ReLU(), random(2, 3)).outputs == ["output"]


def test_truth_values_are_no_output() -> None:
    with pytest.raises(dwconv.UnsupportedModel, match="output is bool"):
        read(Function(lambda x: x > 0), random(2, 3))


def test_inputs_may_be_named() -> None:
    class Two(nn.Module):
        def forward(self, left: Any, right: Any) -> Any:
            return left - 2 * right

    graph = read(Two(), {"right": np.ones((2, 3), np.float32), "left": random(2, 3)})
    assert sorted(graph.inputs) == ["left", "right"]


def test_a_module_in_training_is_read_in_evaluation_and_stays_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    module[1].eval()
    x = random(1, 3, 6, 6)
    graph = read(module, x)
    assert [part.training for part in module.modules()] == [True, True, False, True]
    with torch.no_grad():
        assert worst(interpreted(graph, (x,)), module.eval()(x)) < 1e-5


# ---- layers and blocks ------------------------------------------------------------------------

BLOCKS: list[tuple[str, nn.Module]] = [
    ("Conv2D", nn.Conv2d(8, 12, 3, 2, 1, groups=4)),
    ("DepthwiseConv2D", models_torch.ConvNorm(8, 8, 3, 2, 8, nn.ReLU6)),
    ("PointwiseConv2D", models_torch.ConvNorm(8, 6, 1, act=nn.Hardswish)),
    ("SeparableConv2D", nn.Sequential(models_torch.ConvNorm(8, 8, 3, 2, 8), models_torch.ConvNorm(8, 4, 1))),
    ("InvertedResidual", models_torch.InvertedResidual(8, 8, 1, 6)),
    ("InvertedResidual", models_torch.MobileBlock(
        8, 24, 8, 5, 1, nn.Hardswish, models_torch.SqueezeExcite(24, 8, nn.ReLU, nn.Hardsigmoid), 1e-3)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "module"), BLOCKS, ids=lambda item: item if isinstance(item, str) else "")
def test_a_layer_or_block_becomes_a_layer(kind: str, module: nn.Module) -> None:
    models_torch.seeded(module)
    layer = dwconv.from_torch(module)
    assert type(layer).__name__ == kind
    x = random(2, 8, 11, 9)
    with torch.no_grad():
        expected = module(x).permute(0, 2, 3, 1)
    assert worst([layer(x.permute(0, 2, 3, 1).numpy().copy())], expected) < 1e-5


def test_more_than_a_block_becomes_a_network() -> None:
    module = models_torch.seeded(models_torch.ConvNeXtBlock(8))
    with pytest.raises(ValueError, match="more than one layer or block: pass example_input"):
        dwconv.from_torch(module)
    assert isinstance(dwconv.from_torch(module, random(1, 8, 9, 9)), dwconv.Network)


def test_the_example_of_help_runs() -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(from_torch, "from_torch")
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


# ---- errors -----------------------------------------------------------------------------------


def test_all_unsupported_operations_are_listed_in_one_error() -> None:
    class Smaller(nn.Module):
        def forward(self, x: Any) -> Any:
            return functional.interpolate(x, (3, 3), mode="bilinear", antialias=True)

    class Bad(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), Smaller())
            self.rank = nn.Conv3d(2, 1, 1)

        def forward(self, x: Any) -> Any:
            y = self.stem(x).cumsum(1)
            return self.rank(y.unflatten(1, (2, 4))), y.argmax(1)

    with pytest.raises(dwconv.UnsupportedModel) as caught:
        read(Bad(), random(1, 3, 8, 8))
    first, second, third, fourth = caught.value.problems
    assert "stem.1 (Smaller): aten._upsample_bilinear2d_aa.vec([1, 8, 6, 6])" in first
    assert "the nearest that is supported: upsample_bilinear2d" in first
    assert "test_torch_import.py:" in first
    assert "aten.cumsum" in second
    assert "rank (Conv3d)" in third
    assert "3 spatial axes; 1 and 2 are supported" in third
    assert "aten.argmax" in fourth


@pytest.mark.parametrize(
    ("module", "given", "match"),
    [
        (
            nn.Conv2d(3, 4, 3).double(),
            random(1, 3, 8, 8).double(),
            r"weight is torch.float64.*module.float\(\)",
        ),
        (nn.ReLU(), torch.ones(2, dtype=torch.int64), "input is torch.int64; networks are float32"),
        (
            Function(lambda x: x if x.sum() > 0 else -x),
            random(2),
            "torch.export cannot follow Function.forward",
        ),
        (Function(lambda x: x.double()), random(2), "a result of float64; float32 is supported"),
        (Function(lambda x: x + torch.rand(2)), random(2), "random numbers"),
        (Function(lambda x: functional.conv2d(x, x)), random(1, 1, 3, 3), "filters computed at run time"),
        (Function(lambda x: (x, torch.ones(3))), random(2), "output_1 does not depend on the input"),
    ],
)
def test_what_cannot_be_read_is_told(module: nn.Module, given: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read(module, given)


def test_only_modules_are_read() -> None:
    with pytest.raises(TypeError, match=r"module must be an ExportedProgram or an nn\.Module"):
        read(torch.relu, random(2))


def test_a_module_that_writes_to_its_buffers_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count.add_(1)
            return x + self.count

    with pytest.raises(dwconv.UnsupportedModel, match="forward writes to count; a network has no state"):
        read(Counter(), random(2))
