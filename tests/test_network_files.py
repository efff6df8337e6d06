"""Saved networks: the same bits again, from a file that NumPy alone reads; and files that are none."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dwconv
from dwconv import saved
from dwconv.graph import Builder, Quantization
from networks import channels_first, classifier, image, two_inputs, weights

NETWORKS: list[tuple[Callable[[], Builder], list[tuple[int, ...]]]] = [
    (classifier, [(1, 16, 16, 3)]),
    (channels_first, [(1, 3, 16, 16)]),
    (two_inputs, [(1, 4, 4, 8), (8,)]),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A saved network."""
    path = tmp_path / "net.npz"
    dwconv.Network(classifier(), name="small").save(path)
    return path


def told(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return json.loads(arrays["network"].tobytes())  # type: ignore[no-any-return]


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The same file with another description."""
    with np.load(path, allow_pickle=False) as arrays:
        members = dict(arrays)
    description = json.loads(members["network"].tobytes())
    change(description)
    members["network"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    np.savez(path, **members)


# ---- there and back -----------------------------------------------------------------------------


def test_filters_less_a_zero_point_are_saved_as_bytes(tmp_path: Path) -> None:
    rng, b = np.random.default_rng(0), Builder()
    of = {"dtype": "uint8", "quantization": Quantization(0.5, 3), "rounding": "even"}
    x = b.input("x", (1, 5, 5, 8), np.uint8, Quantization(0.1, 128))
    for zero in (30, 255):
        filters = (rng.integers(0, 256, (3, 3, 8, 8)) - zero).astype(np.int16)
        x = b.node("conv", x, b.constant(filters, Quantization(np.array([0.01], np.float32), 0, 3)), **of)
    b.output("y", x)
    net = dwconv.Network(b, name="wide")
    net.save(tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz") as arrays:
        assert {array.dtype.name for array in arrays.values()} == {"uint8"}
    image_of = rng.integers(0, 256, (1, 5, 5, 8)).astype(np.uint8)
    np.testing.assert_array_equal(dwconv.load(tmp_path / "net.npz")(image_of), net(image_of))


@pytest.mark.parametrize("least", [1.5, None, 10**9, [1]])
def test_filters_above_what_is_no_integer_are_refused(file: Path, least: object) -> None:
    rewrite(file, lambda told: told["state"]["constants"][0].append(least))
    with pytest.raises(ValueError, match="no filters of int16"):
        dwconv.load(file)


@pytest.mark.parametrize(("build", "shapes"), NETWORKS)
def test_a_saved_network_gives_the_same_bits(
    build: Callable[[], Builder], shapes: list[tuple[int, ...]], tmp_path: Path, backend: str
) -> None:
    net, inputs = dwconv.Network(build(), name="mine"), [image(*shape) for shape in shapes]
    net.save(tmp_path / "net.npz")
    again = dwconv.load(tmp_path / "net.npz")
    assert again.name == "mine"
    assert (again.inputs, again.outputs) == (net.inputs, net.outputs)
    y, expected = again(*inputs), net(*inputs)
    for a, b in zip(*(v.values() if isinstance(v, dict) else [v] for v in (y, expected)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layout_and_open_sizes_are_saved(tmp_path: Path) -> None:
    net = dwconv.Network(channels_first(), input_shapes={"image": (None, 3, None, None)})
    net.bind((1, 3, 8, 8)).layout("NHWC").save(tmp_path / "net.npz")
    again, x = dwconv.load(tmp_path / "net.npz"), image(2, 9, 7, 3)
    assert again.inputs[0].shape == (None, None, None, 3)
    expected = net(x.transpose(0, 3, 1, 2))["map"].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(again(x)["map"], expected)


def test_every_attribute_survives(tmp_path: Path) -> None:
    """Infinities, names, None, nested tuples; quantization of an input; the float that JSON lacks."""
    b = Builder()
    x = b.input("x", (1, 8, 8, 4), quantization=Quantization(np.float32(0.5), 3))
    y = b.node("pad", x, pads=((0, 0), (1, 2), (0, 1), (0, 0)), value=-np.inf, name="a/b:0")
    y = b.node("max_pool", y, kernel=(3, 2), strides=(2, 2), padding=((0, 0), (1, 0)), ceil_mode=True)
    y = b.node("slice", y, slices=(None, (0, 4, 2), (-1, None, -1), None))
    y = b.node("conv", y, weights(1, 1, 4, 4), activation=("clip", 0.0, np.inf))
    y = b.node("resize", y, kind="nearest", scales=(2.0, 1.5), coordinates="asymmetric", rounding="floor")
    b.output("y", b.node("unary", y, kind="leaky_relu", a=0.1))
    net = dwconv.Network(b)
    net.save(tmp_path / "net.npz")
    again = dwconv.load(str(tmp_path / "net.npz"))
    nodes = [[(n.op, n.name, n.attributes) for n in net._source.graph.nodes] for net in (net, again)]  # type: ignore[attr-defined]
    assert nodes[0] == nodes[1]
    assert again.inputs[0].quantization == (np.float32(0.5), 3, None)
    np.testing.assert_array_equal(again(image(1, 8, 8, 4)), net(image(1, 8, 8, 4)))


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "float32",
        "float64",
        "bool",
        *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    ],
)
def test_every_dtype_survives(dtype: str, tmp_path: Path) -> None:
    """Of an input, a constant and an output."""
    b = Builder()
    x = b.input("x", (2, 3), dtype)
    constant = np.array([[1, 0, 1]], dtype)
    b.output("y", b.node("concat", x, b.constant(constant), axis=0))
    net = dwconv.Network(b)
    net.save(tmp_path / "net.npz")
    again = dwconv.load(tmp_path / "net.npz")
    assert (again.inputs, again.outputs) == (net.inputs, net.outputs)
    given = np.array([[1, 1, 0], [0, 1, 1]], dtype)
    y = again(given)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.concatenate([given, constant]))


def test_the_file_is_plain_arrays_and_json(file: Path) -> None:
    description = told(file)
    assert description["format"] == 1
    assert description["kind"] == "graph"
    with np.load(file, allow_pickle=False) as arrays:
        assert set(arrays.files) == {"network", *(f"array_{i}" for i in range(len(description["arrays"])))}
        assert all(arrays[name].dtype in (np.float32, np.uint8) for name in arrays.files)


def test_loading_needs_numpy_alone(file: Path) -> None:
    code = (
        "import sys, dwconv; net = dwconv.load(sys.argv[1]); print(net.outputs[0].shape); "
        "print([m for m in ('onnx', 'tflite', 'torch', 'keras', 'PIL', 'rich') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.splitlines() == ["(1, 5)", "[]"]


def test_arrays_that_are_read_are_read_only(file: Path) -> None:
    source, _ = saved.restore(file)
    assert not any(a.flags.writeable for a in source.state()[1].values())


# ---- files that are none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.h5", "keras.models.load_model"),
        ("model.keras", "from_keras"),
        ("model.pth", "from_torch"),
        ("model.pt2", "torch.export.load"),
        ("model", ".onnx, .tflite or .npz"),
    ],
)
def test_other_kinds_of_files_are_refused_with_the_remedy(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a model file") as caught:
        dwconv.load(tmp_path / name)
    assert words in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dwconv.load(tmp_path / "net.npz")


def test_a_file_is_saved_under_the_name_that_was_given(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in .npz, not 'net.bin'"):
        dwconv.Network(classifier()).save(tmp_path / "net.bin")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=2),
        lambda d: d.pop("format"),
        lambda d: d.update(kind="python"),
        lambda d: d.update(name=None),
        lambda d: d.update(arrays=d["arrays"][:-1]),
        lambda d: d.update(arrays="ab"),
        lambda d: d.update(state=[]),
        lambda d: d["state"].update(nodes=7),
        lambda d: d["state"]["nodes"].reverse(),
        lambda d: d["state"]["nodes"].append(["conv", ["image"], "z", {}, ""]),
        lambda d: d["state"]["nodes"][0].pop(),
        lambda d: d["state"]["nodes"][0][1].append("nothing"),
        lambda d: d["state"]["nodes"][0][3].update(strides=[0, 0]),
        lambda d: d["state"]["nodes"][0][3].update(strides=[2**40, 1]),
        lambda d: d["state"]["nodes"][0][3].update(strides="11"),
        lambda d: d["state"]["nodes"][0][3].update(dilations=[[1], 1]),
        lambda d: d["state"]["nodes"][0][3].update(padding=[[2**31 - 1, 2**31 - 1], [2**31 - 1, 2**31 - 1]]),
        lambda d: d["state"]["nodes"][0][3].update(groups=7),
        lambda d: d["state"]["nodes"][0][3].update(activation=["clip", 2, 1]),
        lambda d: d["state"]["nodes"][1][3].update(kind="__class__"),
        lambda d: d["state"]["nodes"][1][3].update(a={"float": "1e400"}),
        lambda d: d["state"]["nodes"].append(["expand", ["image"], "z", {"shape": [2**31 - 1] * 6}, ""]),
        lambda d: d["state"]["nodes"].append(["block", ["image"], "z", {"operation": None}, ""]),
        lambda d: d["state"]["nodes"].append(["reshape", ["image"], "image", {"shape": [-1]}, ""]),
        lambda d: d["state"]["inputs"][0].__setitem__(1, [1, 16, 16, 2**40]),
        lambda d: d["state"]["inputs"][0].__setitem__(2, "object"),
        lambda d: d["state"]["inputs"][0].__setitem__(1, [1, 16, 16, 4]),
        lambda d: d["state"]["made_for"][0].__setitem__(0, -1),
        lambda d: d["state"]["made_for"].append([1]),
        lambda d: d["state"]["outputs"].append(d["state"]["outputs"][0]),
        lambda d: d["state"]["outputs"][0].__setitem__(0, "nothing"),
        lambda d: d["state"]["constants"][0].__setitem__(0, "image"),
        lambda d: d["state"]["constants"][0].__setitem__(1, "nothing"),
        lambda d: d["state"]["constants"][0].__setitem__(0, {}),
    ],
)
def test_descriptions_that_are_none_are_refused(change: Callable[[dict[str, Any]], None], file: Path) -> None:
    rewrite(file, change)
    with pytest.raises(ValueError, match=r"^net.npz: not a network that dwconv saved: "):
        dwconv.load(file)


def member(header: str, data: bytes = b"") -> bytes:
    """A .npy file with this header."""
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x05\x06",
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"),
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"),
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", b"1234"),
        member("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n."),
        member("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", b"1234"),
        member("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", b"123"),
        member("__import__('os').abort()"),
    ],
)
def test_arrays_that_are_none_are_refused(content: bytes, file: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more.npy", content)
    with pytest.raises(ValueError, match="not a network that dwconv saved"):
        dwconv.load(file)


def test_a_file_that_grows_without_bound_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "MOST_BYTES", 2**20)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(2**21))
    with pytest.raises(ValueError, match=r"would need \d+ bytes"):
        dwconv.load(file)


def test_json_that_is_too_deep_is_refused(file: Path) -> None:
    with np.load(file) as arrays:
        members = dict(arrays)
    members["network"] = np.frombuffer(b"[" * 10**5, np.uint8)
    np.savez(file, **members)
    with pytest.raises(ValueError, match="not a network that dwconv saved"):
        dwconv.load(file)


def test_nodes_of_constants_alone_cannot_be_used_to_compute_at_loading(file: Path) -> None:
    def change(description: dict[str, Any]) -> None:
        constant = description["state"]["constants"][0][0]
        description["state"]["nodes"].append(["unary", [constant], "z", {"kind": "exp"}, "bomb"])

    rewrite(file, change)
    with pytest.raises(ValueError, match="constants alone"):
        dwconv.load(file)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_networks_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "fuzzed.npz"
    dwconv.Network(channels_first()).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.integers(0, 3)):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        else:
            content = content[: data.draw(st.integers(1, len(content)))]
    path.write_bytes(bytes(content))
    with contextlib.suppress(ValueError):
        dwconv.load(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_descriptions_are_networks_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "fuzzed.npz"
    dwconv.Network(classifier()).save(path)
    odd = st.sampled_from([None, -1, 0, 2**31, 2**63, 1.5, "", "x", [], {}, [[]], True, "image", 10**400])

    def change(description: dict[str, Any]) -> None:
        at: Any = description
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.integers(0, 4)) == 0:
                at[key] = data.draw(odd)
                return
            at = at[key]

    rewrite(path, change)
    with contextlib.suppress(ValueError):
        dwconv.load(path)
