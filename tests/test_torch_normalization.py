"""`dwconv.torch.BatchNorm2d`, and the clamp that `accelerate` joins to it, are PyTorch's in every way."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv.torch  # noqa: E402
from dwconv.torch import normalization  # noqa: E402
from dwconv.torch.chains import Fusing  # noqa: E402
from dwconv.torch.normalization import Normalization, State  # noqa: E402

LAST = torch.channels_last
OPTIONS: list[dict[str, Any]] = [
    {},
    {"momentum": None},
    {"momentum": 0.3, "eps": 1e-2},
    {"affine": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
]


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 2 + 1).to(memory_format=LAST)


def close(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=3e-3)  # gradients of a convolution cancel


def sequence(clamp: nn.Module | None, **options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(10, **options)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return nn.Sequential(nn.Conv2d(4, 10, 1), norm, *([] if clamp is None else [clamp]))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The clamps that dwconv normalises with from here on."""
    found: list[str | None] = []
    forward = State.forward

    def noted(state: State, *arguments: Any) -> Any:
        found.append(state.activation)
        return forward(state, *arguments)

    monkeypatch.setattr(State, "forward", noted)
    return found


@pytest.mark.parametrize("clamp", [None, nn.ReLU(), nn.ReLU6(inplace=True)], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_of_training_and_predictions_are_pytorchs(options: Any, clamp: Any, calls: list[Any]) -> None:
    theirs = sequence(clamp, **options)
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    for step in range(3):
        results = []
        for model in (theirs, ours):
            model.train(step != 2)
            x = image(2, 4, 5, 6, seed=step).requires_grad_()
            y = model(x)
            y.square().sum().backward()
            results.append([y, x.grad, *(p.grad for p in model.parameters()), *model.state_dict().values()])
        assert results[1][0].is_contiguous(memory_format=LAST)
        close(results[1], results[0])
    with torch.no_grad():
        close(ours.eval()(image(1, 4, 5, 6)), theirs.eval()(image(1, 4, 5, 6)))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    word = {nn.ReLU: "relu", nn.ReLU6: "relu6"}.get(type(clamp))
    assert calls == [word] * 4


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("activation", [None, "relu6"])
def test_gradcheck_in_float64(activation: Any, fixed: bool) -> None:
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight, bias = torch.tensor([0.5, -2, 1.5]).double(), torch.tensor([0.2, 1, -0.1]).double()
    inputs = tuple(t.requires_grad_() for t in (x.to(memory_format=LAST), weight, bias))
    moments = (weight.detach().numpy() * 0.1, bias.detach().numpy() ** 2 + 1) if fixed else None

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        return Normalization.apply(*tensors, State(1e-3, activation, moments, True))

    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_only_what_is_wanted_is_computed() -> None:
    norm = dwconv.torch.BatchNorm2d(4)
    norm.weight.requires_grad_(False)
    norm(image(2, 4, 3, 3)).sum().backward()
    assert norm.weight.grad is None
    close(norm.bias.grad, torch.full((4,), 18.0))


def test_hooks_of_the_norm_or_the_clamp_see_what_they_did(calls: list[Any]) -> None:
    ours = dwconv.torch.accelerate(sequence(nn.ReLU()))
    seen: list[torch.Tensor] = []
    x = image(2, 4, 5, 6)
    ours(x)
    handle = ours[1].register_forward_hook(lambda module, args, y: seen.append(y))
    y = ours(x)
    close(seen[0].relu(), y)
    assert seen[0].min() < 0
    handle.remove()
    ours[2].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    ours(x)
    assert seen[1].min() < 0
    assert calls == ["relu", None, None]


def test_parts_of_a_sequence_are_what_they_were(calls: list[Any]) -> None:
    ours = dwconv.torch.accelerate(sequence(nn.ReLU()))
    assert ours[:2](image(2, 4, 5, 6)).min() < 0
    assert ours[1](image(2, 10, 5, 6)).min() < 0
    ours.append(nn.Identity())
    ours[2] = nn.Tanh()
    y = ours(image(2, 4, 5, 6))
    assert y.min() < 0
    assert y.max() <= 1
    assert calls == [None] * 3


class Named(nn.Sequential):
    """As those of torchvision: a subclass of its own constructor."""

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(4, channels, 1), nn.BatchNorm2d(channels), nn.ReLU6())
        self.out_channels = channels


class Twice(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self[1](x)


def test_subclasses_of_sequences_are_copied_pickled_and_saved(calls: list[Any]) -> None:
    ours = dwconv.torch.accelerate(Named(6)).eval()
    assert isinstance(ours, Named)
    assert isinstance(ours, Fusing)
    x = image(1, 4, 3, 3)
    expected = ours(x)
    saved = io.BytesIO()
    torch.save(ours, saved)
    saved.seek(0)
    for other in (
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(saved, weights_only=False),
    ):
        assert type(other) is type(ours)
        assert other.out_channels == 6
        assert torch.equal(other(x), expected)
    assert calls == ["relu6"] * 4
    assert type(dwconv.torch.accelerate(ours)) is type(ours)  # again: nothing is left to do


def test_a_sequence_with_a_forward_of_its_own_is_left(calls: list[Any]) -> None:
    theirs = Twice(nn.Identity(), nn.BatchNorm2d(4), nn.ReLU())
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    assert type(ours) is Twice
    x = image(2, 4, 3, 3)
    close(ours(x), theirs(x))
    assert calls == [None, None]


@pytest.mark.filterwarnings("ignore::dwconv.PerformanceWarning")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_right(dtype: Any) -> None:
    theirs = sequence(nn.ReLU()).to(dtype)
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    x = image(2, 4, 5, 6).to(dtype)
    torch.testing.assert_close(ours(x), theirs(x))


def test_errors_are_pytorchs() -> None:
    norm = dwconv.torch.BatchNorm2d(4)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(image(1, 4, 1, 1))
    with pytest.raises(ValueError, match="expected 4D input"):
        norm(torch.ones(4, 3))
    with pytest.raises(RuntimeError, match="running_mean should contain"):
        norm(image(1, 5, 3, 3))


def test_contiguous_images_are_pytorchs_unless_the_model_moved(calls: list[Any]) -> None:
    x = image(2, 4, 5, 6).contiguous()
    norm = dwconv.torch.BatchNorm2d(4)
    assert norm(x).is_contiguous()
    assert not calls
    ours = dwconv.torch.accelerate(norm)
    assert ours(x).is_contiguous(memory_format=LAST)
    assert calls == [None]


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(normalization.torch, "get_num_threads", lambda threads=threads: threads)
        x = image(3, 40, 33, 31).requires_grad_()
        norm = dwconv.torch.BatchNorm2d(40)
        norm(x).square().sum().backward()
        found.append([x.grad, norm.weight.grad, norm.running_var.clone()])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, found[0], strict=True))
