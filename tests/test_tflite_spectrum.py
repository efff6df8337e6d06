"""Networks for sound that begin with a Fourier transform give LiteRT's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.graph import UnsupportedModel
from tflite_cases import i32, numbers
from tflite_models import Writer, agree, litert


def transformed(m: Writer, n: int, length: Any, rows: int = 1) -> int:
    given = m.input("x", (3, rows, n))
    bins = (3, rows, n // 2 + 1)
    wanted = m.tensor("spectrum", bins, "COMPLEX64")
    return int(m.op("RFFT2D", [given, m.constant(i32(length))], "Rfft2dOptions", outputs=[wanted]))


def complex_op(m: Writer, op: str, inputs: list[int], shape: Any, options: str = "", **fields: Any) -> int:
    return int(m.op(op, inputs, options, outputs=[m.tensor("", shape, "COMPLEX64")], **fields))


@pytest.mark.parametrize("n", [8, 64])
def test_magnitudes_of_a_spectrum_agree_with_litert(n: int) -> None:
    m, bins = Writer(), n // 2 + 1
    flat = complex_op(
        m, "RESHAPE", [transformed(m, n, [1, n]), m.constant(i32([3, bins]))], (3, bins), "ReshapeOptions"
    )
    y = m.op("COMPLEX_ABS", [flat], outputs=[m.tensor("y", (3, bins))])
    content, x = m.content([y]), {"x": numbers(3, 1, n)}
    agree([dwconv.Network.from_tflite(content)(x)], litert(content, x))


@pytest.mark.parametrize(("op", "part"), [("REAL", np.real), ("IMAG", np.imag)])
def test_parts_of_a_spectrum_are_numpys(op: str, part: Any) -> None:
    m = Writer()
    squeezed = complex_op(
        m, "SQUEEZE", [transformed(m, 16, [1, 16])], (3, 9), "SqueezeOptions", SqueezeDims=[-2]
    )
    net = dwconv.Network.from_tflite(m.content([m.op(op, [squeezed])]))
    x = numbers(3, 1, 16)
    agree([net(x)], [part(np.fft.rfft(x[:, 0])).astype(np.float32)])


def test_other_transforms_and_complex_results_are_refused() -> None:
    for n, length, rows in ((16, [1, 8], 1), (16, [2, 16], 2)):
        m = Writer()
        y = m.op("COMPLEX_ABS", [transformed(m, n, length, rows)])
        with pytest.raises(UnsupportedModel, match="of one row of its own length"):
            dwconv.Network.from_tflite(m.content([y]))
    m = Writer()
    with pytest.raises(UnsupportedModel, match="output 'spectrum' of complex numbers"):
        dwconv.Network.from_tflite(m.content([transformed(m, 16, [1, 16])]))
    m = Writer()
    spectrum = transformed(m, 16, [1, 16])
    y = m.op("ADD", [spectrum, spectrum], "AddOptions")
    with pytest.raises(UnsupportedModel, match="COMPLEX_ABS takes them"):
        dwconv.Network.from_tflite(m.content([y]))
