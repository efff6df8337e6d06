"""Convolutions and products between DequantizeLinear and QuantizeLinear as the QLinear nodes that they are.

So does ONNX Runtime. Other operations stay between conversions; passes make tables of functions and move
conversions away from what only moves elements.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..activation import Array
from .onnx_model import OnnxModel, OnnxNode

MICROSOFT = "com.microsoft"
DOMAINS = ("", MICROSOFT)  # of the conversions
NEAR = 1e-3  # relative, of the scale of biases


def fuse(model: OnnxModel) -> OnnxModel:
    """The same model; the one given stays as it is."""
    return _Fusion(model).model()


class _Fusion:
    def __init__(self, model: OnnxModel) -> None:
        self.given = model
        self.constants = dict(model.constants)
        self.makers = {name: node for node in model.nodes for name in node.outputs if name}
        self.readers: dict[str, list[OnnxNode]] = {}
        for node in model.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {info.name for info in model.outputs}
        self.opsets = dict(model.opsets)

    def model(self) -> OnnxModel:
        replaced: dict[int, OnnxNode] = {}
        for node in self.given.nodes:
            if not node.domain and node.op in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
                found = self._fused(node)
                if found is not None:
                    end, made = found
                    replaced[id(end)] = made
        nodes = [replaced.get(id(node), node) for node in self.given.nodes]
        model = OnnxModel(self.opsets, self.given.inputs, self.given.outputs, self.constants, nodes)
        return _needed(model) if replaced else self.given

    def _fused(self, node: OnnxNode) -> tuple[OnnxNode, OnnxNode] | None:
        """(the QuantizeLinear whose result it gives, the new node)."""
        if len(node.inputs) < 2 or len(node.outputs) != 1:
            return None
        x, w = (self._conversion(name, "DequantizeLinear") for name in node.inputs[:2])
        end = self._end(node)
        if x is None or w is None or end is None:
            return None
        last, bounds = end
        weights = self.constant(w.inputs[0])
        x_scale, w_scale = (self.constant(item.inputs[1]) for item in (x, w))
        if weights is None or weights.dtype not in (np.int8, np.uint8) or w_scale is None or x_scale is None:
            return None
        if x_scale.size != 1 or not self._scales_fit(node, w, weights, w_scale):
            return None
        bias = node.inputs[2] if len(node.inputs) > 2 else ""
        if bias and (bias := self._bias(bias, x_scale, w_scale, node)) == "":
            return None
        attributes = dict(node.attributes) | ({} if bounds is None else {"fused_clip": bounds})
        sources = [x.inputs[0], *_pair(x), w.inputs[0], *_pair(w)]
        name = node.label
        if node.op in ("Conv", "ConvTranspose"):
            domain = "" if node.op == "Conv" else MICROSOFT
            if domain:
                self.opsets.setdefault(MICROSOFT, 1)
            inputs = [*sources, *_pair(last), *([bias] if bias else [])]
            return last, OnnxNode(f"QLinear{node.op}", domain, name, inputs, list(last.outputs), attributes)
        if node.op == "MatMul":
            made = OnnxNode(
                "QLinearMatMul", "", name, [*sources, *_pair(last)], list(last.outputs), attributes
            )
            return last, made
        if attributes.pop("beta", 1.0) != 1.0 and bias:
            return None
        self.opsets.setdefault(MICROSOFT, 1)
        inputs = [*sources, bias, *_pair(last)]
        return last, OnnxNode("QGemm", MICROSOFT, name, inputs, list(last.outputs), attributes)

    def _conversion(self, name: str, op: str) -> OnnxNode | None:
        node = self.makers.get(name)
        fits = node is not None and node.op == op and node.domain in DOMAINS and len(node.inputs) > 1
        return node if fits else None

    def _scales_fit(self, node: OnnxNode, w: OnnxNode, weights: Array, scales: Array) -> bool:
        """One scale, or one for each output of the node."""
        if scales.size == 1:
            return True
        axis = w.attributes.get("axis", 1)
        if node.op == "ConvTranspose" and node.attributes.get("group", 1) != 1:
            return False
        outputs = 0 if node.op == "Conv" or node.attributes.get("transB") else 1
        fits = isinstance(axis, int) and -weights.ndim <= axis < weights.ndim
        return fits and axis % weights.ndim == outputs and weights.shape[outputs] == scales.size

    def _end(self, node: OnnxNode) -> tuple[OnnxNode, list[float] | None] | None:
        """The QuantizeLinear that alone reads the result, maybe behind a clamp."""
        reader, bounds = self._reader(node.outputs[0]), None
        if reader is not None and reader.op in ("Relu", "Clip") and not reader.domain:
            bounds = self._bounds(reader)
            reader = self._reader(reader.outputs[0]) if bounds is not None else None
        if reader is None or reader.op != "QuantizeLinear" or reader.domain not in DOMAINS:
            return None
        constants = [self.constant(name) for name in reader.inputs[1:] if name]
        if len(reader.inputs) < 2 or any(c is None or c.size != 1 for c in constants):
            return None
        return reader, bounds

    def _reader(self, name: str) -> OnnxNode | None:
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def _bounds(self, node: OnnxNode) -> list[float] | None:
        if node.op == "Relu":
            return [0.0, float("inf")]
        found: list[float] = []
        for index, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
            value: Any = node.attributes.get(name, default)
            if len(node.inputs) > index and node.inputs[index]:
                data = self.constant(node.inputs[index])
                if data is None or data.size != 1:
                    return None
                value = data.reshape(-1)[0]
            found.append(float(value))
        return found if found[0] <= found[1] else None

    def _bias(self, name: str, x_scale: Array, w_scale: Array, node: OnnxNode) -> str:
        """The name of an int32 constant in units of both scales; "" where it is none."""
        product = x_scale.reshape(-1)[0].astype(np.float64) * w_scale.reshape(-1).astype(np.float64)
        if not (np.isfinite(product) & (product > 0)).all():
            return ""
        data = self.constant(name)
        source = self._conversion(name, "DequantizeLinear")
        if data is None and source is not None:
            integers, scale = self.constant(source.inputs[0]), self.constant(source.inputs[1])
            zero = self.constant(source.inputs[2]) if len(source.inputs) > 2 else None
            if (
                integers is None
                or scale is None
                or integers.dtype != np.int32
                or (zero is not None and zero.any())
            ):
                return ""
            near = scale.size in (1, product.size) and np.allclose(
                scale.reshape(-1), product, rtol=NEAR, atol=0
            )
            if near and integers.ndim <= 1:
                return source.inputs[0]
            data = integers * scale.astype(np.float64)
        if data is None or data.dtype.kind != "f" or not np.isfinite(data).all():
            return ""
        numbers = np.rint(data.astype(np.float64).reshape(-1) / product)
        if not numbers.size or np.abs(numbers).max() >= 2**31:
            return ""
        made = f"{node.label}/bias in integers"
        while made in self.constants or made in self.makers:
            made += "'"
        self.constants[made] = numbers.astype(np.int32)
        return made

    def constant(self, name: str) -> Array | None:
        """Of an initializer, of a Constant, and of what QuantizeLinear makes of these."""
        found = self.constants.get(name)
        node = self.makers.get(name)
        if found is None and node is not None and node.op == "Constant" and not node.domain:
            found = node.attributes.get("value")
        if found is None and node is not None and node.op == "Identity" and node.inputs:
            return self.constant(node.inputs[0]) if node.inputs[0] in self.constants else None
        return found if isinstance(found, np.ndarray) else None


def _pair(node: OnnxNode) -> list[str]:
    """Scale and zero point of a conversion."""
    return [node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else ""]


def _needed(model: OnnxModel) -> OnnxModel:
    """Without nodes and constants that nothing reads any more."""
    wanted = {info.name for info in model.outputs}
    kept: list[OnnxNode] = []
    for node in reversed(model.nodes):
        if any(name in wanted for name in node.outputs):
            kept.append(node)
            wanted.update(node.inputs)
    constants = {name: value for name, value in model.constants.items() if name in wanted}
    return replace(model, nodes=kept[::-1], constants=constants)
