"""How fast a training is, between two lines of its log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any


class Speedometer:
    """Counts images and the time spent waiting for them; restart it after what is not training."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew."""
        self._began, self._images, self._waited = time.perf_counter(), 0, 0.0

    def take(self, feed: Iterator[Any], images: int) -> Any:
        """Return the next batch, of so many images, and note how long it took to come."""
        asked = time.perf_counter()
        batch = next(feed)
        self._waited += time.perf_counter() - asked
        self._images += images
        return batch

    def read(self) -> dict[str, float]:
        """Return images a second, and the share of the time spent waiting for them; restart.

        The host runs ahead of the devices, so waiting costs nothing until they have caught up: the
        share is an upper bound of what input costs.
        """
        passed = time.perf_counter() - self._began
        found = {
            "time/images_per_second": self._images / passed,
            "time/input_wait": self._waited / passed,
        }
        self.restart()
        return found
