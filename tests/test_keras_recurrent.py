"""LSTM, GRU and SimpleRNN of Keras 3, and both directions of these, give the results of Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

test_keras = pytest.importorskip("test_keras")  # skips without Keras

from dwconv.graph import UnsupportedModel  # noqa: E402

keras, L = test_keras.keras, test_keras.L
pytestmark = pytest.mark.filterwarnings("default")

LAYERS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: L.LSTM(5),
    "lstm, its functions": lambda: L.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid"),
    "lstm, states": lambda: L.LSTM(5, return_state=True),
    "lstm, backwards": lambda: L.LSTM(5, return_sequences=True, go_backwards=True, use_bias=False),
    "gru": lambda: L.GRU(5, return_sequences=True),
    "gru, reset before": lambda: L.GRU(5, reset_after=False),
    "plain": lambda: L.SimpleRNN(4, return_sequences=True),
    "both": lambda: L.Bidirectional(L.LSTM(6, return_sequences=True)),
    "both, last": lambda: L.Bidirectional(L.GRU(6), merge_mode="ave"),
    "both, times": lambda: L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="mul"),
    "both, apart": lambda: L.Bidirectional(L.LSTM(3, return_state=True), merge_mode=None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers(name: str) -> None:
    x = keras.Input((7, 3))
    test_keras.check(keras.Model(x, LAYERS[name]()(x)))


def test_a_reader_of_text() -> None:
    """A convolution whose columns are the steps of a sequence."""
    x = keras.Input((8, 12, 3))
    y = L.Reshape((12, 16))(L.Permute((2, 1, 3))(L.Conv2D(4, 3, 2, "same")(L.UpSampling2D((1, 2))(x))))
    y = L.Dense(5, activation="softmax")(L.Bidirectional(L.LSTM(6, return_sequences=True))(y))
    test_keras.check(keras.Model(x, y))


def test_what_a_layer_begins_with_is_refused_by_name() -> None:
    x, state = keras.Input((7, 3)), keras.Input((5,))
    with pytest.raises(UnsupportedModel, match="'memory': inputs beside the first"):
        test_keras.read(keras.Model([x, state], L.GRU(5, name="memory")(x, initial_state=state)))
