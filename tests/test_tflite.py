"""TFLite files give the results of LiteRT; those that cannot be say why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dwconv
from dwconv.graph import UnsupportedModel
from dwconv.importers import tflite
from tflite_cases import CASES, SAME, Make, conv, dilated, i32, numbers, plain, rng, x
from tflite_models import Writer, agree, litert, opened, ran

MODELS = Path(__file__).parents[2] / "shared" / "models"


# ---- real models --------------------------------------------------------------------------------


def called(net: dwconv.Network, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    found = net(inputs)
    return list(found.values()) if isinstance(found, dict) else [found]


def model(name: str) -> bytes:
    path = MODELS / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path.read_bytes()


@pytest.mark.parametrize("name", ["vww_96_float", "palm_detection_lite"])
@pytest.mark.parametrize("scale", [1.0, 100.0, 0.0])
def test_real_models_agree_with_litert_in_every_output(name: str, scale: float) -> None:
    content = model(f"{name}.tflite")
    graph, inputs, _ = opened(content)
    data = {info.name: scale * numbers(*graph.values[info.name].shape) for info in inputs}
    expected = litert(content, data)
    agree(ran(graph, data), expected)
    agree(called(dwconv.Network.from_tflite(content), data), expected)


def test_names_shapes_and_dtypes_are_those_of_the_file() -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    path = MODELS / "palm_detection_lite.tflite"
    content = model(path.name)
    _, inputs, outputs = opened(path)
    details = interpreter(model_content=content)
    for ours, theirs in ((inputs, details.get_input_details()), (outputs, details.get_output_details())):
        assert [(i.name, i.dtype) for i in ours] == [(d["name"], d["dtype"]) for d in theirs]
        sizes = [tuple(None if n == -1 else int(n) for n in d["shape_signature"]) for d in theirs]
        assert [i.shape for i in ours] == sizes


# ---- single operators ---------------------------------------------------------------------------


def built(make: Make) -> tuple[bytes, dict[str, np.ndarray]]:
    m = Writer()
    y = make(m)
    content = m.content(y if isinstance(y, list) else [y])
    names = [m.tensors[i] for i in m.inputs]
    return content, {tensor["name"]: numbers(*tensor["shape"]) for tensor in names}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_agrees_with_litert(name: str) -> None:
    content, inputs = built(CASES[name])
    graph, _, _ = opened(content)
    expected = litert(content, inputs)
    if len(expected) == 1 and expected[0].ndim > 5:
        pytest.skip("LiteRT gives no such result")
    agree(ran(graph, inputs), expected, 1e-5)
    agree(called(dwconv.Network.from_tflite(content), inputs), expected, 1e-5)


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize(
    "mode", [{}, {"AlignCorners": True}, {"HalfPixelCenters": True}], ids=["", "corners", "half"]
)
@pytest.mark.parametrize("sizes", [(18, 16), (5, 3), (9, 8), (1, 1), (29, 41), (82, 123)])
def test_resizing_agrees_with_litert(op: str, mode: dict[str, bool], sizes: tuple[int, int]) -> None:
    options = "ResizeBilinearOptions" if "BILINEAR" in op else "ResizeNearestNeighborOptions"
    content, inputs = built(lambda m: plain(m, op, i32(*sizes), options=options, **mode))
    graph, _, _ = opened(content)
    expected = litert(content, inputs)
    agree(ran(graph, inputs), expected, 2e-5)
    agree(called(dwconv.Network.from_tflite(content), inputs), expected, 2e-5)


def test_a_dilated_convolution_is_one_node() -> None:
    for make in (dilated, lambda m: dilated(m, channels=True)):
        graph, _, _ = opened(built(make)[0])
        assert [node.op for node in graph.nodes] == ["conv"]
        assert graph.nodes[0]["dilations"] == (2, 2)


def test_int8_weights_of_a_hybrid_model_are_made_float() -> None:
    """LiteRT makes the activations int8 too, and is less exact."""

    def make(m: Writer) -> int:
        filters = rng.integers(-127, 128, (4, 3, 3, 6)).astype(np.int8)
        stored = m.constant(filters, scale=np.full(4, 0.01), zero=np.zeros(4), axis=0)
        inputs = [x(m), stored, m.constant(numbers(4))]
        return m.op("CONV_2D", inputs, "Conv2DOptions", Padding=SAME, StrideH=1, StrideW=1)

    content, inputs = built(make)
    graph, _, _ = opened(content)
    agree(ran(graph, inputs), litert(content, inputs), 0.02)


# ---- names, shapes ------------------------------------------------------------------------------


def test_an_open_batch_is_none_and_can_be_chosen() -> None:
    m = Writer()
    given = m.input("image", (1, 8, 8, 3), signature=(-1, 8, 8, 3))
    flat = m.op("RESHAPE", [given, m.constant(i32(1, 192))], "ReshapeOptions")
    content = m.content([flat])
    graph, inputs, _ = opened(content)
    assert inputs[0].shape == (None, 8, 8, 3)
    assert graph.values["image"].shape == (1, 8, 8, 3)
    net = dwconv.Network.from_tflite(content)
    assert net(numbers(4, 8, 8, 3)).shape == (4, 192)
    _, inputs, outputs = opened(content, input_shapes={"image": (2, None, 8, 3)})
    assert (inputs[0].shape, outputs[0].shape) == ((2, None, 8, 3), (2, 192))
    with pytest.raises(ValueError, match="4 axes"):
        tflite.read(content, input_shapes={"image": (4, 8, 8)})
    with pytest.raises(ValueError, match="there are no inputs"):
        tflite.read(content, input_shapes={"picture": (4, 8, 8, 3)})


def test_sizes_that_are_computed_from_the_input_follow_it() -> None:
    m = Writer()
    given = m.input("image", (1, 1, 1, 3), signature=(-1, -1, -1, 3))
    filters, bias = m.constant(numbers(4, 3, 3, 3)), m.constant(numbers(4))
    small = m.op("CONV_2D", [given, filters, bias], "Conv2DOptions", Padding=SAME, StrideH=2, StrideW=2)
    shape = m.op("SHAPE", [given], "ShapeOptions", OutType=2, kind="INT32")
    ends = [m.constant(i32([n])) for n in (1, 3, 1)]
    sizes = m.op("STRIDED_SLICE", [shape, *ends], "StridedSliceOptions", kind="INT32")
    y = m.op("RESIZE_BILINEAR", [small, sizes], "ResizeBilinearOptions", HalfPixelCenters=True)
    content = m.content([m.op("CONCATENATION", [y, given], "ConcatenationOptions", Axis=3)])
    net = dwconv.Network.from_tflite(content)
    for size in ((2, 9, 12, 3), (1, 20, 7, 3)):
        x = {"image": numbers(*size)}
        agree(called(net, x), litert(content, x))


def test_outputs_may_share_a_value_a_name_and_an_input() -> None:
    m = Writer()
    given = m.input("x", (1, 4))
    y = m.op("RELU", [given], outputs=[m.tensor("same")])
    z = m.op("NEG", [y], outputs=[m.tensor("same")])
    graph, _, outputs = opened(m.content([z, y, y, given]))
    assert len({info.name for info in outputs}) == 4
    data = numbers(1, 4)
    found = ran(graph, {"x": data})
    for got, expected in zip(
        found, (-np.maximum(data, 0), np.maximum(data, 0), np.maximum(data, 0), data), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


# ---- what is unsupported ------------------------------------------------------------------------


def test_one_error_lists_every_unsupported_operator() -> None:
    m = Writer()
    a = m.op("GATHER_ND", [m.input("x", (1, 4)), m.constant(i32(1))], kind="INT64")
    b = m.op("TFLite_Detection_PostProcess", [a])
    c = m.op("RELU", [b])
    d = m.op("LSTM", [c, -1])
    e = m.op("ADD", [m.inputs[0], m.tensor("state", (1, 4), variable=True)], "AddOptions")
    with pytest.raises(UnsupportedModel) as caught:
        tflite.read(m.content([d, e]))
    found = caught.value.problems
    assert [problem.split(" ")[0] for problem in found] == [
        "GATHER_ND",
        "CUSTOM:TFLite_Detection_PostProcess",
        "LSTM",
        "ADD",
    ]
    assert "GATHER with constant indices" in found[0]
    assert "state" in found[3]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda m: conv(m, FusedActivationFunction=5), "fused activation"),
        (lambda m: m.op("RELU", [m.input("q", (1, 4), "INT8", scale=0.5)]), "a result of FLOAT32"),
        (lambda m: m.op("RELU", [m.input("q", (1, 4), "INT16", scale=0.5)]), "INT16, quantised,"),
        (lambda m: m.op("ADD", [x(m), m.input("q", (1, 4), "INT8", scale=0.5)], "AddOptions"), "and INT8"),
        (lambda m: m.op("ADD", [m.input("n", (1, 4), "INT32")] * 2, "AddOptions"), "INT32"),
        (lambda m: plain(m, "CAST", options="CastOptions", kind="INT32"), "cast"),
        (lambda m: m.op("RESHAPE", [x(m), m.input("shape", (2,), "INT32")], "ReshapeOptions"), "INT32"),
        (lambda m: m.op("RELU", [m.tensor("w", (2, 2), "BFLOAT16", b"12345678")]), "BFLOAT16"),
    ],
)  # fmt: skip
def test_a_reason_is_given(make: Make, reason: str) -> None:
    m = Writer()
    with pytest.raises(UnsupportedModel, match=reason):
        tflite.read(m.content([make(m)]))
