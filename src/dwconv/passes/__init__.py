"""Rewrites of a `Graph`: what a model file says, as the few operations that run fast.

Each pass changes a graph in place and keeps what it computes, for the shapes that its values have;
`run_passes` runs all of them, in order, on a copy. A node that stands for several is called "a + b + c".
"""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Graph
from .activations import fuse_activations
from .blocks import Log, form_blocks
from .dead import drop_dead
from .fold import fold, unfolded
from .identities import drop_identities
from .integers import join_integers
from .lookups import fuse_lookups
from .reasons import reasons
from .spellings import normalise

__all__ = [
    "PASSES",
    "drop_dead",
    "drop_identities",
    "fold",
    "form_blocks",
    "fuse_activations",
    "fuse_lookups",
    "join_integers",
    "normalise",
    "run_passes",
    "text",
]


def _fold(graph: Graph, log: Log) -> None:
    fold(graph)
    unfolded(graph, log)


def _join_integers(graph: Graph, log: Log) -> None:
    join_integers(graph)
    reasons(graph, log)


PASSES: tuple[tuple[str, Callable[[Graph, Log], None]], ...] = (
    ("drop identities", lambda graph, log: drop_identities(graph)),
    ("join integers", _join_integers),
    ("normalise spellings", lambda graph, log: normalise(graph)),
    ("fold constants", _fold),
    ("fuse activations", lambda graph, log: fuse_activations(graph)),
    ("fuse lookups", lambda graph, log: fuse_lookups(graph)),
    ("form blocks", form_blocks),
    ("drop dead", lambda graph, log: drop_dead(graph)),
)


def run_passes(
    graph: Graph, *, log: Log | None = None, trace: Callable[[str, Graph], None] | None = None
) -> Graph:
    """The same network in fewer nodes; `graph` stays as it is.

    The result holds for the shapes of `graph` alone. `log` gets (name of a node, why it was not fused);
    `trace` is called after each pass with its name and the graph so far, for example to print `text(graph)`.
    """
    result = graph.copy()
    notes: Log = [] if log is None else log
    for name, apply in PASSES:
        apply(result, notes)
        if trace is not None:
            trace(name, result)
    return result


def text(graph: Graph) -> str:
    """One line per node: value, shape, operation, inputs, attributes that matter."""
    lines = []
    for node in graph.nodes:
        inputs = ", ".join(
            name if graph.values[name].data is None else f"{graph.values[name].shape}" for name in node.inputs
        )
        settings = ", ".join(
            f"{key}={_word(value)}" for key, value in node.attributes.items() if value is not None
        )
        lines.append(f"{node.output} {graph.values[node.output].shape} = {node.op}({inputs}; {settings})")
    return "\n".join(lines)


def _word(value: object) -> str:
    kind = getattr(value, "kind", None)
    return str(value) if kind is None else str(kind)
