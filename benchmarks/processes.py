"""Worker processes that are measured in turns; each answers requests as lines of JSON."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_EXCEPTION = re.compile(r"^[\w.]*(Error|Exception|Interrupt|Difference|Failure|Exit)\b.*:")


class Failure(RuntimeError):
    """Raised if a benchmark process has ended; the message is for the user."""


class TimeOver(Failure):
    """Raised if a process did not answer in time and was killed."""


class Process:
    """A process that reports when it is ready, and then answers each line of JSON with one.

    Attributes:
      form: its name.
      first: its first message, sent when it is ready; None until then.
      start: seconds until it was ready, including the start of the process.
    """

    def __init__(
        self,
        form: str,
        command: list[str],
        log: Path,
        env: dict[str, str] | None = None,
        *,
        wait: bool = True,
        cwd: Path | None = None,
    ) -> None:
        """Start it.

        Args:
          form: a name.
          command: see `obey`.
          log: where its standard error goes.
          env: its environment; None for this process's.
          wait: until it is ready; else call `ready`.
          cwd: where it runs; None for here.
        """
        self.form, self.log, self.first, self.start = form, log, None, 0.0
        self._late = False
        self._began = time.perf_counter()
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=env,
                cwd=cwd,
            )
        if wait:
            self.ready()

    def ready(self, timeout: float | None = None) -> None:
        """Wait until the process is ready, for `timeout` seconds at most."""
        if self.first is None:
            self.first = self._read(timeout)
            self.start = time.perf_counter() - self._began

    def ask(self, what: str, *, timeout: float | None = None, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
          Failure: the process ended, or did not answer within `timeout` seconds; it is killed.
        """
        try:
            self.process.stdin.write(json.dumps({"do": what, **request}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and its log says why
        return self._read(timeout)

    def _read(self, timeout: float | None) -> dict[str, Any]:
        # One answer a request: nothing is left in the buffer of `readline`.
        if timeout is not None and not select.select([self.process.stdout], [], [], timeout)[0]:
            self.kill()
            self._late = True
            raise TimeOver(f"no answer within {timeout:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            if self._late:
                raise TimeOver("ended: an answer was late")
            raise Failure(reason(self.log) or f"exit code {self.process.returncode}")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def kill(self) -> None:
        """End the process now."""
        self.process.kill()
        self.process.wait()


def reason(log: Path) -> str:
    """Return the reason in a log why the process ended: the last exception, or the last line."""
    lines = [x.strip() for x in log.read_text(errors="replace").splitlines() if x.strip()]
    return next((x for x in reversed(lines) if _EXCEPTION.match(x)), lines[-1] if lines else "")


def obey(
    prepare: Callable[[], tuple[dict[str, Any], Mapping[str, Callable[..., dict[str, Any]]]]],
) -> None:
    """Serve requests as a worker process, until standard input ends.

    Args:
      prepare: returns (first message, functions by name). A request {"do": NAME, ...} is answered
        with the function's result for the other fields, and "idle": seconds of CPU time of the
        process since its last answer.
    """
    # Answers use a separate channel, since libraries print to standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    first, functions = prepare()
    print(json.dumps(first), file=answers, flush=True)
    before = time.process_time()
    for line in sys.stdin:
        idle = time.process_time() - before
        request = json.loads(line)
        answer = functions[request.pop("do")](**request)
        print(json.dumps({**answer, "idle": idle}), file=answers, flush=True)
        before = time.process_time()
