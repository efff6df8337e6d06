"""ONNX's own tests run on dwconv: each passes or is refused, as listed; nothing is in neither list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs onnx")

import onnx

from dwconv import onnx_backend
from dwconv.graph import UnsupportedModel
from onnx_cases import FATES, cases, fate, listed, lookup, shortened
from onnx_models import noise, single

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
VERSION, PATTERNS = listed()

# How names of cases begin that networks are made of.
NETWORKS = """
abs add averagepool_1d averagepool_2d basic_conv batchnorm_example clip concat conv_with convtranspose
depthtospace elu flatten gemm globalaveragepool hardswish instancenorm layer_normalization leakyrelu
matmul_2d maxpool_2d mul prelu reduce_mean relu reshape resize_upsample_sizes_nearest sigmoid slice softmax
spacetodepth split squeeze tanh transpose unsqueeze upsample_nearest
"""
right_version = pytest.mark.skipif(onnx.__version__ != VERSION, reason=f"the list is of onnx {VERSION}")


@pytest.fixture(scope="module")
def fates() -> dict[str, str]:
    return {name: fate(case) for name, case in cases()}


@right_version
def test_every_case_passes_or_is_refused_as_listed(fates: dict[str, str]) -> None:
    wrong = {name: what for name, what in fates.items() if what != lookup(PATTERNS, name)}
    assert not wrong


@right_version
def test_the_list_is_as_short_as_it_can_be(fates: dict[str, str]) -> None:
    assert shortened({name: what for name, what in fates.items() if what in FATES}) == PATTERNS


@right_version
@pytest.mark.parametrize(
    "beginning",
    NETWORKS.split(),
)
def test_what_networks_are_made_of_is_supported(fates: dict[str, str], beginning: str) -> None:
    assert "pass" in {what for name, what in fates.items() if name.startswith(beginning)}


def tensors(folder: Path, kind: str) -> list[Any]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    protos = [onnx.TensorProto.FromString((folder / f"{kind}_{i}.pb").read_bytes()) for i in range(count)]
    return [onnx.numpy_helper.to_array(proto) for proto in protos]


@pytest.mark.parametrize("kind", ["pytorch-converted", "pytorch-operator"])
def test_models_converted_from_pytorch(kind: str) -> None:
    refused = []
    for folder in sorted((DATA / kind).iterdir()):
        rep = None
        try:
            rep = onnx_backend.prepare(onnx.load(folder / "model.onnx"))
            for data in folder.glob("test_data_set_*"):
                found = rep.run(tensors(data, "input"))
                for ours, theirs in zip(found, tensors(data, "output"), strict=True):
                    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5, err_msg=folder.name)
        except UnsupportedModel as error:
            refused.append((folder.name, error.problems))
    reasons = ("3 spatial axes", "is float64", "is int64")
    assert all(any(r in p for r in reasons for p in problems) for _, problems in refused)


LIGHT = ["densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "zfnet512"]


@pytest.mark.parametrize("name", LIGHT)
def test_whole_networks_of_the_package_have_a_graph(name: str) -> None:
    from dwconv.importers.onnx import read

    source = read(DATA / "light" / f"light_{name}.onnx")
    assert [info.shape for info in source.outputs] in ([(1, 1000)], [(1, 1000, 1, 1)])


# ---- the interface --------------------------------------------------------------------------------


def test_devices() -> None:
    assert onnx_backend.supports_device("CPU")
    assert onnx_backend.supports_device("CPU:0")
    assert not onnx_backend.supports_device("CUDA")
    with pytest.raises(ValueError, match="there is 'CPU'"):
        onnx_backend.prepare(single("Relu", shape=(1, 2)), device="CUDA")


def test_inputs_by_order_by_name_and_outputs_by_name() -> None:
    x = noise(2, 3)
    rep = onnx_backend.prepare(single("Relu", shape=(2, 3)))
    for inputs in ([x], {"x": x}, x):
        np.testing.assert_array_equal(rep.run(inputs).y, np.maximum(x, 0))
    with pytest.raises(ValueError, match="are needed"):
        rep.run([])
    with pytest.raises(ValueError, match="float32, not float64"):
        rep.run([x.astype(np.float64)])


def test_run_model_and_run_node() -> None:
    x = noise(2, 3)
    (y,) = onnx_backend.run(single("Relu", shape=(2, 3)), [x])
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    (z,) = onnx_backend.run_node(node, [x.reshape(1, 2, 3), noise(4, 2, 1)])
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_allclose(z[0], noise(4, 2, 1)[:, :, 0] @ x, rtol=1e-5, atol=1e-6)


def test_is_compatible() -> None:
    assert onnx_backend.is_compatible(single("Relu", shape=(2, 3)))
    assert not onnx_backend.is_compatible(single("NonZero", shape=(2, 3)))
