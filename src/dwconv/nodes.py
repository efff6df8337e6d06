"""What nodes of a network are: default attributes, and the shapes that they give. See `dwconv.graph`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .activation import Array, parse
from .geometry import Window
from .graph import MOST_ELEMENTS, Node, Value
from .operation import Stage

Shape = tuple[int, ...]
SLIDING: dict[str, Any] = {"strides": (1, 1), "padding": "valid", "dilations": (1, 1)}
# Of ops that can give integers; see `dwconv.graph`.
ROUNDED: dict[str, Any] = {"dtype": None, "quantization": None, "rounding": "even"}
CLAMPED: dict[str, Any] = {**ROUNDED, "low": None, "high": None}
MOST_COUNTED = 1 << 24  # every integer up to this is a float32

DEFAULTS: dict[str, dict[str, Any]] = {
    "conv": {**SLIDING, "groups": 1, "activation": None, "float_product": False, **CLAMPED},
    "transpose_conv": {
        **SLIDING, "padding": ((0, 0), (0, 0)), "output_padding": (0, 0), "groups": 1, "activation": None,
        **CLAMPED,
    },
    "max_pool": {"kernel": None, **SLIDING, "ceil_mode": False},
    "average_pool": {"kernel": None, **SLIDING, "ceil_mode": False, "count_include_pad": False, **CLAMPED},
    "reduce": {"kind": None, "axes": None, "keepdims": True, **CLAMPED},
    "unary": {"kind": None, "a": 0.0, "b": 0.0},
    "binary": {"kind": None, "activation": None, "formula": "integer", **CLAMPED},
    "prelu": CLAMPED,
    "concat": {"axis": None},
    "slice": {"slices": None},
    "pad": {"pads": None, "mode": "constant", "value": 0.0},
    "transpose": {"perm": None},
    "reshape": {"shape": None},
    "expand": {"shape": None},
    "resize": {
        "kind": None, "sizes": None, "scales": None, "coordinates": "half_pixel",
        "rounding": "round_prefer_floor", "dtype": None, "quantization": None, "integers": "even",
    },
    "depth_to_space": {"block": None, "mode": "dcr"},
    "space_to_depth": {"block": None},
    "softmax": {"axis": -1, "log": False, **ROUNDED},
    "layer_norm": {"epsilon": 1e-5},
    "matmul": {},
    "gather": {"axis": 0},
    "quantize": ROUNDED,
    "dequantize": {},
    "lookup": {"quantization": None},
    "block": {"operation": None},
}  # fmt: skip


def complete(op: str, attributes: dict[str, Any]) -> dict[str, Any]:
    """With defaults. Raises ValueError for an op or attribute that does not exist."""
    if op not in DEFAULTS:
        raise ValueError(f"network: there is no op {op!r}; there are {', '.join(DEFAULTS)}")
    unknown = attributes.keys() - DEFAULTS[op].keys()
    if unknown:
        raise ValueError(f"network: {op} has no attribute {sorted(unknown)}; it has {sorted(DEFAULTS[op])}")
    return DEFAULTS[op] | attributes


def infer(node: Node, inputs: Sequence[Value]) -> tuple[Shape, np.dtype[Any]]:
    """Shape and dtype of what a node gives. Raises ValueError where the inputs do not fit it."""
    try:
        shape = tuple(int(size) for size in SHAPES[node.op](node, *inputs))
    except ValueError as error:
        raise ValueError(f"network: {_label(node)}: {error}") from None
    if any(size < 1 for size in shape):
        raise ValueError(f"network: {_label(node)} gives an empty tensor, {shape}")
    if math.prod(shape) > MOST_ELEMENTS or len(shape) > 6:
        raise ValueError(f"network: {_label(node)} gives {shape}, more than 2^31 - 1 elements or 6 axes")
    from .nodes_integers import dtype_of

    try:
        return shape, dtype_of(node, inputs)
    except ValueError as error:
        raise ValueError(f"network: {_label(node)}: {error}") from None


def _label(node: Node) -> str:
    return f"{node.op} {node.name!r}" if node.name else node.op


# ---- windows ----------------------------------------------------------------------------------


def conv_window(node: Node, filters: Shape) -> Window:
    return Window(filters[:2], node["strides"], node["padding"], node["dilations"])  # type: ignore[arg-type]


def pool_geometry(node: Node, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """(output size, padding before, padding after) of both axes.

    With ceil_mode the last window may begin inside the image or the padding before it, as in PyTorch and
    ONNX, and reach beyond.
    """
    found = []
    for axis in range(2):
        kernel, stride, dilation = (node[a][axis] for a in ("kernel", "strides", "dilations"))
        reach = (kernel - 1) * dilation + 1
        if node["padding"] == "same":
            out = -(-size[axis] // stride)
            total = max((out - 1) * stride + reach - size[axis], 0)
            found.append((out, total // 2, total - total // 2))
            continue
        before, after = (0, 0) if node["padding"] == "valid" else node["padding"][axis]
        room = size[axis] + before + after - reach
        if room < 0:
            raise ValueError(
                f"its window of {reach} is larger than the padded input, {size[axis] + before + after}"
            )
        out = room // stride + 1
        if node["ceil_mode"] and room % stride and out * stride < size[axis] + before:
            out += 1
        found.append((out, before, after))
    return found


def live_taps(first: Array, taps: int, step: int, size: int) -> list[tuple[int, Array, Array]]:
    """Of an axis, each tap that meets it: its number, the windows of which it does, and the places it meets.

    `first`: where the windows begin; `step`: from tap to tap; `size`: of the axis.
    """
    found = []
    for tap in range(max(0, -int(first.max()) // step), min(taps, (size - 1 - int(first.min())) // step + 1)):
        at = first + tap * step
        inside = ((at >= 0) & (at < size)).nonzero()[0]
        if len(inside):
            found.append((tap, inside, at[inside]))
    return found


def stage_of(node: Node, x: Shape, filters: Array, bias: Array | None) -> Stage:
    """A conv node as the stage that plans and the fallback run."""
    window = conv_window(node, filters.shape)
    groups, inputs = int(node["groups"]), x[3]
    activation = parse("network", "activation", node["activation"])
    if groups == inputs and filters.shape[2] == 1 and (groups > 1 or filters.shape[3] == 1):
        kernels = filters.reshape(*filters.shape[:2], inputs, -1)
        return Stage("depthwise", "filters", kernels, bias, activation, window)
    plain = (
        filters.shape[:2] == (1, 1) and groups == 1 and window.padding in ("valid", "same", ((0, 0), (0, 0)))
    )
    if plain:
        window = Window((1, 1), window.strides, "valid", (1, 1))
        return Stage("pointwise", "filters", filters, bias, activation, window)
    return Stage("conv", "filters", filters, bias, activation, window, groups)


# ---- shapes -----------------------------------------------------------------------------------


def _image(x: Value) -> None:
    if len(x.shape) != 4:
        raise ValueError(f"it takes images [batch, height, width, channels], not {x.shape}")


def _check_filters(node: Node, x: Value, filters: Value, bias: Value | None) -> None:
    _image(x)
    groups = node["groups"]
    if len(filters.shape) != 4 or x.shape[3] != filters.shape[2] * groups or filters.shape[3] % groups:
        raise ValueError(f"filters {filters.shape} in {groups} groups do not fit x {x.shape}")
    if bias is not None and bias.shape != (filters.shape[3],):
        raise ValueError(f"a bias of {bias.shape} does not fit filters {filters.shape}")


def _conv_shape(node: Node, x: Value, filters: Value, bias: Value | None = None) -> Shape:
    _check_filters(node, x, filters, bias)
    return (x.shape[0], *conv_window(node, filters.shape).output_size("it", *x.shape[1:3]), filters.shape[3])


def _transpose_conv_shape(node: Node, x: Value, filters: Value, bias: Value | None = None) -> Shape:
    _check_filters(node, x, filters, bias)
    size = [
        (x.shape[1 + a] - 1) * node["strides"][a] + (filters.shape[a] - 1) * node["dilations"][a] + 1
        - sum(node["padding"][a]) + node["output_padding"][a]
        for a in range(2)
    ]  # fmt: skip
    return (x.shape[0], *size, filters.shape[3])


def _pool_shape(node: Node, x: Value) -> Shape:
    _image(x)
    (height, _, _), (width, _, _) = pool_geometry(node, x.shape[1:3])  # type: ignore[arg-type]
    return x.shape[0], height, width, x.shape[3]


def axes_of(node: Node, rank: int) -> tuple[int, ...]:
    axes = range(rank) if node["axes"] is None else node["axes"]
    found = tuple(sorted({_axis(axis, rank) for axis in axes}))
    return found


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"there is no axis {axis} in {rank}")
    return axis % rank


def _reduce_shape(node: Node, x: Value) -> Shape:
    axes = axes_of(node, len(x.shape))
    if node["kind"] == "argmax" and (len(axes) != 1 or not 1 < x.shape[axes[0]] <= MOST_COUNTED):
        raise ValueError(f"argmax is along one axis of 2 to {MOST_COUNTED}, not {axes} of {x.shape}")
    kept = [1 if a in axes else size for a, size in enumerate(x.shape)]
    return tuple(size for a, size in enumerate(kept) if node["keepdims"] or a not in axes)


def _broadcast_shape(node: Node, *inputs: Value) -> Shape:
    return np.broadcast_shapes(*(v.shape for v in inputs))


def _prelu_shape(node: Node, x: Value, slope: Value) -> Shape:
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ValueError(f"a slope of {slope.shape} does not fit {x.shape}")
    return x.shape


def _concat_shape(node: Node, *inputs: Value) -> Shape:
    axis = _axis(node["axis"], len(inputs[0].shape))
    for other in inputs[1:]:
        a, b = list(inputs[0].shape), list(other.shape)
        if len(a) != len(b) or a[:axis] + a[axis + 1 :] != b[:axis] + b[axis + 1 :]:
            raise ValueError(f"{inputs[0].shape} and {other.shape} differ beside axis {axis}")
    total = sum(v.shape[axis] for v in inputs)
    return (*inputs[0].shape[:axis], total, *inputs[0].shape[axis + 1 :])


def slices_of(node: Node) -> tuple[slice, ...]:
    return tuple(slice(None) if item is None else slice(*item) for item in node["slices"])


def _slice_shape(node: Node, x: Value) -> Shape:
    slices = slices_of(node)
    if len(slices) != len(x.shape):
        raise ValueError(f"{len(slices)} slices do not fit {x.shape}")
    return tuple(len(range(*s.indices(size))) for s, size in zip(slices, x.shape, strict=True))


def _pad_shape(node: Node, x: Value) -> Shape:
    pads = node["pads"]
    if len(pads) != len(x.shape) or any(p < 0 for pair in pads for p in pair):
        raise ValueError(f"pads {pads} do not fit {x.shape}")
    if node["mode"] not in ("constant", "reflect", "edge"):
        raise ValueError(f"there is no mode {node['mode']!r}")
    if node["mode"] == "reflect" and any(max(p) >= n for p, n in zip(pads, x.shape, strict=True) if max(p)):
        raise ValueError(f"pads {pads} reflect more than there is of {x.shape}")
    return tuple(size + sum(pair) for size, pair in zip(x.shape, pads, strict=True))


def _transpose_shape(node: Node, x: Value) -> Shape:
    if sorted(node["perm"]) != list(range(len(x.shape))):
        raise ValueError(f"perm {node['perm']} does not fit {x.shape}")
    return tuple(x.shape[a] for a in node["perm"])


def reshape_shape(node: Node, x: Value) -> Shape:
    target = list(node["shape"])
    total = math.prod(x.shape)
    for axis, size in enumerate(target):
        if size == 0:
            if axis >= len(x.shape):
                raise ValueError(f"0 in {tuple(node['shape'])} is an axis that {x.shape} lacks")
            target[axis] = x.shape[axis]
    if target.count(-1) == 1:
        rest = -math.prod(target)
        target[target.index(-1)] = total // rest if rest else 0
    if math.prod(target) != total or any(size < 1 for size in target):
        raise ValueError(f"{x.shape} cannot become {tuple(node['shape'])}")
    return tuple(target)


def _expand_shape(node: Node, x: Value) -> Shape:
    shape = tuple(node["shape"])
    if np.broadcast_shapes(x.shape, shape) != shape:
        raise ValueError(f"{x.shape} cannot become {shape}")
    return shape


def resize_shape(node: Node, x: Value) -> Shape:
    _image(x)
    if node["sizes"] is not None:
        sizes = node["sizes"]
    else:
        sizes = [math.floor(n * s) for n, s in zip(x.shape[1:3], node["scales"], strict=True)]
    return (x.shape[0], *sizes, x.shape[3])


def _depth_to_space_shape(node: Node, x: Value) -> Shape:
    _image(x)
    n, h, w, c = x.shape
    block = node["block"]
    if block < 1 or c % block**2:
        raise ValueError(f"a block of {block} does not divide {c} channels")
    return n, h * block, w * block, c // block**2


def _space_to_depth_shape(node: Node, x: Value) -> Shape:
    _image(x)
    n, h, w, c = x.shape
    block = node["block"]
    if block < 1 or h % block or w % block:
        raise ValueError(f"a block of {block} does not divide {h} x {w} pixels")
    return n, h // block, w // block, c * block**2


def _softmax_shape(node: Node, x: Value) -> Shape:
    _axis(node["axis"], len(x.shape))
    return x.shape


def _layer_norm_shape(node: Node, x: Value, scale: Value, bias: Value) -> Shape:
    if scale.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(f"scale {scale.shape} and bias {bias.shape} do not fit {x.shape}")
    return x.shape


def _matmul_shape(node: Node, a: Value, b: Value) -> Shape:
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"{a.shape} and {b.shape} cannot be multiplied")
    return (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])


def _gather_shape(node: Node, x: Value, indices: Value) -> Shape:
    axis = _axis(node["axis"], len(x.shape))
    if indices.data is None:
        raise ValueError("its indices must be constant")
    if indices.data.size and not (indices.data.min() >= 0 and indices.data.max() < x.shape[axis]):
        raise ValueError(f"indices must be in [0, {x.shape[axis]})")
    return (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _same_shape(node: Node, x: Value) -> Shape:
    return x.shape


def _lookup_shape(node: Node, x: Value, table: Value) -> Shape:
    channels = x.shape[-1] if x.shape else 1
    if table.shape not in ((256,), (channels, 256)):
        raise ValueError(
            f"a table of {table.shape}; it has 256 entries, or as many for each of {channels} channels"
        )
    return x.shape


def _block_shape(node: Node, x: Value) -> Shape:
    return node["operation"].output_shape(x.shape)  # type: ignore[no-any-return]


SHAPES: dict[str, Callable[..., Sequence[int]]] = {
    "conv": _conv_shape,
    "transpose_conv": _transpose_conv_shape,
    "max_pool": _pool_shape,
    "average_pool": _pool_shape,
    "reduce": _reduce_shape,
    "unary": _same_shape,
    "binary": _broadcast_shape,
    "prelu": _prelu_shape,
    "concat": _concat_shape,
    "slice": _slice_shape,
    "pad": _pad_shape,
    "transpose": _transpose_shape,
    "reshape": reshape_shape,
    "expand": _expand_shape,
    "resize": resize_shape,
    "depth_to_space": _depth_to_space_shape,
    "space_to_depth": _space_to_depth_shape,
    "softmax": _softmax_shape,
    "layer_norm": _layer_norm_shape,
    "matmul": _matmul_shape,
    "gather": _gather_shape,
    "quantize": _same_shape,
    "dequantize": _same_shape,
    "lookup": _lookup_shape,
    "block": _block_shape,
}
