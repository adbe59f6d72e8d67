"""The context of a part of accelerator.py: its limits, its workers, and output of its rows."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import Failure, Process, TimeOver

ROOT = Path(__file__).resolve().parents[2]
# For each device: the environment of a process that shares it with others.
ENVIRONMENT = {
    "cpu": {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
    # CPU too, for the reference; no process allocates GPU memory before it needs it.
    "gpu": {"JAX_PLATFORMS": "cuda,cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
}


@dataclasses.dataclass(frozen=True)
class Context:
    """One part's share of a run of the script.

    Attributes:
      part: its name.
      device: "cpu" or "gpu".
      smoke: run the minimum that exercises the code.
      whole: run all of the part, as with `--only`.
      end: deadline at which the part is killed, by `time.monotonic`.
      seconds: its time limit.
      work: folder of temporary files, shared by the parts.
      output: folder of the results.
    """

    part: str
    device: str
    smoke: bool
    whole: bool
    end: float
    seconds: float
    work: Path
    output: Path

    @property
    def tiny(self) -> bool:
        """Whether to use tiny networks and batches: on CPU the script is only rehearsed."""
        return self.device == "cpu"

    def left(self, reserve: float = 0.0) -> float:
        """Return the seconds until the deadline minus a reserve; at least 0."""
        return max(self.end - time.monotonic() - reserve, 0.0)

    def emit(self, table: str, **cells: Any) -> None:
        """Pass a row to accelerator.py, which writes it immediately."""
        line = json.dumps({"part": self.part, "table": table, "cells": cells})
        sys.stdout.write(f"{line}\n")  # in one write, since several threads print
        sys.stdout.flush()

    @property
    def cores(self) -> int:
        """Number of CPU cores available to this process."""
        return len(os.sched_getaffinity(0))

    @property
    def uncached(self) -> dict[str, str]:
        """The environment of a process that compiles its programs without a cache."""
        return {} if self.tiny else {"JAX_ENABLE_COMPILATION_CACHE": "false"}

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that shares the device with others."""
        quick = {}
        if self.tiny:  # a rehearsal spends its time compiling
            kept = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(self.work / "programs"))
            quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_COMPILATION_CACHE_DIR": kept}
        return {**os.environ, **ENVIRONMENT[self.device], **quick}

    def start(
        self,
        function: Callable[..., Any] | str,
        *,
        env: Mapping[str, str] | None = None,
        **given: Any,
    ) -> Process:
        """Start a worker process that serves `function(**given)`, without waiting for it.

        Args:
          function: of a module of this package, or "module:function"; see `serve.py`.
          env: beside the device's; XLA_FLAGS are added to those of this process.
          **given: what JSON can hold.
        """
        if not isinstance(function, str):
            function = f"{function.__module__}:{function.__name__}"
        environment = self.environment() | dict(env or {})
        if env and "XLA_FLAGS" in env:
            flags = f"{os.environ.get('XLA_FLAGS', '')} {env['XLA_FLAGS']}"
            environment["XLA_FLAGS"] = flags.strip()
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(self.work / "inductor")
        environment["TRITON_CACHE_DIR"] = str(self.work / "triton")
        # Many processes compile at once, so each uses few threads.
        environment["TORCHINDUCTOR_COMPILE_THREADS"] = str(max(self.cores // 8, 1))
        number = len(list(self.work.glob("*.log")))
        log = self.work / f"{number:03d}_{self.part}_{function.rpartition(':')[2]}.log"
        command = [sys.executable, "-m", "benchmarks.parts.serve", function, json.dumps(given)]
        return Process(function, command, log, environment, wait=False, cwd=ROOT)

    def ready(self, process: Process, reserve: float = 0.0) -> str:
        """Wait for a process until the deadline minus a reserve; return "" or why it failed."""
        try:
            process.ready(self.left(reserve))  # with 0 seconds left, of one that is ready by now
        except TimeOver:
            return "not ready in its time"
        except Failure as failure:
            return shortened(str(failure))
        return ""

    def ask(
        self, process: Process, what: str, reserve: float = 0.0, **request: Any
    ) -> dict[str, Any]:
        """Query a process; Failure if it does not answer before the deadline minus a reserve."""
        return process.ask(what, timeout=self.left(reserve), **request)


def shortened(text: str, most: int = 160) -> str:
    """Return text for one cell of a table."""
    text = " ".join(text.split()).replace("|", "/")
    return text if len(text) <= most else f"{text[: most - 4]} ..."
