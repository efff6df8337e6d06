"""Quantized layers beside other people's: the same bits."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import dwconv
import int8_oracle as oracle
from int8_layers import KINDS, assert_same


def onnx_runtime(case: oracle.Case) -> np.ndarray:
    """QLinearConv."""
    onnx, runtime = importlib.import_module("onnx"), importlib.import_module("onnxruntime")
    h, t = onnx.helper, onnx.TensorProto
    x_type = {"int8": t.INT8, "uint8": t.UINT8}[case.x.dtype.name]
    arrays = {
        "xs": np.float32(case.x_quant[0]), "xz": case.x.dtype.type(case.x_quant[1]),
        "w": np.ascontiguousarray(case.filters.transpose(3, 2, 0, 1)), "ws": case.filter_scale,
        "wz": np.zeros(case.filter_scale.shape, np.int8), "ys": np.float32(case.y_quant[0]),
        "yz": case.x.dtype.type(case.y_quant[1]),
    }  # fmt: skip
    if len(case.filter_scale) == 1:
        arrays["ws"], arrays["wz"] = case.filter_scale[0], np.int8(0)
    if case.bias is not None:
        arrays["b"] = case.bias
    node = h.make_node(
        "QLinearConv", ["x", *arrays], ["y"], group=case.groups, strides=list(case.strides),
        dilations=list(case.dilations), pads=[*(p[0] for p in case.padding), *(p[1] for p in case.padding)],
    )  # fmt: skip
    graph = h.make_graph(
        [node], "g", [h.make_tensor_value_info("x", x_type, [None] * 4)],
        [h.make_tensor_value_info("y", x_type, [None] * 4)],
        [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": np.ascontiguousarray(case.x.transpose(0, 3, 1, 2))})[0]
    return np.asarray(y.transpose(0, 2, 3, 1))


def has_vnni() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            words = set(file.read().split())
    except OSError:
        return False
    return bool(words & {"avx512_vnni", "avx_vnni", "asimddp"})


@pytest.mark.skipif(not has_vnni(), reason="ONNX Runtime is exact with VNNI or dot products only")
@pytest.mark.parametrize("kind", KINDS)
def test_even_is_onnx_runtime(kind: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(KINDS.index(kind) + 20)
    for _ in range(40):
        case = oracle.random_case(rng, kind=kind)
        assert_same(oracle.layer_of(case, dwconv)(case.x), onnx_runtime(case))
