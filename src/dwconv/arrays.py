"""What callers give as tensors, filters and biases, as arrays: read in place, or refused with the remedy.

Whatever NumPy's protocols read without a copy is read: arrays, buffers, `__array__`, `__array_interface__`,
and `__dlpack__` of memory that the CPU sees. Nothing is converted silently, except that lists of numbers,
which have no dtype of their own, take the dtype that is expected.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .activation import Array

DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.float16))
PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__")
HOST_DEVICES = (1, 3, 11, 13)  # of DLPack: the CPU, and memory of CUDA and ROCm that the CPU addresses


class SupportsArrayInterface(Protocol):
    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class SupportsDLPack(Protocol):
    def __dlpack__(self, *, stream: None = None) -> object: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


TensorLike: TypeAlias = npt.ArrayLike | SupportsArrayInterface | SupportsDLPack


def as_array(name: str, argument: str, value: Any, dtype: np.dtype[Any] | None) -> Array:
    """`value` as an array of `dtype`, or of any supported one where that is None.

    Lists of numbers become `dtype`, or float32. Everything that has a dtype keeps it, or is refused.
    """
    array = value if type(value) is np.ndarray else _read(f"{name}: {argument}", argument, value, dtype)
    if array.dtype not in DTYPES:
        raise TypeError(
            f"{name}: the dtype of {argument} is {array.dtype}; float32, float64 and float16 are supported, "
            f"in native byte order{_conversion(array.dtype, np.dtype(np.float32))}"
        )
    if dtype is not None and array.dtype != dtype:
        raise TypeError(
            f"{name}: the dtype of {argument} is {array.dtype} but {dtype} is expected; x, filters and "
            f"biases must have the same dtype{_conversion(array.dtype, dtype)}"
        )
    return array


def check_out(
    name: str, out: Any, expected: tuple[int, ...], x: Array, dtype: np.dtype[Any] | None = None
) -> None:
    """Raises unless `out` can take a result of the shape `expected` and of `dtype` (None: that of x), apart
    from x."""
    dtype = x.dtype if dtype is None else dtype
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: out is a masked array, whose mask the result would contradict: pass out.data, which "
            "shares its memory, or an array like out.filled(...)"
        )
    if not isinstance(out, np.ndarray):
        raise TypeError(
            f"{name}: out must be a NumPy array, not {type_name(out)}"
            f"{': pass np.asarray(out), if that shares its memory' if _has_dtype(out) else ''}"
        )
    if out.dtype != dtype:
        raise TypeError(f"{name}: the dtype of out is {out.dtype} but {dtype} is expected")
    if out.shape != expected:
        raise ValueError(f"{name}: out has the shape {out.shape} but the result {expected} (x {x.shape})")
    if not out.flags.writeable:
        raise ValueError(f"{name}: out is read-only")
    if _overlaps_itself(out):
        raise ValueError(f"{name}: elements of out share memory (shape {out.shape}, strides {out.strides})")
    check_apart(name, out, [("x", x)])


def check_apart(name: str, out: Array, inputs: Iterable[tuple[str, Array]]) -> None:
    """Raises ValueError where `out` has an element in common with one of the named arrays."""
    for argument, array in inputs:
        if _share_memory(array, out):
            raise ValueError(f"{name}: out overlaps {argument}")


def type_name(value: Any) -> str:
    """ "list", "torch.Tensor": the type as its users know it."""
    cls = type(value)
    module = cls.__module__.split(".")[0]
    return cls.__name__ if module == "builtins" else f"{module}.{cls.__name__}"


# ---- reading ----------------------------------------------------------------------------------


def _read(where: str, argument: str, value: Any, dtype: np.dtype[Any] | None) -> Array:
    """Anything but a plain array as one, of whatever dtype it has; numbers without one as `dtype`."""
    this = argument.split()[0]  # in expressions: "reduce_filter of squeeze_excite" is a reduce_filter
    items = _item_types(value) if isinstance(value, list | tuple) else {type(value)}
    if any(issubclass(item, np.ma.MaskedArray) for item in items):
        raise _masked(where, f"{this}.filled(...)")
    if type(None) in items:
        raise TypeError(f"{where} {'is' if value is None else 'holds'} None where numbers are needed")
    if isinstance(value, str | os.PathLike):
        raise TypeError(
            f"{where} is of type {type_name(value)}, not an array: load a file with np.load({this})"
        )
    if isinstance(value, bytes):
        raise TypeError(f"{where} is bytes, not an array: np.frombuffer({this}, np.float32) reads numbers")
    if not isinstance(value, np.ndarray) and _only_dlpack(value):
        array = _from_dlpack(where, this, value)
    else:
        array = _as_array(where, this, value)
    if array.dtype == object:
        raise TypeError(
            f"{where} is of type {type_name(value)}, in which NumPy finds no numbers{_remedy(this, value)}"
        )
    numbers = not any(map(_has_dtype_of_its_own, items)) and not _has_dtype(value)
    return array.astype(dtype or np.float32) if numbers and array.dtype.kind in "iuf" else array


def _masked(where: str, remedy: str) -> TypeError:
    message = f"{where} is a masked array, whose mask would be lost: pass {remedy}"
    return TypeError(f"{message}, with the value that masked elements stand for")


def _item_types(value: list[Any] | tuple[Any, ...]) -> set[type]:
    """The types of what a nested list holds in the end."""
    types = set(map(type, value))
    nested = {cls for cls in types if issubclass(cls, list | tuple)}
    if not nested:
        return types
    return (types - nested).union(*(_item_types(item) for item in value if type(item) in nested))


def _has_dtype_of_its_own(cls: type) -> bool:
    """Scalars of NumPy count as numbers: lists of them come from iterating over arrays."""
    return not issubclass(cls, np.generic) and any(hasattr(cls, protocol) for protocol in PROTOCOLS)


def _has_dtype(value: Any) -> bool:
    if any(hasattr(value, protocol) for protocol in (*PROTOCOLS, "__dlpack__")):
        return True
    try:
        memoryview(value)
    except (TypeError, BufferError):
        return False
    return True


def _only_dlpack(value: Any) -> bool:
    return hasattr(value, "__dlpack__") and not any(hasattr(value, protocol) for protocol in PROTOCOLS)


def _from_dlpack(where: str, this: str, value: Any) -> Array:
    try:
        if value.__dlpack_device__()[0] in HOST_DEVICES:
            return np.from_dlpack(value)
        problem: object = "it is in the memory of another device"
    except Exception as error:  # of another library: anything
        problem = error
    raise TypeError(
        f"{where} is of type {type_name(value)}, which NumPy cannot read: {problem}{_remedy(this, value)}"
    )


def _as_array(where: str, this: str, value: Any) -> Array:
    try:
        array = np.asanyarray(value)
    except Exception as error:  # of another library: anything
        if isinstance(value, list | tuple) and isinstance(error, ValueError):  # a ragged list
            raise ValueError(f"{where} is not an array: {error}") from None
        raise TypeError(
            f"{where} is of type {type_name(value)}, which NumPy cannot read: {error}{_remedy(this, value)}"
        ) from error
    if isinstance(array, np.ma.MaskedArray):  # of `__array__`
        raise _masked(where, f"np.asanyarray({this}).filled(...)")
    return np.asarray(array)


# ---- remedies ---------------------------------------------------------------------------------


def _remedy(this: str, value: Any) -> str:
    """What makes an array of a tensor of another library, as far as its attributes tell."""
    steps = ""
    if hasattr(value, "toarray"):  # scipy.sparse
        steps += ".toarray()"
    if getattr(value, "is_sparse", False) is True:  # PyTorch
        steps += ".to_dense()"
    if getattr(value, "requires_grad", False) is True:
        steps += ".detach()"
    if _is_elsewhere(value):
        steps += ".get()" if hasattr(value, "get") else ".cpu()"  # CuPy; PyTorch
    if _is_small_float(str(getattr(value, "dtype", ""))):
        steps += ".float()" if hasattr(value, "float") else ".astype('float32')"
    return f"; pass {this}{steps}" if steps else ""


def _is_elsewhere(value: Any) -> bool:
    try:
        return value.__dlpack_device__()[0] not in HOST_DEVICES
    except Exception:  # absent, or no device that DLPack knows
        return str(getattr(value, "device", "cpu")).startswith(("cuda", "mps", "xpu", "hip"))


def _is_small_float(dtype: str) -> bool:
    return "bfloat16" in dtype or "float8" in dtype


def _conversion(dtype: np.dtype[Any], expected: np.dtype[Any]) -> str:
    """The remedy for an array of another dtype, where the conversion keeps what the numbers mean."""
    if dtype.name in ("int8", "uint8"):
        remedy = f"for quantized numbers, dwconv.dequantize, or a layer with dtype={dtype.name!r}"
        return f" (convert with .astype(np.{expected})); {remedy}"
    if dtype.kind not in "iufb" and not _is_small_float(dtype.name):
        return ""
    other = ", or x to float32, which runs native" if dtype == np.float32 else ""
    return f" (convert with .astype(np.{expected}){other})"


# ---- memory -----------------------------------------------------------------------------------


def _overlaps_itself(out: Array) -> bool:
    """Whether some axis, from the smallest stride on, does not step over all that lies inside it.

    Slices and transposed arrays always do; only views with made-up strides do not.
    """
    if out.size == 0:
        return False
    inner = out.itemsize
    for stride, size in sorted(zip(map(abs, out.strides), out.shape, strict=True)):
        if size > 1:
            if stride < inner:
                return True
            inner += (size - 1) * stride
    return False


def _share_memory(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except RuntimeError:  # NumPy's TooHardError: too intricate to decide: taken for an overlap
        return True
