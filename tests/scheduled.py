"""Golden schedules: how every layer and block of the benchmark's networks, and hard cases, would run.

    python tests/scheduled.py        # writes tests/schedules/<instruction set>[-int8]-<caches>.txt anew

A C program asks the core for machines that are made up, and for instruction sets that this CPU lacks; those
of another architecture need its compiler and qemu. The diff shows which shapes a changed threshold moves.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for the networks

from bench.networks import APART, NETWORKS, expand  # noqa: E402
from bench.workloads import Stage, Workload  # noqa: E402

GOLDEN = ROOT / "tests" / "schedules"
# Sets and ways of the first level, bytes of the second and of the last.
CACHES = {"32K-512K-32M": (64, 8, 512 << 10, 32 << 20), "48K-2M-8M": (64, 12, 2 << 20, 8 << 20)}
ISAS = ("baseline", "neon", "avx2", "avx512")
THREADS = (1, 2)
# Of 8-bit integers: instruction sets with vectors of one length have one schedule.
INT8_ISAS = ("baseline", "avx2", "avx512-vnni")
SAME_INT8 = {"neon": "baseline", "neon-dotprod": "baseline", "avx2-vnni": "avx2", "avx512": "avx512-vnni"}

ACTIVATIONS = (
    *(None, "relu", "relu6", "clip", "leaky_relu", "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh"),
    *("gelu", "gelu_tanh"),
)  # in the order of dwconv_activation_kind
# Fields that say nothing of how it runs, or that follow from others.
DERIVED = frozenset(
    (
        *("instruction_set", "plan_bytes", "nanoseconds", "cache_bytes", "items", "images", "row_pixels"),
        *("worker_bytes", "image_bytes"),
    )
)
# Fields that are left out where they are this, or the same as another.
USUAL: dict[str, int | str] = {
    "workers_per_image": "workers",
    "step_pixels": "part_pixels",
    "columns_at_once": "block_channels",
    "pixels_at_once": 252,
    **dict.fromkeys(("workers", "passes", "strips", "channel_blocks", "second_pass_parts", "gate_parts"), 1),
}
SHORT = {
    "scratch_bytes": "scratch",
    "strip_rows": "rows",
    "channel_blocks": "blocks",
    "block_channels": "channels",
    "chunk_rows": "chunk",
    "chunk_columns": "columns",
    "ring_rows": "ring",
    "two_passes_since": "since",
    "second_pass_parts": "parts",
    "staged_bytes": "staged",
}
X86 = platform.machine() in ("x86_64", "AMD64")
ARM = platform.machine() in ("aarch64", "arm64")


# ---- operations -------------------------------------------------------------------------------


def _depthwise(size: str, kernel: str, stride: int = 1, dilation: int = 1, multiplier: int = 1) -> Workload:
    height, width, channels = map(int, size.split("x"))
    sides = tuple(map(int, kernel.split("x")))
    stage = Stage("depthwise", channels, channels * multiplier, (sides[0], sides[1]), stride, dilation)
    return Workload("hard", (stage,), height, width)


@dataclass(frozen=True)
class _Grouped(Stage):
    parts: int = 1

    @property
    def groups(self) -> int:
        return self.parts


def _grouped(size: str, groups: int, kernel: int, stride: int = 1) -> Workload:
    height, width, channels = map(int, size.split("x"))
    stage = _Grouped("conv", channels, channels, (kernel, kernel), stride, parts=groups)
    return Workload("hard", (stage,), height, width)


def _block(size: str, chain: str, kernel: int, stride: int = 1, squeeze: int = 0) -> Workload:
    height, width = map(int, size.split("x"))
    channels = [int(word) for word in chain.split(">")]
    wide = channels[-2]
    sides = (1 if height == 1 else kernel, 1 if width == 1 else kernel)
    stages = [
        Stage("depthwise", wide, wide, sides, stride, activation="relu6"),
        Stage("pointwise", wide, channels[-1]),
    ]
    if len(channels) == 3:
        stages.insert(0, Stage("pointwise", channels[0], wide, activation="relu6"))
    gate = Stage("pointwise", wide, squeeze), Stage("pointwise", squeeze, wide)
    return Workload("hard", tuple(stages), height, width, squeeze_excite=gate if squeeze else ())


HARD = (
    *(_depthwise(f"{n}x{n}x512", "3x3", s) for n in (7, 13, 14, 29) for s in (1, 2)),
    *(_depthwise(f"17x17x{c}", "9x9", 2) for c in (1024, 1040)),
    *(_depthwise("56x56x64", f"{k}x{k}", s, d) for k in (3, 5) for s in (1, 2) for d in (2, 3, 18)),
    *(_depthwise(f"56x57x{c}", "5x5") for c in (1, 2, 3, 4, 5, 12, 20)),
    *(_depthwise("31x33x5", "3x3", s, 1, m) for s in (1, 2) for m in (2, 3, 16)),
    *(_depthwise(f"300x300x{c}", "3x3") for c in (96, 256)),
    *(_depthwise(size, kernel) for size in ("1x999x256", "999x1x256") for kernel in ("1x31", "31x1")),
    _depthwise("9x11x1024", "1x1"),
    *(
        _grouped(size, groups, kernel)
        for size in ("56x56x128", "7x9x256")
        for groups in (8, 32)
        for kernel in (1, 3)
    ),
    *(_grouped("28x28x256", 64, 3, s) for s in (1, 2)),
    *(_block(size, "24>144>24", k, s) for size in ("57x63", "300x200") for k in (3, 7) for s in (1, 2)),
    *(_block(f"{n}x{n}", "320>1920>320", k) for n in (13, 14) for k in (3, 7)),
    *(_block("26x26", "512>2048>512", 3), _block("1x3200", "128>512>128", 3)),
    *(_block("3200x1", "128>512>128", 3, 2), _block("14x14", "512>512", 3), _block("1x999", "256>100", 5)),
    *(_block(f"{n}x{n}", "40>240>40", 5, 1, 10) for n in (7, 28, 200)),
)


def workloads() -> list[Workload]:
    """Every operation once."""
    found: dict[str, Workload] = {}
    for workload in [w for network in {**NETWORKS, **APART} for w in expand(network)] + list(HARD):
        if workload.op != "chain":
            found.setdefault(name(workload), workload)
    return list(found.values())


def name(workload: Workload) -> str:
    kind = "block" if len(workload.stages) > 1 else workload.op
    stage = workload.stages[0]
    groups = f" g{stage.groups}" if isinstance(stage, _Grouped) else ""
    return f"{kind} {workload.shape}{groups}"


def _line(workload: Workload, threads: int) -> str:
    """For schedules.c."""
    stages = list(workload.stages)
    parts: list[Stage | None] = [None] * 5
    if len(stages) == 3:
        parts[0] = stages.pop(0)
    parts[1] = stages[0]
    parts[2:4] = workload.squeeze_excite or (None, None)
    if len(stages) == 2:
        parts[4] = stages[1]
    numbers: list[int] = [threads, workload.batch, workload.height, workload.width, workload.residual]
    for s in parts:
        numbers.append(s is not None)
        if s is not None:
            numbers += [s.in_channels, s.out_channels, s.groups, *s.kernel, s.stride, s.dilation]
            numbers += [s.padding == "same", ACTIVATIONS.index(s.activation)]
    return " ".join(str(int(number)) for number in numbers)


# ---- schedules --------------------------------------------------------------------------------


def tools(isa: str) -> tuple[list[str], list[str]] | None:
    """The compiler for an instruction set, and what runs its programs here; None if there is none."""
    arm = isa.startswith("neon")
    native = isa == "baseline" or (ARM if arm else X86)
    if native:
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        return (compiler.split(), []) if compiler else None
    cross, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if not arm or not cross or not emulator:
        return None
    return [cross], [emulator, "-L", "/usr/aarch64-linux-gnu"]


def build(compiler: Sequence[str], directory: Path) -> Path:
    """schedules.c with the core, at the level that compiles fastest."""
    sources = [*sorted((ROOT / "csrc").rglob("*.c")), ROOT / "tests" / "c" / "programs" / "schedules.c"]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-DDWC_ANY_CPU=1", "-O1"]
    objects = [directory / f"{number}.o" for number in range(len(sources))]

    def compile_one(pair: tuple[Path, Path]) -> None:
        subprocess.run([*compiler, *flags, "-c", str(pair[0]), "-o", str(pair[1])], check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, reversed(list(zip(sources, objects, strict=True)))))
    program = directory / "schedules"
    subprocess.run([*compiler, *map(str, objects), "-o", str(program), "-lm", "-lpthread"], check=True)
    return program


def schedules(command: Sequence[str], isa: str, caches: str, int8: bool = False) -> Iterator[str]:
    """A line for every operation and number of threads; of 8-bit integers a few with squeeze-and-excite."""
    known = [w for w in workloads() if not (int8 and w.squeeze_excite and w not in HARD)]
    jobs = [(workload, threads) for workload in known for threads in THREADS]
    told = subprocess.run(
        [*command, isa, *map(str, CACHES[caches]), *["int8"] * int8],
        input="\n".join(_line(*job) for job in jobs),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout.splitlines()
    texts: dict[tuple[str, str], list[int]] = {}  # threads that change nothing share a line
    for (workload, threads), line in zip(jobs, told, strict=True):
        texts.setdefault((name(workload), _text(json.loads(line))), []).append(threads)
    for (operation, text), counts in texts.items():
        yield f"{operation} | {' '.join(map(str, counts))} | {text}"


def _text(told: dict[str, Any]) -> str:
    """How it runs, without what follows from other fields and what is usual."""
    for node in told.pop("nodes"):
        if node["op"] == "depthwise":
            told["tiles"] = node["kernel"].partition(" depthwise ")[2].partition(",")[0]
    stages = told.pop("stages", ())
    if len(stages) == 1:
        told |= {"pixels": stages[0]["columns"], "channels": stages[0]["channels"]}
    for stage in stages:
        told[f"{stage['op']}s" if len(stages) > 1 else "row_bytes"] = stage["row_bytes"]
    for key in ("two_passes_since", "how", "body"):
        told[key] = " ".join(told.get(key, "").split()[:2])
    for key, value in USUAL.items():
        if told.get(key) == (told.get(value) if isinstance(value, str) else value):
            told[key] = 0
    return ", ".join(f"{SHORT.get(k, k)} {v}" for k, v in told.items() if v and k not in DERIVED)


def golden(isa: str, caches: str, int8: bool = False) -> Path:
    return GOLDEN / f"{isa}{'-int8' if int8 else ''}-{caches}.txt"


def main() -> int:
    GOLDEN.mkdir(exist_ok=True)
    missing = 0
    with tempfile.TemporaryDirectory() as directory:
        programs: dict[tuple[str, ...], Path] = {}
        for isa, int8 in [*((isa, False) for isa in ISAS), *((isa, True) for isa in INT8_ISAS)]:
            found = tools(isa)
            if not found:
                print(f"{isa}: no compiler or emulator for it")
                missing += 1
                continue
            compiler, runner = found
            if tuple(compiler) not in programs:
                place = Path(directory, str(len(programs)))
                place.mkdir()
                programs[tuple(compiler)] = build(compiler, place)
            for caches in CACHES:
                lines = schedules([*runner, str(programs[tuple(compiler)])], isa, caches, int8)
                golden(isa, caches, int8).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
