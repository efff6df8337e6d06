"""python -m bench run | report | compare | limits | list: see docs/benchmarking.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import compiling, limits, machine, measure, networks
from bench.display import Display, summary
from bench.peers import PEERS, WITH_VARIANTS
from bench.schema import Results, Row
from bench.stats import NOISY
from bench.workloads import Workload


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.function
    return command(options)


def _run(options: argparse.Namespace) -> int:
    console = Console()
    options.network = options.network or (["classic"] if options.quick else list(networks.NETWORKS))
    settings = measure.QUICK if options.quick else measure.FULL
    if options.cold:
        settings = replace(settings, cold_bytes=_cold_bytes())
    workloads = _workloads(options)
    if not workloads:
        console.print("no workload matches")
        return 2
    info = machine.describe()
    chosen = {name: getattr(options, name) for name in ("network", "ops", "threads", "match")}
    results = Results(info, {**asdict(settings), **chosen})
    console.print(f"{info['cpu']}, {info['cores']} cores, {' '.join(info['flags'])}", highlight=False)
    roofline = _measure_limits(results, options.threads, console)
    total, stolen = machine.cpu_times()
    try:
        with ExitStack() as stack:
            console.print(f"starting {len(options.peers) * len(options.threads)} workers")
            crews = [stack.enter_context(measure.Crew(options.peers, t, settings)) for t in options.threads]
            results.peers = crews[0].described
            for peer, described in results.peers.items():
                if "absent" in described:
                    console.print(f"{peer}: absent: {described['absent']}", highlight=False, markup=False)
            display = stack.enter_context(Display(crews[0].peers, len(workloads), console))
            for workload in workloads:
                display.start(f"{workload.network} {workload.op} {workload.shape}")
                rows = measure.run_workload(workload, crews, roofline)
                results.rows += rows
                display.add(rows)
    except KeyboardInterrupt:
        console.print("interrupted: keeping what was measured")
    finally:
        now_total, now_stolen = machine.cpu_times()
        results.noise = _noise(results.rows, now_stolen - stolen, now_total - total)
        if results.rows:
            results.save(options.out)
    console.print(summary(results.rows))
    console.print(_verdict(results), highlight=False)
    console.print(f"results: {options.out}", highlight=False)
    return 0


def _measure_limits(
    results: Results, threads: list[int], console: Console
) -> Callable[[Workload, int], float | None]:
    try:
        results.limits = limits.measure(results.machine["flags"], threads)
    except compiling.CompileError as problem:
        console.print(f"no roofline: {problem}", markup=False)
        return lambda workload, threads: None
    found = results.limits
    isa = limits.best_isa(found)
    peaks = ", ".join(f"{found['isa'][isa][str(t)]['gflops']:.0f} GFLOP/s on {t}" for t in threads)
    console.print(f"limits ({isa}): {peaks} cores", highlight=False)
    return lambda workload, threads: limits.roofline_us(found, workload, threads)


def _workloads(options: argparse.Namespace) -> list[Workload]:
    found = [w for name in options.network for w in networks.expand(name, tuple(options.ops))]
    return [w for w in found if all(text in f"{w.op} {w.shape}" for text in options.match)]


def _cold_bytes() -> int:
    """Twice the outer cache, but no more than a worker can walk over in a tenth of a second."""
    return min(2 * max(machine.cache_sizes().values(), default=64 << 20), 512 << 20)


def _noise(rows: list[Row], stolen: float, total: float) -> dict[str, float]:
    noises = [row.noise for row in rows if row.noise is not None]
    noisy = sum(noise > NOISY for noise in noises) / len(noises) if noises else 0.0
    return {"steal_share": stolen / total if total else 0.0, "noisy_rows": noisy}


def _verdict(results: Results) -> str:
    steal, noisy = results.noise["steal_share"], results.noise["noisy_rows"]
    word = "quiet" if noisy < 0.05 and steal < 0.02 else "NOISY"
    uncertain = f"{noisy:.0%} of rows uncertain by more than {NOISY:.0%}"
    return f"{word} run: {uncertain}; others took {steal:.1%} of the CPU"


def _report(options: argparse.Namespace) -> int:
    from bench import report

    for path in report.write(Results.load(options.results), options.out or options.results.with_suffix("")):
        print(path)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from bench import compare

    changes = compare.changes(Results.load(options.old), Results.load(options.new), options.threshold)
    print(compare.text(changes))
    return 1 if any(change.slower for change in changes) else 0


def _limits(options: argparse.Namespace) -> int:
    found = limits.measure(machine.describe()["flags"], options.threads)
    for isa, counts in found["isa"].items():
        for threads, limit in counts.items():
            print(f"{isa}, {threads} core(s): {limit['gflops']:.1f} GFLOP/s; GB/s read, write, copy:")
            for step in limit["bandwidth"]:
                rates = "".join(f"{step[kind] / 1e9:9.1f}" for kind in ("read", "write", "copy"))
                print(f"  {step['bytes'] >> 10:>8} KiB{rates}")
    return 0


def _list(options: argparse.Namespace) -> int:
    for name in networks.NETWORKS:
        found = networks.expand(name)
        macs = sum(w.macs * w.count for w in found if w.kind != "blocks")
        print(f"{name:20} {len(found):3} workloads, {macs / 1e6:8.1f} M multiply-accumulates in its layers")
    print("peers:", " ".join(PEERS))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, function: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help)
        command.set_defaults(function=function)
        return command

    run = add("run", _run, "measure, and write a file of results")
    run.add_argument(
        "--quick", action="store_true", help="the classic layers, a few minutes (default: everything)"
    )
    run.add_argument("--network", type=_names(networks.NETWORKS), help="comma-separated; see `list`")
    run.add_argument(
        "--ops", type=_names(networks.OPS), default=list(networks.OPS), help=",".join(networks.OPS)
    )
    run.add_argument(
        "--peers", type=_peers, default=list(PEERS), help="comma-separated, with variants: dwconv@avx2"
    )
    run.add_argument("--threads", type=_counts, default=[1], help="comma-separated: 1,2")
    run.add_argument(
        "--match", action="append", default=[], metavar="TEXT", help="only shapes that contain TEXT"
    )
    run.add_argument("--cold", action="store_true", help="evict the caches before every call")
    run.add_argument("--out", type=Path, default=Path("results") / "bench.json")
    report = add("report", _report, "tables, charts and a page from a file of results")
    report.add_argument("results", type=Path)
    report.add_argument("--out", type=Path, help="folder (default: beside the results)")
    compare = add("compare", _compare, "what got slower; exit code 1 if anything did")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    compare.add_argument("--threshold", type=float, default=0.05, help="share that counts beyond the noise")
    roof = add("limits", _limits, "peak and bandwidths of this machine")
    roof.add_argument("--threads", type=_counts, default=[1])
    add("list", _list, "networks and peers")
    return parser


def _names(known: Any) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
        return names

    return parse


def _peers(text: str) -> list[str]:
    names = text.split(",")
    for name, at, _ in (name.partition("@") for name in names):
        if "." in name:
            continue  # a module of the caller's
        _names(PEERS)(name)
        if at and name not in WITH_VARIANTS:
            raise argparse.ArgumentTypeError(f"{name} has no variants; {', '.join(WITH_VARIANTS)} have")
    return names


def _counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if not all(1 <= count <= len(machine.usable_cpus()) for count in counts):
        raise argparse.ArgumentTypeError(f"1 to {len(machine.usable_cpus())} threads can be pinned here")
    return counts


if __name__ == "__main__":
    sys.exit(main())
