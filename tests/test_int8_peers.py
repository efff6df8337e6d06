"""Quantized layers beside other people's: the same bits."""

from __future__ import annotations

import pytest

import int8_peers as peers
from int8_layers import KINDS


def has_vnni() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            words = set(file.read().split())
    except OSError:
        return False
    return bool(words & {"avx512_vnni", "avx_vnni", "asimddp"})


@pytest.mark.skipif(not has_vnni(), reason="ONNX Runtime is exact with VNNI or dot products only")
@pytest.mark.parametrize("kind", KINDS)
def test_even_is_onnx_runtime(kind: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    _, _, _, different, _ = peers.compare("ONNX Runtime, QLinearConv", 40, kind, KINDS.index(kind) + 20)
    assert different == 0


@pytest.mark.parametrize("library", ["LiteRT, XNNPACK", "LiteRT, reference kernels"])
@pytest.mark.parametrize("kind", KINDS)
def test_roundings_are_those_of_litert(kind: str, library: str) -> None:
    for package in ("ai_edge_litert", "tflite", "flatbuffers"):
        pytest.importorskip(package)
    _, _, _, different, _ = peers.compare(library, 25, kind, KINDS.index(kind))
    assert different == 0
