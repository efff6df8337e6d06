"""`dwconv.nn`: gradients are those of finite differences, layers and optimizers those of other libraries."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import nn

LABELS = [0, 2, 1]


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def differences(loss: Callable[[], Any], variable: nn.Variable, step: float = 1e-6) -> np.ndarray:
    """The slope of a loss along up to eight elements of a variable, by central differences; others NaN."""
    old, found = variable.value, np.full(variable.shape, np.nan)
    places = np.random.default_rng(0).permutation(old.size)[:8]
    for place in places:
        values = []
        for change in (step, -step):
            moved = old.copy()
            moved.flat[place] += change
            variable.assign(moved)
            values.append(float(loss()))
        found.flat[place] = (values[0] - values[1]) / (2 * step)
    variable.assign(old)
    return found


def check(loss: Callable[[], Any], variables: list[nn.Variable]) -> None:
    with nn.GradientTape() as tape:
        value = loss()
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        numeric = differences(loss, variable)
        some = ~np.isnan(numeric)
        assert gradient.shape == variable.shape
        np.testing.assert_allclose(gradient[some], numeric[some], rtol=1e-4, atol=1e-8)


X = (3, 7, 6, 4)
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "leaky_relu": nn.leaky_relu,
    "sigmoid": nn.sigmoid,
    "tanh": nn.tanh,
    "silu": nn.silu,
    "gelu": nn.gelu,
    "gelu approximate": lambda x: nn.gelu(x, approximate=True),
    "softmax": nn.softmax,
    "softmax of rows": lambda x: nn.softmax(x, axis=1),
    "add": lambda x: nn.add(x, nn.relu(x)),
    "reduce_mean": lambda x: nn.reduce_mean(x, axis=(0, 2), keepdims=True),
    "reduce_mean of all": nn.reduce_mean,
    "reshape": lambda x: nn.reshape(x, (3, -1)),
    "max_pool2d": lambda x: nn.max_pool2d(x, 3, 2, "SAME"),
    "max_pool2d channels first": lambda x: nn.max_pool2d(x, [1, 1, 2, 3], [1, 1, 2, 1], "VALID", "NCHW"),
    "avg_pool2d": lambda x: nn.avg_pool2d(x, (3, 2), [1, 2, 1, 1], "SAME"),
    "bias_add": lambda x: nn.bias_add(x, nn.Variable(normal(4, seed=1))),
    "bias_add channels first": lambda x: nn.bias_add(x, normal(7, seed=1), "NCHW"),
    "depthwise_conv2d": lambda x: nn.depthwise_conv2d(x, normal(3, 2, 4, 2), [1, 2, 2, 1], "SAME"),
    "depthwise_conv2d NCHW": lambda x: nn.depthwise_conv2d(x, normal(3, 2, 7, 2), 1, "VALID", "NCHW", 2),
    "conv2d": lambda x: nn.conv2d(x, normal(3, 3, 4, 5), 2, "SAME", dilations=2),
    "conv2d NCHW": lambda x: nn.conv2d(x, normal(3, 3, 7, 5), 1, "SAME", "NCHW"),
    "separable_conv2d": lambda x: nn.separable_conv2d(x, normal(3, 3, 4, 1), normal(1, 1, 4, 2), 1, "VALID"),
    "separable_conv2d NCHW": lambda x: nn.separable_conv2d(
        x, normal(3, 3, 7, 1), normal(1, 1, 7, 2), 1, "SAME", "NCHW"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_functions_are_finite_differences(name: str) -> None:
    x = nn.Variable(normal(*X, seed=3))
    shape = np.shape(FUNCTIONS[name](x))
    check(lambda: nn.mean_squared_error(FUNCTIONS[name](x), normal(*shape, seed=9)), [x])


def layers() -> dict[str, nn.Layer]:
    return {
        "Conv2D": nn.Conv2D(6, (3, 2), strides=(2, 1), padding="same", groups=2, activation="silu"),
        "DepthwiseConv2D": nn.DepthwiseConv2D(3, depth_multiplier=2, dilation_rate=2, activation=nn.relu6),
        "SeparableConv2D": nn.SeparableConv2D(
            5, 3, strides=2, padding="same", dilation_rate=(1, 2), depth_multiplier=3, activation="gelu"
        ),
        "SeparableConv2D first": nn.SeparableConv2D(5, 3, data_format="channels_first", activation="tanh"),
        "Dense": nn.Dense(3, activation=("leaky_relu", 0.1)),
        "BatchNorm": nn.BatchNorm(),
        "BatchNorm plain": nn.BatchNorm(center=False, scale=False),
        "MaxPool2D": nn.MaxPool2D(2, padding="same"),
        "AveragePool2D": nn.AveragePool2D((2, 3), strides=1, padding="same"),
        "GlobalAveragePool2D": nn.GlobalAveragePool2D(),
        "Flatten": nn.Flatten(),
        "Activation": nn.Activation("hard_swish"),
        "ReLU": nn.ReLU(1.5),
        "Softmax": nn.Softmax(),
        "Residual": nn.Residual([nn.DepthwiseConv2D(3, padding="same"), nn.BatchNorm(), nn.ReLU()]),
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", layers())
def test_gradients_of_layers_are_finite_differences(name: str, training: bool) -> None:
    nn.set_seed(0)
    layer, x = layers()[name], nn.Variable(normal(*X, seed=3))
    target = normal(*layer(x, training).shape, seed=9)
    check(lambda: nn.mean_squared_error(layer(x, training), target), [x, *layer.trainable_variables])


@pytest.mark.parametrize(("labels", "smoothing"), [(LABELS, 0.0), (LABELS, 0.1), (np.abs(normal(3, 4)), 0.0)])
def test_cross_entropy_is_that_of_pytorch(labels: Any, smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    logits = normal(3, 4, seed=2)
    theirs = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(theirs, torch.tensor(labels), label_smoothing=smoothing)
    expected.backward()
    with nn.GradientTape() as tape:
        tape.watch(logits)
        loss = nn.softmax_cross_entropy(logits, labels, smoothing)
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(tape.gradient(loss, logits), theirs.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_cross_entropies_of_images_are_those_of_tensorflow() -> None:
    tf = pytest.importorskip("tensorflow")
    logits, p = normal(3, 4, seed=2), np.full((3, 4), 0.25)
    for name, labels in (
        ("sparse_softmax_cross_entropy_with_logits", np.array(LABELS)),
        ("softmax_cross_entropy_with_logits", p),
    ):
        theirs = getattr(tf.nn, name)(labels=labels, logits=logits).numpy()
        np.testing.assert_allclose(getattr(nn, name)(labels=labels, logits=logits), theirs, rtol=1e-12)


def test_batch_norm_learns_and_predicts_as_keras_does_by_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = normal(4, 5, 6, 3, seed=1) * 3 + 2
    ours, theirs = nn.BatchNorm(momentum=0.9, epsilon=1e-5), torch.nn.BatchNorm2d(3, momentum=0.1).double()
    for _ in range(3):
        y = ours(x, training=True)
        z = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2)))
        np.testing.assert_allclose(y, z.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-9, atol=1e-12)
    mean, variance = (ours.named_variables()[name].value for name in ("moving_mean", "moving_variance"))
    np.testing.assert_allclose(mean, theirs.running_mean.numpy(), rtol=1e-9)
    share = (120 - 1) / 120  # PyTorch keeps the unbiased variance, Keras the other
    expected = (theirs.running_var.numpy() - 0.9**3) * share + 0.9**3
    np.testing.assert_allclose(variance, expected, rtol=1e-9)
    before = mean.copy()
    ours(x)
    np.testing.assert_array_equal(ours.named_variables()["moving_mean"].value, before)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("function", ["max_pool2d", "avg_pool2d"])
def test_pooling_is_that_of_tensorflow(function: str, padding: str) -> None:
    tf = pytest.importorskip("tensorflow")
    x = normal(2, 8, 7, 3, dtype=np.float32)
    expected = getattr(tf.nn, function)(x, [1, 3, 2, 1], [1, 2, 2, 1], padding).numpy()
    y = getattr(nn, function)(x, [1, 3, 2, 1], [1, 2, 2, 1], padding)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_maximum_of_a_window_with_nan_is_nan() -> None:
    x = normal(1, 4, 4, 1, dtype=np.float32)
    x[0, 1, 0, 0] = np.nan
    y = nn.max_pool2d(x, 2, 2, "VALID")
    np.testing.assert_array_equal(np.isnan(y[0, ..., 0]), [[True, False], [False, False]])


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
