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
FLOATS = ctypes.POINTER(ctypes.c_float)


def _structure(name: str, **fields: Any) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


_I64, _INT = ctypes.c_int64, ctypes.c_int
Activation = _structure("Activation", kind=_INT, a=ctypes.c_float, b=ctypes.c_float)
Window = _structure(
    "Window",
    kernel_h=_I64, kernel_w=_I64, stride_h=_I64, stride_w=_I64, dilation_h=_I64, dilation_w=_I64,
    padding=_INT, pad_top=_I64, pad_bottom=_I64, pad_left=_I64, pad_right=_I64,
)  # fmt: skip
Depthwise = _structure(
    "Depthwise",
    channels=_I64,
    multiplier=_I64,
    window=Window,
    filter=FLOATS,
    bias=FLOATS,
    activation=Activation,
)
Pointwise = _structure(
    "Pointwise", in_channels=_I64, out_channels=_I64, stride_h=_I64, stride_w=_I64,
    filter=FLOATS, bias=FLOATS, activation=Activation,
)  # fmt: skip
Conv = _structure(
    "Conv", in_channels=_I64, out_channels=_I64, groups=_I64, window=Window,
    filter=FLOATS, bias=FLOATS, activation=Activation,
)  # fmt: skip
Separable = _structure("Separable", depthwise=Depthwise, pointwise=Pointwise)
InvertedResidual = _structure(
    "InvertedResidual", expand=Pointwise, depthwise=Depthwise, project=Pointwise, residual=_INT,
    squeeze=Pointwise, excite=Pointwise,
)  # fmt: skip
Operation = type(
    "Operation",
    (ctypes.Union,),
    {
        "_fields_": [
            ("depthwise", Depthwise),
            ("pointwise", Pointwise),
            ("conv", Conv),
            ("separable", Separable),
            ("inverted_residual", InvertedResidual),
        ]
    },
)
Desc = _structure("Desc", operation=_INT, dtype=_INT, isa=_INT, flags=ctypes.c_uint32, of=Operation)
Tensor = _structure(
    "Tensor", data=ctypes.c_void_p, dtype=_INT, batch=_I64, height=_I64, width=_I64, channels=_I64,
    image_stride=_I64, row_stride=_I64, pixel_stride=_I64,
)  # fmt: skip


def build(directory: Path) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    assert compiler is not None
    library = directory / "reference.so"
    sources = [str(CSRC / name) for name in ("reference.c", "graph/describe.c", "graph/geometry.c")]
    visible = ["-shared", "-fPIC", "-DDWCONV_SHARED"]
    subprocess.run([compiler, "-std=c11", "-O1", *visible, *sources, "-lm", "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def _floats(array: np.ndarray | None) -> Any:
    return None if array is None else array.ctypes.data_as(FLOATS)


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

    def depthwise(filters: str, bias: str) -> Any:
        pointers = _floats(arrays[filters]), _floats(arrays.get(bias))
        return Depthwise(channels, case.multiplier, _window(case), *pointers, activation)

    def pointwise(inputs: int, outputs: int, filters: str, bias: str, act: Any) -> Any:
        return Pointwise(inputs, outputs, 0, 0, _floats(arrays[filters]), _floats(arrays.get(bias)), act)

    desc = Desc(
        operation=("depthwise", "pointwise", "conv", "separable", "inverted_residual").index(case.operation)
    )
    if case.operation == "depthwise":
        desc.of.depthwise = depthwise("filters", "bias")
    elif case.operation == "pointwise":
        desc.of.pointwise = pointwise(channels, case.out_channels, "filters", "bias", activation)
        desc.of.pointwise.stride_h, desc.of.pointwise.stride_w = case.strides
    elif case.operation == "conv":
        pointers = _floats(arrays["filters"]), _floats(arrays.get("bias"))
        desc.of.conv = Conv(channels, case.out_channels, case.groups, _window(case), *pointers, activation)
    else:
        block = desc.of.separable if case.operation == "separable" else desc.of.inverted_residual
        block.depthwise = depthwise("depthwise_filter", "depthwise_bias")
        if case.operation == "separable":
            block.pointwise = pointwise(
                channels * case.multiplier, case.out_channels, "pointwise_filter", "bias", activation
            )
        else:
            last = pointwise(
                channels * case.multiplier, case.out_channels, "project_filter", "bias", Activation()
            )
            block.project = last
            if case.expanded:
                block.expand = pointwise(case.shape[3], channels, "expand_filter", "expand_bias", activation)
            if case.squeezed:
                wide, gate = channels * case.multiplier, _activation(case.gate_activation)
                squeeze = _activation(case.squeeze_activation)
                block.squeeze = pointwise(wide, case.squeezed, "reduce_filter", "reduce_bias", squeeze)
                block.excite = pointwise(case.squeezed, wide, "restore_filter", "restore_bias", gate)
            block.residual = {None: 0, False: 1, True: 2}[case.residual]
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
