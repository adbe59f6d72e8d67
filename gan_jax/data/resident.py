"""A training split that lies on the devices: a step gathers its own batches there.

Which examples a batch has follows from (seed, position), and the position is in the state. So where
a split is small enough to lie on every device whole, the host has nothing to prepare between two
steps but, once in many, the next stretch of the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.axes import axis_index, axis_size
from gan_jax.data.dataset import Split
from gan_jax.data.pipeline import Order

STRETCH = 2**16  # examples of the order that lie on the devices, or those of one call


@flax.struct.dataclass
class Resident:
    """What a step takes in place of a batch; whole on every device.

    Attributes:
      arrays: {stream: [N, ...]}, images as stored: uint8.
      rows: int32 [S]: places in `arrays` of the examples at positions `start`, `start` + 1, ...
      start: uint32.
      draws: how many batches to gather.
    """

    arrays: dict[str, jax.Array]
    rows: jax.Array
    start: jax.Array
    draws: int = flax.struct.field(pytree_node=False)

    def gather(self, position: jax.Array, batch_size: int) -> dict[str, jax.Array]:
        """Return this device's slices of the batches at `position`: [draws, B / devices, ...].

        Args:
          position: uint32, examples drawn before.
          batch_size: examples a draw, over all devices.
        """
        local = batch_size // axis_size()
        within = axis_index() * local + jnp.arange(local)
        places = jnp.arange(self.draws)[:, None] * batch_size + within
        # A difference of uint32 is right where positions wrap, too.
        rows = self.rows[(position - self.start).astype(jnp.int32) + places]
        return {name: array[rows] for name, array in self.arrays.items()}


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
