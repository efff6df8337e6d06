"""ONNX operations on tensors: elementwise, reductions, movements. See also `onnx_windows`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..activation import Array
from .channels_first import T, UnsupportedError
from .onnx_call import Call
from .onnx_fold import flat_shape, shape_of, slices_of, split_sizes, target_shape, value_of
from .onnx_masks import to_mask
from .onnx_model import DTYPES

Result = T | Array | list[T]

# ---- of one tensor ------------------------------------------------------------------------------


def _unary(kind: str) -> Callable[[Call], T]:
    return lambda call: call.net.unary(kind, call.tensor(0))


def _leaky_relu(call: Call) -> T:
    return call.net.unary("leaky_relu", call.tensor(0), call.number("alpha", 0.01))


def _elu(call: Call) -> T:
    return call.net.unary("elu", call.tensor(0), call.number("alpha", 1.0), 1.0)


def _selu(call: Call) -> T:
    alpha, gamma = (
        call.number("alpha", 1.67326319217681884765625),
        call.number("gamma", 1.05070102214813232421875),
    )
    return call.net.unary("elu", call.tensor(0), alpha * gamma, gamma)


def _celu(call: Call) -> T:
    alpha = call.number("alpha", 1.0)
    if alpha <= 0:
        raise UnsupportedError(f"alpha {alpha}; above 0 is supported")
    return call.net.unary("elu", call.net.unary("linear", call.tensor(0), 1 / alpha), alpha, alpha)


def _hard_sigmoid(call: Call) -> T:
    x, alpha, beta = call.tensor(0), call.number("alpha", 0.2), call.number("beta", 0.5)
    if np.float32(alpha) == np.float32(1 / 6) and beta == 0.5:
        return call.net.unary("hard_sigmoid", x)
    return call.net.unary("clip", call.net.unary("linear", x, alpha, beta), 0.0, 1.0)


def _gelu(call: Call) -> T:
    call.refuse("approximate", "none", "tanh", default="none")
    return call.net.unary("gelu_tanh" if call.text("approximate") == "tanh" else "gelu", call.tensor(0))


def _mish(call: Call) -> T:
    x = call.tensor(0)
    return call.net.binary("mul", x, call.net.unary("tanh", call.net.unary("softplus", x)))


def _swish(call: Call) -> T:
    x, alpha = call.tensor(0), call.number("alpha", 1.0)
    if alpha == 1:
        return call.net.unary("silu", x)
    return call.net.binary("mul", x, call.net.unary("sigmoid", call.net.unary("linear", x, alpha)))


def _softsign(call: Call) -> T:
    x = call.tensor(0)
    return call.net.binary("div", x, call.net.unary("linear", call.net.unary("abs", x), 1.0, 1.0))


def _clip(call: Call) -> T:
    x = call.tensor(0)
    bounds: list[T | float] = []
    for index, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        if call.has(index) and isinstance(call.values[index], T):
            bounds.append(call.tensor(index))
        elif call.has(index):
            bounds.append(float(call.array(index).reshape(())))
        else:
            bounds.append(call.number(name, default) if call.opset < 11 else default)
    low, high = bounds
    if isinstance(low, T) or isinstance(high, T):
        x = call.net.binary("max", x, low if isinstance(low, T) else np.float32(low))
        return call.net.binary("min", x, high if isinstance(high, T) else np.float32(high))
    if (low, high) == (0.0, math.inf):
        return call.net.unary("relu", x)
    if (low, high) == (0.0, 6.0):
        return call.net.unary("relu6", x)
    return call.net.unary("clip", x, min(low, high), high)


def _cast(call: Call) -> T:
    name, x = DTYPES.get(call.integer("to", 1), "an unknown type"), call.tensor(0)
    whole, mask = x.value in call.net.whole, x.value in call.net.masks
    if name == "float32":
        return call.net.unary("linear", x, 1.0) if whole or mask else x
    if name == "bool" and not whole:
        return to_mask(call)
    if whole and name in ("int32", "int64"):
        return x
    raise UnsupportedError(f"to {name} at run time; float32 is supported")


def _cast_like(call: Call) -> T:
    call.tensor(1)  # float32, or refused
    return call.tensor(0)


def _arg(least: bool) -> Callable[[Call], T]:
    def lower(call: Call) -> T:
        axis, keep, last = (
            call.integer(n, d) for n, d in (("axis", 0), ("keepdims", 1), ("select_last_index", 0))
        )
        return call.net.arg(call.tensor(0), axis, bool(keep), least=least, last=bool(last))

    return lower


def _top_k(call: Call) -> list[T]:
    call.seen.add("sorted")  # they are
    given = call.integers(1, "k") if call.has(1) else [call.integer("k", -1)]
    if given is None or len(given) != 1:
        raise ValueError(f"k is {given}, not one number")
    largest = call.integer("largest", 1)
    return list(call.net.top_k(call.tensor(0), call.integer("axis", -1), given[0], least=not largest))


def _dropout(call: Call) -> T:
    if call.has(2) and np.any(call.array(2, "training_mode")):
        raise UnsupportedError("training_mode; inference is supported")
    return call.tensor(0)


# ---- of several ---------------------------------------------------------------------------------


def _binary(kind: str) -> Callable[[Call], T]:
    def lower(call: Call) -> T:
        a, b = call.tensor(0), call.tensor(1)
        axis = call.attribute("axis")
        if call.opset < 7 and axis is not None:  # where the axes of b begin among those of a
            missing = len(a.perm) - call.net.axis(a, axis) - len(b.perm)
            b = call.net.reshape(b, (*call.net.shape(b), *(1,) * missing))
        return call.net.binary(kind, a, b)

    return lower


def _variadic(kind: str, mean: bool = False) -> Callable[[Call], T]:
    def lower(call: Call) -> T:
        result = call.tensor(0)
        for index in range(1, len(call.values)):
            result = call.net.binary(kind, result, call.tensor(index))
        return call.net.unary("linear", result, 1 / len(call.values)) if mean else result

    return lower


def _pow(call: Call) -> T:
    power = call.values[1]
    if isinstance(power, np.ndarray) and power.size == 1 and power.dtype.kind in "fiu" and power.ndim <= 1:
        number = float(power.reshape(()))
        if number in (2.0, 0.5):
            return call.net.unary("square" if number == 2 else "sqrt", call.tensor(0))
        return call.net.binary("pow", call.tensor(0), np.float32(number))
    return call.net.binary("pow", call.tensor(0), call.tensor(1))


def _prelu(call: Call) -> T:
    x, slope = call.tensor(0), call.tensor(1)
    sizes = call.net.shape(slope)
    if call.opset < 7 and len(sizes) == 1 and len(x.perm) > 2 and sizes[0] != 1:  # one for each channel
        slope = call.net.reshape(slope, (-1, *(1,) * (len(x.perm) - 2)))
    return call.net.prelu(x, slope)


def _concat(call: Call) -> T:
    return call.net.concat([call.tensor(index) for index in range(len(call.values))], call.integer("axis", 1))


# ---- reductions ---------------------------------------------------------------------------------


def _reduce(kind: str, before: str = "", after: str = "") -> Callable[[Call], T]:
    def lower(call: Call) -> T:
        x, axes = call.tensor(0), call.integers(1, "axes")
        if not axes and call.integer("noop_with_empty_axes"):
            axes = []
        elif not axes:
            axes = None
        if before:
            x = call.net.unary(before, x)
        x = call.net.reduce(kind, x, axes, bool(call.integer("keepdims", 1)))
        return call.net.unary(after, x) if after else x

    return lower


def _log_sum_exp(call: Call) -> T:
    net, x, axes = call.net, call.tensor(0), call.integers(1, "axes")
    if not axes:
        axes = [] if call.integer("noop_with_empty_axes") else list(range(len(x.perm)))
    most = net.reduce("max", x, axes)
    total = net.reduce("sum", net.unary("exp", net.binary("sub", x, most)), axes)
    y = net.binary("add", net.unary("log", total), most)
    return y if call.integer("keepdims", 1) else net.squeeze(y, axes)


def _softmax(log: bool) -> Callable[[Call], T]:
    def lower(call: Call) -> T:
        x, net = call.tensor(0), call.net
        if call.opset >= 13:
            return net.softmax(x, call.integer("axis", -1), log)
        axis = call.integer("axis", 1)  # of old: over all axes from this one on
        sizes = net.shape(x)
        axis = net.axis(x, axis) if axis != len(sizes) else axis
        if math.prod(sizes[axis + 1 :]) == 1 and axis < len(sizes):
            return net.softmax(x, axis, log)
        flat = net.reshape(x, (math.prod(sizes[:axis]), math.prod(sizes[axis:])))
        return net.reshape(net.softmax(flat, -1, log), sizes)

    return lower


# ---- movements ----------------------------------------------------------------------------------


def _reshape(call: Call) -> T:
    x = call.tensor(0)
    return call.net.reshape(x, _full(target_shape(call, call.net.shape(x))))


def _flatten(call: Call) -> T:
    x = call.tensor(0)
    return call.net.reshape(x, flat_shape(call, call.net.shape(x)))


def _full(shape: Any) -> Any:
    if 0 in shape:
        raise UnsupportedError(f"an empty tensor {tuple(shape)}; at least 1 element is supported")
    return shape


def _squeeze(call: Call) -> T:
    return call.net.squeeze(call.tensor(0), call.integers(1, "axes"))


def _unsqueeze(call: Call) -> T:
    axes = call.integers(1, "axes")
    if axes is None:
        raise ValueError("axes are missing")
    return call.net.unsqueeze(call.tensor(0), axes)


def _transpose(call: Call) -> T:
    x = call.tensor(0)
    perm = call.ints("perm")
    return call.net.transpose(x, list(reversed(range(len(x.perm)))) if perm is None else perm)


def _slice(call: Call) -> T:
    x = call.tensor(0)
    shape = call.net.shape(x)
    slices = slices_of(call, shape)
    _full([len(range(size)[part]) for size, part in zip(shape, slices, strict=True)])
    return call.net.slice(x, [(part.start, part.stop, part.step) for part in slices])


def _split(call: Call) -> list[T]:
    x = call.tensor(0)
    axis = call.net.axis(x, call.integer("axis"))
    parts, start = [], 0
    for size in _full(split_sizes(call, call.net.shape(x)[axis])):
        slices: list[Any] = [None] * len(x.perm)
        slices[axis] = (start, start + size, 1)
        parts.append(call.net.slice(x, slices))
        start += size
    return parts


def _pad(call: Call) -> T:
    x = call.tensor(0)
    call.refuse("mode", "constant", "reflect", "edge", default="constant")
    pads = call.integers(1, "pads")
    axes = call.integers(3)
    if pads is None:
        raise ValueError("pads are missing")
    axes = list(range(len(x.perm))) if axes is None else [call.net.axis(x, axis) for axis in axes]
    if len(pads) != 2 * len(axes):
        raise ValueError(f"{len(pads)} pads do not fit {len(axes)} axes")
    pairs = [(0, 0)] * len(x.perm)
    for axis, before, after in zip(axes, pads, pads[len(axes) :], strict=False):
        pairs[axis] = (before, after)
    value = float(call.array(2, "constant_value").reshape(())) if call.has(2) else call.number("value", 0.0)
    _full([max(size + sum(pair), 0) for size, pair in zip(call.net.shape(x), pairs, strict=True)])
    return call.net.pad(x, pairs, call.text("mode", "constant"), value)


def _expand(call: Call) -> T:
    return call.net.expand(call.tensor(0), _full(call.integers(1, "shape") or []))


def _tile(call: Call) -> T:
    repeats = _full(call.integers(1, "repeats") or [])
    if math.prod(repeats) > 4096:
        raise UnsupportedError(f"repeats {repeats}; at most 4096 copies are supported")
    return call.net.tile(call.tensor(0), repeats)


def _gather(call: Call) -> T:
    indices = call.array(1, "indices")
    _full(indices.shape)
    return call.net.gather(call.tensor(0), indices, call.integer("axis"))


UNARY = """
Abs Ceil Cos Erf Exp Floor Log Neg Reciprocal Relu Round Sigmoid Sign Sin Softplus Sqrt Tanh
"""  # of which the graph has functions of the same name
OPS: dict[str, Callable[[Call], Any]] = {
    **{name: _unary(name.lower()) for name in UNARY.split()},
    "Add": _binary("add"),
    "ArgMax": _arg(least=False),
    "TopK": _top_k,
    "ArgMin": _arg(least=True),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Celu": _celu,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": value_of,
    "Div": _binary("div"),
    "Dropout": _dropout,
    "Elu": _elu,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary("hard_swish"),
    "Identity": lambda call: call.tensor(0),
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax(True),
    "Max": _variadic("max"),
    "Mean": _variadic("add", mean=True),
    "Min": _variadic("min"),
    "Mish": _mish,
    "Mul": _binary("mul"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _pow,
    "ReduceL1": _reduce("sum", before="abs"),
    "ReduceL2": _reduce("sum", before="square", after="sqrt"),
    "ReduceLogSum": _reduce("sum", after="log"),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("mean"),
    "ReduceMin": _reduce("min"),
    "ReduceProd": _reduce("prod"),
    "ReduceSum": _reduce("sum"),
    "ReduceSumSquare": _reduce("sum", before="square"),
    "Reshape": _reshape,
    "Selu": _selu,
    "Shape": shape_of,
    "Size": lambda call: np.array(math.prod(call.shape(0)), np.int64),
    "Slice": _slice,
    "Softmax": _softmax(False),
    "Softsign": _softsign,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _binary("sub"),
    "Sum": _variadic("add"),
    "Swish": _swish,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
