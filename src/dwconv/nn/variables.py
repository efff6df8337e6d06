"""Variables of layers, and the store of those that functional layers find again by name.

The store has the rules of TensorFlow 1: `variable_scope` prefixes names and decides whether variables are
made or found, layers without a name are counted, and counting starts anew with every visit of a scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..activation import Array
from . import constraints, initializers, regularizers

if TYPE_CHECKING:
    from .layer import Layer


class Variable:
    """A named array that training changes.

    `value`: read-only; `assign` replaces it, so that whoever has the old one keeps it. `regularizer`: what
    its loss is, or None. `constraint`: what optimizers apply after every update, or None.

    >>> v = Variable(np.zeros(3, np.float32), name="bias")
    >>> v.assign([1, 2, 3])
    >>> v
    Variable 'bias' (3,) float32
    """

    def __init__(
        self,
        value: Any,
        trainable: bool = True,
        name: str = "variable",
        regularizer: Any = None,
        constraint: Any = None,
    ) -> None:
        self.name = name
        self.trainable = bool(trainable)
        self.regularizer = regularizers.get(regularizer)
        self.constraint = constraints.get(constraint)
        self.value: Array = _frozen(np.asarray(value, None if _is_float(value) else np.float32))

    def assign(self, value: Any) -> None:
        """Raises ValueError for another shape; numbers are converted to the dtype of the variable."""
        array = np.asarray(value)
        if array.shape != self.shape:
            raise ValueError(f"variable {self.name!r} has the shape {self.shape}, not {array.shape}")
        self.value = _frozen(array.astype(self.dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    def numpy(self) -> Array:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype) if copy else np.asarray(self.value, dtype)

    def __repr__(self) -> str:
        return f"Variable {self.name!r} {self.shape} {self.dtype}"


def _is_float(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "f" and hasattr(value, "dtype")


def _frozen(array: Array) -> Array:
    array = np.array(array)
    array.setflags(write=False)
    return array


def value_of(item: Any) -> Any:
    """A variable as its array, everything else as it is."""
    return item.value if isinstance(item, Variable) else item


# ---- the store --------------------------------------------------------------------------------


class _AutoReuse:
    def __repr__(self) -> str:
        return "AUTO_REUSE"


AUTO_REUSE = _AutoReuse()  # variables are found where they exist, and made where they do not


class _Scope(NamedTuple):
    name: str  # "" or "a/b"
    reuse: Any  # False, True, AUTO_REUSE


class VariableStore:
    """Variables and layers by name. `with store.as_default():` makes functional layers use it.

    One store belongs to one thread at a time.
    """

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.layers: dict[str, Layer] = {}
        self._counts: dict[str, int] = {}

    @contextmanager
    def as_default(self) -> Iterator[VariableStore]:
        token, scope = _default.set(self), _scope.set(_Scope("", False))
        try:
            yield self
        finally:
            _default.reset(token)
            _scope.reset(scope)

    def trainable_variables(self, scope: str | None = None) -> list[Variable]:
        """In the order of their making; `scope`: only names that begin with it."""
        found = (v for v in self.variables.values() if v.name.startswith(scope or ""))
        return [variable for variable in found if variable.trainable]

    def losses(self, scope: str | None = None) -> list[Any]:
        """What regularisers add to the loss: of each variable once, and of every result under the tape that
        records; without one, of the last result of each layer."""
        from .layer import activity_losses
        from .losses import penalty

        begin = scope or ""
        named = [v for name, v in self.variables.items() if name.startswith(begin)]
        weights = [penalty(variable) for variable in named if variable.regularizer is not None]
        layers = [layer for layer in self.layers.values() if layer.name.startswith(begin)]
        return weights + activity_losses({layer.name for layer in layers}, layers)

    def clear(self) -> None:
        """As if nothing had been made: TensorFlow 1's `tf.reset_default_graph()`."""
        self.variables.clear()
        self.layers.clear()
        self._counts.clear()

    def _unique(self, prefix: str) -> str:
        name, number = prefix, 0
        while self._counts.get(name, 0):
            number += 1
            name = f"{prefix}_{number}"
        return name

    def _enter(self, name: str) -> None:
        self._counts[name] = self._counts.get(name, 0) + 1

    def _leave(self, name: str) -> None:
        """The next visit counts what it contains from the start."""
        for other in self._counts:
            if other.startswith(f"{name}/"):
                self._counts[other] = 0


_default: ContextVar[VariableStore | None] = ContextVar("dwconv.nn.store", default=None)
_scope: ContextVar[_Scope | None] = ContextVar("dwconv.nn.scope", default=None)
_global = VariableStore()


def default_store() -> VariableStore:
    """The store of functional layers: that of `as_default`, or the one of the process."""
    return _default.get() or _global


def current_scope() -> _Scope:
    return _scope.get() or _Scope("", False)


@contextmanager
def variable_scope(
    name: str | None = None, default_name: str | None = None, reuse: Any = None
) -> Iterator[str]:
    """Names inside begin with this one. Semantics: TensorFlow 1's `tf.variable_scope`.

    `default_name`: where `name` is None, this name with a number that makes it new. `reuse`: True finds
    variables that exist, `AUTO_REUSE` makes those that do not, False and None do as the scope outside.
    Gives the whole name.

    >>> from dwconv import nn
    >>> with nn.VariableStore().as_default(), nn.variable_scope("net"), nn.variable_scope("block") as name:
    ...     name
    'net/block'
    """
    if (name or default_name) is None:
        raise ValueError("variable_scope: it needs a name or a default_name")
    if name is not None and (not isinstance(name, str) or not name or name != name.strip("/")):
        raise ValueError(f"variable_scope: name must be a word without '/' at its ends, not {name!r}")
    if reuse not in (None, False, True, AUTO_REUSE):
        raise ValueError(f"variable_scope: reuse must be None, True, False or AUTO_REUSE, not {reuse!r}")
    store, outer = default_store(), current_scope()
    prefix = f"{outer.name}/" if outer.name else ""
    if name is None:
        if reuse is True:
            raise ValueError("variable_scope: reuse=True needs the name of what is to be found")
        full = store._unique(f"{prefix}{default_name}")
    else:
        full = prefix + name
    store._enter(full)
    token = _scope.set(_Scope(full, reuse or outer.reuse))
    try:
        yield full
    finally:
        _scope.reset(token)
        store._leave(full)


def get_variable(
    name: str,
    shape: Sequence[int],
    dtype: Any = np.float32,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    constraint: Any = None,
) -> Variable:
    """The variable of this name in the scope, made or found as the scope says.

    `initializer`: a name, a callable or an array, as for `dwconv.nn.initializers.get`; None:
    "glorot_uniform". Semantics: TensorFlow 1's `tf.get_variable`. Raises ValueError for one that exists and
    may not, does not and should, or has another shape or dtype.
    """
    store, scope = default_store(), current_scope()
    full = f"{scope.name}/{name}" if scope.name else name
    sizes, kind = tuple(int(size) for size in shape), np.dtype(dtype)
    if full in store.variables:
        if scope.reuse is False:
            raise ValueError(
                f"variable {full!r} exists: pass reuse=True or reuse=nn.AUTO_REUSE to use it again, or "
                "another name"
            )
        found = store.variables[full]
        if (found.shape, found.dtype) != (sizes, kind):
            raise ValueError(
                f"variable {full!r} is {found.shape} {found.dtype}, but {sizes} {kind} is asked for"
            )
        return found
    if scope.reuse is True:
        raise ValueError(f"variable {full!r} does not exist, and reuse=True makes none: pass nn.AUTO_REUSE")
    value = initializers.get(initializer)(sizes, kind)
    store.variables[full] = Variable(value, trainable, full, regularizer, constraint)
    return store.variables[full]


def trainable_variables(scope: str | None = None) -> list[Variable]:
    """Of the default store."""
    return default_store().trainable_variables(scope)


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    """Of the default store, under the tape that records: for `nn.add_n([loss, *these])`."""
    return default_store().losses(scope)


def reset_default_graph() -> None:
    """Empties the default store."""
    default_store().clear()
