"""Optimizers, constraints, regularisers and initialisers of `dwconv.nn` are those of Keras and PyTorch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dwconv import nn
from nn_checks import check, normal


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: nn.SGD(0.1), lambda p: ("SGD", {"lr": 0.1})),
        (lambda: nn.SGD(0.1, momentum=0.9), lambda p: ("SGD", {"lr": 0.1, "momentum": 0.9})),
        (
            lambda: nn.SGD(0.1, momentum=0.9, nesterov=True),
            lambda p: ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ),
        (lambda: nn.Adam(0.01, epsilon=1e-8), lambda p: ("Adam", {"lr": 0.01})),
        (
            lambda: nn.Adam(0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-8, weight_decay=0.1),
            lambda p: ("AdamW", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}),
        ),
    ],
)
def test_optimizers_are_those_of_pytorch(ours: Any, theirs: Any) -> None:
    torch = pytest.importorskip("torch")
    variable = nn.Variable(normal(3, 4))
    parameter = torch.nn.Parameter(torch.tensor(variable.value))
    name, options = theirs(parameter)
    optimizer, other = ours(), getattr(torch.optim, name)([parameter], **options)
    for step in range(5):
        gradient = normal(3, 4, seed=step)
        optimizer.apply_gradients([(gradient, variable)])
        parameter.grad = torch.from_numpy(gradient)
        other.step()
    np.testing.assert_allclose(variable.value, parameter.detach().numpy(), rtol=1e-9, atol=1e-12)


def test_a_schedule_is_asked_for_every_update_and_missing_gradients_change_nothing() -> None:
    asked: list[int] = []

    def rate(step: int) -> float:
        asked.append(step)
        return 0.5

    moved, still = nn.Variable(np.ones(2)), nn.Variable(np.ones(2))
    optimizer = nn.SGD(rate)
    for _ in range(2):
        optimizer.apply_gradients([(np.ones(2), moved), (None, still)])
    assert asked == [0, 1]
    np.testing.assert_array_equal(moved.value, [0, 0])
    np.testing.assert_array_equal(still.value, [1, 1])


def test_optimizers_can_be_copied_with_their_variables() -> None:
    variable, optimizer = nn.Variable(np.ones(3)), nn.Adam(0.1)
    optimizer.apply_gradients([(np.ones(3), variable)])
    other, theirs = pickle.loads(pickle.dumps((optimizer, variable)))
    for kind, mine in ((optimizer, variable), (other, theirs)):
        kind.apply_gradients([(np.full(3, 0.5), mine)])
    np.testing.assert_array_equal(variable.value, theirs.value)


def test_constraints_hold_after_every_update() -> None:
    kernel = nn.Variable(normal(3, 3, 2, 4), constraint=nn.constraints.max_norm(0.5, axis=(0, 1, 2)))
    bias = nn.Variable(normal(4), constraint="non_neg")
    unit = nn.Variable(normal(5, 2), constraint="unit_norm")
    optimizer = nn.SGD(0.1)
    for step in range(3):
        pairs = [(normal(*v.shape, seed=step), v) for v in (kernel, bias, unit)]
        optimizer.apply_gradients(pairs)
        assert np.sqrt((kernel.value**2).sum((0, 1, 2))).max() <= 0.5 + 1e-6
        assert bias.value.min() >= 0
        np.testing.assert_allclose(np.linalg.norm(unit.value, axis=0), 1, rtol=1e-6)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("max_norm", (0.7, (0, 1))), ("min_max_norm", (0.5, 0.9, 0.3, 0)), ("non_neg", ()), ("unit_norm", (1,))],
)
def test_constraints_are_those_of_keras(name: str, arguments: tuple[Any, ...]) -> None:
    keras = _keras()
    classes = {
        "max_norm": "MaxNorm",
        "min_max_norm": "MinMaxNorm",
        "non_neg": "NonNeg",
        "unit_norm": "UnitNorm",
    }
    w = normal(3, 4, 5, dtype=np.float32)
    expected = keras.ops.convert_to_numpy(getattr(keras.constraints, classes[name])(*arguments)(w))
    np.testing.assert_allclose(getattr(nn.constraints, name)(*arguments)(w), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("default")  # PyTorch's tensors and NumPy 2
@pytest.mark.parametrize("name", ["l1", "l2", "l1_l2"])
def test_regularizers_are_those_of_keras_and_have_their_gradients(name: str) -> None:
    keras = _keras()
    w = normal(3, 4, dtype=np.float32)
    theirs = keras.regularizers.L1L2(0.01, 0.01) if name == "l1_l2" else keras.regularizers.get(name)
    expected = float(keras.ops.convert_to_numpy(theirs(keras.ops.convert_to_tensor(w))))
    for ours in (nn.regularizers.get(name), nn.regularizers.get(theirs)):
        np.testing.assert_allclose(ours(w), expected, rtol=1e-6)
    model = nn.Sequential([nn.Dense(3, kernel_regularizer=name, activity_regularizer=name)])
    x = normal(5, 4)
    model(x)
    check(
        lambda: nn.add_n([nn.mean_squared_error(model(x), np.ones((5, 3))), *model.losses]), model.variables
    )


def _keras() -> Any:
    import os
    from importlib.util import find_spec

    if find_spec("keras") is None or not (find_spec("torch") or find_spec("tensorflow")):
        pytest.skip("Keras or a backend of it is not installed")
    os.environ.setdefault("KERAS_BACKEND", "torch" if find_spec("torch") else "tensorflow")
    return pytest.importorskip("keras")


def test_activity_losses_are_divided_by_the_batch_and_counted_for_every_call() -> None:
    layer = nn.Activation("linear")
    layer.activity_regularizer = nn.regularizers.l2(0.5)
    x = normal(4, 3)
    layer(x)
    np.testing.assert_allclose(layer.losses, [0.5 * (x**2).sum() / 4])
    with nn.GradientTape() as tape:
        tape.watch(x)
        layer(layer(x))
        losses = layer.losses
        total = nn.add_n(losses)
    assert len(losses) == 2
    np.testing.assert_allclose(tape.gradient(total, x), 2 * x / 4)


# ---- initialisers -----------------------------------------------------------------------------

SPREAD = {
    "random_normal": 0.05,
    "random_uniform": 0.05 / np.sqrt(3),
    "truncated_normal": 0.05 * 0.8796256610342398,
    "glorot_uniform": np.sqrt(2 / (9 * 40 + 9 * 30)),
    "glorot_normal": np.sqrt(2 / (9 * 40 + 9 * 30)),
    "he_uniform": np.sqrt(2 / (9 * 40)),
    "he_normal": np.sqrt(2 / (9 * 40)),
    "lecun_uniform": np.sqrt(1 / (9 * 40)),
    "lecun_normal": np.sqrt(1 / (9 * 40)),
}


@pytest.mark.parametrize("name", SPREAD)
def test_initialisers_have_the_variance_that_their_sources_say(name: str) -> None:
    nn.set_seed(1)
    numbers = nn.initializers.get(name)((3, 3, 40, 30))
    assert numbers.dtype == np.float32
    assert abs(numbers.mean()) < 4 * SPREAD[name] / np.sqrt(numbers.size)
    np.testing.assert_allclose(numbers.std(), SPREAD[name], rtol=0.04)
    again = nn.initializers.get(name)((3, 3, 40, 30))
    assert not np.array_equal(numbers, again)
    nn.set_seed(1)
    np.testing.assert_array_equal(numbers, nn.initializers.get(name)((3, 3, 40, 30)))
    seeded = type(nn.initializers.get(name))(seed=7)
    np.testing.assert_array_equal(seeded((3, 3)), seeded((3, 3)))


def test_truncated_numbers_stay_within_two_deviations() -> None:
    assert np.abs(nn.initializers.TruncatedNormal(stddev=0.1)((50_000,), np.float64)).max() <= 0.2


@pytest.mark.parametrize("shape", [(3, 3, 2, 30), (3, 3, 8, 4), (6, 6)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    flat = nn.initializers.Orthogonal(gain=2, seed=1)(shape, np.float64).reshape(-1, shape[-1])
    product = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


@pytest.mark.filterwarnings("default")
def test_anything_callable_initialises() -> None:
    keras = _keras()
    for identifier, expected in (
        (keras.initializers.Constant(3), 3),
        (lambda shape: np.full(shape, 4), 4),
        (lambda shape, dtype: np.full(shape, 5, dtype), 5),
        (6, 6),
        (np.full((2, 3), 7), 7),
        (nn.initializers.Ones, 1),
        ("zeros", 0),
    ):
        found = nn.initializers.get(identifier)((2, 3), np.float32)
        assert found.shape == (2, 3)
        assert np.all(found == expected), identifier


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.initializers.get("glorot"), "initializer must be one of zeros, ones"),
        (lambda: nn.initializers.get(lambda shape: np.ones(3))((2,)), "gave the shape (3,)"),
        (lambda: nn.initializers.get(object()), "must be a name, a callable or numbers"),
        (lambda: nn.initializers.VarianceScaling(0.0), "scale must be positive"),
        (lambda: nn.initializers.Orthogonal()((3,)), "at least two axes"),
        (lambda: nn.regularizers.get("l3"), "regularizer must be one of l1, l2, l1_l2"),
        (lambda: nn.regularizers.get(lambda w: 0.0), "`gradient(w)`"),
        (lambda: nn.regularizers.l2(-1), "l2 must be a finite number from 0 on"),
        (lambda: nn.constraints.get("norm"), "constraint must be one of max_norm"),
        (lambda: nn.softmax_cross_entropy(np.zeros((2, 3)), [0, 3]), "from 0 to 2, not 0 to 3"),
        (lambda: nn.softmax_cross_entropy(np.zeros((2, 3)), [[0, 1]]), "labels must be integers [batch]"),
        (lambda: nn.softmax_cross_entropy(np.zeros(3), [0]), "logits must be [batch, classes]"),
        (lambda: nn.SGD(momentum=1), "momentum must be in [0, 1)"),
        (lambda: nn.SGD().apply_gradients([(1, nn.Variable(np.ones(2)))]), "the gradient of 'variable'"),
        (lambda: nn.SGD().apply_gradients([(1, np.ones(2))]), "no trainable variable"),
        (lambda: nn.Conv2D(4, 3, groups=3)(np.ones((1, 8, 8, 4))), "groups=3 must divide 4 channels"),
        (lambda: nn.Conv2D(4, 3)(np.ones((8, 8, 4))), "inputs must have 4 axes"),
        (lambda: nn.SeparableConv2D(4, 3, activation=np.tanh), "pass its name, 'tanh'"),
        (lambda: nn.Conv2D(4, 3).to_layer(), "no variables before its first call"),
        (lambda: nn.Sequential().to_network(), "no variables before the first call"),
        (lambda: nn.Sequential([np.tanh]), "layers must be of dwconv.nn"),
        (lambda: nn.Variable(np.ones(2)).assign(np.ones(3)), "has the shape (2,), not (3,)"),
        (lambda: nn.add_n([]), "inputs is empty"),
        (lambda: nn.add(np.ones(2), np.ones(3)), "must have one shape"),
        (lambda: nn.max_pool2d(np.ones((1, 2, 2, 1)), 2, 2, 2), "windows without a pixel"),
        (lambda: nn.conv2d(np.ones((1, 2, 2, 1)), strides=1, padding="SAME"), "one of filters and filter"),
    ],
)  # fmt: skip
def test_errors_name_the_argument_and_the_rule(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert message in str(error.value)
