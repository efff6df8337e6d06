"""Operators on 8-bit integers beside TensorFlow Lite's kernels: the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from tflite_integers import CASES, inputs_of, made

SEEDS = range(4)
# LiteRT's newest reference kernels that are others than those of microcontrollers, which "tflite" follows:
# FULLY_CONNECTED multiplies in float64, LOGISTIC and TANH of int8 are tables of float32.
NEWER = ("dense", "logistic", "tanh")
# Its SUM of int8 reads uint8; its ELU has no reference. UINT8 is resized in float32.
WITHOUT = {("sum", "INT8"), ("elu", "INT8"), ("elu", "UINT8"), ("resize", "UINT8")}
# RELU6 of microcontrollers ignores that its two scales differ; they have no GELU.
NOT_MICRO = ("relu6", "gelu")
# Where XNNPACK's formula is another than ours, or LiteRT does not ask XNNPACK at all.
OTHERS = (
    "average", "mean", "sum", "relu", "relu6", "leaky relu", "prelu", "requantise", "hard swish", "softmax",
)  # fmt: skip

COARSE = ("requantise", "leaky relu")  # XNNPACK's factors have 8 bits


def results(content: bytes, rounding: str, feeds: list[dict[str, Any]]) -> list[np.ndarray]:
    net = dwconv.Network.from_tflite(content, rounding=rounding)
    return [net(feed) for feed in feeds]


def feeds_of(content: bytes) -> list[dict[str, np.ndarray]]:
    infos = dwconv.Network.from_tflite(content).inputs
    return [inputs_of(infos, 0), inputs_of(infos, 1), inputs_of(infos, 2, extreme=True)]


def litert(content: bytes, feeds: list[dict[str, Any]], kind: str) -> list[np.ndarray]:
    package = pytest.importorskip("ai_edge_litert.interpreter")
    resolver = getattr(package.OpResolverType, kind)
    interpreter = package.Interpreter(
        model_content=content, experimental_op_resolver_type=resolver, num_threads=1
    )
    interpreter.allocate_tensors()
    found = []
    for feed in feeds:
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], feed[detail["name"]])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
    return found


def micro(content: bytes, feeds: list[dict[str, Any]]) -> list[np.ndarray]:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(content)
    names = [info.name for info in dwconv.Network.from_tflite(content).inputs]
    found = []
    for feed in feeds:
        for index, name in enumerate(names):
            interpreter.set_input(feed[name], index)
        interpreter.invoke()
        found.append(np.array(interpreter.get_output(0)))
    return found


def differences(got: list[np.ndarray], expected: list[np.ndarray]) -> np.ndarray:
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
    return np.concatenate(
        [np.abs(a.astype(float) - b.astype(float)).ravel() for a, b in zip(got, expected, strict=True)]
    )


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("name", CASES)
def test_tflite_rounding_is_litert_s_reference(name: str, kind: str) -> None:
    if (name, kind) in WITHOUT:
        pytest.skip("there is no reference kernel of it")
    for seed in SEEDS:
        content = made(name, seed, kind)
        feeds = feeds_of(content)
        found = differences(results(content, "tflite", feeds), litert(content, feeds, "BUILTIN_REF"))
        if name in NEWER and kind == "INT8":
            assert found.max() <= 1
            assert (found > 0).mean() < 0.02
        else:
            assert found.max() == 0


@pytest.mark.parametrize("name", [name for name in CASES if name not in NOT_MICRO])
def test_tflite_rounding_is_tflite_micro(name: str) -> None:
    for seed in SEEDS:
        content = made(name, seed, "INT8")
        feeds = feeds_of(content)
        assert differences(results(content, "tflite", feeds), micro(content, feeds)).max() == 0


@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
@pytest.mark.parametrize("name", CASES)
def test_even_rounding_is_xnnpack(name: str, kind: str) -> None:
    if (name, kind) == ("elu", "UINT8"):
        pytest.skip("LiteRT has none")
    for seed in SEEDS:
        content = made(name, seed, kind)
        feeds = feeds_of(content)
        found = differences(results(content, "even", feeds), litert(content, feeds, "AUTO"))
        assert found.max() <= (1 if name in OTHERS else 0)
        assert (found > 0).mean() < (0.3 if name in COARSE else 0.15)


def test_roundings_differ_by_one_at_most() -> None:
    for name in CASES:
        content = made(name, 3)
        feeds = feeds_of(content)
        found = differences(results(content, "even", feeds), results(content, "tflite", feeds))
        assert found.max() <= (2 if name in ("hard swish", "logistic", "tanh") else 1), name
