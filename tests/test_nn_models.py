"""Tapes and models of `dwconv.nn`."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import nn
from nn_checks import check, normal

# ---- tapes ------------------------------------------------------------------------------------


def test_a_variable_used_twice_has_the_sum_of_both_gradients() -> None:
    w = nn.Variable(normal(2, 3))
    check(lambda: nn.mean_squared_error(nn.add(nn.sigmoid(w), nn.tanh(w)), np.zeros((2, 3))), [w])


def test_what_the_target_does_not_depend_on_has_no_gradient() -> None:
    used, other, fixed = (
        nn.Variable(np.ones(2)),
        nn.Variable(np.ones(2)),
        nn.Variable(np.ones(2), trainable=False),
    )
    with nn.GradientTape() as tape:
        nn.relu(other)
        loss = nn.mean_squared_error(nn.add(nn.relu(used), fixed), np.zeros(2))
    found = tape.gradient(loss, [used, other, fixed])
    np.testing.assert_allclose(found[0], [2, 2])
    assert found[1] is None
    assert found[2] is None


def test_arithmetic_of_numpy_is_not_on_the_tape_and_says_so() -> None:
    w = nn.Variable(np.ones(2))
    with nn.GradientTape() as tape:
        loss = nn.mean_squared_error(w, np.zeros(2)) + 1
    with pytest.raises(ValueError, match=r"sums of losses are nn\.add_n"):
        tape.gradient(loss, w)


def test_an_update_leaves_what_the_tape_recorded() -> None:
    w = nn.Variable(np.full(2, 3.0))
    with nn.GradientTape() as tape:
        loss = nn.mean_squared_error(w, np.zeros(2))
    first = tape.gradient(loss, w)
    nn.SGD(1.0).apply_gradients([(first, w)])
    np.testing.assert_array_equal(tape.gradient(loss, w), first)
    with pytest.raises(ValueError, match="read-only"):
        w.value[0] = 1


def test_tapes_of_other_threads_record_nothing_of_this_one() -> None:
    from concurrent.futures import ThreadPoolExecutor

    w = nn.Variable(np.ones(2))
    with nn.GradientTape() as tape, ThreadPoolExecutor(1) as pool:
        tape.watch(np.ones(2))
        loss = pool.submit(lambda: nn.mean_squared_error(w, np.zeros(2))).result()
    with pytest.raises(ValueError, match="not computed"):
        tape.gradient(loss, w)


# ---- models -----------------------------------------------------------------------------------


def small(dtype: Any = np.float32) -> nn.Sequential:
    nn.set_seed(0)
    model = nn.Sequential(
        [
            nn.Conv2D(8, 3, strides=2, padding="same", activation="hard_swish"),
            nn.DepthwiseConv2D(3, padding="same", use_bias=False),
            nn.BatchNorm(),
            nn.ReLU(6),
            nn.SeparableConv2D(8, 5, padding="same", dilation_rate=2, activation="relu"),
            nn.Residual([nn.Conv2D(8, 1), nn.Dropout(0.3), nn.Activation("silu")]),
            nn.MaxPool2D(2),
            nn.AveragePool2D(2, padding="same"),
            nn.Flatten(),
            nn.Dense(5, activation="tanh"),
            nn.Softmax(),
        ]
    )
    for seed in range(3):
        model(normal(4, 16, 12, 3, seed=seed, dtype=dtype), training=True)
    return model


@pytest.mark.usefixtures("backend")
def test_a_trained_model_becomes_a_network_that_predicts_the_same(tmp_path: Path) -> None:
    model = small()
    x = normal(2, 16, 12, 3, seed=8, dtype=np.float32)
    expected = model(x)
    network = model.to_network()
    np.testing.assert_allclose(network(x), expected, rtol=1e-5, atol=1e-6)
    network.save(tmp_path / "net.npz")
    np.testing.assert_allclose(dwconv.load(tmp_path / "net.npz")(x), expected, rtol=1e-5, atol=1e-6)
    products = [node for node in network._latest().graph.nodes if node.attributes.get("kind") == "mul"]
    assert not products or network.backend == "numpy"  # batch norm is folded


def test_a_trained_layer_becomes_a_packed_one() -> None:
    x = normal(2, 9, 8, 4, dtype=np.float32)
    for layer in (
        nn.Conv2D(6, 3, groups=2, activation="relu"),
        nn.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
        nn.SeparableConv2D(6, 3, padding=1, activation=("clip", -1, 1), bias_initializer="ones"),
    ):
        expected = layer(x)
        np.testing.assert_allclose(layer.to_layer()(x), expected, rtol=1e-5, atol=1e-6)


def test_dropout_keeps_the_mean_while_training_and_everything_else() -> None:
    x = np.ones((100, 1000))
    layer = nn.Dropout(0.3, seed=1)
    np.testing.assert_array_equal(layer(x), x)
    y = layer(x, training=True)
    assert abs((y == 0).mean() - 0.3) < 0.01
    np.testing.assert_allclose(y[y != 0], 1 / 0.7)


def test_weights_are_saved_by_place_and_refused_for_another_model(tmp_path: Path) -> None:
    model, other = small(), small()
    for variable in other.variables:
        variable.assign(variable.value + 1)
    x = normal(2, 16, 12, 3, dtype=np.float32)
    assert not np.allclose(model(x), other(x))
    model.save_weights(tmp_path / "weights.npz")
    other.load_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(model(x), other(x))
    with pytest.raises(ValueError, match="lacks"):
        nn.Sequential([nn.Dense(3)]).load_weights(tmp_path / "weights.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        model.save_weights(tmp_path / "weights.bin")


def test_models_can_be_copied_and_pickled() -> None:
    model, x = small(), normal(2, 16, 12, 3, dtype=np.float32)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x), model(x))
        other.variables[0].assign(other.variables[0].value + 1)
        assert not np.array_equal(other.variables[0].value, model.variables[0].value)


def test_frozen_layers_stay_as_they_are() -> None:
    model = nn.Sequential([nn.Dense(4, trainable=False), nn.BatchNorm(trainable=False), nn.Dense(2)])
    x = normal(8, 3)
    with nn.GradientTape() as tape:
        loss = nn.softmax_cross_entropy(model(x, training=True), [0, 1] * 4)
    assert [v.name.split("/")[-1] for v in model.trainable_variables] == ["kernel", "bias"]
    assert len(model.variables) == 8
    before = [v.value for v in model.variables]
    nn.SGD(1.0).apply_gradients(zip(tape.gradient(loss, model.variables), model.variables, strict=True))
    changed = [not np.array_equal(a, v.value) for a, v in zip(before, model.variables, strict=True)]
    assert changed == [False] * 6 + [True] * 2


@pytest.mark.usefixtures("backend")
def test_training_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 0.5, (64, 8, 8, 1)).astype(np.float32)
    labels = np.arange(64) % 2
    x[labels == 1, :, ::2] += 0.5  # stripes
    x[labels == 0, ::2] += 0.5
    nn.set_seed(3)
    model = nn.Sequential(
        [
            nn.SeparableConv2D(8, 3, depth_multiplier=4, activation="relu"),
            nn.GlobalAveragePool2D(),
            nn.Dense(2),
        ]
    )
    optimizer = nn.Adam(0.02)
    for _ in range(60):
        with nn.GradientTape() as tape:
            loss = nn.softmax_cross_entropy(model(x, training=True), labels)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    assert np.mean(np.argmax(model.to_network()(x), axis=1) == labels) == 1
