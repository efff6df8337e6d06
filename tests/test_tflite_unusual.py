"""What files of other converters do that the schema hardly allows, and what is read all the same."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv
from dwconv.graph import UnsupportedModel
from tflite_cases import i32, numbers
from tflite_models import Writer, agree, litert


def called(net: dwconv.Network, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    found = net(inputs)
    return list(found.values()) if isinstance(found, dict) else [found]


def composite(levels: int) -> Writer:
    """(x + 1) * 2, wrapped so many times."""
    m = Writer()
    a = m.tensor("a", (1, 4))
    sum_ = m.op("ADD", [a, m.constant([1.0])], "AddOptions", outputs=[m.tensor("sum", (1, 4))])
    y = m.op("MUL", [sum_, m.constant([2.0])], "MulOptions", outputs=[m.tensor("y", (1, 4))])
    index = m.subgraph([a], [y])
    for _ in range(levels - 1):
        outer = m.tensor("outer", (1, 4))
        m.op(
            "STABLEHLO_COMPOSITE", [a], "StableHLOCompositeOptions", outputs=[outer],
            DecompositionSubgraphIndex=index,
        )  # fmt: skip
        index = m.subgraph([a], [outer])
    given, result = m.input("x", (1, 4)), m.tensor("result", (1, 4))
    m.op(
        "STABLEHLO_COMPOSITE", [given], "StableHLOCompositeOptions", outputs=[result],
        DecompositionSubgraphIndex=index,
    )  # fmt: skip
    m.op("RELU", [result], outputs=[m.tensor("last", (1, 4))])
    return m


@pytest.mark.parametrize("levels", [1, 3])
def test_a_composite_is_what_its_subgraph_computes(levels: int) -> None:
    m = composite(levels)
    content = m.content([len(m.tensors) - 1])
    x = {"x": numbers(1, 4)}
    agree(called(dwconv.Network.from_tflite(content), x), [np.maximum((x["x"] + 1) * 2, 0)])


def test_subgraphs_that_contain_each_other_are_refused() -> None:
    m = Writer()
    a, b = m.tensor("a", (1, 4)), m.tensor("b", (1, 4))
    options = {"options": "StableHLOCompositeOptions", "DecompositionSubgraphIndex": 1}
    m.op("STABLEHLO_COMPOSITE", [a], outputs=[b], **options)
    m.subgraph([a], [b])
    y = m.op("STABLEHLO_COMPOSITE", [m.input("x", (1, 4))], outputs=[m.tensor("y", (1, 4))], **options)
    with pytest.raises(ValueError, match="contain each other"):
        dwconv.Network.from_tflite(m.content([y]))
    m = composite(1)
    m.subgraphs[0] = (m.subgraphs[0][0], [], m.subgraphs[0][2])
    with pytest.raises(ValueError, match="numbers of tensors"):
        dwconv.Network.from_tflite(m.content([len(m.tensors) - 1]))


def test_biases_with_the_axis_of_their_filters_are_read() -> None:
    """As converters of 2019 wrote them; LiteRT of today refuses the file, TFLite Micro runs it."""
    found = []
    for axis in (0, 3):
        m = Writer()
        rng = np.random.default_rng(3)
        scales = (rng.random(8) + 0.5) / 100
        x = m.input("x", (1, 6, 5, 8), "INT8", scale=0.05, zero=3)
        filters = m.constant(
            rng.integers(-127, 128, (1, 3, 3, 8), np.int8), scale=scales, zero=[0] * 8, axis=3
        )
        bias = rng.integers(-999, 999, 8, np.int32)
        inputs = [x, filters, m.constant(bias, scale=0.05 * scales, zero=[0] * 8, axis=axis)]
        y = m.op(
            "DEPTHWISE_CONV_2D", inputs, "DepthwiseConv2DOptions", StrideH=1, StrideW=1, DepthMultiplier=1,
            outputs=[m.tensor("y", (1, 6, 5, 8), "INT8", scale=0.07, zero=-4)],
        )  # fmt: skip
        net = dwconv.Network.from_tflite(m.content([y]))
        found.append(net(np.random.default_rng(4).integers(-128, 128, (1, 6, 5, 8), np.int8)))
    np.testing.assert_array_equal(*found)


def test_shapes_are_read_in_any_number_of_axes_and_in_empty_ones() -> None:
    """A target of (1, 2); what a split of a shape leaves empty; an empty shape without a buffer."""
    m = Writer()
    given = m.input("x", (2, 6))
    shape = m.op("SHAPE", [given], "ShapeOptions", OutType=2, kind="INT32")
    sizes, axis = m.constant(i32([1, 1, 0])), m.constant(i32(0))
    rows, columns, none = m.op("SPLIT_V", [shape, sizes, axis], "SplitVOptions", NumSplits=3, outputs=3)
    scalar = m.op("RESHAPE", [columns, m.tensor("empty", (0,), "INT32")], "ReshapeOptions", kind="INT32")
    block = m.constant(i32(4))
    half = m.op("FLOOR_DIV", [scalar, block], kind="INT32")
    rest = m.op("FLOOR_MOD", [scalar, block], kind="INT32")
    both = m.op("MUL", [half, rest], "MulOptions", kind="INT32")  # 1 * 2
    size = m.op("PACK", [both], "PackOptions", ValuesCount=1, kind="INT32")
    more = m.op("CONCATENATION", [none, size, m.constant(i32([-1]))], "ConcatenationOptions", kind="INT32")
    target = m.op("RESHAPE", [more, m.constant(i32([1, 2]))], "ReshapeOptions", kind="INT32")
    y = m.op("RESHAPE", [m.op("NEG", [given]), target], "ReshapeOptions")
    z = m.op("TILE", [y, m.op("CONCATENATION", [rows, size], "ConcatenationOptions", kind="INT32")])
    x = numbers(2, 6)
    expected = np.tile(-x.reshape(2, 6), (2, 2))
    agree(called(dwconv.Network.from_tflite(m.content([z])), {"x": x}), [expected])


def test_outputs_may_be_inputs_in_another_order() -> None:
    m = Writer()
    given = [m.input(name, (1, 2)) for name in "abc"]
    x = {name: numbers(1, 2) for name in "abc"}
    agree(called(dwconv.Network.from_tflite(m.content(given[::-1])), x), [x[name] for name in "cba"])


def test_a_file_that_proposes_too_small_an_image_takes_those_that_fit() -> None:
    m = Writer()
    given = m.input("x", (1, 1, 1, 3), signature=(-1, -1, -1, 3))
    inputs = [given, m.constant(numbers(4, 3, 3, 3)), m.constant(numbers(4))]
    y = m.op("CONV_2D", inputs, "Conv2DOptions", Padding=1, StrideH=1, StrideW=1)
    content = m.content([y])
    net = dwconv.Network.from_tflite(content)
    assert net.inputs[0].shape == (None, None, None, 3)
    x = {"x": numbers(1, 5, 7, 3)}
    agree(called(net, x), litert(content, x))
    with pytest.raises(ValueError, match="cannot take"):
        net(numbers(1, 2, 2, 3))


def test_floor_mod_of_activations_is_refused() -> None:
    m = Writer()
    y = m.op("FLOOR_MOD", [m.input("x", (1, 4)), m.constant([2.0])])
    with pytest.raises(UnsupportedModel, match="FLOOR_MOD"):
        dwconv.Network.from_tflite(m.content([y]))


def mediapipe(kernel: tuple[int, int], options: bytes) -> bytes:
    m, rng = Writer(), np.random.default_rng(0)
    filters = m.constant(rng.standard_normal((4, *kernel, 6)).astype(np.float32))
    bias = m.constant(rng.standard_normal(4).astype(np.float32))
    x = m.input("x", (2, 5, 4, 6))
    return m.content([m.op("Convolution2DTransposeBias", [x, filters, bias], custom=options)])


def test_the_transposed_convolution_of_mediapipe() -> None:
    """Its own operator, as TensorFlow Lite's with a bias."""
    m, rng = Writer(), np.random.default_rng(0)
    filters = m.constant(rng.standard_normal((4, 2, 3, 6)).astype(np.float32))
    bias = m.constant(rng.standard_normal(4).astype(np.float32))
    size = m.constant(np.array([2, 10, 12, 4], np.int32))
    told = {"Padding": 0, "StrideH": 2, "StrideW": 3}
    y = m.op(
        "TRANSPOSE_CONV", [size, filters, m.input("x", (2, 5, 4, 6)), bias], "TransposeConvOptions", **told
    )
    x = rng.standard_normal((2, 5, 4, 6)).astype(np.float32)
    options = np.array([1, 3, 2], "<i4").tobytes()
    found = dwconv.Network.from_tflite(mediapipe((2, 3), options))(x)
    np.testing.assert_allclose(found, litert(m.content([y]), {"x": x})[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(dwconv.UnsupportedModel, match="one of the strides"):
        dwconv.Network.from_tflite(mediapipe((3, 3), options))
    with pytest.raises(ValueError, match="bytes of options"):
        dwconv.Network.from_tflite(mediapipe((2, 3), b""))
