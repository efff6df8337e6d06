"""dwconv as Python users call it: a layer, packed once, writing into a given output.

Best form: `layer(x, out=y)`, which allocates nothing. Beside `dwconv` it shows what calls through Python
cost. The variant is the path of another source tree whose src/ holds a build.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.peers import Absent, Runner
from bench.placement import aligned
from bench.problem import Problem


class Peer:
    reorders = False
    dtype = "float32"
    backend = "native"

    def __init__(self, variant: str, threads: int) -> None:
        source = Path(variant).resolve() / "src"
        if variant:
            sys.path.insert(0, str(source))
        import dwconv

        if variant and not Path(dwconv.__file__).is_relative_to(source):
            raise Absent(f"{source} has no dwconv")
        self.dwconv: Any = dwconv
        self.config = dwconv.config()
        if self.config["backend"] != self.backend:
            raise Absent("dwconv's extension is not built: pip install -e .")

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(threads), "DWCONV_NUM_THREADS": str(threads)}

    def describe(self) -> dict[str, Any]:
        return {"version": self.dwconv.__version__, "isa": self.config["isa"], "called": "from Python"}

    def prepare(self, problem: Problem) -> Runner:
        layers = self._layers(problem)
        tensors = [aligned(problem.workload.input_shape)]
        tensors[0][:] = problem.x
        for layer in layers:
            tensors.append(aligned(layer.output_shape(tensors[-1].shape)))
        calls = list(zip(layers, tensors[:-1], tensors[1:], strict=True))

        def run(loops: int) -> None:
            for _ in range(loops):
                for layer, x, y in calls:
                    layer(x, out=y)

        return Runner(run, tensors[-1].copy)

    def _layers(self, problem: Problem) -> list[Any]:
        if problem.workload.op == "separable":
            return [self._separable(problem)]
        if problem.workload.op == "inverted_residual":
            return [self._inverted_residual(problem)]
        kinds = {
            "depthwise": self.dwconv.DepthwiseConv2D,
            "pointwise": self.dwconv.PointwiseConv2D,
            "conv": self.dwconv.Conv2D,
        }
        layers = []
        for stage, filters, bias in problem.layers:
            options = {"strides": stage.stride, "bias": bias, "activation": stage.activation}
            if stage.op != "pointwise":
                options |= {"padding": stage.padding, "dilations": stage.dilation}
            layers.append(kinds[stage.op](filters, **options))
        return layers

    def _separable(self, problem: Problem) -> Any:
        depthwise, pointwise = problem.workload.stages
        return self.dwconv.SeparableConv2D(
            *problem.filters,
            strides=depthwise.stride,
            padding=depthwise.padding,
            dilations=depthwise.dilation,
            depthwise_bias=problem.biases[0],
            depthwise_activation=depthwise.activation,
            bias=problem.biases[1],
            activation=pointwise.activation,
        )

    def _inverted_residual(self, problem: Problem) -> Any:
        depthwise = problem.workload.stages[-2]
        _, filters, biases = zip(*problem.layers, strict=True)
        expands = len(filters) == 3
        gate: dict[str, Any] = {}
        if problem.squeeze_excite:
            (squeeze, few, few_bias), (excite, wide, wide_bias) = problem.squeeze_excite
            gate = {
                "squeeze_excite": (few[0, 0], few_bias, wide[0, 0], wide_bias),
                "squeeze_activation": squeeze.activation,
                "gate_activation": excite.activation,
            }
        return self.dwconv.InvertedResidual(
            *(filters if expands else [None, *filters]),
            strides=depthwise.stride,
            padding=depthwise.padding,
            dilations=depthwise.dilation,
            expand_bias=biases[0] if expands else None,
            depthwise_bias=biases[-2],
            bias=biases[-1],
            activation=depthwise.activation,
            residual=problem.workload.residual,
            **gate,
        )
