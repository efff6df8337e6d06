"""`python -m bench whole` and `serve`: the commands for whole networks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from bench import machine, serving, training, whole, whole_integers, whole_models, whole_peers
from bench.compiling import ROOT


def add(command: Callable[..., argparse.ArgumentParser], counts: Callable[[str], list[int]]) -> None:
    every = command("whole", _whole, "whole networks, from model files and from code")
    every.add_argument("models", nargs="*", help="ONNX or TFLite files, or names of modules; default: all")
    every.add_argument(
        "--int8",
        action="store_true",
        help="networks of 8-bit integers; quantised ones are made once, in results/",
    )
    every.add_argument("--peers", type=_words, help="default: all")
    every.add_argument("--threads", type=counts, default=[1])
    every.add_argument("--seconds", type=float, default=0.5, help="per round of one network")
    every.add_argument("--rounds", type=int, default=6)
    every.add_argument("--out", type=Path, default=Path("results") / "whole.json")
    every.add_argument("--join", action="store_true", help="keep what --out has of other models and peers")
    every.add_argument(
        "--report", type=Path, metavar="RESULTS", help="measure nothing: write its page in docs/"
    )
    many = command(
        "serve", _serve, "many Python threads calling one network: requests per second, and latency"
    )
    many.add_argument("models", nargs="+", help="ONNX or TFLite files, or names of modules")
    many.add_argument("--peers", type=_words, default=list(serving.PEERS))
    many.add_argument("--callers", type=_numbers, default=[1, 2, 8], help="comma-separated")
    many.add_argument("--seconds", type=float, default=3)
    many.add_argument("--rounds", type=int, default=2)
    many.add_argument("--into", type=Path, metavar="RESULTS", help="of `whole`: joins them, for its --report")
    steps = command("training", _training, "whole steps of training, on dwconv and in PyTorch alone")
    steps.add_argument("models", nargs="*", help=f"names of modules; default: {' '.join(training.MODELS)}")
    steps.add_argument("--batch", type=_numbers, default=[1, 8, 32], help="comma-separated")
    steps.add_argument("--threads", type=counts, default=[1])
    steps.add_argument("--seconds", type=float, default=10, help="per model and batch, three rounds at least")


def _training(options: argparse.Namespace) -> int:
    found = []
    for threads in options.threads:
        models = options.models or training.MODELS
        for step in training.measure(models, options.batch, threads, options.seconds):
            found.append(step)
            print(training.text(found).splitlines()[-1], flush=True)
    print(training.text(found))
    return 0


def _whole(options: argparse.Namespace) -> int:
    if options.report:
        page = whole_integers.write_docs if options.int8 else whole.write_docs
        print(page(options.report, ROOT / "docs"))
        return 0
    console, rows = Console(width=200), list[whole.Row]()
    models = (whole_integers if options.int8 else whole_models).names(options.models)
    peers = options.peers or (whole_integers.PEERS if options.int8 else whole_peers.USUAL)
    for row in whole.measure(
        models, peers, options.threads, options.seconds, options.rounds,
        whole_integers.compare if options.int8 else None,
    ):  # fmt: skip
        rows.append(row)
        time = "" if row.ms is None else f"{row.ms:10.3f} ms"
        console.print(
            f"{row.model:36} {row.threads} {row.peer:16} {row.status:12}{time} {row.message[:100]}",
            highlight=False, markup=False,
        )  # fmt: skip
    if options.join:
        rows = whole.joined(options.out, rows)
    whole.save(rows, machine.describe(), options.out)
    console.print(whole.table(rows).round(3).to_string(), highlight=False)
    return 0


def _serve(options: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = []
    for model in whole_models.paths(options.models):
        rows += serving.measure(model, options.peers, options.callers, options.seconds, options.rounds)
    print(pd.DataFrame(rows).round(3).to_string(index=False))
    if options.into:
        whole.join_serving(options.into, rows, str(machine.describe()["commit"]))
    return 0


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
