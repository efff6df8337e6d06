"""A workload as a LiteRT (TensorFlow Lite) model, written with the schema that the runtime ships."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problem import Array, Problem
from bench.quantized import Quant, Quantized
from bench.workloads import Stage

_FUSED = {None: "NONE", "relu": "RELU", "relu6": "RELU6"}


class Builder:
    """Tensors, constants and operators of one graph, in the order in which they are added."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.codes: list[int] = []
        self.buffers = [schema.BufferT()]  # number 0 stands for "no data"
        self.graph = schema.SubGraphT(tensors=[], operators=[], name="workload")

    def tensor(
        self,
        shape: tuple[int, ...],
        values: NDArray[Any] | None = None,
        quant: tuple[NDArray[np.float32], int, int] | None = None,
    ) -> int:
        """Of the values' dtype; without values float32, or int8 if `quant` is given: scales, the zero point,
        and the axis that scales belong to."""
        buffer, kind = 0, "INT8" if quant else "FLOAT32"
        parameters = None
        if quant:
            scales, zero, axis = quant
            parameters = self.schema.QuantizationParametersT(
                scale=[float(s) for s in scales], zeroPoint=[zero] * len(scales), quantizedDimension=axis
            )
        if values is not None:
            kind = str(values.dtype).upper()
            data = np.ascontiguousarray(values).view(np.uint8).ravel()
            self.buffers.append(self.schema.BufferT(data=data))
            buffer = len(self.buffers) - 1
        name = f"tensor{len(self.graph.tensors)}"
        self.graph.tensors.append(
            self.schema.TensorT(
                shape=list(shape),
                type=getattr(self.schema.TensorType, kind),
                buffer=buffer,
                name=name,
                quantization=parameters,
            )
        )
        return len(self.graph.tensors) - 1

    def operator(
        self,
        name: str,
        inputs: list[int],
        shape: tuple[int, ...],
        kind: str = "",
        options: Any = None,
        quant: Any = None,
    ) -> int:
        """Adds an operator and returns its output; `kind` names its options in the schema."""
        code = getattr(self.schema.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        output = self.tensor(shape, quant=quant)
        self.graph.operators.append(
            self.schema.OperatorT(
                opcodeIndex=self.codes.index(code),
                inputs=inputs,
                outputs=[output],
                builtinOptionsType=getattr(self.schema.BuiltinOptions, kind or "NONE"),
                builtinOptions=options,
            )
        )
        return output

    def finish(self, x: int, y: int) -> bytes:
        import flatbuffers

        self.graph.inputs, self.graph.outputs = [x], [y]
        model = self.schema.ModelT(
            version=3,
            operatorCodes=[
                # Readers of old models look at the deprecated field, which holds one byte.
                self.schema.OperatorCodeT(
                    builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=self._version(code)
                )
                for code in self.codes
            ],
            subgraphs=[self.graph],
            buffers=self.buffers,
        )
        writer = flatbuffers.Builder(1 << 20)
        writer.Finish(model.Pack(writer), b"TFL3")
        return bytes(writer.Output())

    def _version(self, code: int) -> int:
        """Dilated depthwise convolutions exist since version 2 of the operator, int8 since 2 or 3."""
        if any(tensor.quantization for tensor in self.graph.tensors):
            return 2 if code == self.schema.BuiltinOperator.ADD else 3
        return 2 if code == self.schema.BuiltinOperator.DEPTHWISE_CONV_2D else 1


def build(problem: Problem) -> bytes:
    """Input and output NHWC, shapes fixed; relu and relu6 fused, other activations as operators."""
    workload, builder = problem.workload, Builder()
    x = y = builder.tensor(workload.input_shape)
    size = workload.sizes()[0]
    for i, (stage, filters, bias) in enumerate(problem.layers):
        size = stage.output_size(*size)
        shape = (workload.batch, *size, stage.out_channels)
        y = _convolution(builder, stage, y, shape, filters, bias)
        if workload.squeeze_excite and i + 2 == len(problem.layers):
            y = _scaled(builder, problem, y, shape)
    if workload.residual:
        y = builder.operator("ADD", [y, x], workload.output_shape, "AddOptions", builder.schema.AddOptionsT())
    return builder.finish(x, y)


def build_int8(problem: Quantized) -> bytes:
    """The same of a quantized workload; saturation is the clamp of an activation."""
    workload, builder = problem.workload, Builder()
    x = y = builder.tensor(workload.input_shape, quant=_quant(problem.layers[0].input))
    size = workload.sizes()[0]
    for layer in problem.layers:
        size = layer.stage.output_size(*size)
        shape = (workload.batch, *size, layer.stage.out_channels)
        units = (np.float32(layer.input.scale) * layer.scales, 0, 0)
        axis = 3 if layer.stage.op == "depthwise" else 0
        bias = builder.tensor(layer.bias.shape, layer.bias, units)
        scales = layer.scales, 0, axis
        y = _linear(builder, layer.stage, y, shape, layer.filters, bias, _quant(layer.output), scales)
    if problem.sum:
        options = builder.schema.AddOptionsT()
        shape = workload.output_shape
        y = builder.operator("ADD", [y, x], shape, "AddOptions", options, _quant(problem.sum))
    return builder.finish(x, y)


def _quant(quant: Quant) -> tuple[NDArray[np.float32], int, int]:
    return np.array([quant.scale], np.float32), quant.zero_point, 0


def _scaled(builder: Builder, problem: Problem, x: int, shape: tuple[int, ...]) -> int:
    """x times its factors by squeeze-and-excite."""
    schema = builder.schema
    axes = builder.tensor((2,), np.array([1, 2], np.int32))
    pooled = shape[0], 1, 1, shape[3]
    factor = builder.operator(
        "MEAN", [x, axes], pooled, "ReducerOptions", schema.ReducerOptionsT(keepDims=True)
    )
    for stage, filters, bias in problem.squeeze_excite:
        factor = _convolution(builder, stage, factor, (*pooled[:3], stage.out_channels), filters, bias)
    return builder.operator("MUL", [x, factor], shape, "MulOptions", schema.MulOptionsT())


def _linear(
    builder: Builder,
    stage: Stage,
    x: int,
    shape: tuple[int, ...],
    filters: NDArray[Any],
    bias: int,
    quant: Any = None,
    scales: Any = None,
) -> int:
    """A convolution, with its activation where that can be fused."""
    schema = builder.schema
    options = {
        "padding": getattr(schema.Padding, stage.padding.upper()),
        "strideW": stage.stride,
        "strideH": stage.stride,
        "dilationWFactor": stage.dilation,
        "dilationHFactor": stage.dilation,
        "fusedActivationFunction": getattr(
            schema.ActivationFunctionType, _FUSED.get(stage.activation, "NONE")
        ),
    }
    if stage.op == "depthwise":
        weights = filters.reshape(1, *stage.kernel, stage.out_channels)
        multiplier = stage.out_channels // stage.in_channels
        kind, name = "DepthwiseConv2DOptions", "DEPTHWISE_CONV_2D"
        chosen = schema.DepthwiseConv2DOptionsT(**options, depthMultiplier=multiplier)
    else:
        weights = filters.transpose(3, 0, 1, 2)
        kind, name = "Conv2DOptions", "CONV_2D"
        chosen = schema.Conv2DOptionsT(**options)
    inputs = [x, builder.tensor(weights.shape, weights, scales), bias]
    return builder.operator(name, inputs, shape, kind, chosen, quant)


def _convolution(
    builder: Builder, stage: Stage, x: int, shape: tuple[int, ...], filters: Array, bias: Array
) -> int:
    schema = builder.schema
    y = _linear(builder, stage, x, shape, filters, builder.tensor(bias.shape, bias))
    if stage.activation == "hard_swish":
        return builder.operator("HARD_SWISH", [y], shape, "HardSwishOptions", schema.HardSwishOptionsT())
    if stage.activation == "gelu":
        return builder.operator("GELU", [y], shape, "GeluOptions", schema.GeluOptionsT(approximate=False))
    if stage.activation == "hard_sigmoid":  # as converters write it: there is no such operator
        relu6 = schema.AddOptionsT(fusedActivationFunction=schema.ActivationFunctionType.RELU6)
        y = builder.operator(
            "ADD", [y, builder.tensor((1,), np.array([3], np.float32))], shape, "AddOptions", relu6
        )
        sixth = builder.tensor((1,), np.array([1 / 6], np.float32))
        return builder.operator("MUL", [y, sixth], shape, "MulOptions", schema.MulOptionsT())
    if stage.activation == "sigmoid":
        return builder.operator("LOGISTIC", [y], shape)
    if stage.activation == "silu":
        gate = builder.operator("LOGISTIC", [y], shape)
        return builder.operator("MUL", [y, gate], shape, "MulOptions", schema.MulOptionsT())
    return y
