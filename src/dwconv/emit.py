"""From a graph to a program: what the C core computes, and where every value lies.

Values that are parts or other forms of a value are views of its memory (reshape, transpose, slice, expand).
Values that become parts of another are written there at once (`placing`). Unary and binary work in place if
nobody reads their input later. What remains to be moved is a step of kind "copy".
"""

from __future__ import annotations

from .emit_nodes import NODES
from .emit_problems import find_problems, roundings
from .emitter import Emitter
from .graph import Graph, Node, UnsupportedModel
from .placing import Home, find_homes
from .program import Program

# How much more workspace may be, so that what several nodes read is not copied into a concatenation.
MEMORY_FOR_COPIES = 1.25


def emit(graph: Graph, name: str = "network", keeps: bool = False) -> Program:
    """The program of a graph of float32 values and of 8-bit integers, before or after passes.

    `name` begins messages. `keeps`: what the graph keeps from run to run is state, instead of inputs and
    outputs. Raises UnsupportedModel with all values of other dtypes, all filters that are
    computed by other nodes, and what integers have no step for.

    >>> b = Builder()
    >>> x = b.input("x", (1, 8, 8, 4))
    >>> b.output("y", b.node("concat", x, b.node("unary", x, kind="relu"), axis=3))
    >>> [step.kind for step in emit(b.graph).steps]
    ['unary', 'copy']
    """
    problems = list(find_problems(graph))
    if problems:
        raise UnsupportedModel(name, problems)
    own, shared = (find_homes(graph, shared) for shared in (False, True))
    program = _emitted(graph, own, keeps)
    if shared != own:
        # Less is copied, and the whole of a concatenation may be alive for longer.
        other = _emitted(graph, shared, keeps)
        if other.peak() <= program.peak() * MEMORY_FOR_COPIES:
            return other
    return program


def _emitted(graph: Graph, homes: dict[str, Home], keeps: bool) -> Program:
    emitter = Emitter(graph, homes, keeps)
    computed = {node.output for node in graph.nodes}
    for output in emitter.program.outputs:
        if output not in computed:  # an input or a constant
            emitter.begin(-1, Node("reshape", (output,), output))
            emitter.give(output)
    for position, node in enumerate(graph.nodes):
        emitter.begin(position, node)
        NODES[node.op](emitter, node)
    program = emitter.finish()
    program.rounding = next(iter(roundings(graph)), "even")
    return program
