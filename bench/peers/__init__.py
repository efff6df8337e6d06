"""The peers: one file per library, each in the best form that its users could call.

A peer is a module of this package with a class `Peer` (see the protocol). Modules import nothing heavy at the top:
only the worker process that measures a peer loads its library, after `environment` has been applied.
A name may carry a variant: `dwconv@avx2` forces an instruction set, `dwconv@/path/to/tree` takes another source tree.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bench.problem import Array, Problem


class Absent(Exception):
    """The peer is not installed, or cannot run on this machine; the message says which."""


class Unsupported(Exception):
    """The peer cannot express this workload."""


@dataclass
class Runner:
    """A prepared workload: `run(n)` computes it n times, `output()` copies the last result as dense NHWC."""

    run: Callable[[int], None]
    output: Callable[[], Array]
    kernels: str = ""
    release: Callable[[], None] = lambda: None


class Peer(Protocol):
    # Whether the library keeps activations in a layout of its own, so that one layer pays two reorders which it would
    # not pay inside a network; the harness then measures chains of the layer too.
    reorders: bool

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
    "dwconv-python": "dwconv_python",
    "dwconv-numpy": "dwconv_numpy",
    "onednn": "onednn",
    "torch": "torch",
    "torch-functional": "torch_functional",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "litert": "litert",
    "tensorflow": "tensorflow",
}


def peer_class(name: str) -> tuple[type[Peer], str]:
    """The class behind a name, and the variant that the name carries. KeyError for no such peer."""
    base, _, variant = name.partition("@")
    module = importlib.import_module(f"bench.peers.{PEERS[base]}")
    return module.Peer, variant


def is_ours(name: str) -> bool:
    return name.partition("@")[0].startswith("dwconv")
