"""`dwconv.torch.accelerate`: the same model, whatever it is made of and whoever calls it."""

from __future__ import annotations

import copy
import threading
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv  # noqa: E402
import dwconv.torch  # noqa: E402
import models_torch  # noqa: E402
from torch_modules import LAST, image, runs, tutorial  # noqa: E402


def net() -> nn.Module:
    """What follows the second convolution writes into its result."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), tutorial(),
        nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip


def test_accelerate_keeps_everything_but_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, x = net(), image(4, 3, 16, 16)
    plain(x)
    model = copy.deepcopy(plain)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    identities = [id(p) for p in model.parameters()], [id(m) for m in model.modules()]
    hooked: list[Any] = []
    model[0].register_forward_hook(lambda *arguments: hooked.append(1))
    assert dwconv.torch.accelerate(model) is model
    assert ([id(p) for p in model.parameters()], [id(m) for m in model.modules()]) == identities
    assert list(model.state_dict()) == list(plain.state_dict())
    assert type(model[0]) is type(model[3].depthwise) is dwconv.torch.Conv2d
    assert model[0](x).is_contiguous(memory_format=LAST)
    hooked.clear()
    found = runs(monkeypatch)
    other = torch.optim.SGD(plain.parameters(), 0.1)
    for _ in range(2):
        for module, steps in ((plain, other), (model, optimizer)):
            steps.zero_grad()
            nn.functional.cross_entropy(module(x), torch.tensor([0, 1, 2, 1])).backward()
            steps.step()
    assert found.count("convolve") == found.count("backward") == 6
    assert hooked
    for mine, reference in zip(model.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_accelerate_lists_what_stays_pytorchs() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(4, 4, 2),
        nn.Conv2d(4, 4, 1).half(),
    )
    with pytest.warns(dwconv.PerformanceWarning, match=r"still computes 3 module\(s\)") as caught:
        dwconv.torch.accelerate(model)
    message = str(caught[0].message)
    assert "1 (Conv2d): padding_mode is 'circular'" in message
    assert "2 (ConvTranspose2d): only nn.Conv2d is exchanged" in message
    assert "3 (Conv2d): the weights are torch.float16" in message
    assert [type(m) is dwconv.torch.Conv2d for m in model] == [True, False, False, False]
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        dwconv.torch.accelerate([model])  # type: ignore[type-var]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_whole_networks_are_accelerated(name: str) -> None:
    theirs = models_torch.build(name)
    x = image(2, 3, 64, 64)
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    with torch.no_grad():
        expected, y = theirs(x), ours(x)
    scale = expected.abs().max()
    torch.testing.assert_close(y / scale, expected / scale, rtol=0, atol=1e-5)


# ---- whole models -----------------------------------------------------------------------------

NAMES = ("mobilenet_v2", "shufflenet_v2")


def steps(model: nn.Module, x: torch.Tensor, count: int = 2) -> list[torch.Tensor]:
    """The outputs of some steps of training, and what the model has become."""
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    found = []
    for _ in range(count):
        torch.manual_seed(0)  # of dropout
        y = model(x)
        y = y if isinstance(y, torch.Tensor) else y[0]
        optimizer.zero_grad()
        y.float().square().mean().backward()
        optimizer.step()
        found.append(y.detach())
    return [*found, *(t.detach() for t in model.state_dict().values())]


def same(ours: list[torch.Tensor], theirs: list[torch.Tensor], most: float = 2e-3) -> None:
    """Up to `most` of the largest value of each."""
    for a, b in zip(ours, theirs, strict=True):
        scale = max(float(b.abs().max()), 1e-3)
        torch.testing.assert_close(a / scale, b / scale, rtol=0, atol=most)


@pytest.mark.parametrize("name", NAMES)
def test_whole_networks_train_alike(name: str) -> None:
    theirs = models_torch.build(name).train()
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    x = image(4, 3, 64, 64)  # smaller: moments of a few pixels, which are ill-conditioned
    same(steps(ours, x, 1), steps(theirs, x, 1), 5e-3)
    network = dwconv.Network.from_torch(ours.eval(), x[:1])
    expected = ours(x[:1]).detach()
    same([torch.from_numpy(network(x[:1].numpy()))], [expected], 1e-4)


class Odd(nn.Module):
    """A module that is used twice, a clamp that two normalizations share, a branch without gradients."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        clamp = nn.ReLU(inplace=True)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), clamp)
        shared = nn.BatchNorm2d(8)
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), shared, clamp, shared, clamp)
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.first(x))
        with torch.no_grad():
            offset = self.second(y)
        return self.last(self.second(y) + offset)


def test_shared_modules_and_clamps_in_place() -> None:
    theirs = Odd()
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    assert ours.second[1] is ours.second[3]
    x = image(2, 3, 8, 8)
    same(steps(ours, x), steps(theirs, x))


def weight_normed() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old one is deprecated
        return nn.utils.weight_norm(nn.Conv2d(8, 8, 1))


@pytest.mark.parametrize("kind", ["weight_norm", "parametrization", "spectral"])
def test_weights_that_are_made_of_others(kind: str) -> None:
    torch.manual_seed(0)
    make: dict[str, Any] = {
        "weight_norm": weight_normed,
        "parametrization": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
        "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(8, 8, 1)),
    }
    theirs, ours = (
        nn.Sequential(nn.Conv2d(3, 8, 3), make[kind](), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(2)
    )
    ours.load_state_dict(theirs.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if kind != "weight_norm" else "error")
        dwconv.torch.accelerate(ours)
    x = image(2, 3, 8, 8)
    same(steps(ours, x), steps(theirs, x))
    with torch.no_grad():
        same([ours.eval()(x)], [theirs.eval()(x)])


@pytest.mark.filterwarnings("ignore::dwconv.PerformanceWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_train_alike(dtype: Any) -> None:
    theirs = Odd().to(dtype)
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    x = image(2, 3, 8, 8).to(dtype)
    same(steps(ours, x), steps(theirs, x), 1e-6 if dtype == torch.float64 else 0.05)


@pytest.mark.filterwarnings("ignore::dwconv.PerformanceWarning")
def test_training_under_autocast() -> None:
    theirs = Odd()
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    x = image(2, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = steps(ours, x), steps(theirs, x)
    assert found[0].dtype == expected[0].dtype == torch.bfloat16
    same(found, expected, 0.05)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_training_is_pytorchs() -> None:
    """dynamo alone: it would take a compiler of C++ a minute."""
    torch._dynamo.reset()
    theirs = Odd()
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    x = image(2, 3, 8, 8)
    same(steps(torch.compile(ours, backend="aot_eager"), x), steps(theirs, x))
    torch._dynamo.reset()


def test_threads_call_one_model_at_once() -> None:
    model = dwconv.torch.accelerate(Odd()).eval()
    x = [image(2, 3, 8, 8, seed=seed) for seed in range(4)]
    expected = [model(one).detach() for one in x]
    found: list[Any] = [None] * len(x)

    def work(number: int) -> None:
        for _ in range(20):
            y = model(x[number])
            y.sum().backward(inputs=[x[number]])
            found[number] = y.detach()

    for one in x:
        one.requires_grad_()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(x))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    np.testing.assert_array_equal(np.isfinite(x[0].grad.numpy()), True)


def test_checkpoints_compute_a_part_again() -> None:
    theirs = Odd()
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    results = []
    for model in (ours, theirs):
        x = image(2, 3, 8, 8).requires_grad_()
        y = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False)
        y.square().sum().backward()
        results.append([y.detach(), x.grad])
    same(results[0], results[1])


def test_accelerating_twice_changes_nothing() -> None:
    ours = dwconv.torch.accelerate(Odd())
    types = [type(module) for module in ours.modules()]
    assert [type(module) for module in dwconv.torch.accelerate(ours).modules()] == types
