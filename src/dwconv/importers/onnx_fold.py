"""ONNX operations on constants, with NumPy: the arithmetic on shapes that exporters spell out.

Integers keep their dtype. What an operation makes is counted before it is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..activation import Array
from .channels_first import UnsupportedError
from .onnx_call import Call
from .onnx_model import DTYPES

Result = Array | list[Array]


def slices_of(call: Call, shape: tuple[int, ...]) -> list[slice]:
    """Of a Slice node, one for every axis."""
    starts, ends = call.integers(1, "starts"), call.integers(2, "ends")
    if starts is None or ends is None:
        raise ValueError("starts and ends are missing")
    axes = call.integers(3, "axes")
    steps = call.integers(4)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    found = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if not -len(shape) <= axis < len(shape) or step == 0:
            raise ValueError(f"axis {axis} with a step of {step} does not fit {shape}")
        size = shape[axis]
        low, high = (0, size) if step > 0 else (-1, size - 1)
        first = min(max(start + size if start < 0 else start, max(low, 0)), high)
        last = min(max(end + size if end < 0 else end, low), high)
        found[axis] = slice(first, None if last < 0 else last, step)
    return found


def split_sizes(call: Call, size: int) -> list[int]:
    """Of a Split node along its axis of `size`."""
    given = call.integers(1, "split")
    if given is None:
        parts = call.integer("num_outputs", len(call.node.outputs))
        if parts < 1 or parts > max(size, 1):
            raise ValueError(f"{size} cannot be split into {parts} parts")
        each = -(-size // parts)
        given = [each] * (parts - 1) + [size - each * (parts - 1)]
    if any(part < 0 for part in given) or sum(given) != size:
        raise ValueError(f"parts {given} do not add up to {size}")
    return given


def target_shape(call: Call, shape: tuple[int, ...]) -> list[int]:
    """Of a Reshape node, with every size."""
    target = call.integers(1, "shape")
    if target is None:
        raise ValueError("shape is missing")
    if not call.integer("allowzero"):
        if any(size == 0 and axis >= len(shape) for axis, size in enumerate(target)):
            raise ValueError(f"0 in {target} is an axis that {shape} lacks")
        target = [shape[axis] if size == 0 else size for axis, size in enumerate(target)]
    total = math.prod(shape)
    if target.count(-1) == 1:
        rest = -math.prod(target)
        if rest == 0 or total % rest:
            raise ValueError(f"{shape} cannot become {target}")
        target[target.index(-1)] = total // rest
    if min(target, default=0) < 0 or math.prod(target) != total:
        raise ValueError(f"{shape} cannot become {target}")
    return target


def flat_shape(call: Call, shape: tuple[int, ...]) -> tuple[int, int]:
    """Of a Flatten node."""
    axis = call.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"there is no axis {axis} in {shape}")
    axis = axis + len(shape) if axis < 0 else axis
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def value_of(call: Call) -> Array:
    """Of a Constant node."""
    for name, value in call.node.attributes.items():
        call.seen.add(name)
        if name == "value" and isinstance(value, np.ndarray):
            return value
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    raise UnsupportedError(f"a constant of {', '.join(call.node.attributes) or 'nothing'}")


def _constant_of_shape(call: Call) -> Array:
    value = call.attribute("value", np.zeros(1, np.float32))
    return np.full(call.budget.take(call.integers(0) or [], value.itemsize), value.reshape(-1)[0])


def _range(call: Call) -> Array:
    start, limit, delta = (call.array(index).reshape(()) for index in range(3))
    count = max(0, math.ceil((float(limit) - float(start)) / float(delta)))
    call.budget.take([count])
    return (start + np.arange(count) * delta).astype(start.dtype)


def _cast(call: Call) -> Array:
    x, name = call.array(0), DTYPES.get(call.integer("to", 1), "")
    return cast(x, name)


def cast(x: Array, name: str) -> Array:
    if name not in ("bfloat16", "string") and hasattr(np, name):
        return x.astype(name)
    raise UnsupportedError(f"to {name or 'an unknown type'}")


def _div(a: Array, b: Array) -> Array:
    if a.dtype.kind not in "iu":
        return a / b
    if not np.all(b):
        raise ValueError("division by zero")
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)), a.dtype)


def _mod(call: Call) -> Array:
    a, b = _two(call)
    if a.dtype.kind in "iu" and not np.all(b):
        raise ValueError("division by zero")
    return np.asarray(np.fmod(a, b) if call.integer("fmod") else np.mod(a, b))


def _two(call: Call) -> tuple[Array, Array]:
    a, b = call.array(0), call.array(1)
    call.budget.take(np.broadcast_shapes(a.shape, b.shape))
    return a, b


def _binary(function: Callable[[Array, Array], Any]) -> Callable[[Call], Array]:
    return lambda call: np.asarray(function(*_two(call)))


def _unary(function: Callable[[Array], Any]) -> Callable[[Call], Array]:
    def fold(call: Call) -> Array:
        call.budget.take(call.array(0).shape)
        return np.asarray(function(call.array(0)))

    return fold


def _variadic(function: Callable[[Array, Array], Any]) -> Callable[[Call], Array]:
    def fold(call: Call) -> Array:
        result = call.array(0)
        for index in range(1, len(call.values)):
            call.budget.take(np.broadcast_shapes(result.shape, call.array(index).shape))
            result = np.asarray(function(result, call.array(index)))
        return result

    return fold


def _reduce(function: Callable[..., Any]) -> Callable[[Call], Array]:
    def fold(call: Call) -> Array:
        x, axes = call.array(0), call.integers(1, "axes")
        if not axes:
            if call.integer("noop_with_empty_axes"):
                return x
            axes = list(range(x.ndim))
        if not x.size:
            raise UnsupportedError(f"an empty tensor {x.shape}; at least 1 element is supported")
        keepdims = bool(call.integer("keepdims", 1))
        return np.asarray(function(x, axis=tuple(axes), keepdims=keepdims)).astype(x.dtype)

    return fold


def _reshape(call: Call) -> Array:
    return call.array(0).reshape(target_shape(call, call.shape(0)))


def _transpose(call: Call) -> Array:
    return np.transpose(call.array(0), call.ints("perm"))


def _expand(call: Call) -> Array:
    x = call.array(0)
    shape = np.broadcast_shapes(x.shape, tuple(call.integers(1) or ()))
    return np.array(np.broadcast_to(x, call.budget.take(shape)))


def _tile(call: Call) -> Array:
    x, repeats = call.array(0), call.integers(1) or []
    call.budget.take([size * count for size, count in zip(x.shape, repeats, strict=True)])
    return np.tile(x, repeats)


def _concat(call: Call) -> Array:
    arrays = [call.array(index) for index in range(len(call.values))]
    call.budget.take([sum(a.size for a in arrays)])
    return np.concatenate(arrays, call.integer("axis", 1))


def _slice(call: Call) -> Array:
    return call.array(0)[tuple(slices_of(call, call.shape(0)))]


def _split(call: Call) -> list[Array]:
    x, axis = call.array(0), call.integer("axis")
    sizes = split_sizes(call, x.shape[axis])
    return np.split(x, np.cumsum(sizes)[:-1].tolist(), axis)


def _squeeze(call: Call) -> Array:
    axes = call.integers(1, "axes")
    return np.squeeze(call.array(0), None if axes is None else tuple(axes))


def _unsqueeze(call: Call) -> Array:
    return np.expand_dims(call.array(0), tuple(call.integers(1, "axes") or ()))


def _gather(call: Call) -> Array:
    x, at, axis = call.array(0), call.array(1), call.integer("axis")
    call.budget.take([*x.shape[:axis], at.size, *x.shape[axis + 1 if axis != -1 else x.ndim :]])
    return np.take(x, at, axis)


def _scatter_nd(call: Call) -> Array:
    call.refuse("reduction", "none", default="none")
    x, at, updates = call.array(0).copy(), call.array(1), call.array(2)
    call.budget.take(x.shape)
    x[tuple(np.moveaxis(at, -1, 0))] = updates
    return np.asarray(x)


def _where(call: Call) -> Array:
    shape = np.broadcast_shapes(*(call.array(index).shape for index in range(3)))
    call.budget.take(shape)
    return np.where(call.array(0), call.array(1), call.array(2))


def _nonzero(call: Call) -> Array:
    x = call.array(0)
    call.budget.take([x.ndim, x.size])
    return np.array(np.nonzero(x), np.int64)


def _trilu(call: Call) -> Array:
    x = call.array(0)
    k = int(call.array(1).reshape(())) if call.has(1) else 0
    call.budget.take(x.shape)
    return np.triu(x, k) if call.integer("upper", 1) else np.tril(x, k)


def _cumsum(call: Call) -> Array:
    if call.integer("exclusive") or call.integer("reverse"):
        raise UnsupportedError("exclusive or reverse")
    call.budget.take(call.array(0).shape)
    return np.cumsum(call.array(0), int(call.array(1).reshape(()))).astype(call.array(0).dtype)


def _clip(call: Call) -> Array:
    x = call.array(0)
    call.budget.take(x.shape)
    bounds = [call.array(i) if call.has(i) else call.attribute(n) for i, n in ((1, "min"), (2, "max"))]
    if bounds[0] is None and bounds[1] is None:
        return x
    return np.asarray(np.clip(x, *bounds)).astype(x.dtype)


def shape_of(call: Call) -> Array:
    """Of a Shape node, of constants and of tensors."""
    return np.array(call.shape(0)[slice(call.integer("start"), call.attribute("end"))], np.int64)


FOLD: dict[str, Callable[[Call], Result]] = {
    "Abs": _unary(np.abs),
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Cast": _cast,
    "Ceil": _unary(np.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": value_of,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumsum,
    "Div": _binary(_div),
    "Equal": _binary(np.equal),
    "Exp": _unary(np.exp),
    "Expand": _expand,
    "Flatten": lambda call: call.array(0).reshape(flat_shape(call, call.shape(0))),
    "Floor": _unary(np.floor),
    "Gather": _gather,
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Identity": lambda call: call.array(0),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Log": _unary(np.log),
    "Max": _variadic(np.maximum),
    "Min": _variadic(np.minimum),
    "Mod": _mod,
    "Mul": _binary(np.multiply),
    "Neg": _unary(np.negative),
    "NonZero": _nonzero,
    "Not": _unary(np.logical_not),
    "Or": _binary(np.logical_or),
    "Pow": lambda call: np.power(*_two(call)).astype(call.array(0).dtype),
    "Range": _range,
    "Reciprocal": _unary(np.reciprocal),
    "ReduceMax": _reduce(np.max),
    "ReduceMean": _reduce(np.mean),
    "ReduceMin": _reduce(np.min),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "Reshape": _reshape,
    "Round": _unary(np.round),
    "ScatterND": _scatter_nd,
    "Shape": shape_of,
    "Sign": _unary(np.sign),
    "Size": lambda call: np.array(math.prod(call.shape(0)), np.int64),
    "Slice": _slice,
    "Split": _split,
    "Sqrt": _unary(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(np.logical_xor),
}
