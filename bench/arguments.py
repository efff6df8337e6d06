"""What arguments of `python -m bench` are made of: types for argparse."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from bench import machine
from bench.peers import MODULES, WITH_VARIANTS


def names(known: Any) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
        return chosen

    return parse


def peers(text: str) -> list[str]:
    chosen = text.split(",")
    for name, at, _ in (peer.partition("@") for peer in chosen):
        if "." in name:
            continue  # a module of the caller's
        names(MODULES)(name)
        if at and name not in WITH_VARIANTS:
            raise argparse.ArgumentTypeError(f"{name} has no variants; {', '.join(WITH_VARIANTS)} have")
    return chosen


def count(text: str) -> int:
    if not 1 <= int(text) <= len(machine.usable_cpus()):
        raise argparse.ArgumentTypeError(f"1 to {len(machine.usable_cpus())} threads can be pinned here")
    return int(text)


def counts(text: str) -> list[int]:
    return [count(part) for part in text.split(",")]
