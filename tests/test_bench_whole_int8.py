"""Whole networks in 8-bit integers: how their files are made, compared with dwconv, and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pandas")
pytest.importorskip("tabulate")

from bench import whole, whole_integers, whole_models


def rows_of(folder: Path, outputs: dict[str, list[np.ndarray]]) -> list[whole.Row]:
    for peer, arrays in outputs.items():
        np.savez(folder / f"{peer}.npz", *arrays)
    return [whole.Row("a-s8.onnx", 1, peer) for peer in outputs]


def test_integers_are_counted_and_the_largest_difference_is_a_share_of_the_range(tmp_path: Path) -> None:
    ours = [np.array([-100, 0, 100], np.int8), np.array([[0, 50]], np.uint8)]
    theirs = [np.array([-100, 2, 100], np.int8), np.array([0, 45], np.uint8)]
    rows = rows_of(tmp_path, {"dwconv": ours, "litert": theirs, "openvino": ours[:1]})
    whole_integers.compare(rows, tmp_path)
    assert [(row.outputs, row.differing, row.error) for row in rows[:2]] == [(5, 0, 0.0), (5, 2, 0.1)]
    assert rows[2].status == "wrong"


def test_most_outputs_far_away_are_wrong_and_few_are_not(tmp_path: Path) -> None:
    ours = np.arange(10, dtype=np.float32)
    few = ours.copy()
    few[:4] += 100
    rows = rows_of(tmp_path, {"dwconv": [ours], "openvino": [ours + 100], "litert": [few]})
    whole_integers.compare(rows, tmp_path)
    assert [row.status for row in rows] == ["ok", "wrong", "ok"]


def test_float32_that_is_rounded_elsewhere_is_the_same_and_nan_is_not(tmp_path: Path) -> None:
    ours = np.linspace(-1, 1, 50, dtype=np.float32)
    broken = ours.copy()
    broken[3] = np.nan
    outputs = {"dwconv": [ours], "onnxruntime": [ours * np.float32(1 + 2e-7)], "openvino": [broken]}
    rows = rows_of(tmp_path, outputs)
    whole_integers.compare(rows, tmp_path)
    assert [row.differing for row in rows] == [0, 0, 1]


def test_the_float_network_is_timed_and_not_compared(tmp_path: Path) -> None:
    x = np.zeros(4, np.int8)
    rows = rows_of(tmp_path, {"dwconv": [x], "dwconv@float32": [x + 1.0]})
    whole_integers.compare(rows, tmp_path)
    assert (rows[1].status, rows[1].differing, rows[1].error) == ("ok", None, None)


def results(path: Path) -> Path:
    """Of one network in two forms, of which each library runs another one faster; and of a TFLite file."""
    times = {
        "a-s8.onnx": {"dwconv": 1.0, "dwconv@float32": 3.0, "onnxruntime": 4.0},
        "a-u8.onnx": {"dwconv": 2.0, "dwconv@float32": 3.0, "onnxruntime": 1.5},
        "b.tflite": {"dwconv": 1.0, "dwconv@float32": 2.0, "litert": 2.0},
    }
    rows = [whole.Row(model, 1, peer, ms=ms) for model, of in times.items() for peer, ms in of.items()]
    for row in rows:
        if row.peer == "onnxruntime":
            row.outputs, row.differing, row.error = 1000, 12, 0.0078
    rows += [
        whole.Row("b.tflite", 1, "onnxruntime", "unsupported"),
        whole.Row("b.tflite", 1, "openvino", "failed"),
    ]
    whole.save(rows, {"cpu": "some CPU", "cores": 2, "commit": "abc"}, path)
    return path


def test_the_page_tells_times_differences_and_what_failed(tmp_path: Path) -> None:
    path = whole_integers.write_docs(results(tmp_path / "whole.json"), tmp_path)
    assert path.name == "network-times-int8.md"
    page = path.read_text()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    assert ["a-s8.onnx", "1", "1", "3", "4", "", "4"] in [[c.replace("nan", "") for c in x] for x in lines]
    assert ["a-s8.onnx", "1", "12 of 1000, 0.78%"] in lines
    assert "- b.tflite: openvino failed" in page
    assert "onnxruntime unsupported" not in page
    # Ratios of files: 4, 0.75, 2. The best form of a is 1 in dwconv, 1.5 in the other.
    assert "takes 1.82 times as long" in " ".join(page.split())
    assert "at least 0.75 times; 1.73 and 1.50 where each" in " ".join(page.split())
    assert all(len(line) < 120 for line in page.splitlines() if line[:1] not in ("|", "<"))


def test_a_time_of_other_outputs_is_no_time(tmp_path: Path) -> None:
    rows = [whole.Row("a", 1, "dwconv", ms=1.0), whole.Row("a", 1, "litert", ms=2.0)]
    rows.append(whole.Row("a", 1, "openvino", "wrong", ms=0.1))
    whole.save(rows, {"cpu": "some CPU", "cores": 2, "commit": "abc"}, tmp_path / "whole.json")
    page = whole_integers.write_docs(tmp_path / "whole.json", tmp_path).read_text()
    assert "takes 2.00 times" in page
    assert "- a: openvino wrong: without" in page


def test_rows_join_a_file_in_place_of_those_of_the_same(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    assert whole.joined(path, [whole.Row("a", 1, "dwconv", ms=1.0)])[0].ms == 1.0
    whole.save([whole.Row("a", 1, "dwconv", ms=1.0), whole.Row("b", 1, "dwconv", ms=2.0)], {}, path)
    rows = whole.joined(path, [whole.Row("a", 1, "dwconv", ms=3.0), whole.Row("a", 2, "dwconv", ms=4.0)])
    assert [(row.model, row.threads, row.ms) for row in rows] == [("a", 1, 3.0), ("b", 1, 2.0), ("a", 2, 4.0)]


def test_names_of_made_files_lead_back_to_their_networks(tmp_path: Path) -> None:
    for network in whole_integers.QUANTISED:
        for form in whole_integers.FORMS:
            name = whole_integers.made(network, form, tmp_path).name
            assert whole_integers.network_of(name) == network.removesuffix(".onnx")
    assert whole_integers.network_of("vww_96_int8.tflite") == "vww_96_int8.tflite"


def float_network(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, shape = onnx.helper, (1, 3, 12, 10)
    rng = np.random.default_rng(5)
    weights = {"w0": (8, 3, 3, 3), "w1": (8, 1, 3, 3), "w2": (16, 8, 1, 1)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1] * 4, strides=[2, 2]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4, group=8),
            helper.make_node("Relu", ["c"], ["d"]),
            helper.make_node("Conv", ["d", "w2"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ("batch", *shape[1:]))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array((rng.standard_normal(s) * 0.3).astype(np.float32), name)
            for name, s in weights.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=8), str(path))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for made files; the network "small.onnx" is the only one that is quantised."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(whole_models, "FILES", tmp_path / "models")
    monkeypatch.setattr(whole_integers, "FILES", tmp_path / "models")
    monkeypatch.setitem(whole_models.KNOWN, "small.onnx", {"x": (1, 3, 12, 10)})
    monkeypatch.setattr(whole_integers, "QUANTISED", ("small.onnx",))
    (tmp_path / "models").mkdir()
    float_network(tmp_path / "models" / "small.onnx")
    return tmp_path / "made"


def test_made_files_hold_integers_of_their_form_and_are_made_once(small: Path) -> None:
    import onnx

    paths = [Path(name) for name in whole_integers.names([], small)]
    assert [path.name for path in paths] == ["small-s8.onnx", "small-u8.onnx"]
    for path, kind in zip(paths, (onnx.TensorProto.INT8, onnx.TensorProto.UINT8), strict=True):
        graph = onnx.load(str(path)).graph
        weights = [t for t in graph.initializer if len(t.dims) == 4]
        assert len(weights) == 3
        assert {t.data_type for t in weights} == {kind}
        assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 12, 10]
    before = [path.stat().st_mtime_ns for path in paths]
    assert whole_integers.names(["small-u8.onnx"], small) == [str(paths[1])]
    whole_integers.names([], small)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_made_files_are_run_and_compared(small: Path) -> None:
    names = whole_integers.names([], small)
    peers = ["dwconv", "dwconv@float32", "onnxruntime", "litert"]
    rows = list(whole.measure(names, peers, [1], 0.01, 1, whole_integers.compare))
    found = {(row.model, row.peer): row for row in rows}
    assert len(found) == 8
    for name in ("small-s8.onnx", "small-u8.onnx"):
        ours, peer = found[name, "dwconv"], found[name, "onnxruntime"]
        assert (ours.status, ours.outputs, ours.differing) == ("ok", 16 * 6 * 5, 0)
        assert peer.status == "ok"
        assert peer.differing is not None
        assert peer.differing < 0.1 * 480
        assert peer.error is not None
        assert peer.error < 0.02
        assert found[name, "dwconv@float32"].ms
        assert found[name, "litert"].status in ("unsupported", "absent", "failed")
