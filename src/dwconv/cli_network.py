"""The command line for networks: `dwconv run | summary | profile | compile | quantize`."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from . import pictures
from .activation import Array
from .calibration import METHODS, split
from .constructors import load
from .feeds import random_inputs, shown
from .network import Network
from .quantizing_network import quantized
from .sources import Sizes

T = TypeVar("T")
FAILURES = (ValueError, TypeError, ImportError, OSError, MemoryError)
MODEL = "a model file: .onnx, .tflite, or .npz of Network.save"


def add(commands: Any, threads: Callable[[str], int], rate: Callable[[str], float]) -> None:
    """The commands, with `threads` and `rate` to read numbers of the command line."""
    run = commands.add_parser("run", help="run a model file on arrays or images")
    run.add_argument("model", type=Path, metavar="MODEL", help=MODEL)
    run.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="INPUT",
        help="arrays (.npy; .npz by name) or images (they need Pillow), one call each; a network of several "
        "inputs takes one .npz a call, or as many .npy as it has; none: random values",
    )
    run.add_argument("--threads", type=threads, metavar="N", help="at most so many threads")
    run.add_argument("--out", type=Path, metavar="FILE", help="write the results: .npy, or .npz by name")
    _add_pixels(run)
    run.add_argument("--labels", type=Path, metavar="FILE", help="the name of each class, one a line")
    run.add_argument("--top", type=_count, default=5, metavar="N", help="so many classes; default 5")
    _add_shapes(run)
    run.set_defaults(run=_guarded("run", _run))

    summary = commands.add_parser("summary", help="what a model file becomes, node by node")
    summary.add_argument("model", type=Path, metavar="MODEL", help=MODEL)
    _add_shapes(summary)
    summary.set_defaults(run=_guarded("summary", _summary))

    profile = commands.add_parser("profile", help="the same with the time of every node")
    profile.add_argument("model", type=Path, metavar="MODEL", help=MODEL)
    profile.add_argument("--threads", type=threads, metavar="N", help="at most so many threads")
    profile.add_argument(
        "--gflops", type=rate, metavar="X", help="peak of these threads, two to a multiply-add"
    )
    profile.add_argument("--seconds", type=rate, default=1.0, metavar="S", help="to measure for; default 1")
    _add_shapes(profile)
    profile.set_defaults(run=_guarded("profile", _profile))

    compiled = commands.add_parser("compile", help="write a model file as C for libdwconv")
    compiled.add_argument("model", type=Path, metavar="MODEL", help=MODEL)
    compiled.add_argument(
        "-o", "--out", type=Path, required=True, metavar="DIR", help="the directory to write to"
    )
    compiled.add_argument(
        "--name", metavar="NAME", help="what files and functions are called; default: MODEL"
    )
    _add_shapes(compiled)
    compiled.set_defaults(run=_guarded("compile", _compile))

    quantize = commands.add_parser("quantize", help="make a network of 8-bit integers of a model file")
    quantize.add_argument("model", type=Path, metavar="MODEL", help=MODEL)
    quantize.add_argument(
        "--calibrate", type=Path, nargs="+", required=True, metavar="DIR|FILE",
        help="typical inputs, some tens: folders of images or arrays, or such files; an .npy may hold many",
    )  # fmt: skip
    quantize.add_argument("-o", "--out", type=Path, required=True, metavar="FILE.npz", help="the new network")
    quantize.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help=f"of ranges; default {METHODS[0]}"
    )
    quantize.add_argument(
        "--keep-float", action="append", default=[], metavar="NODE",
        help="a node that stays in float32: its name, first or last",
    )  # fmt: skip
    quantize.add_argument("--dtype", choices=("int8", "uint8"), default="int8", help="default int8")
    _add_pixels(quantize)
    _add_shapes(quantize)
    quantize.set_defaults(run=_guarded("quantize", _quantize))


def _add_pixels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--range",
        nargs=2,
        type=_number,
        default=(0.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="of pixels; default 0 1",
    )
    parser.add_argument("--mean", type=_numbers, default=(0.0,), metavar="M,...", help="subtracted from them")
    parser.add_argument(
        "--std", type=_divisors, default=(1.0,), metavar="S,...", help="what they are divided by then"
    )
    parser.add_argument(
        "--layout", choices=("NHWC", "NCHW"), help="of the model, where its shape does not tell"
    )


def _add_shapes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        type=_shape,
        action="append",
        default=[],
        metavar="[NAME=]1x3x224x224",
        help="of an input whose sizes the file leaves open, or another than that of the file",
    )


# ---- words --------------------------------------------------------------------------------------


def _numbers(word: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in word.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"must be numbers with commas between, not {word!r}")
    return values


def _number(word: str) -> float:
    values = _numbers(word)
    if len(values) != 1:
        raise argparse.ArgumentTypeError(f"must be a number, not {word!r}")
    return values[0]


def _divisors(word: str) -> tuple[float, ...]:
    values = _numbers(word)
    if 0 in values:
        raise argparse.ArgumentTypeError("must not be 0")
    return values


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 on, not {word!r}")
    return int(word)


def _shape(word: str) -> tuple[str | None, Sizes]:
    name, equals, sizes = word.rpartition("=")
    if not all(size.isdecimal() for size in sizes.split("x")):
        raise argparse.ArgumentTypeError(f"must be sizes such as 1x3x224x224, not {sizes!r}")
    return name if equals else None, tuple(map(int, sizes.split("x")))


def _guarded(command: str, run: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    """What is wrong with files and words is told in one line, and is exit code 2."""

    def guarded(options: argparse.Namespace) -> int:
        try:
            run(options)
        except FAILURES as error:
            print(f"dwconv {command}: {error}", file=sys.stderr)
            return 2
        return 0

    return guarded


def _network(options: argparse.Namespace) -> Network:
    """The model, bound to the shapes that were given."""
    net = load(options.model)
    if options.shape:
        shapes = {}
        for name, shape in options.shape:
            if name is None and len(net.inputs) > 1:
                names = ", ".join(info.name for info in net.inputs)
                raise ValueError(f"--shape needs the name of an input, as in NAME=1x8; there are {names}")
            shapes[net.inputs[0].name if name is None else name] = shape
        net.bind(shapes)
    return net


def _decided(options: argparse.Namespace) -> Network:
    """The same with no size open: a batch is 1, others must be given."""
    net = _network(options)
    if options.shape or all(None not in info.shape for info in net.inputs):
        return net
    for info in net.inputs:
        if None in info.shape[1:]:
            raise ValueError(f"sizes of input {shown(info)} are open: --shape {info.name}=... decides them")
    net.bind({info.name: tuple(size or 1 for size in info.shape) for info in net.inputs})
    return net


# ---- commands -----------------------------------------------------------------------------------


def _summary(options: argparse.Namespace) -> None:
    print(_decided(options).summary())


def _profile(options: argparse.Namespace) -> None:
    net = _decided(options)
    print("random inputs from -1 to 1")
    print(net.profile(num_threads=options.threads, gflops=options.gflops, seconds=options.seconds))


def _compile(options: argparse.Namespace) -> None:
    net = _decided(options)
    for path in net.to_c(options.out, options.name):
        print(path)


def _run(options: argparse.Namespace) -> None:
    names = pictures.labels(options.labels) if options.labels else None
    net = _network(options) if options.inputs else _decided(options)
    if options.out is not None and options.out.suffix not in (".npy", ".npz"):
        raise ValueError(f"--out must end in .npy or .npz, not {options.out.name!r}")
    if options.out is not None and options.out.suffix == ".npy" and len(net.outputs) > 1:
        raise ValueError(f"--out must end in .npz: the model has {len(net.outputs)} outputs")
    calls = _calls(net, options)
    results: list[Mapping[str, Array]] = []
    times = []
    for title, inputs in _progress(calls, len(calls)):
        given = inputs()
        before = time.perf_counter()
        y = net(given, num_threads=options.threads)
        times.append(time.perf_counter() - before)
        found: Mapping[str, Array] = y if isinstance(y, dict) else {net.outputs[0].name: y}
        for line in _told(title, found, names, options.top):
            print(line)
        if options.out is not None:
            results.append(found)
    if len(times) > 1:
        print(f"{len(times)} calls, median {1e3 * float(np.median(times)):.2f} ms")
    if options.out is not None:
        _write(options.out, results)
        print(f"written: {options.out}")


def _calls(net: Network, options: argparse.Namespace) -> list[tuple[str, Callable[[], dict[str, Array]]]]:
    """For each call a title and what reads its inputs."""
    infos, paths = net.inputs, list(options.inputs)
    if not paths:
        print("no input was given: random values from -1 to 1")
        shapes = net.input_shapes
        return [("random", lambda: dict(zip(net.input_names, random_inputs(infos, shapes), strict=True)))]
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file")
    if len(infos) > 1 and all(path.suffix == ".npy" for path in paths):
        if len(paths) != len(infos):
            raise ValueError(
                f"the model has {len(infos)} inputs ({', '.join(net.input_names)}): give as many .npy"
            )
        return [("arrays", lambda: {i.name: _array(path) for i, path in zip(infos, paths, strict=True)})]
    return [(path.name, lambda path=path: _inputs(net, path, options)) for path in paths]  # type: ignore[misc]


def _inputs(net: Network, path: Path, options: argparse.Namespace) -> dict[str, Array]:
    infos = net.inputs
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if len(infos) > 1:
        raise ValueError(
            f"{path}: the model has several inputs ({', '.join(net.input_names)}): give an .npz of them"
        )
    (info,) = infos
    if path.suffix == ".npy":
        return {info.name: _array(path)}
    if not pictures.is_image(path):
        raise ValueError(
            f"{path}: neither .npy, .npz nor an image by its name ({' '.join(pictures.SUFFIXES)})"
        )
    layout = pictures.layout_of(info, options.layout)
    scaling = pictures.Scaling(options.range[0], options.range[1], options.mean, options.std)
    size = None
    if options.shape:
        rows, columns = (1, 2) if layout == "NHWC" else (2, 3)
        shape = options.shape[0][1]
        size = shape[rows], shape[columns]
    return {info.name: pictures.read(path, info, layout, scaling, size)}


def _array(path: Path) -> Array:
    found: Array = np.load(path, allow_pickle=False)
    return found


def _quantize(options: argparse.Namespace) -> None:
    if options.out.suffix != ".npz":
        raise ValueError(f"-o must end in .npz, not {options.out.name!r}")
    net = _decided(options)
    paths = list(_files(options.calibrate))
    samples: list[Any] = []
    for path in _progress(paths, len(paths)):
        given = _inputs(net, path, options)
        if path.suffix == ".npy" and len(given) == 1:  # may hold many
            samples += split(net.inputs, next(iter(given.values())))
        else:
            samples.append(given)
    source, report = quantized(
        net, samples, method=options.method, keep_float=options.keep_float, dtype=options.dtype,
        watch=_progress,
    )  # fmt: skip
    print(report)
    Network(source, name=net.name).save(options.out)
    print(f"{len(samples)} samples; written: {options.out}")


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Of a folder, what can be an input, in the order of names."""
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        if not path.is_dir():
            yield path
            continue
        found = [p for p in sorted(path.iterdir()) if p.suffix in (".npy", ".npz") or pictures.is_image(p)]
        if not found:
            raise ValueError(f"{path}: the folder has no images, .npy or .npz")
        yield from found


# ---- results ------------------------------------------------------------------------------------


def _told(title: str, outputs: Mapping[str, Array], names: Sequence[str] | None, count: int) -> Iterator[str]:
    """The best classes where results are scores, else what an array is like."""
    for name, y in outputs.items():
        scores = pictures.are_probabilities(y)
        if not scores and names is not None:
            scores = y.size == len(names)
        if not scores:
            values = f"min {y.min():.6g}, mean {y.mean():.6g}, max {y.max():.6g}"
            yield f"{title}: {name} {y.dtype} {y.shape}: {values}"
            continue
        if names is not None and len(names) != y.size:
            raise ValueError(f"--labels has {len(names)} lines, but {name!r} has {y.size} scores")
        yield f"{title}:"
        for index, score in pictures.top(y, count):
            yield f"  {score:9.4f}  {names[index] if names is not None else index}"


def _write(path: Path, results: Sequence[Mapping[str, Array]]) -> None:
    """Results of several calls one after another along the first axis."""
    joined = {}
    for name in results[0]:
        parts = [result[name] for result in results]
        if any(part.ndim == 0 or part.shape[1:] != parts[0].shape[1:] for part in parts) and len(parts) > 1:
            raise ValueError(f"--out: results of {name!r} differ in shape: give the inputs one by one")
        joined[name] = np.concatenate(parts) if len(parts) > 1 else parts[0]
    if path.suffix == ".npy":
        np.save(path, next(iter(joined.values())))
    else:
        np.savez(path, **joined)  # type: ignore[arg-type]


def _progress(items: Iterable[T], count: int) -> Iterator[T]:
    """A bar on the terminal, over many items, if rich is there."""
    if count < 2 or not sys.stderr.isatty():
        yield from items
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield from items
        return
    with Progress(console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as bar:
        yield from bar.track(items, total=count)
