"""Looks for vector registers that a compiler keeps on the stack inside the hot loops of the kernels.

    python tests/c/check_spills.py [COMPILER]

COMPILER (cc) may have options, as in "clang --target=aarch64-linux-gnu". Compiles the csrc/kernels/isa/*.c of
its machine with the flags of setup.py and reads what objdump makes of them. A hot loop is an innermost loop
with multiply-adds. A spill in it costs a load or store per round where the kernel was
written to have none: GCC and Clang differ in which tile of registers they manage, so both are asked.

One line per function with a spill; exit code 1 if one of them is not in ALLOWED. The baseline rung is printed
for information only: it has no fused multiply-add, and makes no promise.
"""

from __future__ import annotations

import argparse
import os
import platform
import runpy
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from disassembly import (
    MACHINES,
    Machine,
    functions,
    has_frame,
    innermost_loops,
    instructions,
    multiply_adds,
    stack_accesses,
)

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKED = {
    "x86_64": ("avx2", "avx512", "s8_avx2", "s8_avx2_vnni", "s8_avx512", "s8_avx512_vnni"),
    "aarch64": ("neon", "s8_neon", "s8_neon_dotprod"),
}
INFORMATIVE = ("baseline", "s8_baseline")


class Allowed(NamedTuple):
    """Spills that are known: by GCC 12 and Clang 14. More accesses than these are an error again."""

    compiler: str
    isa: str  # a pattern of the shell, as is the next
    functions: str
    accesses: int
    reason: str


CHANNELS = "numbers of channels, of which a normalization has up to six: it waits for memory"
EARLY = "inputs: Clang loads those of all rows before the first multiply-add, beside up to 25 sums"
GRADIENT = "sums of ten taps, which with two rows of gradients and of inputs need all 16 registers"
GELU = "constants: the loop of GELU's erf form has more of them than there are registers"
FLAT = "sums, of the vectors at an edge of few channels"
EDGE = "a weight around the tests and the runs of outputs at an edge of an image"
SPREAD = "inputs or weights beside the lanes of a multiplier"
DEPTH = "the vectors of the panel are stored and used from there; tiles of a single pixel"
STRAIGHT = "bounds of the clamp, inputs or weights: these tiles need all 16 registers"
SEVENS = "pointers of rows or weights, beside the 70 multiply-adds of two rows of seven"
TALL = "inputs: tiles of two rows with stride 2 lack a register"
POINTERS = "pointers of the rows, which Clang advances as vectors"
EXP = "constants: an exponential has more of them than AVX2 has registers beside its sums"
TURNED = "an array of the walk's own: rows of few numbers, turned"
CLAMP = "bounds of the clamp: of the 32 registers weights take 12 and sums 16"
STORES = "bytes around the test whether all of a group is stored"
COLUMNS = "weights, or columns that the next taps see again, beside the sums"
PRODUCTS = "a product or a mask: the halves of an input and 12 sums leave no register for it"
HALVES = "halves of inputs or weights: two outputs and the begin of the next one have six sums"
UNREAD = "inputs that are kept in an array, of which nothing is read again"
WEIGHTS = "weights: beside these of two rows and 14 sums few registers are left, and Clang loads inputs early"

ALLOWED = [
    Allowed("gcc", "avx2", "activate_y", 5, GELU),
    Allowed("gcc", "avx2", "each_unary_f32", 8, EXP),
    Allowed("gcc", "avx2", "each_slope", 7, EXP),
    Allowed("gcc", "avx512", "each_slope", 1, GELU),
    Allowed("gcc", "avx2", "dwg_inner_2_5_[12]_0", 4, GRADIENT),
    Allowed("gcc", "avx2", "dwb_inner", 1, GRADIENT),
    Allowed("gcc", "avx2", "softmax_*", 2, EXP),
    Allowed("gcc", "avx2", "softmax", 1, TURNED),
    Allowed("gcc", "avx512", "softmax", 1, TURNED),
    Allowed("gcc", "avx2", "dw_flat_edge_3", 4, FLAT),
    Allowed("gcc", "avx2", "dw_any_edge", 2, EDGE),
    Allowed("gcc", "avx2", "dw_spread*_3_[12]_4", 4, SPREAD),
    Allowed("gcc", "avx2", "dw_*_3_1_[45]", 19, STRAIGHT),
    Allowed("gcc", "avx2", "dw_*_[57]_1_5", 16, STRAIGHT),
    Allowed("gcc", "avx512", "dw_*_5_1_7", 4, SEVENS),
    Allowed("gcc", "avx2", "dw_*_3_2_[45]", 12, TALL),
    Allowed("gcc", "avx2", "dw_inner_5_2_4", 4, TALL),
    Allowed("gcc", "avx512", "dw_any_edge", 4, EDGE),
    Allowed("gcc", "avx512", "dw_*_5_2_7", 7, "an input or a weight around tests"),
    Allowed("gcc", "s8_avx2*", "dw_tiles_2_2_1_0_0", 2, SPREAD),
    Allowed("gcc", "s8_avx2", "mm_tiles_[46]_[23]_0", 4, PRODUCTS),
    Allowed("gcc", "s8_avx2", "dw_roll_*", 31, HALVES),
    Allowed("gcc", "s8_avx2_vnni", "mm_tiles_4_3_0", 2, PRODUCTS),
    Allowed("gcc", "s8_avx512_vnni", "dw_roll_clamped", 30, CLAMP),
    Allowed("gcc", "s8_avx512_vnni", "dw_roll_*signed", 16, STORES),
    Allowed("gcc", "s8_*", "dw_tiles_4_1_0_5_2", 6, COLUMNS),
    Allowed("gcc", "s8_avx512_vnni", "mm_tiles_14_1_1", 4, "sums: 14 rows of one vector and a half"),
    Allowed("gcc", "s8_neon_dotprod", "dw_roll_clamped", 10, CLAMP),
    Allowed("clang", "s8_*", "dw_tiles_4_?_?_0_0", 9, UNREAD),
    Allowed("gcc", "s8_neon_dotprod", "dw_roll_clamped", 4, CLAMP),
    Allowed("clang", "s8_avx2", "dw_roll_*", 21, HALVES),
    Allowed("clang", "s8_*", "dw_tiles_[14]_?_?_0_0", 9, UNREAD),
    Allowed("clang", "s8_avx2*", "dw_tiles_2_2_?_0_0", 16, UNREAD),
    Allowed("clang", "s8_avx2*", "mm_tiles_[46]_[23]_0", 4, PRODUCTS),
    Allowed("clang", "s8_avx512_vnni", "dw_tiles_4_?_0_[57]_?", 24, COLUMNS),
    Allowed("clang", "s8_avx512_vnni", "dw_roll_clamped", 24, CLAMP),
    Allowed("clang", "s8_avx512_vnni", "dw_roll_*signed", 3, STORES),
    Allowed("clang", "s8_avx512_vnni", "mm_tiles_9_3_0", 2, PRODUCTS),
    Allowed("clang", "avx2", "activate_y", 11, GELU),
    Allowed("clang", "avx2", "each_unary_f32", 4, EXP),
    Allowed("clang", "avx2", "each_slope", 24, EXP),
    Allowed("clang", "avx512", "each_slope", 7, GELU),
    Allowed("clang", "avx2", "dwg_inner_*", 7, GRADIENT),
    Allowed("clang", "avx512", "dwg_*", 200, EARLY),
    Allowed("clang", "avx2", "norm_*", 5, CHANNELS),
    Allowed("clang", "avx2", "softmax_*", 6, EXP),
    Allowed("clang", "avx2", "softmax", 1, TURNED),
    Allowed("clang", "avx2", "dw_flat_edge_3", 6, FLAT),
    Allowed("clang", "avx2", "dw_spread*_3_2_4", 7, SPREAD),
    Allowed("clang", "avx2", "dw_*_3_1_[45]", 16, STRAIGHT),
    Allowed("clang", "avx2", "dw_*_3_2_[45]", 10, TALL),
    Allowed("clang", "avx2", "dw_*_3_2_2", 20, POINTERS),
    Allowed("clang", "avx2", "mm_tiles_1_*", 4, DEPTH),
    Allowed(
        "clang",
        "avx512",
        "dw_roll_[12]_7",
        66,
        "a sum or a weight around the test of the first and the last column",
    ),
    Allowed("clang", "avx512", "dw_*_3_[12]_[47]", 15, POINTERS),
    Allowed("clang", "avx512", "dw_*_[57]_?_7", 45, WEIGHTS),
    Allowed("clang", "avx512", "mm_tiles_1_?_?", 4, DEPTH),
    Allowed("clang", "avx512", "mm_tiles_14_1_1", 1, "the vector of the panel is stored, and not read again"),
]


class Spill(NamedTuple):
    """The worst loop of a function."""

    function: str
    instructions: int
    multiply_adds: int
    accesses: int


def spills(listing: str, machine: Machine) -> tuple[list[Spill], int]:
    """The functions with a spill in a hot loop, and the number of hot loops looked at."""
    found, looked_at = [], 0
    for function, body in functions(listing, machine):
        framed = has_frame(body, machine)
        loops = [instructions(loop) for loop in innermost_loops(body, machine)]
        hot = [
            Spill(function, len(loop), multiplied, stack_accesses(loop, machine, framed=framed))
            for loop in loops
            if (multiplied := multiply_adds(loop, machine))
        ]
        looked_at += len(hot)
        worst = max(hot, key=lambda spill: spill.accesses, default=None)
        if worst and worst.accesses:
            found.append(worst)
    return found, looked_at


# ---- compiling --------------------------------------------------------------------------------


def build_flags() -> list[str]:
    """What setup.py compiles the kernels with."""
    os.chdir(ROOT)
    with mock.patch("setuptools.setup"):
        settings = runpy.run_path("setup.py")
    return list[str](settings["CORE_FLAGS"])


def disassemble(compiler: list[str], arch: str, isa: str, flags: list[str]) -> str:
    objdump = "objdump" if arch == platform.machine() else f"{arch}-linux-gnu-objdump"
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory, "kernels.o")
        source = ROOT / "csrc" / "kernels" / "isa" / f"{isa}.c"
        subprocess.run([*compiler, *flags, "-c", source, "-o", target], check=True)
        command = [objdump, "-d", "--no-show-raw-insn", target]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def verdict(family: str, isa: str, spill: Spill) -> tuple[bool, str]:
    """Whether a spill is no error, and why so."""
    if isa in INFORMATIVE:
        return True, "for information"
    for known in ALLOWED:
        matches = fnmatch(isa, known.isa) and fnmatch(spill.function, known.functions)
        if known.compiler != family or not matches:
            continue
        if spill.accesses <= known.accesses:
            return True, f"allowed: {known.reason}"
    return False, "SPILL"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("compiler", nargs="?", default="cc")
    compiler = shlex.split(parser.parse_args().compiler)
    about, triple = (
        subprocess.run([*compiler, option], check=True, capture_output=True, text=True).stdout
        for option in ("--version", "-dumpmachine")
    )
    family, arch = "clang" if "clang" in about else "gcc", triple.partition("-")[0]
    flags = build_flags()
    isas = [*CHECKED[arch], *INFORMATIVE]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        listings = pool.map(lambda isa: disassemble(compiler, arch, isa, flags), isas)
        results = [spills(listing, MACHINES[arch]) for listing in listings]
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
