"""Files as TensorFlow's converter writes them; skipped where TensorFlow is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.graph import Graph
from tflite_cases import numbers
from tflite_models import agree, litert, opened

tf = pytest.importorskip("tensorflow")


def block(x: Any, outputs: int) -> Any:
    """An inverted residual with squeeze-and-excite and hard-swish."""
    channels = x.shape[-1]
    y = tf.nn.conv2d(x, numbers(1, 1, channels, 3 * channels), 1, "SAME") + numbers(3 * channels)
    y = y * tf.nn.relu6(y + 3) / 6
    y = tf.nn.relu6(tf.nn.depthwise_conv2d(y, numbers(3, 3, 3 * channels, 1), [1, 1, 1, 1], "SAME"))
    gate = tf.reduce_mean(y, [1, 2], keepdims=True)
    gate = tf.nn.sigmoid(tf.nn.conv2d(gate, 0.1 * numbers(1, 1, 3 * channels, 3 * channels), 1, "SAME"))
    return x + tf.nn.conv2d(y * gate, numbers(1, 1, 3 * channels, channels), 1, "SAME")


def classifier(x: Any) -> Any:
    y = tf.nn.relu6(tf.nn.conv2d(x, numbers(3, 3, 4, 8), 2, "SAME") + numbers(8))
    y = block(y, 8)
    y = tf.nn.max_pool2d(y, 2, 2, "VALID")
    y = tf.reshape(y, [tf.shape(y)[0], -1])
    return tf.nn.softmax(tf.matmul(y, 0.05 * numbers(128, 5)) + numbers(5))


def dilated(x: Any) -> Any:
    y = tf.nn.conv2d(x, numbers(3, 3, 4, 8), 1, "SAME", dilations=2)
    return tf.nn.depthwise_conv2d(y, numbers(3, 3, 8, 1), [1, 1, 1, 1], "VALID", dilations=[3, 3])


def sequence(x: Any) -> Any:
    y = tf.reshape(x, [-1, 256, 4])
    return tf.nn.relu(tf.nn.conv1d(y, numbers(5, 4, 8), 1, "SAME", dilations=4) + numbers(8))


def decoder(x: Any) -> Any:
    y = tf.nn.conv2d_transpose(x, numbers(3, 3, 6, 4), [1, 32, 32, 6], 2, "SAME")
    y = tf.image.resize(y, [48, 40])
    y = tf.concat([y, tf.image.resize(x, [48, 40], "nearest")], -1)
    y = tf.pad(y, [[0, 0], [1, 1], [2, 2], [0, 0]], "REFLECT")
    return y[:, ::2, 1:-1, :], tf.nn.depth_to_space(x, 2)


def products(x: Any) -> Any:
    """Dense layers over pixels, which the converter flattens; the shape of the result is computed."""
    y = tf.tensordot(tf.nn.relu(tf.tensordot(x, numbers(4, 6), 1)), numbers(6, 3), 1)
    return tf.reshape(tf.pad(y, [[0, 0], [1, 0], [0, 1], [0, 0]]), [tf.shape(y)[0], 17, -1])


def layer_norm(x: Any) -> Any:
    mean = tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True)
    y = (x - mean) * tf.math.rsqrt(variance + 1e-6) * numbers(4) + numbers(4)
    return tf.nn.gelu(y), tf.nn.leaky_relu(tf.transpose(y, [0, 3, 1, 2]), 0.1)


def converted(function: Callable[[Any], Any], batch: int | None = 1, weights: Any = None) -> bytes:
    compiled = tf.function(
        function, input_signature=[tf.TensorSpec([batch, 16, 16, 4], tf.float32, name="x")]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([compiled.get_concrete_function()])
    if weights is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [weights]
    return bytes(converter.convert())


def result(content: bytes, x: np.ndarray) -> tuple[Graph, list[np.ndarray]]:
    graph, inputs, _ = opened(content)
    name = inputs[0].name
    got = [dwconv.Network.from_tflite(content)(x)]
    got = list(got[0].values()) if isinstance(got[0], dict) else got
    agree(got, litert(content, {name: x}))
    return graph, got


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("function", [classifier, dilated, sequence, decoder, layer_norm, products])
@pytest.mark.parametrize("batch", [1, None])
def test_converted_functions_agree_with_litert(function: Callable[[Any], Any], batch: int | None) -> None:
    if function is decoder and batch is None:
        pytest.skip("its output shape is fixed")
    result(converted(function, batch), numbers(1 if batch else 3, 16, 16, 4))


@pytest.mark.filterwarnings("default")
def test_weights_in_half_precision_agree_with_litert() -> None:
    result(converted(classifier, weights=tf.float16), numbers(1, 16, 16, 4))


@pytest.mark.filterwarnings("default")
def test_a_dilated_convolution_of_the_converter_is_one_node() -> None:
    graph, _ = result(converted(dilated), numbers(1, 16, 16, 4))
    assert [node.op for node in graph.nodes] == ["conv", "conv"]
