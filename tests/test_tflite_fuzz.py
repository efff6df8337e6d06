"""A TFLite file is untrusted: whatever it holds, reading it gives a graph or a ValueError, soon."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broken import edited
from broken_tflite import broken_tflite
from drawn import Draw
from dwconv.graph import UnsupportedModel
from dwconv.importers import tflite
from tflite_cases import SAME, VALID, Make, conv, i32, numbers, plain, pool, transposed, x
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


@pytest.mark.parametrize("op", ["TILE", "BROADCAST_TO", "FILL", "PADV2"])
def test_constants_cannot_grow_without_bound(op: str) -> None:
    """Of a file of kilobytes, 256 MB of constants at most."""
    m = Writer()
    one, sizes = np.ones((1, 1), np.float32), i32(2048, 2048)
    inputs = {
        "TILE": [one, sizes], "BROADCAST_TO": [one, sizes], "FILL": [sizes, np.float32(1)],
        "PADV2": [one, i32([[0, 2047], [0, 2047]]), np.float32(2)],
    }[op]  # fmt: skip
    for _ in range(40):
        value = m.op(op, [m.constant(array) for array in inputs])
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large"):
            tflite.read(m.content([value]))
        assert tracemalloc.get_traced_memory()[1] < 2**29
    finally:
        tracemalloc.stop()


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


SEEDS = st.integers(0, 2**32 - 1)


def survives(content: bytes) -> None:
    try:
        graph, _, _ = opened(content)
    except ValueError:
        return
    assert graph.outputs


@settings(max_examples=700, deadline=None)
@given(seed=SEEDS)
def test_broken_operators_survive(seed: int) -> None:
    survives(broken_tflite(Draw(seed)))


@pytest.mark.parametrize("name", ["vww_96_float", "palm_detection_lite", "vww_96_int8"])
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_broken_real_files_survive(name: str, seed: int) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    content, draw = path.read_bytes(), Draw(seed)
    # Tables stand before and behind the weights.
    cut = 4096 if draw.chance(0.5) else len(content) - 32768
    if draw.chance(0.25):
        survives(content[: draw.integer(0, len(content))])
    elif cut == 4096:
        survives(edited(content[:cut], draw) + content[cut:])
    else:
        survives(content[:cut] + edited(content[cut:], draw))
