"""Convolution, batch normalization and clamp as one operation: results and gradients are PyTorch's.

They are one where a sequence or the source of a `forward` says that nothing sees what is between them.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv.torch  # noqa: E402
from dwconv.torch import functions  # noqa: E402
from dwconv.torch.chains import Fusing  # noqa: E402
from dwconv.torch.functions import Geometry  # noqa: E402
from dwconv.torch.normalization import State, Unit  # noqa: E402


class Basic(nn.Module):
    """As ResNet's: assignments to one variable, a branch, a clamp behind a sum."""

    def __init__(self, inputs: int = 4, outputs: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.down = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.down is not None:
            identity = self.down(x)
        out += identity * scale
        return self.relu(out)


class Nested(Basic):
    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        if self.training:
            x = self.relu(self.bn1(self.conv1(x)))
        else:
            x = self.conv1(x)
            x = self.relu(self.bn1(x))
        return self.bn2(self.conv2(input=x)) * scale


class Seen(Basic):
    """What is between two parts is used."""

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        out = self.conv1(x)
        first = out
        out = self.bn1(out)
        normal = self.relu(out) + out
        return self.bn2(self.conv2(normal)) * scale + first


class Closed(Basic):
    """Sources that could mean something else elsewhere: a class of its own, a closure."""

    def forward(self, x: torch.Tensor, scale: float = 2.0) -> torch.Tensor:
        x = super().forward(x, scale)
        return sum((lambda y: self.relu(self.bn2(y)))(x) for _ in range(2))


RUNS: dict[type[Basic], list[tuple[bool, str | None]]] = {
    Basic: [(True, "relu"), (True, None)],
    Nested: [(True, "relu"), (False, None)],
    Seen: [(False, None), (True, None)],
    Closed: [(False, None)] * 4,
}


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 2 + 1).to(memory_format=torch.channels_last)


def close(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=3e-3)  # gradients of a convolution cancel


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, str | None]]:
    """Of what dwconv normalises from here on: whether with the convolution, and the clamp."""
    found: list[tuple[bool, str | None]] = []
    forward, apply, units = State.forward, Unit.apply, []

    def noted_unit(*arguments: Any) -> Any:
        units.append(True)
        return apply(*arguments)

    def noted(state: State, *arguments: Any) -> Any:
        found.append((bool(units), state.activation))
        units.clear()
        return forward(state, *arguments)

    monkeypatch.setattr(Unit, "apply", noted_unit)
    monkeypatch.setattr(State, "forward", noted)
    return found


def step(model: nn.Module, x: torch.Tensor) -> list[Any]:
    x = x.clone(memory_format=torch.channels_last).requires_grad_()
    y = model(x)
    y.square().sum().backward()
    return [y, x.grad, *(p.grad for p in model.parameters()), *model.state_dict().values()]


@pytest.mark.parametrize("kind", RUNS)
def test_a_forward_trains_as_before_with_fewer_operations(kind: type[Basic], calls: list[Any]) -> None:
    torch.manual_seed(0)
    theirs = kind(*((6, 6) if kind is Closed else ()))
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs))
    x = image(2, 6 if kind is Closed else 4, 5, 7)
    close(step(ours, x), step(theirs, x))
    assert calls == RUNS[kind]
    with torch.no_grad():
        close(ours.eval()(x, scale=3.0), theirs.eval()(x, scale=3.0))


def test_parts_called_by_others_are_what_they_were(calls: list[Any]) -> None:
    ours = dwconv.torch.accelerate(Basic())
    assert isinstance(ours, Basic)
    assert isinstance(ours, Fusing)
    assert ours.bn1(ours.conv1(image(2, 4, 5, 7))).min() < 0
    ours.bn1 = nn.Identity()  # parts may be exchanged later, too
    ours.relu = nn.Tanh()
    assert ours(image(2, 4, 5, 7)).min() < 0
    assert calls == [(False, None), (True, None)]


def test_hooks_see_what_is_between(calls: list[Any]) -> None:
    ours = dwconv.torch.accelerate(Basic())
    seen: list[torch.Tensor] = []
    handle = ours.conv1.register_forward_hook(lambda module, inputs, y: seen.append(y))
    ours(image(2, 4, 5, 7))
    assert calls == [(False, "relu"), (True, None)]
    handle.remove()
    ours.bn1.register_forward_hook(lambda module, inputs, y: seen.append(y.clone()))
    ours(image(2, 4, 5, 7))
    assert calls[2:] == [(False, None), (True, None)]
    assert seen[1].min() < 0


def test_copies_pickles_and_files(calls: list[Any]) -> None:
    ours = dwconv.torch.accelerate(Basic()).eval()
    x, saved = image(2, 4, 5, 7), io.BytesIO()
    expected = ours(x)
    torch.save(ours, saved)
    saved.seek(0)
    others = copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), torch.load(saved, weights_only=False)
    for other in others:
        assert type(other) is type(ours)
        assert torch.equal(other(x), expected)
    assert calls == [(True, "relu"), (True, None)] * 4
    assert type(dwconv.torch.accelerate(ours)) is type(ours)


def test_what_cannot_be_read_is_left(calls: list[Any]) -> None:
    names: dict[str, Any] = {"Basic": Basic}
    exec(
        "class Typed(Basic):\n    def forward(self, x):\n        return self.relu(self.bn1(self.conv1(x)))",
        names,
    )
    ours = dwconv.torch.accelerate(names["Typed"]())
    assert type(ours) is names["Typed"]
    assert ours(image(2, 4, 5, 7)).min() == 0
    assert calls == [(False, None)]


def twice(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, x: 2 * method(self, x)


class Decorated(Basic):
    @twice
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn1(self.conv1(x)))


class Private(Basic):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn1(self.__own(x)))

    def __own(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1(x)  # type: ignore[no-any-return]


class Made(Basic):
    def __reduce__(self) -> Any:
        return Made, ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn1(self.conv1(x)))


@pytest.mark.parametrize("kind", [Decorated, Private, Made])
def test_classes_that_are_left(kind: type[Basic], calls: list[Any]) -> None:
    torch.manual_seed(0)
    theirs = kind()
    ours = dwconv.torch.accelerate(copy.deepcopy(theirs) if kind is not Made else Made())
    assert type(ours) is kind
    assert ours(image(2, 4, 5, 7)).min() == 0
    assert calls == [(False, None)]


@pytest.mark.parametrize("activation", [None, "relu"])
def test_gradcheck_of_a_unit_in_float64(activation: Any) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    inputs = (
        random(2, 4, 3, 4).to(memory_format=torch.channels_last),
        random(4, 1, 3, 3),
        random(4),
        random(4),
    )
    tensors = [t.requires_grad_() for t in (*inputs, random(4))]
    geometry = Geometry((1, 1), ((1, 1), (0, 1)), (1, 1), 4)

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        return Unit.apply(*tensors, geometry, State(1e-2, activation, None, True))

    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("wanted", ["all", "no input", "no filter", "filter alone"])
def test_gradients_at_once_have_the_bits_of_one_after_the_other(
    wanted: str, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [
        nn.Conv2d(3, 24, 3, 2, 1, bias=False),
        nn.Conv2d(24, 24, 3, 1, 1, groups=24),
        nn.Conv2d(24, 72, 1),
        nn.Conv2d(72, 72, 5, 2, 2, groups=72, bias=False),
        nn.Conv2d(72, 16, 1, bias=False),
    ]
    for conv in layers:
        sequence = nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU6()).train(not fixed)
        ours = dwconv.torch.accelerate(sequence)
        ours.requires_grad_(wanted != "filter alone")
        ours[0].weight.requires_grad_(wanted != "no filter")
        found = []
        for at_once in (True, False):
            with monkeypatch.context() as patch:
                if not at_once:
                    patch.setattr(functions, "goes_with_norm", lambda *_: False)
                x = image(2, conv.in_channels, 15, 18).requires_grad_(wanted in ("all", "no filter"))
                ours.zero_grad()
                (ours(x) * image(2, *ours(x).shape[1:], seed=1)).sum().backward()
                found.append([x.grad, *(parameter.grad for parameter in ours.parameters())])
        for a, b in zip(*found, strict=True):
            assert (a is None) == (b is None)
            assert a is None or torch.equal(a, b)


def test_gradients_at_once_make_nothing_between(monkeypatch: pytest.MonkeyPatch) -> None:
    if functions.native_isa() is None:
        pytest.skip("without the core they are one after the other")

    def refuse(*_: Any) -> None:
        raise AssertionError("the gradient between is made whole")

    monkeypatch.setattr(State, "backward", refuse)
    for conv in (nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1)):
        ours = dwconv.torch.accelerate(nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()))
        ours(image(2, 8, 5, 6).requires_grad_()).sum().backward()
