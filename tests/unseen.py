"""Models that dwconv was not written for, from installed packages: does each run, and how exactly?

    python tests/unseen.py                           all families
    python tests/unseen.py timm onnx                 some of them
    python tests/unseen.py timm/repvit_m1 onnx/17    models: what their names begin with

Prints name | nodes | largest error, as a share of the largest output | why it was refused, and counts. The
exit code is 1 if an error is above 1e-4, or something else than `UnsupportedModel` was raised. Families whose
packages are missing are skipped by name. Weights are random; norms have the statistics of noise, so that
depth does not amplify. "18d" is an export to ONNX by `torch.export`. `unseen.txt` has the names.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dwconv
import unseen_modules

Results = list[np.ndarray[Any, Any]]
Made = tuple[Callable[[], Any], Results, Results]  # what makes the network, inputs, outputs
Case = tuple[str, Callable[[], Made]]
LIMIT = 1e-4
LIST = Path(__file__).with_suffix(".txt")
OPSETS = [(opset, False) for opset in range(9, 21)] + [(opset, True) for opset in range(18, 24)]


# ---- PyTorch ------------------------------------------------------------------------------------


def settled(module: Any, x: Any) -> Any:
    """In evaluation mode, with batch norms that know the mean and variance of what noise gives."""
    import torch

    module.eval()
    with torch.no_grad():
        for part in module.parameters():
            if part.dim() < 4 and part.min() == part.max():  # as initialised: they would hide what they scale
                part.add_(0.2 * torch.randn_like(part) + (0.5 if abs(part.max()) < 0.1 else 0))
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
                part.momentum = 1.0
                part.train()
        module(torch.randn(4, *x.shape[1:]))
        module.eval()
    return module


def outputs_of(y: Any) -> Results:
    if isinstance(y, dict):
        y = list(y.values())
    if isinstance(y, list | tuple):
        return [array for item in y for array in outputs_of(item)]
    return [y.detach().numpy()] if y.is_floating_point() else []


def torch_case(name: str, make: Callable[[], tuple[Any, Any]], how: str = "network") -> Case:
    def run() -> Made:
        import torch

        torch.manual_seed(0)
        module, x = make()
        module = settled(module, x)
        with torch.inference_mode():
            expected = outputs_of(module(x))
            if how == "compile":
                compiled = torch.compile(module, backend="dwconv")
                return lambda: lambda _: [compiled(x)], [x.numpy()], expected
        if how == "network":
            return lambda: dwconv.Network.from_torch(module, x), [x.numpy()], expected
        opset, dynamo = (int(how.removesuffix("d")), how.endswith("d"))
        return onnx_results(module, x, opset, dynamo)

    return name, run


def onnx_results(module: Any, x: Any, opset: int, dynamo: bool) -> Made:
    """Of the file that PyTorch exports: dwconv beside ONNX Runtime."""
    import onnxruntime
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        more: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
        with quiet():
            torch.onnx.export(
                module, (x,), path, opset_version=opset, dynamo=dynamo, input_names=["x"], **more
            )
        content = Path(path).read_bytes()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = [y for y in session.run(None, {"x": x.numpy()}) if y.dtype == np.float32]
    return lambda: dwconv.Network.from_onnx(content), [x.numpy()], expected


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters print, in C++ too."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def noise(size: int) -> Any:
    import torch

    return torch.randn(1, 3, size, size)


def timm(name: str, how: str = "network") -> Case:
    def make() -> tuple[Any, Any]:
        module = importlib.import_module("timm").create_model(name)
        config = module.default_cfg
        return module, noise(config["input_size"][1] if config.get("fixed_input_size") else 128)

    return torch_case(f"timm/{name}", make, how)


def torchvision(name: str, family: str = "torchvision", how: str = "network") -> Case:
    def make() -> tuple[Any, Any]:
        models = importlib.import_module("torchvision.models")
        where, _, what = name.rpartition(".")
        source = importlib.import_module(f"torchvision.models.{where}") if where else models
        given = {"weights_backbone": None} if where else {}
        given |= {"init_weights": False, "aux_logits": False} if what == "googlenet" else {}
        module = getattr(source, what)(weights=None, **given)
        return unseen_modules.Raw(module) if where == "detection" else module, noise(96)

    return torch_case(f"{family}/{name}", make, how)


# ---- Keras and TensorFlow Lite --------------------------------------------------------------------


def keras_model(name: str) -> tuple[Any, Any, Any]:
    """A model, an image, and what it gives."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(0)
    size = 224 if name == "NASNetMobile" else 96
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [w + rng.uniform(-0.1, 0.1, w.shape).astype("float32") for w in layer.get_weights()]
            )
    x = rng.standard_normal((1, size, size, 3), dtype=np.float32)
    return model, x, np.asarray(model(x, training=False))


def keras_case(name: str) -> Case:
    def run() -> Made:
        model, x, expected = keras_model(name)
        return lambda: dwconv.Network.from_keras(model), [x], [expected]

    return f"keras/{name}", run


def tflite_case(name: str, half: bool) -> Case:
    def run() -> Made:
        import tensorflow as tf
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        model, x, _ = keras_model(name)
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        content = converter.convert()
        kind = OpResolverType.BUILTIN_REF
        interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kind)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        found = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
        return lambda: dwconv.Network.from_tflite(content), [x], found

    return f"tflite/{name}{'/float16' if half else ''}", run


def listed(family: str) -> list[str]:
    text = LIST.read_text(encoding="utf-8").split(f"# {family}\n")[1]
    return text.split("#")[0].split()


# ---- all ------------------------------------------------------------------------------------------


def onnx_cases() -> Iterator[Case]:
    for opset, dynamo in OPSETS:
        how = f"{opset}{'d' if dynamo else ''}"
        for name, make in unseen_modules.LAYERS.items():
            yield torch_case(f"onnx/{how}/{name}", make, how)
        if opset in (11, 17) or how == "20d":
            yield from (torchvision(name, f"onnx/{how}", how) for name in listed("onnx"))


FAMILIES: dict[str, tuple[str, Callable[[], Iterator[Case]]]] = {
    "timm": ("timm", lambda: map(timm, listed("timm"))),
    "torchvision": ("torchvision", lambda: map(torchvision, listed("torchvision"))),
    "written": ("torch", lambda: (torch_case(f"written/{n}", m) for n, m in unseen_modules.MODELS.items())),
    "onnx": ("onnxscript", onnx_cases),
    "keras": ("keras", lambda: map(keras_case, listed("keras"))),
    "tflite": (
        "tensorflow",
        lambda: (tflite_case(n, half) for n in listed("keras") for half in (False, True)),
    ),
    "compile": ("torchvision", lambda: (torchvision(n, "compile", "compile") for n in listed("compile"))),
}


def error(got: Any, expected: Results) -> float:
    """The largest, as a share of the largest number of its output; infinite where shapes differ."""
    got = list(got.values()) if isinstance(got, dict) else got if isinstance(got, list) else [got]
    pairs = list(zip(map(np.asarray, got), expected, strict=False))
    if len(got) != len(expected) or any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return max(float(np.abs(a.astype(float) - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def counted(network: Any, inputs: Results) -> str:
    """Nodes before any rewriting; nothing for what torch.compile made."""
    if not isinstance(network, dwconv.Network):
        return ""
    shapes = {info.name: x.shape for info, x in zip(network.inputs, inputs, strict=True)}
    return str(len(network._source.lower(shapes).nodes))


def tried(case: Case) -> str:
    """Prints the line of a model; what became of it."""
    name, run = case
    nodes, found, why, fate = "", "", "", "ran"
    try:
        make, inputs, expected = run()
    except Exception as problem:
        print(f"{name} | | | the origin cannot: {type(problem).__name__}", flush=True)
        return "not made by their origin"
    try:
        network = make()
        most = error(network(*inputs), expected)
        nodes, found = counted(network, inputs), f"{most:.1e}"
        fate = "ran" if most <= LIMIT else "differs"
    except dwconv.UnsupportedModel as problem:
        fate, why = "refused", " ".join(str(problem).split("\n")[1:3])
    except Exception as problem:
        fate, why = "failed", f"{type(problem).__name__}: {str(problem).strip().splitlines()[0]}"
    print(f"{name} | {nodes} | {found} | {why[:300]}{'' if fate == 'ran' else f' [{fate}]'}", flush=True)
    return fate


def main(wanted: list[str]) -> int:
    warnings.simplefilter("ignore")
    fates: Counter[str] = Counter()
    for family, (package, cases) in FAMILIES.items():
        if wanted and not any(name.split("/")[0] == family for name in wanted):
            continue
        if importlib.util.find_spec(package) is None:
            print(f"{family}: skipped, there is no package {package}")
            continue
        fates.update(tried(c) for c in cases() if not wanted or any(f"{c[0]}/".startswith(n) for n in wanted))
    print(", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())))
    return 1 if fates["differs"] or fates["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
