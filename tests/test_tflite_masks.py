"""TFLite's comparisons and choices of what is computed give what LiteRT's kernels give."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv
from oracles import backends, using
from tflite_models import Writer, litert

X = np.array([[-np.inf, -1.5, -0.0, 0.0, np.nan], [1e-30, 0.5, 3e38, np.inf, 1.0]], np.float32)
KINDS = ["GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "EQUAL", "NOT_EQUAL"]


def check(m: Writer, y: int) -> None:
    content = m.content([y])
    (expected,) = litert(content, {"x": X})
    for backend in backends():
        with using(backend):
            found = dwconv.Network.from_tflite(content)(X)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def options(op: str) -> str:
    return "".join(word.capitalize() for word in op.split("_")) + "Options"


@pytest.mark.parametrize("op", KINDS)
def test_what_a_comparison_chooses(op: str) -> None:
    """Of the logarithm, where what is not chosen is NaN."""
    m = Writer()
    x, zero = m.input("x", X.shape), m.constant(np.zeros(5, np.float32))
    mask = m.op(op, [x, zero], options(op), kind="BOOL")
    check(m, m.op("SELECT_V2", [mask, m.op("LOG", [x]), x], "SelectV2Options"))


def test_logic_and_casts() -> None:
    m = Writer()
    x, one = m.input("x", X.shape), m.constant(np.ones((), np.float32))
    known = m.constant(np.array([True, False, False, True, True]))
    a = m.op("LESS", [x, one], "LessOptions", kind="BOOL")
    b = m.op("LOGICAL_AND", [a, known], "LogicalAndOptions", kind="BOOL")
    c = m.op("LOGICAL_NOT", [b], "LogicalNotOptions", kind="BOOL")
    d = m.op("LOGICAL_OR", [c, a], "LogicalOrOptions", kind="BOOL")
    check(m, m.op("CAST", [d], "CastOptions", InDataType=6, OutDataType=0))


def test_a_vector_chooses_rows() -> None:
    m = Writer()
    x, second = m.input("x", X.shape), m.constant(np.array(1, np.int32))
    column = m.op("GATHER", [x, second], "GatherOptions", Axis=1)
    mask = m.op("LESS", [column, m.constant(np.zeros(2, np.float32))], "LessOptions", kind="BOOL")
    check(m, m.op("SELECT", [mask, x, m.op("NEG", [x], "NegOptions")], "SelectOptions"))


def test_truth_values_at_an_edge_are_refused_by_name() -> None:
    m = Writer()
    x = m.input("x", X.shape)
    y = m.op("LESS", [x, x], "LessOptions", kind="BOOL")
    with pytest.raises(dwconv.UnsupportedModel, match="truth values that are computed"):
        dwconv.Network.from_tflite(m.content([y]))
    with pytest.raises(dwconv.UnsupportedModel, match="BOOL"):
        dwconv.Network.from_tflite(m.content([m.op("RELU", [y])]))
