"""Grouping of training steps into calls, which never span a step that logs, saves or evaluates.

Calls begin and end at steps that depend on the step number alone, so a resumed run makes the same
calls as an uninterrupted one and computes the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from gan_jax.core.task import Phase


@dataclasses.dataclass(frozen=True)
class Call:
    """Training steps dispatched together.

    Attributes:
      phase: the phase of all its steps.
      start, end: the call advances the state from step `start` to step `end`.
    """

    phase: Phase
    start: int
    end: int

    @property
    def draws(self) -> int:
        """Number of batches that it consumes."""
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
      phase: step -> its phase, as `Task.phase`.
      start: number of steps already done.
      total: number of steps in the whole training.
      steps_per_call: maximum number of steps per call; calls end at its multiples.
      intervals: intervals of logging, saving and evaluation [steps]; 0 for never. Calls end at
        their multiples.
    """
    every = [steps_per_call, *(n for n in intervals if n > 0)]
    while start < total:
        now = phase(start)
        end = min(total, *(start - start % n + n for n in every))
        end = next((s for s in range(start + 1, end) if phase(s) != now), end)
        yield Call(now, start, end)
        start = end
