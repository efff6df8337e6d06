"""Layers travel: pickle, copy, other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

import dwconv
from oracles import OPERATIONS, Case


def every(operation: str) -> Case:
    extra: dict[str, Any] = {"expanded": 9, "squeezed": 3} if operation == "inverted_residual" else {}
    if operation == "conv":
        extra["groups"] = 2
    return Case(
        operation, (2, 7, 6, 4), out_channels=6, strides=(2, 1), activation=("clip", -0.5, 0.5), **extra
    )


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_layers_compute_the_same(operation: str, protocol: int) -> None:
    case = every(operation)
    layer = case.layer(flush_denormals=True)
    loaded = pickle.loads(pickle.dumps(layer, protocol))
    assert type(loaded) is type(layer)
    assert repr(loaded) == repr(layer)
    assert loaded.nbytes == layer.nbytes
    np.testing.assert_array_equal(loaded(case.x), layer(case.x))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_copied_layers_compute_the_same(operation: str) -> None:
    case = every(operation)
    layer = case.layer()
    for duplicate in (copy.copy(layer), copy.deepcopy(layer)):
        np.testing.assert_array_equal(duplicate(case.x), layer(case.x))


def test_layers_work_in_other_processes() -> None:
    case = every("separable")
    layer = case.layer()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        y = pool.submit(layer, case.x).result()
    np.testing.assert_array_equal(y, layer(case.x))


# ---- subclasses -------------------------------------------------------------------------------


class Named(dwconv.DepthwiseConv2D):
    """A constructor of its own, and attributes beside the layer's."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(np.full((size, size, 4, 1), 0.5, np.float32), padding="same", activation="ReLU6")
        for attribute, value in {"name": name, "history": [size], "itself": self}.items():
            object.__setattr__(self, attribute, value)


class Slotted(dwconv.PointwiseConv2D):
    __slots__ = ("__private", "label", "unset")

    def __init__(self, label: str) -> None:
        super().__init__(np.ones((4, 2), np.float32))
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "_Slotted__private", 3)

    def private(self) -> int:
        return self.__private


class Forgetful(dwconv.DepthwiseConv2D):
    """Keeps what cannot travel, and says so as any class does."""

    def __init__(self, filters: np.ndarray) -> None:
        super().__init__(filters)
        object.__setattr__(self, "lock", threading.Lock())
        object.__setattr__(self, "kept", 5)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "lock"}


def travelled(layer: Any) -> list[Any]:
    pickles = (pickle.dumps(layer, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1))
    return [*map(pickle.loads, pickles), copy.copy(layer), copy.deepcopy(layer)]


@pytest.mark.usefixtures("backend")
def test_subclasses_with_a_constructor_of_their_own_travel() -> None:
    layer, x = Named("first", 3), np.ones((1, 5, 5, 4), np.float32)
    for duplicate in travelled(layer):
        assert type(duplicate) is Named
        assert (duplicate.name, duplicate.history, duplicate.padding) == ("first", [3], "same")
        assert repr(duplicate) == repr(layer)
        np.testing.assert_array_equal(duplicate(x), layer(x))
        with pytest.raises(AttributeError, match=r"^Named cannot be changed"):
            duplicate.name = "second"


def test_copies_of_subclasses_share_attributes_or_not_as_usual() -> None:
    layer = Named("first", 3)
    assert copy.copy(layer).history is layer.history
    deep = copy.deepcopy(layer)
    assert deep.history is not layer.history
    assert deep.itself is deep
    loaded = pickle.loads(pickle.dumps(layer))
    assert loaded.itself is loaded


def test_subclasses_with_slots_travel() -> None:
    for duplicate in travelled(Slotted("here")):
        assert (duplicate.label, duplicate.private()) == ("here", 3)
        assert not hasattr(duplicate, "unset")
        assert not hasattr(duplicate, "__dict__")
        assert repr(duplicate) == "Slotted(filters=<1x1x4x2 float32>, strides=(1, 1))"


def test_subclasses_say_what_travels() -> None:
    for duplicate in travelled(Forgetful(np.ones((3, 3, 4, 1), np.float32))):
        assert duplicate.kept == 5
        assert not hasattr(duplicate, "lock")


def test_subclasses_without_anything_of_their_own_travel() -> None:
    plain = type("Plain", (dwconv.DepthwiseConv2D,), {"__slots__": (), "__module__": __name__})
    layer = plain(np.ones((3, 3, 4, 1), np.float32))
    np.testing.assert_array_equal(copy.deepcopy(layer).filters, layer.filters)
    assert type(copy.copy(layer)) is plain
