"""A training split kept on the devices, where each step gathers its own batches.

The examples of a batch follow from (seed, position), and the position is in the state. So if a
whole copy of the split fits on every device, the host only has to upload the next stretch of the
order, once in many steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gan_jax.data.dataset import Domains, Split
from gan_jax.data.pipeline import Order
from gan_jax.parallel.resident import Resident

STRETCH = 2**16  # length of the order kept on the devices, or that of one call if longer


def fits(split: Split | Domains, gib: float) -> bool:
    """Return whether a split is in memory and takes at most `gib` GiB."""
    parts = split.parts.values()
    if not all(part.in_memory for part in parts):
        return False
    return sum(x.nbytes for part in parts for x in part.arrays.values()) <= gib * 2**30


def resident_batches(
    split: Split | Domains,
    place: Callable[[Any], Any],
    *,
    seed: int,
    position: int,
    batch_size: int,
    draws: Iterable[int],
) -> Iterator[Resident]:
    """Yield the input of each training call: the batches of `pipeline.batches`, on the devices.

    Args:
      split: the training examples; it `fits`.
      place: copies host arrays whole to every device.
      seed: seed of the order.
      position: examples drawn before.
      batch_size: examples per draw.
      draws: number of draws of each call; the iterator ends with it.
    """
    parts = list(split.parts.values())
    orders = [Order(len(part), seed, domain) for domain, part in enumerate(parts)]
    arrays = place(tuple(part.arrays for part in parts))
    start, length = position, 0
    for number in draws:
        if (position - start) % 2**32 + number * batch_size > length:
            start, length = position, max(STRETCH, number * batch_size)
            places = (start + np.arange(length)) % 2**32
            rows = [p.places(order[places]) for p, order in zip(parts, orders, strict=True)]
            stretch = place((tuple(x.astype(np.int32) for x in rows), np.uint32(start)))
        yield Resident(arrays, *stretch, number)
        position = (position + number * batch_size) % 2**32
