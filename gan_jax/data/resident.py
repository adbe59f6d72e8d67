"""A training split that lies on the devices: a step gathers its own batches there.

Which examples a batch has follows from (seed, position), and the position is in the state. So where
a split is small enough to lie on every device whole, the host has nothing to prepare between two
steps but, once in many, the next stretch of the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gan_jax.data.dataset import Domains, Split
from gan_jax.data.pipeline import Order
from gan_jax.parallel.resident import Resident

STRETCH = 2**16  # examples of the order that lie on the devices, or those of one call


def fits(split: Split | Domains, gib: float) -> bool:
    """Return whether a split lies in memory and is of at most so many GiB."""
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
    """Yield what the calls of a training take: the batches of `pipeline.batches`, on the devices.

    Args:
      split: the training examples; it `fits`.
      place: puts host arrays on every device whole.
      seed: of the order.
      position: examples drawn before.
      batch_size: examples a draw.
      draws: how many draws each call takes; the iterator ends with it.
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
