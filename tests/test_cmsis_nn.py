"""CMSIS-NN's published test data: see cmsis_nn.py. CMSIS_NN in the environment names a checkout of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import cmsis_nn


@pytest.mark.skipif(not os.environ.get("CMSIS_NN"), reason="CMSIS_NN names no checkout of CMSIS-NN")
def test_every_set_of_8_bit_integers_gives_its_bits() -> None:
    verdicts = {
        folder.name: cmsis_nn.check(folder) for folder in cmsis_nn.folders(Path(os.environ["CMSIS_NN"]))
    }
    assert {name: detail for name, (verdict, detail) in verdicts.items() if verdict == "different"} == {}
    equal = [detail for verdict, detail in verdicts.values() if verdict == "equal"]
    assert len(equal) > 100
    assert set(equal) >= {"conv", "depthwise", "fully_connected", "pool", "softmax", "binary"}
