"""ONNX Runtime's CPU provider.

Best form: an NCHW model with all graph optimisations, input and output bound once. It computes in a
blocked layout of its own (NCHWc) and reorders at both ends of the graph, which one layer pays in full: see
the slope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.peers import Runner, onnx_model
from bench.problem import Array, Problem


class Peer:
    reorders = True
    dtype = "float32"

    def __init__(self, variant: str, threads: int) -> None:
        import onnx  # noqa: F401  (models are built with it)
        import onnxruntime

        self.ort, self.threads = onnxruntime, threads

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(threads)}

    def describe(self) -> dict[str, Any]:
        return {"version": self.ort.__version__, "called": "from Python"}

    def prepare(self, problem: Problem) -> Runner:
        session = self.session(onnx_model.build(problem))
        image = np.ascontiguousarray(problem.x.transpose(0, 3, 1, 2))
        x = self.ort.OrtValue.ortvalue_from_numpy(image)
        y = self.ort.OrtValue.ortvalue_from_shape_and_type(
            onnx_model.nchw(problem.workload.output_shape), np.float32, "cpu"
        )
        run = self.bound(session, x, y)

        def output() -> Array:
            return np.ascontiguousarray(y.numpy().transpose(0, 2, 3, 1))

        return Runner(run, output, keep=(image, x))

    def session(self, model: bytes) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return self.ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def bound(self, session: Any, x: Any, y: Any) -> Callable[[int], None]:
        """Runs n times, from x to y."""
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", x)
        binding.bind_ortvalue_output("y", y)

        def run(loops: int) -> None:
            for _ in range(loops):
                session.run_with_iobinding(binding)

        return run
