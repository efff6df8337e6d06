"""`help()` of every function and layer stands on its own, and signatures say what is accepted."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import dwconv

FUNCTIONS = ["depthwise_conv2d", "conv2d", "pointwise_conv2d", "separable_conv2d", "inverted_residual"]
GRADIENTS = [
    *(
        f"{kind}conv2d_backprop{of}"
        for kind in ("depthwise_", "", "pointwise_")
        for of in ("", "_input", "_filter")
    ),
    "bias_backprop",
    "activation_backprop",
]
LAYERS = ["DepthwiseConv2D", "Conv2D", "PointwiseConv2D", "SeparableConv2D", "InvertedResidual"]
NETWORKS = ["Network", "UnsupportedModel", "from_keras", "from_torch", "load"]
TENSORS = ["dequantize", "quantize"]
SETTINGS = ["config", "get_include", "get_num_threads", "set_num_threads", "show_config"]


def test_every_public_name_is_looked_at() -> None:
    names = {
        *FUNCTIONS,
        *GRADIENTS,
        *LAYERS,
        *NETWORKS,
        *TENSORS,
        *SETTINGS,
        "PerformanceWarning",
        "SqueezeExciteQuantization",
        "__version__",
    }
    assert names == set(dwconv.__all__)


@pytest.mark.parametrize("name", [*FUNCTIONS, *GRADIENTS, *LAYERS, *TENSORS])
def test_help_describes_every_argument(name: str) -> None:
    text = getattr(dwconv, name).__doc__
    for argument in inspect.signature(getattr(dwconv, name)).parameters:
        assert f"`{argument}`:" in text or f"\n    {argument}: " in text, argument
    assert "TypeError" in text
    assert "ValueError" in text
    assert "dtype" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", [*FUNCTIONS, *GRADIENTS, *LAYERS, *TENSORS])
def test_the_examples_of_help_run(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(dwconv, name), name)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    "name", ["__call__", *(name for name in dir(dwconv.Network) if not name.startswith("_"))]
)
def test_help_describes_every_method_of_a_network(name: str) -> None:
    method = inspect.getattr_static(dwconv.Network, name)
    method = getattr(method, "fget", getattr(method, "__func__", method))
    assert method.__doc__
    for argument in list(inspect.signature(method).parameters)[1:]:
        assert f"`{argument}`" in method.__doc__, argument


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", ["Network", "load"])
def test_the_examples_of_networks_run(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(dwconv, name), name)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_help_names_the_source_of_what_is_computed() -> None:
    sources = (
        "tf.nn.depthwise_conv2d",
        "tf.nn.conv2d",
        "tf.nn.conv2d",
        "tf.nn.separable_conv2d",
        "MobileNetV2",
    )
    for function, layer, source in zip(FUNCTIONS, LAYERS, sources, strict=True):
        assert source in getattr(dwconv, function).__doc__
        assert source in getattr(dwconv, layer).__doc__


def test_the_package_works_without_docstrings() -> None:
    code = "import dwconv; print(dwconv.conv2d.__doc__, dwconv.Conv2D.__doc__)"
    result = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("None None\n", "")


# ---- signatures -------------------------------------------------------------------------------


def annotated() -> Iterator[tuple[str, Any]]:
    for name in [*FUNCTIONS, *GRADIENTS, *SETTINGS]:
        yield name, getattr(dwconv, name)
    for name in LAYERS:
        layer = getattr(dwconv, name)
        yield f"{name}.attributes", layer
        for method in ("__init__", "__call__", "output_shape"):
            yield f"{name}.{method}", getattr(layer, method)
        for attribute in ("nbytes", "backend"):
            yield f"{name}.{attribute}", getattr(layer, attribute).fget


def says_nothing(annotation: Any) -> bool:
    """Whether it is Any, or a union or a container of it. What arrays hold is known at run time."""
    if annotation in (Any, object, inspect.Parameter.empty):
        return True
    containers = (typing.Union, types.UnionType, list, tuple, dict, Sequence)
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in containers else ()
    return any(map(says_nothing, parts))


@pytest.mark.parametrize(("name", "what"), [pytest.param(name, what, id=name) for name, what in annotated()])
def test_public_signatures_say_what_they_take(name: str, what: Any) -> None:
    hints = typing.get_type_hints(what, localns={"Plan": Any})
    if inspect.isclass(what):
        hints = {key: hint for key, hint in hints.items() if not key.startswith("_")}
        assert set(hints) == set(what.__slots__)
    else:
        expected = [p for p in inspect.signature(what).parameters if p != "self"]
        assert set(hints) == {*expected, "return"}
    assert not [key for key, hint in hints.items() if says_nothing(hint)]


def test_annotations_that_say_nothing_are_seen() -> None:
    for annotation in (
        Any,
        Any | None,
        list[Any],
        tuple[int, Any],
        dict[str, Any],
        Sequence[Any],
        object,
    ):
        assert says_nothing(annotation), annotation
    for annotation in (int | None, list[str], np.ndarray[Any, np.dtype[Any]]):
        assert not says_nothing(annotation), annotation


def test_settings_are_those_that_their_type_names() -> None:
    assert set(typing.get_type_hints(typing.get_type_hints(dwconv.config)["return"])) == set(dwconv.config())
