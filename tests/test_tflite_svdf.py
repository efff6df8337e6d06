"""TFLite's SVDF beside TensorFlow Lite's kernel, call after call of a stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from test_tflite_integers import litert
from tflite_models import Writer

INPUTS, UNITS, RUNS = 10, 6, 12


def network(seed: int, kind: str, rank: int, memory: int, biased: bool = True, **state: Any) -> bytes:
    rng, m, filters = np.random.default_rng(seed), Writer(), UNITS * rank
    given: dict[str, dict[str, Any]] = {name: {} for name in ("x", "feature", "time", "bias", "state", "y")}
    feature = rng.standard_normal((filters, INPUTS)).astype(np.float32)
    time = rng.standard_normal((filters, memory)).astype(np.float32)
    bias = rng.standard_normal(UNITS).astype(np.float32)
    if kind == "INT8":
        feature = rng.integers(-127, 128, feature.shape).astype(np.int8)
        time = rng.integers(-2000, 2001, time.shape).astype(np.int16)
        bias = rng.integers(-(10**7), 10**7, UNITS).astype(np.int32)
        scales = {"x": 0.05, "feature": 0.01, "time": 0.0003, "bias": 2.4e-7, "state": 0.0008, "y": 0.03}
        given = {name: {"scale": scale, "zero": 0} for name, scale in scales.items()}
        given["x"]["zero"], given["y"]["zero"], given["time"]["kind"] = (
            int(rng.integers(-128, 128)),
            -128,
            "INT16",
        )
    x = m.input("x", (1, INPUTS), kind, **given["x"])
    constants = [(feature, "feature"), (time, "time"), (bias, "bias")]
    inputs = [x, *(m.constant(data, **given[name]) for data, name in constants)]
    kept = {"variable": True} | given["state"] | state
    inputs.append(m.tensor("state", (1, memory * filters), "INT16" if kind == "INT8" else kind, **kept))
    inputs[3] = inputs[3] if biased else -1
    y = [m.tensor("y", (1, UNITS), kind, **given["y"])]
    m.op("SVDF", inputs, "SVDFOptions", outputs=y, Rank=rank, FusedActivationFunction=1)
    return m.content(y)


def stream(kind: str, seed: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    if kind == "INT8":
        return [{"x": rng.integers(-128, 128, (1, INPUTS)).astype(np.int8)} for _ in range(RUNS)]
    return [{"x": rng.standard_normal((1, INPUTS)).astype(np.float32)} for _ in range(RUNS)]


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
@pytest.mark.parametrize(("rank", "memory", "biased"), [(1, 5, True), (2, 8, True), (2, 1, False)])
def test_a_stream_through_svdf_is_tensorflow_lite_s(kind: str, rank: int, memory: int, biased: bool) -> None:
    content, feeds = network(memory, kind, rank, memory, biased), stream(kind, rank)
    net = dwconv.Network.from_tflite(content)
    got = [np.array(net(feed)) for feed in feeds]
    expected = np.array(litert(content, feeds, "BUILTIN_REF"), float)
    assert np.ptp(expected) > (50 if kind == "INT8" else 1)
    found = np.abs(np.array(got, float) - expected)
    if kind == "INT8":
        assert found.max() <= 1
        assert (found > 0).mean() < 0.03
    else:
        assert found.max() < 1e-5 * np.abs(expected).max() + 1e-6
    net.reset()
    assert np.array_equal(net(feeds[0]), got[0])


def test_bits_of_tensorflow_lite_are_refused_where_they_are_not_its() -> None:
    with pytest.raises(dwconv.UnsupportedModel, match='rounding="tflite"; with "even" it runs in float32'):
        dwconv.Network.from_tflite(network(0, "INT8", 1, 4), rounding="tflite")


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises((ValueError, dwconv.UnsupportedModel)):
        dwconv.Network.from_tflite(network(0, "FLOAT32", 1, 4, variable=False))
    with pytest.raises(ValueError, match="needs one scale above 0"):
        dwconv.Network.from_tflite(network(0, "INT8", 1, 4, scale=0.0))
