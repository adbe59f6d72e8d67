"""Processes that are measured in turns: each holds one form, and obeys lines of JSON."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any


class Failure(RuntimeError):
    """A process of a benchmark ended; the text is for the person at the keyboard."""


class Process:
    """A process that answers each line of JSON by one, and first says that it is ready.

    Attributes:
      form: its name.
      first: what it said when it was ready.
      start: seconds until then, of the process itself too.
    """

    def __init__(
        self, form: str, command: list[str], log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.form, self.log = form, log
        began = time.perf_counter()
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=env,
            )
        self.first = self._read()
        self.start = time.perf_counter() - began

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer."""
        self.process.stdin.write(json.dumps({"do": what, **request}) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            lines = [x for x in self.log.read_text().splitlines() if x.strip()]
            raise Failure(lines[-1] if lines else f"exit code {self.process.returncode}")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
