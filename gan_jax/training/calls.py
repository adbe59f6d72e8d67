"""Which steps one dispatch runs: several at a time, never across a step where something happens.

Where a call begins and ends follows from the step's number alone, so a run that is killed and
continued makes the same calls as one that is not, and computes the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from gan_jax.core.task import Phase


@dataclasses.dataclass(frozen=True)
class Call:
    """One dispatch.

    Attributes:
      phase: of all its steps.
      start, end: it takes the state from step `start` to step `end`.
    """

    phase: Phase
    start: int
    end: int

    @property
    def draws(self) -> int:
        """Batches that it takes."""
        return (self.end - self.start) * self.phase.draws


def plan_calls(
    phase: Callable[[int], Phase],
    *,
    start: int,
    total: int,
    steps_per_call: int,
    intervals: Iterable[int],
) -> Iterator[Call]:
    """Yield the calls of a training.

    Args:
      phase: of each step, as `Task.phase`.
      start: steps that are done.
      total: steps in the whole training.
      steps_per_call: the most steps in one call; calls end at its multiples.
      intervals: of what happens between calls (log, save, evaluate), in steps; 0 for never.
    """
    every = [steps_per_call, *(n for n in intervals if n > 0)]
    while start < total:
        now = phase(start)
        end = min(total, *(start - start % n + n for n in every))
        end = next((s for s in range(start + 1, end) if phase(s) != now), end)
        yield Call(now, start, end)
        start = end
