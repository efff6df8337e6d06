"""The peers: one file per library, each in the best form that its users could call.

A peer is a module of this package with a class `Peer` (see the protocol). Modules import nothing heavy at the
top: only the worker process that measures a peer loads its library, after `environment` has been applied.
A name may carry a variant: `dwconv@avx2` forces an instruction set, `dwconv@/path/to/tree` takes another
source tree.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bench.problem import Array, Problem


class Absent(Exception):  # noqa: N818 (a finding to report, not a mistake)
    """The peer is not installed, or cannot run on this machine; the message says which."""


class Unsupported(Exception):  # noqa: N818 (likewise)
    """The peer cannot express this workload."""


@dataclass
class Runner:
    """A prepared workload: `run(n)` computes it n times, `output()` copies the last result as dense NHWC."""

    run: Callable[[int], None]
    output: Callable[[], Array]
    kernels: str = ""
    release: Callable[[], None] = lambda: None
    keep: tuple[object, ...] = ()  # what the library reads without owning it
    scratch_bytes: int | None = None  # that a run needs beside input, output and weights; None: not known
    estimate_us: float | None = None  # for one thread, where the library has a cost model
    workers: int | None = None  # that it decides on, likewise


class Peer(Protocol):
    # Whether the library keeps activations in a layout of its own, so that one layer pays two reorders that
    # it would not pay inside a network; the harness then measures chains of the layer too.
    reorders: bool
    # "float32", or "int8": then problems are of bench/quantized.py.
    dtype: str

    def __init__(self, variant: str, threads: int) -> None:
        """Loads the library. Raises Absent."""

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        """Variables that must be set before the library is loaded."""

    def describe(self) -> dict[str, Any]:
        """At least `version`."""

    def prepare(self, problem: Problem) -> Runner:
        """Packs the weights and compiles. Raises Unsupported."""


# In the order of reports. Values are modules of this package.
PEERS = {
    "dwconv": "dwconv",
    "dwconv-layers": "dwconv_layers",
    "dwconv-python": "dwconv_python",
    "dwconv-numpy": "dwconv_numpy",
    "onednn": "onednn",
    "onednn-fused": "onednn_fused",
    "torch": "torch",
    "torch-functional": "torch_functional",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "litert": "litert",
    "tensorflow": "tensorflow",
}
# Of a run in 8-bit integers, with dwconv's own float32; of a library's variants the best counts.
INT8_PEERS = {
    "dwconv-int8": "dwconv_int8",
    "dwconv": "dwconv",
    "onednn-int8@u8": "onednn_int8",
    "onednn-int8@s8": "onednn_int8",
    "onnxruntime-int8@u8": "onnxruntime_int8",
    "onnxruntime-int8@s8": "onnxruntime_int8",
    "onnxruntime-int8@qdq": "onnxruntime_int8",
    "openvino-int8@u8": "openvino_int8",
    "openvino-int8@s8": "openvino_int8",
    "litert-int8": "litert_int8",
}
MODULES = {name.partition("@")[0]: module for name, module in (PEERS | INT8_PEERS).items()}
WITH_VARIANTS = (
    *("dwconv", "dwconv-layers", "dwconv-python", "onednn", "onednn-fused"),
    *("dwconv-int8", "onednn-int8", "onnxruntime-int8", "openvino-int8"),
)

# glibc hands large blocks back to the system when they are freed; a library that allocates an output per call
# is then charged its page faults every time (measured: 45 ms instead of 11 for 64 MB). Programs that care set
# these or preload another allocator, as the manuals of such libraries advise.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def peer_class(name: str) -> tuple[type[Peer], str]:
    """The class behind a name, and the variant that the name carries. ImportError for no such peer.

    A name that is not in MODULES is a module of the caller's, from anywhere on PYTHONPATH: `my_kernels.peer`.
    """
    base, _, variant = name.partition("@")
    module = importlib.import_module(f"bench.peers.{MODULES[base]}" if base in MODULES else base)
    peer: type[Peer] = module.Peer
    return peer, variant


def defaults(dtype: str) -> list[str]:
    """The peers of a run of everything, in the order of reports."""
    return list(INT8_PEERS if dtype == "int8" else PEERS)


def is_ours(name: str) -> bool:
    return name.partition("@")[0].startswith("dwconv")
