"""CMSIS-NN's published test data, run by dwconv with rounding="tflite": bit for bit.

    python tests/cmsis_nn.py CHECKOUT        # of github.com/ARM-software/CMSIS-NN

Reads Tests/UnitTest/TestCases/TestData, C headers with an input, weights and the expected output each, and
prints how many sets are equal, differ, or are of something that dwconv does not have. The data tell the
multipliers of sums as integers, which the float32 scales of a layer cannot all be at once: convolutions run
an output channel at a time, with scales whose product gives that channel's integer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dwconv
from dwconv.fixed_point import fixed
from dwconv.graph import Builder, Quantization
from dwconv.nine_bits import narrow

FOLDER = Path("Tests", "UnitTest", "TestCases", "TestData")
RAW = Quantization(1.0, 0, None)
# What is not a layer of 8-bit integers of dwconv, by what the name of a set says.
ELSEWHERE = {
    r"_f16|_f32": "floats",
    r"int16|s16|requantize_s64": "16-bit integers",
    r"^batch_matmul": "products of two activations",
    r"^lstm|^svdf": "recurrent layers",
    r"^ds_cnn": "networks, whose layers are told in C",
}


class MissingError(Exception):
    """Something that dwconv does not have."""


class Data:
    """The numbers of one set, by name without what begins all of them."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        included = re.findall(r'#include "(\w+\.h)"', (folder / "test_data.h").read_text())
        text = re.sub(r"\\\n|//.*", " ", "\n".join((folder / name).read_text() for name in included))
        self.numbers: dict[str, int] = {}
        self.arrays: dict[str, np.ndarray] = {}
        for name, value in re.findall(r"#define +(\w+) +(\S.*)", text):
            self._define(name.upper().removeprefix(self.name.upper() + "_"), value)
        pattern = r"const (u?int\d+)_t (\w+)\s*\[\d*\]\s*=\s*\{([^}]*)\}"
        for kind, name, values in re.findall(pattern, text):
            short = name.removeprefix(self.name + "_")
            self.arrays[short] = np.array([int(n) for n in re.findall(r"-?\d+", values)]).astype(kind)

    def _define(self, name: str, value: str) -> None:
        if re.fullmatch(r"-?\d+", value.strip()):
            self.numbers[name] = int(value)
        elif "{" in value:
            self.arrays[name.lower()] = np.array([int(n) for n in re.findall(r"-?\d+", value)])

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]

    def get(self, name: str, default: int) -> int:
        return self.numbers.get(name, default)

    def first(self, *names: str) -> np.ndarray:
        return next(self.arrays[name] for name in names if name in self.arrays)

    @property
    def clamp(self) -> tuple[int, int]:
        word = "OUT_ACTIVATION" if "OUT_ACTIVATION_MIN" in self.numbers else "ACTIVATION"
        return self[f"{word}_MIN"], self[f"{word}_MAX"]

    def weights(self, count: int) -> np.ndarray:
        """Those of 4 bits lie two in a byte, the first one in the lower half."""
        packed = self.first("weights", "input_weights")
        if packed.size >= count:
            return packed[:count]
        halves = np.stack((packed << 4, packed), -1).reshape(-1) >> 4
        return halves[:count].astype(np.int8)

    def multiplier(self, channel: int) -> tuple[int, int]:
        if "OUTPUT_MULTIPLIER" in self.numbers:
            return self["OUTPUT_MULTIPLIER"], self["OUTPUT_SHIFT"]
        mult, shift = self.first("output_mult", "output_multiplier"), self.arrays["output_shift"]
        return int(mult[channel]), int(shift[channel])

    def bias(self, channel: int) -> list[int] | None:
        found = [self.arrays[name] for name in ("biases", "bias", "input_bias") if name in self.arrays]
        return [int(found[0][channel])] if found and found[0].size else None


def two_scales(mult: int, shift: int) -> tuple[float, float]:
    """Of float32, whose product is the multiplier of 31 bits."""
    wanted = mult * 2.0 ** (shift - 31)
    for step in range(1 << 16):
        a = np.float32(2.0 ** (shift // 2) * (1 + step * 2.0**-17))
        b = np.float32(wanted / np.float64(a))
        if tuple(int(n) for n in fixed(np.float64(a) * np.float64(b))) == (mult, shift):
            return float(a), float(b)
    raise AssertionError(f"no scales give {mult} * 2^({shift} - 31)")


# ---- layers -------------------------------------------------------------------------------------


def window(d: Data, height: int, width: int) -> dict[str, Any]:
    """The padding at the top and left is told, that at the bottom and right follows from the output."""
    pads = []
    for axis, size, out in (("Y", height, d["OUTPUT_H"]), ("X", width, d["OUTPUT_W"])):
        span = (d[f"FILTER_{axis}"] - 1) * d.get(f"DILATION_{axis}", 1) + 1
        before = d[f"PAD_{axis}"]
        pads.append((before, max((out - 1) * d[f"STRIDE_{axis}"] + span - size - before, 0)))
    return {
        "strides": (d["STRIDE_Y"], d["STRIDE_X"]),
        "dilations": (d.get("DILATION_Y", 1), d.get("DILATION_X", 1)),
        "padding": tuple(pads),
    }


def given(d: Data, channel: int) -> dict[str, Any]:
    if not all(-128 <= zero <= 127 for zero in (-d["INPUT_OFFSET"], d["OUTPUT_OFFSET"])):
        raise MissingError("a zero point that is no int8")
    x_scale, filter_scale = two_scales(*d.multiplier(channel))
    return {
        "bias": d.bias(channel), "filter_scale": filter_scale, "dtype": "int8", "rounding": "tflite",
        "input_quantization": (x_scale, -d["INPUT_OFFSET"]), "output_quantization": (1.0, d["OUTPUT_OFFSET"]),
        "activation": ("clamp", *d.clamp),
    }  # fmt: skip


def image(d: Data) -> np.ndarray:
    shape = (d["INPUT_BATCHES"], d["INPUT_H"], d["INPUT_W"], d["IN_CH"])
    return d.first("input", "input_tensor")[: int(np.prod(shape))].reshape(shape)


def rows_cut(y: np.ndarray, d: Data) -> np.ndarray:
    return y[:, : d["OUTPUT_H"], : d["OUTPUT_W"]]


def depthwise(d: Data) -> np.ndarray:
    x, outputs = image(d), d["OUT_CH"]
    size = (d["FILTER_Y"], d["FILTER_X"])
    filters = d.weights(size[0] * size[1] * outputs).reshape(*size, outputs)
    result = []
    for c in range(outputs):
        layer = dwconv.DepthwiseConv2D(
            filters[..., c, None, None], **window(d, d["INPUT_H"], d["INPUT_W"]), **given(d, c)
        )
        source = c // (outputs // d["IN_CH"])
        result.append(rows_cut(layer(x[..., source : source + 1]), d))
    return np.concatenate(result, -1)


def conv(d: Data) -> np.ndarray:
    x, outputs, depth = image(d), d["OUT_CH"], d.get("FILTER_CH", d["IN_CH"])
    size = (d["FILTER_Y"], d["FILTER_X"])
    filters = d.weights(outputs * size[0] * size[1] * depth).reshape(outputs, *size, depth)
    groups, result = d["IN_CH"] // depth, []
    for c in range(outputs):
        first = c // (outputs // groups) * depth
        more = window(d, d["INPUT_H"], d["INPUT_W"]) | given(d, c)
        layer = dwconv.Conv2D(filters[c, ..., None], **more)
        result.append(rows_cut(layer(x[..., first : first + depth]), d))
    return np.concatenate(result, -1)


def fully_connected(d: Data) -> np.ndarray:
    depth, outputs = d["ACCUMULATION_DEPTH"], d["OUT_CH"]
    filters = d.weights(outputs * depth).reshape(outputs, depth).astype(np.int32) + d.get("FILTER_OFFSET", 0)
    x = d.first("input", "input_tensor").reshape(-1, 1, 1, depth)
    one = "OUTPUT_MULTIPLIER" in d.numbers  # for all channels: these are one layer
    result = []
    for c in [slice(None)] if one else [slice(i, i + 1) for i in range(outputs)]:
        more = given(d, 0 if one else c.start)
        if one and more["bias"] is not None:
            more["bias"] = d.first("biases", "bias", "input_bias")
        result.append(dwconv.PointwiseConv2D(narrow(filters[c].T.astype(np.int16)), **more)(x))
    return np.concatenate(result, -1)


def transpose_conv(d: Data) -> np.ndarray:
    x, outputs, depth = image(d), d["OUT_CH"], d["IN_CH"]
    size = (d["FILTER_Y"], d["FILTER_X"])
    filters = d.weights(outputs * size[0] * size[1] * depth).reshape(outputs, *size, depth)
    pads, more_rows = [], []
    for axis, low, out in ((0, "Y", d["OUTPUT_H"]), (1, "X", d["OUTPUT_W"])):
        full = (x.shape[1 + axis] - 1) * d[f"STRIDE_{low}"] + size[axis]
        rest = full - d[f"PAD_{low}"] - out
        pads.append((d[f"PAD_{low}"], max(rest, 0)))
        more_rows.append(max(-rest, 0))
    result = []
    for c in range(outputs):
        a, b = two_scales(*d.multiplier(c))
        net = Builder()
        source = net.input("x", x.shape, np.int8, Quantization(a, -d["INPUT_OFFSET"], None))
        weights = net.constant(filters[c, ..., None], Quantization(b, 0, None))
        bias = d.bias(c)
        y = net.node(
            "transpose_conv", source, weights, *([] if bias is None else [np.array(bias, np.int32)]),
            strides=(d["STRIDE_Y"], d["STRIDE_X"]), padding=tuple(pads), output_padding=tuple(more_rows),
            dtype="int8", quantization=Quantization(1.0, d["OUTPUT_OFFSET"], None), rounding="tflite",
            low=d.clamp[0], high=d.clamp[1],
        )  # fmt: skip
        result.append(run(net, y, x))
    return np.concatenate(result, -1)


# ---- other nodes --------------------------------------------------------------------------------


def run(net: Builder, y: str, *inputs: np.ndarray) -> np.ndarray:
    net.output("y", y)
    return np.asarray(dwconv.Network(net)(*inputs))


def pool(d: Data) -> np.ndarray:
    x = d.first("input_tensor", "input").reshape(-1, d["INPUT_H"], d["INPUT_W"], d["INPUT_C"])
    pads = []
    for axis, size in (("H", d["INPUT_H"]), ("W", d["INPUT_W"])):
        before, kernel = d[f"PADDING_{axis}"], d[f"FILTER_{axis}"]
        after = (d[f"OUTPUT_{axis}"] - 1) * d[f"STRIDE_{axis}"] + kernel - size - before
        pads.append((before, max(after, 0)))
    is_mean = d.name.startswith("avg")
    net = Builder()
    more: dict[str, Any] = {}
    if is_mean:
        more = {"dtype": "int8", "quantization": RAW, "rounding": "tflite"}
        more |= {"low": d.clamp[0], "high": d.clamp[1]}
    y = net.node(
        "average_pool" if is_mean else "max_pool", net.input("x", x.shape, np.int8, RAW),
        kernel=(d["FILTER_H"], d["FILTER_W"]), strides=(d["STRIDE_H"], d["STRIDE_W"]), padding=tuple(pads),
        **more,
    )  # fmt: skip
    if not is_mean:
        table = np.clip(np.arange(256, dtype=np.uint8).view(np.int8), *d.clamp)
        y = net.node("lookup", y, table, quantization=RAW)
    return run(net, y, x)[:, : d["OUTPUT_H"], : d["OUTPUT_W"]]


def softmax(d: Data) -> np.ndarray:
    x = d.arrays["input"].reshape(d["NUM_ROWS"], d["ROW_SIZE"])
    scale = d["INPUT_MULT"] * 2.0 ** (d["INPUT_LEFT_SHIFT"] - 31 - 26)
    net = Builder()
    source = net.input("x", x.shape, np.int8, Quantization(float(np.float32(scale)), 0, None))
    result = Quantization(1 / 256, -128, None)
    return run(net, net.node("softmax", source, dtype="int8", quantization=result, rounding="tflite"), x)


def binary(d: Data) -> np.ndarray:
    kind = {"add": "add", "mul": "mul", "maximum": "max", "minimum": "min"}[d.name.split("_")[0]]
    inputs = [d.first(f"input{i}", f"input_tensor_{i}") for i in (1, 2)]
    zeros, scales, y = [0, 0], [1.0, 1.0], RAW
    more: dict[str, Any] = {}
    if kind in ("max", "min"):
        sizes = ("BATCH", "HEIGHT", "WIDTH", "CHANNEL")
        inputs = [x.reshape([d[f"{s}_{i}"] for s in sizes]) for i, x in enumerate(inputs, 1)]
    else:
        zeros = [-d["INPUT1_OFFSET"], -d["INPUT2_OFFSET"]]
        result = d["OUTPUT_MULT"] * 2.0 ** (d["OUTPUT_SHIFT"] - 31)
        if kind == "mul":
            scales[0] = result
        else:
            scales = [d[f"INPUT{i}_MULT"] * 2.0 ** (d[f"INPUT{i}_SHIFT"] - 31) for i in (1, 2)]
        y_scale = 1.0 if kind == "mul" else 2.0 ** -d["LEFT_SHIFT"] / result
        more = {"dtype": "int8", "rounding": "tflite", "low": d.clamp[0], "high": d.clamp[1]}
        y = Quantization(y_scale, d["OUTPUT_OFFSET"], None)
        more["quantization"] = y
    net = Builder()
    names = [
        net.input(f"x{i}", x.shape, np.int8, Quantization(scale, zero, None))
        for i, (x, scale, zero) in enumerate(zip(inputs, scales, zeros, strict=True))
    ]
    return run(net, net.node("binary", *names, kind=kind, **more), *inputs)


def pad(d: Data) -> np.ndarray:
    x = d.first("input", "input_tensor").reshape([d[f"INPUT_{axis}"] for axis in "NHWC"])
    pads = tuple((d[f"PRE_PAD_{axis}"], d[f"POST_PAD_{axis}"]) for axis in "NHWC")
    net = Builder()
    source = net.input("x", x.shape, np.int8, RAW)
    return run(net, net.node("pad", source, pads=pads, value=d["PAD_VALUE"]), x)


def transpose(d: Data) -> np.ndarray:
    axes = d["PERM_SIZE"]
    x = d.arrays["input_tensor"].reshape(d.arrays["in_dim"][:axes])
    net = Builder()
    source = net.input("x", x.shape, np.int8, RAW)
    return run(net, net.node("transpose", source, perm=tuple(map(int, d.arrays["perm"][:axes]))), x)


RUNNERS: dict[str, Callable[[Data], np.ndarray]] = {
    r"^(avg|max)pooling": pool,
    r"^softmax": softmax,
    r"^(add|mul|maximum|minimum)(_|$)": binary,
    r"^pad_": pad,
    r"^transpose_conv|^reverse_transpose_conv": transpose_conv,
    r"^transpose_": transpose,
}


def runner(d: Data) -> Callable[[Data], np.ndarray]:
    for pattern, function in RUNNERS.items():
        if re.search(pattern, d.name):
            return function
    if "ACCUMULATION_DEPTH" in d.numbers:
        return fully_connected
    return depthwise if "CH_MULT" in d.numbers else conv


def check(folder: Path) -> tuple[str, str]:
    """("equal", kind), ("different", how many) or ("not here", why)."""
    for pattern, why in ELSEWHERE.items():
        if re.search(pattern, folder.name):
            return "not here", why
    d = Data(folder)
    function = runner(d)
    try:
        y = function(d).reshape(-1)
    except MissingError as error:
        return "not here", str(error)
    expected = d.first("output_ref", "output")
    if y.size != expected.size:
        return "different", f"{y.size} outputs, not {expected.size}"
    count = int((y != expected).sum())
    largest = int(np.abs(y.astype(int) - expected).max())
    return ("different", f"{count} of {y.size}, by {largest}") if count else ("equal", function.__name__)


def folders(checkout: Path) -> list[Path]:
    return sorted(p for p in (checkout / FOLDER).iterdir() if (p / "test_data.h").is_file())


def main() -> int:
    counts: dict[tuple[str, str], int] = {}
    for folder in folders(Path(sys.argv[1])):
        verdict, detail = check(folder)
        if verdict == "different":
            print(f"{folder.name}: {detail}")
            detail = ""
        counts[verdict, detail] = counts.get((verdict, detail), 0) + 1
    for (verdict, detail), count in sorted(counts.items()):
        print(f"{count:4} {verdict}{f': {detail}' if detail else ''}")
    return int(any(verdict == "different" for verdict, _ in counts))


if __name__ == "__main__":
    sys.exit(main())
