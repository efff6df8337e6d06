"""What a call through Python costs beyond its kernel: tiny layers in a C loop, and as `layer(x, out=y)`.

    python examples/call_overhead.py

Both run one thread on one core. Times are the fastest of many rounds, in which the two take turns.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.peers import Runner, dwconv, dwconv_python
from bench.problem import make
from bench.workloads import Stage, Workload

DEPTHWISE = Stage("depthwise", 8, 8, (3, 3), activation="relu6")
POINTWISE, CONV = Stage("pointwise", 8, 8), Stage("conv", 8, 8, (3, 3))
LAYERS = {
    "DepthwiseConv2D": Workload("tiny", (DEPTHWISE,), 2, 2),
    "PointwiseConv2D": Workload("tiny", (POINTWISE,), 2, 2),
    "Conv2D": Workload("tiny", (CONV,), 2, 2),
    "SeparableConv2D": Workload("tiny", (DEPTHWISE, POINTWISE), 2, 2),
    "InvertedResidual": Workload("tiny", (POINTWISE, DEPTHWISE, POINTWISE), 2, 2, residual=True),
}


def nanoseconds(runner: Runner, loops: int) -> float:
    begin = time.perf_counter_ns()
    runner.run(loops)
    return (time.perf_counter_ns() - begin) / loops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loops", type=int, default=2000, help="calls of a round")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    from_c, from_python = dwconv.Peer("", 1), dwconv_python.Peer("", 1)
    print(f"{'on [1, 2, 2, 8]':<20}{'C loop':>10}{'Python':>10}{'overhead':>10}")
    for name, workload in LAYERS.items():
        problem = make(workload)
        c, python = from_c.prepare(problem), from_python.prepare(problem)
        rounds = [
            (nanoseconds(c, arguments.loops), nanoseconds(python, arguments.loops))
            for _ in range(arguments.rounds)
        ]
        kernel, call = (min(times) for times in zip(*rounds, strict=True))
        print(f"{name:<20}{kernel:>7.0f} ns{call:>7.0f} ns{call - kernel:>7.0f} ns")


if __name__ == "__main__":
    main()
