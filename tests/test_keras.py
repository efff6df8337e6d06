"""Keras 3 models, layers and blocks give the results of Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.graph import Graph, UnsupportedModel, rebuilt
from dwconv.nodes_numpy import compute

if find_spec("keras") is None or not (find_spec("torch") or find_spec("tensorflow")):
    pytest.skip("Keras or a backend of it is not installed", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", "torch" if find_spec("torch") else "tensorflow")

import keras

from dwconv.importers.keras import from_keras, read

pytestmark = pytest.mark.filterwarnings("default")
MODELS = Path(__file__).parents[2] / "shared" / "models"
L = keras.layers
rng = np.random.default_rng(0)


def ran(graph: Graph, inputs: list[np.ndarray]) -> list[np.ndarray]:
    known = {name: value.data for name, value in graph.values.items() if value.data is not None}
    known |= dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        known[node.output] = compute(node, [known[name] for name in node.inputs])
    return [known[name] for name in graph.outputs]


def numbers(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same weights and inputs for a test, whichever run before it."""
    global rng
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)


def varied(model: Any) -> Any:
    """Biases and statistics that are not what they start with."""
    for weight in model.weights:
        name = weight.path.split("/")[-1]
        if name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif name in ("beta", "bias", "moving_mean", "alpha", "scale", "factor"):
            weight.assign(rng.uniform(-0.3, 0.3, weight.shape))
    return model


def told(model: Any, *inputs: np.ndarray) -> list[np.ndarray]:
    y = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
    return [keras.ops.convert_to_numpy(item) for item in keras.tree.flatten(y)]


def agree(got: list[np.ndarray], expected: list[np.ndarray], tolerance: float = 2e-5) -> None:
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


def check(model: Any, batch: int = 2) -> Graph:
    """For the batch of the graph, and for another."""
    graph, infos, outputs = read(varied(model))
    for n in (1, batch):
        shapes = {info.name: (n, *graph.values[info.name].shape[1:]) for info in infos}
        inputs = [numbers(*shape) for shape in shapes.values()]
        got = ran(rebuilt(graph, shapes), inputs)
        expected = told(model, *inputs)
        agree(got, expected)
        net = dwconv.Network.from_keras(model).bind(shapes)
        found = net(*inputs)
        agree(list(found.values()) if isinstance(found, dict) else [found], expected)
        for info, y in zip(outputs, got, strict=True):
            assert all(size in (None, found) for size, found in zip(info.shape, y.shape, strict=True))
    return graph


# ---- layers -------------------------------------------------------------------------------------

IMAGE, SEQUENCE, VECTOR = (9, 8, 6), (12, 6), (10,)
Made = Callable[[], Any]
CASES: dict[str, tuple[tuple[int, ...], Made]] = {
    "conv": (IMAGE, lambda: L.Conv2D(4, 3, 2, "same", activation="relu6")),
    "conv, groups": (IMAGE, lambda: L.Conv2D(4, (3, 2), groups=2, use_bias=False)),
    "conv, dilation": (IMAGE, lambda: L.Conv2D(4, 3, dilation_rate=(2, 3), padding="same")),
    "conv, layer as activation": (IMAGE, lambda: L.Conv2D(4, 3, activation=L.LeakyReLU(negative_slope=0.3))),
    "conv, function as activation": (IMAGE, lambda: L.Conv2D(4, 3, activation=lambda x: keras.ops.exp(-x))),
    "conv, sequence": (SEQUENCE, lambda: L.Conv1D(4, 3, 2, "same", activation="elu")),
    "conv, causal": (SEQUENCE, lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2)),
    "depthwise": (IMAGE, lambda: L.DepthwiseConv2D(3, 2, "same", depth_multiplier=2, activation="relu")),
    "depthwise, sequence": (SEQUENCE, lambda: L.DepthwiseConv1D(3, padding="same", depth_multiplier=2)),
    "separable": (IMAGE, lambda: L.SeparableConv2D(4, 3, 2, "same", depth_multiplier=2, activation="tanh")),
    "separable, sequence": (SEQUENCE, lambda: L.SeparableConv1D(4, 3)),
    "transposed, same": (IMAGE, lambda: L.Conv2DTranspose(4, 4, 2, "same", activation="sigmoid")),
    "transposed, valid": (IMAGE, lambda: L.Conv2DTranspose(4, 3, 2)),
    "transposed, gaps": (IMAGE, lambda: L.Conv2DTranspose(4, 2, 3)),
    "transposed, dilation": (IMAGE, lambda: L.Conv2DTranspose(4, 3, dilation_rate=2, padding="same")),
    "transposed, sequence": (SEQUENCE, lambda: L.Conv1DTranspose(4, 4, 2, "same")),
    "dense": (VECTOR, lambda: L.Dense(5, "softmax")),
    "dense, sequence": (SEQUENCE, lambda: L.Dense(5, "gelu")),
    "dense, image": (IMAGE, lambda: L.Dense(5, "hard_sigmoid")),
    "batch norm": (IMAGE, lambda: L.BatchNormalization()),
    "batch norm, alone": (IMAGE, lambda: L.BatchNormalization(center=False, scale=False)),
    "batch norm, axis": (IMAGE, lambda: L.BatchNormalization(axis=1)),
    "layer norm": (IMAGE, lambda: L.LayerNormalization(epsilon=1e-6)),
    "layer norm, axes": (IMAGE, lambda: L.LayerNormalization(axis=[1, 2, 3])),
    "layer norm, plain": (VECTOR, lambda: L.LayerNormalization(center=False, scale=False)),
    "group norm": (IMAGE, lambda: L.GroupNormalization(3)),
    "rms norm": (SEQUENCE, lambda: L.RMSNormalization()),
    "unit norm": (SEQUENCE, lambda: L.UnitNormalization()),
    "rescaling": (IMAGE, lambda: L.Rescaling(1 / 127.5, -1.0)),
    "rescaling, per channel": (IMAGE, lambda: L.Rescaling([1.0, 2, 3, 4, 5, 6], [0.0, 1, 2, 3, 4, 5])),
    "normalization": (IMAGE, lambda: L.Normalization(mean=[1.0] * 6, variance=[1.0, 2, 3, 4, 5, 6])),
    "normalization, back": (IMAGE, lambda: L.Normalization(mean=2.0, variance=4.0, axis=None, invert=True)),
    "max pool": (IMAGE, lambda: L.MaxPooling2D(3, 2, "same")),
    "max pool, sequence": (SEQUENCE, lambda: L.MaxPooling1D(2)),
    "average pool": (IMAGE, lambda: L.AveragePooling2D((3, 2), (2, 1), "valid")),
    "average pool, sequence": (SEQUENCE, lambda: L.AveragePooling1D(2)),
    "global average": (IMAGE, lambda: L.GlobalAveragePooling2D(keepdims=True)),
    "global average, sequence": (SEQUENCE, lambda: L.GlobalAveragePooling1D()),
    "global max": (IMAGE, lambda: L.GlobalMaxPooling2D()),
    "zero padding": (IMAGE, lambda: L.ZeroPadding2D(((0, 1), (2, 3)))),
    "zero padding, sequence": (SEQUENCE, lambda: L.ZeroPadding1D((1, 2))),
    "cropping": (IMAGE, lambda: L.Cropping2D(((1, 0), (2, 3)))),
    "upsampling": (IMAGE, lambda: L.UpSampling2D((2, 3))),
    "upsampling, bilinear": (IMAGE, lambda: L.UpSampling2D((2, 3), interpolation="bilinear")),
    "upsampling, sequence": (SEQUENCE, lambda: L.UpSampling1D(3)),
    "flatten": (IMAGE, lambda: L.Flatten()),
    "reshape": (IMAGE, lambda: L.Reshape((-1, 12))),
    "permute": (IMAGE, lambda: L.Permute((3, 1, 2))),
    "repeat vector": (VECTOR, lambda: L.RepeatVector(3)),
    "relu": (IMAGE, lambda: L.ReLU()),
    "relu, leaky and bounded": (IMAGE, lambda: L.ReLU(max_value=1.5, negative_slope=0.2)),
    "relu, bounded": (IMAGE, lambda: L.ReLU(max_value=1.5)),
    "leaky relu": (IMAGE, lambda: L.LeakyReLU()),
    "prelu": (IMAGE, lambda: L.PReLU(shared_axes=[1, 2])),
    "elu": (IMAGE, lambda: L.ELU(0.7)),
    "softmax": (IMAGE, lambda: L.Softmax(axis=-2)),
    "dropout": (IMAGE, lambda: L.SpatialDropout2D(0.5)),
    **{
        f"activation {name}": (IMAGE, lambda name=name: L.Activation(name))  # type: ignore[misc]
        for name in [
            "relu", "relu6", "sigmoid", "tanh", "silu", "hard_silu", "hard_sigmoid", "gelu", "selu", "mish",
            "softplus", "softsign", "exponential", "log_softmax", "leaky_relu", "linear", "log_sigmoid",
            "hard_tanh",
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_layer_agrees_with_keras(name: str) -> None:
    shape, make = CASES[name]
    x = keras.Input(shape)
    check(keras.Model(x, make()(x)))


@pytest.mark.parametrize(
    "layer", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]
)
def test_merging_agrees_with_keras(layer: str) -> None:
    a, b = keras.Input(IMAGE), keras.Input(IMAGE)
    check(keras.Model([a, b], getattr(L, layer)()([a, b])))


def test_tensors_of_other_ranks_are_broadcast_as_keras_does() -> None:
    a, b = keras.Input(IMAGE), keras.Input((6,))
    check(keras.Model([a, b], L.Multiply()([a, b])))


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "arithmetic": lambda k, x: (x * 2 - 1) / (k.absolute(x) + 3) + (1 - x),
    "bounds": lambda k, x: k.minimum(k.maximum(x, -0.5), k.clip(x, -1, 0.7)),
    "reductions": lambda k, x: x - k.mean(x, axis=-1, keepdims=True) + k.max(x, axis=(1, 2), keepdims=True),
    "variance": lambda k, x: (
        x * k.rsqrt(k.var(x, axis=1, keepdims=True) + 1) + k.std(x, axis=(1, 2))[:, None, None]
    ),
    "choices": lambda k, x: k.where(x > 0, k.log(x), k.where(k.logical_not(x <= -1) & (x != 0), -x, 2.0)),
    "truth values": lambda k, x: k.cast(k.logical_or(k.equal(x, 0), x >= 0.5), "float32"),
    "shapes": lambda k, x: k.transpose(k.reshape(x, (-1, 72, 6)), (0, 2, 1)),
    "axes": lambda k, x: k.squeeze(k.expand_dims(k.swapaxes(x, 1, 2), 3), 3),
    "moved": lambda k, x: k.moveaxis(x, -1, 1),
    "slices": lambda k, x: x[:, ::2, 1:-1, None, :4],
    "indices": lambda k, x: x[..., -1],
    "backwards": lambda k, x: k.flip(x, axis=2),
    "parts": lambda k, x: k.concatenate(k.split(x, 3, axis=-1)[::-1], axis=-1),
    "parts, uneven": lambda k, x: k.concatenate(k.split(x, [1, 4], axis=-1)[1:], axis=-1),
    "stacked": lambda k, x: k.stack([x, -x], axis=-1),
    "unstacked": lambda k, x: k.unstack(x, axis=1)[2],
    "taken": lambda k, x: k.take(x, [3, 0, -1], axis=2),
    "padded": lambda k, x: k.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), mode="reflect"),
    "repeated": lambda k, x: k.repeat(k.tile(x, (1, 1, 2, 1)), 3, axis=1),
    "products": lambda k, x: k.matmul(x, k.transpose(x, (0, 1, 3, 2))),
    "dense": lambda k, x: k.matmul(x, np.ones((6, 3), np.float32)),
    "softmax": lambda k, x: k.softmax(x, axis=-1) + k.log_softmax(x, axis=1),
    "pools": lambda k, x: k.average_pool(k.max_pool(x, 2, 1, "same"), 3, padding="valid"),
    "resized": lambda k, x: k.image.resize(x, (18, 24), antialias=False),
    "powers": lambda k, x: k.sqrt(k.abs(x)) + k.exp(-k.square(x)) + k.power(k.abs(x), 1.5) + k.erf(x),
    "gelu": lambda k, x: k.gelu(x) + k.gelu(x, approximate=False),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_keras_ops_agree(name: str) -> None:
    x = keras.Input(IMAGE)
    check(keras.Model(x, FUNCTIONS[name](keras.ops, x)), batch=1)


class Scale(L.Layer):
    """A layer of the user's own."""

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight(shape=(shape[-1],), name="factor")
        self.inner = L.Dense(4)
        self.inner.build(shape)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.inner(x * self.factor) + keras.ops.mean(x, axis=-1, keepdims=True)


def test_a_layer_of_the_users_own_is_followed() -> None:
    x = keras.Input(IMAGE)
    graph = check(keras.Model(x, Scale(name="own")(x)))
    assert all(node.name.startswith("own") for node in graph.nodes)


def test_nested_and_shared_models() -> None:
    inner = keras.Sequential([keras.Input(IMAGE), L.Conv2D(6, 3, padding="same"), L.ReLU()])
    x = keras.Input(IMAGE, name="image")
    y = inner(inner(x))
    z = L.Dense(3, name="scores")(L.GlobalAveragePooling2D()(y))
    model = keras.Model(x, {"scores": z, "features": L.Identity(name="features")(y)})
    graph = check(model)
    assert graph.inputs == ["image"]
    assert sorted(graph.outputs) == ["features", "scores"]


def test_sizes_that_calls_decide_are_none() -> None:
    x = keras.Input((None, None, 3))
    y = L.UpSampling2D(2, interpolation="bilinear")(L.Conv2D(4, 3, 2, "same")(x))
    y = L.Cropping2D(1)(L.Concatenate()([y, L.UpSampling2D(2)(L.MaxPooling2D(2, padding="same")(x))]))
    model = varied(keras.Model(x, y))
    graph, inputs, outputs = read(model)
    assert inputs[0].shape == (None, None, None, 3)
    assert outputs[0].shape == (None, None, None, 7)
    data = numbers(2, 20, 14, 3)
    agree(ran(rebuilt(graph, {inputs[0].name: data.shape}), [data]), told(model, data))


# ---- networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("MobileNetV2", 64), ("EfficientNetB0", 64), ("MobileNetV3Large", 64), ("Xception", 80),
        ("ConvNeXtTiny", 64),
    ],
)  # fmt: skip
def test_networks_of_keras_agree(name: str, size: int) -> None:
    options = {"weights": None, "input_shape": (size, size, 3), "classes": 10, "classifier_activation": None}
    model = varied(getattr(keras.applications, name)(**options))
    net = dwconv.Network.from_keras(model)
    assert (net.inputs[0].shape, net.outputs[0].shape) == ((None, size, size, 3), (None, 10))
    x = rng.uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    agree([net(x)], told(model, x), 1e-4)


def test_a_model_file_of_keras_2() -> None:
    path = MODELS / "vww_96.h5"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    pytest.importorskip("h5py")

    class DepthwiseConv2D(L.DepthwiseConv2D):
        """Keras 2 wrote an argument that Keras 3 has not."""

        def __init__(self, groups: int = 1, **config: Any) -> None:
            super().__init__(**config)

    model = keras.models.load_model(path, {"DepthwiseConv2D": DepthwiseConv2D}, compile=False)
    x = rng.uniform(0, 1, (2, 96, 96, 3)).astype(np.float32)
    agree([dwconv.Network.from_keras(model)(x)], told(model, x), 1e-4)


# ---- one layer or block -------------------------------------------------------------------------


def block(*layers: Any, channels: int = 6) -> tuple[Any, Any]:
    """(the layers built, the model of them)"""
    model = varied(keras.Sequential([keras.Input((16, 16, channels)), *layers]))
    return list(model.layers), model


@pytest.mark.parametrize("as_model", [False, True])
@pytest.mark.parametrize(
    ("layers", "kind"),
    [
        (lambda: [L.DepthwiseConv2D(3, 2, "same", activation="relu")], dwconv.DepthwiseConv2D),
        (lambda: [L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(6.0)], dwconv.Conv2D),
        (lambda: [L.Conv2D(4, 1), L.Activation("hard_swish")], dwconv.PointwiseConv2D),
        (lambda: [L.SeparableConv2D(4, 3, 2, "same"), L.BatchNormalization()], dwconv.SeparableConv2D),
        (
            lambda: [
                L.DepthwiseConv2D(3, padding="same", use_bias=False), L.BatchNormalization(), L.ReLU(6.0),
                L.Conv2D(8, 1, use_bias=False), L.BatchNormalization(), L.ReLU(6.0),
            ],
            dwconv.SeparableConv2D,
        ),
        (
            lambda: [
                L.Conv2D(24, 1), L.BatchNormalization(), L.ReLU(6.0), L.DepthwiseConv2D(3, 2, "same"),
                L.BatchNormalization(), L.ReLU(6.0), L.Conv2D(8, 1), L.BatchNormalization(),
            ],
            dwconv.InvertedResidual,
        ),
    ],
)  # fmt: skip
def test_a_block_becomes_a_layer(layers: Callable[[], list[Any]], kind: type, as_model: bool) -> None:
    parts, model = block(*layers())
    layer = from_keras(model if as_model or len(parts) > 1 else parts[0])
    assert type(layer) is kind
    for size in (16, 15):  # any image, whatever the size it was made with
        x = numbers(2, size, size, 6)
        expected = x
        for part in parts:
            expected = part(expected, training=False) if "batch" in part.name else part(expected)
        agree([layer(x)], [keras.ops.convert_to_numpy(expected)])
    assert type(from_keras(parts)) is kind


def test_what_is_more_than_a_layer_is_a_network() -> None:
    _, model = block(L.Conv2D(4, 3), L.Flatten(), L.Dense(3))
    net = from_keras(model)
    assert isinstance(net, dwconv.Network)
    x = numbers(2, 16, 16, 6)
    agree([net(x)], told(model, x))


def test_a_layer_that_is_not_built_needs_a_shape() -> None:
    with pytest.raises(ValueError, match="input_shape="):
        from_keras(L.Conv2D(4, 3))
    layer = from_keras(L.DepthwiseConv2D(3), input_shape=(None, None, None, 5))
    assert layer.output_shape((1, 8, 8, 5)) == (1, 6, 6, 5)


# ---- what is unsupported ------------------------------------------------------------------------


def test_one_error_lists_every_unsupported_layer() -> None:
    x = keras.Input((8, 8, 3))
    y = L.Flatten()(L.ConvLSTM1D(4, 3, name="memory")(L.Reshape((8, 8, 3))(x)))
    z = L.UpSampling2D(2, interpolation="bicubic", name="grown")(x)
    model = keras.Model(x, [L.Dense(3)(y), keras.ops.sort(z)])
    with pytest.raises(UnsupportedModel) as caught:
        read(model)
    found = "\n".join(caught.value.problems)
    assert "'memory'" in found
    assert "'grown': interpolation='bicubic'" in found
    assert len(caught.value.problems) == 2  # nothing that only follows from these


def test_truth_values_are_no_numbers() -> None:
    x = keras.Input((4,))
    with pytest.raises(UnsupportedModel, match="truth values in it"):
        read(keras.Model(x, keras.ops.sum(x > 0, axis=-1)))
    with pytest.raises(UnsupportedModel, match="of truth values"):
        read(keras.Model(x, x > 0))


def test_channels_first_names_the_remedy() -> None:
    layer = L.DepthwiseConv2D(3, data_format="channels_first")
    layer.build((None, 3, 8, 8))
    with pytest.raises(UnsupportedModel, match="copy the weights"):
        read(layer)


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match="Keras model"):
        read(3)
    x = keras.Input((4,), dtype="int32")
    model = keras.Model(x, L.Identity()(x))
    with pytest.raises(UnsupportedModel, match="int32"):
        read(model)
