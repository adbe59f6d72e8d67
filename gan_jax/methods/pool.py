"""A history of generated images to train a discriminator on (arXiv:1612.07828, section 2.3).

With probability one half an image is exchanged for one generated earlier, so that the discriminator
does not forget what earlier generators made.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gan_jax.core.task import Key
from gan_jax.parallel.axes import axis_gather, axis_index, axis_size

Pool = dict[str, jax.Array]


def make_pool(size: int, image_shape: tuple[int, ...]) -> Pool:
    """Return an empty history.

    Args:
      size: capacity in images; 50 in CycleGAN (arXiv:1703.10593, section 4).
      image_shape: shape of one image.
    """
    return {"images": jnp.zeros((size, *image_shape)), "filled": jnp.zeros((), jnp.int32)}


def pool_query(pool: Pool, fakes: jax.Array, keys: Key) -> tuple[Pool, jax.Array]:
    """Put images into a history, and return images for the discriminator.

    Examples are processed one by one, in the order of the whole batch across devices. While the
    history is not full, an image is stored and returned. After that it is returned, or, with
    probability one half, replaces a stored image drawn uniformly, which is returned instead.
    (Shrivastava et al. replace half of each batch; one by one is CycleGAN's authors' way.)

    Args:
      pool: see `make_pool`; the same on all devices.
      fakes: [B, ...], this device's slice of the batch.
      keys: typed PRNG keys [B].

    Returns:
      (pool after the whole batch, images [B, ...] to use instead of `fakes`).
    """
    local, size = len(fakes), len(pool["images"])
    if not size:
        return pool, fakes
    data = axis_gather(jax.random.key_data(keys))
    keys = jax.random.wrap_key_data(data, impl=jax.random.key_impl(keys))

    def one(pool: Pool, example: tuple[jax.Array, Key]) -> tuple[Pool, jax.Array]:
        fake, key = example
        swap_key, place_key = jax.random.split(key)
        images, filled = pool["images"], pool["filled"]
        full = filled >= size
        swap = full & jax.random.bernoulli(swap_key)
        drawn = jax.random.randint(place_key, (), 0, size)
        place = jnp.where(full, drawn, filled)
        old = images[place]
        kept = jnp.where(swap | ~full, fake, old)
        after = {"images": images.at[place].set(kept), "filled": jnp.minimum(filled + 1, size)}
        return after, jnp.where(swap, old, fake)

    pool, found = jax.lax.scan(one, pool, (axis_gather(fakes), keys))
    if axis_size() == 1:
        return pool, found
    return pool, jax.lax.dynamic_slice_in_dim(found, axis_index() * local, local)
