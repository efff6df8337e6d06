"""Networks from model files and from modules of other frameworks, each with an optional package."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .graph import Graph
from .sources import GraphSource, Source

if TYPE_CHECKING:
    from .network import Network

N = TypeVar("N", bound="Constructors")


class Constructors:
    """What `dwconv.Network` has of ways to make one."""

    __slots__ = ()

    def _start(self, source: Source, name: str, allowed: frozenset[Any]) -> None:
        raise NotImplementedError

    @classmethod
    def from_onnx(
        cls: type[N],
        model: str | os.PathLike[str] | bytes,
        *,
        input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    ) -> N:
        """Of an ONNX file, opset 9 and later. Needs `pip install 'dwconv[onnx]'`.

        `model`: its path, or its bytes.
        `input_shapes`: by input, other shapes than those of the file; None in a shape: calls decide that
        size. Raises `dwconv.UnsupportedModel`, which lists every node that dwconv has no operation for, and
        ValueError for a file that is broken. External data must lie in the folder of the file.
        """
        return cls._made(_imported("onnx", model, input_shapes=input_shapes), _stem(model))

    @classmethod
    def from_tflite(
        cls: type[N],
        model: str | os.PathLike[str] | bytes,
        *,
        rounding: str = "even",
        input_shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> N:
        """Of a TensorFlow Lite file. Needs `pip install 'dwconv[tflite]'`.

        `model`: its path, or its bytes.
        `rounding`: of 8-bit networks. "even": as quantised layers, near XNNPACK. "tflite": the bits of
        tflite-micro and of TensorFlow Lite's reference kernels. `input_shapes`: by input, other shapes than
        those of the file. Raises the errors of `from_onnx`.
        """
        found = _imported("tflite", model, rounding=rounding, input_shapes=input_shapes)
        return cls._made(found, _stem(model))

    @classmethod
    def from_torch(
        cls: type[N],
        module: Any,
        example_input: Any,
        *,
        input_shapes: Mapping[str, Sequence[int | None]] | None = None,
    ) -> N:
        """Of a PyTorch module in evaluation mode. Needs `pip install 'dwconv[torch]'`.

        `module`: a `torch.nn.Module`, or what `torch.export.export` gives. `example_input`: a tensor, or a
        tuple of them, of the shapes that the network is made for; inputs and outputs are those of the module,
        NCHW for images. `input_shapes`: by input, the example's sizes with None for those that calls decide,
        as in `{"x": (1, 3, None, None)}`; without it the network takes the example's sizes and other batches.
        Raises the errors of `from_onnx`, and ValueError for an open size of which the module computes
        numbers, since these are then part of the network.
        """
        made = _imported("torch", module, example_input, input_shapes=input_shapes)
        return cls._made(made, type(module).__name__)

    @classmethod
    def from_keras(cls: type[N], model: Any) -> N:
        """Of a Keras 3 model. Needs `pip install 'dwconv[keras]'`.

        `model`: a `keras.Model`; inputs and outputs are its own. Raises the errors of `from_onnx`.
        """
        return cls._made(_imported("keras", model), str(getattr(model, "name", "network")))

    def quantized(
        self: N,
        samples: Any,
        *,
        method: str = "percentile",
        percentile: float = 99.99,
        keep_float: Sequence[str] | str = (),
        bias_correction: bool = True,
        equalise: bool = True,
        fit_filters: bool = True,
        dtype: str = "int8",
        edges: str = "float32",
        report: bool = False,
    ) -> Any:
        """The network in 8-bit integers, with ranges of its values measured on samples.

        `samples`: typical inputs, some tens: a list of what a call takes, arrays, tuples or dicts by name; or
        one array [samples, ...] of a single input. All of one shape, for which the result is made; an open
        batch stays open. `method`: of ranges, "percentile", with `percentile` of the numbers inside on either
        side, "minmax", or "mse" (least squared error of rounding and clipping); outputs keep their whole
        range. `keep_float`: what stays in float32: names of nodes, "first" and "last" for the first and last
        convolution. `bias_correction`: biases take up the mean error of rounded filters. `equalise`: channels
        between two convolutions are scaled to one range. `fit_filters`: filters are rounded so that what they
        give on the samples changes least, instead of each weight to the nearest. `dtype`: "int8" or "uint8"
        of activations; filters are int8. `edges`: "float32", or `dtype` for inputs and outputs in integers,
        with their scales in `inputs` and `outputs`. `report`: (network, report) is given, whose rows tell for
        each node its signal to noise in dB beside the network in float32, and why it is not in integers;
        printed, a table.

        Raises ValueError without samples, for NaN in them, for wrong shapes and unknown names, and for a
        network that has integers or state already; TypeError for samples of another dtype.

        The scheme is that of TensorFlow Lite's quantization specification.
        """
        from .quantizing_network import quantized

        source, found = quantized(
            self, samples, method=method, percentile=percentile, keep_float=keep_float,  # type: ignore[arg-type]
            bias_correction=bias_correction, equalise=equalise, fit_filters=fit_filters, dtype=dtype,
            edges=edges,
        )  # fmt: skip
        made = type(self)._made(source, self.name)  # type: ignore[attr-defined]
        return (made, found) if report else made

    @classmethod
    def _made(cls: type[N], source: Source, name: str) -> N:
        made = cls.__new__(cls)
        made._start(source, name, frozenset())
        return made


def load(path: str | os.PathLike[str]) -> Network:
    """The network of a model file: .onnx, .tflite, or .npz of `Network.save`, which needs NumPy alone.

    Raises FileNotFoundError; ValueError for a file that is broken or of another kind;
    `dwconv.UnsupportedModel`; ImportError where a package is missing, which names it.

    >>> import dwconv
    >>> dwconv.load("model.h5")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: model.h5: not a model file ...
    """
    from .network import Network
    from .saved import restore

    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".onnx":
        return Network.from_onnx(path)
    if kind == ".tflite":
        return Network.from_tflite(path)
    if kind == ".npz":
        source, name = restore(path)
        return Network(source, name=name)
    remedy = {
        ".h5": "Network.from_keras(keras.models.load_model(path))",
        ".keras": "Network.from_keras(keras.models.load_model(path))",
        ".pt": "Network.from_torch(module, example_input), with the module that the weights belong to",
        ".pth": "Network.from_torch(module, example_input), with the module that the weights belong to",
        ".pt2": "Network.from_torch(torch.export.load(path).module(), example_input)",
    }.get(kind, "rename it if it is one of them")
    raise ValueError(
        f"{path.name}: not a model file by its name, which must end in .onnx, .tflite or .npz: {remedy}"
    )


def _imported(package: str, *arguments: Any, **options: Any) -> Source:
    """What the importer makes of the model. Raises ImportError where its package is missing."""
    try:
        importer = import_module(f".importers.{package}", __package__)
        found = getattr(importer, "source", importer.read)(*arguments, **options)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] != package:
            raise
        raise ImportError(
            f"dwconv.Network.from_{package} needs the package {package}: pip install 'dwconv[{package}]'",
            name=package,
        ) from error
    if isinstance(found, Graph):
        return GraphSource(found)
    if isinstance(found, tuple):
        return GraphSource(*found)
    source: Source = found
    return source


def _stem(model: Any) -> str:
    return Path(model).stem if isinstance(model, str | os.PathLike) else "network"
