"""What callers give as inputs and outputs of a network: read in place, or refused with the remedy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .activation import Array
from .arrays import _overlaps_itself, _read, check_apart, type_name
from .sources import Sizes, TensorInfo

TURNED = {"NHWC": (0, 3, 1, 2), "NCHW": (0, 2, 3, 1)}  # how images of that layout become the other one


def by_name(name: str, infos: Sequence[TensorInfo], given: Sequence[Any]) -> list[Any]:
    """The positional inputs, or the one mapping, in the order of `infos`."""
    names = [info.name for info in infos]
    if len(given) == 1 and isinstance(given[0], Mapping):
        missing = [item for item in names if item not in given[0]]
        unknown = [item for item in given[0] if item not in names]
        if missing or unknown:
            problem = f"{unknown[0]!r} is none of them" if unknown else f"{missing[0]!r} is missing"
            raise TypeError(f"{name}: the inputs are {', '.join(map(repr, names))}; {problem}")
        return [given[0][item] for item in names]
    if len(given) != len(names):
        raise TypeError(
            f"{name}: takes {len(names)} input{'s' if len(names) != 1 else ''} "
            f"({', '.join(map(shown, infos))}), not {len(given)}"
        )
    return list(given)


def read_input(name: str, info: TensorInfo, value: Any) -> Array:
    """`value` as an array of exactly the dtype of the input. Lists of numbers take it."""
    if type(value) is np.ndarray:
        array = value
    else:
        array = _read(f"{name}: input {info.name!r}", "x", value, info.dtype)
    if array.dtype != info.dtype:
        remedy = _conversion(array.dtype, info.dtype)
        raise TypeError(f"{name}: input {info.name!r} is {info.dtype}, not {array.dtype}{remedy}")
    return array if array.dtype.byteorder in "=|" else array.view(info.dtype)


def _conversion(dtype: np.dtype[Any], expected: np.dtype[Any]) -> str:
    if dtype.kind in "iub" and expected.kind == "f":
        return f"; pass x.astype(np.{expected}), pixels scaled as in training, such as / 255"
    return f"; pass x.astype(np.{expected})" if dtype.kind == expected.kind == "f" else ""


def fits(info: TensorInfo, shape: Sizes) -> bool:
    """Whether the model file has the shape, sizes that it leaves open aside."""
    return len(shape) == len(info.shape) and all(
        a is None or a == b for a, b in zip(info.shape, shape, strict=True)
    )


def shape_error(name: str, info: TensorInfo, shape: Sizes) -> ValueError:
    """What to say of an input that does not fit, with the likely mistake."""
    return ValueError(f"{name}: input {shown(info)} cannot take {shape}{_mistake(info, shape)}")


def _mistake(info: TensorInfo, shape: Sizes) -> str:
    rank = len(info.shape)
    if len(shape) == rank - 1 and fits(info, (1, *shape)):
        return ": the batch axis is missing; pass x[None]"
    if len(shape) == rank + 1 and shape[0] == 1 and fits(info, shape[1:]):
        return ": there is no batch axis; pass x[0]"
    for layout, perm in TURNED.items():
        if rank == 4 and len(shape) == 4 and fits(info, tuple(shape[axis] for axis in perm)):
            other = "NCHW" if layout == "NHWC" else "NHWC"
            remedy = "; net.layout('NHWC') takes it as it is" if layout == "NHWC" else ""
            return f": it takes {other}, and this looks like {layout}; pass x.transpose{perm}{remedy}"
    if len(shape) == rank - 1 and rank == 4:
        for layout, perm in TURNED.items():
            turned = tuple((1, *shape)[axis] for axis in perm)
            if fits(info, turned):
                other = "NCHW" if layout == "NHWC" else "NHWC"
                return f": it takes {other} with a batch axis; pass x[None].transpose{perm}"
    if len(shape) != rank:
        return f": it has {rank} axes, not {len(shape)}"
    axes = [axis for axis, (a, b) in enumerate(zip(info.shape, shape, strict=True)) if a not in (None, b)]
    what = "the batch" if axes == [0] else f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"
    verb = "differs" if len(axes) == 1 else "differ"
    return f": {what} {verb}; net.bind(shapes) allows other sizes, if the graph does"


def shown(info: TensorInfo) -> str:
    """ "'x' float32 (?, 3, 224, 224)": a size that is open is a question mark."""
    sizes = ", ".join("?" if size is None else str(size) for size in info.shape)
    return f"{info.name!r} {info.dtype} ({sizes}{',' if len(info.shape) == 1 else ''})"


# ---- outputs ------------------------------------------------------------------------------------


def contiguous(out: Array) -> Array:
    """`out` itself where results can be written in place, else an array to write them to first."""
    return out if out.flags.c_contiguous and out.flags.aligned else np.empty(out.shape, out.dtype)


def check_outputs(
    name: str,
    infos: Sequence[TensorInfo],
    shapes: Sequence[Sizes],
    out: Any,
    inputs: Sequence[tuple[str, Array]],
) -> list[Array]:
    """The arrays of `out`, in the order of the outputs. Raises where they cannot take the results."""
    if isinstance(out, Mapping | list | tuple):
        given = _several(name, infos, out)
    elif len(infos) == 1:
        given = [out]
    else:
        raise TypeError(f"{name}: out must be a dict, or {len(infos)} arrays in the order of net.outputs")
    for info, shape, array in zip(infos, shapes, given, strict=True):
        _check_out(
            f"{name}: out" if len(infos) == 1 else f"{name}: out for {info.name!r}", info, shape, array
        )
        check_apart(name, array, [(f"input {item!r}", x) for item, x in inputs])
    for (a, first), (b, second) in itertools.combinations(zip(infos, given, strict=True), 2):
        if np.may_share_memory(first, second):
            check_apart(f"{name}: {a.name!r}", first, [(f"out for {b.name!r}", second)])
    return given


def _several(name: str, infos: Sequence[TensorInfo], out: Any) -> list[Any]:
    names = [info.name for info in infos]
    if isinstance(out, Mapping):
        if out.keys() != set(names):
            raise TypeError(f"{name}: the outputs are {', '.join(map(repr, names))}; out has {list(out)}")
        return [out[item] for item in names]
    if len(out) != len(names):
        raise TypeError(
            f"{name}: out has {len(out)} arrays, but the outputs are {', '.join(map(repr, names))}"
        )
    return list(out)


def _check_out(where: str, info: TensorInfo, shape: Sizes, out: Any) -> None:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{where} must be a NumPy array without a mask, not {type_name(out)}")
    if out.dtype != info.dtype:
        raise TypeError(f"{where}: its dtype is {out.dtype} but {info.dtype} is expected")
    if out.shape != shape:
        raise ValueError(f"{where}: its shape is {out.shape} but the result {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{where} is read-only")
    if _overlaps_itself(out):
        raise ValueError(f"{where}: its elements share memory (shape {out.shape}, strides {out.strides})")


def random_inputs(infos: Sequence[TensorInfo], shapes: Sequence[Sizes]) -> list[Array]:
    """From -1 to 1, the same every time; integers over their whole range."""
    rng = np.random.default_rng(0)
    arrays = []
    for info, shape in zip(infos, shapes, strict=True):
        if info.dtype.kind == "f":
            arrays.append(rng.uniform(-1, 1, shape).astype(info.dtype))
        elif info.dtype.kind == "b":
            arrays.append(rng.integers(0, 2, shape).astype(info.dtype))
        else:
            limits = np.iinfo(info.dtype)
            arrays.append(rng.integers(limits.min, limits.max, shape, info.dtype, endpoint=True))
    return arrays
