"""`Network.quantized` and `dwconv quantize`: networks of floats as networks of 8-bit integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import calibration, equalising, fitting
from dwconv.__main__ import main
from dwconv.calibration import Probe
from dwconv.graph import Builder, Node
from dwconv.nodes import complete
from dwconv.nodes_numpy import compute, interpret
from dwconv.quantizing_graph import folded
from oracles import backends, using

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def filters(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1.5 / np.sqrt(np.prod(shape[:3])), shape).astype(np.float32)


def small() -> dwconv.Network:
    """Every kind of node that has a form in integers, and a softmax, which has none here."""
    b = Builder()
    y = b.node(
        "conv", b.input("x", (1, 16, 16, 3)), filters(3, 3, 3, 16), random(16), strides=(2, 2),
        padding="same", activation="relu6", name="stem",
    )  # fmt: skip
    z = b.node(
        "conv", y, filters(3, 3, 1, 16), groups=16, padding="same", activation="hard_swish", name="depthwise"
    )
    z = b.node("conv", z, filters(1, 1, 16, 16), random(16), name="project")
    z = b.node("binary", y, z, kind="add", activation="relu", name="add")
    z = b.node("concat", z, b.node("prelu", y, random(16)), axis=3)
    z = b.node("pad", z, pads=((0, 0), (1, 1), (0, 0), (0, 0)), value=1.5)
    z = b.node("max_pool", z, kernel=(2, 2), strides=(2, 2))
    z = b.node("resize", z, kind="linear", sizes=(9, 8))
    z = b.node("average_pool", z, kernel=(3, 3), padding="same")
    z = b.node("binary", z, random(32), kind="mul")
    z = b.node("transpose_conv", z, filters(2, 2, 32, 8), random(8), strides=(2, 2))
    z = b.node("unary", z, kind="sigmoid")
    z = b.node("reduce", z, kind="mean", axes=(1, 2), keepdims=False)
    z = b.node("matmul", z, filters(1, 1, 8, 10)[0, 0], name="dense")
    b.output("y", b.node("softmax", z, name="softmax"))
    return dwconv.Network(b)


SAMPLES = random(8, 16, 16, 3)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("method", ["minmax", "mse", "percentile"])
def test_results_are_near_those_of_floats(method: str, dtype: str) -> None:
    net = small()
    made, report = net.quantized(SAMPLES, method=method, dtype=dtype, report=True)
    in_floats = {row.op for row in report if row.reason is not None}
    assert in_floats == {"softmax"}
    assert min(row.snr_db for row in report) > 20
    assert made.backend == net.backend
    for x in SAMPLES[:, None]:
        np.testing.assert_allclose(made(x), net(x), atol=0.02)
    assert [(i.name, i.shape, i.dtype) for i in made.inputs] == [("x", (1, 16, 16, 3), np.float32)]


def test_all_backends_give_the_same_bits_and_so_does_a_saved_file(tmp_path: Path) -> None:
    made = small().quantized(SAMPLES, keep_float="dense", edges="int8")
    q = made.inputs[0].quantization
    assert q is not None
    x = dwconv.quantize(SAMPLES[:1], q.scale, q.zero_point)
    made.save(tmp_path / "net.npz")
    loaded = dwconv.load(tmp_path / "net.npz")
    integers = small_without_head().quantized(SAMPLES)
    results, whole = [], []
    for backend in backends():
        with using(backend):
            results.append(integers(SAMPLES[:1]))
            whole.append((made(x), loaded(x)))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    for one, other in whole:
        np.testing.assert_array_equal(one, other)


def small_without_head() -> dwconv.Network:
    b = Builder()
    y = b.node("conv", b.input("x", (1, 16, 16, 3)), filters(3, 3, 3, 15), activation="relu", name="a")
    z = b.node("conv", y, filters(3, 3, 1, 15), groups=15, padding="same", activation="silu", name="b")
    b.output("y", b.node("binary", y, z, kind="add", name="c"))
    return dwconv.Network(b)


def test_filters_are_symmetric_with_a_scale_for_each_output() -> None:
    made = small_without_head().quantized(SAMPLES)
    graph = made._source.graph
    (conv,) = [node for node in graph.nodes if node.op == "conv" and node["groups"] == 1]
    weights = graph.values[conv.inputs[1]]
    assert weights.data.dtype == np.int8
    assert (np.abs(weights.data.astype(int)).max((0, 1, 2)) == 127).all()
    assert weights.quantization.scale.shape == (15,)
    assert graph.values[conv.inputs[2]].data.dtype == np.int32
    relu = graph.values[conv.output].quantization
    assert relu.zero_point == -128, "a relu leaves no room below 0"


def test_moves_share_a_scale() -> None:
    graph = small().quantized(SAMPLES)._source.graph
    for node in graph.nodes:
        if node.op in ("concat", "pad", "max_pool", "resize"):
            scales = {graph.values[name].quantization for name in (*node.inputs, node.output)}
            assert len(scales) == 1, node.op


def test_channels_without_weights_and_constant_inputs() -> None:
    b = Builder()
    w = filters(1, 1, 4, 6)
    w[..., 2:4] = 0
    bias = np.array([0, 1, 0, 3, 0, 0], np.float32)
    y = b.node("conv", b.input("x", (1, 5, 5, 4)), w, bias, name="a")
    b.output("y", b.node("conv", y, np.zeros((3, 3, 6, 8), np.float32), name="b"))
    b.output("z", b.node("unary", y, kind="relu"))
    net = dwconv.Network(b)
    for value in (0.0, 2.5, -1.0):
        x = np.full((1, 5, 5, 4), value, np.float32)
        made = net.quantized([x])
        found, wanted = made(x), net(x)
        assert not found["y"].any()
        scale = (
            wanted["z"].max() + abs(wanted["z"].min()) + np.abs(w).sum((0, 1, 2)).max() * abs(value)
        ) / 255
        np.testing.assert_allclose(found["z"], wanted["z"], atol=2 * scale + 1e-6)


def test_biases_take_up_what_rounding_filters_leaves_out() -> None:
    b = Builder()
    w = filters(1, 1, 40, 8)
    w[0, 0, 0] = 8  # the scale follows the largest weight: others are rounded coarsely
    b.output("y", b.node("conv", b.input("x", (1, 8, 8, 40)), w))
    net = dwconv.Network(b)
    samples = np.abs(random(4, 8, 8, 40)) * np.linspace(0, 2, 40, dtype=np.float32)
    wanted = np.concatenate([net(x) for x in samples[:, None]])

    def drift(**more: Any) -> float:
        made = net.quantized(samples, **more)
        found = np.concatenate([made(x) for x in samples[:, None]])
        return float(np.abs((found - wanted).mean((0, 1, 2))).max())

    assert drift() < 0.5 * drift(bias_correction=False)


def uneven() -> Builder:
    """Channels of very different ranges between an expansion, a depthwise convolution and a projection."""
    b = Builder()
    size = np.geomspace(0.01, 3, 24).astype(np.float32)
    y = b.node("conv", b.input("x", (1, 9, 9, 8)), filters(1, 1, 8, 24) * size, size, activation="relu6")
    y = b.node("conv", y, filters(3, 3, 1, 24), groups=24, padding="same", activation="relu")
    b.output("y", b.node("conv", y, filters(1, 1, 24, 10) / size[:, None], random(10)))
    return b


def test_equalised_channels_compute_the_same_and_lose_less() -> None:
    samples = random(6, 9, 9, 8) * 2
    graph = folded(uneven().graph)
    changed = graph.copy()
    names = [first.output for first, _ in equalising.pairs_of(graph)]
    assert len(names) == 2
    probe = Probe(graph, names, "floats")
    equalising.equalise(changed, calibration.largest(probe, ([x] for x in samples[:, None]), names))
    for x in samples[:, None]:
        before, after = (interpret(g, {"x": x})["y"] for g in (graph, changed))
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    net = dwconv.Network(uneven())
    plain, equalised = (net.quantized(samples, equalise=flag, report=True)[1] for flag in (False, True))
    assert equalised[-1].snr_db > plain[-1].snr_db + 2


def test_fitted_filters_change_less_than_the_nearest() -> None:
    rng = np.random.default_rng(3)
    for groups, kernel in ((1, 1), (1, 3), (2, 3), (16, 3)):
        w = filters(kernel, kernel, 16 // groups, 16)
        mixed = rng.normal(0, 1, (6, 10, 10, 5)) @ rng.normal(0, 1, (5, 16))  # inputs that go together
        mixed = sum(np.roll(mixed, shift, (1, 2)) for shift in np.ndindex(4, 4))  # smooth images
        x = (mixed + 0.1 * rng.normal(0, 1, mixed.shape)).astype(np.float32)
        node = Node("conv", ("x", "w"), "y", complete("conv", {"groups": groups, "padding": "same"}))
        seen = fitting.Moments()
        for image in x[:, None]:
            seen.add(node, w.shape, image)
        scales = np.abs(w).max((0, 1, 2)) / 7  # of four bits, whose errors are large
        spread = seen.spread(False)
        assert spread is not None
        fitted = fitting.fitted(w, scales, spread)
        nearest = np.rint(w / scales)
        loss = [
            float((compute(node, [x, ((w / scales - q) * scales).astype(np.float32)]) ** 2).mean())
            for q in (fitted, nearest)
        ]
        assert loss[0] < 0.6 * loss[1], (groups, kernel)
        alone = np.broadcast_to(np.eye(spread.shape[1]), spread.shape)
        np.testing.assert_array_equal(fitting.fitted(w, scales, alone), nearest)


def test_samples_that_overflow_products_leave_filters_the_nearest() -> None:
    b = Builder()
    b.output("y", b.node("conv", b.input("x", (1, 4, 4, 3)), filters(1, 1, 3, 4) * np.float32(1e-9)))
    samples = random(3, 4, 4, 3) * np.float32(1e25)
    net = dwconv.Network(b)
    made, wanted = net.quantized(samples), net(samples[:1])
    np.testing.assert_allclose(made(samples[:1]), wanted, atol=0.02 * np.abs(wanted).max())


def test_methods_leave_out_what_is_rare() -> None:
    b = Builder()
    y = b.node("conv", b.input("x", (1, 32, 32, 1)), np.ones((1, 1, 1, 1), np.float32))
    b.output("y", y)
    samples = random(4, 32, 32, 1)
    samples[0, 0, 0, 0] = 30
    scale = {}
    for method in ("minmax", "mse", "percentile"):
        made = dwconv.Network(b).quantized(samples, method=method, percentile=99.9, edges="int8")
        scale[method] = made.inputs[0].quantization.scale
    assert scale["percentile"] < scale["mse"] <= scale["minmax"]
    assert scale["minmax"] == pytest.approx(31 / 255, rel=0.01)


def test_nodes_can_stay_in_floats() -> None:
    made, report = small().quantized(SAMPLES, keep_float=["first", "project", "last"], report=True)
    kept = [row.name for row in report if row.reason is not None and "keep_float" in row.reason]
    assert kept == ["stem", "project", "dense"]
    assert made(SAMPLES[:1]).dtype == np.float32
    assert "project" in str(report)
    assert "least" in str(report)


def test_an_open_batch_stays_open() -> None:
    b = Builder()
    b.output("y", b.node("conv", b.input("x", (1, 6, 6, 3)), filters(3, 3, 3, 4)))
    net = dwconv.Network(b, input_shapes={"x": (None, 6, 6, 3)})
    made = net.quantized(random(5, 6, 6, 3))
    assert made(random(7, 6, 6, 3)).shape == (7, 4, 4, 4)


def test_several_inputs() -> None:
    b = Builder()
    x0, x1 = b.input("a", (1, 4, 4, 8)), b.input("b", (1, 4, 4, 8))
    y = b.node("conv", x0, filters(1, 1, 8, 8))
    b.output("y", b.node("binary", y, x1, kind="add"))
    net = dwconv.Network(b)
    pair = random(1, 4, 4, 8), random(1, 4, 4, 8, seed=2)
    made = net.quantized([pair, {"a": pair[1], "b": pair[0]}])
    np.testing.assert_allclose(made(*pair), net(*pair), atol=0.1)


@pytest.mark.parametrize(
    ("samples", "error", "rule"),
    [
        ([], ValueError, "samples are needed"),
        (np.empty((0, 16, 16, 3), np.float32), ValueError, "samples are needed"),
        (random(8, 16, 15, 3), ValueError, "cannot take"),
        (random(8, 3, 16, 16), ValueError, "NCHW"),
        (random(16, 16, 3), ValueError, "batch axis is missing"),
        (SAMPLES.astype(np.float64), TypeError, "float32"),
        (np.where(SAMPLES > 0.99, np.nan, SAMPLES), ValueError, "NaN"),
        ({"x": SAMPLES}, TypeError, r"\[samples\]"),
        (None, TypeError, "an array or a list of samples, not None"),
    ],
)
def test_samples_are_checked(samples: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        small().quantized(samples)


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"method": "entropy"}, "percentile, minmax, mse"),
        ({"percentile": 10.0}, "above 50"),
        ({"keep_float": "stam"}, "there is no node 'stam'.*'stem'"),
        ({"dtype": "int16"}, "'int8' or 'uint8'"),
        ({"edges": "uint8"}, "edges must be"),
    ],
)
def test_options_are_checked(more: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        small().quantized(SAMPLES, **more)


def test_a_network_of_integers_is_refused() -> None:
    with pytest.raises(ValueError, match="integers already"):
        small().quantized(SAMPLES).quantized(SAMPLES)


def test_the_command_reads_a_folder_and_writes_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    net = small()
    net.save(tmp_path / "float.npz")
    folder = tmp_path / "images"
    folder.mkdir()
    for index, x in enumerate(SAMPLES):
        pixels = np.uint8(255 * (x + 1) / 2)
        image.fromarray(pixels).save(folder / f"{index}.png")
    out = tmp_path / "int8.npz"
    words = ["quantize", str(tmp_path / "float.npz"), "--calibrate", str(folder), "-o", str(out)]
    assert main([*words, "--range", "-1", "1", "--keep-float", "last"]) == 0
    told = capsys.readouterr().out
    assert "8 samples" in told
    assert "keep_float" in told
    np.testing.assert_allclose(dwconv.load(out)(SAMPLES[:1]), net(SAMPLES[:1]), atol=0.02)
    np.save(tmp_path / "many.npy", SAMPLES)
    assert main([*words[:3], str(tmp_path / "many.npy"), "-o", str(out)]) == 0
    assert "8 samples" in capsys.readouterr().out
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([*words[:3], str(empty), "-o", str(out)]) == 2
    assert "no images" in capsys.readouterr().err


PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")


def photos(folder: Path, each: int, seed: int) -> np.ndarray:
    """Random squares of photographs, as MobileNetV2 takes them."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(seed)
    found = []
    for name in PHOTOS:
        if not (folder / name).exists():
            continue
        photo = image.open(folder / name).convert("RGB")
        for _ in range(each):
            size = int(rng.uniform(0.4, 1) * min(photo.size))
            left, top = (int(rng.integers(0, most - size + 1)) for most in photo.size)
            square = photo.crop((left, top, left + size, top + size)).resize((224, 224))
            found.append(np.asarray(square, np.float32).transpose(2, 0, 1) / 255)
    if not found:
        pytest.skip("scikit-image has no photographs here")
    mean, std = (
        np.array(n, np.float32)[:, None, None] for n in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (np.stack(found) - mean) / std


def test_mobilenet_v2_finds_mostly_the_same_classes() -> None:
    torch = pytest.importorskip("torch")
    skimage = pytest.importorskip("skimage")
    weights = MODELS / "mobilenet_v2-b0353104.pth"
    if not weights.exists():
        pytest.skip(f"there is no {weights.name}")
    from models_torch import MobileNetV2

    module = MobileNetV2().eval()
    module.load_state_dict(torch.load(weights, map_location="cpu"))
    net = dwconv.Network.from_torch(module, torch.zeros(1, 3, 224, 224))
    folder = Path(skimage.__file__).parent / "data"
    made, report = net.quantized(photos(folder, 4, 1), report=True)
    assert all(row.reason is None for row in report if row.op in ("conv", "binary", "reduce"))
    shown = photos(folder, 4, 2)
    top = [[int(n(x[None]).argmax()) for x in shown] for n in (net, made)]
    assert np.mean(np.equal(*top)) >= 0.75
