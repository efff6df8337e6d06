"""`dwconv info --plan`: what it counts and says, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest

import dwconv
from dwconv import cli, explain
from dwconv.engine import create_plan
from dwconv.geometry import Window
from oracles import backends, using

NATIVE = [backend for backend in backends() if backend != "numpy"]
native = pytest.mark.parametrize("isa", NATIVE)
EXAMPLES = {
    "depthwise": ("depthwise 112 112 32 3 1", ["depthwise 3x3 s1"]),
    "pointwise": ("pointwise 56 56 64 128", ["matrix"]),
    "conv": ("conv 224 224 3 32 3 2", ["matrix"]),
    "separable": ("separable 56 56 64 128 3 1", ["depthwise 3x3 s1", "matrix"]),
    "inverted_residual": ("inverted_residual 28 28 32 192 32 3 1", ["matrix", "depthwise 3x3 s1", "matrix"]),
}


def facts(
    line: str, threads: int = 1, gflops: float | None = None, gbs: float | None = None
) -> dict[str, str]:
    return {label.strip(): text for label, text in explain.facts(line.split(), threads, gflops, gbs)}


def told(line: str, threads: int = 1) -> dict[str, Any]:
    """What the core tells of a run."""
    operation, x = explain.parse(line.split())
    plan = create_plan(operation)
    assert plan is not None
    return plan.explain(x, threads)


def refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The message; the exit code is 2 whether argparse or the command itself refuses."""
    try:
        code = cli.main(["info", *arguments.split()])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def float_kernels(isa: str) -> str:
    """Instruction sets with dot products of integers have the kernels of those without for float32."""
    return isa.removesuffix("-vnni").removesuffix("-dotprod")


@native
@pytest.mark.parametrize("kind", explain.FORMS)
def test_plan_names_the_kernel_of_every_stage(
    kind: str, isa: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line, kernels = EXAMPLES[kind]
    with using(isa):
        assert cli.main(["info", "--plan", *line.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = [text for text in lines if text.startswith("node ") and float_kernels(isa) in text]
    assert len(named) == len(kernels)
    for text, kernel in zip(named, kernels, strict=True):
        assert f"{float_kernels(isa)} {kernel}" in text
        assert ("panels of" in text) == (kernel == "matrix")
    assert "roofline" not in " ".join(lines)


@native
def test_text_and_json_tell_the_same(isa: str) -> None:
    with using(isa):
        for line, _ in EXAMPLES.values():
            text, run = facts(line, threads=2), told(line, threads=2)
            assert run.pop("nodes")
            for key, value in run.items():
                assert text[key.replace("_", " ")] == str(value)


@native
def test_a_plan_is_explained_without_an_input_too(isa: str) -> None:
    with using(isa):
        operation, _ = explain.parse(EXAMPLES["inverted_residual"][0].split())
        plan = create_plan(operation)
    assert plan is not None
    found = plan.explain()
    assert [node["op"] for node in found["nodes"]] == ["matrix", "depthwise", "matrix", "add"]
    assert "workers" not in found
    assert found["plan_bytes"] == plan.nbytes
    with pytest.raises(ValueError, match="sizes that do not fit"):
        plan.explain((1, 8, 8, 5))


@native
def test_plan_tells_scratch_and_ring_of_blocks_only(isa: str) -> None:
    with using(isa):
        layer = told(EXAMPLES["depthwise"][0])
        block = told(EXAMPLES["inverted_residual"][0])
        without_expansion = told("inverted_residual 28 28 32 0 32 3 1")
    assert layer["scratch_bytes"] == 0
    assert "ring_rows" not in layer
    assert block["scratch_bytes"] > 0
    assert block["ring_rows"] > 0
    assert without_expansion["ring_rows"] == 0
    assert block["passes"] == 1


@pytest.mark.skipif("avx2" not in NATIVE, reason="other names of kernels say it all")
@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("depthwise 14 14 512 3 1", "copied rows"),
        ("depthwise 14 14 528 3 1", None),
        ("depthwise 17 17 1024 9 2", "copied rows"),
        ("depthwise 17 17 1040 9 2", None),
        ("depthwise 56 56 512 3 2", "narrow tiles"),
        ("depthwise 56 56 32 5 1 1 2", None),
        ("depthwise 56 56 32 3 2 1 2", None),
        ("depthwise 56 56 32 5 2 1 2", None),
        ("depthwise 56 56 3 3 1 1 8", "any window"),
        ("depthwise 56 56 64 3 1 18", "neighbouring columns"),
        ("depthwise 56 56 64 3 1 2", None),
        ("depthwise 56 56 64 9 1", None),
        ("depthwise 1000 1000 96 3 2", "ask for rows ahead"),
        ("separable 14 14 512 512 3 1", "copied rows"),
        ("depthwise 1 1000 96 1x5 1", None),
        ("depthwise 1000 1 512 3x1 1 4", "copied rows"),
        ("depthwise 1 500 256 1x31 1", "copied rows"),
        ("depthwise 2 1000 96 1x5 1", None),
    ],
)
def test_plan_tells_what_a_kernel_does_besides_what_its_name_says(line: str, how: str | None) -> None:
    with using("avx2"):
        found = told(line).get("how")
    assert found is None if how is None else found and how in found


@native
def test_plan_tells_with_how_many_columns_a_wide_block_is_walked_down(isa: str) -> None:
    with using(isa):
        wide = told("inverted_residual 512 512 24 144 24 3 1")
        narrow = told("inverted_residual 56 56 24 144 24 3 1")
    assert (wide["chunk_rows"], wide["ring_rows"]) == (2, 4)
    assert 28 <= wide["chunk_columns"] < 512
    assert narrow["chunk_columns"] == 56


@native
def test_weights_of_a_narrow_block_are_shared_by_enough_pixels(isa: str) -> None:
    """Whatever the cache holds: two rows of 26 columns of 592 floats, where a single one would do."""
    with using(isa):
        found = told("inverted_residual 26 26 96 576 96 3 1")
    assert found["chunk_rows"] in (2, 4, 6, 8)
    assert 0 < found["scratch_bytes"] <= 640 * 1024 or found["chunk_rows"] > 2


@native
def test_no_chunk_is_a_thin_rest(isa: str) -> None:
    """10 rows of which 8 fit go by 6 and 4, not by 8 and 2; of few channels all fit."""
    rows = {"10 10 256": 6, "10 10 64": 10, "8 8 64": 8, "7 7 64": 7, "28 28 64": 8}
    with using(isa):
        for sizes, expected in rows.items():
            assert told(f"separable {sizes} 64 3 1")["chunk_rows"] == expected


@native
def test_plan_tells_why_a_block_takes_two_passes(isa: str) -> None:
    with using(isa):
        plain = told("inverted_residual 14 14 112 672 112 5 1", threads=2)
        squeezed = told("inverted_residual 14 14 112 672 112 5 1 168")
        huge = told("inverted_residual 512 512 32 0 16 3 1 8")
        cramped = [told("inverted_residual 10 10 64 1690 64 7 1", threads=threads) for threads in (1, 2)]
    assert plain["two_passes_since"] == "workers share the channels of so low an image"
    assert (plain["second_pass_parts"], plain["part_pixels"]) == (2, 98)
    assert "squeeze-and-excite" in squeezed["two_passes_since"]
    assert squeezed["kept_bytes"] == 14 * 14 * (672 + 16) * 4
    assert (huge["passes"], huge["kept_bytes"]) == (2, 0)
    assert "again for few pixels" in cramped[0]["two_passes_since"]
    assert cramped[1]["passes"] == 2


def test_multiply_adds_of_squeeze_and_excite_count() -> None:
    without, squeezed = (facts(f"inverted_residual 4 4 8 0 8 3 1 {few}")["multiply-adds"] for few in (0, 5))
    assert int(squeezed.split()[0].replace(",", "")) - int(without.split()[0].replace(",", "")) == 2 * 8 * 5


@native
def test_plan_leaves_small_work_on_one_worker(isa: str) -> None:
    with using(isa):
        small = told("depthwise 4 4 8 3 1", threads=2)
    assert (small["workers"], small["items"], small["strip_rows"], small["row_pixels"]) == (1, 1, 4, 4)


def test_plan_without_the_core_counts_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with using("numpy"):
        assert cli.main(["info", "--plan", "pointwise", "2", "3", "5", "7"]) == 0
    text = capsys.readouterr().out
    assert "NumPy" in text
    assert "210 on real taps" in text
    assert "120 in, 168 out, 140 of filters" in text


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 31])
def test_real_taps_are_those_on_the_image(kernel: int, dilation: int, stride: int) -> None:
    window = Window((kernel, 1), (stride, 1), "same", (dilation, 1))
    for size in (1, 2, 7, 12):
        outputs, before = window.extent(0, size)
        expected = sum(
            0 <= output * stride - before + tap * dilation < size
            for output in range(outputs)
            for tap in range(kernel)
        )
        assert explain.real_taps(window, 0, size) == expected


def test_multiply_adds_leave_padding_out() -> None:
    # 3x3 on 4x4 sees 10 of 12 taps along each axis.
    assert facts("depthwise 4 4 8 3 1")["multiply-adds"].startswith("800 ")
    assert facts("conv 4 4 2 8 3 1")["multiply-adds"].startswith("1,600 ")
    assert facts("depthwise 4 4 8 3 1 1 2")["multiply-adds"].startswith("1,600 ")
    assert facts("separable 4 4 8 3 3 1")["multiply-adds"].startswith("1,184 ")


def test_the_roofline_is_the_longer_of_its_two_times() -> None:
    line = "pointwise 10 10 10 10"  # 20000 operations, 8400 bytes
    memory = facts(line, gflops=100, gbs=4.2)
    assert memory["arithmetic"].startswith("0.2 us")
    assert memory["memory"].startswith("2 us")
    assert memory["roofline"] == "2 us: bound by memory"
    assert facts(line, gflops=1, gbs=42)["roofline"] == "20 us: bound by arithmetic"


@pytest.mark.parametrize("known", [{"gflops": 100.0}, {"gbs": 10.0}])
def test_half_a_roofline_is_no_roofline(known: dict[str, float]) -> None:
    assert "roofline" not in facts("pointwise 10 10 10 10", **known)  # type: ignore[arg-type]


def test_kernels_may_be_rectangles() -> None:
    assert (
        facts("depthwise 1 90 8 1x3 1")["multiply-adds"] == facts("depthwise 90 1 8 3x1 1")["multiply-adds"]
    )
    assert facts("conv 9 9 4 5 1x3 1")["multiply-adds"].startswith(f"{9 * (9 * 3 - 2) * 20:,} ")


@native
def test_pixels_of_a_sequence_are_shared_like_rows(isa: str) -> None:
    with using(isa):
        row = told("depthwise 1 4000 64 1x9 1", threads=2)
        column = told("depthwise 4000 1 64 9x1 1", threads=2)
        block = told("inverted_residual 1 4000 16 64 16 1x9 1", threads=2)
    assert row["row_pixels"] == 1
    assert row["items"] == column["items"] > 1
    assert row["strip_rows"] == column["strip_rows"]
    assert (block["row_pixels"], block["passes"]) == (1, 1)
    assert block["ring_rows"] > block["chunk_rows"]


@pytest.mark.parametrize("kind", explain.FORMS)
@pytest.mark.parametrize("sizes", ["", " 8", 9 * " 8"])
def test_a_wrong_number_of_sizes_names_the_form(
    kind: str, sizes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"--plan {kind} {explain.FORMS[kind]}: " in refused(f"--plan {kind}{sizes}", capsys)


@native
@pytest.mark.parametrize("channels", [1000, 7])
def test_a_multiplication_by_channel_is_computed_as_one(channels: int, isa: str) -> None:
    with using(isa):
        plan = told(f"depthwise 1 1 {channels} 1 1", threads=2)
        assert plan["nodes"][0]["kernel"] == f"{float_kernels(isa)} depthwise 1x1, a multiplication"
        assert (plan["workers"], plan["items"], plan["scratch_bytes"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--plan", "--plan: expected at least one argument"),
        ("--plan pool 8 8", "--plan pool: there is no such operation; there are depthwise, "),
        ("--plan pointwise 8 8 x 8", "K must be an integer, not 'x'"),
        ("--plan pointwise 8 8 8x1 8", "K must be an integer, not '8x1'"),
        ("--plan depthwise 8 8 8 3x 1", "K must be an integer, not ''"),
        ("--plan separable 8 8 8 8 0x3 1", "K must be between 1 and 2147483647, not 0"),
        ("--plan pointwise 8 0 8 8", "W must be between 1 and 2147483647, not 0"),
        ("--plan pointwise 8 8 8 -8", "N must be between 1 and"),
        ("--plan pointwise 8 8 8 2.5", "N must be an integer, not '2.5'"),
        ("--plan pointwise 8 8 2147483647 2147483647", "dwconv info: "),
        ("--plan pointwise 8 8 8 8 --gflops fast", "--gflops: must be a number above 0, not 'fast'"),
        ("--plan pointwise 8 8 8 8 --gbs -1", "--gbs: must be a number above 0, not '-1'"),
        ("--plan pointwise 8 8 8 8 --threads 0", "--threads: must be an integer from 1 to 1024, not '0'"),
        ("--threads 2", "belong to --plan"),
    ],
)
def test_what_is_refused_says_why(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(arguments, capsys)


@pytest.mark.parametrize("words", ["depthwise 56 56 128 3 1", "inverted_residual 56 56 24 144 24 3 1"])
def test_integers_are_explained(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--plan", *words.split(), "--dtype", "int8"]) == 0
    text = capsys.readouterr().out
    if dwconv.config()["backend"] == "native":
        assert "int8 depthwise" in text
        assert "scratch bytes" in text
        assert "columns of" in text
    assert f"{56 * 56 * int(words.split()[3]):,} in" in text


def test_squeeze_and_excite_of_integers_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    words = "inverted_residual 14 14 40 240 40 5 1 10"
    assert cli.main(["info", "--plan", *words.split(), "--dtype", "int8"]) == 0
    text = capsys.readouterr().out
    if dwconv.config()["backend"] == "native":
        assert "squeeze-and-excite needs the whole output of depthwise" in text
        assert re.search(rf"^kept bytes +{14 * 14 * 240}$", text, re.MULTILINE)
