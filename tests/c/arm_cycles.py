"""Estimates the speed of the NEON kernels without an Arm machine: llvm-mca on their inner loops.

    python tests/c/arm_cycles.py [--compiler aarch64-linux-gnu-gcc] [--mca llvm-mca] [--docs]

Prints a table: the cycles that LLVM's models of three cores take for a vector of outputs, and the share of
the bound, which is that nothing but multiply-adds counts. --docs writes it into docs/arm.md, between its
marks. Needs a cross compiler, its objdump, and LLVM 17 or later (Debian: gcc-aarch64-linux-gnu, llvm-19).

A model knows no caches, no mispredicted branches and no decoder. So a round takes at least as long as its
instructions take to be decoded, and its multiply-adds to issue: LLVM lets the Cortex-A55 issue two 128-bit
multiply-adds a cycle, but its two units are 64 bits wide.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from check_spills import build_flags, disassemble
from disassembly import (
    MACHINES,
    Block,
    Instruction,
    every_loop,
    functions,
    innermost_loops,
    multiply_adds,
    stack_accesses,
)

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "arm.md"
ARM = MACHINES["aarch64"]
ROUNDS = 100  # of a loop, in one run of llvm-mca


class Core(NamedTuple):
    name: str
    model: str  # LLVM's name
    multiply_adds: int  # of 128 bits a cycle
    decoded: int  # instructions a cycle


# LLVM up to 22 describes the Cortex-A76 with the numbers of the A57, whose vector units are half as wide. The
# Neoverse N1 is the A76's core for servers: Arm's guides give both the same pipelines, widths and latencies.
CORES = [
    Core("Cortex-A55", "cortex-a55", multiply_adds=1, decoded=2),
    Core("Cortex-A76", "neoverse-n1", multiply_adds=2, decoded=4),
    Core("Neoverse N1", "neoverse-n1", multiply_adds=2, decoded=4),
]


class Kernel(NamedTuple):
    about: str
    function: str
    outputs: str
    taps: int  # multiply-adds for a vector of outputs; of a matrix, those that an input channel takes
    whole: bool = False  # the loop over vectors of channels; otherwise the innermost one


KERNELS = [
    Kernel("depthwise 3x3, with clamps and stores", "dw_inner_3_1_7", "2x7", 9, whole=True),
    Kernel("depthwise 3x3 s2, with clamps and stores", "dw_inner_3_2_7", "2x7", 9, whole=True),
    Kernel("depthwise 5x5", "dw_inner_5_1_7", "2x7", 25),
    Kernel("depthwise 5x5 s2", "dw_inner_5_2_7", "2x7", 25),
    Kernel("depthwise 7x7", "dw_inner_7_1_7", "2x7", 49),
    Kernel("any window, four taps at a time", "dw_any_shared_4", "2x7", 4),
    Kernel("matrix, 4 columns", "mm_tiles_14_1_0", "14x4", 1),
    Kernel("matrix, 8 columns", "mm_tiles_12_2_0", "12x8", 1),
    Kernel("matrix, 12 columns", "mm_tiles_8_3_0", "8x12", 1),
    Kernel("matrix, 16 columns", "mm_tiles_6_4_0", "6x16", 1),
]


def round_of(loop: dict[int, Block]) -> list[Instruction]:
    """The instructions of a loop's usual round; none if every way back calls a function.

    That is the round with least on the stack (activations that call a function leave the results there), and
    then that on which fewest branches are taken (compilers move what is unlikely out of line).
    """
    header = next(iter(loop))
    start = stack_accesses(loop[header].code, ARM, framed=True), 0
    costs, ways, todo = {header: start}, {header: list(loop[header].code)}, [header]
    while todo:
        block = min(todo, key=lambda address: costs[address])
        todo.remove(block)
        if header in loop[block].next:
            return ways[block]
        for after in loop[block].next:
            if after not in loop:
                continue
            accesses, jumps = costs[block]
            accesses += stack_accesses(loop[after].code, ARM, framed=True)
            last = loop[block].code[-1]
            jumps += after != last.address + 4 and last.name != "b"
            if after not in costs or (accesses, jumps) < costs[after]:
                costs[after], ways[after] = (accesses, jumps), ways[block] + loop[after].code
                todo.append(after)
    return []


def hot_round(body: list[Instruction], *, whole: bool) -> list[Instruction]:
    """The round with most multiply-adds of the loops of whole vectors; of two, the shorter."""
    loops = every_loop(body, ARM) if whole else innermost_loops(body, ARM)
    rounds = (round_of(loop) for loop in loops)
    every = [code for code in rounds if not any(one.name == "ld1" for one in code)]  # partial vectors
    return max(every, key=lambda code: (multiply_adds(code, ARM), -len(code)))


def cycles(mca: str, core: Core, code: list[Instruction]) -> float:
    """Of a round."""
    text = "\n".join(f"{one.name} {re.sub(r'[0-9a-f]+ <.*>', 'target', one.operands)}" for one in code)
    command = [mca, "-mtriple=aarch64", f"-mcpu={core.model}", f"-iterations={ROUNDS}"]
    report = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout
    total = re.search(r"^Total Cycles:\s+(\d+)", report, re.MULTILINE)
    assert total is not None, report
    return max(
        int(total[1]) / ROUNDS, len(code) / core.decoded, multiply_adds(code, ARM) / core.multiply_adds
    )


def table(mca: str, listing: str) -> Iterator[list[str]]:
    yield ["kernel", "outputs", "multiply-adds", "loads", "other", *(core.name for core in CORES)]
    bodies = dict(functions(listing, ARM))
    for kernel in KERNELS:
        code = hot_round(bodies[kernel.function], whole=kernel.whole)
        multiplied = multiply_adds(code, ARM)
        loads = sum(one.name.startswith("ld") for one in code)
        cells = [kernel.about, kernel.outputs, multiplied, loads, len(code) - multiplied - loads]
        for core in CORES:
            bound = kernel.taps / core.multiply_adds
            taken = cycles(mca, core, code) * kernel.taps / multiplied
            cells.append(f"{taken:.2f} of {bound:.2f}, {bound / taken:.0%}")
        yield [str(cell) for cell in cells]


def markdown(lines: list[list[str]]) -> str:
    head, *rest = (f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([head, "|---" * len(lines[0]) + "|", *rest])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--compiler", default="aarch64-linux-gnu-gcc")
    parser.add_argument("--mca", default="llvm-mca")
    parser.add_argument("--docs", action="store_true", help=f"write the table into {DOCS.name}")
    options = parser.parse_args()
    listing = disassemble(shlex.split(options.compiler), "aarch64", "neon", build_flags())
    made = markdown(list(table(options.mca, listing)))
    print(made)
    if options.docs:
        begin, end = "<!-- arm_cycles begin -->\n", "\n<!-- arm_cycles end -->"
        before, _, rest = DOCS.read_text(encoding="utf-8").partition(begin)
        after = rest.partition(end)[2]
        DOCS.write_text(f"{before}{begin}{made}{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
