"""Einsum of one or two tensors, as a sum, a product of matrices and transpositions."""

from __future__ import annotations

import math
import re

from .channels_first import ChannelsFirst, T, UnsupportedError
from .onnx_call import Call


def einsum(call: Call) -> T:
    equation = call.text("equation").replace(" ", "")
    if not re.fullmatch(r"[a-zA-Z]*(,[a-zA-Z]*)?(->[a-zA-Z]*)?", equation):
        raise UnsupportedError(f"equation {equation!r}; letters of one or two tensors are supported")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if not arrow:
        letters = left.replace(",", "")
        result = "".join(sorted(letter for letter in letters if letters.count(letter) == 1))
    if any(len(set(term)) != len(term) for term in (*terms, result)):
        raise UnsupportedError(f"equation {equation!r}; letters once in each tensor are supported")
    if len(terms) != len(call.values) or not set(result) <= set(left):
        raise ValueError(f"equation {equation!r} does not fit {len(call.values)} tensors")
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms):
        shape = call.shape(index)
        if len(shape) != len(term) or any(
            sizes.setdefault(x, n) != n for x, n in zip(term, shape, strict=True)
        ):
            raise ValueError(
                f"equation {equation!r} does not fit {[call.shape(i) for i in range(len(terms))]}"
            )
    net = call.net
    parts = []
    for index, term in enumerate(terms):
        others = "".join(terms[:index] + terms[index + 1 :])
        parts.append(_summed(net, call.tensor(index), term, set(result + others)))
    (x, letters), *rest = parts
    for y, more in rest:
        x, letters = _product(net, x, letters, y, more, result, sizes)
    return _ordered(net, x, letters, result)


def _summed(net: ChannelsFirst, x: T, term: str, kept: set[str]) -> tuple[T, str]:
    """Without the axes that nothing else has."""
    gone = [axis for axis, letter in enumerate(term) if letter not in kept]
    return (net.reduce("sum", x, gone, False) if gone else x), "".join(x for x in term if x in kept)


def _ordered(net: ChannelsFirst, x: T, letters: str, wanted: str) -> T:
    return net.transpose(x, [letters.index(letter) for letter in wanted])


def _product(
    net: ChannelsFirst, x: T, of_x: str, y: T, of_y: str, result: str, sizes: dict[str, int]
) -> tuple[T, str]:
    """[batch, rows, inner] times [batch, inner, columns]."""
    both = [letter for letter in of_x if letter in of_y]
    batch = "".join(letter for letter in both if letter in result)
    inner = "".join(letter for letter in both if letter not in result)
    rows, columns = ("".join(x for x in term if x not in both) for term in (of_x, of_y))

    def flat(t: T, letters: str, *groups: str) -> T:
        shape = [math.prod(sizes[x] for x in group) for group in groups]
        return net.reshape(_ordered(net, t, letters, "".join(groups)), shape if batch else shape[1:])

    z = net.matmul(flat(x, of_x, batch, rows, inner), flat(y, of_y, batch, inner, columns))
    letters = batch + rows + columns
    return net.reshape(z, [sizes[letter] for letter in letters]), letters
