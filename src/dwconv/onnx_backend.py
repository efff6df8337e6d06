"""ONNX's own interface to runtimes, `onnx.backend.base.Backend`, so that ONNX's tests run on dwconv.

>>> import dwconv.onnx_backend as backend  # doctest: +SKIP
>>> backend.prepare(model).run([image])  # doctest: +SKIP

Needs the package onnx. What a network needs as a constant, filters or a shape, may be an input:
it is a constant of each call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend as OnnxBackend
from onnx.backend.base import BackendRep, namedtupledict

from .activation import Array
from .importers.onnx import checked
from .importers.onnx_model import OnnxModel, Opaque
from .importers.onnx_parse import parse
from .importers.onnx_source import OPSETS, WHOLE, OnnxSource
from .network import Network

INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# Inputs of operations that networks need as constants.
PARAMETERS = {
    "BatchNormalization": (1, 2, 3, 4), "Conv": (1, 2), "ConvTranspose": (1, 2), "Pad": (2,),
    "Resize": (1, 2), "Upsample": (1,),
}  # fmt: skip


class Rep(BackendRep):  # type: ignore[misc]
    """A model that runs with inputs of any shapes that it accepts. `fixed`: constants of a call."""

    def __init__(self, model: OnnxModel, name: str) -> None:
        self.model, self.name = model, name
        self.fixed = _fixed(model)
        self.network: Network | None = None
        if self.fixed:
            OnnxSource(self._with(dict.fromkeys(self.fixed, Opaque("given by the call"))), name).check()
        elif model.inputs:
            self.network = Network(checked(model, name), name=name)

    def run(self, inputs: Sequence[Any] | Mapping[str, Any] | Array, **kwargs: Any) -> tuple[Array, ...]:
        """Arrays in the order of the model's inputs, or by name; the outputs as a named tuple.

        Raises ValueError for arrays that do not fit and `UnsupportedModel`.
        """
        names = [info.name for info in self.model.inputs]
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        else:
            given = dict(zip(names, [inputs] if isinstance(inputs, np.ndarray) else inputs, strict=False))
        if given.keys() != set(names):
            raise ValueError(f"{self.name}: inputs {names} are needed, not {sorted(given)}")
        arrays = {name: np.asarray(array) for name, array in given.items()}
        for info in self.model.inputs:
            if arrays[info.name].dtype.name != info.dtype:
                raise ValueError(
                    f"{self.name}: input {info.name!r} is {info.dtype}, not {arrays[info.name].dtype}"
                )
        outputs = [info.name for info in self.model.outputs]
        network = self.network
        if network is None:
            source = OnnxSource(self._with({name: arrays.pop(name) for name in self.fixed}), self.name)
            graph = source.lower({name: array.shape for name, array in arrays.items()})
            if not arrays:
                values = [graph.values[name].data for name in outputs]
                return namedtupledict("Outputs", outputs)(*values)  # type: ignore[no-any-return]
            network = Network(graph, name=self.name)
        found = network(arrays)
        computed = [found[name] for name in outputs] if isinstance(found, dict) else [found]
        results = [
            np.asarray(y, info.dtype) if info.dtype in WHOLE else y
            for y, info in zip(computed, self.model.outputs, strict=True)
        ]
        return namedtupledict("Outputs", outputs)(*results)  # type: ignore[no-any-return]

    def _with(self, fixed: Mapping[str, Array | Opaque]) -> OnnxModel:
        """The model with these inputs as constants."""
        model = self.model
        free = [info for info in model.inputs if info.name not in fixed]
        return OnnxModel(model.opsets, free, model.outputs, {**model.constants, **fixed}, model.nodes)


def _fixed(model: OnnxModel) -> list[str]:
    """Integers, which shapes depend on, and inputs that are read as parameters alone."""
    names = [info.name for info in model.inputs if info.dtype in INTEGERS]
    for info in model.inputs:
        uses = [
            index in PARAMETERS.get(node.op, ()) and not node.domain
            for node in model.nodes
            for index, name in enumerate(node.inputs)
            if name == info.name
        ]
        if info.dtype == "float32" and uses and all(uses):
            names.append(info.name)
    return names


class Backend(OnnxBackend):  # type: ignore[misc]
    """What `onnx.backend` asks of a runtime; one device, the CPU."""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.split(":")[0] == "CPU"

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether `prepare` takes the model."""
        try:
            cls.prepare(model, device, **kwargs)
        except ValueError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Rep:
        """Raises ValueError for another device and a damaged model, and `UnsupportedModel`."""
        if not cls.supports_device(device):
            raise ValueError(f"dwconv.onnx_backend: there is no device {device!r}; there is 'CPU'")
        return Rep(parse(model), model.graph.name or "network")

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Array, ...]:
        """One node with these arrays; `opset_version` is one of the options."""
        arrays = [np.asarray(array) for array in inputs]
        kinds = [onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for array in arrays]
        names = [name for name in node.input if name]
        make = onnx.helper.make_tensor_value_info
        told = [make(n, kind, a.shape) for n, kind, a in zip(names, kinds, arrays, strict=True)]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], node.op_type, told, outputs)
        version = int(kwargs.get("opset_version", 0)) or min(onnx.defs.onnx_opset_version(), OPSETS[1])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return cls.prepare(model, device).run(arrays)


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
