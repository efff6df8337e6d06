"""A TFLite file is untrusted: whatever it holds, reading it gives a graph or a ValueError, soon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwconv.graph import UnsupportedModel
from dwconv.importers import tflite
from tflite_cases import CASES, SAME, VALID, Make, conv, i32, numbers, plain, pool, transposed, x
from tflite_models import Writer, opened

MODELS = Path(__file__).parents[2] / "shared" / "models"


@pytest.mark.parametrize(
    "make",
    [
        lambda m: conv(m, StrideH=0),
        lambda m: conv(m, StrideH=-1),
        lambda m: conv(m, (4, 3, 3, 5)),
        lambda m: conv(m, DilationHFactor=0),
        lambda m: conv(m, Padding=VALID, DilationHFactor=100),
        lambda m: pool(m, "MAX_POOL_2D", (0, 0), 1, SAME),
        lambda m: transposed(m, (2, 2**31 - 1, 2**31 - 1, 4), 3, SAME, 2),
        lambda m: plain(m, "RESHAPE", i32(7, 7), options="ReshapeOptions"),
        lambda m: plain(m, "PAD", i32([[0, 0], [0, 2**31 - 1], [0, 2**31 - 1], [0, 0]])),
        lambda m: plain(m, "TILE", i32(2**30, 2**30, 2**30, 1)),
        lambda m: plain(
            m, "RESIZE_NEAREST_NEIGHBOR", i32(2**31 - 1, 1), options="ResizeNearestNeighborOptions"
        ),
        lambda m: plain(m, "GATHER", i32(9), options="GatherOptions", Axis=1),
        lambda m: plain(m, "TRANSPOSE", i32(0, 1, 1, 2)),
        lambda m: plain(m, "CONCATENATION", numbers(2, 3), options="ConcatenationOptions", Axis=1),
        lambda m: m.op("FILL", [m.constant(i32(2**31 - 1)), m.constant(np.float32(1))]),
        lambda m: m.op("RANGE", [m.constant(i32(n)) for n in (0, 2**31 - 1, 1)]),
        lambda m: m.op("RELU", []),
        lambda m: m.op("RELU", [m.tensor("nowhere", (1, 4))]),
        lambda m: m.op("CONV_2D", [x(m), m.constant(numbers(1, 1, 1, 6))], "SoftmaxOptions"),
        lambda m: m.tensor("nowhere", (1, 4)),
        lambda m: m.constant(numbers(4), shape=(5,)),
        lambda m: m.constant(numbers(4), shape=(-2, -2)),
        lambda m: m.constant(
            numbers(8), shape=(2**30, 2**30), sparsity=([0, 1], [], [2**30, ([0, 8], [0] * 8)])
        ),
        lambda m: m.constant(numbers(8), shape=(4, 6), sparsity=([0, 0], [], [4, 6])),
        lambda m: m.constant(np.ones(3, np.int8), scale=np.ones(2), zero=np.zeros(2)),
    ],
)
def test_sizes_that_disagree_are_a_value_error(make: Make) -> None:
    m = Writer()
    content = m.content([make(m)])
    with pytest.raises(ValueError, match="from_tflite") as caught:
        tflite.read(content)
    assert not isinstance(caught.value, UnsupportedModel)


def test_operators_in_a_circle_are_a_value_error() -> None:
    m = Writer()
    a, b = m.tensor("a", (1, 4)), m.tensor("b", (1, 4))
    m.op("RELU", [a], outputs=[b])
    m.op("RELU", [b], outputs=[a])
    with pytest.raises(ValueError, match="before anything gives it"):
        tflite.read(m.content([a]))


def test_constants_cannot_grow_without_bound() -> None:
    m = Writer()
    value = m.constant(np.ones((1, 64), np.float32))
    for _ in range(40):
        value = m.op("TILE", [m.constant(np.ones((1, 1), np.float32)), m.constant(i32(4096, 4096))])
    with pytest.raises(ValueError, match="too large"):
        tflite.read(m.content([value]))


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\x1c\0\0\0TFL3", b"\xff" * 4 + b"TFL3" + b"\xff" * 64, bytes(1000)]
)
def test_what_is_no_file_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="from_tflite"):
        tflite.read(content)


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rounding"):
        tflite.read(b"", rounding="odd")
    with pytest.raises(TypeError, match="path or bytes"):
        tflite.read(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        tflite.read(tmp_path / "none.tflite")


# ---- drawn --------------------------------------------------------------------------------------


def written(make: Make) -> bytes:
    m = Writer()
    y = make(m)
    return m.content(y if isinstance(y, list) else [y])


WRITTEN = {name: written(make) for name, make in CASES.items()}
EDITS = st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=6)


def survives(content: bytes) -> None:
    try:
        graph, _, _ = opened(content)
    except ValueError:
        return
    assert graph.outputs


def edited(content: bytes, edits: list[tuple[int, int]], length: int | None = None) -> bytes:
    """Bytes replaced, of the first `length` alone."""
    found = bytearray(content)
    for position, byte in edits:
        found[position % min(length or len(found), len(found))] = byte
    return bytes(found)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(list(WRITTEN)), edits=EDITS, cut=st.integers(0, 400))
def test_edited_operators_survive(name: str, edits: list[tuple[int, int]], cut: int) -> None:
    content = edited(WRITTEN[name], edits)
    survives(content[: len(content) - cut] if cut < 40 else content)


@pytest.mark.parametrize("name", ["vww_96_float", "palm_detection_lite", "vww_96_int8"])
@settings(max_examples=40, deadline=None)
@given(edits=EDITS, words=st.booleans(), cut=st.integers(0, 2**22))
def test_edited_real_files_survive(name: str, edits: list[tuple[int, int]], words: bool, cut: int) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    content = path.read_bytes()
    # Tables stand before and behind the weights.
    content = edited(content, edits, 4096) if words else edited(content[::-1], edits, 32768)[::-1]
    survives(content if cut % 4 else content[:cut])


NUMBERS = st.sampled_from([-(2**31), -2, -1, 0, 1, 2, 3, 5, 7, 64, 1 << 16, 2**31 - 1])


class Odd(Writer):
    """Writes options, shapes and constants of integers that are not what the case says."""

    def __init__(self, draw: st.DataObject) -> None:
        super().__init__()
        self.draw = draw

    def odd(self) -> bool:
        return self.draw.draw(st.integers(0, 3)) == 0

    def constant(self, data: object, **more: object) -> int:
        array = np.asarray(data)
        if array.dtype == np.int32 and self.odd():
            items = self.draw.draw(st.lists(NUMBERS, min_size=array.size, max_size=array.size))
            array = np.array(items, np.int32).reshape(array.shape)
        return super().constant(array, **more)

    def op(self, op: str, inputs: list[int], options: str = "", **fields: object) -> object:
        if inputs and self.odd():
            last = len(self.tensors) - 1
            inputs = [self.draw.draw(st.integers(-1, last)) if self.odd() else i for i in inputs]
        numbers = [n for n, v in fields.items() if type(v) is int and n not in ("outputs", "version")]
        for name in numbers:
            if self.odd():
                value = self.draw.draw(NUMBERS)
                small = name in ("Padding", "FusedActivationFunction", "OutType", "Mode")
                fields[name] = value % 100 if small else value
        return super().op(op, inputs, options, **fields)


@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(list(CASES)), data=st.data())
def test_odd_options_and_shapes_survive(name: str, data: st.DataObject) -> None:
    m = Odd(data)
    y = CASES[name](m)
    survives(m.content(y if isinstance(y, list) else [y]))
