"""Graphs as PyTorch's PT2E quantisation exports them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv

torch = pytest.importorskip("torch")
pytest.importorskip("torch.ao.quantization.fx._decomposed")  # registers the operations


class Quantised(torch.nn.Module):  # type: ignore[misc]
    """conv, relu6, depthwise, mean, dense: each between conversions, weights in int8."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        low = torch.iinfo(dtype).min
        self.kind = (low, low + 255, dtype)
        for name, shape in (("a", (8, 3, 3, 3)), ("b", (8, 1, 3, 3)), ("c", (5, 8))):
            weights = torch.randint(-127, 128, shape, dtype=torch.int8, generator=rng)
            self.register_buffer(name, weights)
            self.register_buffer(f"{name}_scale", torch.rand(shape[0], generator=rng) * 0.01 + 0.002)
            self.register_buffer(f"{name}_zero", torch.zeros(shape[0], dtype=torch.int64))
            self.register_buffer(f"{name}_bias", torch.randn(shape[0], generator=rng))

    def q(self, x: Any, scale: float, zero: int) -> Any:
        ops, (low, high, dtype) = torch.ops.quantized_decomposed, self.kind
        q = ops.quantize_per_tensor.default(x, scale, zero + low + 128, low, high, dtype)
        return ops.dequantize_per_tensor.default(q, scale, zero + low + 128, low, high, dtype)

    def w(self, name: str) -> Any:
        given = (getattr(self, f"{name}{end}") for end in ("", "_scale", "_zero"))
        dequantize = torch.ops.quantized_decomposed.dequantize_per_channel.default
        return dequantize(*given, 0, -127, 127, torch.int8)

    def forward(self, x: Any) -> Any:
        f = torch.nn.functional
        y = f.conv2d(self.q(x, 0.03, 5), self.w("a"), self.a_bias, stride=2, padding=1)
        y = self.q(f.hardtanh(y, 0.0, 6.0), 6 / 255, -128)
        y = self.q(f.relu(f.conv2d(y, self.w("b"), self.b_bias, padding=1, groups=8)), 0.02, -128)
        y = self.q(y.mean((2, 3)), 0.01, -128)
        return self.q(f.linear(y, self.w("c"), self.c_bias), 0.05, 3)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_convolutions_between_conversions_are_integers(dtype: Any) -> None:
    module = Quantised(dtype).eval()
    x = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(1))
    net = dwconv.Network.from_torch(module, x)
    source: Any = net._source
    nodes = source.graph.nodes
    convolutions = [node for node in nodes if node.op == "conv"]
    assert len(convolutions) == 3
    assert all(node["quantization"] is not None for node in convolutions)
    different = 0
    for seed in range(8):
        x = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = module(x).numpy()
        steps = np.rint((net(x.numpy()) - expected) / 0.05)
        assert np.abs(steps).max() <= 1
        different += int((steps != 0).sum())
    assert different <= 3  # of 40: floats and integers round sums near a tie apart


class Dynamic(torch.nn.Module):  # type: ignore[misc]
    """A dense layer of what is quantised with a scale of its own in every call."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.register_buffer("w", torch.randint(-127, 128, (5, 8), dtype=torch.int8, generator=rng))

    def forward(self, x: Any) -> Any:
        ops, kind = torch.ops.quantized_decomposed, (-128, 127, torch.int8)
        q = ops.choose_qparams.tensor(x, -128, 127, 1e-6, torch.int8)
        x = ops.dequantize_per_tensor.tensor(ops.quantize_per_tensor.tensor(x, *q, *kind), *q, *kind)
        return torch.nn.functional.linear(x, ops.dequantize_per_tensor.default(self.w, 0.01, 0, *kind))


@pytest.mark.parametrize(("factor", "offset"), [(1.0, 0.0), (30.0, 40.0), (0.0, 0.0), (1.0, -9.0)])
def test_scales_may_be_chosen_when_it_runs(factor: float, offset: float) -> None:
    module, x = Dynamic(), torch.randn(4, 8, generator=torch.Generator().manual_seed(1)) * factor + offset
    got = dwconv.Network.from_torch(module, torch.zeros(4, 8))(x.numpy())
    expected = module(x).numpy()
    assert np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max()


def test_integers_of_16_bits_are_refused() -> None:
    class Wide(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            ops = torch.ops.quantized_decomposed
            q = ops.quantize_per_tensor.default(x, 0.1, 0, -32768, 32767, torch.int16)
            return ops.dequantize_per_tensor.default(q, 0.1, 0, -32768, 32767, torch.int16)

    with pytest.raises(dwconv.UnsupportedModel, match="int16; int8 and uint8 are supported"):
        dwconv.Network.from_torch(Wide(), torch.zeros(1, 4))


def quantised(module: Any, x: Any) -> Any:
    """As torchao's quantiser for PyTorch's CPU kernels leaves it: a module that was exported."""
    flow = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
    cpu = pytest.importorskip("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    quantizer = cpu.X86InductorQuantizer()
    quantizer.set_global(cpu.get_default_x86_inductor_quantization_config())
    prepared = flow.prepare_pt2e(torch.export.export(module, (x,)).module(), quantizer)
    for seed in range(2):
        prepared(torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)))
    return flow.convert_pt2e(prepared)


@pytest.mark.filterwarnings("ignore")  # torchao's own
def test_what_torchao_s_quantiser_gives_is_read() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()]
    layers += [torch.nn.Conv2d(8, 8, 3, 1, 1, groups=8), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1)]
    x = torch.randn(1, 3, 16, 16)
    module = quantised(torch.nn.Sequential(*layers).eval(), x)
    with torch.no_grad():
        expected = module(x).numpy()
    for given in (module, torch.export.export(module, (x,))):
        net = dwconv.Network.from_torch(given, x)
        source: Any = net._source
        kinds = [source.graph.values[n.output].dtype for n in source.graph.nodes if n.op == "conv"]
        assert kinds.count(np.uint8) == 2  # what the last one gives is not quantised
        assert np.abs(net(x.numpy()) - expected).max() <= 0.02 * np.abs(expected).max()
