"""ONNX files that are broken or hostile: a ValueError, no crash, no file elsewhere, no large array."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx")

import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broken_onnx import broken_onnx, small
from drawn import Draw
from dwconv import graph
from dwconv.importers.onnx import read
from onnx_models import model, node, noise, single


def test_the_model_that_is_broken_below_works() -> None:
    assert read(small().SerializeToString()).lower().values["y"].shape == (1, 9, 2)


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a model at all", b"PK\x03\x04" + bytes(100)])
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(ValueError, match="no ONNX model"):
        read(data)


def test_truncated_files() -> None:
    data = small().SerializeToString()
    for size in range(0, len(data), 13):
        with pytest.raises(ValueError):  # noqa: PT011
            read(data[:size])


def attribute(proto: Any, name: str, value: Any) -> None:
    """Of the convolution."""
    found = next(item for item in proto.graph.node[0].attribute if item.name == name)
    found.CopyFrom(onnx.helper.make_attribute(name, value))


def change_dims(proto: Any) -> None:
    proto.graph.initializer[5].dims[0] = 2**40


def change_length(proto: Any) -> None:
    proto.graph.initializer[5].raw_data = proto.graph.initializer[5].raw_data[:-4]


def negative_dims(proto: Any) -> None:
    proto.graph.initializer[5].dims[0] = -4


def circle(proto: Any) -> None:
    proto.graph.node[0].input[0] = "g"


def unknown_value(proto: Any) -> None:
    proto.graph.node[3].input[0] = "nobody"


def two_makers(proto: Any) -> None:
    proto.graph.node[1].output[0] = "c"


def no_inputs(proto: Any) -> None:
    del proto.graph.node[0].input[:]


def text_for_numbers(proto: Any) -> None:
    attribute(proto, "strides", "two")


def stride_of_zero(proto: Any) -> None:
    attribute(proto, "strides", [0, 1])


def huge_pads(proto: Any) -> None:
    attribute(proto, "pads", [2**40] * 4)


def large_pads(proto: Any) -> None:
    attribute(proto, "pads", [2**29] * 4)


def wrong_filters(proto: Any) -> None:
    proto.graph.initializer[5].dims[:] = [3, 4, 3, 3]


def impossible_reshape(proto: Any) -> None:
    proto.graph.node[4].attribute[0].i = 7


def kernel_that_differs(proto: Any) -> None:
    attribute(proto, "kernel_shape", [5, 5])


@pytest.mark.parametrize(
    "damage",
    [
        change_dims, change_length, negative_dims, circle, unknown_value, two_makers, no_inputs,
        text_for_numbers, stride_of_zero, huge_pads, large_pads, wrong_filters, impossible_reshape,
        kernel_that_differs,
    ],
    ids=lambda damage: damage.__name__,
)  # fmt: skip
def test_damaged_models(damage: Callable[[Any], None]) -> None:
    proto = small()
    names = [tensor.name for tensor in proto.graph.initializer]
    assert names[5] == "w"
    damage(proto)
    with pytest.raises(ValueError):  # noqa: PT011
        read(proto.SerializeToString())


@pytest.mark.parametrize(
    "nodes",
    [
        [node("ConstantOfShape", ["n"], ["y"])],
        [node("Expand", ["one", "n"], ["y"])],
        [node("Tile", ["ones", "n"], ["y"])],
        [node("ConstantOfShape", ["half"], ["a"])]
        + [node("Add", [old, old], [new]) for old, new in zip("abcdefgh", "bcdefghy", strict=True)],
    ],
    ids=lambda nodes: nodes[0].op_type,
)
def test_small_files_do_not_make_large_arrays(nodes: list[Any]) -> None:
    constants = {
        "n": np.array([2**15] * 3), "half": np.array([2**12, 2**13]), "one": np.float32(1),
        "ones": np.ones((1, 1, 1), np.float32),
    }  # fmt: skip
    proto = model(nodes, {}, constants)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large"):
            read(proto.SerializeToString())
        assert tracemalloc.get_traced_memory()[1] < 2**30
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("op", ["Resize", "Pad", "ConvTranspose"])
def test_what_nodes_make_of_constants_counts_too(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that the importer hands on, so that the builder computes them."""
    monkeypatch.setattr(graph, "MOST_COMPUTED", 2**20)
    constants = {
        "x": np.ones((1, 1, 2, 2), np.float32), "sizes": np.array([1, 1, 1024, 1024]),
        "pads": np.array([0, 0, 0, 0, 0, 0, 1022, 1022]), "w": np.ones((1, 1, 1, 1), np.float32),
    }  # fmt: skip
    made = {
        "Resize": node("Resize", ["x", "", "", "sizes"], mode="nearest"),
        "Pad": node("Pad", ["x", "pads"]),
        "ConvTranspose": node("ConvTranspose", ["x", "w"], strides=[1023, 1023]),
    }[op]
    proto = model([made], {}, constants)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too large"):
            read(proto.SerializeToString()).lower()
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


# ---- external data ------------------------------------------------------------------------------------


def outside(folder: Path, location: str, offset: str = "0", length: str = "") -> Path:
    """A model of a convolution whose filters are in another file."""
    proto = single("Conv", noise(4, 3, 1, 1), shape=(1, 3, 2, 2))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        if value:
            tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder / "model.onnx"


def test_external_data_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(bytes(16) + noise(4, 3, 1, 1).tobytes())
    graph = read(outside(tmp_path, "weights/w.bin", "16", "48")).lower()
    filters = graph.values[next(n for n in graph.nodes if n.op == "conv").inputs[1]].data
    np.testing.assert_array_equal(filters, noise(4, 3, 1, 1).transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("offset", "length"), [("16", "48"), ("0", "47"), ("-1", "48"), ("x", "48"), (str(2**70), "48")]
)
def test_external_data_that_is_too_short(tmp_path: Path, offset: str, length: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(50))
    with pytest.raises(ValueError, match=r"needs 48 bytes|where a number belongs"):
        read(outside(tmp_path, "w.bin", offset, length))


@pytest.mark.parametrize(
    "location", ["../secret", "inner/../../secret", "link", "linked/secret", "", "none", "."]
)
def test_external_data_cannot_leave_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=r"outside the folder|no file of the folder|does not exist"):
        read(outside(folder, location))
    with pytest.raises(ValueError, match="no file of the folder"):
        read(outside(folder, str(tmp_path / "secret")))


def test_external_data_needs_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="load the model by its path"):
        read(outside(tmp_path, "w.bin").read_bytes())


# ---- fuzzing --------------------------------------------------------------------------------------------

DATA = small().SerializeToString()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_mutated_files_give_a_graph_or_a_value_error(seed: int) -> None:
    try:
        source = read(broken_onnx(DATA, Draw(seed)))
        source.lower({info.name: tuple(size or 1 for size in info.shape) for info in source.inputs})
    except ValueError:
        pass
