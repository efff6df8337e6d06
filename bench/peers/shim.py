"""Peers that are C libraries: lays a problem out as bench/shims/chain.h has it and calls a shim of ours."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.peers import Runner, Unsupported
from bench.placement import aligned
from bench.problem import Problem
from bench.quantized import Quantized
from bench.workloads import Stage

SHIMS = Path(__file__).resolve().parent.parent / "shims"

_OPS = ("depthwise", "pointwise", "conv")
_DTYPES = [np.dtype(kind) for kind in (np.float32, np.int8, np.uint8)]
_ACTIVATIONS = (None, "relu", "relu6", "hard_swish", "silu", "gelu", "hard_sigmoid", "sigmoid")


class _Quant(ctypes.Structure):
    _fields_ = [("scale", ctypes.c_float), ("zero_point", ctypes.c_int32)]


class _Stage(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("op", "activation", "in_channels", "out_channels")),
        *((name, ctypes.c_int64) for name in ("in_h", "in_w", "out_h", "out_w")),
        *((name, ctypes.c_int64) for name in ("kernel_h", "kernel_w", "stride", "dilation")),
        *((name, ctypes.c_int64) for name in ("pad_top", "pad_bottom", "pad_left", "pad_right")),
        ("filter", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("filter_scale", ctypes.c_void_p),
        ("output", _Quant),
    ]


class _Chain(ctypes.Structure):
    _fields_ = [
        ("stages", ctypes.POINTER(_Stage)),
        ("gate", ctypes.POINTER(_Stage)),
        *((name, ctypes.c_int64) for name in ("count", "batch", "residual", "threads", "fuse")),
        ("isa", ctypes.c_char_p),
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("dtype", ctypes.c_int64),
        ("input", _Quant),
        ("sum", _Quant),
    ]


def load(library: Path) -> ctypes.CDLL:
    shim = ctypes.CDLL(str(library))
    shim.bench_prepare.argtypes = [ctypes.POINTER(_Chain), ctypes.POINTER(ctypes.c_void_p)]
    shim.bench_run.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    shim.bench_release.argtypes = [ctypes.c_void_p]
    shim.bench_release.restype = None
    shim.bench_kernels.argtypes = [ctypes.c_void_p]
    shim.bench_scratch.argtypes = [ctypes.c_void_p]
    shim.bench_scratch.restype = ctypes.c_int64
    if hasattr(shim, "bench_estimate"):
        shim.bench_estimate.argtypes = [ctypes.c_void_p]
        shim.bench_estimate.restype = ctypes.c_double
        shim.bench_workers.argtypes = [ctypes.c_void_p]
    for function in (shim.bench_prepare, shim.bench_run, shim.bench_kernels):
        function.restype = ctypes.c_char_p
    return shim


def prepare(
    shim: ctypes.CDLL, problem: Problem | Quantized, threads: int, isa: str = "", fuse: bool = False
) -> Runner:
    workload, dtype = problem.workload, problem.x.dtype
    x, y = aligned(workload.input_shape, dtype), aligned(workload.output_shape, dtype)
    x[:] = problem.x
    stages, gate = _stages(problem) if isinstance(problem, Problem) else (_integers(problem), None)
    chain = _Chain(stages, gate, len(stages), workload.batch, workload.residual, threads, fuse)
    chain.dtype = _DTYPES.index(dtype)
    if isinstance(problem, Quantized):
        chain.input = problem.layers[0].input
        chain.sum = problem.sum or (0, 0)
    chain.isa = isa.encode() or None
    chain.x, chain.y = x.ctypes.data, y.ctypes.data
    handle = ctypes.c_void_p()
    message = shim.bench_prepare(ctypes.byref(chain), ctypes.byref(handle))
    if message:
        raise Unsupported(message.decode())

    def run(loops: int) -> None:
        message = shim.bench_run(handle, loops)
        if message:
            raise RuntimeError(message.decode())

    def release() -> None:
        shim.bench_release(handle)

    kernels, scratch = shim.bench_kernels(handle).decode(), shim.bench_scratch(handle)
    known = scratch if scratch >= 0 else None
    estimate = workers = None
    if hasattr(shim, "bench_estimate"):
        estimate, workers = shim.bench_estimate(handle) / 1000, shim.bench_workers(handle)
    keep = (x, y, problem)
    return Runner(
        run, y.copy, kernels, release, keep, scratch_bytes=known, estimate_us=estimate, workers=workers
    )


def _stages(problem: Problem) -> tuple[Any, Any]:
    """The chain, and the gate or None, as arrays of C."""
    sizes = problem.workload.sizes()
    chain = [_stage(*row, *size) for row, size in zip(problem.layers, sizes, strict=False)]
    gate = [_stage(*row, 1, 1) for row in problem.squeeze_excite]
    return (_Stage * len(chain))(*chain), (_Stage * len(gate))(*gate) if gate else None


def _integers(problem: Quantized) -> Any:
    found = []
    for layer, size in zip(problem.layers, problem.workload.sizes(), strict=False):
        stage = _stage(layer.stage, layer.filters, layer.bias, *size)
        stage.filter_scale, stage.output = layer.scales.ctypes.data, layer.output
        found.append(stage)
    return (_Stage * len(found))(*found)


def _stage(stage: Stage, filters: NDArray[Any], bias: NDArray[Any], height: int, width: int) -> _Stage:
    return _Stage(
        _OPS.index(stage.op),
        _ACTIVATIONS.index(stage.activation),
        stage.in_channels,
        stage.out_channels,
        *(height, width),
        *stage.output_size(height, width),
        *stage.kernel,
        stage.stride,
        stage.dilation,
        *stage.pads(height, width),
        filters.ctypes.data,
        bias.ctypes.data,
    )
