"""Training speed between two logged steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import jax


class Reading:
    """Images per second up to a call whose result may still be pending.

    Calls are dispatched long before they complete. A thread waits for the result and records the
    time, so that the loop does not have to wait.
    """

    def __init__(self, result: Any, images: int, start: float | Reading, wait: float) -> None:
        self._images, self._start, self._wait = images, start, wait
        self._done = 0.0
        self._thread = threading.Thread(target=self._watch, args=(result,), daemon=True)
        self._thread.start()

    def _watch(self, result: Any) -> None:
        try:
            jax.block_until_ready(result)
        except Exception:  # raised again when the metrics are read
            return
        finally:
            self._done = time.perf_counter()

    def done(self) -> float:
        """Wait for the result; return its completion time, by time.perf_counter."""
        self._thread.join()
        return self._done

    def values(self) -> dict[str, float]:
        """Return images per second, and the fraction of time spent waiting for input."""
        end = self.done()
        if isinstance(self._start, Reading):
            self._start = self._start.done()  # frees the earlier readings
        passed = max(end - self._start, 1e-9)
        return {"time/images_per_second": self._images / passed, "time/input_wait": self._wait}


class Speedometer:
    """Counts images and the time spent waiting for input; restart it after anything else."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start a new measurement; no call may be pending."""
        self._asked = time.perf_counter()
        self._start: float | Reading = self._asked
        self._images, self._waited = 0, 0.0

    def take(self, feed: Iterator[Any], images: int) -> Any:
        """Return the next input, of `images` images, and record the time spent waiting for it."""
        asked = time.perf_counter()
        batch = next(feed)
        self._waited += time.perf_counter() - asked
        self._images += images
        return batch

    def read(self, result: Any) -> Reading:
        """Return the speed since the last reading, and start the next.

        The host runs ahead of the devices, so waiting for input costs nothing until they catch up:
        the fraction is an upper bound on the cost of input.

        Args:
          result: result of the last call.
        """
        now = time.perf_counter()
        wait = min(self._waited / max(now - self._asked, 1e-9), 1.0)
        reading = Reading(result, self._images, self._start, wait)
        self._asked, self._start = now, reading
        self._images, self._waited = 0, 0.0
        return reading
