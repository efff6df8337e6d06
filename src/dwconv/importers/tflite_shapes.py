"""TFLite's operators that reorder, select and pad, and those that compute shapes. See `tflite_ops`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tflite_call import Call, UnsupportedError

Slice = tuple[int | None, int | None, int | None]
MOST_COMPUTED = 1 << 24  # elements of what FILL, RANGE and mirrored indices make


# ---- axes ---------------------------------------------------------------------------------------


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"there is no axis {axis} in {rank}")
    return axis % rank


def _only(call: Call, i: int, what: str) -> int:
    found = call.integers(i, what)
    if len(found) != 1:
        raise ValueError(f"its {what} must be one integer, not {found[:8]}")
    return found[0]


def reshape(call: Call) -> str:
    """The target is an input in new files, an option in old ones."""
    old = call.shape(0)
    target = call.integers(1, "shape") if call.has(1) else list(call.option("NewShape", ()))
    if target == [0] and math.prod(old) == 1:  # what old converters write for a scalar
        target = []
    if 0 in target:
        raise ValueError(f"a shape of {target} is empty")
    try:
        return call.reshape(call.value(0), target)
    except ValueError:
        batch = call.tensor(0).shape[:1]  # as the file has it, where `input_shapes` has another
        if not target or not batch or batch[0] == old[0] or target[0] != batch[0]:
            raise
        return call.reshape(call.value(0), (0, *target[1:]))


def squeeze(call: Call) -> str:
    shape = call.shape(0)
    axes = {_axis(axis, len(shape)) for axis in call.option("SqueezeDims", ())}
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {sorted(axes)} of {shape} are not of size 1")
    gone = axes or {axis for axis, size in enumerate(shape) if size == 1}
    return call.reshape(call.value(0), [size for axis, size in enumerate(shape) if axis not in gone])


def expand_dims(call: Call) -> str:
    shape = list(call.shape(0))
    shape.insert(_axis(_only(call, 1, "axis"), len(shape) + 1), 1)
    return call.reshape(call.value(0), shape)


def transpose(call: Call) -> str:
    rank = len(call.shape(0))
    perm = [_axis(axis, rank) for axis in call.integers(1, "perm")]
    return call.node("transpose", call.value(0), perm=tuple(perm))


def concatenation(call: Call) -> str:
    values = [call.value(i) for i in range(len(call)) if 0 not in call.shape(i)]
    if not values:
        raise ValueError("it has no inputs, or empty ones alone")
    if len(values) == 1:
        return call.activated(values[0])
    return call.activated(call.node("concat", *values, axis=call.option("Axis")))


def pack(call: Call) -> str:
    rank = len(call.shape(0)) + 1
    axis = _axis(call.option("Axis"), rank)
    values = []
    for i in range(len(call)):
        shape = call.shape(i)
        values.append(call.reshape(call.value(i), (*shape[:axis], 1, *shape[axis:])))
    return values[0] if len(values) == 1 else call.node("concat", *values, axis=axis)


def unpack(call: Call) -> list[str]:
    shape, count = call.shape(0), len(call.operator.outputs)
    axis = _axis(call.option("Axis"), len(shape))
    if shape[axis] != count:
        raise ValueError(f"{shape} has not {count} parts along axis {axis}")
    rest = (*shape[:axis], *shape[axis + 1 :])
    return [call.reshape(part, rest) for part in _parts(call, call.value(0), axis, [1] * count)]


def split(call: Call) -> list[str]:
    """(axis, x) in equal parts."""
    x, count = call.value(1), len(call.operator.outputs)
    shape = call.b.shape(x)
    axis = _axis(_only(call, 0, "axis"), len(shape))
    if count < 1 or shape[axis] % count or call.option("NumSplits", count) != count:
        raise ValueError(f"axis {axis} of {shape} does not split into {count} parts")
    return _parts(call, x, axis, [shape[axis] // count] * count)


def split_v(call: Call) -> list[str]:
    shape, sizes = call.shape(0), call.integers(1, "sizes")
    axis = _axis(_only(call, 2, "axis"), len(shape))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    data = call.data(0)
    least = 1 if data is None else 0  # shapes are split into none and the rest
    if sum(sizes) != shape[axis] or min(sizes, default=0) < least or len(sizes) != len(call.operator.outputs):
        raise ValueError(f"axis {axis} of {shape} does not split into {sizes[:8]}")
    if data is not None:
        return [call.b.constant(part) for part in np.split(data, np.cumsum(sizes)[:-1], axis)]
    return _parts(call, call.value(0), axis, sizes)


def _parts(call: Call, x: str, axis: int, sizes: Sequence[int]) -> list[str]:
    rank, start, found = len(call.b.shape(x)), 0, []
    for size in sizes:
        slices: list[Slice | None] = [None] * rank
        slices[axis] = (start, start + size, 1)
        found.append(call.node("slice", x, slices=tuple(slices)))
        start += size
    return found


# ---- slices -------------------------------------------------------------------------------------


def slice_(call: Call) -> str:
    shape, begin, size = call.shape(0), call.integers(1, "begin"), call.integers(2, "size")
    if len(begin) != len(shape) or len(size) != len(shape):
        raise ValueError(f"begin {begin} and size {size} do not fit {shape}")
    slices: list[Slice] = []
    for start, count, total in zip(begin, size, shape, strict=True):
        stop = total if count == -1 else start + count
        if not 0 <= start < stop <= total:
            raise ValueError(f"begin {begin} and size {size} lie outside {shape}")
        slices.append((start, stop, 1))
    return _sliced(call, slices)


def _sliced(call: Call, slices: Sequence[Slice]) -> str:
    return call.node("slice", call.value(0), slices=tuple(slices))


def strided_slice(call: Call) -> str:
    """As Python's x[begin:end:stride], with one bit of each mask for an axis of the index."""
    shape = call.shape(0)
    begin, end, steps = (call.integers(i, "slices") for i in (1, 2, 3))
    if not len(begin) == len(end) == len(steps):
        raise ValueError(f"begin {begin}, end {end} and strides {steps} differ in length")
    masks = {
        name: call.option(f"{name}Mask") for name in ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
    }
    entries = [{name: bool(mask >> i & 1) for name, mask in masks.items()} for i in range(len(begin))]
    taken = sum(not e["NewAxis"] and not e["Ellipsis"] for e in entries)
    if taken > len(shape) or sum(e["Ellipsis"] for e in entries) > 1:
        raise ValueError(f"{len(begin)} slices do not fit {shape}")
    slices: list[Slice] = []
    kept: list[bool | None] = []  # of the axes of the result: of x, or None for a new one
    for i, entry in enumerate(entries):
        if entry["Ellipsis"]:
            count = len(shape) - taken
            slices += [(0, size, 1) for size in shape[len(slices) : len(slices) + count]]
            kept += [True] * count
        elif entry["NewAxis"]:
            kept.append(None)
        else:
            stop = begin[i] + end[i] if call.option("Offset") else end[i]
            slices.append(_strided(shape[len(slices)], begin[i], stop, steps[i], entry))
            kept.append(not entry["ShrinkAxis"])
    rest = shape[len(slices) :]
    kept += [True] * len(rest)
    y = _sliced(call, [*slices, *((0, size, 1) for size in rest)])
    sizes = iter(call.b.shape(y))
    result = [1 if axis is None else next(sizes) for axis in kept]
    return (
        y
        if all(kept)
        else call.reshape(y, [n for n, axis in zip(result, kept, strict=True) if axis is not False])
    )


def _strided(size: int, begin: int, end: int, step: int, entry: dict[str, bool]) -> Slice:
    if step == 0:
        raise ValueError("a stride of 0")
    if entry["ShrinkAxis"]:  # one element, whatever the end is
        start = 0 if entry["Begin"] else begin + size if begin < 0 else begin
        if not 0 <= start < size:
            raise ValueError(f"index {begin} lies outside an axis of {size}")
        return start, start + 1, 1
    start, stop, _ = slice(None if entry["Begin"] else begin, None if entry["End"] else end, step).indices(
        size
    )
    return start, None if stop < 0 else stop, step


def reverse(call: Call) -> str:
    shape = call.shape(0)
    axes = {_axis(axis, len(shape)) for axis in call.integers(1, "axes")}
    return _sliced(call, [(-1, None, -1) if axis in axes else (0, n, 1) for axis, n in enumerate(shape)])


def gather(call: Call) -> str:
    if call.option("BatchDims"):
        raise UnsupportedError(f"batch_dims {call.option('BatchDims')}; 0 is supported")
    indices = call.known(1, "indices").astype(np.int64)
    return call.node("gather", call.value(0), indices, axis=call.option("Axis"))


# ---- padding and blocks -------------------------------------------------------------------------


def pads_of(call: Call) -> list[tuple[int, int]]:
    pads, shape = call.known(1, "pads"), call.shape(0)
    if pads.dtype.kind not in "iu" or pads.shape != (len(shape), 2):
        raise ValueError(f"pads of {pads.shape} do not fit {shape}")
    return [(int(before), int(after)) for before, after in pads.tolist()]


def pad(call: Call) -> str:
    value = 0.0
    if call.has(2):
        data = call.known(2, "pad value")
        if data.size != 1:
            raise ValueError(f"a pad value of {data.shape}")
        value = float(data.reshape(-1)[0])
    return call.node("pad", call.value(0), pads=tuple(pads_of(call)), value=value)


def mirror_pad(call: Call) -> str:
    """REFLECT leaves out the edge, SYMMETRIC (1) repeats it: rows picked by index."""
    x, pads, shape = call.value(0), pads_of(call), call.shape(0)
    if call.option("Mode") != 1:
        return call.node("pad", x, pads=tuple(pads), mode="reflect")
    for axis, ((before, after), size) in enumerate(zip(pads, shape, strict=True)):
        if not (0 <= before <= size and 0 <= after <= size) or 3 * size > MOST_COMPUTED:
            raise ValueError(f"pads {pads} mirror more than there is of {shape}")
        if before or after:
            x = call.node("gather", x, np.pad(np.arange(size), (before, after), "symmetric"), axis=axis)
    return x


def depth_to_space(call: Call) -> str:
    return call.node("depth_to_space", call.value(0), block=call.option("BlockSize"))


def space_to_depth(call: Call) -> str:
    return call.node("space_to_depth", call.value(0), block=call.option("BlockSize"))


def space_to_batch(call: Call) -> str:
    """Pixels that are a block apart become an image of their own."""
    blocks, rank, pads = _blocks(call)
    full = [(0, 0), *pads, *[(0, 0)] * (rank - 1 - len(pads))]
    x = call.value(0)
    if any(map(any, full)):
        x = call.node("pad", x, pads=tuple(full), value=call.zero(x))
    shape = call.b.shape(x)
    if any(n % block for n, block in zip(shape[1:], blocks, strict=False)):
        raise ValueError(f"blocks {blocks} do not divide {shape}")
    outer: list[int] = []
    for n, block in zip(shape[1:], blocks, strict=False):
        outer += [n // block, block]
    rest = shape[1 + len(blocks) :]
    x = call.reshape(x, (-1, *outer, *rest))
    within, after = range(1, 2 * len(blocks) + 1, 2), range(2 * len(blocks) + 1, len(outer) + len(rest) + 1)
    perm = (*(axis + 1 for axis in within), 0, *within, *after)
    x = call.node("transpose", x, perm=perm)
    return call.reshape(x, (-1, *outer[::2], *rest))


def batch_to_space(call: Call) -> str:
    """The reverse, without the cropped rows and columns."""
    blocks, rank, crops = _blocks(call)
    x, shape, count = call.value(0), call.shape(0), len(blocks)
    if shape[0] % math.prod(blocks):
        raise ValueError(f"blocks {blocks} do not divide a batch of {shape[0]}")
    rest = shape[1 + count :]
    x = call.reshape(x, (*blocks, -1, *shape[1 : 1 + count], *rest))
    perm = [count]
    for axis in range(count):
        perm += [count + 1 + axis, axis]
    x = call.node("transpose", x, perm=(*perm, *range(2 * count + 1, 2 * count + 1 + len(rest))))
    sizes = [n * block for n, block in zip(shape[1:], blocks, strict=False)]
    x = call.reshape(x, (-1, *sizes, *rest))
    if not any(map(any, crops)):
        return x
    kept: list[Slice | None] = [(a, n - b, 1) for (a, b), n in zip(crops, sizes, strict=True)]
    return call.node("slice", x, slices=(None, *kept, *[None] * (rank - 1 - count)))


def _blocks(call: Call) -> tuple[list[int], int, list[tuple[int, int]]]:
    """(sizes of blocks, axes of x, pads or crops) of the axes after the batch."""
    blocks, pads, rank = call.integers(1, "blocks"), call.known(2, "pads"), len(call.shape(0))
    fits = 0 < len(blocks) < rank and min(blocks) > 0 and pads.shape == (len(blocks), 2)
    if not fits or pads.dtype.kind not in "iu" or pads.min() < 0:
        raise ValueError(f"blocks {blocks} with pads or crops of {pads.shape} do not fit {rank} axes")
    return blocks, rank, [(int(a), int(b)) for a, b in pads.tolist()]


# ---- broadcasting, and shapes as numbers --------------------------------------------------------


def broadcast_to(call: Call) -> str:
    return call.node("expand", call.value(0), shape=tuple(call.integers(1, "shape")))


def tile(call: Call) -> str:
    """An axis of 1 before each that is repeated, broadcast and joined with it."""
    shape, repeats, x = call.shape(0), call.integers(1, "repeats"), call.value(0)
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise ValueError(f"repeats {repeats} do not fit {shape}")
    for axis, count in enumerate(repeats):
        if count > 1:
            before, (size, *after) = call.b.shape(x)[:axis], call.b.shape(x)[axis:]
            apart = call.reshape(x, (*before, 1, size, *after))
            apart = call.node("expand", apart, shape=(*before, count, size, *after))
            x = call.reshape(apart, (*before, count * size, *after))
    return x


def shape_(call: Call) -> str:
    return call.b.constant(np.array(call.shape(0), call.output_dtype()))


def rank(call: Call) -> str:
    return call.b.constant(np.array(len(call.shape(0)), np.int32))


def fill(call: Call) -> str:
    sizes, value = call.integers(0, "sizes"), call.known(1, "value")
    if min(sizes, default=1) < 1 or math.prod(sizes) > MOST_COMPUTED or value.size != 1:
        raise ValueError(f"{value.shape} cannot fill {sizes}")
    return call.b.constant(np.full(sizes, value.reshape(())))


def range_(call: Call) -> str:
    first, last, step = (call.known(i, "bounds").reshape(-1) for i in range(3))
    if {first.size, last.size, step.size} != {1} or not step[0]:
        raise ValueError("its bounds and step must be single numbers, the step not 0")
    if not 0 <= (float(last[0]) - float(first[0])) / float(step[0]) <= MOST_COMPUTED:
        raise ValueError(f"a range from {first[0]} to {last[0]} in steps of {step[0]}")
    return call.b.constant(np.arange(first[0], last[0], step[0], dtype=first.dtype))


def zeros_like(call: Call) -> str:
    shape = call.shape(0)
    if math.prod(shape) > MOST_COMPUTED:
        raise ValueError(f"zeros of {shape}")
    return call.b.constant(np.zeros(shape, call.output_dtype()))


SHAPE_OPS: dict[str, Callable[[Call], Any]] = {
    "RESHAPE": reshape,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "TRANSPOSE": transpose,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "UNPACK": unpack,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "REVERSE_V2": reverse,
    "GATHER": gather,
    "PAD": pad,
    "PADV2": pad,
    "MIRROR_PAD": mirror_pad,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
    "BROADCAST_TO": broadcast_to,
    "TILE": tile,
    "SHAPE": shape_,
    "RANK": rank,
    "FILL": fill,
    "RANGE": range_,
    "ZEROS_LIKE": zeros_like,
}
