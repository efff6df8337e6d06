"""Shapes and layouts of `dwconv.Network`: open sizes, `bind`, what is kept, NHWC where a file has NCHW."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.bound import MOST_KEPT
from dwconv.graph import Builder
from dwconv.sources import GraphSource
from networks import OPEN, channels_first, classifier, close, image, oracle, two_inputs, weights

# ---- shapes -------------------------------------------------------------------------------------


def test_sizes_that_are_open_are_decided_by_the_call(backend: str) -> None:
    net = dwconv.Network(classifier(), input_shapes=OPEN)
    assert net.inputs[0].shape == (None, None, None, 3)
    assert net.outputs[0].shape == (None, 5)
    with pytest.raises(ValueError, match=r"sizes of input 'image' .* are open: net.bind"):
        net.summary()
    for shape in [(1, 16, 16, 3), (3, 8, 20, 3), (2, 33, 7, 3)]:
        y = net(image(*shape))
        assert y.shape == (shape[0], 5)
        assert net.input_shapes == (shape,)
        close(y, oracle(net, image(*shape)))


def test_a_batch_is_its_images_one_by_one(backend: str) -> None:
    net, x = dwconv.Network(classifier(), input_shapes=OPEN), image(4, 16, 16, 3)
    y = net(x)
    for index in range(4):
        np.testing.assert_array_equal(y[index], net(x[index : index + 1])[0])


def test_bind_allows_other_sizes_than_those_of_the_file() -> None:
    net, x = dwconv.Network(classifier()), image(2, 16, 16, 3)
    with pytest.raises(ValueError, match="the batch differs"):
        net(x)
    assert net.bind({"image": (2, 16, 16, 3)}) is net
    assert net(x).shape == (2, 5)
    assert net.inputs[0].shape == (1, 16, 16, 3)
    assert copy.copy(net)(x).shape == (2, 5)
    assert pickle.loads(pickle.dumps(net))(x).shape == (2, 5)


@pytest.mark.parametrize("shapes", [(2, 8, 8, 3), [(2, 8, 8, 3)], {"image": np.array([2, 8, 8, 3])}])
def test_bind_takes_shapes_in_several_forms(shapes: Any) -> None:
    net = dwconv.Network(classifier()).bind(shapes)
    assert net.input_shapes == ((2, 8, 8, 3),)
    macs = net.macs
    assert macs == 2 * dwconv.Network(classifier((1, 8, 8, 3))).macs


def test_bind_knows_what_the_file_decides() -> None:
    net = dwconv.Network(two_inputs()).bind({"a": (3, 4, 4, 8)})
    assert net.input_shapes == ((3, 4, 4, 8), (8,))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"image": (1, 16, 16, 4)}, "stem"),
        ({"image": (1, 16, 16)}, "has 4 axes"),
        ({"image": (0, 16, 16, 3)}, "between 1"),
        ({"picture": (1, 16, 16, 3)}, "'picture' is none of them"),
        ({"image": 3}, "bind: 'image' needs a shape, not 3"),
        (3, "bind: shapes must be a shape, several, or a dict, not 3"),
        (None, "bind: shapes must be"),
    ],
)
def test_bind_refuses_what_the_network_cannot_take(shapes: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        dwconv.Network(classifier()).bind(shapes)
    assert words in str(caught.value)


def test_so_many_forms_are_kept_and_the_oldest_go() -> None:
    net = dwconv.Network(classifier(), input_shapes=OPEN)
    first = image(1, 8, 8, 3)
    for size in range(8, 24):
        net(image(1, size, 8, 3))
        net(first)  # in use all the time: it stays
    keys = {key for key, _ in net._cache._bound}
    assert len(net._cache) == MOST_KEPT
    assert ((1, 8, 8, 3),) in keys
    assert ((1, 23, 8, 3),) in keys
    assert ((1, 9, 8, 3),) not in keys


def test_a_form_is_made_once_for_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    source = GraphSource(classifier().graph)
    monkeypatch.setattr(GraphSource, "lower", lambda self, shapes: made.append(shapes) or self.graph.copy())
    net = dwconv.Network(source)
    for _ in range(3):
        net(image(1, 16, 16, 3))
    assert len(made) == 1


# ---- layouts ------------------------------------------------------------------------------------


def test_layout_gives_the_same_network_without_transpositions(backend: str) -> None:
    net = dwconv.Network(channels_first())
    turned = net.layout("NHWC")
    assert turned.inputs[0].shape == (1, 16, 16, 3)
    assert [info.shape for info in turned.outputs] == [(1, 6), (1, 16, 16, 6)]
    x = image(1, 3, 16, 16)
    y, expected = turned(x.transpose(0, 2, 3, 1)), net(x)
    close(y["vector"], expected["vector"])
    close(y["map"].transpose(0, 3, 1, 2), expected["map"])
    assert turned.layout("NHWC") is turned
    assert turned.layout("NCHW").inputs == net.inputs
    assert net.layout("nchw") is net


def test_layout_of_images_with_one_channel(backend: str) -> None:
    """Their transpositions are reshapes."""
    b = Builder()
    x = b.node("reshape", b.input("x", (1, 1, 6, 8)), shape=(1, 6, 8, 1))
    y = b.node("conv", x, weights(3, 3, 1, 1), padding="same")
    b.output("y", b.node("reshape", y, shape=(1, 1, 6, 8)))
    net, data = dwconv.Network(b), image(1, 1, 6, 8)
    turned = net.layout("NHWC")
    assert turned.inputs[0].shape == turned.outputs[0].shape == (1, 6, 8, 1)
    np.testing.assert_array_equal(turned(data.reshape(1, 6, 8, 1)).reshape(1, 1, 6, 8), net(data))


def test_layout_keeps_sizes_open() -> None:
    net = dwconv.Network(channels_first(), input_shapes={"image": (None, 3, None, None)})
    with pytest.raises(ValueError, match=r"are open: net.bind"):
        net.layout("NHWC")
    turned = net.bind((2, 3, 8, 8)).layout("NHWC")
    assert turned.inputs[0].shape == (None, None, None, 3)
    assert turned(image(1, 5, 7, 3))["map"].shape == (1, 5, 7, 6)


def test_layout_of_an_nhwc_network_is_itself_or_refused() -> None:
    net = dwconv.Network(classifier())
    assert net.layout("NHWC") is net
    with pytest.raises(ValueError, match="takes NHWC"):
        net.layout("NCHW")
    with pytest.raises(ValueError, match="'NHWC' or 'NCHW'"):
        net.layout("CHWN")


def test_an_input_that_is_also_read_as_it_is_can_be_turned() -> None:
    b = Builder()
    x = b.input("x", (1, 2, 3, 4))
    b.output("flat", b.node("reshape", x, shape=(1, 24)))
    b.output("nhwc", b.node("transpose", x, perm=(0, 2, 3, 1)))
    net, data = dwconv.Network(b), image(1, 2, 3, 4)
    turned = net.layout("NHWC")
    assert turned.inputs[0].shape == (1, 3, 4, 2)
    expected, y = net(data), turned(data.transpose(0, 2, 3, 1))
    for name in expected:
        np.testing.assert_array_equal(y[name], expected[name])
