"""OpenVINO's CPU plugin.

Best form: a compiled model at float32 (on CPUs with AMX it would compute in bfloat16 unasked), one stream, the latency
hint, input and output tensors set once. It picks its own layouts and reorders at both ends: see the slope.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers import Runner, onnx_model
from bench.problem import Array, Problem


class Peer:
    reorders = True

    def __init__(self, variant: str, threads: int) -> None:
        import onnx  # noqa: F401  (models are built with it)
        import openvino

        self.openvino = openvino
        self.core = openvino.Core()
        self.options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            # The harness pins the process; the plugin would count cores that it may not use.
            "ENABLE_CPU_PINNING": False,
        }

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"version": self.openvino.__version__.partition("-")[0], "called": "from Python"}

    def prepare(self, problem: Problem) -> Runner:
        model = self.core.read_model(onnx_model.build(problem))
        request = self.core.compile_model(model, "CPU", self.options).create_infer_request()
        x = np.ascontiguousarray(problem.x.transpose(0, 3, 1, 2))
        y = np.empty(onnx_model.nchw(problem.workload.output_shape), np.float32)
        request.set_input_tensor(self.openvino.Tensor(x, shared_memory=True))
        request.set_output_tensor(self.openvino.Tensor(y, shared_memory=True))

        def run(loops: int) -> None:
            for _ in range(loops):
                # Half the overhead of infer(), which wraps all outputs in a dictionary.
                request.start_async()
                request.wait()

        def output() -> Array:
            return np.ascontiguousarray(y.transpose(0, 2, 3, 1))

        return Runner(run, output)
