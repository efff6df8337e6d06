"""Random quantized convolutions in other people's libraries, beside dwconv: how many have the same bits.

    python tests/int8_peers.py --count 2000       # the table of docs/int8.md

A library that lacks an operation is left out of its row.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

import dwconv
import int8_oracle as oracle

Pair = tuple[np.ndarray, np.ndarray]  # dwconv's result, and theirs

# ---- ONNX Runtime -------------------------------------------------------------------------------


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


# ---- LiteRT -------------------------------------------------------------------------------------


def for_litert(case: oracle.Case, rng: Any) -> tuple[oracle.Case, bool]:
    """The same with what its files can say, no weight of -128 and a bias, and whether padding is "same"."""
    kernel, size, padding = case.filters.shape[:2], case.x.shape[1:3], []
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, case.dilations, strict=True)]
    same = bool(rng.integers(2)) or spans[0] > size[0] or spans[1] > size[1]
    for n, span, stride in zip(size, spans, case.strides, strict=True):
        total = max((-(-n // stride) - 1) * stride + span - n, 0) if same else 0
        padding.append((total // 2, total - total // 2))
    bias = np.zeros(case.filters.shape[3], np.int32) if case.bias is None else case.bias
    filters = np.maximum(case.filters, -127)
    return case._replace(padding=(padding[0], padding[1]), filters=filters, bias=bias), same


def litert(case: oracle.Case, same: bool, kind: str) -> np.ndarray:
    """`kind`: "AUTO" is XNNPACK, for results whose shape is known; "BUILTIN_REF" the reference
    kernels, "BUILTIN_WITHOUT_DEFAULT_DELEGATES" the fast ones that are not XNNPACK."""
    from tflite_models import Writer

    package = importlib.import_module("ai_edge_litert.interpreter")
    kh, kw, _, outputs = case.filters.shape
    scales, axis = case.filter_scale, 3 if case.depthwise else 0
    weights = case.filters.reshape(1, kh, kw, outputs) if axis else case.filters.transpose(3, 0, 1, 2)
    m = Writer()
    dtype = case.x.dtype.name.upper()
    x = m.input("x", case.x.shape, dtype, scale=case.x_quant[0], zero=case.x_quant[1])
    w = m.constant(np.ascontiguousarray(weights), scale=scales, zero=[0] * len(scales), axis=axis)
    b = m.constant(case.bias, scale=np.float32(case.x_quant[0]) * scales, zero=[0] * len(scales))
    shape = oracle.layer_of(case, dwconv).output_shape(case.x.shape)
    y = m.tensor("y", shape, dtype, scale=case.y_quant[0], zero=case.y_quant[1])
    fields = {
        "Padding": 0 if same else 1, "StrideH": case.strides[0], "StrideW": case.strides[1],
        "DilationHFactor": case.dilations[0], "DilationWFactor": case.dilations[1],
    } | ({"DepthMultiplier": outputs // case.groups} if axis else {})  # fmt: skip
    name, options = ("DEPTHWISE_CONV_2D", "Depthwise") if axis else ("CONV_2D", "")
    made = m.op(name, [x, w, b], f"{options}Conv2DOptions", outputs=[y], version=3, **fields)
    interpreter = package.Interpreter(
        model_content=m.content([made]),
        experimental_op_resolver_type=getattr(package.OpResolverType, kind),
        num_threads=1,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], case.x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


# ---- counting -----------------------------------------------------------------------------------


def onnx_runtime_pair(case: oracle.Case, rng: Any) -> Pair:
    return oracle.layer_of(case, dwconv)(case.x), onnx_runtime(case)


def _litert_pair(kind: str, rounding: str) -> Callable[[oracle.Case, Any], Pair]:
    def pair(case: oracle.Case, rng: Any) -> Pair:
        if case.x.dtype == np.uint8:  # with which its filters would be uint8, too
            case = case._replace(
                x=(case.x.astype(np.int16) - 128).astype(np.int8),
                x_quant=(case.x_quant[0], case.x_quant[1] - 128),
                y_quant=(case.y_quant[0], case.y_quant[1] - 128),
            )
        case, same = for_litert(case, rng)
        return oracle.layer_of(case, dwconv, rounding=rounding)(case.x), litert(case, same, kind)

    return pair


LIBRARIES: dict[str, tuple[str, str, Callable[[oracle.Case, Any], Pair]]] = {
    "ONNX Runtime, QLinearConv": ("even", "onnxruntime", onnx_runtime_pair),
    "LiteRT, XNNPACK": ("even", "ai_edge_litert", _litert_pair("AUTO", "even")),
    "LiteRT, reference kernels": ("tflite", "ai_edge_litert", _litert_pair("BUILTIN_REF", "tflite")),
    "LiteRT, optimised kernels": (
        "tflite", "ai_edge_litert", _litert_pair("BUILTIN_WITHOUT_DEFAULT_DELEGATES", "tflite"),
    ),
}  # fmt: skip


def compare(library: str, count: int, kind: str, seed: int) -> tuple[int, int, int, int, int]:
    """Layers, equal ones, values, different ones, the largest difference."""
    rng, pair = np.random.default_rng(seed), LIBRARIES[library][2]
    equal = values = different = largest = 0
    for _ in range(count):
        case = oracle.random_case(rng, kind=kind)
        ours, theirs = pair(case, rng)
        off = np.abs(ours.astype(int) - theirs.astype(int))
        equal += not off.any()
        values += off.size
        different += int((off > 0).sum())
        largest = max(largest, int(off.max()))
    return count, equal, values, different, largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="layers of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| library | rounding | scales | layers | equal | values | different | by at most |")
    print("|:--|:--|:--|--:|--:|--:|--:|--:|")
    for library, (rounding, package, _) in LIBRARIES.items():
        if importlib.util.find_spec(package) is None:
            continue
        for kind in ("mixed", "extremes", "ties"):
            found = compare(library, options.count, kind, options.seed)
            print(
                f"| {library} | {rounding} | {kind} | " + " | ".join(f"{n:,}" for n in found) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
