"""The benchmark's networks are the published ones, and its reference agrees with the package."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("bench", reason="the benchmark is part of the source tree only")
from bench import networks, problem
from bench.peers import peer_class
from bench.workloads import Stage, Workload
from bench_fakes import gated


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
    def blocks(name: str) -> Counter[str]:
        return Counter(workload.op for workload in networks.NETWORKS[name]() if workload.kind == "blocks")

    assert blocks("mobilenet_v1") == {"separable": 13}
    # The first of the 17 has no expansion, and no residual that would tell it from a pair.
    assert blocks("mobilenet_v2") == {"separable": 1, "inverted_residual": 16}
    assert blocks("mobilenet_v3_large") == {"inverted_residual": 15}
    assert blocks("efficientnet_b0") == {"inverted_residual": 16}


def test_gates_are_those_of_the_papers() -> None:
    """MobileNetV3: a quarter of the expanded channels, in eights; EfficientNet: of the block's input."""

    def gates(name: str) -> list[tuple[object, ...]]:
        both = [w.squeeze_excite for w in networks.NETWORKS[name]() if w.squeeze_excite]
        assert all(few.filter_shape == wide.filter_shape[:2] + wide.filter_shape[:1:-1] for few, wide in both)
        return [(few.in_channels, few.out_channels, few.activation, wide.activation) for few, wide in both]

    v3 = [(72, 24), (120, 32), (120, 32), (480, 120), (672, 168), (672, 168), (960, 240), (960, 240)]
    assert gates("mobilenet_v3_large") == [(*sizes, "relu", "hard_sigmoid") for sizes in v3]
    b0 = [
        *[(32, 8), (96, 4), (144, 6), (144, 6), (240, 10), (240, 10)],
        *[(480, 20)] * 3,
        *[(672, 28)] * 3,
        *[(1152, 48)] * 4,
    ]
    assert gates("efficientnet_b0") == [(*sizes, "silu", "sigmoid") for sizes in b0]


def test_a_gate_counts_in_operations_and_bytes() -> None:
    stages = Stage("depthwise", 16, 16, (1, 1)), Stage("pointwise", 16, 8)
    gate = Stage("pointwise", 16, 4), Stage("pointwise", 4, 16)
    plain = Workload("test", stages, 3, 5, batch=2)
    gated = Workload("test", stages, 3, 5, batch=2, squeeze_excite=gate)
    assert (plain.op, gated.op) == ("separable", "inverted_residual")
    assert gated.macs - plain.macs == 2 * (2 * 16 * 4)
    assert gated.flops - plain.flops == 2 * (2 * 2 * 16 * 4 + 2 * 3 * 5 * 16)
    assert gated.bytes - plain.bytes == 4 * (2 * 16 * 4 + 4 + 16)


@pytest.mark.parametrize("name", [*networks.NETWORKS, *networks.APART])
def test_shapes_name_workloads(name: str) -> None:
    """Rows are told apart by (network, op, shape): no two workloads may share them."""
    found = networks.expand(name)
    assert len({(w.op, w.shape) for w in found}) == len(found)


def test_sequences_are_rows_and_columns_and_no_part_of_everything() -> None:
    found = networks.expand("sequences")
    assert "sequences" not in networks.NETWORKS
    assert {w.op for w in found} == {"depthwise", "separable", "inverted_residual"}
    for workload in found:
        assert 1 in (workload.height, workload.width)
        spatial = [s for s in workload.stages if s.op == "depthwise"]
        assert len(spatial) == 1
        assert spatial[0].kernel[0 if workload.height == 1 else 1] == 1
    assert any(w.width == 1 for w in found)
    tasnet = next(w for w in found if w.op == "inverted_residual")
    assert tasnet.macs == 3200 * (2 * 128 * 512 + 3 * 512)


@pytest.mark.parametrize("name", [*networks.NETWORKS, *networks.APART])
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


def test_memory_of_layers_counts_the_maps_that_exist_at_once() -> None:
    """Of 56x56 24>144>24 +x: while depthwise runs, both wide maps and the input that is added later."""
    (block,) = (w for w in networks.expand("classic", ("blocks",)) if w.shape.startswith("56x56 24>144>24"))
    thin, wide = 56 * 56 * 24 * 4, 56 * 56 * 144 * 4
    assert (block.map_bytes, block.between_bytes) == (2 * thin, 2 * wide)
    assert block.layers_bytes == 2 * wide + thin
    assert replace(block, residual=False).layers_bytes == 2 * wide
    (pair,) = (w for w in networks.expand("classic", ("blocks",)) if w.shape.startswith("112x112 32>64"))
    assert (pair.map_bytes, pair.between_bytes) == (3 * 112 * 112 * 32 * 4, 112 * 112 * 32 * 4)
    assert pair.layers_bytes == 3 * 112 * 112 * 32 * 4
    (layer,) = networks.expand("mobilenet_v1", ("conv",))
    assert (layer.between_bytes, layer.layers_bytes) == (0, layer.map_bytes)


def test_chains_only_where_the_output_fits_the_input() -> None:
    same = Workload("test", (Stage("depthwise", 8, 8, (3, 3)),), 6, 6)
    chain = same.chain(4)
    assert chain is not None
    assert (len(chain.stages), chain.op, chain.output_shape) == (4, "chain", same.input_shape)
    assert Workload("test", (Stage("depthwise", 8, 8, (3, 3), 2),), 6, 6).chain(4) is None
    assert Workload("test", (Stage("pointwise", 8, 16),), 6, 6).chain(4) is None


# ---- the reference ----------------------------------------------------------------------------


VALID = Workload("test", (Stage("depthwise", 6, 6, (5, 4), 2, padding="valid", activation="silu"),), 9, 7, 2)


@pytest.mark.parametrize(
    "workload",
    [
        *networks.layers_of(
            "test", "9x7 6 3x3 b2; 9x7 6 3x1 m3 d2; 9x7 6 3x3 d18; 9x7 6>5 3x2 s2; 5x6 4/12/4"
        ),
        *networks.layers_of("test", "9x7 6 3x3 s2; 9x7 6>11; 5x6 4/8", "gelu"),
        VALID,
        gated("5x6 4/12/7 s2 b2", "hard_swish", 3, "relu", "hard_sigmoid"),
        gated("5x6 4/12/4", "silu", 3, "silu", "sigmoid"),
    ],
    ids=lambda workload: workload.shape,
)
def test_reference_agrees_with_the_package(workload: Workload) -> None:
    made = problem.make(workload)
    runner = peer_class("dwconv-python")[0]("", 1).prepare(made)
    runner.run(1)
    assert problem.error(runner.output(), problem.reference(made)) < 1e-6


def test_a_peer_that_left_the_gate_out_would_not_pass() -> None:
    made = problem.make(gated("5x6 4/12/7", "hard_swish", 3, "relu", "hard_sigmoid"))
    ungated = replace(made.workload, squeeze_excite=())
    plain = problem.Problem(ungated, made.x, made.filters[:3], made.biases[:3])
    assert problem.error(problem.reference(plain), problem.reference(made)) > 100 * problem.TOLERANCE


def test_problems_are_reproducible_and_survive_the_disk(tmp_path) -> None:
    workload = networks.expand("efficientnet_b0", ("blocks",))[-1]
    made, again = problem.make(workload), problem.make(workload)
    problem.save(made, np.zeros(3, np.float32), tmp_path / "problem")
    loaded, expected = problem.load(tmp_path / "problem")
    assert loaded.workload == workload
    for other in (loaded, again):
        arrays = zip(
            [made.x, *made.filters, *made.biases], [other.x, *other.filters, *other.biases], strict=True
        )
        assert all(np.array_equal(one, same) for one, same in arrays)
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
