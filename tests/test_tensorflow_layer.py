"""`dwconv.layers.separable_conv2d`: TensorFlow 1's layer, argument for argument, and its variable scopes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import nn
from oracles import numpy_conv

separable_conv2d = dwconv.layers.separable_conv2d


@pytest.fixture(autouse=True)
def store() -> Iterator[nn.VariableStore]:
    """A store of its own for every test."""
    nn.set_seed(0)
    with nn.VariableStore().as_default() as made:
        yield made


def images(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


X = images(2, 8, 9, 3)


def test_the_signature_is_that_of_tensorflow_1() -> None:
    found = {
        name: parameter.default
        for name, parameter in inspect.signature(separable_conv2d).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    assert list(inspect.signature(separable_conv2d).parameters)[:3] == ["inputs", "filters", "kernel_size"]
    assert found == {
        "strides": (1, 1), "padding": "valid", "data_format": "channels_last", "dilation_rate": (1, 1),
        "depth_multiplier": 1, "activation": None, "use_bias": True, "depthwise_initializer": None,
        "pointwise_initializer": None, "bias_initializer": "zeros", "depthwise_regularizer": None,
        "pointwise_regularizer": None, "bias_regularizer": None, "activity_regularizer": None,
        "depthwise_constraint": None, "pointwise_constraint": None, "bias_constraint": None,
        "trainable": True, "name": None, "reuse": None,
    }  # fmt: skip
    assert list(found)[:3] == ["strides", "padding", "data_format"]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("strides", [1, (2, 1)])
@pytest.mark.parametrize("padding", ["valid", "SAME"])
def test_results_are_the_two_convolutions(
    padding: str, strides: Any, dilation: Any, store: nn.VariableStore
) -> None:
    y = separable_conv2d(
        X, 5, (3, 2), strides, padding, dilation_rate=dilation, depth_multiplier=2, activation=nn.relu,
        bias_initializer="random_normal", name="block",
    )  # fmt: skip
    depthwise = store.variables["block/depthwise_kernel"].value
    pointwise = store.variables["block/pointwise_kernel"].value
    assert depthwise.shape == (3, 2, 3, 2)
    assert pointwise.shape == (1, 1, 6, 5)
    pair = [(v, v) if isinstance(v, int) else v for v in (strides, dilation)]
    between = numpy_conv(X, depthwise.reshape(3, 2, 1, 6), pair[0], padding.lower(), pair[1], 3)
    linear = numpy_conv(between, pointwise, (1, 1), "valid", (1, 1), 1) + store.variables["block/bias"].value
    np.testing.assert_allclose(y, np.maximum(linear, 0), rtol=1e-4, atol=1e-5)


def test_keras_computes_the_same_with_the_same_weights(store: nn.VariableStore) -> None:
    tf = pytest.importorskip("tensorflow")
    y = separable_conv2d(X, 5, 3, 2, "same", depth_multiplier=2, name="block")
    expected = tf.nn.separable_conv2d(
        X, store.variables["block/depthwise_kernel"].value, store.variables["block/pointwise_kernel"].value,
        [1, 2, 2, 1], "SAME",
    )  # fmt: skip
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_channels_first_is_the_same_transposed() -> None:
    last = separable_conv2d(X, 5, 3, padding="same", name="block")
    first = separable_conv2d(
        np.ascontiguousarray(X.transpose(0, 3, 1, 2)), 5, 3, padding="same", data_format="channels_first",
        name="block", reuse=True,
    )  # fmt: skip
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_variables_have_the_dtype_of_the_inputs(dtype: Any, store: nn.VariableStore) -> None:
    y = separable_conv2d(X.astype(dtype), 5, 3, name="block")
    assert {v.dtype for v in store.variables.values()} == {y.dtype} == {np.dtype(dtype)}


def test_defaults_of_initialisers(store: nn.VariableStore) -> None:
    separable_conv2d(images(1, 8, 8, 64), 64, 3, name="block")
    pointwise = store.variables["block/pointwise_kernel"].value
    limit = np.sqrt(6 / 128)  # glorot_uniform
    assert 0.98 * limit < np.abs(pointwise).max() <= limit
    limit = np.sqrt(6 / (9 * 64 + 9))
    assert 0.98 * limit < np.abs(store.variables["block/depthwise_kernel"].value).max() <= limit
    assert not store.variables["block/bias"].value.any()


def test_no_bias(store: nn.VariableStore) -> None:
    separable_conv2d(X, 5, 3, use_bias=False, name="block")
    assert sorted(store.variables) == ["block/depthwise_kernel", "block/pointwise_kernel"]


def test_names_count_up_and_anew_in_every_visit_of_a_scope(store: nn.VariableStore) -> None:
    separable_conv2d(X, 3, 1)
    separable_conv2d(X, 3, 1)
    assert list(store.layers) == ["separable_conv2d", "separable_conv2d_1"]
    for _ in range(3):
        with nn.variable_scope("net", reuse=nn.AUTO_REUSE), nn.variable_scope("part"):
            separable_conv2d(separable_conv2d(X, 3, 1), 3, 1)
    assert list(store.layers)[2:] == ["net/part/separable_conv2d", "net/part/separable_conv2d_1"]
    assert len(store.variables) == 12


def test_names_follow_tensorflows_scopes() -> None:
    tf = pytest.importorskip("tensorflow").compat.v1
    wanted: list[str] = []
    with tf.Graph().as_default():
        for scope in ("a", "a", "b"):
            with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
                for _ in range(2):
                    with tf.variable_scope(None, default_name="separable_conv2d"):
                        wanted.append(tf.get_variable("bias", (3,)).name.removesuffix(":0"))
    found = []
    for name in ("a", "a", "b"):
        with nn.variable_scope(name, reuse=nn.AUTO_REUSE):
            for _ in range(2):
                with nn.variable_scope(None, default_name="separable_conv2d"):
                    found.append(nn.get_variable("bias", (3,)).name)
    assert found == wanted


def test_reuse_finds_the_same_variables(store: nn.VariableStore) -> None:
    first = separable_conv2d(X, 5, 3, name="block")
    with pytest.raises(ValueError, match=r"'block/depthwise_kernel' exists: pass reuse=True"):
        separable_conv2d(X, 5, 3, name="block")
    np.testing.assert_array_equal(separable_conv2d(X, 5, 3, name="block", reuse=True), first)
    np.testing.assert_array_equal(separable_conv2d(X, 5, 3, name="block", reuse=nn.AUTO_REUSE), first)
    assert len(store.variables) == 3
    with pytest.raises(
        ValueError, match=r"'other/depthwise_kernel' does not exist, and reuse=True makes none"
    ):
        separable_conv2d(X, 5, 3, name="other", reuse=True)
    with pytest.raises(ValueError, match=r"\(3, 3, 3, 1\) float32, but \(5, 5, 3, 1\) float32 is asked for"):
        separable_conv2d(X, 5, 5, name="block", reuse=True)


def test_a_layer_in_a_scope_that_reuses_does_so() -> None:
    with nn.variable_scope("net"):
        first = separable_conv2d(X, 5, 3, name="block")
    with nn.variable_scope("net", reuse=True):
        np.testing.assert_array_equal(separable_conv2d(X, 5, 3, name="block"), first)


def test_trainable_variables_and_scopes() -> None:
    with nn.variable_scope("a"):
        separable_conv2d(X, 5, 3, trainable=False)
    with nn.variable_scope("b"):
        separable_conv2d(X, 5, 3)
    names = [f"b/separable_conv2d/{name}" for name in ("depthwise_kernel", "pointwise_kernel", "bias")]
    assert [v.name for v in nn.trainable_variables()] == names
    assert nn.trainable_variables("a/") == []


def test_regularisation_losses_are_collected_once_for_each_variable(store: nn.VariableStore) -> None:
    def block() -> np.ndarray:
        return separable_conv2d(
            X, 5, 3, depthwise_regularizer="l2", pointwise_regularizer=nn.regularizers.l1(0.5),
            bias_regularizer="l1_l2", activity_regularizer=nn.regularizers.l2(0.1), bias_initializer="ones",
            name="block", reuse=nn.AUTO_REUSE,
        )  # fmt: skip

    y = block()
    block()
    v = {name.split("/")[-1]: variable.value for name, variable in store.variables.items()}
    expected = [
        0.01 * (v["depthwise_kernel"] ** 2).sum(),
        0.5 * np.abs(v["pointwise_kernel"]).sum(),
        0.01 * 5 + 0.01 * 5,
        0.1 * (y**2).sum() / 2,
    ]
    np.testing.assert_allclose(nn.get_regularization_losses(), expected, rtol=1e-5)
    with nn.GradientTape() as tape:
        block()
        total = nn.add_n(nn.get_regularization_losses("block"))
    gradients = tape.gradient(total, nn.trainable_variables())
    assert all(gradient is not None for gradient in gradients)
    assert nn.get_regularization_losses("other") == []


def test_a_program_of_tensorflow_1_trains(store: nn.VariableStore) -> None:
    """Its model is a function, called anew for each step; constraints hold, the loss falls."""
    labels = np.array([0, 1])

    def model(x: np.ndarray) -> np.ndarray:
        with nn.variable_scope("model", reuse=nn.AUTO_REUSE):
            x = separable_conv2d(
                x, 8, 3, padding="same", activation="relu", pointwise_regularizer="l2",
                depthwise_constraint="max_norm", bias_constraint="non_neg",
            )  # fmt: skip
            x = separable_conv2d(x, 2, 3, strides=2, dilation_rate=2, padding="same")
            return nn.reshape(nn.avg_pool2d(x, x.shape[1:3], 1, "VALID"), (len(x), 2))

    optimizer, losses = nn.Adam(0.05), []
    for _ in range(40):
        with nn.GradientTape() as tape:
            loss = nn.softmax_cross_entropy(model(X), labels)
            total = nn.add_n([loss, *nn.get_regularization_losses()])
        variables = nn.trainable_variables()
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < 0.1 * losses[0]
    assert store.variables["model/separable_conv2d/bias"].value.min() >= 0
    norms = np.sqrt((store.variables["model/separable_conv2d/depthwise_kernel"].value ** 2).sum(0))
    assert norms.max() <= 2 + 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size must be between 1"),
        ({"filters": 2.5}, "filters must be an integer"),
        ({"padding": "full"}, "padding must be 'valid', 'same'"),
        ({"data_format": "NHCW"}, "data_format must be"),
        ({"activation": "elu"}, "activation must be None"),
        ({"depthwise_initializer": "glorot"}, "initializer must be one of"),
        ({"depthwise_regularizer": "l7"}, "regularizer must be one of"),
        ({"bias_constraint": 3}, "constraint must be a name or a callable"),
        ({"name": "/x"}, "name must be a word"),
        ({"reuse": "yes"}, "reuse must be None, True, False or AUTO_REUSE"),
        ({"kernel_size": 20}, "the kernel spans 20x20"),
    ],
)
def test_errors_name_the_argument(arguments: dict[str, Any], message: str) -> None:
    given = {"filters": 4, "kernel_size": 3, **arguments}
    with pytest.raises((ValueError, TypeError)) as error:
        separable_conv2d(X, **given)
    assert message in str(error.value)
