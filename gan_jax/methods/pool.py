"""A history of generated images that a discriminator learns from (arXiv:1612.07828, section 2.3).

Half of the time an image is replaced by one that was generated earlier, whose place in the history
it takes; so the discriminator does not forget what the generator made before.
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
      size: images that it holds; 50 in CycleGAN (arXiv:1703.10593, section 4).
      image_shape: of an image.
    """
    return {"images": jnp.zeros((size, *image_shape)), "filled": jnp.zeros((), jnp.int32)}


def pool_query(pool: Pool, fakes: jax.Array, keys: Key) -> tuple[Pool, jax.Array]:
    """Put images into a history, and return images for the discriminator.

    One example after the other, in the order of the whole batch whatever devices it lies on: while
    the history is not full an image is kept and returned; then it is returned, or with probability
    one half takes the place of one drawn uniformly, which is returned instead. (Shrivastava et al.
    replace half of each batch; one by one is how CycleGAN's authors do it.)

    Args:
      pool: as of `make_pool`, the same on all devices.
      fakes: [B, ...], this device's slice of the batch.
      keys: typed, one an example, [B].

    Returns:
      (pool after the whole batch, images [B, ...] in the place of `fakes`).
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
