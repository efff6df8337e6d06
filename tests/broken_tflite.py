"""TFLite files that are nearly right: generated ones with bytes, numbers and inputs changed."""

from __future__ import annotations

import numpy as np

import tflite_integers
from broken import NUMBERS_32, edited
from drawn import Draw
from tflite_cases import CASES, Make
from tflite_models import Writer

SCALES = (0.0, -0.5, np.nan, np.inf, 1e-45, 1e-38, 3e38, 1e9, [0.5, 0.5], [np.nan] * 7, [0.1] * 7, [])
ZEROS = (-129, 128, 256, -(2**31), 2**40, [0, 0], [1] * 7, [])


class Odd(Writer):
    """Writes options, shapes and constants of integers that are not what the case says."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.draw = draw

    def odd(self) -> bool:
        return self.draw.chance(0.25)

    def constant(self, data: object, **more: object) -> int:
        found = np.asarray(data)
        if found.dtype == np.int32 and self.odd():
            items = [self.draw.choice(NUMBERS_32) for _ in range(found.size)]
            found = np.array(items, np.int32).reshape(found.shape)
        return super().constant(found, **more)

    def tensor(self, *args: object, **more: object) -> int:
        if "scale" in more and self.odd():
            more["scale"] = self.draw.choice(SCALES)
        if "scale" in more and self.odd():
            more["zero"] = self.draw.choice(ZEROS)
        if "scale" in more and self.odd():
            more["axis"] = self.draw.choice(NUMBERS_32)
        return super().tensor(*args, **more)  # type: ignore[arg-type]

    def op(self, op: str, inputs: list[int], options: str = "", **fields: object) -> object:
        if inputs and self.odd():
            last = len(self.tensors) - 1
            inputs = [self.draw.integer(-1, last) if self.odd() else i for i in inputs]
        numbers = [n for n, v in fields.items() if type(v) is int and n not in ("outputs", "version")]
        for name in numbers:
            if self.odd():
                value = self.draw.choice(NUMBERS_32)
                small = name in ("Padding", "FusedActivationFunction", "OutType", "Mode")
                fields[name] = value % 100 if small else value
        return super().op(op, inputs, options, **fields)


def tflite_content(make: Make, m: Writer) -> bytes:
    y = make(m)
    return m.content(y if isinstance(y, list) else [y])


def integers_content(draw: Draw, m: Writer) -> bytes:
    """One operator on 8-bit integers."""
    name = draw.choice(list(tflite_integers.CASES))
    made = tflite_integers.Draw(draw.integer(0, 99), draw.choice(["INT8", "UINT8"]), m)
    with np.errstate(all="ignore"):  # of scales that are odd
        _, y = tflite_integers.CASES[name](made)
    return m.content([y])


def broken_tflite(draw: Draw) -> bytes:
    if draw.chance(0.4):
        return integers_content(draw, Odd(draw))
    make = draw.choice(list(CASES.values()))
    if draw.chance(0.4):
        return edited(tflite_content(make, Writer()), draw)
    content = tflite_content(make, Odd(draw))
    return edited(content, draw) if draw.chance(0.1) else content
