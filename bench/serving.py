"""Many Python threads calling one network: requests per second, and how long each waits.

`python -m bench.serving PEER MODEL CALLERS SECONDS` measures one library in a process of its own and prints
one line of JSON; `measure` runs them in turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.compiling import ROOT
from bench.machine import usable_cpus
from bench.whole_models import Model, load, random
from bench.whole_peers import known, network

Call = Callable[[], Any]


def dwconv(model: Model, callers: int) -> list[Call]:
    """One network, one thread per call, outputs of each caller's own."""
    net = network(model)
    feeds = {i.name: random(*model.shapes.get(i.name, known(i.shape))) for i in net.inputs}
    net(feeds, num_threads=1)
    return [lambda: net(feeds, num_threads=1)] * callers


def onnxruntime(model: Model, callers: int) -> list[Call]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(model.onnx()), options, providers=["CPUExecutionProvider"])
    feeds = {v.name: random(*model.shapes.get(v.name, known(v.shape))) for v in session.get_inputs()}
    return [lambda: session.run(None, feeds)] * callers


def openvino(model: Model, callers: int) -> list[Call]:
    """As many streams as CPUs, a request for each caller."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    read = ov.Core().read_model(str(model.onnx()))
    if model.shapes:
        read.reshape({name: list(shape) for name, shape in model.shapes.items()})
    count = len(usable_cpus())
    options = {
        "INFERENCE_NUM_THREADS": count, "NUM_STREAMS": count, "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    compiled = ov.Core().compile_model(read, "CPU", options)
    feeds = [random(*(int(d) for d in port.get_partial_shape().to_shape())) for port in read.inputs]

    def call(request: Any) -> Call:
        for i, x in enumerate(feeds):
            request.set_input_tensor(i, ov.Tensor(x, shared_memory=True))
        return lambda: (request.start_async(), request.wait())

    return [call(compiled.create_infer_request()) for _ in range(callers)]


PEERS = {"dwconv": dwconv, "onnxruntime": onnxruntime, "openvino": openvino}


def serve(calls: Sequence[Call], seconds: float) -> dict[str, float]:
    """Every caller asks again as soon as it is answered."""
    waits: list[list[float]] = [[] for _ in calls]
    end = time.perf_counter() + seconds

    def ask(call: Call, waited: list[float]) -> None:
        while (start := time.perf_counter()) < end:
            call()
            waited.append(time.perf_counter() - start)

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(calls, waits, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = np.concatenate([np.array(w) for w in waits]) * 1e3
    return {
        "per_second": len(found) / seconds,
        "median_ms": float(np.median(found)),
        "p99_ms": float(np.quantile(found, 0.99)),
    }


def measure(
    model: str, peers: Sequence[str], callers: Sequence[int], seconds: float, rounds: int
) -> Iterator[dict[str, Any]]:
    """The round with the most requests, for each library that reads the model and number of callers."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for _ in range(rounds):
        for peer in peers:
            for count in callers:
                command = [sys.executable, "-m", "bench.serving", peer, model, str(count), str(seconds)]
                told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
                if told.returncode:
                    print(f"{peer}: {told.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
                    continue
                row = {"model": Path(model).name, "peer": peer, "callers": count}
                row |= json.loads(told.stdout.splitlines()[-1])
                if row["per_second"] > best.get((peer, count), {"per_second": 0})["per_second"]:
                    best[peer, count] = row
    yield from best.values()


def main(peer: str, model: str, callers: str, seconds: str) -> None:
    calls = PEERS[peer](load(model), int(callers))
    serve(calls, float(seconds) / 4)  # warms up
    print(json.dumps(serve(calls, float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
