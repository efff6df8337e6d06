"""Every row of the table in docs/training.md: both sides run, and give the same."""

from __future__ import annotations

import copy
import importlib
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import nn
from oracles import numpy_conv

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"
if not PAGE.exists():
    pytest.skip("this is not the source tree", allow_module_level=True)
TABLE = PAGE.read_text(encoding="utf-8").partition("| what people write |")[2].partition("\n\n")[0]
ROWS = re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", TABLE, re.MULTILINE)
os.environ.setdefault("KERAS_BACKEND", "torch" if find_spec("torch") else "tensorflow")


def array(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


ARRAYS = {
    "x": array(2, 9, 10, 8, seed=0),
    "kernel": array(3, 3, 8, 2, seed=1),
    "dw": array(3, 3, 8, 1, seed=2),
    "pw": array(1, 1, 8, 16, seed=3),
    "w": array(3, 3, 8, 6, seed=4),
    "point": array(1, 1, 8, 6, seed=5),
    "bias": array(6, seed=6),
    "dy": array(2, 9, 10, 16, seed=7),
    "dense_dy": array(2, 9, 10, 6, seed=8),
}


@pytest.fixture(autouse=True)
def store() -> Iterator[nn.VariableStore]:
    with nn.VariableStore().as_default() as made:
        yield made


def needed(code: str) -> list[str]:
    packages = {"tf": "tensorflow", "keras": "keras", "torch": "torch", "model": "torch"}
    packages |= {"DepthwiseSeparableConv": "torch", "keras_model": "keras"}
    return [package for word, package in packages.items() if re.search(rf"(?<![\w.]){word}\b", code)]


def names(code: str, store: nn.VariableStore) -> dict[str, Any]:
    found: dict[str, Any] = {**ARRAYS, "dwconv": dwconv}
    if "tf." in code:
        tf = importlib.import_module("tensorflow")
        layers = SimpleNamespace(separable_conv2d=_Layer(tf, store))
        found["tf"] = SimpleNamespace(nn=tf.nn, compat=tf.compat, layers=layers)
    for package in {"torch", "keras"} & {*needed(code), *re.findall(r"dwconv\.(\w+)\.", code)}:
        found[package] = importlib.import_module(package)
        importlib.import_module(f"dwconv.{package}")
    if "keras_model" in code:
        found["keras_model"] = _keras_model()
    if "torch" in found or "model" in needed(code) or "DepthwiseSeparableConv" in code:
        found |= _torch_names()
    return found


class _Layer:
    """TensorFlow 1's layer, which TensorFlow 2 lacks, by `tf.nn`, of the variables that dwconv made."""

    def __init__(self, tf: Any, store: nn.VariableStore) -> None:
        self.tf, self.store = tf, store

    def __call__(
        self, x: Any, filters: int, kernel_size: Any, strides: Any = (1, 1), padding: str = "valid",
        depth_multiplier: int = 1, activation: Any = None, name: str = "",
    ) -> Any:  # fmt: skip
        v = {key.split("/")[-1]: variable.value for key, variable in self.store.variables.items()}
        assert v["depthwise_kernel"].shape == (3, 3, x.shape[3], depth_multiplier)
        assert v["pointwise_kernel"].shape[3] == filters
        kernels = v["depthwise_kernel"], v["pointwise_kernel"]
        y = self.tf.nn.separable_conv2d(x, *kernels, [1, *strides, 1], padding.upper()) + v["bias"]
        return y if activation is None else activation(y)


def _torch_names() -> dict[str, Any]:
    torch = importlib.import_module("torch")
    importlib.import_module("dwconv.torch")

    class DepthwiseSeparableConv(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, in_channels, out_channels, kernel_size=3, stride=1, padding=1):  # type: ignore[no-untyped-def]
            super().__init__()
            self.depthwise = torch.nn.Conv2d(
                in_channels, in_channels, kernel_size, stride, padding, groups=in_channels
            )
            self.pointwise = torch.nn.Conv2d(in_channels, out_channels, kernel_size=1)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.pointwise(self.depthwise(x))

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(8, 16, 3, stride=2), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        DepthwiseSeparableConv(16, 4),
    ).eval()  # fmt: skip
    image = torch.from_numpy(ARRAYS["x"].transpose(0, 3, 1, 2).copy())
    return {"DepthwiseSeparableConv": DepthwiseSeparableConv, "model": model, "image": image}


def _keras_model() -> Any:
    keras = importlib.import_module("keras")
    layers = [keras.Input((9, 10, 8)), keras.layers.SeparableConv2D(4, 3), keras.layers.ReLU()]
    return keras.Sequential(layers)


def numbers(value: Any) -> np.ndarray:
    for convert in ("detach", "numpy"):
        value = getattr(value, convert)() if hasattr(value, convert) else value
    return np.asarray(value)


def applied(left: Any, right: Any, given: dict[str, Any]) -> tuple[Any, Any]:
    """Of two modules or layers, the results with the weights of the left one."""
    if not hasattr(left, "get_weights"):
        right.load_state_dict(left.state_dict())
        return left(given["image"]), right(given["image"])
    x = given["x"]
    result = left(x)
    right(x)
    if hasattr(right, "set_weights"):
        right.set_weights(left.get_weights())
    else:
        for variable, weight in zip(right.variables, left.get_weights(), strict=True):
            variable.assign(weight)
    return result, right(x)


def test_the_table_is_found() -> None:
    assert len(ROWS) >= 25
    assert all(right.count("dwconv") for _, right in ROWS)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("left", "right"), ROWS)
def test_a_snippet_and_its_line_agree(left: str, right: str, store: nn.VariableStore) -> None:
    for package in [*needed(left), *needed(right)]:
        pytest.importorskip(package)
    if "torch.compile" in left:
        left = left.replace("torch.compile(model)", "torch.compile(model, backend='eager')")
    given = names(left + right, store)
    torch = given.get("torch")
    if 'backend="dwconv"' in right and "dwconv" not in torch._dynamo.list_backends():
        right = right.replace('"dwconv"', "dwconv.torch.dwconv_backend")  # not installed, but on the path
    with torch.no_grad() if torch else Nothing():
        if "model" in given:
            given = {**given, "model": copy.deepcopy(given["model"])}
        mine = eval(right, dict(given))
        if "accelerate" in right:
            given |= _torch_names()
        theirs = eval(left, dict(given))
        if callable(mine):
            theirs, mine = applied(theirs, mine, given)
    expected, found = numbers(theirs), numbers(mine)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


class Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


# ---- programs ---------------------------------------------------------------------------------

TAPE = """
kernel = tf.Variable(initial, name="kernel")
with tf.GradientTape() as tape:
    y = tf.nn.depthwise_conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME")
    y = tf.nn.relu(y)
    y = tf.nn.max_pool2d(y, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    logits = tf.reduce_mean(y, axis=[1, 2])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_mean(losses)
gradient = tape.gradient(loss, kernel)
results = [loss, gradient]
"""
FUNCTIONS = """
y = tf.nn.separable_conv2d(x, dw, pw, strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC", name="block")
y = tf.nn.bias_add(y, bias)
results = [tf.nn.relu(y), tf.nn.relu6(y), tf.nn.leaky_relu(y), tf.nn.sigmoid(y), tf.nn.tanh(y), tf.nn.silu(y),
           tf.nn.swish(y), tf.nn.gelu(y), tf.nn.gelu(y, approximate=True), tf.nn.softmax(y),
           tf.nn.avg_pool2d(y, 2, 2, "SAME"), tf.add_n([y, y]), tf.reshape(y, [2, -1])]
"""


@pytest.mark.parametrize("program", [TAPE, FUNCTIONS], ids=["tape", "functions"])
def test_programs_run_unchanged_with_the_import_swapped(program: str) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    given = {**ARRAYS, "initial": ARRAYS["kernel"], "labels": np.array([3, 1]), "bias": array(16, seed=9)}
    found = []
    for tf in (tensorflow, importlib.import_module("dwconv.tensorflow")):
        space = {**given, "tf": tf}
        exec(program, space)
        found.append([numbers(result) for result in space["results"]])
    for expected, mine in zip(*found, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_names_of_tensorflow_are_of_tensorflow() -> None:
    """What `dwconv.tensorflow` exports is in TensorFlow, 1 or 2, with parameters of the same names."""
    import inspect

    tensorflow = pytest.importorskip("tensorflow")
    ours = importlib.import_module("dwconv.tensorflow")
    for name in ours.__all__:
        assert hasattr(tensorflow, name) or hasattr(tensorflow.compat.v1, name) or name == "layers", name
    for name in ("depthwise_conv2d", "separable_conv2d", "conv2d", "bias_add", "max_pool2d", "avg_pool2d",
                 "depthwise_conv2d_backprop_input", "depthwise_conv2d_backprop_filter", "relu", "leaky_relu",
                 "softmax", "sparse_softmax_cross_entropy_with_logits"):  # fmt: skip
        theirs = list(inspect.signature(getattr(tensorflow.nn, name)).parameters)
        mine = [
            parameter.name
            for parameter in inspect.signature(getattr(nn, name)).parameters.values()
            if parameter.kind is not parameter.KEYWORD_ONLY
        ]
        assert mine == theirs, name


def test_the_block_of_a_mobilenet_by_functions_is_the_layer() -> None:
    """Depthwise, then pointwise, by hand and in one call."""
    x, dw, pw = ARRAYS["x"], ARRAYS["dw"], ARRAYS["pw"]
    by_hand = dwconv.pointwise_conv2d(dwconv.depthwise_conv2d(x, dw, padding="same"), pw)
    between = numpy_conv(x, dw.reshape(3, 3, 1, 8), (1, 1), "same", (1, 1), 8)
    expected = numpy_conv(between, pw, (1, 1), "valid", (1, 1), 1)
    for y in (by_hand, dwconv.separable_conv2d(x, dw, pw, padding="same")):
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
