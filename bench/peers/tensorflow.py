"""TensorFlow's CPU build, with oneDNN's optimisations on.

Best form: a traced function with its weights as constants, so that the graph optimiser folds bias and
activation into the convolutions; NHWC, its native layout. It cannot stride a dilated depthwise
convolution.
"""

from __future__ import annotations

from typing import Any

from bench.peers import KEEP_MEMORY, Runner, Unsupported
from bench.problem import Array, Problem
from bench.workloads import Stage


class Peer:
    reorders = True
    dtype = "float32"

    def __init__(self, variant: str, threads: int) -> None:
        import tensorflow

        self.tf = tensorflow
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {
            "OMP_NUM_THREADS": str(threads),
            "TF_ENABLE_ONEDNN_OPTS": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "CUDA_VISIBLE_DEVICES": "",
            **KEEP_MEMORY,
        }

    def describe(self) -> dict[str, Any]:
        return {"version": self.tf.__version__, "called": "from Python"}

    def prepare(self, problem: Problem) -> Runner:
        tf, workload = self.tf, problem.workload

        @tf.function(input_signature=[tf.TensorSpec(workload.input_shape, tf.float32)])  # type: ignore[untyped-decorator]
        def network(x: Any) -> Any:
            y = x
            for i, (stage, filters, bias) in enumerate(problem.layers):
                y = self._stage(stage, y, tf.constant(filters), tf.constant(bias))
                if workload.squeeze_excite and i + 2 == len(problem.layers):
                    factor = tf.reduce_mean(y, (1, 2), keepdims=True)
                    for gate, weights, offset in problem.squeeze_excite:
                        factor = self._stage(gate, factor, tf.constant(weights), tf.constant(offset))
                    y = y * factor
            return y + x if workload.residual else y

        traced = network.get_concrete_function()
        x = tf.constant(problem.x)
        result = x

        def run(loops: int) -> None:
            nonlocal result
            for _ in range(loops):
                result = traced(x)

        def output() -> Array:
            values: Array = result.numpy()
            return values

        return Runner(run, output)

    def _stage(self, stage: Stage, x: Any, filters: Any, bias: Any) -> Any:
        nn = self.tf.nn
        if stage.stride > 1 and stage.dilation > 1:
            raise Unsupported("strides together with dilations")
        window = {"strides": [1, stage.stride, stage.stride, 1], "padding": stage.padding.upper()}
        if stage.op == "depthwise":
            y = nn.depthwise_conv2d(x, filters, **window, dilations=[stage.dilation] * 2)
        else:
            y = nn.conv2d(x, filters, **window, dilations=stage.dilation)
        y = nn.bias_add(y, bias)
        activations = {
            None: lambda v: v,
            "relu": nn.relu,
            "relu6": nn.relu6,
            "hard_swish": lambda v: v * nn.relu6(v + 3) / 6,
            "hard_sigmoid": lambda v: nn.relu6(v + 3) / 6,
            "sigmoid": nn.sigmoid,
            "silu": nn.silu,
            "gelu": nn.gelu,
        }
        return activations[stage.activation](y)
