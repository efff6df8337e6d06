"""`dwconv_reference` of the C sources through ctypes: the C oracle without the package around it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from oracles import Case

CSRC = Path(__file__).resolve().parent.parent / "csrc"
ACTIVATION_KINDS = (
    None, "relu", "relu6", "clip", "leaky_relu", "hard_sigmoid",
    "hard_swish", "sigmoid", "silu", "tanh", "gelu", "gelu_tanh",
)  # fmt: skip


def _structure(name: str, **fields: Any) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


_I64, _INT = ctypes.c_int64, ctypes.c_int
Activation = _structure("Activation", kind=_INT, a=ctypes.c_float, b=ctypes.c_float)
Window = _structure(
    "Window",
    kernel_h=_I64, kernel_w=_I64, stride_h=_I64, stride_w=_I64, dilation_h=_I64, dilation_w=_I64,
    padding=_INT, pad_top=_I64, pad_bottom=_I64, pad_left=_I64, pad_right=_I64,
)  # fmt: skip
Conv = _structure(
    "Conv", size=ctypes.c_size_t, in_channels=_I64, out_channels=_I64, groups=_I64, window=Window,
    filter=ctypes.c_void_p, bias=ctypes.c_void_p, activation=Activation,
)  # fmt: skip
_PART = ctypes.POINTER(Conv)
Desc = _structure(
    "Desc", size=ctypes.c_size_t, dtype=_INT, flags=ctypes.c_uint32, isa=ctypes.c_char_p,
    conv=_PART, expand=_PART, project=_PART, squeeze=_PART, excite=_PART, residual=_INT,
)  # fmt: skip
Tensor = _structure(
    "Tensor", data=ctypes.c_void_p, dtype=_INT, batch=_I64, height=_I64, width=_I64, channels=_I64,
    image_stride=_I64, row_stride=_I64, pixel_stride=_I64,
)  # fmt: skip

SOURCES = (
    "reference.c", "reference_s8.c", "graph/activate.c", "graph/describe.c", "graph/geometry.c",
    "graph/quantize.c", "graph/quantize_node.c",
)  # fmt: skip


def build(directory: Path) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    assert compiler is not None
    library = directory / "reference.so"
    sources = [str(CSRC / name) for name in SOURCES]
    visible = ["-shared", "-fPIC", "-DDWCONV_SHARED"]
    subprocess.run([compiler, "-std=c11", "-O1", *visible, *sources, "-lm", "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def _activation(activation: Any) -> Any:
    name, *numbers = activation if isinstance(activation, tuple) else (activation,)
    if name == "leaky_relu" and not numbers:
        numbers = [0.2]
    return Activation(ACTIVATION_KINDS.index(name), *numbers)


def _window(case: Case) -> Any:
    explicit = not isinstance(case.padding, str)
    pads = [size for axis in case.padding for size in axis] if explicit else []
    kind = 2 if explicit else ("valid", "same").index(case.padding)
    return Window(*case.kernel, *case.strides, *case.dilations, kind, *pads)


def describe(case: Case) -> Any:
    arrays, activation = case.arrays, _activation(case.activation)
    channels = case.expanded or case.shape[3]
    wide = channels * case.multiplier

    def part(inputs: int, outputs: int, groups: int, filters: str, bias: str, act: Any) -> Any:
        pointers = (
            array.ctypes.data if array is not None else None for array in (arrays[filters], arrays.get(bias))
        )
        return Conv(ctypes.sizeof(Conv), inputs, outputs, groups, Window(), *pointers, act)

    desc = Desc(size=ctypes.sizeof(Desc))
    single = case.operation in ("depthwise", "pointwise", "conv")
    if single:
        depthwise = case.operation == "depthwise"
        outputs, groups = (wide, channels) if depthwise else (case.out_channels, case.groups)
        conv = part(channels, outputs, groups, "filters", "bias", activation)
    else:
        conv = part(channels, wide, channels, "depthwise_filter", "depthwise_bias", activation)
    if case.operation == "pointwise":
        conv.window.stride_h, conv.window.stride_w = case.strides
    else:
        conv.window = _window(case)
    desc.conv = ctypes.pointer(conv)
    if case.operation == "separable":
        desc.project = ctypes.pointer(
            part(wide, case.out_channels, 1, "pointwise_filter", "bias", activation)
        )
    if case.operation == "inverted_residual":
        desc.project = ctypes.pointer(
            part(wide, case.out_channels, 1, "project_filter", "bias", Activation())
        )
        desc.residual = {False: 0, None: 1, True: 2}[case.residual]
    if case.expanded:
        expand = part(case.shape[3], channels, 1, "expand_filter", "expand_bias", activation)
        desc.expand = ctypes.pointer(expand)
    if case.squeezed:
        squeeze, gate = _activation(case.squeeze_activation), _activation(case.gate_activation)
        desc.squeeze = ctypes.pointer(part(wide, case.squeezed, 1, "reduce_filter", "reduce_bias", squeeze))
        desc.excite = ctypes.pointer(part(case.squeezed, wide, 1, "restore_filter", "restore_bias", gate))
    return desc


def tensor(array: np.ndarray) -> Any:
    strides = [stride // array.itemsize for stride in array.strides[:3]]
    return Tensor(array.ctypes.data, 0, *array.shape, *strides)


def run(library: ctypes.CDLL, case: Case) -> np.ndarray:
    value, _ = case.expected()
    y = np.full(value.shape, np.nan, np.float32)
    x, out = tensor(case.x), tensor(y)
    status = library.dwconv_reference(ctypes.byref(describe(case)), ctypes.byref(x), ctypes.byref(out))
    assert status == 0, f"{case}: status {status}"
    return y
