"""Functions and layers of `dwconv.nn`: their values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dwconv import nn
from nn_checks import check, normal

LABELS = [0, 2, 1]
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
