"""Path length regularisation: equal steps in the latents move the image equally far."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

DECAY = 0.01  # share of the newest length in the average, as in the authors' code


def path_lengths(
    generate: Callable[[jax.Array], jax.Array], latents: jax.Array, keys: jax.Array
) -> jax.Array:
    """Return |J^T y| of each latent: how far the image moves (arXiv:1912.04958, equation 4).

    y is a normal image over the root of its pixels, H W, as in the authors' code, so that a length
    does not grow with the resolution. The regulariser is the squared difference of these lengths
    from their running mean, see `moved_length`.

    Args:
      generate: latents -> images [B, H, W, C]; what an image depends on beside its own latent is
        held.
      latents: [B, ...].
      keys: typed keys [B].

    Returns:
      [B]; over all dimensions of a latent, of which the authors take the mean over layers.
    """

    def projected(latents: jax.Array) -> jax.Array:
        images = generate(latents)
        noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
        return (images * noise / math.sqrt(math.prod(images.shape[1:3]))).sum()

    slopes = jax.grad(projected)(latents)
    # The root's slope at 0 is infinite.
    squares = jnp.square(slopes).reshape(len(latents), -1).sum(1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def moved_length(average: jax.Array, mean: jax.Array) -> jax.Array:
    """Return the running mean of lengths after one more batch, from 0 on.

    Args:
      average: so far.
      mean: of the batch, on all devices.
    """
    return average + DECAY * (mean - average)
