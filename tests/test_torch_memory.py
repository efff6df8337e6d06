"""Memory of large tensors of `dwconv.torch` is used again, never by two at once, and comes back on demand."""

from __future__ import annotations

import copy
import os
import signal
import threading
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import dwconv.torch  # noqa: E402
from dwconv.config import core  # noqa: E402
from dwconv.torch.functions import KEPT_BYTES, new_image  # noqa: E402

pytestmark = pytest.mark.skipif(core is None, reason="NumPy keeps no memory")
LIKE = torch.empty(0)
SHAPE = 2, 48, 61, 57  # 1.3 MB


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    dwconv.torch.release_memory()


def image(shape: tuple[int, int, int, int] = SHAPE) -> torch.Tensor:
    return new_image(shape, LIKE)[0]


def test_tensors_are_as_pytorch_makes_them() -> None:
    for shape in (SHAPE, (1, 3, 300, 301), (3, 70000, 1, 1), (2, 1, 400, 200), (1, 8, 2, 2)):
        tensor, array = new_image(shape, LIKE)
        expected = torch.empty(shape, memory_format=torch.channels_last)
        assert tensor.stride() == expected.stride()
        assert tensor.shape == shape == (array.shape[0], array.shape[3], *array.shape[1:3])
        assert tensor._base is None
        array[...] = 7
        assert torch.equal(tensor, torch.full(shape, 7.0))
        assert tensor.data_ptr() % 64 == 0 or tensor.nbytes < KEPT_BYTES
        clone = copy.deepcopy(tensor)
        assert clone.data_ptr() != tensor.data_ptr()


def test_what_nobody_uses_is_used_again() -> None:
    first, second = image(), image()
    assert first.data_ptr() != second.data_ptr()
    places = {first.data_ptr(), second.data_ptr()}
    view = first[:1]
    del first
    assert image().data_ptr() not in places  # a view holds it
    del view, second
    assert {t.data_ptr() for t in (image(), image())} <= places
    assert core.kept_memory() > 0
    dwconv.torch.release_memory()
    assert core.kept_memory() == 0


def test_no_more_is_kept_than_was_used_at_once() -> None:
    held = [image() for _ in range(3)]
    size = held[0].nbytes
    del held
    assert core.kept_memory() == 3 * size
    other = image((2, 48, 61, 56))  # of another size: it takes the place of one that was kept
    assert core.kept_memory() == 2 * size
    large = image((5, 48, 61, 58))
    assert core.kept_memory() + other.nbytes + large.nbytes <= max(3 * size, other.nbytes + large.nbytes)


def test_results_are_their_own_until_nobody_uses_them() -> None:
    torch.manual_seed(0)
    norm = dwconv.torch.accelerate(torch.nn.BatchNorm2d(48))
    x = torch.randn(SHAPE).to(memory_format=torch.channels_last)
    kept = [norm(x * factor) for factor in (1, 2)]
    before = [y.detach().clone() for y in kept]
    for _ in range(3):
        y = norm(x * 3 + 1).requires_grad_()
        y.relu_().sum().backward()
    for y, expected in zip(kept, before, strict=True):
        assert torch.equal(y, expected)


def test_threads_never_share() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            tensors = [image() for _ in range(3)]
            for tensor in tensors:
                tensor.fill_(number)
            wrong.extend(number for tensor in tensors if not bool((tensor == number).all()))

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.set_num_threads(before)
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_the_child_of_a_fork_has_memory_of_its_own() -> None:
    image()  # is kept
    tensor = image()
    array = tensor.numpy()
    array[...] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            array[...] = 2
            new_image(SHAPE, LIKE)[1][...] = 3
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    np.testing.assert_array_equal(array, 1)
