"""The source of a `forward`, with calls of parts in a chain made one call.

`self.relu(self.norm(self.conv(x)))`, and the same as assignments to one variable one after another, says that
nobody else sees what is between the parts, whatever branches are taken. Such a chain becomes
`run((self.relu, self.norm, self.conv), x)`, in the order in which Python looks parts up; everything else of
the function is as it was. What cannot be read, or could mean something else, is left.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache, reduce
from types import FunctionType
from typing import Any, NamedTuple

from torch import nn

RUN = "_dwconv_run"
# What such a class must not have of its own, as its place is taken by a subclass.
MAKING = {"__new__", "__init_subclass__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__"}
FUTURES = reduce(int.__or__, (getattr(__future__, n).compiler_flag for n in __future__.all_feature_names))


class Rewritten(NamedTuple):
    """`forward`: None where there are no chains, the names of parts, each in the order of calls."""

    forward: Callable[..., Any] | None
    chains: tuple[tuple[str, ...], ...]


NOTHING = Rewritten(None, ())


@cache
def rewritten(cls: type[nn.Module], run: Callable[[Any, Any], Any]) -> Rewritten:
    """The `forward` of a class with `run(parts, x)` for every chain, parts in the order of calls."""
    plain = cls.forward
    if not isinstance(plain, FunctionType) or not _is_ordinary(cls) or not _is_simple(plain):
        return NOTHING
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    except (OSError, SyntaxError, TypeError, ValueError):
        return NOTHING  # as for what was typed at a prompt
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or not _is_clear(function, plain):
        return NOTHING
    chains = _Chains(function.args.args[0].arg)
    chains.generic_visit(function)
    if not chains.found:
        return NOTHING
    made = _compiled(function, plain, lambda parts, x: run(parts[::-1], x))
    return Rewritten(made, tuple(chains.found))


def _is_ordinary(cls: type) -> bool:
    between = cls.__mro__[: cls.__mro__.index(nn.Module)]
    return type(cls) is type and not any(MAKING & vars(c).keys() for c in between)


def _is_simple(function: FunctionType) -> bool:
    code = function.__code__
    return not (code.co_freevars or code.co_cellvars or hasattr(function, "__wrapped__"))


def _is_clear(function: ast.FunctionDef, plain: FunctionType) -> bool:
    """Whether names mean outside of the class what they mean in it, and `self` is one thing throughout."""
    if function.decorator_list or function.name != plain.__name__ or not function.args.args:
        return False
    me = function.args.args[0].arg
    for node in ast.walk(function):
        names = [getattr(node, field, None) for field in ("id", "attr", "arg", "name")]
        if any(isinstance(n, str) and n.startswith("__") and not n.endswith("__") for n in names):
            return False  # Python would put the name of the class before it
        if isinstance(node, ast.Name) and node.id == me and not isinstance(node.ctx, ast.Load):
            return False
        if node is not function and isinstance(
            node,
            ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.Global | ast.Nonlocal
            | ast.Yield | ast.YieldFrom | ast.NamedExpr,
        ):  # fmt: skip
            return False
    return True


class _Chains(ast.NodeTransformer):
    """Finds calls of parts of `me`, and makes chains of them one call."""

    def __init__(self, me: str) -> None:
        self.me = me
        self.found: list[tuple[str, ...]] = []

    def _parts(self, node: Any) -> tuple[list[ast.Attribute], Any]:
        """What is called, the last one first, and with what."""
        parts = []
        while (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == self.me
            and len(node.args) == 1
            and not isinstance(node.args[0], ast.Starred)
            and not node.keywords
        ):
            parts.append(node.func)
            node = node.args[0]
        return parts, node

    def visit_Call(self, node: ast.Call) -> Any:
        parts, x = self._parts(node)
        if len(parts) < 2:
            return self.generic_visit(node)
        self.found.append(tuple(part.attr for part in reversed(parts)))
        tuple_of_parts = ast.Tuple(list(parts), ast.Load())
        made = ast.Call(ast.Name(RUN, ast.Load()), [tuple_of_parts, self.visit(x)], [])
        return ast.copy_location(made, node)

    def generic_visit(self, node: ast.AST) -> Any:
        for field in ("body", "orelse"):
            block = getattr(node, field, None)
            if isinstance(block, list) and not hasattr(node, "handlers"):  # of `try`, which see variables
                setattr(node, field, self._joined(block))
        return super().generic_visit(node)

    def _joined(self, body: list[Any]) -> list[Any]:
        """`x = self.a(y)` and, next, `x = self.b(x)` as `x = self.b(self.a(y))`."""
        made: list[Any] = []
        for statement in body:
            innermost = self._continues(made[-1], statement) if made else None
            if innermost is not None:
                innermost.args = [made.pop().value]
            made.append(statement)
        return made

    def _continues(self, before: Any, statement: Any) -> ast.Call | None:
        """The innermost call of `statement`, which takes what `before` assigned."""
        if not all(isinstance(s, ast.Assign) and len(s.targets) == 1 for s in (before, statement)):
            return None
        names = before.targets[0], statement.targets[0], self._parts(statement.value)[1]
        if not all(isinstance(name, ast.Name) and name.id == names[0].id for name in names):
            return None
        if not self._parts(before.value)[0] or not self._parts(statement.value)[0]:
            return None
        call = statement.value
        while isinstance(call.args[0], ast.Call):
            call = call.args[0]
        return call  # type: ignore[no-any-return]


def _compiled(function: ast.FunctionDef, plain: FunctionType, run: Callable[..., Any]) -> Callable[..., Any]:
    """The function, in the module of the plain one; `run` is known to it alone."""
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        argument.annotation = None
    for special in (arguments.vararg, arguments.kwarg):
        if special is not None:
            special.annotation = None
    function.returns = None
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [None if d is None else ast.Constant(None) for d in arguments.kw_defaults]
    tree = ast.parse(f"def make({RUN}):\n    return {function.name}")
    tree.body[0].body.insert(0, function)  # type: ignore[attr-defined]
    ast.increment_lineno(function, plain.__code__.co_firstlineno - 1)
    flags = plain.__code__.co_flags & FUTURES
    code = compile(ast.fix_missing_locations(tree), plain.__code__.co_filename, "exec", flags, True)
    names: dict[str, Any] = {}
    exec(code, plain.__globals__, names)
    made: Any = names["make"](run)
    for name in (
        "__defaults__",
        "__kwdefaults__",
        "__annotations__",
        "__qualname__",
        "__doc__",
        "__module__",
    ):
        setattr(made, name, getattr(plain, name))
    return made  # type: ignore[no-any-return]
