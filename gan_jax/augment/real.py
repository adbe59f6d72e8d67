"""Augmentation of real images before training uses them: flips, dequantisation (`config.data`).

The key of an example depends on the run's seed and on its position in the whole training: the
same for any batch size, on any number of devices, and in a resumed run.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.augment.geometric import random_flip
from gan_jax.core.keys import fold_in_each
from gan_jax.core.task import Batch, Key
from gan_jax.parallel.axes import axis_index, axis_size

Prepare = Callable[[Batch, Key, jax.Array], Batch]
# Folded into the training key to derive the examples' keys; no step has so large a number.
EXAMPLES = np.uint32(2**32 - 1)


def make_prepare(*, flip: bool, dequantize: bool) -> Prepare | None:
    """Return the function that augments the images of a step, or None if there is nothing to do.

    It takes the batches of a step, with images [draws, B, H, W, C] float32 in [-1, 1], the training
    key, and the position of the step's first example; other streams pass through.

    Args:
      flip: mirror half of the examples left to right, all images of an example alike.
      dequantize: see `dequantized`.
    """
    if not (flip or dequantize):
        return None

    def prepare(batch: Batch, key: Key, position: jax.Array) -> Batch:
        names = [name for name, x in batch.items() if x.ndim == 5]
        keys = jax.vmap(jax.vmap(jax.random.split))(example_keys(key, position, batch))
        flip_keys, noise_keys = jnp.moveaxis(keys, -1, 0)
        images = tuple(batch[name] for name in names)
        if flip:
            images = jax.vmap(random_flip)(images, flip_keys)
        if dequantize:
            images = tuple(
                jax.vmap(dequantized)(x, fold_in_two(noise_keys, i)) for i, x in enumerate(images)
            )
        return {**batch, **dict(zip(names, images, strict=True))}

    return prepare


def example_keys(key: Key, position: jax.Array, batch: Batch) -> jax.Array:
    """Return the keys [draws, B] of a step's examples on this device.

    Args:
      key: the training key, the same at every step.
      position: uint32, number of examples used before this step, by all devices.
      batch: of this device, leaves [draws, B, ...].
    """
    draws, local = next(iter(batch.values())).shape[:2]
    within = axis_index() * local + jnp.arange(local)
    places = jnp.arange(draws)[:, None] * (local * axis_size()) + within
    root = jax.random.fold_in(key, EXAMPLES)
    return jax.vmap(lambda row: fold_in_each(root, row))(position + places.astype(jnp.uint32))


def fold_in_two(keys: jax.Array, data: int) -> jax.Array:
    """Fold data into keys [draws, B]."""
    return jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, data)))(keys)


def dequantized(images: jax.Array, keys: jax.Array) -> jax.Array:
    """Return (v + u) / 128 - 1 for each grey level v in [0, 255], with u uniform in [0, 1).

    As in the code of SNGAN (arXiv:1802.05957) and, for CIFAR-10, of WGAN-GP (arXiv:1704.00028).

    Args:
      images: [B, H, W, C] in [-1, 1], v / 127.5 - 1.
      keys: typed keys [B], used for nothing else.

    Returns:
      [B, H, W, C] in [-1, 1].
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, images.shape[1:], images.dtype))(keys)
    return ((images + 1) * 127.5 + noise) / 128 - 1
