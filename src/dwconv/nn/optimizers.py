"""Updates of variables from gradients: `optimizer.apply_gradients(zip(gradients, variables))`.

`learning_rate` may be a number, or a function of the number of updates made so far. After every update the
constraint of the variable applies. An optimizer keeps what it needs of a variable as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..activation import Array
from .variables import Variable

LearningRate = float | Callable[[int], float]


class _Optimizer:
    learning_rate: LearningRate

    def __init__(self, learning_rate: LearningRate, weight_decay: float = 0.0) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = float(weight_decay)
        self.iterations = 0
        self._state: dict[Variable, list[Array]] = {}
        self._updates: dict[Variable, int] = {}

    def apply_gradients(self, pairs: Iterable[tuple[Any, Variable]]) -> None:
        """One update. A gradient of None, of a variable that the loss does not depend on, changes nothing.

        Raises TypeError for what is no trainable variable, ValueError for a gradient of another shape.
        """
        given = [(gradient, variable) for gradient, variable in pairs if gradient is not None]
        for gradient, variable in given:
            if not isinstance(variable, Variable) or not variable.trainable:
                raise TypeError(f"apply_gradients: {variable!r} is no trainable variable")
            if np.shape(gradient) != variable.shape:
                raise ValueError(
                    f"apply_gradients: the gradient of {variable.name!r} has the shape {np.shape(gradient)}, "
                    f"not {variable.shape}"
                )
        rate = self.learning_rate(self.iterations) if callable(self.learning_rate) else self.learning_rate
        self.iterations += 1
        for gradient, variable in given:
            self._updates[variable] = self._updates.get(variable, 0) + 1
            dtype = variable.dtype.type
            value = variable.value * dtype(1 - rate * self.weight_decay)
            value -= self._step(variable, np.asarray(gradient, dtype), float(rate))
            variable.assign(value if variable.constraint is None else variable.constraint(value))

    def _step(self, variable: Variable, gradient: Array, rate: float) -> Array:
        raise NotImplementedError

    def _kept(self, variable: Variable, count: int) -> list[Array]:
        """Arrays like the variable's, zeros at first."""
        if variable not in self._state:
            self._state[variable] = [np.zeros_like(variable.value) for _ in range(count)]
        return self._state[variable]


class SGD(_Optimizer):
    """velocity = momentum * velocity + gradient; value -= learning_rate * velocity.

    `nesterov`: gradient + momentum * velocity instead of velocity. `weight_decay`: value shrinks by the share
    learning_rate * weight_decay before. Semantics: `torch.optim.SGD`, with the decay of `AdamW`.

    >>> from dwconv import nn
    >>> v = nn.Variable(np.ones(2, np.float32))
    >>> nn.SGD(0.5).apply_gradients([(np.ones(2, np.float32), v)])
    >>> v.value
    array([0.5, 0.5], dtype=float32)
    """

    def __init__(
        self, learning_rate: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"SGD: momentum must be in [0, 1), not {momentum!r}")
        self.momentum, self.nesterov = float(momentum), bool(nesterov)

    def _step(self, variable: Variable, gradient: Array, rate: float) -> Array:
        one = gradient.dtype.type
        if not self.momentum:
            return np.asarray(gradient * one(rate))
        (velocity,) = self._kept(variable, 1)
        velocity *= one(self.momentum)
        velocity += gradient
        step = gradient + one(self.momentum) * velocity if self.nesterov else velocity
        return np.asarray(step * one(rate))


class Adam(_Optimizer):
    """Steps of the size of the learning rate, by moving means of gradients and of their squares.

    `weight_decay`: value shrinks by the share learning_rate * weight_decay before (AdamW). Semantics:
    `torch.optim.AdamW`. Sources: Kingma and Ba (ICLR 2015); Loshchilov and Hutter (ICLR 2019).
    """

    def __init__(
        self, learning_rate: LearningRate = 1e-3, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(learning_rate, weight_decay)
        if not (0 <= beta_1 < 1 and 0 <= beta_2 < 1 and epsilon > 0):
            raise ValueError("Adam: beta_1 and beta_2 must be in [0, 1) and epsilon positive")
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)

    def _step(self, variable: Variable, gradient: Array, rate: float) -> Array:
        one, count = gradient.dtype.type, self._updates[variable]
        mean, square = self._kept(variable, 2)
        mean += (gradient - mean) * one(1 - self.beta_1)
        square += (gradient * gradient - square) * one(1 - self.beta_2)
        root = np.sqrt(square) * one((1 - self.beta_2**count) ** -0.5) + one(self.epsilon)
        return np.asarray(mean / root * one(rate / (1 - self.beta_1**count)))
