"""Numbers as 8-bit integers: real = scale * (q - zero_point).

`quantize` and `dequantize` convert tensors; layers that are made with dtype="int8" or "uint8" take and give
such integers. What they compute, to the bit, is told in docs/int8.md; `csrc/dwconv.h` has the same formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from .activation import Activation, Array
from .arrays import _read, type_name
from .nine_bits import narrow

Rounding: TypeAlias = Literal["even", "tflite"]
IntegerDType: TypeAlias = Literal["int8", "uint8"]
Formula: TypeAlias = Literal["integer", "float"]
OutputDType: TypeAlias = Literal["float32", "int8", "uint8"]
ClampLike: TypeAlias = tuple[Literal["clamp"], int, int]

DTYPES = {"int8": np.dtype(np.int8), "uint8": np.dtype(np.uint8)}
ROUNDINGS = ("even", "tflite")
FORMULAS = ("integer", "float")
MOST_RATIO = 2.0**20  # of scales: of means and products
MOST_FACTOR = 256.0  # as XNNPACK: of input scale * filter scale / output scale


class Quantization(NamedTuple):
    """What an integer q stands for: scale * (q - zero_point). The scale is a float32."""

    scale: float
    zero_point: int


QuantizationLike: TypeAlias = Quantization | tuple[float, int]


@dataclass(frozen=True, slots=True)
class StageQuantization:
    """Of one convolution. `filter_scale`: float32 [1] or [outputs].

    What follows the sums: a clamp, to integers that are given or those of the activation; then, where the
    activation is more, a table of 256 entries by q as uint8, given or made of it, whose index stands for
    `activation_input`.
    """

    filter_scale: Array
    output: Quantization
    activation_input: Quantization | None = None
    table: Array | None = None
    clamp: tuple[int, int] | None = None

    @property
    def before(self) -> Quantization:
        """What sums are rounded to."""
        return self.output if self.activation_input is None else self.activation_input

    def frozen(self) -> StageQuantization:
        return replace(self, filter_scale=_frozen(self.filter_scale), table=_frozen(self.table))


class SqueezeExciteQuantization(NamedTuple):
    """Of squeeze-and-excite in a block of 8-bit integers: every pair is (scale, zero_point).

    `mean`: what the mean of each channel is rounded to; `squeeze_output`, `gate_output`: what the two dense
    layers give, their activations included; `scaled`: what the product of a channel with its factor is
    rounded to, which the projection takes. Filter scales are a number, or one for each output channel.
    `squeeze_activation_quantization`, `gate_activation_quantization`: what activations take that are more
    than a clamp. `product`: the formula of the product, "integer" or "float": docs/int8.md has both.

    `InvertedResidual(squeeze_excite_quantization=)` takes it, checks it, and raises TypeError for what is
    missing, ValueError for scales and zero points that cannot be. Sources: MEAN and MUL of TensorFlow Lite,
    ReduceMean and Mul of ONNX Runtime.

    >>> import dwconv
    >>> q = dwconv.SqueezeExciteQuantization(
    ...     mean=(0.02, -128), squeeze_filter_scale=0.01, squeeze_output=(0.02, -128), gate_filter_scale=0.01,
    ...     gate_output=(1 / 256, -128), scaled=(0.02, -128), gate_activation_quantization=(0.05, 0),
    ... )
    >>> q.product
    'integer'
    """

    mean: QuantizationLike
    squeeze_filter_scale: Any
    squeeze_output: QuantizationLike
    gate_filter_scale: Any
    gate_output: QuantizationLike
    scaled: QuantizationLike
    squeeze_activation_quantization: QuantizationLike | None = None
    gate_activation_quantization: QuantizationLike | None = None
    product: Formula = "integer"


@dataclass(frozen=True, slots=True)
class GateQuantization:
    """Of squeeze-and-excite between its stages."""

    mean: Quantization
    scaled: Quantization
    product: Formula = "integer"


@dataclass(frozen=True, slots=True)
class OperationQuantization:
    """Of all of an operation. `sum`: what a residual gives."""

    dtype: np.dtype[Any]
    input: Quantization
    rounding: Rounding = "even"
    sum: Quantization | None = None
    float_output: bool = False
    gate: GateQuantization | None = None


def _frozen(array: Any) -> Any:
    if array is not None:
        array = array.copy()
        array.setflags(write=False)
    return array


# ---- arguments --------------------------------------------------------------------------------


def integer_dtype(name: str, value: Any) -> np.dtype[Any] | None:
    """None for float layers, whose dtype is that of their filters."""
    if value is None:
        return None
    dtype = dtype_of(value)
    if dtype not in DTYPES.values():
        raise ValueError(f"{name}: dtype must be None, 'int8' or 'uint8', not {value!r}")
    return dtype


def dtype_of(value: Any) -> np.dtype[Any] | None:
    """None: there is no such dtype."""
    try:
        found: np.dtype[Any] = np.dtype(value)
    except TypeError:
        return None
    return found


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def quantization(name: str, argument: str, value: Any, dtype: np.dtype[Any]) -> Quantization:
    """A checked (scale, zero_point)."""
    where = f"{name}: {argument}"
    if value is None:
        raise TypeError(f"{where} is needed with dtype={dtype.name!r}: pass (scale, zero_point)")
    try:
        scale, zero_point = value
    except (TypeError, ValueError):
        raise TypeError(f"{where} must be (scale, zero_point), not {value!r}") from None
    return Quantization(_scale(where, scale), _zero_point(where, zero_point, dtype))


def _scale(where: str, value: Any) -> float:
    try:
        number = float(np.float32(value))
    except (TypeError, ValueError):
        raise TypeError(f"{where}: the scale must be a number, not {value!r}") from None
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{where}: the scale must be finite and above 0 in float32, not {value!r}")
    return number


def _zero_point(where: str, value: Any, dtype: np.dtype[Any]) -> int:
    low, high = limits(dtype)
    number = _integer(f"{where}: the zero point", value)
    if not low <= number <= high:
        raise ValueError(f"{where}: the zero point of {dtype} must be between {low} and {high}, not {number}")
    return number


def _integer(where: str, value: Any) -> int:
    if getattr(value, "ndim", 0) == 0 and hasattr(value, "__index__") and not isinstance(value, bool):
        return int(value.__index__())
    raise TypeError(f"{where} must be an integer, not {value!r}")


def as_integers(name: str, argument: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """`value` as an array of the integer type `dtype`: nothing that has a dtype is converted."""
    array = (
        value
        if type(value) is np.ndarray
        else _read(f"{name}: {argument}", argument, value, np.dtype(np.int64))
    )
    if array.dtype == dtype:
        return array
    numbers = isinstance(value, list | tuple) or type(value) is int
    if numbers and array.dtype.kind in "iu":
        low, high = limits(dtype)
        if array.size == 0 or (array.min() >= low and array.max() <= high):
            return array.astype(dtype)
        raise ValueError(f"{name}: {argument} must be between {low} and {high} for {dtype}")
    raise TypeError(
        f"{name}: the dtype of {argument} is {array.dtype} but {dtype} is expected{_hint(argument, dtype)}"
    )


def _hint(argument: str, dtype: np.dtype[Any]) -> str:
    if dtype == np.int32:
        return ": integers in units of input scale * filter scale"
    if "filter" in argument:
        return ": the weights themselves, without a zero point (dwconv.quantized.signed_filters makes them)"
    return " (dwconv.quantize makes it of numbers)"


def filter_scales(name: str, argument: str, value: Any, outputs: int) -> Array:
    """float32 [1] or [outputs], finite and above 0."""
    where = f"{name}: {argument}"
    if value is None:
        raise TypeError(f"{where} is needed: a number, or one for each of the {outputs} output channels")
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise TypeError(f"{where} must be numbers, not {type_name(value)}") from None
    if array.ndim > 1 or array.size not in (1, outputs):
        raise ValueError(
            f"{where} must be a number, or one for each of the {outputs} output channels, not of shape "
            f"{array.shape}"
        )
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError(f"{where}: every scale must be finite and above 0 in float32")
    return np.ascontiguousarray(array.reshape(-1))


def split_activation(
    name: str, argument: str, value: Any, dtype: np.dtype[Any] | None
) -> tuple[Any, Array | None, tuple[int, int] | None]:
    """What quantized layers take beside activations: (activation, table, clamp)."""
    where = f"{name}: {argument}"
    if dtype is None:
        return value, None, None
    if isinstance(value, tuple | list) and value and value[0] == "clamp":
        if len(value) != 3:
            raise ValueError(f"{where} must be ('clamp', low, high), not {value!r}")
        low, high = (_integer(f"{where}: a bound of 'clamp'", item) for item in value[1:])
        least, most = limits(dtype)
        if not least <= low <= high <= most:
            raise ValueError(f"{where}: 'clamp' needs {least} <= low <= high <= {most}, not {low} and {high}")
        return None, None, (low, high)
    if isinstance(value, np.ndarray):
        if value.shape != (256,) or value.dtype != dtype:
            raise ValueError(
                f"{where}: a table has 256 entries of {dtype}, by q as uint8, not {value.dtype} {value.shape}"
            )
        return None, np.ascontiguousarray(value), None
    return value, None, None


# ---- clamps, factors, tables ------------------------------------------------------------------


def is_clamp(activation: Activation) -> bool:
    return activation.kind in ("identity", "relu", "relu6", "clip")


def bounds(
    activation: Activation, q: Quantization, dtype: np.dtype[Any], rounding: Rounding
) -> tuple[int, int]:
    """The integers that the values of `activation`, a clamp, lie between."""
    low, high = {
        "relu": (0.0, math.inf), "relu6": (0.0, 6.0), "clip": (activation.a, activation.b),
    }.get(activation.kind, (-math.inf, math.inf))  # fmt: skip
    return _bound(low, q, dtype, rounding), _bound(high, q, dtype, rounding)


def _bound(value: float, q: Quantization, dtype: np.dtype[Any], rounding: Rounding) -> int:
    with np.errstate(over="ignore"):
        scaled = np.float32(value) / np.float32(q.scale)
    if rounding == "tflite" and np.isfinite(scaled):
        scaled = np.float32(math.copysign(math.floor(abs(float(scaled)) + 0.5), float(scaled)))
    return int(np.rint(np.clip(scaled + np.float32(q.zero_point), *map(np.float32, limits(dtype)))))


def factors(x: Quantization, stage: StageQuantization) -> Array:
    """From sums to what they are rounded to, float32 [1] or [outputs]: two roundings, in this order."""
    with np.errstate(all="ignore"):
        product = np.float32(x.scale) * stage.filter_scale
        return np.asarray(product / np.float32(stage.before.scale))


def table_of(activation: Activation, stage: StageQuantization, dtype: np.dtype[Any]) -> Array:
    """256 entries of `dtype` by q as uint8: as XNNPACK makes them, of the activation rounded to float32."""
    from .activation import apply

    if stage.table is not None:
        return stage.table
    q = np.arange(256, dtype=np.uint8).view(dtype).astype(np.int32)
    with np.errstate(all="ignore"):
        x = (q - stage.before.zero_point).astype(np.float32) * np.float32(stage.before.scale)
        y = apply(x.astype(np.float64), activation).astype(np.float32)
        t = y * (np.float32(1) / np.float32(stage.output.scale)) + np.float32(stage.output.zero_point)
    t = np.where(np.isnan(t), np.float32(stage.output.zero_point), t)
    return np.asarray(np.rint(np.clip(t, *limits(dtype))).astype(dtype))


# ---- tensors ----------------------------------------------------------------------------------


def quantize(x: Any, scale: float, zero_point: int, dtype: IntegerDType = "int8") -> Array:
    """Integers for numbers: clamp(round(x / scale) + zero_point), halves to even, as ONNX's QuantizeLinear.

    `x`: numbers of any shape, divided in float32. `scale`: finite and above 0. `zero_point`: the integer that
    stands for 0, a value of the dtype. `dtype`: "int8" or "uint8". Raises ValueError for other scales, zero
    points and dtypes, and for NaN in x; TypeError for what are no numbers.

    >>> import numpy as np, dwconv
    >>> dwconv.quantize(np.array([-1.0, 0.0, 0.26], np.float32), scale=0.1, zero_point=3)
    array([-7,  3,  6], dtype=int8)
    """
    kind = integer_dtype("quantize", dtype)
    if kind is None:
        raise ValueError("quantize: dtype must be 'int8' or 'uint8', not None")
    q = quantization("quantize", "scale and zero_point", (scale, zero_point), kind)
    numbers = np.asarray(x)
    if numbers.dtype.kind not in "iuf":
        raise TypeError(f"quantize: x must be numbers, not {type_name(x)} of {numbers.dtype}")
    if np.isnan(numbers).any():
        raise ValueError("quantize: x holds NaN, for which there is no integer")
    with np.errstate(over="ignore"):
        scaled = np.rint(numbers.astype(np.float32) / np.float32(q.scale))
    return np.asarray(np.clip(scaled + np.float32(q.zero_point), *limits(kind)).astype(kind))


def dequantize(q: Any, scale: float, zero_point: int) -> Array:
    """The numbers, in float32, that integers stand for: scale * (q - zero_point).

    `q`: int8 or uint8, of any shape. `scale`: finite and above 0. `zero_point`: a value of the dtype of q.
    Raises TypeError for another dtype, ValueError for other scales and zero points.

    >>> import numpy as np, dwconv
    >>> dwconv.dequantize(np.array([-128, 0, 127], np.int8), scale=0.5, zero_point=0)
    array([-64. ,   0. ,  63.5], dtype=float32)
    """
    integers = np.asarray(q)
    if integers.dtype not in DTYPES.values():
        raise TypeError(f"dequantize: q must be int8 or uint8, not {integers.dtype}")
    parameters = quantization("dequantize", "scale and zero_point", (scale, zero_point), integers.dtype)
    difference = integers.astype(np.int32) - parameters.zero_point
    return np.asarray(np.float32(parameters.scale) * difference.astype(np.float32))


def signed_filters(filters: Array, zero_point: Any) -> Array:
    """uint8 filters with a zero point as the weights that they stand for: filters - zero_point.

    `filters`: uint8, of any shape. `zero_point`: an integer from 0 to 255, or one for each position of the
    last axis. Gives int8 where all weights fit, as they always do with 128, else int16, which layers take as
    well: a weight beyond int8 may cost them a second product. Raises TypeError for filters of another dtype,
    ValueError for other zero points.

    >>> import numpy as np, dwconv
    >>> dwconv.quantized.signed_filters(np.array([[0, 250]], np.uint8), 113)
    array([[-113,  137]], dtype=int16)
    """
    name, numbers = "signed_filters", np.asarray(filters)
    if numbers.dtype != np.uint8:
        raise TypeError(f"{name}: filters must be uint8, not {numbers.dtype}")
    if np.ndim(zero_point) == 0:
        zeros = np.asarray(_zero_point(f"{name}: zero_point", zero_point, DTYPES["uint8"]))
    else:
        zeros = np.asarray(zero_point)
        if zeros.dtype.kind not in "iu" or zeros.shape != numbers.shape[-1:]:
            raise ValueError(
                f"{name}: zero_point must be an integer, or one for each position of the last axis of "
                f"filters {numbers.shape}, not {zeros.dtype} {zeros.shape}"
            )
        if zeros.min() < 0 or zeros.max() > 255:
            raise ValueError(f"{name}: zero points of uint8 are between 0 and 255")
    return narrow(numbers.astype(np.int16) - zeros.astype(np.int16))
