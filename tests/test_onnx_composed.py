"""Truth values, recurrent layers, Einsum and Attention, made of other operations: against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from oracles import backends, using

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
rng = np.random.default_rng(5)
EDGES = np.array([[-np.inf, -1.5, -0.0, 0.0, np.nan], [1e-45, 0.5, 3e38, np.inf, 1.0]], np.float32)


def file_of(
    nodes: list[Any], x: np.ndarray, outputs: list[str], *, opset: int = 17, **constants: np.ndarray
) -> bytes:
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [info("x", onnx.TensorProto.FLOAT, x.shape)],
        [info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def check(content: bytes, x: np.ndarray, tolerance: float = 0.0) -> None:
    expected = onnxruntime.InferenceSession(content).run(None, {"x": x})
    found = dwconv.Network.from_onnx(content)(x)
    found = list(found.values()) if isinstance(found, dict) else [found]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(op, inputs.split(","), output.split(","), **attributes)


@pytest.mark.parametrize("kind", ["Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"])
@pytest.mark.parametrize("bound", [0.0, 0.5, np.inf, -np.inf, np.nan])
def test_comparisons_choose_what_onnx_runtime_chooses(kind: str, bound: float) -> None:
    """Also where the one that is not chosen is infinite, and of NaN."""
    nodes = [node(kind, "x,bound", "m"), node("Exp", "x", "e"), node("Where", "m,x,e", "y")]
    nodes += [node("Not", "m", "n"), node("Cast", "n", "f", to=1)]
    check(file_of(nodes, EDGES, ["y", "f"], bound=np.array(bound, np.float32)), EDGES, 1e-6)


@pytest.mark.parametrize("backend", backends())
def test_what_is_not_chosen_never_matters(backend: str) -> None:
    """The guard that models are written with: a logarithm or a quotient where it is defined, else another."""
    nodes = [node("Greater", "x,zero", "m"), node("Log", "x", "l"), node("Where", "m,l,x", "y")]
    nodes += [node("Equal", "x,x", "known"), node("Where", "known,zero,x", "z")]
    content = file_of(nodes, EDGES, ["y", "z"], zero=np.array(0, np.float32))
    with using(backend):
        check(content, EDGES, 1e-6)


def test_logic_and_shapes_of_truth_values() -> None:
    nodes = [
        node("Greater", "x,low", "a"),
        node("Less", "x,high", "b"),
        node("And", "a,b", "c"),
        node("Or", "c,known", "d"),
        node("Xor", "d,a", "e"),
        node("Transpose", "e", "t", perm=[1, 0]),
        node("Cast", "x", "z", to=9),
        node("Where", "z,x,low", "w"),
        node("Transpose", "w", "v", perm=[1, 0]),
        node("Where", "t,v,high", "y"),
    ]
    constants = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    check(file_of(nodes, EDGES, ["y"], known=np.array([True, False, False, True, True]), **constants), EDGES)


def test_truth_values_where_floats_belong_are_refused_by_name() -> None:
    broken = file_of([node("Greater", "x,x", "m"), node("Relu", "m", "y")], EDGES, ["y"])
    with pytest.raises(dwconv.UnsupportedModel, match=r"Relu.*truth values computed at run time"):
        dwconv.Network.from_onnx(broken)


@pytest.mark.parametrize("how", [{"axis": 1}, {"axis": -1, "largest": 0}, {"axis": 0, "sorted": 1}])
@pytest.mark.parametrize("k", [1, 3])
def test_the_first_of_an_order(how: dict[str, Any], k: int) -> None:
    """Of equals the first, of infinities too."""
    x = rng.integers(-2, 3, (3, 6, 5)).astype(np.float32)
    x[0, 0], x[1, 2, 3], x[2] = -np.inf, np.inf, -np.inf
    model = onnx.load_from_string(
        file_of([node("TopK", "x,k", "v,i", **how)], x, ["v", "i"], k=np.array([k]))
    )
    model.graph.output[1].type.tensor_type.elem_type = onnx.TensorProto.INT64
    check(model.SerializeToString(), x)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"cubic_coeff_a": -0.5},
        {"exclude_outside": 1},
        {"coordinate_transformation_mode": "align_corners"},
        {"coordinate_transformation_mode": "asymmetric"},
    ],
)
def test_cubic_interpolation(how: dict[str, Any]) -> None:
    x = rng.standard_normal((2, 3, 9, 7)).astype(np.float32)
    for scales in ([1, 1, 2, 3], [1, 1, 3, 1], [1, 1, 2 / 3, 1.5]):
        if "align_corners" in how.values() and scales[-1] == 1.5:
            continue  # scales that give no whole size are refused
        resize = node("Resize", "x,,s", "y", mode="cubic", **how)
        check(file_of([resize], x, ["y"], s=np.array(scales, np.float32)), x, 1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "after"), [("LSTM", 0), ("GRU", 0), ("GRU", 1), ("RNN", 0)])
@pytest.mark.parametrize("begun", [False, True])
def test_recurrent_layers(op: str, after: int, direction: str, begun: bool) -> None:
    gates, ways = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 2 if direction == "bidirectional" else 1
    steps, batch, inputs, size = 5, 2, 3, 7
    shapes = {"w": (ways, gates * size, inputs), "r": (ways, gates * size, size)}
    names = "x,w,r,,"
    if begun:
        shapes |= {"b": (ways, 2 * gates * size), "h": (ways, batch, size)}
        names = "x,w,r,b,,h"
        if op == "LSTM":
            shapes["c"] = (ways, batch, size)
            names += ",c"
    constants = {k: rng.normal(0, 0.5, s).astype(np.float32) for k, s in shapes.items()}
    x = rng.standard_normal((steps, batch, inputs), dtype=np.float32)
    outputs = ["y", "last", "memory"] if op == "LSTM" else ["y", "last"]
    more = {"linear_before_reset": after} if op == "GRU" else {}
    layer = node(op, names, ",".join(outputs), hidden_size=size, direction=direction, **more)
    check(file_of([layer], x, outputs, **constants), x, 1e-5)


@pytest.mark.parametrize(
    ("why", "attributes"),
    [
        ("clip", {"clip": 1.0}),
        ("layout", {"layout": 1}),
        ("activations", {"activations": ["Elu", "Tanh", "Tanh"]}),
        ("peepholes", {}),
        ("steps", {}),
    ],
)
def test_what_recurrent_layers_lack_is_refused_by_name(why: str, attributes: dict[str, Any]) -> None:
    x = np.zeros((2000 if why == "steps" else 3, 1, 2), np.float32)
    constants = {"w": np.zeros((1, 8, 2), np.float32), "r": np.zeros((1, 8, 2), np.float32)}
    names = "x,w,r"
    if why == "peepholes":
        constants["p"], names = np.zeros((1, 6), np.float32), "x,w,r,,,,,p"
    layer = node("LSTM", names, "y", hidden_size=2, **attributes)
    with pytest.raises(dwconv.UnsupportedModel, match=rf"LSTM.*{why}"):
        dwconv.Network.from_onnx(file_of([layer], x, ["y"], **constants))


@pytest.mark.parametrize(
    ("equation", "shape", "other"),
    [
        ("nchw,nkhw->nck", (1, 3, 4, 5), (1, 6, 4, 5)),
        ("nchw,ck->nkhw", (2, 3, 4, 5), (3, 7)),
        ("bhij,bhjd->bihd", (1, 2, 5, 7), (1, 2, 7, 4)),
        ("bij,bij->", (2, 3, 4), (2, 3, 4)),
        ("i,j->ji", (3,), (4,)),
        ("cb, ca", (3, 4), (3, 5)),
        ("ijk,l->lk", (2, 3, 4), (5,)),
        ("ijk->ki", (2, 3, 4), None),
    ],
)
def test_einsum(equation: str, shape: tuple[int, ...], other: tuple[int, ...] | None) -> None:
    x = rng.standard_normal(shape, dtype=np.float32)
    constants = {} if other is None else {"other": rng.standard_normal(other, dtype=np.float32)}
    layer = node("Einsum", "x" if other is None else "x,other", "y", equation=equation)
    check(file_of([layer], x, ["y"], **constants), x, 1e-5)


@pytest.mark.parametrize("equation", ["ii->i", "...i->i"])
def test_diagonals_and_dots_of_einsum_are_refused_by_name(equation: str) -> None:
    x = np.ones((3, 3), np.float32)
    with pytest.raises(dwconv.UnsupportedModel, match=r"Einsum.*letters"):
        dwconv.Network.from_onnx(file_of([node("Einsum", "x", "y", equation=equation)], x, ["y"]))


def test_group_norm_as_exporters_write_it() -> None:
    """With the type that it computes in, from opset 21 on."""
    x = rng.standard_normal((1, 6, 4, 5), dtype=np.float32)
    constants = {k: rng.standard_normal(6, dtype=np.float32) for k in ("scale", "bias")}
    layer = node("GroupNormalization", "x,scale,bias", "y", num_groups=3, stash_type=1)
    check(file_of([layer], x, ["y"], opset=21, **constants), x, 1e-5)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("shape", [(1, 2, 5, 4), (2, 5, 12)])
def test_attention(shape: tuple[int, ...], causal: int) -> None:
    x = rng.standard_normal(shape, dtype=np.float32)
    heads = {"q_num_heads": 3, "kv_num_heads": 3} if len(shape) == 3 else {}
    seen = rng.standard_normal((5, 5)) > -0.5
    seen[2] = False  # a row that sees nothing
    seen[:, 0] |= np.arange(5) != 2
    layer = node("Attention", "x,x,x,mask", "y", is_causal=causal, scale=0.4, **heads)
    content = file_of([layer], x, ["y"], opset=23, mask=seen)
    q = x if len(shape) == 4 else x.reshape(2, 5, 3, 4).transpose(0, 2, 1, 3)
    weights = np.exp(0.4 * q.astype(float) @ q.swapaxes(-1, -2)) * (np.tri(5) if causal else 1) * seen
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    expected = weights @ q
    if len(shape) == 3:
        expected = expected.transpose(0, 2, 1, 3).reshape(shape)
    np.testing.assert_allclose(dwconv.Network.from_onnx(content)(x), expected, atol=1e-5)


def test_attention_with_a_past_is_refused_by_name() -> None:
    x = np.ones((1, 2, 5, 4), np.float32)
    layer = node("Attention", "x,x,x,,past,past", "y")
    with pytest.raises(dwconv.UnsupportedModel, match=r"Attention.*past_key"):
        dwconv.Network.from_onnx(file_of([layer], x, ["y"], opset=23, past=x))
