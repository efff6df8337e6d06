"""TFLite's LSTM over sequences beside LiteRT, call after call: each goes on where the last one ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from tflite_models import Writer

package = pytest.importorskip("ai_edge_litert.interpreter")
BATCH, STEPS, INPUTS, UNITS = 2, 5, 3, 7


def network(missing: tuple[int, ...] = (), extra: dict[int, Any] | None = None, **options: Any) -> bytes:
    rng, m = np.random.default_rng(0), Writer()
    major = options.get("TimeMajor", False)
    x = m.input("x", (STEPS, BATCH, INPUTS) if major else (BATCH, STEPS, INPUTS))
    inputs = [x, *[-1] * 23]
    shapes = {**dict.fromkeys(range(1, 5), (UNITS, INPUTS)), **dict.fromkeys(range(5, 9), (UNITS, UNITS))}
    shapes |= dict.fromkeys(range(12, 16), (UNITS,))
    for i, shape in shapes.items():
        inputs[i] = m.constant(rng.standard_normal(shape).astype(np.float32))
    for i in (18, 19):
        inputs[i] = m.tensor(f"state {i}", (BATCH, UNITS), variable=True)
    for i, shape in (extra or {}).items():
        inputs[i] = m.constant(np.ones(shape, np.float32))
    for i in missing:
        inputs[i] = -1
    y = [m.tensor("y", (STEPS, BATCH, UNITS) if major else (BATCH, STEPS, UNITS))]
    told = {"FusedActivationFunction": 4} | options
    m.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, "UnidirectionalSequenceLSTMOptions", outputs=y, **told)
    return m.content(y)


@pytest.mark.parametrize(
    "options", [{}, {"TimeMajor": True}, {"CellClip": 0.4}, {"CellClip": 10.0, "FusedActivationFunction": 1}]
)
def test_a_stream_through_an_lstm_is_litert_s(options: dict[str, Any]) -> None:
    content = network(**options)
    net = dwconv.Network.from_tflite(content)
    interpreter = package.Interpreter(
        model_content=content, experimental_op_resolver_type=package.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    rng = np.random.default_rng(1)
    feeds = [rng.standard_normal(net.inputs[0].shape).astype(np.float32) for _ in range(4)]
    found = []
    for x in feeds:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        found.append(net(x))
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(found[-1], expected, rtol=1e-5, atol=2e-6)
    net.reset()
    np.testing.assert_array_equal(net(feeds[0]), found[0])
    assert np.abs(net(feeds[0]) - found[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("missing", "extra", "match"),
    [
        ((1, 5, 12), {}, "one gate for input and forget"),
        ((), {9: (UNITS,)}, "peepholes"),
        ((), {16: (2, UNITS)}, "projection"),
        ((), {20: (UNITS,)}, "norms"),
    ],
)
def test_what_is_no_plain_lstm_is_refused(missing: tuple[int, ...], extra: Any, match: str) -> None:
    with pytest.raises(dwconv.UnsupportedModel, match=match):
        dwconv.Network.from_tflite(network(missing, extra))
