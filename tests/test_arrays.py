"""What is read as a tensor, a filter or a bias, without a copy or not at all; and what the refusals say."""

from __future__ import annotations

import array
import pathlib
import re
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.arrays import as_array

F4 = np.float32
X = np.linspace(-1, 1, 1 * 6 * 5 * 4, dtype=F4).reshape(1, 6, 5, 4)
K = np.linspace(-1, 1, 3 * 3 * 4, dtype=F4).reshape(3, 3, 4, 1)
BIAS = np.linspace(0, 1, 4, dtype=F4)


def read(value: Any, dtype: Any = None) -> np.ndarray:
    return as_array("f", "x", value, None if dtype is None else np.dtype(dtype))


class Converts:
    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values


class Describes:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self.values.__array_interface__


class Lends:
    """DLPack and nothing else, as some libraries have it."""

    def __init__(self, values: np.ndarray, device: int = 1) -> None:
        self.values, self.device = values, device

    def __dlpack__(self, **options: Any) -> Any:
        if self.device != 1:
            raise BufferError("not on the CPU")
        return self.values.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


class Tensor:
    """A tensor of a library whose tensors NumPy cannot read."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise RuntimeError("no.")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


READABLE = {
    "array": lambda x: x,
    "subclass": lambda x: x.view(np.recarray),
    "__array__": Converts,
    "__array_interface__": Describes,
    "__dlpack__": Lends,
    "buffer": memoryview,
}


@pytest.mark.parametrize("kind", READABLE)
def test_what_protocols_give_is_read_in_place(kind: str) -> None:
    given = READABLE[kind](X)
    assert np.shares_memory(read(given), X)
    np.testing.assert_array_equal(read(given), X, strict=True)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("kind", READABLE)
def test_tensors_filters_and_biases_of_other_libraries_give_the_same(kind: str) -> None:
    x, filters, bias = (READABLE[kind](a) for a in (X, K, BIAS))
    expected = dwconv.depthwise_conv2d(X, K, bias=BIAS)
    np.testing.assert_array_equal(dwconv.depthwise_conv2d(x, filters, bias=bias), expected)
    layer = dwconv.DepthwiseConv2D(filters, bias=bias)
    np.testing.assert_array_equal(layer(x), expected)
    out = np.empty_like(expected)
    assert layer(x, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.usefixtures("backend")
def test_outputs_may_be_of_a_subclass(tmp_path: pathlib.Path) -> None:
    expected = dwconv.depthwise_conv2d(X, K)
    out = np.memmap(tmp_path / "out", F4, "w+", shape=expected.shape)
    assert dwconv.DepthwiseConv2D(K)(X, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("kind", [k for k in READABLE if k not in ("array", "subclass")])
def test_an_output_that_overlaps_what_another_library_lends_is_refused(kind: str) -> None:
    x = X.copy()
    with pytest.raises(ValueError, match=r"^DepthwiseConv2D: out overlaps x$"):
        dwconv.DepthwiseConv2D(np.ones((1, 1, 4, 1), F4))(READABLE[kind](x), out=x)
    out = np.ones((1, 6, 5, 4), F4)
    with pytest.raises(ValueError, match=r"^depthwise_conv2d: out overlaps bias$"):
        dwconv.depthwise_conv2d(X, K, padding=1, bias=READABLE[kind](out[0, 0, 0]), out=out)


# ---- lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers",
    [[1, 2], (1.5, 2), [True + 1, 2.0], [np.float64(0.1), 2], range(3), [[1], [2]], np.arange(3).tolist()],
    ids=str,
)
@pytest.mark.parametrize("dtype", [None, np.float32, np.float64, np.float16])
def test_lists_of_numbers_take_the_dtype_that_is_expected(numbers: Any, dtype: Any) -> None:
    expected = np.asarray(numbers).astype(dtype or np.float32)
    np.testing.assert_array_equal(read(numbers, dtype), expected, strict=True)


def test_lists_of_arrays_keep_their_dtype() -> None:
    images = [X[0], X[0]]
    np.testing.assert_array_equal(read(images), np.stack(images), strict=True)
    with pytest.raises(TypeError, match=r"^f: the dtype of x is float64 but float32 is expected"):
        read([X[0].astype(float)], F4)
    with pytest.raises(TypeError, match=r"^f: the dtype of x is uint8; "):
        read([X[0].astype(np.uint8)])


@pytest.mark.parametrize("values", [array.array("d", [1.0, 2.0]), memoryview(np.ones(2)), Lends(np.ones(2))])
def test_other_containers_keep_their_dtype(values: Any) -> None:
    assert read(values).dtype == np.float64
    with pytest.raises(TypeError, match=r"^f: the dtype of x is float64 but float32 is expected"):
        read(values, F4)


# ---- refusals ---------------------------------------------------------------------------------

MASKED = np.ma.masked_less(X, 0)
BLOCK = {
    "expand_filter": np.ones((4, 4), F4),
    "depthwise_filter": np.ones((3, 3, 4, 1), F4),
    "project_filter": np.ones((4, 4), F4),
    "expand_bias": BIAS,
    "depthwise_bias": BIAS,
    "bias": BIAS,
}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("argument", ["x", *BLOCK])
def test_masked_arrays_are_refused(argument: str) -> None:
    arguments = {"x": X} | BLOCK
    arguments[argument] = np.ma.masked_array(arguments[argument])
    message = rf"^inverted_residual: {argument} is a masked array, .* pass {argument}\.filled\("
    with pytest.raises(TypeError, match=message):
        dwconv.inverted_residual(**arguments)
    x = arguments.pop("x")
    with pytest.raises(TypeError, match=message.replace("inverted_residual", "InvertedResidual")):
        dwconv.InvertedResidual(**arguments)(x)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("position", range(4))
def test_masked_arrays_of_squeeze_and_excite_are_refused(position: int) -> None:
    gate = [np.ones((4, 2), F4), np.ones(2, F4), np.ones((2, 4), F4), BIAS]
    gate[position] = np.ma.masked_array(gate[position])
    with pytest.raises(
        TypeError, match=r"^inverted_residual: (reduce|expand)_\w+ of squeeze_excite is a masked"
    ):
        dwconv.inverted_residual(X, **BLOCK, squeeze_excite=gate)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_masked_outputs_are_refused(data_format: str) -> None:
    out = np.ma.masked_array(np.full((1, 6, 5, 4), 7, F4))
    filters = np.ones((1, 1, 4 if data_format == "NHWC" else 6, 1), F4)
    with pytest.raises(TypeError, match=r"^depthwise_conv2d.*: out is a masked array, .* out\.filled\("):
        dwconv.depthwise_conv2d(X, filters, data_format=data_format, out=out)
    with pytest.raises(TypeError, match=r"^PointwiseConv2D: out is a masked array, .* out\.filled\("):
        dwconv.PointwiseConv2D(np.ones((4, 4), F4))(X, out=out)
    assert np.all(out.data == 7)


REFUSED: dict[str, tuple[Any, str]] = {
    "None": (None, "x is None where numbers are needed"),
    "None inside": ([[1.0, None]], "x holds None where numbers are needed"),
    "masked inside": ([[MASKED[0]]], "x is a masked array, whose mask would be lost: pass x.filled(...)"),
    "masked alone": (np.ma.masked, "x is a masked array"),
    "masked by __array__": (Converts(MASKED), "x is a masked array, whose mask would be lost: pass "
                            "np.asanyarray(x).filled(...)"),
    "path": ("x.npy", "x is of type str, not an array: load a file with np.load(x)"),
    "Path": (pathlib.PurePosixPath("x"), "x is of type pathlib.PurePosixPath, not an array: load a"),
    "bytes": (b"12", "x is bytes, not an array: np.frombuffer(x, np.float32) reads numbers"),
    "bytearray": (bytearray(2), "the dtype of x is uint8; "),
    "dict": ({1: 2}, "x is of type dict, in which NumPy finds no numbers"),
    "generator": ((i for i in (1, 2)), "x is of type generator, in which NumPy finds no numbers"),
    "object": (object(), "x is of type object, in which NumPy finds no numbers"),
    "sparse": (type("csr", (), {"toarray": lambda self: X})(),
               "x is of type test_arrays.csr, in which NumPy finds no numbers; pass x.toarray()"),
    "DLPack elsewhere": (Lends(X, device=2), "x is of type test_arrays.Lends, which NumPy cannot read: it is "
                         "in the memory of another device; pass x.cpu()"),
    "DLPack of integers": (Lends(X.astype(np.int16)), "the dtype of x is int16"),
    "elsewhere": (Tensor(), "x is of type test_arrays.Tensor, which NumPy cannot read: no.; pass x.cpu()"),
    "CuPy": (Tensor(get=None), "x is of type test_arrays.Tensor, which NumPy cannot read: no.; pass x.get()"),
    "PyTorch": (Tensor(requires_grad=True, dtype="torch.bfloat16", float=None),
                "x is of type test_arrays.Tensor, which NumPy cannot read: no.; pass "
                "x.detach().cpu().float()"),
    "JAX": (Tensor(dtype="bfloat16"),
            "x is of type test_arrays.Tensor, which NumPy cannot read: no.; pass x.cpu().astype('float32')"),
    "complex": (X.astype(np.complex64), "the dtype of x is complex64; float32, float64 and float16 are"),
    "text": (np.array([["a"]]), "the dtype of x is <U1; float32, float64 and float16 are supported"),
    "int8": (X.astype(np.int8), "the dtype of x is int8; float32, float64 and float16 are supported, in "
             "native byte order (convert with .astype(np.float32))"),
}  # fmt: skip


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_remedy(kind: str) -> None:
    value, message = REFUSED[kind]
    with pytest.raises(TypeError, match=f"^depthwise_conv2d: {re.escape(message)}"):
        dwconv.depthwise_conv2d(value, K)
    with pytest.raises(TypeError, match=f"^DepthwiseConv2D: {re.escape(message)}"):
        dwconv.DepthwiseConv2D(K)(value)


def test_remedies_name_the_argument() -> None:
    with pytest.raises(TypeError, match=r"^conv2d: filters is of type .*; pass filters\.cpu\(\)$"):
        dwconv.conv2d(X, Tensor())
    gate = (Tensor(), None, np.ones((2, 4), F4), None)
    message = r"^inverted_residual: reduce_filter of squeeze_excite is of .*; pass reduce_filter\.cpu\(\)$"
    with pytest.raises(TypeError, match=message):
        dwconv.inverted_residual(X, **BLOCK, squeeze_excite=gate)


# ---- other libraries --------------------------------------------------------------------------


def test_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, filters = torch.from_numpy(X), torch.from_numpy(K)
    assert np.shares_memory(read(x), X)
    expected = dwconv.depthwise_conv2d(X, K)
    np.testing.assert_array_equal(dwconv.depthwise_conv2d(x, filters), expected)
    np.testing.assert_array_equal(dwconv.DepthwiseConv2D(filters)(x), expected)
    for tensor, remedy in [
        (torch.nn.Parameter(filters), r"filters\.detach\(\)"),
        (filters.bfloat16(), r"filters\.float\(\)"),
        (torch.nn.Parameter(filters.bfloat16()), r"filters\.detach\(\)\.float\(\)"),
        (filters.to_sparse(), r"filters\.to_dense\(\)"),
    ]:
        with pytest.raises(
            TypeError, match=rf"^depthwise_conv2d: filters is of type torch\..*; pass {remedy}$"
        ):
            dwconv.depthwise_conv2d(x, tensor)
    with pytest.raises(
        TypeError, match=r"^depthwise_conv2d: out must be a NumPy array, not torch\.Tensor: pass np"
    ):
        dwconv.depthwise_conv2d(x, filters, out=torch.ones(1, 4, 3, 4))


def test_frames_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    filters = pandas.DataFrame(np.ones((4, 2), F4))
    np.testing.assert_array_equal(
        dwconv.pointwise_conv2d(X, filters), dwconv.pointwise_conv2d(X, np.ones((4, 2), F4))
    )
    with pytest.raises(TypeError, match=r"^pointwise_conv2d: the dtype of filters is float64 .*convert with"):
        dwconv.pointwise_conv2d(X, filters.astype(float))
