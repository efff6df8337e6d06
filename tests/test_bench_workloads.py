"""The benchmark's networks are the published ones, and its reference agrees with the package."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import dwconv

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
from bench import networks, problem
from bench.workloads import Stage, Workload


def layer_macs(name: str) -> int:
    return sum(w.macs * w.count for w in networks.expand(name) if w.kind != "blocks")


# Millions of multiply-accumulates as the papers state them, at 224x224 (Xception: 299x299, as
# torchvision-style model zoos count it); the tolerance is their rounding and what they count beside
# convolutions.
@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [
        ("mobilenet_v1", 569, 0.002),
        ("mobilenet_v2", 300, 0.005),
        ("mobilenet_v3_large", 219, 0.02),
        ("mobilenet_v3_small", 56, 0.02),
        ("efficientnet_b0", 390, 0.02),
        ("convnext_tiny", 4500, 0.02),
        ("xception", 8400, 0.01),
    ],
)
def test_networks_have_the_published_multiply_accumulates(
    name: str, published: int, tolerance: float
) -> None:
    assert layer_macs(name) == pytest.approx(published * 1e6, rel=tolerance)


def test_detector_backbones_grow_with_the_image() -> None:
    """Of MobileNetV2 without its classifier, exactly by area: both sizes are multiples of its stride 32."""
    assert layer_macs("mobilenet_v2_416") * 320**2 == layer_macs("mobilenet_v2_320") * 416**2


def test_mobilenets_have_their_blocks() -> None:
    def blocks(name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for workload in networks.expand(name, ("blocks",)):
            found[workload.op] = found.get(workload.op, 0) + workload.count
        return found

    assert blocks("mobilenet_v1") == {"separable": 13}
    # The first of the 17 has no expansion, and no residual that would tell it from a pair.
    assert blocks("mobilenet_v2") == {"separable": 1, "inverted_residual": 16}


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_shapes_name_workloads(name: str) -> None:
    """Rows are told apart by (network, op, shape): no two workloads may share them."""
    found = networks.expand(name)
    assert len({(w.op, w.shape) for w in found}) == len(found)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_workloads_survive_json(name: str) -> None:
    for workload in networks.expand(name):
        assert Workload.from_json(workload.to_json()) == workload


def test_selection_by_operation() -> None:
    found = networks.expand("mobilenet_v2", ("depthwise", "blocks"))
    assert {w.kind for w in found} == {"depthwise", "blocks"}
    with pytest.raises(KeyError):
        networks.expand("mobilenet_v9")


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 1), ((4, 2), 1), ((3, 5), 2), ((1, 1), 1)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_real_taps_are_those_on_the_image(
    stride: int, kernel: tuple[int, int], dilation: int, padding: str
) -> None:
    """On an image of ones with a filter of ones an output is the number of its taps."""
    stage = Stage("depthwise", 2, 2, kernel, stride, dilation, padding)
    workload = Workload("test", (stage,), 11, 10)
    ones = np.ones(stage.filter_shape, np.float32)
    zeros = np.zeros(2, np.float32)
    image = np.ones(workload.input_shape, np.float32)
    counted = problem.reference(problem.Problem(workload, image, [ones], [zeros]))
    assert counted.shape == workload.output_shape
    assert workload.flops == 2 * int(counted.sum())
    assert workload.macs == np.prod(workload.output_shape) * kernel[0] * kernel[1]


def test_bytes_count_every_array_once() -> None:
    workload = Workload("test", (Stage("pointwise", 3, 5),), 4, 6, batch=2)
    x, w, b, y = 2 * 4 * 6 * 3, 3 * 5, 5, 2 * 4 * 6 * 5
    assert workload.bytes == 4 * (x + w + b + y)


def test_chains_only_where_the_output_fits_the_input() -> None:
    same = Workload("test", (Stage("depthwise", 8, 8, (3, 3)),), 6, 6)
    chain = same.chain(4)
    assert chain is not None
    assert (len(chain.stages), chain.op, chain.output_shape) == (4, "chain", same.input_shape)
    assert Workload("test", (Stage("depthwise", 8, 8, (3, 3), 2),), 6, 6).chain(4) is None
    assert Workload("test", (Stage("pointwise", 8, 16),), 6, 6).chain(4) is None


# ---- the reference ----------------------------------------------------------------------------


def layer(stage: Stage) -> Workload:
    return Workload("test", (stage,), 9, 7, batch=2)


@pytest.mark.parametrize(
    ("op", "outputs", "kernel", "stride", "dilation", "padding", "activation"),
    [
        ("depthwise", 6, (3, 3), 1, 1, "same", "relu6"),
        ("depthwise", 6, (3, 3), 2, 1, "same", "hard_swish"),
        ("depthwise", 6, (5, 4), 2, 1, "valid", "silu"),
        ("depthwise", 18, (3, 1), 1, 2, "same", "relu"),
        ("depthwise", 6, (3, 3), 1, 18, "same", None),
        ("pointwise", 11, (1, 1), 1, 1, "same", "gelu"),
        ("pointwise", 11, (1, 1), 2, 1, "same", None),
        ("conv", 5, (3, 2), 2, 1, "same", "relu6"),
    ],
)
def test_reference_agrees_with_the_package(
    op: str,
    outputs: int,
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    padding: str,
    activation: str | None,
) -> None:
    made = problem.make(layer(Stage(op, 6, outputs, kernel, stride, dilation, padding, activation)))
    options = {"strides": stride, "bias": made.biases[0], "activation": activation}
    if op == "pointwise":
        got = dwconv.pointwise_conv2d(made.x, made.filters[0], **options)
    else:
        function = dwconv.depthwise_conv2d if op == "depthwise" else dwconv.conv2d
        got = function(made.x, made.filters[0], padding=padding, dilations=dilation, **options)
    assert problem.error(got, problem.reference(made)) < 1e-6


def test_reference_of_a_block_adds_its_input() -> None:
    stages = (
        Stage("pointwise", 4, 12, activation="relu6"),
        Stage("depthwise", 12, 12, (3, 3), activation="relu6"),
        Stage("pointwise", 12, 4),
    )
    made = problem.make(Workload("test", stages, 5, 6, residual=True))
    (expand, depthwise, project), biases = made.filters, made.biases
    got = dwconv.inverted_residual(
        *(made.x, expand, depthwise, project), expand_bias=biases[0], depthwise_bias=biases[1], bias=biases[2]
    )
    assert problem.error(got, problem.reference(made)) < 1e-6


def test_problems_are_reproducible_and_survive_the_disk(tmp_path) -> None:
    workload = networks.expand("mobilenet_v2", ("blocks",))[-1]
    made = problem.make(workload)
    problem.save(made, np.zeros(3, np.float32), tmp_path / "problem")
    loaded, expected = problem.load(tmp_path / "problem")
    again = problem.make(workload)
    assert loaded.workload == workload
    for one, other in itertools.chain(
        zip([made.x, *made.filters, *made.biases], [loaded.x, *loaded.filters, *loaded.biases], strict=True),
        zip([made.x, *made.filters], [again.x, *again.filters], strict=True),
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(expected, 0)


@pytest.mark.parametrize(
    ("got", "expected", "error"),
    [
        (np.ones(3), np.ones(3), 0),
        (np.array([1, 2, 4.5]), np.array([1, 2, 4.0]), 0.125),
        (np.array([1, 2, np.nan]), np.array([1, 2, 3.0]), float("inf")),
        (np.ones((3, 1)), np.ones(3), float("inf")),
    ],
)
def test_error_is_a_share_of_the_largest_value(got: np.ndarray, expected: np.ndarray, error: float) -> None:
    assert problem.error(got.astype(np.float32), expected.astype(np.float32)) == error
