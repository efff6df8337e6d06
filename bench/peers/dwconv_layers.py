"""dwconv's own separate operations for what `dwconv` computes as one block: what fusing gains or costs.

Best form: one packed plan per layer, feature maps between them in two places that are allocated once, all
of it called in a loop in C. The library adds an input only inside a block, and has no pooling and no product:
the shim adds the residual, and takes the mean and scales for a squeeze-and-excite, in plain loops over the
whole map, compiled for this machine and shared by the threads; they are counted. Only for blocks.
"""

from __future__ import annotations

from bench.peers import Runner, Unsupported, dwconv
from bench.problem import Problem


class Peer(dwconv.Peer):
    fuse = False

    def prepare(self, problem: Problem) -> Runner:
        if problem.workload.op not in ("separable", "inverted_residual"):
            raise Unsupported("a single layer, as dwconv has it")
        return super().prepare(problem)
