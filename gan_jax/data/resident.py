"""A training split that lies on the devices: a step gathers its own batches there.

Which examples a batch has follows from (seed, position), and the position is in the state. So where
a split is small enough to lie on every device whole, the host has nothing to prepare between two
steps but, once in many, the next stretch of the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gan_jax.data.dataset import Split
from gan_jax.data.pipeline import Order
from gan_jax.parallel.resident import Resident

STRETCH = 2**16  # examples of the order that lie on the devices, or those of one call


def fits(split: Split, gib: float) -> bool:
    """Return whether a split lies in memory and is of at most so many GiB."""
    return split.in_memory and sum(x.nbytes for x in split.arrays.values()) <= gib * 2**30


def resident_batches(
    split: Split,
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
    order, arrays = Order(len(split), seed), place(split.arrays)
    start, length = position, 0
    for number in draws:
        if (position - start) % 2**32 + number * batch_size > length:
            start, length = position, max(STRETCH, number * batch_size)
            rows = split.places(order[(start + np.arange(length)) % 2**32])
            stretch = place((rows.astype(np.int32), np.uint32(start)))
        yield Resident(arrays, *stretch, number)
        position = (position + number * batch_size) % 2**32
