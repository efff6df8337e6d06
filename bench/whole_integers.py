"""Whole networks in 8-bit integers: which, how they are made, and their page.

Two come as TFLite files. The others are made of float networks by ONNX Runtime's own quantiser, each in two
forms: "s8", signed activations and weights by channel, and "u8", both unsigned and by tensor. Calibrated on
random images: they are to be run, not to recognise anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import whole, whole_models
from bench.compiling import ROOT
from bench.whole import Row, least_ratio, markdown, mean
from bench.whole_models import FILES, Model

MADE = ROOT / "results" / "int8-networks"
# Files, with the float network of the same layers.
KNOWN = {
    "mobilenet_v2_quantized_1x3x224x224.tflite": "mobilenet_v2",
    "vww_96_int8.tflite": "vww_96_float.tflite",
}
QUANTISED = (
    *("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large"),
    *("ch_ppocr_mobile_v2.0_cls_infer.onnx", "ch_PP-OCRv4_det_infer.onnx"),
)
FORMS = ("s8", "u8")
PEERS = ("dwconv", "dwconv@float32", "onnxruntime", "openvino", "litert")
# Values that differ by less, as a share of the range of an output, are the same: float32 of another order.
SAME = 1e-5
ANOTHER = 1.0  # most outputs differ by more: another function
EXPECTED = ("unsupported", "absent")  # no news of a library


def names(given: Sequence[str], folder: Path = MADE) -> list[str]:
    """Paths of what was asked for, or of all that are there; made in `folder` where they are not yet."""
    every = {path.name: path for path in (FILES / name for name in KNOWN) if path.is_file()}
    for network in QUANTISED:
        source = whole_models.paths([network])[0]
        if source in whole_models.MODULES or Path(source).is_file():
            every |= {(path := made(network, form, folder)).name: path for form in FORMS}
    found = []
    for name in given or every:
        path = every.get(name, Path(name))
        if path.parent == folder and not path.is_file():
            make(path)
        found.append(str(path))
    return found


def made(network: str, form: str, folder: Path) -> Path:
    return folder / f"{network.removesuffix('.onnx')}-{form}.onnx"


def network_of(name: str) -> str:
    """That of a file that `made` names; other names as they are."""
    stem, _, form = name.removesuffix(".onnx").rpartition("-")
    return stem if name.endswith(".onnx") and form in FORMS else name


def floating(model: Model) -> Model:
    """The float network of the same layers and shapes."""
    if model.name in KNOWN:
        return whole_models.load(whole_models.paths([KNOWN[model.name]])[0])
    assert model.path is not None
    path = model.path.with_name(network_of(model.name) + ".onnx")
    return Model(path.name, path)


def make(path: Path) -> None:
    """Writes the quantised file `path`, and the float one that it is made of beside it."""
    stem, _, form = path.stem.rpartition("-")
    source = path.with_name(f"{stem}.onnx")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        name = stem if stem in whole_models.MODULES else f"{stem}.onnx"
        _fix(whole_models.load(whole_models.paths([name])[0]), source)
    quantise(source, path, form)


def _fix(model: Model, path: Path) -> None:
    """With all sizes bound, constants folded, and an opset that has scales by channel."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    proto = onnx.load(str(model.onnx()))
    for value in proto.graph.input:
        if value.name in model.shapes:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, model.shapes[value.name], strict=True):
                dim.Clear()
                dim.dim_value = size
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    del proto.graph.value_info[:]
    if next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")) < 13:
        proto = onnx.version_converter.convert_version(proto, 13)
    bound = path.with_suffix(".partial")
    onnx.save(proto, str(bound))
    quant_pre_process(str(bound), str(path), skip_symbolic_shape=True)
    bound.unlink()


def quantise(source: Path, path: Path, form: str) -> None:
    """QuantizeLinear and DequantizeLinear around operations; the range of values by two random images."""
    import onnx
    from onnxruntime import quantization as tools

    inputs = onnx.load(str(source)).graph.input
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inputs}

    class Images(tools.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = 2

        def get_next(self) -> dict[str, Any] | None:
            self.left -= 1
            if self.left < 0:
                return None
            return {k: whole_models.random(*shape, seed=self.left) for k, shape in shapes.items()}

    kind = tools.QuantType.QInt8 if form == "s8" else tools.QuantType.QUInt8
    partial = path.with_suffix(".partial")
    tools.quantize_static(
        str(source), str(partial), Images(), quant_format=tools.QuantFormat.QDQ, per_channel=form == "s8",
        activation_type=kind, weight_type=kind,
    )  # fmt: skip
    partial.rename(path)


def compare(rows: Sequence[Row], folder: Path) -> None:
    """How many outputs differ from dwconv's, and by how much at most, as a share of the range of its own."""
    ours = next((row for row in rows if row.peer == "dwconv" and row.status == "ok"), None)
    if ours is None:
        return
    expected = _outputs(folder, ours)
    for row in rows:
        if row.status != "ok" or row.peer.endswith("@float32"):
            continue
        results = _outputs(folder, row)
        if [y.size for y in results] != [e.size for e in expected]:
            row.status, row.message = "wrong", "outputs of other shapes"
            continue
        shares = np.concatenate(list(_shares(results, expected)))
        row.outputs, row.differing = shares.size, int((~(shares <= SAME)).sum())
        row.error = float(shares.max(initial=0.0))
        if not np.median(shares) <= ANOTHER:
            row.status, row.message = "wrong", "most outputs are far from dwconv's"


def _outputs(folder: Path, row: Row) -> list[Any]:
    return list(np.load(folder / f"{row.peer}.npz").values())


def _shares(results: Sequence[Any], expected: Sequence[Any]) -> Iterator[Any]:
    for y, e in zip(results, expected, strict=True):
        values = e.ravel().astype(np.float64)
        yield np.abs(y.ravel().astype(np.float64) - values) / max(np.ptp(values), 1e-30)


def differences(rows: Sequence[Row]) -> pd.DataFrame:
    """By model, a column for each peer: outputs that differ of how many, and the largest difference."""
    found = {}
    for row in rows:
        if row.peer != "dwconv" and row.differing is not None:
            text = f"{row.differing} of {row.outputs}"
            if row.differing:
                text += f", {row.error or 0:.2%}"
            found[row.model, row.threads, row.peer] = text
    columns = list(dict.fromkeys(peer for _, _, peer in found))
    keys = dict.fromkeys((model, threads) for model, threads, _ in found)
    cells = [[*key, *(found.get((*key, peer), "") for peer in columns)] for key in keys]
    return pd.DataFrame(cells, columns=["model", "threads", *columns]).set_index(["model", "threads"])


def best_form(times: pd.DataFrame) -> pd.Series[float]:
    """By network and threads: the fastest other library over dwconv, each in the form that it runs faster."""
    networks = times.index.get_level_values("model").map(network_of)
    best = times.groupby([networks, times.index.get_level_values("threads")], sort=False).min()
    return least_ratio(best)


def write_docs(source: Path, docs: Path) -> Path:
    """docs/network-times-int8.md, made of a file of results."""
    machine, rows = whole.load(source)
    times = whole.table([row for row in rows if row.status == "ok"])
    parts = [
        "# Whole networks in 8-bit integers",
        f"<!-- Generated: python -m bench whole --int8 --report {source.as_posix()} -->",
        f"{machine['cpu']}, commit {machine['commit']}; milliseconds per run,\n"
        "the least of many, all libraries in turn in one run, threads pinned. TFLite files, and ONNX files\n"
        "that ONNX Runtime quantised: `s8`, signed, weights by channel; `u8`, unsigned, by tensor.\n"
        "[How they are made](../bench/whole_integers.py); "
        "[how libraries are called](../bench/whole_peers.py).",
        "\n".join(_summary(times)),
        markdown(times.round(3)),
        "`ratio`: the fastest other library over dwconv; above 1, dwconv is faster. `dwconv@float32`: the\n"
        "float network of the same layers. Empty: the library cannot read the model.",
        "## Differences from dwconv",
        "Outputs that are not the same as dwconv's, and the largest difference as a share of the range of\n"
        "its outputs. Libraries round in different places, and one value that falls on the other side moves\n"
        "all that follow; [dwconv's rule](int8.md).",
        markdown(differences(rows)),
    ]
    lost = {(row.model, row.peer, row.status, row.message) for row in rows}
    lost = {row for row in lost if row[2] not in ("ok", *EXPECTED)}
    if lost:
        lines = [
            f"- {model}: {peer} {status}: {message.splitlines()[0] if message else 'without a message'}"[:119]
            for model, peer, status, message in sorted(lost)
        ]
        parts += ["## Wrong or failed", "\n".join(lines)]
    path = docs / "network-times-int8.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def _summary(times: pd.DataFrame) -> Iterator[str]:
    forms = best_form(times)
    for threads, ratios in times["ratio"].groupby(level="threads"):
        alike = forms.xs(threads, level="threads")
        yield (
            f"- {threads} thread{'s' * (threads > 1)}: the fastest other library takes {mean(ratios):.2f} "
            f"times as long as dwconv in geometric mean,\n  and at least {ratios.min():.2f} times; "
            f"{mean(alike):.2f} and {alike.min():.2f} where each takes the form that it runs faster."
        )
        if "dwconv@float32" in times:
            gain = (times["dwconv@float32"] / times["dwconv"]).xs(threads, level="threads")
            yield f"- dwconv's own float32 takes {mean(gain):.2f} times as long."
