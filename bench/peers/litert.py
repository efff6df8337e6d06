"""LiteRT (once TensorFlow Lite), which runs XNNPACK.

Best form: a model of float32 NHWC operators with fused activations; the interpreter's default delegate is
XNNPACK, which packs the weights and computes in place; the input is written once, only invoke() repeats. It
stays with XNNPACK for 7x7 depthwise filters too, where the interpreter's own kernel would be three times
faster: nobody who loads a model gets that one.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from numpy.typing import NDArray

from bench.peers import Runner, tflite_model
from bench.problem import Array, Problem


class Peer:
    reorders = False
    dtype = "float32"

    def __init__(self, variant: str, threads: int) -> None:
        from ai_edge_litert import interpreter

        self.interpreter, self.threads = interpreter, threads

    @staticmethod
    def environment(threads: int) -> dict[str, str]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"version": metadata.version("ai-edge-litert"), "called": "from Python"}

    def prepare(self, problem: Problem) -> Runner:
        return self.runner(tflite_model.build(problem), problem.x)

    def runner(self, model: bytes, x: NDArray[Any]) -> Runner:
        interpreter = self.interpreter.Interpreter(model_content=model, num_threads=self.threads)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        result = interpreter.get_output_details()[0]["index"]

        def run(loops: int) -> None:
            for _ in range(loops):
                interpreter.invoke()

        def output() -> Array:
            values: Array = interpreter.get_tensor(result)
            return values

        return Runner(run, output)
