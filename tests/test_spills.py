"""tests/c/check_spills.py: what it takes for a spill in a hot loop, and what not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "c"))
import arm_cycles
import check_spills
from disassembly import MACHINES, every_loop, functions

CLEAN = """
kernels.o:     file format elf64-x86-64

Disassembly of section .text:

0000000000000000 <tile.constprop.0>:
   0:\tvmovups (%rdi),%ymm0
   4:\tvmovups 0x20(%rsp),%ymm1
   8:\tvmovups (%rsi),%ymm2
   c:\tvfmadd231ps (%rdx),%ymm2,%ymm1
  10:\tmov    0x8(%rsp),%rax
  14:\tadd    $0x20,%rsi
  18:\tcmp    %rsi,%rcx
  1c:\tjne    8 <tile.constprop.0+0x8>
  1e:\tvmovups %ymm1,0x20(%rsp)
  22:\tret
"""


def edited(*changes: tuple[str, str]) -> str:
    text = CLEAN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def accesses(listing: str, arch: str = "x86_64") -> int:
    found, loops = check_spills.spills(listing, MACHINES[arch])
    assert loops == 1
    assert [spill.function for spill in found] in ([], ["tile"])
    return sum(spill.accesses for spill in found)


def test_a_loop_without_stack_traffic_is_clean() -> None:
    assert accesses(CLEAN) == 0


@pytest.mark.parametrize(
    "operands",
    [
        "vmovups %ymm1,0x40(%rsp)",
        "vmovups 0x40(%rsp),%ymm1",
        "vaddps (%rsp),%ymm1,%ymm1",
        "vmovaps %zmm1,(%rsp,%rax,8)",
    ],
)
def test_a_vector_on_the_stack_in_the_loop_is_a_spill(operands: str) -> None:
    text = edited(("mov    0x8(%rsp),%rax", operands))
    ((function, instructions, multiply_adds, count),), _ = check_spills.spills(text, MACHINES["x86_64"])
    assert (function, instructions, multiply_adds, count) == ("tile", 6, 1, 1)


def test_the_frame_pointer_is_the_stack_only_where_it_is_one() -> None:
    through_rbp = ("mov    0x8(%rsp),%rax", "vmovups -0x40(%rbp),%ymm3")
    assert accesses(edited(through_rbp)) == 0
    assert accesses(edited(through_rbp, ("vmovups (%rdi),%ymm0", "mov    %rsp,%rbp"))) == 1


def test_a_product_and_a_sum_make_a_multiply_add() -> None:
    text = edited(
        ("vfmadd231ps (%rdx),%ymm2,%ymm1", "mulps  %xmm3,%xmm2"),
        ("mov    0x8(%rsp),%rax", "addps  0x40(%rsp),%xmm2"),
    )
    assert accesses(text) == 1
    product = edited(("vfmadd231ps (%rdx),%ymm2,%ymm1", "mulps  %xmm3,%xmm2"))
    assert check_spills.spills(product, MACHINES["x86_64"]) == ([], 0)


@pytest.mark.parametrize("dot", ["vpdpbusd %ymm3,%ymm2,%ymm1", "{vex} vpdpbusd %ymm3,%ymm2,%ymm1"])
def test_dot_products_of_integers_are_multiply_adds(dot: str) -> None:
    text = edited(
        ("vfmadd231ps (%rdx),%ymm2,%ymm1", dot), ("mov    0x8(%rsp),%rax", "vmovdqu 0x40(%rsp),%ymm2")
    )
    assert accesses(text) == 1
    split = edited(
        ("vfmadd231ps (%rdx),%ymm2,%ymm1", "vpmaddwd 0x40(%rsp),%ymm2,%ymm3"),
        ("mov    0x8(%rsp),%rax", "vpaddd %ymm3,%ymm1,%ymm1"),
    )
    assert accesses(split) == 1


def test_an_outer_loop_may_use_the_stack() -> None:
    assert accesses(edited(("22:\tret", "22:\tjne    4 <tile.constprop.0+0x4>"))) == 0


OUT_OF_LINE = """
  23:\tvmovups %ymm1,0x40(%rsp)
  27:\t{}
  2c:\tjmp    14 <tile.constprop.0+0x14>
"""


def test_a_block_out_of_line_belongs_to_its_loop() -> None:
    text = edited(("mov    0x8(%rsp),%rax", "je     23 <tile.constprop.0+0x23>"))
    assert accesses(text + OUT_OF_LINE.format("nop").lstrip("\n")) == 1


def test_a_round_that_calls_a_function_is_not_the_hot_one() -> None:
    text = edited(("mov    0x8(%rsp),%rax", "je     23 <tile.constprop.0+0x23>"))
    assert accesses(text + OUT_OF_LINE.format("call   99 <finish>").lstrip("\n")) == 0


ARM = """
0000000000000000 <tile>:
   0:\tmov\tx29, sp
   4:\tldr\tq1, [sp, #32]
   8:\tldr\tq2, [x1], #16
   c:\tldr\tx2, [sp, #16]
  10:\tcbz\tx2, 20 <tile+0x20>
  14:\tfmla\tv1.4s, v2.4s, v3.s[0]
  18:\tb.ne\t8 <tile+0x8>  // b.any
  1c:\tret
  20:\tadd\tx3, x3, #0x10
  24:\tb\t14 <tile+0x14>
"""


@pytest.mark.parametrize("operands", ["str\tq1, [sp, #64]", "ldp\td8, d9, [sp]", "ldr\tq4, [x29, #160]"])
def test_loops_of_arm_are_understood(operands: str) -> None:
    assert accesses(ARM, "aarch64") == 0
    assert accesses(ARM.replace("fmla\tv1.4s, v2.4s, v3.s[0]", "sdot\tv1.4s, v2.16b, v3.16b"), "aarch64") == 0
    assert accesses(ARM.replace("ldr\tx2, [sp, #16]", operands), "aarch64") == 1
    assert accesses(ARM.replace("add\tx3, x3, #0x10", operands), "aarch64") == 1


def test_the_usual_round_stays_in_line_and_off_the_stack() -> None:
    def usual(listing: str) -> list[int]:
        ((_, body),) = functions(listing, MACHINES["aarch64"])
        (loop,) = every_loop(body, MACHINES["aarch64"])
        return [code.address for code in arm_cycles.round_of(loop)]

    in_line = [0x08, 0x0C, 0x10, 0x14, 0x18]
    assert usual(ARM) == in_line
    stored = ARM.replace("fmla\tv1.4s, v2.4s, v3.s[0]", "str\tq1, [sp, #64]")
    assert usual(stored.replace("b\t14", "b\t18")) == [0x08, 0x0C, 0x10, 0x20, 0x24, 0x18]


def test_only_what_is_allowed_passes_and_no_more_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = check_spills.Allowed("gcc", "avx2", "tile_*", 2, "sixteen registers")
    monkeypatch.setattr(check_spills, "ALLOWED", [known])

    def passes(family: str, isa: str, function: str, count: int) -> bool:
        return bool(check_spills.verdict(family, isa, check_spills.Spill(function, 9, 3, count))[0])

    assert passes("gcc", "avx2", "tile_3", 2)
    assert not passes("gcc", "avx2", "tile_3", 3)
    assert not passes("gcc", "avx512", "tile_3", 2)
    assert not passes("clang", "avx2", "tile_3", 2)
    assert not passes("gcc", "avx2", "strip", 1)
    assert passes("gcc", "baseline", "strip", 99)
    monkeypatch.setattr(check_spills, "ALLOWED", [known._replace(isa="s8_*")])
    assert passes("gcc", "s8_avx2", "tile_3", 2)
    assert not passes("gcc", "avx2", "tile_3", 2)
