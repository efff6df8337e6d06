"""OpenVINO's CPU plugin.

Best form: a compiled model at float32 (on CPUs with AMX it would compute in bfloat16 unasked), one stream,
the latency hint, input and output tensors set once. Tensors are declared NHWC, which is what its kernels
then run in (measured: 160 us instead of 765 for 112x112x64 3x3 s2, whose reorders fall away); it may still
pick layouts of its own inside a network: see the slope.
"""

from __future__ import annotations

import sys
from typing import Any

from numpy.typing import NDArray

from bench.peers import Runner, onnx_model
from bench.placement import aligned
from bench.problem import Problem


class Peer:
    reorders = True
    dtype = "float32"

    def __init__(self, variant: str, threads: int) -> None:
        # Otherwise importing it forks a process that reports to its makers, on the cores that are measured.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import onnx  # noqa: F401  (models are built with it)
        import openvino
        import openvino.preprocess

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
        return self.compiled(
            self.core.read_model(onnx_model.build(problem)), problem.x, problem.workload.output_shape
        )[0]

    def compiled(self, model: Any, image: NDArray[Any], shape: tuple[int, ...]) -> tuple[Runner, Any]:
        """The runner of a model on such an image, and what OpenVINO compiled."""
        nhwc, nchw = self.openvino.Layout("NHWC"), self.openvino.Layout("NCHW")
        layouts = self.openvino.preprocess.PrePostProcessor(model)
        layouts.input().tensor().set_layout(nhwc)
        layouts.input().model().set_layout(nchw)
        layouts.output().model().set_layout(nchw)
        layouts.output().tensor().set_layout(nhwc)
        compiled = self.core.compile_model(layouts.build(), "CPU", self.options)
        request = compiled.create_infer_request()
        x, y = aligned(image.shape, image.dtype), aligned(shape, image.dtype)
        x[:] = image
        request.set_input_tensor(self.openvino.Tensor(x, shared_memory=True))
        request.set_output_tensor(self.openvino.Tensor(y, shared_memory=True))

        def run(loops: int) -> None:
            for _ in range(loops):
                # Half the overhead of infer(), which wraps all outputs in a dictionary.
                request.start_async()
                request.wait()

        return Runner(run, y.copy, keep=(x, y, request)), compiled
