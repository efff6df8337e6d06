"""Looks for vector registers that a compiler keeps on the stack inside the hot loops of the kernels.

    python tests/c/check_spills.py [COMPILER]

Compiles csrc/kernels/isa_*.c with the flags of setup.py and reads what objdump makes of them. A hot loop is
an innermost loop with multiply-adds. A spill in it costs a load or store per round where the kernel was
written to have none: GCC and Clang differ in which tile of registers they manage, so both are asked.

One line per function with a spill; exit code 1 if one of them is not in ALLOWED. The baseline rung is printed
for information only: it has 16 registers, no fused multiply-add, and no promise. Needs x86-64.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKED = ("avx2", "avx512")
INFORMATIVE = ("baseline",)


class Allowed(NamedTuple):
    """Spills that are known: by GCC 12 and Clang 14. More accesses than these are an error again."""

    compiler: str
    isa: str
    functions: str  # a pattern of the shell
    accesses: int
    reason: str


EPILOGUE = "the innermost loop is that over tiles, with the outputs of activations that call a function"
PARTIAL = "an accumulator; partial vectors only, where the mask takes a register"
ONE_TAP = "an accumulator of 14; strides above 2 and partial vectors"
SPREAD = "accumulators; channel multipliers, where spreading a vector takes registers"
INPUTS = "accumulators or inputs: all loads of a row are moved before its multiply-adds"
EDGE = "inputs of the tiles at an edge of an image, whose columns are tested"
SIDE = "an accumulator or a weight around the test of the first and the last column"
DEPTH = "the vectors of the panel are stored and used from there; tiles of a single pixel"
GELU = "constants: the loop of GELU's erf form has more of them than there are registers"

ALLOWED = [
    Allowed("gcc", "avx2", "activate_y", 13, GELU),
    Allowed("gcc", "avx512", "activate_?", 1, GELU),
    Allowed("gcc", "avx2", "dw_*_3_1", 8, EPILOGUE),
    Allowed("gcc", "avx2", "dw_edge_7_1", 6, EDGE),
    Allowed("clang", "avx2", "activate_y", 22, GELU),
    Allowed("clang", "avx512", "activate_?", 5, GELU),
    Allowed("clang", "avx2", "dw_wide_?_1", 2, ONE_TAP),
    Allowed("clang", "avx2", "dw_wide_?_[35]", 10, PARTIAL),
    Allowed("clang", "avx2", "dw_spread_?_[13]", 12, SPREAD),
    Allowed("clang", "avx2", "dw_*_[357]_2", 19, INPUTS),
    Allowed("clang", "avx2", "dw_inner_[57]_1", 10, PARTIAL),
    Allowed("clang", "avx2", "dw_edge_[57]_1", 16, EDGE),
    Allowed("clang", "avx2", "mm_tiles_1_?_?", 3, DEPTH),
    Allowed("clang", "avx512", "dw_edge_[57]_?", 46, EDGE),
    Allowed("clang", "avx512", "dw_roll_?_7", 23, SIDE),
    Allowed("clang", "avx512", "mm_tiles_1_?_?", 4, DEPTH),
]


class Instruction(NamedTuple):
    address: int
    name: str
    operands: str


class Block(NamedTuple):
    code: list[Instruction]
    next: list[int]  # addresses of blocks


class Spill(NamedTuple):
    """The worst loop of a function."""

    function: str
    instructions: int
    multiply_adds: int
    accesses: int


# ---- disassembly ------------------------------------------------------------------------------


def functions(disassembly: str) -> Iterator[tuple[str, list[Instruction]]]:
    """Of `objdump -d --no-show-raw-insn`: every function and its instructions."""
    name, body = "", list[Instruction]()
    for line in disassembly.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            if body:
                yield name, body
            name, body = re.sub(r"\.(constprop|isra|part)\b.*", "", header[1]), []
        elif code := re.match(r"\s*([0-9a-f]+):\s+(?:(?:notrack|bnd|rep\w*|lock) )?(\S+)\s*(.*)", line):
            body.append(Instruction(int(code[1], 16), code[2], code[3].split("#")[0]))
    if body:
        yield name, body


def basic_blocks(body: list[Instruction]) -> dict[int, Block]:
    """By the address of their first instruction."""
    known = {code.address for code in body}
    pairs = list(itertools.zip_longest(body, body[1:]))
    begins = {body[0].address}
    for code, after in pairs:
        if after is not None and code.name.startswith(("j", "call", "ret")):
            begins.add(after.address)
        begins |= {jump_target(code)} & known
    blocks: dict[int, Block] = {}
    for code, after in pairs:
        if code.address in begins:
            block = blocks[code.address] = Block([], [])
        block.code.append(code)
        if after is None or after.address in begins:
            block.next.extend({jump_target(code)} & known)
            if after is not None and not code.name.startswith(("jmp", "ret")):
                block.next.append(after.address)
    return blocks


def jump_target(code: Instruction) -> int | None:
    target = re.match(r"([0-9a-f]+) <", code.operands)
    return int(target[1], 16) if target and code.name.startswith("j") else None


def innermost_loops(body: list[Instruction]) -> list[list[Instruction]]:
    """The instructions of every loop without another one inside, blocks that lie out of line included."""
    blocks = basic_blocks(body)
    latches: dict[int, set[int]] = {}
    for latch, header in back_edges(blocks):
        latches.setdefault(header, set()).add(latch)
    loops = {header: rounds(blocks, header, ends) for header, ends in latches.items()}
    return [
        [code for address in sorted(loop) for code in blocks[address].code]
        for header, loop in loops.items()
        if not any(other in loop for other in loops if other != header)
    ]


def back_edges(blocks: dict[int, Block]) -> Iterator[tuple[int, int]]:
    """Edges to a block on the way to their own: what closes a loop, in the code that compilers make."""
    seen, path = set[int](), set[int]()
    for entry in blocks:  # the first one reaches all but the targets of jump tables
        todo = [] if entry in seen else [(entry, iter(blocks[entry].next))]
        while todo:
            block, rest = todo[-1]
            seen.add(block)
            path.add(block)
            for after in rest:
                if after in path:
                    yield block, after
                elif after not in seen:
                    todo.append((after, iter(blocks[after].next)))
                    break
            else:
                path.remove(block)
                todo.pop()


def rounds(blocks: dict[int, Block], header: int, latches: set[int]) -> set[int]:
    """The blocks on the ways from the header of a loop to its end, those that call a function left out.

    Kernels call nothing but the activations that do not fit their epilogue, and there vectors have to be on
    the stack. A round that does is not the hot one.
    """
    before: dict[int, list[int]] = {}
    for block, (code, follow) in blocks.items():
        if not code[-1].name.startswith("call"):
            for after in follow:
                before.setdefault(after, []).append(block)
    loop, todo = {header}, list(latches)
    while todo:
        if (block := todo.pop()) not in loop:
            loop.add(block)
            todo.extend(before.get(block, []))
    reached, todo = set[int](), [header]
    while todo:
        if (block := todo.pop()) not in reached:
            reached.add(block)
            follow = [] if blocks[block].code[-1].name.startswith("call") else blocks[block].next
            todo.extend(after for after in follow if after in loop)
    return reached


def multiply_adds(loop: list[Instruction]) -> int:
    fused = sum(re.match(r"vfn?m(add|sub)", code.name) is not None for code in loop)
    products = sum(code.name == "mulps" for code in loop)
    sums = sum(code.name == "addps" for code in loop)
    return fused + min(products, sums)


def stack_accesses(loop: list[Instruction], stack: str) -> int:
    """Instructions with a vector register and an operand in memory at the address of the stack."""
    return sum(
        re.search(r"%[xyz]mm", code.operands) is not None and re.search(stack, code.operands) is not None
        for code in loop
    )


def spills(disassembly: str) -> tuple[list[Spill], int]:
    """The functions with a spill in a hot loop, and the number of hot loops looked at."""
    found, looked_at = [], 0
    for function, body in functions(disassembly):
        # Without a frame %rbp holds anything.
        framed = any(code.name == "mov" and code.operands.replace(" ", "") == "%rsp,%rbp" for code in body)
        stack = r"\(%(rsp|rbp)[,)]" if framed else r"\(%rsp[,)]"
        loops = [loop for loop in innermost_loops(body) if multiply_adds(loop)]
        looked_at += len(loops)
        worst = max(loops, key=lambda loop: stack_accesses(loop, stack), default=[])
        if count := stack_accesses(worst, stack):
            found.append(Spill(function, len(worst), multiply_adds(worst), count))
    return found, looked_at


# ---- compiling --------------------------------------------------------------------------------


def build_flags() -> dict[str, list[str]]:
    """What setup.py compiles the kernels of an instruction set with."""
    os.chdir(ROOT)
    with mock.patch("setuptools.setup"):
        settings = runpy.run_path("setup.py")
    isas = {"baseline": [], **settings["ISA_FLAGS"]}
    return {isa: [*settings["CORE_FLAGS"], *flags] for isa, flags in isas.items()}


def disassemble(compiler: str, isa: str, flags: list[str]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, "kernels.o")
        source = ROOT / "csrc" / "kernels" / f"isa_{isa}.c"
        subprocess.run([compiler, *flags, "-c", source, "-o", target], check=True)
        command = ["objdump", "-d", "--no-show-raw-insn", target]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def verdict(family: str, isa: str, spill: Spill) -> tuple[bool, str]:
    """Whether a spill is no error, and why so."""
    if isa in INFORMATIVE:
        return True, "for information"
    for known in ALLOWED:
        if (known.compiler, known.isa) != (family, isa) or not fnmatch(spill.function, known.functions):
            continue
        if spill.accesses <= known.accesses:
            return True, f"allowed: {known.reason}"
    return False, "SPILL"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("compiler", nargs="?", default="cc")
    compiler = parser.parse_args().compiler
    about = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
    family = "clang" if "clang" in about else "gcc"
    flags = build_flags()
    isas = [*CHECKED, *INFORMATIVE]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        listings = pool.map(lambda isa: disassemble(compiler, isa, flags[isa]), isas)
        results = [spills(listing) for listing in listings]
    errors = 0
    for isa, (found, _) in zip(isas, results, strict=True):
        for spill in found:
            fine, why = verdict(family, isa, spill)
            errors += not fine
            print(
                f"{family} {isa} {spill.function}: a loop of {spill.instructions} instructions, "
                f"{spill.multiply_adds} multiply-adds, {spill.accesses} stack accesses ({why})"
            )
    print(about.partition("\n")[0])
    for isa, (found, loops) in zip(isas, results, strict=True):
        print(f"  {isa}: {loops} hot loops, {len(found)} functions with a spill")
        if not loops:
            print(f"{isa}: no hot loop was found: the listing was not understood", file=sys.stderr)
            errors += 1
    print(f"  {errors} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
