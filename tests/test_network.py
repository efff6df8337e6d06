"""`dwconv.Network`: calls, shapes, dtypes, layouts, copies and threads, on graphs that are built by hand."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.bound import MOST_KEPT
from dwconv.graph import Builder, Graph, Node
from networks import OPEN, channels_first, classifier, close, image, oracle, two_inputs, weights
from oracles import using

# ---- calls --------------------------------------------------------------------------------------


def test_one_array_in_and_one_out_is_what_numpy_computes(backend: str) -> None:
    net, x = dwconv.Network(classifier()), image(1, 16, 16, 3)
    y = net(x)
    assert y.shape == (1, 5)
    assert y.sum() == pytest.approx(1, abs=1e-5)
    close(y, oracle(net, x))


def test_several_outputs_are_a_dict_in_order(backend: str) -> None:
    net = dwconv.Network(two_inputs())
    a, b = image(1, 4, 4, 8), image(8)
    y = net(a, b)
    assert list(y) == ["sum", "same", "ones"] == [info.name for info in net.outputs]
    np.testing.assert_array_equal(y["sum"], a + b)
    np.testing.assert_array_equal(y["same"], a)
    np.testing.assert_array_equal(y["ones"], np.ones((2, 3), np.float32))
    assert not np.shares_memory(y["same"], a)
    by_name = net({"b": b, "a": a})
    np.testing.assert_array_equal(by_name["sum"], y["sum"])


def test_out_is_written_and_given_back(backend: str) -> None:
    net, x = dwconv.Network(classifier()), image(1, 16, 16, 3)
    out = np.full((1, 5), np.nan, np.float32)
    for form in (out, [out], {"scores": out}):
        for _ in range(2):  # the first call binds the shapes
            out.fill(np.nan)
            assert net(x, out=form) is out
            np.testing.assert_array_equal(out, net(x))


@pytest.mark.parametrize("form", ["dict", "list"])
def test_several_outs(form: str, backend: str) -> None:
    net = dwconv.Network(two_inputs())
    a, b = image(1, 4, 4, 8), image(8)
    outs = {info.name: np.empty(info.shape, np.float32) for info in net.outputs}  # type: ignore[arg-type]
    for inputs in ((a, b), (a, b), ({"b": b, "a": a},)):  # the first call binds the shapes
        outs["sum"].fill(np.nan)
        y = net(*inputs, out=outs if form == "dict" else list(outs.values()))
        assert list(y) == list(outs)
        assert all(y[name] is outs[name] for name in outs)
        np.testing.assert_array_equal(outs["sum"], a + b)


def test_arrays_that_are_not_contiguous_give_the_same(backend: str) -> None:
    net, x = dwconv.Network(classifier()), image(1, 16, 16, 3)
    wide = np.zeros((1, 32, 16, 6), np.float32)
    wide[:, ::2, :, ::2] = x
    out = np.zeros((1, 10), np.float32)[:, ::2]
    np.testing.assert_array_equal(net(wide[:, ::2, :, ::2], out=out), net(x))


def test_a_dtype_that_names_the_byte_order_of_the_machine_is_read(backend: str) -> None:
    net, x = dwconv.Network(classifier()), image(1, 16, 16, 3)
    named = x.view(x.dtype.newbyteorder("<" if sys.byteorder == "little" else ">"))
    np.testing.assert_array_equal(net(named), net(x))


def test_arrays_that_are_not_aligned_are_copied(backend: str) -> None:
    net, x = dwconv.Network(classifier()), image(1, 16, 16, 3)
    memory = np.zeros(x.nbytes + 1, np.uint8)
    odd = memory[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    out = np.zeros(21, np.uint8)[1:].view(np.float32).reshape(1, 5)
    np.testing.assert_array_equal(net(odd, out=out), net(x))


def test_lists_and_arrays_of_other_libraries_are_read() -> None:
    net = dwconv.Network(two_inputs())
    a = image(1, 4, 4, 8)
    close(net(a.tolist(), [1.0] * 8)["sum"], a + 1)
    torch = pytest.importorskip("torch")
    close(net(torch.from_numpy(a), torch.ones(8))["sum"], a + 1)


def test_float64_runs_through_numpy_and_says_so(backend: str) -> None:
    b = Builder()
    b.output("y", b.node("unary", b.input("x", (2, 3), np.float64), kind="exp"))
    net, x = dwconv.Network(b), np.linspace(-1, 1, 6).reshape(2, 3)
    np.testing.assert_array_equal(net(x), np.exp(x))
    assert net.backend == "numpy"


def test_a_network_of_nothing_but_its_input(backend: str) -> None:
    b = Builder()
    b.output("x", b.input("x", (2, 3)))
    net, x = dwconv.Network(b), image(2, 3)
    np.testing.assert_array_equal(net(x), x)
    assert net.macs == 0
    assert "0 nodes" in net.summary()


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((1, 16, 16, 3)), TypeError, ["image", "float64", "astype(np.float32)"]),
        (np.zeros((1, 16, 16, 3), np.uint8), TypeError, ["uint8", "/ 255"]),
        (np.zeros((1, 16, 16, 3), ">f4"), TypeError, [">f4", "float32"]),
        (np.zeros((16, 16, 3), np.float32), ValueError, ["batch axis", "x[None]"]),
        (np.zeros((1, 3, 16, 16), np.float32), ValueError, ["looks like NCHW", "transpose(0, 2, 3, 1)"]),
        (np.zeros((3, 16, 16), np.float32), ValueError, ["NHWC", "x[None].transpose(0, 2, 3, 1)"]),
        (np.zeros((2, 16, 16, 3), np.float32), ValueError, ["the batch differs", "net.bind"]),
        (np.zeros((1, 16, 17, 3), np.float32), ValueError, ["axis 2", "(1, 16, 17, 3)"]),
        (np.zeros((1, 768), np.float32), ValueError, ["4 axes, not 2"]),
        (np.ma.masked_array(np.zeros((1, 16, 16, 3), np.float32)), TypeError, ["masked"]),
        (None, TypeError, ["None"]),
        ("cat.png", TypeError, ["str"]),
    ],
)  # fmt: skip
def test_wrong_inputs_are_refused_with_the_remedy(
    x: Any, error: type[Exception], words: Sequence[str]
) -> None:
    net = dwconv.Network(classifier(), name="mobile")
    with pytest.raises(error) as caught:
        net(x)
    assert str(caught.value).startswith("mobile: ")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_nhwc_given_to_an_nchw_model_is_told_of_layout() -> None:
    with pytest.raises(ValueError, match=r"it takes NCHW, and this looks like NHWC.*net.layout\('NHWC'\)"):
        dwconv.Network(channels_first())(image(1, 16, 16, 3))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "takes 2 inputs ('a' float32"),
        ([1, 2, 3], "not 3"),
        ([{"a": 1}], "'b' is missing"),
        ([{"a": 1, "b": 2, "c": 3}], "'c' is none of them"),
    ],
)
def test_wrong_numbers_and_names_of_inputs_are_refused(inputs: list[Any], words: str) -> None:
    with pytest.raises(TypeError) as caught:
        dwconv.Network(two_inputs())(*inputs)
    assert words in str(caught.value)


@pytest.mark.parametrize("bound", [False, True])
def test_wrong_outs_are_refused(bound: bool) -> None:
    net, x = dwconv.Network(classifier()), image(1, 16, 16, 3)
    if bound:
        net(x)
    frozen = np.empty((1, 5), np.float32)
    frozen.setflags(write=False)
    for out, error, words in [
        (np.empty((1, 5)), TypeError, "float64"),
        (np.empty((5,), np.float32), ValueError, "(5,)"),
        (frozen, ValueError, "read-only"),
        ([np.empty((1, 5), np.float32)] * 2, TypeError, "2 arrays"),
        (np.broadcast_to(np.float32(0), (1, 5)).copy().T.T[:, [0] * 5].tolist(), TypeError, "list"),
        (x.reshape(-1)[:5].reshape(1, 5), ValueError, "overlaps input 'image'"),
        ("y", TypeError, "str"),
    ]:
        with pytest.raises(error) as caught:
            net(x, out=[out] if isinstance(out, list) and len(out) == 1 else out)
        assert words in str(caught.value)


@pytest.mark.parametrize("bound", [False, True])
def test_outs_that_overlap_each_other_are_refused(bound: bool) -> None:
    net = dwconv.Network(two_inputs())
    if bound:
        net(image(1, 4, 4, 8), image(8))
    memory = np.empty((1, 4, 4, 8), np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        net(image(1, 4, 4, 8), image(8), out=[memory, memory, np.empty((2, 3), np.float32)])


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (1.5, TypeError), (2000, ValueError)])
def test_wrong_numbers_of_threads_are_refused(threads: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="network: num_threads"):
        dwconv.Network(classifier())(image(1, 16, 16, 3), num_threads=threads)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.nodes.reverse(), "before it is there"),
        (lambda g: g.nodes[0].attributes.update(strides=(0, 1)), "conv: strides"),
        (lambda g: g.nodes[0].attributes.update(kind="exp"), "no attribute ['kind']"),
        (lambda g: g.outputs.append("nothing"), "no node gives the output 'nothing'"),
        (lambda g: g.outputs.clear(), "needs outputs"),
        (lambda g: g.nodes.append(Node("sort", ("image",), "z")), "no op 'sort'"),
        (lambda g: g.nodes.append(Node("binary", ("image",), "z", {"kind": "add"})), "z"),
        (lambda g: g.nodes.append(Node("reshape", ("image",), "z", {"shape": (7, -1)})), "cannot become"),
    ],
)
def test_graphs_that_are_none_are_refused(change: Any, words: str) -> None:
    graph = classifier().graph
    change(graph)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        dwconv.Network(graph)
    assert words in str(caught.value)


# ---- what it is made of -------------------------------------------------------------------------


def test_inputs_and_outputs_are_those_of_the_graph() -> None:
    net = dwconv.Network(two_inputs())
    assert [tuple(info) for info in net.inputs] == [
        ("a", (1, 4, 4, 8), np.float32, None), ("b", (8,), np.float32, None),
    ]  # fmt: skip
    assert [info.shape for info in net.outputs] == [(1, 4, 4, 8), (1, 4, 4, 8), (2, 3)]
    assert "'a' float32 (1, 4, 4, 8), 'b' float32 (8,) -> " in repr(net)


def test_the_weights_of_the_caller_may_change_afterwards() -> None:
    b, filters = Builder(), weights(1, 1, 3, 4)
    b.output("y", b.node("conv", b.input("x", (1, 2, 2, 3)), filters))
    net, x = dwconv.Network(b), image(1, 2, 2, 3)
    expected = x.reshape(4, 3) @ filters.reshape(3, 4).copy()
    filters[...] = 0
    b.graph.nodes.clear()
    close(net(x).reshape(4, 4), expected)


def test_multiply_adds_leave_padding_out() -> None:
    b = Builder()
    x = b.input("x", (2, 4, 5, 3))
    y = b.node("conv", x, weights(3, 3, 3, 8), padding="same")
    y = b.node("conv", y, weights(1, 1, 8, 6))
    y = b.node("transpose_conv", y, weights(2, 2, 6, 4), strides=(2, 2))
    b.output("y", b.node("matmul", y, weights(4, 7)))
    taps = (4 * 3 - 2) * (5 * 3 - 2)
    assert dwconv.Network(b).macs == 2 * (taps * 3 * 8 + 20 * 8 * 6 + 20 * 4 * 6 * 4 + 80 * 4 * 7)


def test_the_summary_has_a_line_for_every_node() -> None:
    with using("numpy"):
        net = dwconv.Network(classifier(), name="small")
        text, bytes_told = net.summary(), f"workspace {net.workspace_bytes:,} bytes"
    lines = text.splitlines()
    assert lines[0] == "small"
    for word in (
        "conv 3x3 stride 2",
        "depthwise 3x3",
        "pointwise hard_swish",
        "reduce mean",
        "softmax",
        "MMAC",
    ):
        assert word in text
    assert "7 nodes" in text
    assert bytes_told in text
    assert all(len(line) < 120 for line in lines)


def test_the_profile_has_times_and_shares(backend: str) -> None:
    net = dwconv.Network(classifier())
    text = net.profile(seconds=1e-3)
    assert "us a call, median of" in text
    assert "GMAC/s" in text
    assert "limit" not in text
    assert "% of the limit" in net.profile(image(1, 16, 16, 3), gflops=100, seconds=1e-3)
    with pytest.raises(ValueError, match="cannot take"):
        net.profile(image(1, 8, 16, 3))


# ---- copies and threads -------------------------------------------------------------------------


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_give_the_same_bits(how: Any, backend: str) -> None:
    net, x = dwconv.Network(channels_first(), name="mine"), image(1, 3, 16, 16)
    again = how(net.layout("NHWC"))
    assert again.name == "mine"
    for name, y in net.layout("NHWC")(x.transpose(0, 2, 3, 1)).items():
        np.testing.assert_array_equal(again(x.transpose(0, 2, 3, 1))[name], y)


def test_many_threads_may_call_one_network(backend: str) -> None:
    """With several shapes, more than are kept, so that forms are made and dropped all the time."""
    net = dwconv.Network(classifier(), input_shapes=OPEN)
    xs = [image(1, size, size, 3) for size in range(6, 6 + MOST_KEPT + 3)]
    expected = [net(x) for x in xs]
    barrier = threading.Barrier(8)

    def calls(seed: int) -> bool:
        barrier.wait()
        order = np.random.default_rng(seed).permutation(len(xs))
        return all(np.array_equal(net(xs[i]), expected[i]) for i in [*order, *order])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(calls, range(8)))


def test_threads_and_calls_do_not_change_bits(backend: str) -> None:
    net, x = dwconv.Network(classifier((1, 64, 64, 3))), image(1, 64, 64, 3)
    first = net(x, num_threads=1)
    for threads in (2, 3, 1):
        np.testing.assert_array_equal(net(x, num_threads=threads), first)


def test_networks_cannot_grow_attributes() -> None:
    net = dwconv.Network(classifier())
    with pytest.raises(AttributeError):
        net.inputs = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        net.weights = 1  # type: ignore[attr-defined]


def test_quantities_are_those_of_the_shapes_bound_last() -> None:
    net = dwconv.Network(classifier(), input_shapes=OPEN)
    net.bind((1, 8, 8, 3))
    small = net.macs, net.workspace_bytes
    net.bind((1, 32, 32, 3))
    assert (net.macs, net.workspace_bytes) > small
    assert net.workspace_lower_bound <= net.workspace_bytes


def test_values_of_a_graph_may_come_in_any_order() -> None:
    graph = classifier().graph
    shuffled = Graph(dict(reversed(graph.values.items())), graph.nodes, graph.inputs, graph.outputs)
    x = image(1, 16, 16, 3)
    np.testing.assert_array_equal(dwconv.Network(shuffled)(x), dwconv.Network(graph)(x))


def summing(shape: tuple[int, ...]) -> dwconv.Network:
    b = Builder()
    x, kept = b.input("x", shape), b.state("kept", np.zeros(shape, np.float32))
    y = b.node("binary", x, kept, kind="add")
    b.output("y", y)
    b.keep(kept, y)
    return dwconv.Network(b)


def test_a_state_can_be_copied_and_fits_its_own_network_alone() -> None:
    net, x = summing((1, 2, 3)), np.ones((1, 2, 3), np.float32)
    state = net.new_state()
    net(x, state=state)
    for other in (pickle.loads(pickle.dumps(state)), copy.deepcopy(state)):
        assert net(x, state=other).max() == 2
    assert state.arrays["kept"].max() == 1
    state.reset()
    assert net(x, state=state).max() == 1
    with pytest.raises(TypeError, match=r"state must be what its new_state\(\) made"):
        summing((1, 3, 2))(x.reshape(1, 3, 2), state=state)
