"""The command line: `dwconv info | run | summary | profile | compile | verify | demo | bench`."""

from __future__ import annotations

import argparse
import importlib.util
import math
import platform
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dwconv import cli_network, demo, explain, verify
from dwconv.config import Config, config
from dwconv.geometry import MAX_THREADS


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code is 1 if it found something wrong, 2 if it was not understood."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dwconv", description="Fast depthwise, pointwise and separable convolution on CPUs."
    )
    parser.add_argument("--version", action="version", version=f"dwconv {config()['version']}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    info = commands.add_parser(
        "info",
        help="what runs the operations here, and why",
        epilog="; ".join(f"{kind} {sizes}" for kind, sizes in explain.FORMS.items()),
    )
    info.add_argument(
        "--plan",
        nargs="+",
        metavar=("OPERATION", "SIZE"),
        help='the kernels, the blocking and the roofline of an operation with padding "same"; forms: below',
    )
    info.add_argument(
        "--dtype",
        choices=explain.DTYPES,
        default="float32",
        help="with --plan: of tensors, float32 if not given",
    )
    info.add_argument(
        "--gradients",
        dest="batch",
        type=_threads,
        metavar="BATCH",
        help="with --plan: how its gradients run, of so many images",
    )
    info.add_argument("--threads", type=_threads, metavar="N", help="with --plan: at most so many threads")
    info.add_argument("--gflops", type=_rate, metavar="X", help="with --plan: peak of these threads, GFLOP/s")
    info.add_argument("--gbs", type=_rate, metavar="X", help="with --plan: their memory bandwidth, GB/s")
    info.set_defaults(run=_info)

    cli_network.add(commands, _threads, _rate)

    check = commands.add_parser("verify", help="check every kernel that this machine can run")
    check.add_argument("--quick", action="store_true", help="fewer shapes: a few seconds")
    check.set_defaults(run=lambda options: 0 if verify.run(quick=options.quick) else 1)

    show = commands.add_parser("demo", help="classify real images, then race the NumPy fallback")
    show.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw them (needs matplotlib)")
    show.set_defaults(run=_demo)

    bench = commands.add_parser(
        "bench", help="measure against other libraries (needs the source tree)", add_help=False
    )
    bench.add_argument("options", nargs=argparse.REMAINDER, help="see python -m bench --help")
    bench.set_defaults(run=_bench)
    return parser


def _threads(word: str) -> int:
    if not (word.isdecimal() and 1 <= int(word) <= MAX_THREADS):
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to {MAX_THREADS}, not {word!r}")
    return int(word)


def _rate(word: str) -> float:
    try:
        rate = float(word)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {word!r}")
    return rate


def _info(options: argparse.Namespace) -> int:
    rates = options.threads, options.gflops, options.gbs
    try:
        if options.plan:
            if options.batch:
                lines = explain.gradient_facts(options.plan, options.batch, options.threads)
            else:
                lines = explain.facts(options.plan, *rates, options.dtype)
        elif rates != (None, None, None) or options.dtype != "float32" or options.batch:
            raise ValueError("--dtype, --gradients, --threads, --gflops and --gbs belong to --plan")
        else:
            lines = _facts(config())
    except (ValueError, MemoryError) as error:
        print(f"dwconv info: {error}", file=sys.stderr)
        return 2
    for label, value in lines:
        print(f"{label:<20}{value}")
    return 0


def _facts(settings: Config) -> list[tuple[str, str]]:
    compiled, available = settings["isas_compiled"], settings["isas_available"]
    backend = "native code" if settings["backend"] == "native" else f"NumPy ({settings['reason']})"
    threads = f"{settings['threads']} ({settings['threads_reason']})"
    return [
        ("dwconv", settings["version"]),
        ("backend", backend),
        ("instruction set", settings["isa"] or "none: NumPy decides"),
        ("  in this CPU", ", ".join(available) or "unknown without the extension"),
        ("  in this build", ", ".join(compiled) or "none"),
        ("threads", threads),
        (
            "build",
            settings["compiler"] or "Python only: the extension was not built",
        ),
        ("Python", platform.python_version()),
        ("NumPy", np.__version__),
        ("machine", f"{platform.system()} {platform.machine()}, {_cpu()}"),
    ]


def _cpu() -> str:
    """The CPU's name as Linux tells it: what a report about a slow or wrong kernel must contain."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else "unknown CPU"


def _demo(options: argparse.Namespace) -> int:
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        print("dwconv demo: --plot needs matplotlib: pip install matplotlib", file=sys.stderr)
        return 2
    return 0 if demo.run(plot=options.plot) else 1


def _bench(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("bench") is None:
        print("The benchmark is part of the source tree, not of the package. There:")
        print("    pip install '.[bench]'")
        print("    python -m bench run --quick")
        return 2
    sys.argv[1:] = options.options
    runpy.run_module("bench", run_name="__main__", alter_sys=True)
    return 0
