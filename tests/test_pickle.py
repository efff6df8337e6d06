"""Layers travel: pickle, copy, other processes."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

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
