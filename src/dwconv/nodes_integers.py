"""Integers in networks: which dtype and quantisation a node gives, and its convolution as an operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .activation import Activation, Array
from .graph import Node, Quantization, Value
from .nine_bits import spread
from .operation import Operation, Stage
from .quantized import (
    DTYPES,
    MOST_FACTOR,
    OperationQuantization,
    StageQuantization,
    factors,
    limits,
)
from .quantized import Quantization as Scalar

BYTES = tuple(DTYPES.values())
# Ops that move or compare elements, whatever these stand for. Of reduce, binary and resize not all kinds do.
MOVES = (
    "reshape", "transpose", "slice", "concat", "pad", "expand", "gather", "depth_to_space", "space_to_depth",
    "max_pool",
)  # fmt: skip
WITH_FILTERS = ("conv", "transpose_conv")
MOST_SUM = 2**31 - 1


def is_move(node: Node) -> bool:
    kind = node.attributes.get("kind")
    chosen = (node.op in ("reduce", "binary") and kind in ("max", "min")) or (
        node.op == "resize" and kind == "nearest"
    )
    return node.op in MOVES or chosen


def plain(q: Any) -> Quantization:
    """Per tensor, with numbers of Python: the scale is that of float32."""
    return Quantization(float(np.float32(q[0])), int(q[1]), None)


def check(q: Any, dtype: Any, where: str = "") -> Quantization:
    """A quantisation per tensor of an integer dtype. Raises ValueError where it is none."""
    if q is None or np.size(q[0]) != 1 or np.size(q[1]) != 1:
        raise ValueError(f"{where}a scale and a zero point are needed, not {q}")
    scale, zero = np.asarray(q[0], np.float64).item(), np.asarray(q[1]).item()
    with np.errstate(over="ignore"):
        scale = float(np.float32(scale))
    low, high = limits(np.dtype(dtype))
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"{where}a scale must be finite and above 0, not {scale}")
    if zero != int(zero) or not low <= zero <= high:
        raise ValueError(f"{where}a zero point of {np.dtype(dtype)} lies in [{low}, {high}], not {zero}")
    return Quantization(scale, int(zero), None)


# ---- dtypes -------------------------------------------------------------------------------------


def dtype_of(node: Node, inputs: Sequence[Value]) -> np.dtype[Any]:
    """What the node gives. Raises ValueError where its inputs have dtypes that it does not take."""
    x = inputs[0]
    if node.op == "block":
        made: Operation = node["operation"]
        return x.dtype if made.quantization is None else made.output_dtype
    if node.op == "quantize":
        if x.dtype.kind != "f" or node["dtype"] not in DTYPES:
            raise ValueError(f"it makes int8 or uint8 of floats, not {node['dtype']} of {x.dtype}")
        check(node["quantization"], node["dtype"])
        return DTYPES[node["dtype"]]
    if node.op == "dequantize":
        if x.dtype.kind not in "iu" or x.quantization is None:
            raise ValueError(f"it takes integers with a scale, not {x.dtype}")
        if x.dtype in BYTES:
            check(x.quantization, x.dtype)
        return np.dtype(np.float32)
    if node.op == "lookup":
        return _lookup_dtype(node, inputs)
    told = node.attributes.get("quantization") is not None
    if x.dtype not in BYTES or (not told and all(value.data is not None for value in inputs)):
        if told:
            raise ValueError(f"it has a quantisation but takes {x.dtype}")
        return x.dtype
    if is_move(node):
        _check_alike(node, inputs)
        return x.dtype
    return _rounded_dtype(node, inputs)


def _lookup_dtype(node: Node, inputs: Sequence[Value]) -> np.dtype[Any]:
    x, table = inputs
    if x.dtype not in BYTES or table.dtype not in BYTES or table.data is None:
        raise ValueError(f"it takes bytes and a constant table of bytes, not {x.dtype} and {table.dtype}")
    if node["quantization"] is not None:
        check(node["quantization"], table.dtype)
    dtype: np.dtype[Any] = table.dtype
    return dtype


def _check_alike(node: Node, inputs: Sequence[Value]) -> None:
    """Of what is compared or joined: one dtype, and one scale."""
    if node.op not in ("concat", "binary"):
        return
    first = inputs[0]
    for other in inputs[1:]:
        if other.dtype != first.dtype or not same(first.quantization, other.quantization):
            raise ValueError(
                f"{first.dtype} with {first.quantization} and {other.dtype} with {other.quantization} need a "
                f"lookup first, so that both have one scale"
            )
    if node.op == "binary" and node["activation"] is not None:
        raise ValueError("an activation of integers is a clamp, or a lookup")


def same(a: Quantization | None, b: Quantization | None) -> bool:
    if a is None or b is None:
        return a is b
    return plain(a) == plain(b)


def _rounded_dtype(node: Node, inputs: Sequence[Value]) -> np.dtype[Any]:
    """Of an op that computes with what the integers stand for."""
    x = inputs[0]
    if node.attributes.get("quantization") is None:
        raise ValueError(f"it takes floats: dequantize {x.dtype} before it, or tell its quantization")
    if node.attributes.get("activation") is not None:
        raise ValueError("an activation of integers is a clamp, or a lookup")
    floats = node.op == "conv" and node["dtype"] == "float32"
    dtype = x.dtype if floats else np.dtype(node["dtype"])
    if dtype not in BYTES:
        raise ValueError(f"it gives int8 or uint8, not {node['dtype']}")
    y = check(node["quantization"], dtype)
    check(x.quantization, x.dtype, "its input: ")
    if node.op in WITH_FILTERS:
        _check_filters(node, y, *inputs)
    elif node.op in ("binary", "prelu"):
        if inputs[1].dtype not in BYTES:
            raise ValueError(f"it takes two values of bytes, not {inputs[1].dtype}")
        check(inputs[1].quantization, inputs[1].dtype, "its second input: ")
        kinds = ("add", "sub", "mul", "max", "min")
        if node.op == "binary" and node["formula"] == "integer" and node["kind"] not in kinds:
            raise ValueError(f'{node["kind"]} of integers needs formula="float"')
    elif node.op == "reduce" and node["kind"] not in ("mean", "sum"):
        raise ValueError(f"there is no {node['kind']} of integers")
    elif node.op == "softmax":
        _check_softmax(node, x, y, dtype)
    elif node.op == "average_pool" and node["rounding"] == "tflite":
        if dtype != x.dtype or not same(x.quantization, y):
            raise ValueError('with rounding="tflite" a pool gives what it takes: one dtype and one scale')
    elif node.op == "average_pool" and node["count_include_pad"]:
        raise ValueError("padding does not count in a pool of integers")
    elif node.op == "resize" and not same(x.quantization, y):
        raise ValueError("resizing keeps the scale")
    if dtype != x.dtype:
        raise ValueError(f"it gives the dtype of its input, {x.dtype}, not {dtype}; a lookup converts")
    return np.dtype(np.float32) if floats else dtype


def _check_softmax(node: Node, x: Value, y: Quantization, dtype: np.dtype[Any]) -> None:
    if node["log"]:
        raise ValueError("there is no log softmax of integers")
    if node["rounding"] == "tflite":
        if y.zero_point != limits(dtype)[0] or abs(y.scale - 1 / 256) > 1e-3 / 256:
            raise ValueError(f"TensorFlow Lite's softmax gives a scale of 1/256 from 0 on, not {y}")
        from .nodes_numpy_integers import softmax_table

        softmax_table(check(x.quantization, x.dtype), "tflite")


def _check_filters(node: Node, y: Quantization, x: Value, filters: Value, bias: Value | None = None) -> None:
    """Of constants: dtypes, scales, and sums that fit int32."""
    if filters.dtype not in (np.int8, np.int16) or filters.data is None:
        raise ValueError(f"its filters must be constants of int8 or int16, not {filters.dtype}")
    if filters.dtype == np.int16 and spread("conv", filters.data).max() > 255:
        raise ValueError("its filters of int16 must be bytes less a zero point")
    outputs = filters.shape[3]
    weights = filters.quantization
    scales = None if weights is None else np.asarray(weights.scale, np.float32).reshape(-1)
    if weights is None or scales is None or scales.size not in (1, outputs):
        raise ValueError(f"its filters need a scale, or one for each of the {outputs} outputs")
    if not (np.isfinite(scales).all() and (scales > 0).all()) or np.any(weights.zero_point):
        raise ValueError("scales of filters must be finite and above 0, their zero points 0")
    stage = StageQuantization(scales, Scalar(y.scale, y.zero_point))
    q = x.quantization
    assert q is not None
    m = factors(Scalar(float(q.scale), int(q.zero_point)), stage)
    if not (np.isfinite(m).all() and (m < MOST_FACTOR).all()):
        raise ValueError(f"input scale * filter scale / output scale must be below {MOST_FACTOR:g}")
    if bias is not None and (bias.dtype != np.int32 or bias.data is None):
        raise ValueError(f"its bias must be a constant of int32, not {bias.dtype}")
    low, high = limits(x.dtype)
    reach = max(int(q.zero_point) - low, high - int(q.zero_point))
    most = np.abs(filters.data.astype(np.int64)).sum((0, 1, 2)) * reach
    if bias is not None and bias.data is not None:
        most = most + np.abs(bias.data.astype(np.int64))
    if most.max() > MOST_SUM:
        raise ValueError("its sums may leave int32")


# ---- quantisation of results --------------------------------------------------------------------


def quantization_of(node: Node, inputs: Sequence[Value]) -> Quantization | None:
    """That of the value that a node gives."""
    if node.op == "conv" and node["dtype"] == "float32":
        return None
    if node.op == "dequantize":
        return None
    if node.op == "block":
        return _quantization_of_block(node["operation"])
    told = node.attributes.get("quantization")
    if told is not None:
        return plain(told)
    x = inputs[0]
    q = x.quantization
    kept = q is not None and q.axis is None and x.dtype in BYTES and is_move(node)
    return q if kept else None


def _quantization_of_block(operation: Operation) -> Quantization | None:
    whole, last = operation.quantization, operation.stages[-1].quantization
    if whole is None or last is None or whole.float_output:
        return None
    q = last.output if whole.sum is None else whole.sum
    return Quantization(q.scale, q.zero_point, None)


# ---- convolutions as operations -----------------------------------------------------------------


def integer_operation(node: Node, x: Value, filters: Value, bias: Array | None) -> Operation:
    """A conv node of integers as the operation that plans and the fallback run."""
    from .nodes import stage_of

    q, w, y = x.quantization, filters.quantization, node["quantization"]
    assert q is not None
    assert w is not None
    assert filters.data is not None
    scales = np.ascontiguousarray(np.asarray(w.scale, np.float32).reshape(-1))
    x_scale = float(q.scale)
    if node["float_product"] and scales.size == 1:  # which rounding "even" does anyway
        scales, x_scale = np.float32(x_scale) * scales, 1.0
    low, high = limits(x.dtype)
    clamp = (
        low if node["low"] is None else max(low, int(node["low"])),
        high if node["high"] is None else min(high, int(node["high"])),
    )
    stage = stage_of(node, x.shape, filters.data, bias)
    quantization = StageQuantization(scales, Scalar(float(y.scale), int(y.zero_point)), clamp=clamp)
    stage = Stage(
        stage.kind, stage.argument, stage.filters, stage.bias, Activation(), stage.window, stage.groups,
        quantization=quantization,
    )  # fmt: skip
    whole = OperationQuantization(
        x.dtype, Scalar(x_scale, int(q.zero_point)), node["rounding"],
        float_output=node["dtype"] == "float32",
    )  # fmt: skip
    return Operation("network", stage.kind, (stage,), quantization=whole)
