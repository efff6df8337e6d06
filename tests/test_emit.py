"""From graphs to programs: every value lies where it should, and nothing is moved that need not be."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.emit import emit
from dwconv.graph import Builder, Graph, UnsupportedModel
from dwconv.program import Program
from graphs import CASES, Drawn, built, transposed_cases
from interpreted import evaluate, interpret
from oracles import backends, using
from random_graphs import random_graph

# Sums of NumPy differ in their order with strides. Inputs are of unit size, and graphs keep to that.
TOLERANCE = 2e-5


def check_interpreted(graph: Graph, inputs: dict[str, np.ndarray]) -> None:
    program = emit(graph)
    assert len(program.outputs) == len(graph.outputs)
    for name, found, expected in zip(
        graph.outputs, interpret(program, inputs), evaluate(graph, inputs), strict=True
    ):
        assert found.shape == expected.shape == graph.values[name].shape
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale, err_msg=name)


def kinds(program: Program) -> list[str]:
    return [step.kind for step in program.steps]


@pytest.mark.parametrize("name", CASES)
def test_a_program_of_one_op_computes_what_the_op_means(name: str) -> None:
    check_interpreted(*built(CASES[name]))


@pytest.mark.parametrize("seed", range(300))
def test_phases_are_a_transposed_convolution(seed: int) -> None:
    check_interpreted(*built(transposed_cases(Drawn(seed)), seed))


@pytest.mark.parametrize("seed", range(400))
def test_a_program_of_a_random_graph_computes_what_the_graph_means(seed: int) -> None:
    check_interpreted(*random_graph(seed))


# ---- what is not moved ------------------------------------------------------------------------


def image(b: Builder, name: str = "x", channels: int = 4) -> str:
    return b.input(name, (1, 6, 6, channels))


def conv(b: Builder, x: str, outputs: int = 4, kernel: int = 1, **attributes: Any) -> str:
    filters = np.ones((kernel, kernel, b.shape(x)[3], outputs), np.float32)
    return b.node("conv", x, filters, padding="same", **attributes)


def test_convolutions_write_into_their_part_of_a_concatenation() -> None:
    b = Builder()
    x = image(b)
    inner = b.node("concat", conv(b, x, 3), conv(b, x, 5), axis=-1)
    outer = b.node("concat", conv(b, x, 2), inner, axis=3)
    b.output("y", conv(b, outer))
    program = emit(b.graph)
    assert kinds(program) == ["convolution"] * 4
    assert [program.tensors[step.output].view.offset for step in program.steps] == [2, 5, 0, 0]


@pytest.mark.parametrize("nested", [False, True])
def test_dense_blocks_copy_nothing(nested: bool) -> None:
    b = Builder()
    parts = [conv(b, image(b), 8)]
    for _ in range(4):
        whole = b.node("concat", *parts, axis=3) if len(parts) > 1 else parts[0]
        parts = [whole, conv(b, whole)] if nested else [*parts, conv(b, whole)]
    b.output("y", conv(b, b.node("concat", *parts, axis=3)))
    program = emit(b.graph)
    assert kinds(program) == ["convolution"] * 6
    assert len({program.memory(step.output) for step in program.steps[:-1]}) == 1
    check_interpreted(b.graph, {"x": Drawn(1).array(1, 6, 6, 4)})


def test_what_is_read_long_before_a_large_concatenation_is_copied_into_it() -> None:
    b = Builder()
    early = conv(b, image(b))
    late = conv(b, early, 32)
    for _ in range(3):
        late = conv(b, late, 32)
    b.output("y", conv(b, b.node("concat", early, conv(b, late, 60), axis=3)))
    assert kinds(emit(b.graph)).count("copy") == 1


def test_parts_that_lie_side_by_side_are_a_view() -> None:
    b = Builder()
    x = image(b, channels=8)
    parts = [b.node("slice", x, slices=(None, None, None, part)) for part in ((1, 4, 1), (4, 6, 1))]
    b.output("y", conv(b, b.node("concat", *parts, axis=3)))
    assert kinds(emit(b.graph)) == ["convolution"]


def test_heads_write_through_a_reshape_into_a_concatenation() -> None:
    b = Builder()
    x = image(b)
    heads = [b.node("reshape", conv(b, x, n * 3), shape=(1, -1, 3)) for n in (2, 4)]
    b.output("boxes", b.node("concat", *heads, axis=1))
    assert kinds(emit(b.graph)) == ["convolution", "convolution"]


def test_an_output_that_is_a_form_of_a_value_is_written_at_once() -> None:
    b = Builder()
    b.output("y", b.node("reshape", conv(b, image(b)), shape=(1, -1)))
    program = emit(b.graph)
    assert kinds(program) == ["convolution"]
    assert program.tensors[program.memory(program.steps[0].output)].storage == "output"


def test_an_output_in_another_order_of_axes_takes_one_copy() -> None:
    b = Builder()
    b.output("y", b.node("transpose", conv(b, image(b)), perm=(0, 3, 1, 2)))
    assert kinds(emit(b.graph)) == ["convolution", "copy"]


def test_slices_are_read_where_they_lie() -> None:
    b = Builder()
    x = image(b, channels=8)
    halves = [b.node("slice", x, slices=(None, None, None, part)) for part in ((0, 4, 1), (4, 8, 1))]
    b.output("y", b.node("binary", *(conv(b, half) for half in halves), kind="add"))
    assert kinds(emit(b.graph)) == ["convolution", "convolution", "binary"]


def test_elementwise_nodes_work_in_place_where_nobody_reads_their_input_later() -> None:
    b = Builder()
    x = image(b)
    a = conv(b, x)
    square = b.node("binary", a, a, kind="mul")
    sign = b.node("unary", square, kind="neg")
    b.output("y", conv(b, b.node("binary", sign, x, kind="add")))
    program = emit(b.graph)
    assert kinds(program) == ["convolution", "binary", "unary", "binary", "convolution"]
    assert len({program.memory(step.output) for step in program.steps[:4]}) == 1


def test_elementwise_nodes_spare_inputs_that_are_read_later() -> None:
    b = Builder()
    a = conv(b, image(b))
    part = b.node("slice", a, slices=(None, (0, 3, 1), None, None))
    negated = conv(b, b.node("unary", a, kind="neg"))
    b.output("y", negated)
    b.output("z", conv(b, part))
    program = emit(b.graph)
    assert kinds(program) == ["convolution", "unary", "convolution", "convolution"]
    assert program.memory(program.steps[0].output) != program.memory(program.steps[1].output)


def test_a_constant_border_is_filled_around_what_is_written_inside() -> None:
    b = Builder()
    a = conv(b, image(b))
    b.output("y", b.node("pad", a, pads=((0, 0), (1, 2), (0, 0), (0, 3)), value=1.5))
    assert kinds(emit(b.graph)) == ["convolution", "fill", "fill", "fill"]


def test_a_residual_over_padded_channels_is_a_copy_and_a_fill() -> None:
    b = Builder()
    x = image(b)
    padded = b.node("pad", x, pads=((0, 0), (0, 0), (0, 0), (0, 4)))
    b.output("y", b.node("binary", conv(b, x, 8), padded, kind="add"))
    assert kinds(emit(b.graph)) == ["copy", "fill", "convolution", "binary"]


@pytest.mark.parametrize(("outputs", "expected"), [(1, ["convolution", "copy"]), (20, ["convolution"] * 2)])
def test_a_transposed_convolution_without_overlap(outputs: int, expected: list[str]) -> None:
    b = Builder()
    filters = np.ones((2, 2, 4, outputs), np.float32)
    b.output("y", b.node("transpose_conv", image(b), filters, strides=(2, 2)))
    assert kinds(emit(b.graph)) == expected


def test_dense_layers_are_convolutions() -> None:
    b = Builder()
    x = b.input("x", (3, 5, 8))
    b.output("y", b.node("matmul", x, np.ones((8, 4), np.float32)))
    assert kinds(emit(b.graph)) == ["convolution"]


# ---- edges ------------------------------------------------------------------------------------


def test_inputs_and_constants_may_be_outputs() -> None:
    b = Builder()
    x = b.input("x", (2, 3))
    b.output("same", x)
    b.output("again", x)
    b.output("constant", b.constant(np.arange(3, dtype=np.float32)))
    b.output("x_turned", b.node("transpose", x, perm=(1, 0)))
    check_interpreted(b.graph, {"x": np.ones((2, 3), np.float32)})
    assert kinds(emit(b.graph)) == ["copy"] * 4


def test_constants_of_files_need_not_be_aligned_and_may_name_their_byte_order() -> None:
    b = Builder()
    content = np.arange(4 * 37 + 1, dtype=np.uint8)
    odd = content[1:].view("=f4").view("<f4" if sys.byteorder == "little" else ">f4")
    assert not odd.flags.aligned
    x = b.input("x", (1, 2, 2, 4))
    y = b.node("conv", x, odd[:32].reshape(1, 1, 4, 8), odd[:8])
    b.output("y", b.node("binary", y, odd[:8], kind="add"))
    program = emit(b.graph)
    stage = program.steps[0].operation.stages[0]  # type: ignore[union-attr]
    given = [stage.filters, stage.bias, *(t.data for t in program.tensors if t.data is not None)]
    assert all(array is not None and array.flags.aligned for array in given)
    assert all(memoryview(array).format == "f" for array in given if array is not None)


def test_an_output_may_be_read_later() -> None:
    b = Builder()
    a = conv(b, image(b))
    y = b.node("unary", a, kind="sigmoid")
    b.output("y", y)
    b.output("z", b.node("unary", "y", kind="neg"))
    check_interpreted(b.graph, {"x": Drawn(1).array(1, 6, 6, 4)})


def test_places_tell_where_values_lie() -> None:
    b = Builder()
    a = conv(b, image(b))
    b.output("y", b.node("unary", a, kind="sigmoid"))
    program = emit(b.graph)
    assert program.tensors[program.places["x"]].storage == "input"
    assert program.places[a] == program.steps[0].output
    assert program.steps[1].source is b.graph.nodes[1]


def test_all_that_is_not_supported_is_named_at_once() -> None:
    b = Builder()
    x = image(b)
    filters = b.input("weights", (1, 1, 4, 2))
    ids = b.input("ids", (3,), np.int64)
    b.output("y", b.node("conv", x, filters, name="head"))
    b.output("z", b.node("unary", ids, kind="neg"))
    with pytest.raises(UnsupportedModel) as caught:
        emit(b.graph, "model.onnx")
    text = str(caught.value)
    assert text.startswith("model.onnx: ")
    assert "conv 'head': 'weights' is computed" in text
    assert "'ids' is int64" in text


# ---- planes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_planes_become_pixels_and_nothing_beside_them(channels: int, backend: str) -> None:
    for height, width in ((1, 1), (1, 3), (3, 3), (2, 7), (41, 37)):
        b = Builder()
        b.output("y", b.node("transpose", b.input("x", (2, channels, height, width)), perm=(0, 2, 3, 1)))
        x = Drawn(1).array(2, channels, height, width)
        whole = np.full((2 * height * width * channels + 2,), 7, np.float32)  # a number on either side
        y = whole[1:-1].reshape(2, height, width, channels)
        with using(backend):
            for threads in (1, 2):
                dwconv.Network(b)(x, out=y, num_threads=threads)
                np.testing.assert_array_equal(y, x.transpose(0, 2, 3, 1))
                assert whole[0] == whole[-1] == 7


# ---- repeated pixels --------------------------------------------------------------------------

UPWARDS = {"kind": "nearest", "coordinates": "asymmetric", "rounding": "floor"}


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("channels", [1, 3, 17, 64])
@pytest.mark.parametrize("ratios", [(2, 2), (3, 1), (1, 4), (2, 9)], ids=str)
def test_what_is_added_to_repeated_pixels_reads_each_several_times(
    ratios: tuple[int, int], channels: int, backend: str
) -> None:
    b = Builder()
    small = b.node("unary", b.input("x", (2, 3, 5, channels)), kind="abs")
    sizes = (3 * ratios[0], 5 * ratios[1])
    large = b.node("unary", b.input("z", (2, *sizes, channels)), kind="neg")
    wide = b.node("resize", small, sizes=sizes, **UPWARDS)
    added = b.node("binary", large, wide, kind="add", activation="silu")
    again = b.node("resize", small, sizes=sizes, kind="nearest", coordinates="half_pixel")
    b.output("y", b.node("binary", again, added, kind="sub"))
    assert kinds(emit(b.graph)).count("resize") == 0
    inputs = {"x": Drawn(1).array(2, 3, 5, channels), "z": Drawn(2).array(2, *sizes, channels)}
    check_interpreted(b.graph, inputs)
    with using(backend):
        network = dwconv.Network(b)
        found = network(inputs, num_threads=1)
        np.testing.assert_array_equal(network(inputs, num_threads=3), found)
    np.testing.assert_allclose(found, evaluate(b.graph, inputs)[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("why", ["size", "twice", "output", "both", "linear", "smaller", "itself"])
def test_other_resized_images_are_made(why: str) -> None:
    b = Builder()
    x, attributes = image(b), UPWARDS
    sizes = (9, 9) if why == "size" else (12, 12)
    if why == "linear":
        attributes = {"kind": "linear", "coordinates": "half_pixel"}
    wide = b.node("resize", x, sizes=sizes, **attributes)
    other = b.input("z", (1, 1, 1, 4) if why == "smaller" else (1, *sizes, 4))
    if why == "both":
        other = b.node("resize", b.input("w", (1, 3, 3, 4)), sizes=sizes, **UPWARDS)
    added = b.node("binary", wide, wide if why == "itself" else other, kind="add")
    b.output("y", b.node("unary", added, kind="relu"))
    if why == "output":
        b.output("wide", wide)
    if why == "twice":
        b.output("more", b.node("unary", wide, kind="abs"))
    assert kinds(emit(b.graph)).count("resize") == (2 if why == "both" else 1)
    shapes = {name: b.shape(name) for name in b.graph.inputs}
    check_interpreted(b.graph, {name: Drawn(1).array(*shape) for name, shape in shapes.items()})
