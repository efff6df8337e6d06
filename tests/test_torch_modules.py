"""Modules of `dwconv.torch` train and predict as PyTorch's do, and are PyTorch modules in every other way."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import dwconv  # noqa: E402
import dwconv.torch  # noqa: E402
from dwconv.torch import functions  # noqa: E402
from torch_modules import LAST, block, image, pair, runs, tutorial  # noqa: E402

CASES: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1, "groups": 8},
    {"kernel_size": 5, "padding": 2, "groups": 8, "stride": 2, "bias": False},
    {"kernel_size": (2, 3), "padding": (1, 0), "groups": 8, "stride": (2, 1), "dilation": (1, 2)},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": (2, 4), "padding": "same", "bias": False},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2, "bias": False},
    {"kernel_size": 1, "padding": 1},
    {"kernel_size": 3, "groups": 4, "stride": 2},
    {"kernel_size": 3, "groups": 2, "padding": "valid"},
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_results_gradients_and_layouts_are_those_of_pytorch(options: dict[str, Any], layout: Any) -> None:
    ours, theirs = pair(**options)
    x = image(2, 8, 9, 10, layout=layout)
    mine, other = (x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
    y, expected = ours(mine), theirs(other)
    assert y.stride() == expected.stride()
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    dy = image(*y.shape, layout=layout, seed=2)
    y.backward(dy)
    expected.backward(dy)
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
    for parameter, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-4, atol=1e-4)
        assert parameter.grad.stride() == parameter.stride()
    with torch.no_grad():
        for training in (True, False):
            y = ours.train(training)(x)
            assert y.stride() == expected.stride()
            torch.testing.assert_close(y, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inputs", [1, 3, 17])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 5)])
def test_few_channels_and_pixels_whose_layout_is_ambiguous(inputs: int, size: tuple[int, int]) -> None:
    for layout in (torch.contiguous_format, LAST):
        for weights in (torch.contiguous_format, LAST):
            for options in ({"kernel_size": 3, "padding": 1}, {"kernel_size": 1}):
                ours, theirs = pair(inputs, 4, **options)
                ours, theirs = ours.to(memory_format=weights), theirs.to(memory_format=weights)
                x = image(2, inputs, *size, layout=layout)
                y, expected = ours(x), theirs(x)
                torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
                assert y.stride() == expected.stride(), (inputs, size, layout, weights, options)


def test_channels_last_is_read_and_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    run = functions.engine.run

    def noted(operation: Any, plan: Any, x: np.ndarray, out: np.ndarray, threads: int) -> Any:
        seen.append((x.ctypes.data, out.ctypes.data))
        return run(operation, plan, x, out, threads)

    monkeypatch.setattr(functions.engine, "run", noted)
    ours = dwconv.torch.Conv2d(8, 8, 3, padding=1, groups=8)
    x = image(2, 8, 6, 6, layout=LAST)
    y = ours(x)
    assert seen == [(x.data_ptr(), y.data_ptr())]
    crop = x[:, :, 1:-1, 2:]
    torch.testing.assert_close(ours(crop), ours(crop.contiguous()).to(memory_format=LAST))
    assert seen[1][0] == crop.data_ptr()

    array = functions.nhwc(x)
    assert array.ctypes.data == x.data_ptr()
    assert array.shape == (2, 6, 6, 8)


def test_gradients_are_read_and_written_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    backprop = functions.gradient_engine.both_gradients

    def noted(conv: Any, filters: Any, x: np.ndarray, dy: np.ndarray, out: np.ndarray, *rest: Any) -> Any:
        seen.extend((x.ctypes.data, dy.ctypes.data, out.ctypes.data))
        return backprop(conv, filters, x, dy, out, *rest)

    monkeypatch.setattr(functions.gradient_engine, "both_gradients", noted)
    ours = dwconv.torch.Conv2d(8, 8, 3, padding=1, groups=8)
    x = image(2, 8, 6, 6, layout=LAST).requires_grad_()
    dy = image(2, 8, 6, 6, layout=LAST, seed=2)
    (dx,) = torch.autograd.grad(ours(x), x, dy)
    assert seen == [x.data_ptr(), dy.data_ptr(), dx.data_ptr()]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_gradcheck_in_float64(options: dict[str, Any]) -> None:
    ours, _ = pair(**options)
    ours = ours.double()
    x = image(2, 8, 5, 6, dtype=torch.float64, layout=LAST).requires_grad_()
    parameters = [p.detach().requires_grad_() for p in ours.parameters()]

    def call(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        names = dict(zip(("weight", "bias"), parameters, strict=False))
        return torch.func.functional_call(ours, names, x)

    assert torch.autograd.gradcheck(call, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(call, (x, *parameters), fast_mode=True)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_depthwise_separable_conv_is_the_module_of_tutorials(layout: Any) -> None:
    theirs, ours = tutorial(), dwconv.torch.DepthwiseSeparableConv(8, 16, stride=2)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = image(2, 8, 9, 10, layout=layout)
    y, expected = ours(x), theirs(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    y.square().mean().backward()
    expected.square().mean().backward()
    for parameter, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        z = ours.eval()(x)
    torch.testing.assert_close(z, expected.detach(), rtol=1e-4, atol=1e-5)
    assert z.stride() == expected.stride()


def test_predictions_of_a_separable_block_are_one_operation_unless_hooks_want_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = runs(monkeypatch)
    block = dwconv.torch.DepthwiseSeparableConv(8, 16).eval()
    x = image(1, 8, 6, 6, layout=LAST)
    with torch.no_grad():
        one = block(x)
        assert found == ["predict"]
        between: list[Any] = []
        block.depthwise.register_forward_hook(lambda module, given, result: between.append(result))
        two = block(x)
    assert found == ["predict"] * 3
    assert between[0].shape == (1, 8, 6, 6)
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parameters", [(), (3, 2), (5, 1, 2), (3, 1, 1, 1, False)])
def test_arguments_of_the_separable_block_in_their_order(parameters: tuple[Any, ...]) -> None:
    block = dwconv.torch.DepthwiseSeparableConv(4, 6, *parameters)
    kernel, stride, padding = (*parameters, *(3, 1, 1)[len(parameters) :])[:3]
    assert block.depthwise.kernel_size == (kernel, kernel)
    assert block.depthwise.stride == (stride, stride)
    assert block.depthwise.padding == (padding, padding)
    assert (block.depthwise.bias is None) == (len(parameters) > 3)
    assert block(image(1, 4, 9, 9)).shape[:2] == (1, 6)


# ---- changing weights -------------------------------------------------------------------------


def test_predictions_follow_every_change_of_weights() -> None:
    x = image(1, 8, 6, 6)
    changes: list[Callable[[nn.Module], Any]] = [
        lambda module: [p.add_(1) for p in module.parameters()],
        lambda module: module.load_state_dict({k: v * 2 for k, v in module.state_dict().items()}),
        lambda module: [setattr(p, "data", p.data + 1) for p in module.parameters()],
        lambda module: (module.train(), [p.data.mul_(2) for p in module.parameters()], module.eval()),
    ]
    for module in (dwconv.torch.Conv2d(8, 8, 3, groups=8), dwconv.torch.DepthwiseSeparableConv(8, 4)):
        module.eval()
        with torch.no_grad():
            for change in changes:
                before = module(x)
                change(module)
                after = module(x)
                assert not torch.allclose(before, after)
                torch.testing.assert_close(after, module.train()(x), rtol=1e-5, atol=1e-5)
                module.eval()


def test_weights_are_packed_once_for_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    count = [0]
    packed = functions.packed

    def noted(*arguments: Any) -> Any:
        count[0] += 1
        return packed(*arguments)

    monkeypatch.setattr(functions, "packed", noted)
    module = dwconv.torch.Conv2d(8, 8, 3, groups=8).eval()
    with torch.no_grad():
        for _ in range(3):
            module(image(1, 8, 6, 6))
    assert count == [1]


# ---- being a module ---------------------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True])
def test_modules_are_copied_pickled_and_saved(used: bool) -> None:
    model, x = block().eval(), image(1, 3, 8, 8)
    with torch.no_grad():
        expected = model(x) if used else copy.deepcopy(model)(x)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        copies = (
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(file, weights_only=False),
        )
        for other in copies:
            assert torch.equal(other(x), expected)
            other[0].depthwise.weight.add_(1)
            assert not torch.equal(other(x), expected)
    assert torch.equal(model(x), expected)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = block().eval()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(x), expected)


class Images(torch.utils.data.Dataset):
    """Features that a module computes in the workers."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        with torch.no_grad():
            return self.module(image(1, 8, 12, 12, seed=index))[0]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_data_loader_workers_run_modules() -> None:
    module = dwconv.torch.DepthwiseSeparableConv(8, 16).eval()
    with torch.no_grad():
        expected = torch.cat([module(image(1, 8, 12, 12, seed=index)) for index in range(6)])
    found = torch.cat(list(torch.utils.data.DataLoader(Images(module), batch_size=2, num_workers=2)))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_unbatched_images_and_empty_batches() -> None:
    for module in (dwconv.torch.Conv2d(8, 4, 3), dwconv.torch.DepthwiseSeparableConv(8, 4)):
        x = image(2, 8, 6, 6)
        torch.testing.assert_close(module(x[0]), module(x)[0], rtol=1e-5, atol=1e-6)
        assert module(x[:0]).shape == (0, 4, *module(x).shape[2:])
        module(x[:0]).sum().backward()
        assert not any(p.grad.any() for p in module.parameters())


def test_hooks_buffers_and_ordinary_layers_work_between() -> None:
    model, reference = block(), block()
    dwconv.torch.accelerate(model)
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (model, reference)]
    x = image(4, 3, 8, 8)
    for _ in range(3):
        for module, optimizer in zip((model, reference), optimizers, strict=True):
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()
    for mine, other in zip(model.state_dict().values(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_gradients_that_nobody_asks_for_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(name: str, function: Callable[..., Any]) -> None:
        def noted(*arguments: Any, **more: Any) -> Any:
            asked.append(name)
            return function(*arguments, **more)

        monkeypatch.setattr(functions.gradient_engine, name, noted)

    for name in ("input_gradient", "filter_gradient", "bias_gradient"):
        note(name, getattr(functions.gradient_engine, name))
    module = dwconv.torch.Conv2d(8, 8, 3, groups=8)
    module(image(1, 8, 6, 6)).sum().backward()
    assert asked == ["filter_gradient"]  # with the gradient of the bias
    module.weight.requires_grad_(False)
    module(image(1, 8, 6, 6)).sum().backward()
    assert asked[1:] == ["bias_gradient"]
    module.requires_grad_(False)
    x = image(1, 8, 6, 6).requires_grad_()
    module(x).sum().backward()
    assert asked[2:] == ["input_gradient"]


@pytest.mark.usefixtures("thread_setting")
def test_threads_change_no_bit() -> None:
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            module, _ = pair(kernel_size=3, groups=8, padding=1)
            x = image(3, 8, 40, 40, layout=LAST).requires_grad_()
            y = module(x)
            y.square().sum().backward()
            found.append([y.detach(), x.grad, *(p.grad for p in module.parameters())])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
