"""`Gradient.explain` and `dwconv info --plan ... --gradients` tell what gradients really take."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import dwconv
from dwconv import cli, explain
from dwconv.geometry import Window
from dwconv.gradients_numpy import Convolution

core: Any = importlib.import_module("dwconv.config").core
ISAS = dwconv.config()["isas_available"] if dwconv.config()["backend"] == "native" else ()


def gradient(isa: str, depthwise: bool, stride: int = 1, batch: int = 2) -> Any:
    size = -(-28 // stride)
    conv = Convolution(
        "test", depthwise, (batch, 28, 28, 32), (3, 3, 32, 1 if depthwise else 48),
        (batch, size, size, 32 if depthwise else 48), Window((3, 3), (stride, stride), "same"), 1,
    )  # fmt: skip
    return core.Gradient(conv, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("depthwise", [True, False])
def test_scratch_and_kernels_are_those_that_run(isa: str, depthwise: bool) -> None:
    for stride in (1, 2):
        one = gradient(isa, depthwise, stride)
        for threads in (1, 3):
            told = one.explain(threads)
            assert told["instruction_set"] == isa
            assert told["input_phases"] == stride * stride
            assert told["input_scratch_bytes"] <= one.scratch_size("input", threads)
            assert told["filter_scratch_bytes"] <= one.scratch_size("filter", threads)
            assert told["both_scratch_bytes"] <= one.scratch_size("both", threads)
            assert told["both_in_one_walk"] == told["normalized_in_one_walk"] == depthwise
            assert (told["both_band_rows"] > 0) == depthwise
            family = isa.partition("-")[0]
            assert told["input_kernel"].startswith(family)
            assert told["filter_kernel"].startswith(family)
            assert told["filter_workers"] <= threads
        assert told["filter_chunks"] == one.explain(1)["filter_chunks"]  # bits must not depend on threads


@pytest.mark.parametrize("isa", ISAS)
def test_text_and_json_tell_the_same(isa: str) -> None:
    one = gradient(isa, True)
    lines = dict(line.split(": ", 1) for line in one.explain_text(2).splitlines())
    assert lines == {key.replace("_", " "): str(value) for key, value in one.explain(2).items()}


@pytest.mark.parametrize("isa", ISAS)
def test_an_empty_batch_has_nothing_to_run(isa: str) -> None:
    assert gradient(isa, True, batch=0).explain() == {"instruction_set": isa}


def test_the_command_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--plan", "depthwise", "28", "28", "32", "3", "2", "--gradients", "8"]) == 0
    out = capsys.readouterr().out
    assert "8x28x28x32 -> 8x14x14x32" in out
    assert ISAS == () or "filter chunks" in out


def test_several_convolutions_are_refused() -> None:
    with pytest.raises(ValueError, match="separable is several convolutions"):
        explain.gradient_facts(["separable", "28", "28", "32", "16", "3", "1"], 8)
