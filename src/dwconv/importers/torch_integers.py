"""PyTorch's PT2E export: quantized_decomposed operations around those of floats.

A convolution or dense layer between dequantised values and a quantisation becomes one of integers; its bias,
in floats there, is rounded to the units of its sums. What else is between them runs in float32, and so does
what has a scale that is chosen when it runs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from .. import byte_tables
from ..activation import Array
from ..graph import Quantization
from ..nodes_integers import check
from ..quantized import limits
from .channels_first import ChannelsFirst, T, UnsupportedError
from .channels_first_integers import Integers, Rounding

if TYPE_CHECKING:
    from .torch_graph import Reader

NAMESPACE = "quantized_decomposed"
DTYPES = {torch.int8: np.dtype(np.int8), torch.uint8: np.dtype(np.uint8)}
CLAMPS = ("relu", "relu_", "hardtanh", "hardtanh_", "clamp", "relu6")
PRODUCTS = ("conv1d", "conv2d", "convolution", "linear")


def is_conversion(target: Any) -> bool:
    return isinstance(target, torch._ops.OpOverload) and target.namespace == NAMESPACE


def evaluate(reader: Reader, node: fx.Node) -> Any:
    """Of a conversion whose input is computed at run time."""
    from .torch_graph import Missing, bound, packet

    name, integers = packet(node.target), Integers(reader.net)
    given = bound(node.target, reader._values(node.args), reader._values(node.kwargs))
    if any(isinstance(value, Missing) for value in given.values()):
        return Missing()
    if name == "choose_qparams" or isinstance(given.get("scale"), T):
        return _dynamic(reader.net, name, given)
    if name not in ("quantize_per_tensor", "dequantize_per_tensor") or not isinstance(given["x"], T):
        raise UnsupportedError(
            f"{name} of activations; quantize_per_tensor and dequantize_per_tensor are supported"
        )
    dtype = DTYPES.get(given["dtype"])
    if dtype is None:
        raise UnsupportedError(f"integers of {given['dtype']}; int8 and uint8 are supported")
    q = check((_number(given["scale"]), _number(given["zero_point"])), dtype)
    if name == "dequantize_per_tensor":
        return integers.dequantize(given["x"], q)
    least, most = limits(dtype)
    low, high = max(int(given["quant_min"]), least), min(int(given["quant_max"]), most)
    if low > high:
        raise ValueError(f"quant_min {low} is above quant_max {high}")
    found = _product(reader, node, q, dtype, low, high)
    if found is not None:
        return found
    y = integers.quantize(given["x"], q, dtype)
    return y if (low, high) == (least, most) else integers.lookup(y, byte_tables.clamp(dtype, low, high), q)


def _dynamic(net: ChannelsFirst, name: str, given: dict[str, Any]) -> Any:
    """With a scale and a zero point that are chosen when it runs, and whole numbers, all in float32."""
    x = given["x"]
    if name == "choose_qparams":
        return _chosen(net, x, int(given["quant_min"]), int(given["quant_max"]), float(given["eps"]))
    scale, zero = given["scale"], given["zero_point"]
    if not all(isinstance(value, T) for value in (x, scale, zero)):
        raise UnsupportedError(f"{name} of a constant with a scale that is computed")
    if name == "dequantize_per_tensor":
        return net.binary("mul", net.binary("sub", x, zero), scale)
    if name != "quantize_per_tensor":
        raise UnsupportedError(f"{name} with scales that are computed; quantize_per_tensor is supported")
    inverse = net.binary("div", np.ones((), np.float32), scale)
    numbers = net.binary("add", net.unary("round", net.binary("mul", x, inverse)), zero)
    return net.unary("clip", numbers, int(given["quant_min"]), int(given["quant_max"]))


def _chosen(net: ChannelsFirst, x: T, least: int, most: int, eps: float) -> tuple[T, T]:
    """Scale and zero point of the whole range of a tensor, with 0 in it."""
    high = net.unary("relu", net.reshape(net.reduce("max", x, None), ()))
    below = net.unary("relu", net.unary("neg", net.reshape(net.reduce("min", x, None), ())))
    reach = net.binary("div", net.binary("add", high, below), np.array(most - least, np.float32))
    scale = net.binary("max", reach, np.array(eps, np.float32))
    zero = net.binary("add", net.unary("round", net.binary("div", below, scale)), np.array(least, np.float32))
    return scale, net.unary("clip", zero, least, most)


def _number(value: Any) -> float:
    return float(value.item()) if isinstance(value, torch.Tensor) else float(value)


def _product(reader: Reader, node: fx.Node, y: Quantization, dtype: Any, low: int, high: int) -> T | None:
    """The integer form of what the quantisation rounds; None where it is none."""
    from .torch_graph import bound, packet

    source = node.args[0]
    if isinstance(source, fx.Node) and len(source.users) == 1 and packet(source.target) in CLAMPS:
        bounds = _bounds(reader, source)
        if bounds is None:
            return None
        with np.errstate(over="ignore"):
            numbers = np.array(bounds, np.float32)
        from ..nodes_numpy_integers import quantize

        ends = [int(n) for n in quantize(numbers, y, dtype, "even")]
        low, high = min(max(low, ends[0]), high), max(min(high, ends[1]), low)
        source = source.args[0]
    if not isinstance(source, fx.Node) or len(source.users) != 1 or packet(source.target) not in PRODUCTS:
        return None
    given = bound(source.target, source.args, source.kwargs)
    x, w = given["x"], given["weight"]
    if not (isinstance(x, fx.Node) and isinstance(w, fx.Node) and given.get("transposed", False) is False):
        return None
    weights = _weights(reader, w)
    if not is_conversion(x.target) or not packet(x.target).startswith("dequantize") or weights is None:
        return None
    values = reader.found[x.all_input_nodes[0]]
    if not isinstance(values, T) or not Integers(reader.net).is_bytes(values):
        return None
    numbers, scale = weights
    x_scale = _number(reader._values(x.args)[1])
    bias = _bias(reader._values(given.get("bias")), x_scale * scale.astype(np.float64), numbers.shape[0])
    if bias is False:
        return None
    rounding, integers = Rounding(y, dtype, low, high), Integers(reader.net)
    if packet(source.target) == "linear":
        return integers.linear(values, numbers.T, scale, bias, rounding)
    settings = {key: given[key] for key in ("stride", "padding", "dilation")}
    if any(isinstance(value, str) for value in settings.values()):
        return None
    spatial = numbers.ndim - 2
    stride, padding, dilation = (_each(value, spatial) for value in settings.values())
    return integers.conv(
        values, numbers, scale, bias, rounding, strides=stride, pads=[(p, p) for p in padding],
        dilations=dilation, groups=int(given.get("groups", 1)), auto_pad="NOTSET",
    )  # fmt: skip


def _each(value: Any, count: int) -> list[int]:
    items = [int(item) for item in value] if isinstance(value, list | tuple) else [int(value)]
    return items * count if len(items) == 1 else items


def _weights(reader: Reader, node: fx.Node) -> tuple[Array, Array] | None:
    """(numbers of 9 bits, one scale or one for each output) of dequantised constants."""
    from .torch_graph import array, bound, packet

    if not is_conversion(node.target) or not packet(node.target).startswith("dequantize_per_"):
        return None
    given = bound(node.target, reader._values(node.args), reader._values(node.kwargs))
    data = given["x"]
    if not isinstance(data, torch.Tensor) or data.dtype not in DTYPES:
        return None
    per_channel = packet(node.target) == "dequantize_per_channel"
    if per_channel and int(given["axis"]) % data.ndim:
        return None
    scale, zero = (
        given[name] for name in (("scales", "zero_points") if per_channel else ("scale", "zero_point"))
    )
    scales = np.asarray(array(scale) if isinstance(scale, torch.Tensor) else scale, np.float32).reshape(-1)
    zeros = np.asarray(0 if zero is None else array(zero) if isinstance(zero, torch.Tensor) else zero)
    zeros = zeros.reshape(-1).astype(np.int16)
    if scales.size not in (1, len(data)) or zeros.size not in (1, len(data)):
        return None
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise ValueError("scales of weights must be finite and above 0")
    return array(data).astype(np.int16) - zeros.reshape(-1, *(1,) * (data.ndim - 1)), scales


def _bias(value: Any, units: Array, outputs: int) -> Any:
    """int32, or None for none; False where it cannot be."""
    from .torch_graph import array

    if value is None:
        return None
    if not isinstance(value, torch.Tensor) or value.numel() != outputs:
        return False
    with np.errstate(all="ignore"):
        numbers = np.rint(array(value).astype(np.float64).reshape(-1) / units)
    fits = np.isfinite(numbers).all() and np.abs(numbers).max(initial=0) < 2**31
    return numbers.astype(np.int32) if fits else False


def _bounds(reader: Reader, node: fx.Node) -> tuple[float, float] | None:
    from .torch_graph import bound, packet

    name = packet(node.target)
    given = bound(node.target, node.args, node.kwargs)
    if name.startswith("relu"):
        return 0.0, 6.0 if name == "relu6" else math.inf
    low, high = (given.get("min_val", -1.0), given.get("max_val", 1.0)) if name.startswith("hardtanh") else (
        given.get("min"), given.get("max")
    )  # fmt: skip
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    if not all(isinstance(value, int | float) for value in (low, high)) or low > high:
        return None
    return float(low), float(high)
