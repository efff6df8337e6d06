"""Layers of `dwconv.keras` give the results of Keras's, in a `keras.Model`, on whichever backend is there.

Without KERAS_BACKEND this is PyTorch; TensorFlow runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv

if find_spec("keras") is None or not (find_spec("torch") or find_spec("tensorflow")):
    pytest.skip("Keras or a backend of it is not installed", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "torch" if find_spec("torch") else "tensorflow")

import keras

import dwconv.keras

pytestmark = pytest.mark.filterwarnings("default")
L, D = keras.layers, dwconv.keras
X = np.random.default_rng(0).standard_normal((4, 13, 10, 3), np.float32)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The layers that dwconv computed."""
    found: list[Any] = []
    predicted = D._predicted

    def noted(layer: Any, *arguments: Any) -> Any:
        found.append(layer)
        return predicted(layer, *arguments)

    monkeypatch.setattr(D, "_predicted", noted)
    return found


def numpy(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


def model() -> Any:
    """Keras's own, with biases that are not zero."""
    bias: Any = {"bias_initializer": "random_normal"}
    return keras.Sequential(
        [
            L.Input(X.shape[1:]),
            L.SeparableConv2D(6, 3, strides=2, padding="same", depth_multiplier=2, activation="relu", **bias),
            L.DepthwiseConv2D((3, 2), padding="valid", activation="gelu", **bias),
            L.BatchNormalization(),
            L.SeparableConv2D(5, 2, dilation_rate=(1, 2), padding="same", use_bias=False),
            L.GlobalAveragePooling2D(),
            L.Dense(4),
        ]
    )


def on_dwconv(layer: Any) -> Any:
    """For `keras.models.clone_model`: weights are shared, and layers that dwconv does not have."""
    exchanged = {L.SeparableConv2D: D.SeparableConv2D, L.DepthwiseConv2D: D.DepthwiseConv2D}
    return exchanged[type(layer)].from_layer(layer) if type(layer) in exchanged else layer


LAYERS = [
    ("SeparableConv2D", {"filters": 6, "kernel_size": 3}),
    ("SeparableConv2D", {"filters": 6, "kernel_size": (3, 2), "strides": 2, "padding": "same"}),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 3, "depth_multiplier": 3, "activation": "relu6"}),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 2, "dilation_rate": (2, 3), "use_bias": False}),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "activation": "hard_silu"}),
    ("DepthwiseConv2D", {"kernel_size": (2, 5), "strides": 2, "padding": "same", "depth_multiplier": 2}),
    ("DepthwiseConv2D", {"kernel_size": 3, "dilation_rate": 2, "use_bias": False, "activation": "elu"}),
    ("DepthwiseConv2D", {"kernel_size": 1, "activation": "leaky_relu"}),
]


@pytest.mark.parametrize(("name", "options"), LAYERS)
def test_results_are_those_of_keras_with_the_same_weights(name: str, options: Any, runs: list[Any]) -> None:
    theirs = getattr(L, name)(bias_initializer="random_normal", **options)
    expected = numpy(theirs(X))
    copied = getattr(D, name)(bias_initializer="zeros", **options)
    copied.build(X.shape)
    copied.set_weights(theirs.get_weights())
    shared = getattr(D, name).from_layer(theirs)
    keras.backend.clear_session()
    for layer in (copied, shared):
        y = keras.ops.convert_to_numpy(keras.ops.stop_gradient(_without_gradients(layer, X)))
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert len(runs) >= 2
    assert tuple(copied.compute_output_shape(X.shape)) == expected.shape


def _without_gradients(layer: Any, x: np.ndarray) -> Any:
    if keras.backend.backend() != "torch":
        return layer(x)
    import torch

    with torch.no_grad():
        return layer(x)


def test_a_model_predicts_the_same_with_shared_weights(runs: list[Any]) -> None:
    theirs = model()
    ours = keras.models.clone_model(theirs, clone_function=on_dwconv)
    np.testing.assert_allclose(ours.predict(X, verbose=0), theirs.predict(X, verbose=0), rtol=1e-4, atol=1e-5)
    assert {type(layer) for layer in runs} == {D.SeparableConv2D, D.DepthwiseConv2D}
    assert all(a is b for a, b in zip(ours.weights, theirs.weights, strict=True))
    theirs.layers[0].depthwise_kernel.assign(np.zeros_like(numpy(theirs.layers[0].depthwise_kernel)))
    np.testing.assert_allclose(ours.predict(X, verbose=0), theirs.predict(X, verbose=0), rtol=1e-4, atol=1e-5)


def test_training_works_and_agrees() -> None:
    theirs, labels = model(), np.array([0, 1, 2, 3])
    theirs.optimizer = None
    ours = keras.models.clone_model(theirs, clone_function=on_dwconv)
    weights, found = theirs.get_weights(), []
    for module in (theirs, ours):
        module.set_weights(weights)
        module.compile(
            keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        module.fit(X, labels, epochs=3, batch_size=4, shuffle=False, verbose=0)
        found.append(module.get_weights())
    for mine, other, before in zip(found[1], found[0], weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4)
        assert not np.array_equal(mine, before)


def test_models_are_saved_and_loaded(tmp_path: Path, runs: list[Any]) -> None:
    ours = keras.models.clone_model(model(), clone_function=on_dwconv)
    expected = ours.predict(X, verbose=0)
    ours.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    runs.clear()
    np.testing.assert_allclose(again.predict(X, verbose=0), expected, rtol=1e-5, atol=1e-6)
    assert len(runs) == 3


def test_what_dwconv_does_not_have_is_keras_and_it_is_said_once() -> None:
    layer = D.DepthwiseConv2D(3, dtype="float64")
    with pytest.warns(dwconv.PerformanceWarning, match="the dtype is float64"):
        y = layer(X.astype(np.float64))
    theirs = L.DepthwiseConv2D(3, dtype="float64")
    theirs.build(X.shape)
    theirs.set_weights(layer.get_weights())
    np.testing.assert_allclose(numpy(y), numpy(theirs(X.astype(np.float64))), rtol=1e-9)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="TensorFlow has no such convolution on CPUs")
def test_channels_first_is_keras() -> None:
    layer = D.SeparableConv2D(4, 3, data_format="channels_first")
    with pytest.warns(dwconv.PerformanceWarning, match="dwconv takes 'channels_last'"):
        assert layer(X.transpose(0, 3, 1, 2)).shape == (4, 4, 11, 8)


def test_layers_without_weights_or_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="has no weights yet"):
        D.DepthwiseConv2D.from_layer(L.DepthwiseConv2D(3))
    with pytest.raises(TypeError, match=r"must be a keras\.layers\.SeparableConv2D"):
        D.SeparableConv2D.from_layer(L.DepthwiseConv2D(3))


def test_models_become_networks() -> None:
    """`from_keras` reads these layers as it reads Keras's."""
    ours = keras.models.clone_model(model(), clone_function=on_dwconv)
    network = dwconv.Network.from_keras(ours)
    np.testing.assert_allclose(network(X), ours.predict(X, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="it is the backend of this process")
def test_the_same_on_the_tensorflow_backend() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout
