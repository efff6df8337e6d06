"""The other end of bench/worker.py: starts, asks, pauses and ends one worker process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any

from bench.compiling import ROOT
from bench.peers import peer_class


class WorkerError(Exception):
    """The worker crashed or did not answer in time; `status` is "crashed" or "hung"."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class WorkerProcess:
    """A worker that is stopped (SIGSTOP) whenever it is not being asked: an idle thread pool cannot spin."""

    def __init__(
        self,
        peer: str,
        threads: int,
        cpus: list[int],
        start_timeout: float = 600,
        module: str = "bench.worker",
    ) -> None:
        """`module`: what serves, with the same protocol; a peer's variant follows an @."""
        self.peer, self.threads = peer, threads
        kind, _ = peer_class(peer)
        environment = {**os.environ, **kind.environment(threads)}
        # A worker imports what this process can: peers may live anywhere.
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, peer, str(threads), ",".join(map(str, cpus))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            # Ctrl-C is for the controller, which still wants to save what it has.
            start_new_session=True,
        )
        self._buffer = b""
        # Long enough for a small board to compile dwconv's kernels.
        self.greeting = self._answer(start_timeout)
        self._pause()

    def ask(self, call: str, timeout: float = 120, **arguments: Any) -> dict[str, Any]:
        """The answer of Worker.`call`. Raises WorkerError, after which the object is of no more use."""
        assert self._process.stdin is not None
        try:
            self._signal(signal.SIGCONT)
            self._process.stdin.write(json.dumps({"call": call, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it is dead; reading the answer says how
        answer = self._answer(timeout)
        self._pause()
        return answer

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # a question that a dead worker never read
                pipe.close()
        self._errors.close()

    def _pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        """To the whole group: a helper that a library forked would go on computing, or outlive its worker."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                self.close()
                raise WorkerError("hung", f"no answer within {timeout:.0f} s")
            if not select.select([descriptor], [], [], min(left, 1))[0]:
                if self._process.poll() is None:
                    continue
                # Dead, and a helper of its library holds the pipe open.
                raise WorkerError("crashed", self._last_words())
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise WorkerError("crashed", self._last_words())
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.close()
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{cause}: {lines[-1]}" if lines else cause
