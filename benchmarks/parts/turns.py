"""Timing in alternating blocks of steps, one process at a time."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from benchmarks.parts.context import Context, shortened
from benchmarks.processes import Failure, Process

LEAST = 50  # minimum steps per block on an accelerator
BLOCK = 0.25  # minimum seconds per block


@dataclasses.dataclass
class Entry:
    """An implementation to time, and its times.

    Attributes:
      process: a process that answers "warm" and "block", see `blocks`.
      form: the implementation, one of those the process holds.
      estimate: seconds per step in the warm-up.
      times: seconds per step, one entry per block.
      note: the reason if there are no times.
    """

    process: Process
    form: str
    estimate: float = 0.0
    times: list[float] = dataclasses.field(default_factory=list)
    note: str = ""

    @property
    def seconds(self) -> float | None:
        """The median seconds per step; None if nothing was timed."""
        return statistics.median(self.times) if self.times else None


class Side(Protocol):
    """An implementation that can dispatch steps without waiting for each."""

    def dispatch(self) -> None:
        """Start a step."""

    def wait(self) -> None:
        """Wait for all dispatched steps."""


def blocks(make: Mapping[str, Callable[[], Side]]) -> dict[str, Callable[..., dict[str, Any]]]:
    """Return the request handlers of a process with these implementations, built on first use."""
    made: dict[str, Side] = {}

    def run(form: str, steps: int) -> dict[str, float]:
        side = made[form]
        side.dispatch()
        side.wait()
        began = time.perf_counter()
        for _ in range(steps):
            side.dispatch()
        side.wait()
        return {"seconds": (time.perf_counter() - began) / steps}

    def warm(form: str) -> dict[str, float]:
        if form not in made:
            made[form] = make[form]()
        for _ in range(3):  # captures graphs, chooses algorithms
            made[form].dispatch()
            made[form].wait()
        return run(form, 3)

    return {"warm": warm, "block": run}


def in_turns(context: Context, entries: list[Entry], rounds: int, end: float) -> None:
    """Time entries, until all have `rounds` blocks or `end`, by `time.monotonic`, has come.

    An entry that fails gets a note and no further turns.
    """
    left = lambda: end - time.monotonic()  # noqa: E731

    def tried(entry: Entry, what: str, **request: Any) -> float:
        if left() <= 0 or entry.note:
            entry.note = entry.note or ("" if entry.times else "out of time")
            return 0.0
        try:
            return entry.process.ask(what, timeout=left(), form=entry.form, **request)["seconds"]
        except Failure as failure:
            entry.note = shortened(str(failure))
            return 0.0

    for entry in entries:
        entry.estimate = tried(entry, "warm")
    for _ in range(rounds):
        for entry in entries:
            if not entry.estimate:
                continue
            steps = max(LEAST, math.ceil(BLOCK / entry.estimate))
            if context.tiny:
                steps = max(1, min(steps, math.ceil(BLOCK / entry.estimate)))
            # Keep time for the turns of the remaining entries.
            share = left() / (len(entries) * rounds)
            steps = max(min(steps, int(4 * share / entry.estimate)), 1)
            if seconds := tried(entry, "block", steps=steps):
                entry.times.append(seconds)
