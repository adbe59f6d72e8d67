"""How far the host runs ahead of the devices."""

from __future__ import annotations

from typing import Any

import jax

BURST = 16  # calls; XLA:CPU lets 32 wait


class Ahead:
    """Dispatches calls by the handful: two handfuls are under way at most, one at least.

    Without it the host dispatches one call whenever one is done, and where the CPU is the device
    takes a core from the next step each time, with caches that are cold: 0.2 ms of a step of 3 ms
    (`benchmarks/loop_overhead.py`).
    """

    def __init__(self) -> None:
        self._calls, self._last = 0, None

    def wait(self, result: Any) -> None:
        """Note a call; after a handful of them, wait for those before.

        Args:
          result: what the call returned, arrays that no later call is given.
        """
        self._calls += 1
        if self._calls % BURST == 0:
            jax.block_until_ready(self._last)
            self._last = result
