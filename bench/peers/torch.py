"""PyTorch's CPU build, with oneDNN inside.

Best form: channels_last tensors; weights reordered once for the shape at hand; one fused operator per
convolution with bias, activation and residual inside (the operators that its compiler emits for frozen
models); inference mode. What remains over oneDNN is the cost of an operator call and of allocating the
output.

PyTorch pads both sides alike, TensorFlow's "same" puts an odd row or column last. Problems are therefore
mirrored where that matters: mirrored images and filters make the padding come first, where a symmetric one
covers it at equal work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.peers import KEEP_MEMORY, Runner, Unsupported
from bench.placement import aligned
from bench.problem import Array, Problem
from bench.workloads import Stage

# operator name, scalars, algorithm: torch/_inductor's unary attributes
_ATTRIBUTES: dict[str | None, tuple[str, list[float], str]] = {
    None: ("none", [], ""),
    "relu": ("relu", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "hard_swish": ("hardswish", [], ""),
    "hard_sigmoid": ("hardsigmoid", [], ""),
    "sigmoid": ("sigmoid", [], ""),
    "silu": ("swish", [], ""),
    "gelu": ("gelu", [], "none"),
}


class Peer:
    reorders = False
    dtype = "float32"

    def __init__(self, variant: str, threads: int) -> None:
        import torch

        self.torch: Any = torch
        torch.set_num_threads(threads)

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(threads), **KEEP_MEMORY}

    def describe(self) -> dict[str, Any]:
        onednn = self.torch.__config__.show().split("MKL-DNN v", 1)
        inside = onednn[1].split()[0] if len(onednn) > 1 else "none"
        return {"version": self.torch.__version__, "onednn": inside, "called": "from Python"}

    def prepare(self, problem: Problem) -> Runner:
        torch, workload = self.torch, problem.workload
        mirrored = any(_is_odd(s, size) for s, size in zip(workload.stages, workload.sizes(), strict=False))
        x = self._activations(_mirror(problem.x, (1, 2)) if mirrored else problem.x)
        steps, size = [], workload.sizes()[0]
        for i, (stage, filters, bias) in enumerate(problem.layers):
            if mirrored:
                filters = _mirror(filters, (0, 1))
            residual = x if workload.residual and i + 1 == len(workload.stages) else None
            weights = self._weights(stage, filters), torch.from_numpy(bias)
            steps.append(self._step(stage, *weights, (workload.batch, *size), residual))
            if workload.squeeze_excite and i + 2 == len(workload.stages):
                steps.append(self._gate(problem))
            size = stage.output_size(*size)
        y = x

        def run(loops: int) -> None:
            nonlocal y
            with torch.inference_mode():
                for _ in range(loops):
                    y = x
                    for step in steps:
                        y = step(y)

        def output() -> Array:
            result: Array = y.permute(0, 2, 3, 1).numpy()
            return np.ascontiguousarray(_mirror(result, (1, 2)) if mirrored else result)

        return Runner(run, output)

    def _step(
        self, stage: Stage, weights: Any, bias: Any, shape: tuple[int, int, int], residual: Any
    ) -> Callable[[Any], Any]:
        """One convolution of the chain as a function of its input."""
        padding = list(symmetric_padding(stage, shape[1:]))
        geometry = [stage.stride] * 2, [stage.dilation] * 2
        attribute = _ATTRIBUTES[stage.activation]
        fused = self.torch.ops.mkldnn._convolution_pointwise
        nchw = [shape[0], stage.in_channels, *shape[1:]]
        packed = self.torch._C._nn.mkldnn_reorder_conv2d_weight(
            weights.to_mkldnn(), padding, *geometry, stage.groups, nchw
        )
        if residual is None:
            return lambda x: fused(x, packed, bias, padding, *geometry, stage.groups, *attribute)
        if stage.activation:
            raise Unsupported("a residual after an activation")
        return lambda x: fused.binary(
            x, residual, packed, bias, padding, *geometry, stage.groups, "add", 1.0, None, [], None
        )

    def _gate(self, problem: Problem) -> Callable[[Any], Any]:
        shape = problem.workload.batch, 1, 1
        squeeze, excite = (
            self._step(stage, self._weights(stage, filters), self.torch.from_numpy(bias), shape, None)
            for stage, filters, bias in problem.squeeze_excite
        )
        return lambda y: y.mul_(excite(squeeze(y.mean((2, 3), keepdim=True))))

    def _activations(self, x: Array) -> Any:
        placed = aligned(x.shape)
        placed[:] = x
        return self.torch.from_numpy(placed).permute(0, 3, 1, 2)

    def _weights(self, stage: Stage, filters: Array) -> Any:
        """[kh, kw, in, out] to [out, in, kh, kw]; depthwise [kh, kw, in, m] to [in * m, 1, kh, kw]."""
        if stage.op == "depthwise":
            oihw = filters.reshape(*stage.kernel, 1, stage.out_channels).transpose(3, 2, 0, 1)
        else:
            oihw = filters.transpose(3, 2, 0, 1)
        return self.torch.from_numpy(np.ascontiguousarray(oihw))


def _is_odd(stage: Stage, size: tuple[int, int]) -> bool:
    top, bottom, left, right = stage.pads(*size)
    return top != bottom or left != right


def _mirror(values: Array, axes: tuple[int, int]) -> Array:
    return np.ascontiguousarray(np.flip(values, axes))


def symmetric_padding(stage: Stage, size: tuple[int, ...]) -> tuple[int, int]:
    """The padding that gives the output size of the mirrored problem. Unsupported if there is none."""
    height, width = size
    top, bottom, left, right = stage.pads(height, width)
    padding, outs = (max(top, bottom), max(left, right)), stage.output_size(height, width)
    for extent, pad, kernel, out in zip(size, padding, stage.kernel, outs, strict=True):
        effective = (kernel - 1) * stage.dilation + 1
        if (extent + 2 * pad - effective) // stage.stride + 1 != out:
            raise Unsupported("padding that PyTorch cannot express without a copy of the image")
    return padding
