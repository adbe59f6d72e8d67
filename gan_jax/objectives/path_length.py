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
    """Return |J^T y| for each latent: how far the image moves (arXiv:1912.04958, equation 4).

    y is a normal image divided by sqrt(H W), as in the authors' code, so that lengths do not grow
    with the resolution. The regulariser is the squared difference of these lengths from their
    moving average, see `updated_length`.

    Args:
      generate: latents -> images [B, H, W, C], with all other inputs held fixed; an image must
        depend on its own latent only.
      latents: [B, ...].
      keys: typed keys [B].

    Returns:
      [B]; the norm over all dimensions of a latent (the authors: the mean over layers).
    """

    def projected(latents: jax.Array) -> jax.Array:
        images = generate(latents)
        noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
        return (images * noise / math.sqrt(math.prod(images.shape[1:3]))).sum()

    slopes = jax.grad(projected)(latents)
    # The root's slope at 0 is infinite.
    squares = jnp.square(slopes).reshape(len(latents), -1).sum(1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)


def updated_length(average: jax.Array, mean: jax.Array) -> jax.Array:
    """Return the moving average of lengths after one more batch; it starts from 0.

    Args:
      average: so far.
      mean: of the batch, on all devices.
    """
    return average + DECAY * (mean - average)
