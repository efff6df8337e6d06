"""Operators on 8-bit integers beside TensorFlow Lite's kernels: the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.config import _force
from tflite_integers import CASES, inputs_of, made
from tflite_models import Writer

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


@pytest.mark.parametrize(
    "broken",
    [
        {"scale": 0.0}, {"scale": -1.0}, {"scale": np.nan}, {"scale": np.inf}, {"scale": 1e-46},
        {"zero": 128}, {"zero": -129}, {"zero": 2**40}, {"scale": [0.5, 0.5]}, {"zero": [0, 0, 0]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("which", ["input", "result", "weights"])
def test_a_quantisation_that_is_none_is_a_value_error(broken: dict[str, Any], which: str) -> None:
    m = Writer()
    given = {name: {"scale": 0.1, "zero": 0} for name in ("input", "result", "weights")}
    given[which] |= broken
    x = m.input("x", (1, 4), "INT8", **given["input"])
    w = m.constant(np.ones((3, 4), np.int8), **given["weights"])
    y = [m.tensor("y", (1, 3), "INT8", **given["result"])]
    content = m.content([m.op("FULLY_CONNECTED", [x, w, -1], "FullyConnectedOptions", outputs=y)])
    with pytest.raises(ValueError, match="from_tflite"):
        dwconv.Network.from_tflite(content)


@pytest.mark.parametrize("axis", [0, 1, 5, -7])
def test_one_scale_has_any_axis(axis: int) -> None:
    m = Writer()
    x = m.input("x", (1, 4), "INT8", scale=0.1, axis=axis)
    w = m.constant(np.full((3, 4), 5, np.int8), scale=0.1, axis=axis)
    y = [m.tensor("y", (1, 3), "INT8", scale=0.2, axis=axis)]
    content = m.content([m.op("FULLY_CONNECTED", [x, w, -1], "FullyConnectedOptions", outputs=y)])
    net = dwconv.Network.from_tflite(content)
    assert net(np.full((1, 4), 10, np.int8)).tolist() == [[10, 10, 10]]


@pytest.mark.parametrize("rounding", ["even", "tflite"])
def test_what_an_unrolled_recurrent_layer_begins_with_is_a_constant(rounding: str) -> None:
    """FULLY_CONNECTED of zeros that FILL makes, which an addition reads."""
    m, rng = Writer(), np.random.default_rng(0)
    x = m.input("x", (1, 3), "INT8", scale=0.1, zero=3)
    zeros = m.tensor("zeros", (1, 4), "INT8", scale=0.05, zero=-7)
    m.op(
        "FILL",
        [m.constant(np.array([1, 4], np.int32)), m.constant(np.int8(-7), scale=0.05, zero=-7)],
        "FillOptions",
        outputs=[zeros],
    )
    w = m.constant(rng.integers(-127, 128, (3, 4)).astype(np.int8), scale=0.02)
    b = m.constant(np.array([900, -40, 8000], np.int32), scale=0.001)
    first = m.tensor("first", (1, 3), "INT8", scale=0.11, zero=5)
    m.op("FULLY_CONNECTED", [zeros, w, b], "FullyConnectedOptions", outputs=[first])
    y = m.tensor("y", (1, 3), "INT8", scale=0.2, zero=-1)
    content = m.content([m.op("ADD", [x, first], "AddOptions", outputs=[y])])
    feeds = feeds_of(content)
    resolver = "BUILTIN_REF" if rounding == "tflite" else "AUTO"
    assert not differences(results(content, rounding, feeds), litert(content, feeds, resolver)).any()


def test_products_of_constants_are_refused_where_they_are_many() -> None:
    m, ones = Writer(), np.ones((2**10, 2**10), np.float32)
    many = m.op("FULLY_CONNECTED", [m.constant(ones), m.constant(ones), -1], "FullyConnectedOptions")
    with pytest.raises(dwconv.UnsupportedModel, match="constants alone"):
        dwconv.Network.from_tflite(m.content([m.op("ADD", [m.input("x", (1, 2**10)), many], "AddOptions")]))


def test_int16_activations_are_refused_by_name() -> None:
    m = Writer()
    x = m.input("x", (1, 4))
    y = [m.tensor("y", (1, 4), "INT16", scale=0.1)]
    with pytest.raises(dwconv.UnsupportedModel, match="'y' of INT16, quantised,"):
        dwconv.Network.from_tflite(m.content([m.op("QUANTIZE", [x], "QuantizeOptions", outputs=y)]))


def test_bytes_that_are_cast_are_the_numbers_themselves() -> None:
    m = Writer()
    x = m.input("x", (1, 4), "UINT8")
    net = dwconv.Network.from_tflite(m.content([m.op("CAST", [x], "CastOptions")]))
    assert net(np.array([[0, 1, 128, 255]], np.uint8)).tolist() == [[0.0, 1.0, 128.0, 255.0]]


def streaming() -> bytes:
    """Gives the last three numbers of a stream of one at a time."""
    m = Writer()
    x = m.input("x", (1, 1), "INT8", scale=0.5, zero=3)
    handle = m.op("VAR_HANDLE", [], "VarHandleOptions", kind="RESOURCE", SharedName=m.b.CreateString("ring"))
    quantised = {"scale": 0.5, "zero": 3}
    old = [m.tensor("old", (1, 3), "INT8", **quantised)]
    m.op("READ_VARIABLE", [handle], "ReadVariableOptions", outputs=old)
    whole = [m.tensor("whole", (1, 4), "INT8", **quantised)]
    m.op("CONCATENATION", [*old, x], "ConcatenationOptions", outputs=whole, Axis=1)
    bounds = [m.constant(np.array(v, np.int32)) for v in ([0, 1], [1, 4], [1, 1])]
    last = [m.tensor("last", (1, 3), "INT8", **quantised)]
    m.op("STRIDED_SLICE", [*whole, *bounds], "StridedSliceOptions", outputs=last)
    m.op("ASSIGN_VARIABLE", [handle, *last], "AssignVariableOptions", outputs=0)
    return m.content(last)


def test_a_variable_is_the_state_of_a_stream(tmp_path: Any) -> None:
    net = dwconv.Network.from_tflite(streaming())
    assert [info.name for info in net.inputs] == ["x"]
    one = np.array([[1]], np.int8)
    assert [net(one * n).tolist()[0] for n in (1, 2)] == [[3, 3, 1], [3, 1, 2]]
    other = net.new_state()
    assert net(one * 7, state=other).tolist() == [[3, 3, 7]]
    assert net(one * 3).tolist() == [[1, 2, 3]]
    with _force(backend="numpy"):
        assert net(one * 6, state=other).tolist() == [[3, 7, 6]]
    assert net(one * 8, state=other).tolist() == [[7, 6, 8]]
    net.reset()
    assert net(one).tolist() == [[3, 3, 1]]
    other.reset()
    assert net(one, state=other).tolist() == [[3, 3, 1]]
    net.save(tmp_path / "net.npz")
    again = dwconv.load(tmp_path / "net.npz")
    assert [again(one * n).tolist()[0] for n in (1, 2)] == [[3, 3, 1], [3, 1, 2]]


def test_a_network_without_variables_has_no_state() -> None:
    net = dwconv.Network.from_tflite(made("relu", 0))
    with pytest.raises(ValueError, match="no state"):
        net.new_state()


def test_roundings_differ_by_one_at_most() -> None:
    for name in CASES:
        content = made(name, 3)
        feeds = feeds_of(content)
        found = differences(results(content, "even", feeds), results(content, "tflite", feeds))
        assert found.max() <= (2 if name in ("hard swish", "logistic", "tanh") else 1), name
