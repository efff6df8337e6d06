"""Peers, results and workloads that only tests know."""

from __future__ import annotations

from dataclasses import replace

from bench.networks import layers_of
from bench.workloads import Stage, Workload


def gated(rows: str, activation: str, squeezed: int, *gate: str) -> Workload:
    """A block of `layers_of` with a squeeze-and-excite, whose activations are `gate`."""
    (block,) = layers_of("test", rows, activation)
    wide = block.stages[-2].out_channels
    squeeze = Stage("pointwise", wide, squeezed, activation=gate[0])
    return replace(block, squeeze_excite=(squeeze, Stage("pointwise", squeezed, wide, activation=gate[1])))
