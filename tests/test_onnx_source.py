"""What a read ONNX model tells of itself, what of it is saved, and errors that name all that is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx")

import onnx

import dwconv
from dwconv.graph import UnsupportedModel
from dwconv.importers.onnx import read
from dwconv.importers.onnx_parse import parse
from dwconv.importers.onnx_source import OnnxSource
from onnx_models import model, node, noise, shape_arithmetic, single

# ---- what the source tells --------------------------------------------------------------------------


def test_inputs_and_outputs_are_those_of_the_file() -> None:
    source = read(shape_arithmetic().SerializeToString())
    assert [(i.name, i.shape, i.dtype) for i in source.inputs] == [("x", (None, 3, None, None), np.float32)]
    fixed = read(single("Relu", shape=(1, 3, 4, 5)).SerializeToString())
    assert [(i.name, i.shape) for i in fixed.outputs] == [("y", (1, 3, 4, 5))]


def test_shapes_of_inputs_can_be_given() -> None:
    data = single("Relu", shape=(1, 3, 4, 5)).SerializeToString()
    source = read(data, input_shapes={"x": (2, 3, None, 7)})
    assert source.inputs[0].shape == (2, 3, None, 7)
    assert source.lower({"x": (2, 3, 9, 7)}).values["y"].shape == (2, 3, 9, 7)
    with pytest.raises(ValueError, match=r"'x' is \[2, 3, \?, 7\], not \(1, 3, 9, 7\)"):
        source.lower({"x": (1, 3, 9, 7)})
    with pytest.raises(ValueError, match="give its shape"):
        source.lower({})
    with pytest.raises(ValueError, match="there is no input"):
        read(data, input_shapes={"z": (1,)})


def test_state_makes_the_same_graph_without_the_package_onnx() -> None:
    state, arrays = read(shape_arithmetic().SerializeToString()).state()
    code = """if True:
        import json, sys
        sys.modules["onnx"] = None
        import numpy as np
        from dwconv.importers.onnx_source import OnnxSource
        state, told = map(json.loads, sys.argv[1:])
        arrays = {key: np.array(values, dtype) for key, (dtype, values) in told.items()}
        graph = OnnxSource.restored(state, arrays).lower({"x": (1, 3, 8, 10)})
        print([node.op for node in graph.nodes])
    """
    told = json.dumps({key: (array.dtype.name, array.tolist()) for key, array in arrays.items()})
    words = [sys.executable, "-c", code, json.dumps(state), told]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['transpose', 'conv', 'resize', 'transpose', 'reshape']"


def test_a_network_is_saved_and_loaded_with_the_same_bits(tmp_path: Path) -> None:
    x = noise(2, 3, 7, 5)
    net = dwconv.Network.from_onnx(shape_arithmetic().SerializeToString())
    net.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(dwconv.load(tmp_path / "net.npz")(x), net(x))
    (tmp_path / "net.onnx").write_bytes(shape_arithmetic().SerializeToString())
    np.testing.assert_array_equal(dwconv.load(tmp_path / "net.onnx")(x), net(x))


def test_damaged_state_is_a_value_error() -> None:
    state, arrays = read(shape_arithmetic().SerializeToString()).state()
    for key in ("nodes", "inputs", "constants", "opsets"):
        with pytest.raises(ValueError, match="damaged"):
            OnnxSource.restored({k: v for k, v in state.items() if k != key}, arrays)
    with pytest.raises(ValueError, match="damaged"):
        OnnxSource.restored(state, {})


# ---- what is missing --------------------------------------------------------------------------------


def test_one_error_lists_all_that_is_unsupported() -> None:
    nodes = [
        onnx.helper.make_node("GatherElements", ["x", "k"], ["a"], "most"),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("Resize", ["z", "", "up"], ["c"], "cubic", mode="lanczos"),
        onnx.helper.make_node("Frobnicate", ["c"], ["d"], "custom", domain="com.example"),
    ]
    proto = model(
        nodes,
        {"x": (2, 1, 4), "z": (1, 3, 4, 4)},
        {"k": np.array([3]), "up": np.array([1, 1, 2, 2], np.float32)},
        ("b", "d"),
        opset=14,
    )
    proto.opset_import.append(onnx.helper.make_opsetid("com.example", 3))
    with pytest.raises(UnsupportedModel) as caught:
        OnnxSource(parse(proto)).lower({})
    problems = caught.value.problems
    assert len(problems) == 3
    assert problems[0] == "'most' (GatherElements, opset 14): there is no such operation; the nearest: Gather"
    assert "'cubic' (Resize, opset 14): mode 'lanczos'; supported: nearest, linear, cubic" in problems[1]
    assert "'custom' (com.example::Frobnicate, opset 3): there is no such operation" in problems[2]
    with pytest.raises(UnsupportedModel, match="2 unsupported"):  # at once, whatever the shapes
        read(proto.SerializeToString())


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_inputs_of_other_dtypes_are_refused_by_name(dtype: Any) -> None:
    proto = single("Relu", shape=(1, 3))
    proto.graph.input[0].type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    with pytest.raises(UnsupportedModel, match=f"input 'x' is {np.dtype(dtype)}; float32"):
        read(proto.SerializeToString())


def test_unknown_attributes_and_opsets_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match="sharpness: not supported"):
        read(single("Relu", shape=(1, 3), sharpness=2.0).SerializeToString())
    proto = single("Relu", shape=(1, 3))
    proto.opset_import[0].version = 99
    with pytest.raises(UnsupportedModel, match="opset 99; 6 to"):
        read(proto.SerializeToString())


def test_nodes_that_no_output_needs_are_left_out() -> None:
    nodes = [node("Relu", ["x"]), node("NonZero", ["x"], ["z"])]
    assert [n.op for n in read(model(nodes, {"x": (1, 3)}).SerializeToString()).lower().nodes] == ["unary"]
