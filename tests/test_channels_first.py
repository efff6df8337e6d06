"""The builder in the order of axes of ONNX and PyTorch: NumPy's results, however its tensors are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dwconv.importers.channels_first import ChannelsFirst, UnsupportedError
from dwconv.nodes_numpy import compute

rng = np.random.default_rng(5)
MASK = rng.random((3, 1, 5)) > 0.5
INDICES = np.array([[0, -1], [2, 1], [0, 0]])
CHANNELS = rng.standard_normal((3, 1, 1)).astype(np.float32)
MATRIX = rng.standard_normal((5, 6)).astype(np.float32)


def noise(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def run(net: ChannelsFirst, inputs: dict[str, Any]) -> Any:
    values = {name: value.data for name, value in net.graph.values.items() if value.data is not None} | inputs
    for node in net.graph.nodes:
        values[node.output] = compute(node, [values[name] for name in node.inputs])
        assert values[node.output].shape == net.graph.values[node.output].shape
    return values[net.graph.outputs[0]]


def softmax(x: Any, axis: int) -> Any:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def normal(x: Any, axes: tuple[int, ...]) -> Any:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


def reshaped(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[Any, Any, tuple[tuple[int, ...]]]:
    return lambda net, x: net.reshape(x, to), lambda x: x.reshape(to), (shape,)


IMAGE = (2, 3, 4, 5)
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[tuple[int, ...], ...]]] = {
    "channels": (lambda n, a, b: n.binary("sub", a, b), lambda a, b: a - b, (IMAGE, (3, 1, 1))),
    "both broadcast": (lambda n, a, b: n.binary("sub", a, b), lambda a, b: a - b, ((2, 3, 1, 5), (3, 4, 1))),
    "fewer axes first": (lambda n, a, b: n.binary("sub", a, b), lambda a, b: a - b, ((5,), IMAGE)),
    "a constant": (lambda n, a: n.binary("sub", CHANNELS, a), lambda a: CHANNELS - a, (IMAGE,)),
    "prelu": (lambda n, a: n.prelu(a, CHANNELS), lambda a: np.where(a < 0, a * CHANNELS, a), (IMAGE,)),
    "join the last": reshaped(IMAGE, (2, 3, 20)),
    "split channels": reshaped((2, 6, 4, 5), (2, 2, 3, 4, 5)),
    "join all but the first": reshaped(IMAGE, (2, 60)),
    "drop ones": reshaped((2, 3, 1, 1), (2, 3)),
    "add ones": reshaped((2, 3), (2, 3, 1, 1)),
    "ones between": reshaped((1, 6, 1, 4), (6, 4)),
    "other factors": reshaped((4, 6), (6, 4)),
    "reverse factors": reshaped((2, 2, 3, 4), (4, 3, 2, 2)),
    "only ones": reshaped((1, 1), (1,)),
    "the rest": (lambda n, a: n.reshape(a, (0, -1)), lambda a: a.reshape(2, 60), (IMAGE,)),
    "flatten": (lambda n, a: n.flatten(a, 2), lambda a: a.reshape(2, 3, 20), (IMAGE,)),
    "squeeze": (lambda n, a: n.squeeze(a, [-2]), lambda a: a.squeeze(2), ((2, 3, 1, 5),)),
    "unsqueeze": (lambda n, a: n.unsqueeze(a, [1, -1]), lambda a: a[:, None, :, :, None], ((2, 3, 5),)),
    "concat": (
        lambda n, a, b: n.concat([a, b], 1), lambda a, b: np.concatenate([a, b], 1), (IMAGE, (2, 7, 4, 5)),
    ),
    "slice": (
        lambda n, a: n.slice(a, [None, (2, 0, -1), None, (1, None, 2)]),
        lambda a: a[:, 2:0:-1, :, 1::2], (IMAGE,),
    ),
    "pad and cut": (
        lambda n, a: n.pad(a, [(0, 0), (1, 2), (0, 0), (-1, 3)], value=0.5),
        lambda a: np.pad(a[..., 1:], [(0, 0), (1, 2), (0, 0), (0, 3)], constant_values=0.5), (IMAGE,),
    ),
    "expand": (lambda n, a: n.expand(a, IMAGE), lambda a: np.broadcast_to(a, IMAGE), ((3, 1, 5),)),
    "tile": (lambda n, a: n.tile(a, (2, 3, 1)), lambda a: np.tile(a, (2, 3, 1)), ((3, 1, 5),)),
    "gather": (lambda n, a: n.gather(a, INDICES, 1), lambda a: np.take(a, INDICES, 1), (IMAGE,)),
    "pick one": (lambda n, a: n.gather(a, np.array(1), 1), lambda a: np.take(a, 1, 1), (IMAGE,)),
    "sum": (lambda n, a: n.reduce("sum", a, [1, -1], False), lambda a: a.sum((1, 3)), (IMAGE,)),
    "keep ones": (lambda n, a: n.reduce("sum", a, [1]), lambda a: a.sum(1, keepdims=True), (IMAGE,)),
    "softmax": (lambda n, a: n.softmax(a, 1), lambda a: softmax(a, 1), (IMAGE,)),
    "where": (lambda n, a, b: n.where(MASK, a, b), lambda a, b: np.where(MASK, a, b), (IMAGE, (4, 1))),
    "where infinite": (
        lambda n, a: n.where(MASK, a, np.float32(-np.inf)), lambda a: np.where(MASK, a, -np.inf), (IMAGE,),
    ),
    "matmul": (lambda n, a, b: n.matmul(a, b), np.matmul, (IMAGE, (2, 1, 5, 6))),
    "vector by matrices": (lambda n, a, b: n.matmul(a, b), np.matmul, ((5,), (3, 5, 6))),
    "matrices by vector": (lambda n, a, b: n.matmul(a, b), np.matmul, ((4, 3, 5), (5,))),
    "layer norm of channels": (lambda n, a: n.layer_norm(a, [1]), lambda a: normal(a, (1,)), (IMAGE,)),
    "layer norm of two": (lambda n, a: n.layer_norm(a, [-2, -1]), lambda a: normal(a, (2, 3)), (IMAGE,)),
    "instance norm": (lambda n, a: n.instance_norm(a, None, None), lambda a: normal(a, (2, 3)), (IMAGE,)),
    "group norm": (
        lambda n, a: n.group_norm(a, 2, None, None),
        lambda a: normal(a.reshape(2, 2, 3, 4, 5), (2, 3, 4)).reshape(a.shape), ((2, 6, 4, 5),),
    ),
} | {
    f"linear of {len(shape)} axes": (
        lambda n, a: n.linear(a, MATRIX, MATRIX[0]), lambda a: a @ MATRIX + MATRIX[0], (shape,),
    )
    for shape in ((5,), (3, 5), (2, 3, 5), (2, 3, 4, 5), (2, 2, 3, 4, 5))
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_results_do_not_depend_on_how_tensors_are_stored(name: str, seed: int) -> None:
    ours, numpys, shapes = CASES[name]
    net, inputs, tensors, arrays = ChannelsFirst(), {}, [], []
    order = np.random.default_rng(seed)
    for index, shape in enumerate(shapes):
        perm = order.permutation(len(shape)) if seed else np.arange(len(shape))
        arrays.append(noise(*shape))
        inputs[f"x{index}"] = arrays[-1].transpose(perm)
        x = net.input(f"x{index}", inputs[f"x{index}"].shape)
        tensors.append(net.transpose(x, np.argsort(perm).tolist()))
    y, expected = ours(net, *tensors), numpys(*arrays)
    assert net.shape(y) == expected.shape
    net.output("y", y)
    np.testing.assert_allclose(run(net, inputs), expected, rtol=1e-5, atol=1e-5)


def ops(net: ChannelsFirst) -> list[str]:
    return [node.op for node in net.graph.nodes]


def test_images_are_turned_once_in_and_once_out() -> None:
    net = ChannelsFirst()
    x = net.input("x", (1, 4, 8, 8))
    y = net.conv(x, noise(6, 4, 3, 3), pads=[(1, 1), (1, 1)])
    y = net.binary("mul", net.unary("sigmoid", y), noise(6, 1, 1))
    y = net.pool("max", y, (2, 2), strides=(2, 2))
    y = net.concat([y, y], 1)
    y = net.resize(y, "nearest", scales=(2, 2))
    net.output("y", net.conv_transpose(y, noise(12, 3, 2, 2), strides=(2, 2)))
    moved = [node.attributes["perm"] for node in net.graph.nodes if node.op == "transpose"]
    assert moved == [(0, 2, 3, 1), (0, 3, 1, 2)]


def test_channel_shuffle_moves_channels_alone() -> None:
    net = ChannelsFirst()
    y = net.conv(net.input("x", (2, 8, 4, 4)), noise(8, 8, 1, 1))
    y = net.reshape(net.transpose(net.reshape(y, (2, 2, 4, 4, 4)), (0, 2, 1, 3, 4)), (2, 8, 4, 4))
    net.output("y", net.conv(y, noise(8, 8, 1, 1)))
    assert ops(net) == ["transpose", "conv", "reshape", "transpose", "reshape", "conv", "transpose"]
    assert net.graph.nodes[3]["perm"] == (0, 1, 2, 4, 3)


def test_pixels_become_a_sequence_without_a_transposition() -> None:
    net = ChannelsFirst()
    y = net.conv(net.input("x", (1, 3, 4, 4)), noise(8, 3, 1, 1))
    net.output("y", net.linear(net.transpose(net.flatten(y, 2), (0, 2, 1)), noise(8, 5)))
    assert [op for op in ops(net) if op != "reshape"] == ["transpose", "conv", "conv"]


def test_a_vector_of_one_pixel_is_a_reshape() -> None:
    net = ChannelsFirst()
    y = net.conv(net.input("x", (2, 3, 4, 4)), noise(8, 3, 1, 1))
    net.output("y", net.flatten(net.global_pool("mean", y), 1))
    assert ops(net) == ["transpose", "conv", "reduce", "reshape"]


def test_sequences_are_images_of_one_row() -> None:
    net = ChannelsFirst()
    y = net.conv(net.input("x", (2, 3, 9)), noise(4, 3, 3), strides=(2,))
    y = net.pool("average", y, (2,))
    assert net.shape(y) == (2, 4, 3)
    net.output("y", y)
    assert [op for op in ops(net) if op != "reshape"] == ["transpose", "conv", "average_pool", "transpose"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda net, x: net.transpose(x, (0, 1)), "perm"),
        (lambda net, x: net.reshape(x, (7, -1)), "cannot become"),
        (lambda net, x: net.squeeze(x, [1]), "not of size 1"),
        (lambda net, x: net.unsqueeze(x, [9]), "cannot be added"),
        (lambda net, x: net.concat([], 0), "nothing"),
        (lambda net, x: net.tile(x, (2,)), "repeats"),
        (lambda net, x: net.softmax(x, 4), "no axis 4"),
        (lambda net, x: net.conv(x, noise(4, 3, 1)), "do not fit"),
        (lambda net, x: net.conv(x, noise(4, 3, 1, 1), auto_pad="SOME"), "no auto_pad"),
        (lambda net, x: net.pool("max", x, (2,)), "do not fit|does not fit"),
        (lambda net, x: net.group_norm(x, 2, None, None), "cannot be in 2 groups"),
        (lambda net, x: net.linear(x, noise(4, 2)), "do not fit"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_a_value_error(call: Callable[..., Any], error: str) -> None:
    net = ChannelsFirst()
    with pytest.raises(ValueError, match=error):
        call(net, net.input("x", (2, 3, 4, 5)))


def test_what_is_missing_has_an_error_of_its_own() -> None:
    net = ChannelsFirst()
    x, w = net.input("x", (2, 3, 4, 5)), net.input("w", (4, 3, 1, 1))
    with pytest.raises(UnsupportedError, match="filters computed at run time"):
        net.conv(x, w)
    with pytest.raises(UnsupportedError, match="3 spatial axes"):
        net.conv(net.input("volume", (2, 3, 4, 4, 4)), noise(4, 3, 1, 1, 1))
    with pytest.raises(UnsupportedError, match="the last ones are supported"):
        net.layer_norm(x, [0, 1])
