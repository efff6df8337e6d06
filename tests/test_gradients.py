"""Gradients equal those of PyTorch and TensorFlow in float64, in shape, in value and in what they refuse."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from typing import Any

import numpy as np
import pytest

import dwconv
import fuzz_gradients
from gradients import Gradients, random_gradients, tensorflow_gradients, torch_gradients
from oracles import ACTIVATIONS, activate, backends, using

CASES = [random_gradients(seed) for seed in range(120)]
core = importlib.import_module("dwconv.config").core


@functools.cache
def expected(number: int, expect: Any) -> Any:
    """Of CASES[number]: the gradients, and what those of x and filters may be off."""
    return expect(CASES[number]), CASES[number].bounds(expect)


def check(number: int, expect: Any) -> None:
    case = CASES[number]
    (dx, dw, db), (dx_bound, dw_bound) = expected(number, expect)
    found = case.input()
    assert found.dtype == np.float32
    assert found.shape == dx.shape
    assert np.all(np.abs(found - dx) <= dx_bound)
    found = case.filter()
    assert found.dtype == np.float32
    assert found.shape == dw.shape
    assert np.all(np.abs(found - dw) <= dw_bound)
    np.testing.assert_allclose(dwconv.bias_backprop(case.arrays["dy"]), db, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", backends())
def test_gradients_match_pytorch(backend: str) -> None:
    pytest.importorskip("torch")
    with using(backend):
        for number in range(len(CASES)):
            check(number, torch_gradients)


@pytest.mark.parametrize("backend", backends())
def test_gradients_match_tensorflow(backend: str) -> None:
    pytest.importorskip("tensorflow")
    numbers = [
        number
        for number, case in enumerate(CASES)
        if isinstance(case.padding, str)
        and case.groups == 1
        and case.strides[0] == case.strides[1]
        and case.dilations == (1, 1)
    ]
    assert len(numbers) > 20
    with using(backend):
        for number in numbers:
            check(number, tensorflow_gradients)


def test_float64_gradients_are_exact_to_its_precision() -> None:
    pytest.importorskip("torch")
    for case in CASES[:60]:
        dx, dw, _ = torch_gradients(case)
        np.testing.assert_allclose(case.input(np.float64), dx, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(case.filter(np.float64), dw, rtol=1e-12, atol=1e-11)


def test_float16_is_computed_in_float32_and_rounded_once() -> None:
    case = Gradients("depthwise", (2, 9, 9, 5))
    half = {name: array.astype(np.float16) for name, array in case.arrays.items()}
    wide = Gradients("depthwise", (2, 9, 9, 5), arrays={k: a.astype(np.float32) for k, a in half.items()})
    with using("numpy"):
        for narrow, expected in (
            (case.input(np.float16), wide.input()),
            (case.filter(np.float16), wide.filter()),
        ):
            assert narrow.dtype == np.float16
            np.testing.assert_array_equal(narrow, expected.astype(np.float16))


@pytest.mark.parametrize("kind", ["depthwise", "conv", "pointwise"])
def test_finite_differences_agree(kind: str) -> None:
    kernel = (1, 1) if kind == "pointwise" else (3, 2)
    padding = "valid" if kind == "pointwise" else ((1, 0), (2, 1))
    case = Gradients(kind, (1, 5, 4, 4), 2, kernel, (2, 1), padding, groups=2 if kind == "conv" else 1)
    x, filters, dy = (case.arrays[name].astype(np.float64) for name in ("x", "filters", "dy"))
    forward = getattr(dwconv, {"conv": "conv2d"}.get(kind, f"{kind}_conv2d"))
    steps = (
        {"strides": case.strides} if kind == "pointwise" else {"strides": case.strides, "padding": padding}
    )

    def loss() -> float:
        return float((forward(x, filters, **steps, **case.keywords()) * dy).sum())

    for array, gradient in ((x, case.input(np.float64)), (filters, case.filter(np.float64))):
        for index in np.ndindex(*array.shape):
            value = array[index]
            array[index] = value + 0.5
            above = loss()
            array[index] = value - 0.5
            assert math.isclose(above - loss(), gradient[index], rel_tol=1e-9, abs_tol=1e-9)
            array[index] = value


@pytest.mark.parametrize("backend", [name for name in backends() if name != "numpy"])
@pytest.mark.parametrize("channels", [3, 17, 40])
def test_blocks_of_stride_two_are_right_at_every_edge(backend: str, channels: int) -> None:
    """Of 3x3 windows: no padding, on one side, more than a window; rows and columns that no output sees."""
    paddings = [((top, bottom), (left, right)) for top in (0, 1, 4) for left in (0, 1, 5)
                for bottom, right in ((0, 1), (3, 0))]  # fmt: skip
    for padding in paddings:
        for height, width in ((1, 1), (2, 5), (3, 2), (8, 23), (11, 4)):
            case = Gradients("depthwise", (2, height, width, channels), strides=(2, 2), padding=padding)
            if not case.possible:
                continue
            plain = core.Gradient(case.convolution(), "reference")
            expected = plain.of_input(case.arrays["filters"], case.arrays["dy"], None, 1)
            with using(backend):
                found = case.input(num_threads=1)
                np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
                np.testing.assert_array_equal(found, case.input(num_threads=3))
                np.testing.assert_array_equal(found, case.both(num_threads=2)[0])


@pytest.mark.parametrize("backend", backends())
def test_one_call_gives_the_bits_of_both(backend: str) -> None:
    with using(backend):
        for case in CASES[::3]:
            out = np.empty(case.shape, np.float32)
            dx, dw, db = case.both(with_bias=True, out=out, num_threads=2)
            assert dx is out
            np.testing.assert_array_equal(dx, case.input())
            same, bias = case.filter(with_bias=True)
            np.testing.assert_array_equal(dw, same)
            np.testing.assert_array_equal(db, bias)
            assert len(case.both()) == 2


@pytest.mark.parametrize("backend", backends())
def test_one_call_takes_channels_first(backend: str) -> None:
    case = Gradients("depthwise", (2, 7, 8, 6), 1, (3, 3), (2, 2), "same")
    x, dy = (np.ascontiguousarray(case.arrays[name].transpose(0, 3, 1, 2)) for name in ("x", "dy"))
    with using(backend):
        dx, dw = dwconv.depthwise_conv2d_backprop(x, case.arrays["filters"], dy, [1, 1, 2, 2], "same", "NCHW")
        np.testing.assert_array_equal(dx, case.input().transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(dw, case.filter())


def test_one_call_refuses_what_does_not_fit() -> None:
    case = Gradients("depthwise", (1, 5, 5, 3))
    x, filters, dy = (case.arrays[name] for name in ("x", "filters", "dy"))
    with pytest.raises(ValueError, match=r"depthwise_conv2d_backprop: filters expect 2 channels but x has 3"):
        dwconv.depthwise_conv2d_backprop(x, filters[:, :, :2], dy, 1, "same")
    with pytest.raises(
        ValueError, match=r"out_backprop has the shape \(1, 5, 5, 3\) but the forward pass gives"
    ):
        dwconv.depthwise_conv2d_backprop(x, filters, dy, 1, "valid")
    for argument in (x, dy):
        with pytest.raises(ValueError, match="overlap"):
            dwconv.depthwise_conv2d_backprop(x, filters, dy, 1, "same", out=argument)


# ---- memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", backends())
def test_crops_and_slices_are_read_and_written_in_place(backend: str) -> None:
    case = Gradients("depthwise", (2, 7, 8, 17), 2, (3, 3), (2, 1))
    with using(backend):
        dx, dw = case.input(), case.filter()
        rng = np.random.default_rng(0)
        for name in ("x", "dy"):
            array = case.arrays[name]
            wide = rng.uniform(size=[size + 3 for size in array.shape]).astype(np.float32)
            view = wide[1:-2, 2:-1, 1:-2, 2:-1]
            view[...] = array
            case.arrays[name] = view
        into = np.full([size + 2 for size in case.shape], 7, np.float32)
        out = into[1:-1, 1:-1, 1:-1, 1:-1]
        assert case.input(out=out) is out
        np.testing.assert_array_equal(out, dx)
        assert into.sum() - out.sum() == pytest.approx(7 * (into.size - out.size))
        np.testing.assert_array_equal(case.filter(), dw)
        kept = np.empty_like(dw)
        assert case.filter(out=kept) is kept
        np.testing.assert_array_equal(kept, dw)


@pytest.mark.parametrize("backend", backends())
def test_channels_first_is_the_same_transposed(backend: str) -> None:
    case = Gradients("conv", (2, 7, 8, 6), 4, (3, 2), (2, 1), ((1, 0), (0, 1)), groups=2)
    steps = {"strides": [1, 1, 2, 1], "padding": [[0, 0], [0, 0], [1, 0], [0, 1]], "data_format": "NCHW"}
    x, dy = (np.ascontiguousarray(case.arrays[name].transpose(0, 3, 1, 2)) for name in ("x", "dy"))
    with using(backend):
        dx = dwconv.conv2d_backprop_input(x.shape, case.arrays["filters"], dy, **steps, groups=2)
        np.testing.assert_array_equal(dx, case.input().transpose(0, 3, 1, 2))
        out = np.empty_like(dx)
        dwconv.conv2d_backprop_input(x.shape, case.arrays["filters"], dy, **steps, groups=2, out=out)
        np.testing.assert_array_equal(out, dx)
        dw = dwconv.conv2d_backprop_filter(x, case.filter_shape, dy, **steps, groups=2)
        np.testing.assert_array_equal(dw, case.filter())


@pytest.mark.parametrize("backend", backends())
def test_an_empty_batch_has_no_input_gradient_and_a_filter_gradient_of_zeros(backend: str) -> None:
    for kind in ("depthwise", "conv", "pointwise"):
        kernel = (1, 1) if kind == "pointwise" else (3, 3)
        case = Gradients(kind, (0, 5, 5, 3), 2, kernel, padding="valid")
        with using(backend):
            assert case.input().shape == (0, 5, 5, 3)
            np.testing.assert_array_equal(case.filter(), np.zeros(case.filter_shape))
            np.testing.assert_array_equal(dwconv.bias_backprop(case.arrays["dy"]), np.zeros(case.outputs))


# ---- activations ------------------------------------------------------------------------------


def _values() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(scale=3, size=400), np.linspace(-40, 40, 161) + 0.013])


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activation_gradients_match_differences(activation: Any, backend: str) -> None:
    x = _values()
    step = 1e-5
    slope = (activate(x + step, activation) - activate(x - step, activation)) / (2 * step)
    dy = np.random.default_rng(1).uniform(-2, 2, x.shape)
    name = activation[0] if isinstance(activation, tuple) else activation
    told_by_output = name in (None, "relu", "relu6", "clip", "leaky_relu", "hard_sigmoid", "sigmoid", "tanh")
    with using(backend):
        for dtype, tolerance in ((np.float64, 1e-8), (np.float32, 2e-6)):
            given = {"x": x.astype(dtype)}
            dx = dwconv.activation_backprop(activation, dy.astype(dtype), **given)
            assert dx.dtype == dtype
            np.testing.assert_allclose(dx, dy * slope, atol=tolerance, rtol=tolerance)
            y = activate(x, activation).astype(dtype)
            if told_by_output:
                dx = dwconv.activation_backprop(activation, dy.astype(dtype), y=y)
                np.testing.assert_allclose(dx, dy * slope, atol=2 * tolerance, rtol=tolerance)
            else:
                with pytest.raises(ValueError, match="does not tell its slope"):
                    dwconv.activation_backprop(activation, dy.astype(dtype), y=y)


@pytest.mark.parametrize("backend", backends())
def test_smooth_slopes_are_those_of_pytorch_and_finite_everywhere(backend: str) -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    peers = {
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "silu": functional.silu, "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "hard_swish": functional.hardswish, "hard_sigmoid": functional.hardsigmoid,
    }  # fmt: skip
    x = np.concatenate([_values(), [0.0, -0.0, 1e-40, 100.0, -100.0, 1e30, -1e30]]).astype(np.float32)
    for name, peer in peers.items():
        given = torch.from_numpy(x.astype(np.float64)).requires_grad_()
        peer(given).sum().backward()
        with using(backend):
            dx = dwconv.activation_backprop(name, np.ones_like(x), x=x)
        expected = np.nan_to_num(given.grad.numpy(), nan=0.0)
        expected[x == np.float32(1e30)] = 0.0 if name in ("sigmoid", "tanh", "hard_sigmoid") else 1.0
        np.testing.assert_allclose(dx, expected, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("backend", backends())
def test_clamps_stop_gradients_on_their_corners_whatever_they_are(backend: str) -> None:
    dy = np.array([np.inf, 2, np.nan, 3], np.float32)
    with using(backend):
        for activation, y in (
            ("relu", [0, 1, 0, 5]),
            ("relu6", [6, 1, 0, 5]),
            (("clip", -1, 2), [-1, 0, 2, 1]),
        ):
            dx = dwconv.activation_backprop(activation, dy, y=np.array(y, np.float32))
            np.testing.assert_array_equal(dx, [0, 2, 0, 3])
            assert (
                dwconv.activation_backprop(activation, dy, y=np.array(y, np.float32), out=dy.copy()) is not dy
            )


# ---- errors -----------------------------------------------------------------------------------

X, DY, W = (np.ones(shape, np.float32) for shape in ((1, 4, 4, 3), (1, 4, 4, 3), (3, 3, 3, 1)))
depthwise_input, depthwise_filter = (
    getattr(dwconv, f"depthwise_conv2d_backprop_{of}") for of in ("input", "filter")
)
pointwise_input, pointwise_filter = (
    getattr(dwconv, f"pointwise_conv2d_backprop_{of}") for of in ("input", "filter")
)
WRONG: list[tuple[Any, type[Exception], str]] = [
    (lambda: depthwise_input((1, 4, 4, 3), W, DY, 1, "valid"), ValueError,
     r"out_backprop has the shape \(1, 4, 4, 3\) but the forward pass gives \(1, 2, 2, 3\)"),
    (lambda: depthwise_input((1, 4, 4, 5), W, DY, 1, "same"), ValueError,
     "filters expect 3 channels but input_sizes has 5"),
    (lambda: depthwise_input((4, 4, 3), W, DY, 1, "same"), ValueError, "must have 4 axes"),
    (lambda: depthwise_input(7, W, DY, 1, "same"), TypeError, "sequence of sizes"),
    (lambda: depthwise_input((1, 4, 4, 3), W.astype(np.float64), DY, 1, "same"), TypeError,
     "dtype of filters is float64 but float32"),
    (lambda: depthwise_filter(X, (3, 3, 3), DY, 1, "same"), ValueError,
     r"filter_sizes must be \[kernel height, kernel width, channels, multiplier\]"),
    (lambda: depthwise_filter(X, (9, 9, 3, 1), DY, 1, "valid"), ValueError, "kernel spans"),
    (lambda: dwconv.conv2d_backprop_filter(X, (3, 3, 1, 4), DY, 1, "same", groups=3), ValueError,
     "groups=3 must"),
    (lambda: pointwise_filter(X, (2, 3), DY), ValueError, "expects 2 channels but x has 3"),
    (lambda: pointwise_input(X.shape, W, DY), ValueError, r"\[channels, outputs\]"),
    (lambda: depthwise_input(X.shape, W, DY, 1, "same", out=DY), ValueError, "out overlaps"),
    (lambda: depthwise_input(X.shape, W, DY, 1, "same", out=DY[0]), ValueError, "out has"),
    (lambda: depthwise_filter(X, W.shape, DY, 1, "same", grad=1), TypeError, "out_backprop"),
    (lambda: dwconv.bias_backprop(DY[0]), ValueError, "4 axes"),
    (lambda: dwconv.bias_backprop(DY, num_threads=0), ValueError, "num_threads"),
    (lambda: dwconv.activation_backprop("relu", DY), TypeError, "one of x and y"),
    (lambda: dwconv.activation_backprop("relu", DY, x=X, y=X), TypeError, "one of x and y"),
    (lambda: dwconv.activation_backprop("relu", DY, x=X[0]), ValueError, "one shape"),
    (lambda: dwconv.activation_backprop(("leaky_relu", -1.0), DY, y=X), ValueError, "does not tell"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_errors_name_the_argument_and_the_rule(number: int) -> None:
    call, error, message = WRONG[number]
    with pytest.raises(error, match=message):
        call()


# ---- promises ---------------------------------------------------------------------------------


@pytest.mark.skipif(backends() == ["numpy"], reason="there is no extension")
def test_random_gradients_have_the_same_bits_on_any_threads_and_strides() -> None:
    for seed in range(1000, 1060):
        fuzz_gradients.check(random_gradients(seed))


@pytest.mark.skipif(backends() == ["numpy"], reason="there is no extension")
@pytest.mark.parametrize("isa", [isa for isa in backends() if isa != "numpy"])
def test_plain_loops_of_the_core_agree_with_numpy(isa: str) -> None:
    reference = core.Gradient
    for case in CASES[:30]:
        conv = case.convolution()
        dx = reference(conv, "reference").of_input(case.arrays["filters"], case.arrays["dy"], None, 1)
        dw, db = reference(conv, "reference").of_filter(case.arrays["x"], case.arrays["dy"], True, True, 1)
        exact, bias = case.filter(np.float64, with_bias=True)
        np.testing.assert_allclose(dx, case.input(np.float64), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(dw, exact, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(db, bias, rtol=1e-6, atol=1e-6)
        with using(isa):
            assert core.Gradient(conv, isa).scratch_size("filter") >= 0


@pytest.mark.skipif(backends() == ["numpy"], reason="there is no extension")
def test_scratch_is_bounded_by_the_filter_and_a_few_megabytes() -> None:
    shapes = [(3, 3, 960, 1), (7, 7, 96, 1), (1, 1, 512, 512), (3, 3, 64, 64), (1, 1, 24, 144)]
    for filters in shapes:
        for size in (7, 56, 500):
            depthwise = filters[3] == 1
            kind = "depthwise" if depthwise else "conv"
            case = Gradients(kind, (0, size, size, filters[2]), filters[3], filters[:2])
            conv = dataclasses.replace(case.convolution(), x=(8, *case.shape[1:]), y=(8, *case.y_shape[1:]))
            weights = 4 * math.prod(filters)
            for threads in (1, 4):
                gradient = core.Gradient(conv, dwconv.config()["isa"])
                assert gradient.scratch_size("input", threads) <= 4 * weights + 2**18
                assert gradient.scratch_size("filter", threads) <= 80 * weights + threads * 2**20 * 2


def test_padding_contributes_nothing_whatever_the_output_gradient_is() -> None:
    case = Gradients("conv", (1, 3, 3, 2), 2, (3, 3))
    case.arrays["dy"][0, 0] = np.inf  # the first row sees no input through the first kernel row
    for backend in backends():
        with using(backend), np.errstate(invalid="ignore"):
            assert np.all(np.isfinite(case.filter()[0]))
