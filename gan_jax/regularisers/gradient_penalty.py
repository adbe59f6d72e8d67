"""Penalties on the gradient of a critic in its input.

A penalty is made of three parts, each a function here: the images where the gradient is taken
(`interpolates`), the norm of the gradient there (`input_gradient_norm`), and what the norm should
be (`one_centred`).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Critic = Callable[[jax.Array], jax.Array]


def interpolates(*, real: jax.Array, fake: jax.Array, keys: jax.Array) -> jax.Array:
    """Return one random point on the line between each real image and a generated one.

    Args:
      real: [B, ...].
      fake: the same shape.
      keys: typed keys [B], from `parallel.example_keys`; each draws a share in [0, 1) of the real
        image (arXiv:1704.00028, algorithm 1, lines 4 and 6).
    """
    share = jax.vmap(jax.random.uniform)(keys).astype(real.dtype)
    share = share.reshape(-1, *[1] * (real.ndim - 1))
    return share * real + (1 - share) * fake


def input_gradient_norm(*, critic: Critic, images: jax.Array) -> jax.Array:
    """Return the Euclidean norm of each image's gradient of its own logit.

    Args:
      critic: images [B, ...] -> logits [B, ...]; those of an image must depend on that image only
        (no BatchNorm), as the gradient is that of their sum.
      images: [B, ...].

    Returns:
      [B] float32; differentiable, with a derivative of 0 where the gradient is 0.
    """
    gradient = jax.grad(lambda x: critic(x).astype(jnp.float32).sum())(images)
    square = jnp.square(gradient.astype(jnp.float32)).reshape(len(images), -1).sum(-1)
    # The derivative of a root at 0 is infinite, and infinite times 0 would be nan.
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def one_centred(norm: jax.Array) -> jax.Array:
    """Return (norm - 1)^2: the gradient of an optimal Wasserstein critic has norm 1."""
    return jnp.square(norm - 1)


def gradient_penalty(
    *, critic: Critic, real: jax.Array, fake: jax.Array, keys: jax.Array
) -> jax.Array:
    """Return the penalty of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028, equation 3).

    Args:
      critic: as for `input_gradient_norm`.
      real: images [B, ...].
      fake: the same shape.
      keys: typed keys [B], as for `interpolates`.

    Returns:
      [B], (|gradient| - 1)^2, without the paper's weight of 10.
    """
    images = interpolates(real=real, fake=fake, keys=keys)
    return one_centred(input_gradient_norm(critic=critic, images=images))
