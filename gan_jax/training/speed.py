"""How fast a training is, between two lines of its log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import jax


class Reading:
    """Images a second up to a call whose result may still be under way.

    The host dispatches calls long before they are done: only when the result of one is there has
    its time passed. A thread waits for that, so that nothing else has to.
    """

    def __init__(self, result: Any, images: int, start: float | Reading, wait: float) -> None:
        self._images, self._start, self._wait = images, start, wait
        self._done = 0.0
        self._thread = threading.Thread(target=self._watch, args=(result,), daemon=True)
        self._thread.start()

    def _watch(self, result: Any) -> None:
        try:
            jax.block_until_ready(result)
        except Exception:  # raised again where the numbers are read
            return
        finally:
            self._done = time.perf_counter()

    def done(self) -> float:
        """Wait for the result; return when it was there, by time.perf_counter."""
        self._thread.join()
        return self._done

    def values(self) -> dict[str, float]:
        """Return images a second, and the share of the time spent waiting for them."""
        end = self.done()
        if isinstance(self._start, Reading):
            self._start = self._start.done()  # and forget those before
        passed = max(end - self._start, 1e-9)
        return {"time/images_per_second": self._images / passed, "time/input_wait": self._wait}


class Speedometer:
    """Counts images and the time spent waiting for them; restart it after what is not training."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew, with nothing under way."""
        self._asked = time.perf_counter()
        self._start: float | Reading = self._asked
        self._images, self._waited = 0, 0.0

    def take(self, feed: Iterator[Any], images: int) -> Any:
        """Return the next batch, of so many images, and note how long it took to come."""
        asked = time.perf_counter()
        batch = next(feed)
        self._waited += time.perf_counter() - asked
        self._images += images
        return batch

    def read(self, result: Any) -> Reading:
        """Return the speed since the last reading, and begin the next.

        The host runs ahead of the devices, so waiting costs nothing until they have caught up: the
        share is an upper bound of what input costs.

        Args:
          result: of the last call.
        """
        now = time.perf_counter()
        wait = min(self._waited / max(now - self._asked, 1e-9), 1.0)
        reading = Reading(result, self._images, self._start, wait)
        self._asked, self._start = now, reading
        self._images, self._waited = 0, 0.0
        return reading
