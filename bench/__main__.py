"""python -m bench COMMAND; docs/benchmarking.md tells of each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from bench import (
    against,
    arguments,
    calibrate,
    cliffs,
    compiling,
    gradients,
    limits,
    machine,
    measure,
    networks,
    quantized,
    scaling,
    whole_commands,
)
from bench.display import Display, summary
from bench.peers import defaults
from bench.schema import Results, Row
from bench.stats import NOISY
from bench.workloads import Workload


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.function
    return command(options)


def _run(options: argparse.Namespace) -> int:
    console = Console()
    options.network = options.network or (["classic"] if options.quick else networks.defaults(options.dtype))
    options.peers = options.peers or defaults(options.dtype)
    settings = measure.QUICK if options.quick else measure.FULL
    if options.cold:
        # Single calls scatter more than samples of many: a third of the run would go into a third visit.
        settings = replace(settings, cold_bytes=_cold_bytes(), most_visits=settings.visits)
    workloads = _workloads(options)
    if not workloads:
        console.print("no workload matches")
        return 2
    info = machine.describe()
    chosen = {name: getattr(options, name) for name in ("network", "ops", "threads", "match", "dtype")}
    results = Results(info, {**asdict(settings), **chosen})
    console.print(f"{info['cpu']}, {info['cores']} cores, {' '.join(info['flags'])}", highlight=False)
    roofline = _measure_limits(results, options.threads, console)
    shared = _shared(workloads)
    total, stolen = machine.cpu_times()
    try:
        with ExitStack() as stack:
            console.print(f"starting {len(options.peers) * len(options.threads)} workers")
            crews = [stack.enter_context(measure.Crew(options.peers, t, settings)) for t in options.threads]
            results.peers = crews[0].described
            for peer, described in results.peers.items():
                if "absent" in described:
                    console.print(f"{peer}: absent: {described['absent']}", highlight=False, markup=False)
            display = stack.enter_context(Display(settings.visits * len(shared), console))
            for measurement, again in measure.schedule(list(shared.values()), settings):
                display.show(measurement.workload)
                display.add(measure.visit(measurement, crews, roofline, only_noisy=again))
    except KeyboardInterrupt:
        console.print("interrupted: keeping what was measured")
    finally:
        results.rows = _rows(workloads, shared)
        now_total, now_stolen = machine.cpu_times()
        steal = (now_stolen - stolen) / (now_total - total) if now_total > total else 0.0
        noisy = measure.noisy_share(shared.values(), settings.far)
        results.noise = {"steal_share": steal, "noisy_rows": noisy}
        if results.rows:
            results.save(options.out)
    if results.rows:
        console.print(summary(results.rows))
    console.print(_verdict(results), highlight=False)
    console.print(f"results: {options.out}", highlight=False)
    return 0


def _measure_limits(
    results: Results, threads: list[int], console: Console
) -> Callable[[Workload, int], float | None]:
    try:
        counts = sorted({1, *threads, len(machine.usable_cpus())})
        results.limits = limits.measure(results.machine["flags"], counts)
    except compiling.CompileError as problem:
        console.print(f"no roofline: {problem}", markup=False)
        return lambda workload, threads: None
    found = results.limits
    isa = limits.best_isa(found)
    dtype = results.settings["dtype"]
    peaks = (f"{limits.peak(found, count, dtype):.0f} G on {count}" for count in found["isa"][isa])
    console.print(f"limits ({isa}), operations per second: {', '.join(peaks)} core(s)", highlight=False)
    cold = results.settings["cold_bytes"] > 0

    def roofline(workload: Workload, threads: int) -> float:
        # Inside a chain only the weights are cold.
        in_memory = cold and workload.chain(measure.CHAIN) is None
        return limits.roofline_us(found, workload, threads, in_memory)

    return roofline


def _workloads(options: argparse.Namespace) -> list[Workload]:
    found = [w for name in options.network for w in networks.expand(name, tuple(options.ops))]
    if getattr(options, "dtype", "") == "int8":
        found = quantized.clamped(found)
    return [w for w in found if all(text in f"{w.op} {w.shape}" for text in options.match)]


def _shared(workloads: list[Workload]) -> dict[Workload, measure.Measurement]:
    """What only differs in the network that it is of is measured once, and reported under each."""
    found: dict[Workload, measure.Measurement] = {}
    for workload in workloads:
        found.setdefault(_anonymous(workload), measure.Measurement(workload))
    return found


def _rows(workloads: list[Workload], shared: dict[Workload, measure.Measurement]) -> list[Row]:
    return [
        replace(row, network=workload.network, count=workload.count)
        for workload in workloads
        for row in shared[_anonymous(workload)].rows.values()
    ]


def _anonymous(workload: Workload) -> Workload:
    return replace(workload, network="", count=1)


def _cold_bytes() -> int:
    """Three times the outer cache (two leave some of it), but no more than is read in a tenth of a second."""
    return min(3 * max(machine.cache_sizes().values(), default=64 << 20), 512 << 20)


def _verdict(results: Results) -> str:
    steal, noisy = results.noise["steal_share"], results.noise["noisy_rows"]
    # Two runs are to agree on nine rows of ten.
    word = "quiet" if noisy < 0.1 and steal < 0.02 else "NOISY"
    uncertain = f"{noisy:.0%} of rows uncertain by more than {NOISY:.0%}"
    return f"{word} run: {uncertain}; others took {steal:.1%} of the CPU"


def _report(options: argparse.Namespace) -> int:
    from bench import report

    results = Results.load(options.results)
    if (options.also or options.name) and not options.docs:
        print("--also and --name go with --docs", file=sys.stderr)
        return 2
    name = options.results.name.removesuffix(".xz").removesuffix(".json")
    try:
        if options.docs:
            also = {path.name: Results.load(path) for path in options.also}
            written = report.write_docs(results, options.results, also, options.name or report.MAIN)
        else:
            written = report.write(results, options.out or options.results.with_name(name))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from bench import compare

    old, new = Results.load(options.old), Results.load(options.new)
    print(compare.text(old, new, options.threshold))
    return 1 if compare.changes(compare.pairs(old, new), options.threshold)["slower"].any() else 0


def _against(options: argparse.Namespace) -> int:
    trees = options.old, options.new
    if not (options.bits or options.speed):
        print("nothing to do without --bits or --speed", file=sys.stderr)
        return 2
    try:
        known = against.isas(trees[0])
        isas = options.isa or [isa for isa in known if isa in against.isas(trees[1])]
        found = [line for isa in isas for line in _bits(trees, isa, options)] if options.bits else []
        for isa in (options.isa or isas[-1:]) if options.speed else ():
            _speed(trees, isa, options)
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2
    return 1 if found else 0


def _bits(trees: against.Trees, isa: str, options: argparse.Namespace) -> list[str]:
    found = []
    for line in against.differences(trees, isa, options.seed, options.bits):
        print(line, flush=True)
        seed = line.split()[2].rstrip(":")
        print(f"    python -m bench against {trees[0]} --bits 1 --seed {seed} --isa {isa}", flush=True)
        found.append(line)
    print(f"{isa}: {len(found)} of {options.bits} calls differ")
    return found


def _speed(trees: against.Trees, isa: str, options: argparse.Namespace) -> None:
    os.environ["DWCONV_ISA"] = isa
    options.network = options.network or list({**networks.NETWORKS, **networks.APART})
    workloads = list(_shared(_workloads(options)))[:: 3 if options.quick else 1]
    seen = against.measure(workloads, trees, options.threads)
    print(f"{isa}, {options.threads} thread(s)")
    print(against.text(list(track(seen, "measuring", total=len(workloads), console=Console(stderr=True)))))


def _limits(options: argparse.Namespace) -> int:
    found = limits.measure(machine.describe()["flags"], options.threads)
    for isa, counts in found["isa"].items():
        for threads, limit in counts.items():
            dot = f", int8 {limit['dot_gops']:.1f} GOP/s" if limit.get("dot_gops") else ""
            print(f"{isa}, {threads} core(s): {limit['gflops']:.1f} GFLOP/s{dot}; GB/s read, write, copy:")
            for step in limit["bandwidth"]:
                rates = "".join(f"{step[kind] / 1e9:9.1f}" for kind in ("read", "write", "copy"))
                print(f"  {step['bytes'] >> 10:>8} KiB{rates}")
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    table, regions = calibrate.measure(list(calibrate.layers()), 2, options.seconds)
    print(calibrate.text(table, regions, 2))
    return 1 if (table["loss"] > calibrate.LOSS).any() else 0


def _scaling(options: argparse.Namespace) -> int:
    options.network = options.network or list(networks.NETWORKS)
    workloads = list(_shared(_workloads(options)))
    seen = scaling.measure(workloads, options.threads, options.seconds, options.visits)
    found = scaling.best(track(seen, "measuring", total=options.visits * len(workloads)))
    print(scaling.text(found, options.threads))
    return 0


def _cliffs(options: argparse.Namespace) -> int:
    drawn = cliffs.draw(options.seed, options.count)
    found = list(cliffs.measure(track(drawn, "measuring"), options.threads, options.seconds))
    for cliff in sorted(found, key=lambda cliff: -cliff.loss):
        print(cliffs.line(cliff))
    print(f"{len(found)} of {len(drawn)} pairs take over {cliffs.LOSS:.0%} longer than they should")
    return 0


def _gradients(options: argparse.Namespace) -> int:
    workloads = [w for w in _shared(_workloads(options)) if w.kind in gradients.LAYERS]
    for threads in options.threads:
        seen = gradients.measure(workloads, options.batch, threads, options.seconds)
        found = list(track(seen, "measuring", total=len(workloads), console=Console(stderr=True)))
        print(gradients.text(found, options.batch, threads))
    return 0


def _list(options: argparse.Namespace) -> int:
    for name in {**networks.NETWORKS, **networks.APART}:
        found = networks.expand(name)
        macs = sum(w.macs * w.count for w in found if w.kind != "blocks")
        print(f"{name:20} {len(found):3} workloads, {macs / 1e6:8.1f} M multiply-accumulates in its layers")
    for dtype in ("float32", "int8"):
        print(f"peers, {dtype}:", " ".join(defaults(dtype)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, function: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help)
        command.set_defaults(function=function)
        return command

    def select(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--network",
            type=arguments.names({**networks.NETWORKS, **networks.APART}),
            help="comma-separated; see `list`",
        )
        command.add_argument(
            "--ops",
            type=arguments.names(networks.OPS),
            default=list(networks.OPS),
            help=",".join(networks.OPS),
        )
        command.add_argument(
            "--match", action="append", default=[], metavar="TEXT", help="only shapes that contain TEXT"
        )

    run = add("run", _run, "measure, and write a file of results")
    run.add_argument(
        "--quick", action="store_true", help="the classic layers, a few minutes (default: everything)"
    )
    select(run)
    run.add_argument(
        "--peers",
        type=arguments.peers,
        help="with variants: dwconv@avx2,onednn (default: all of the dtype)",
    )
    run.add_argument("--dtype", choices=("float32", "int8"), default="float32")
    run.add_argument("--threads", type=arguments.counts, default=[1], help="comma-separated: 1,2")
    run.add_argument("--cold", action="store_true", help="evict the caches before every call")
    run.add_argument("--out", type=Path, default=Path("results") / "bench.json")
    report = add("report", _report, "tables, charts and a page from a file of results")
    report.add_argument("results", type=Path)
    report.add_argument("--out", type=Path, help="folder (default: beside the results)")
    report.add_argument(
        "--docs", action="store_true", help="write docs/performance.md instead; takes a full run only"
    )
    report.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="RESULTS",
        help="with --docs: a further result, whole or partial (cold, forced AVX2), as a section of its own",
    )
    report.add_argument("--name", help="with --docs: another page than performance, of another machine")
    compare = add("compare", _compare, "what got slower; exit code 1 if anything did")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    compare.add_argument("--threshold", type=float, default=0.05, help="share that counts beyond the noise")
    builds = add("against", _against, "two builds of the Python package: the same bits, and their times")
    builds.add_argument("old", type=Path, help="another source tree, with the extension built in its src/")
    builds.add_argument("--new", type=Path, default=compiling.ROOT, help="default: this source tree")
    builds.add_argument(
        "--bits", type=int, default=0, metavar="N", help="compare the results of N random calls"
    )
    builds.add_argument("--seed", type=int, default=0, help="of the first call; call n has seed + n")
    builds.add_argument("--speed", action="store_true", help="time layers and blocks of all networks")
    builds.add_argument("--quick", action="store_true", help="every third of them")
    builds.add_argument("--isa", action="append", help="may be repeated; default: bits all, speed the best")
    builds.add_argument("--threads", type=arguments.count, default=1, help="of --speed")
    select(builds)
    roof = add("limits", _limits, "peak and bandwidths of this machine")
    roof.add_argument("--threads", type=arguments.counts, default=sorted({1, len(machine.usable_cpus())}))
    serial = add("calibrate", _calibrate, "when two threads win, and what the library decides")
    serial.add_argument("--seconds", type=float, default=30)
    gain = add("scaling", _scaling, "what more threads gain, pair by pair")
    select(gain)
    gain.add_argument("--threads", type=arguments.count, default=2)
    gain.add_argument("--seconds", type=float, default=0.3, help="per workload and visit")
    gain.add_argument("--visits", type=int, default=3)
    steep = add("cliffs", _cliffs, "random shapes that take longer than larger ones, or than their layers")
    steep.add_argument("--seed", type=int, default=0)
    steep.add_argument("--count", type=int, default=1000)
    steep.add_argument("--threads", type=arguments.count, default=1)
    steep.add_argument("--seconds", type=float, default=0.5, help="for a pair that looks like a cliff")
    back = add("gradients", _gradients, "layers forward and backward, beside PyTorch")
    select(back)
    back.set_defaults(network=["classic"])
    back.add_argument("--batch", type=int, default=8)
    back.add_argument("--threads", type=arguments.counts, default=[1])
    back.add_argument("--seconds", type=float, default=1, help="per layer")
    whole_commands.add(add, arguments.counts)
    add("list", _list, "networks and peers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
