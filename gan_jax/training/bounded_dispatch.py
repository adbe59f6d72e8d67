"""A bound on how far asynchronous dispatch runs ahead of the devices."""

from __future__ import annotations

from typing import Any

import jax

BURST = 16  # calls; XLA:CPU queues up to 32


class BoundedDispatch:
    """Bounds asynchronous dispatch to 32 calls, 16 of which are awaited at a time.

    Between 16 and 32 calls are in flight. With XLA's own bound, the host dispatches one call
    whenever one completes; on CPU this takes a core from the running step each time, with cold
    caches, and costs 0.2 ms of a 3 ms step (`benchmarks/loop_overhead.py`).
    """

    def __init__(self) -> None:
        self._calls, self._last = 0, None

    def wait(self, result: Any) -> None:
        """Count a call; at every 16th, wait for the one 16 calls before.

        Args:
          result: what the call returned; arrays that are not donated to a later call.
        """
        self._calls += 1
        if self._calls % BURST == 0:
            jax.block_until_ready(self._last)
            self._last = result
