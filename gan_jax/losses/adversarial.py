"""Losses of generators and discriminators, from logits; positive means real."""

from __future__ import annotations

import jax


def discriminator_cross_entropy(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return the binary cross entropy of telling real from generated.

    -log D(x) - log(1 - D(G(z))), the negative of the inner maximum of Goodfellow et al. 2014
    (arXiv:1406.2661, equation 1), with D the sigmoid of the logit, which never leaves the
    logarithm.

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.

    Returns:
      [...], nats a pair of images; 2 log 2 = 1.386 where D cannot tell.
    """
    return jax.nn.softplus(-real_logits) + jax.nn.softplus(fake_logits)


def non_saturating(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss -log D(G(z)) (arXiv:1406.2661, end of section 3).

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], nats an image; log 2 = 0.693 where D cannot tell.
    """
    return jax.nn.softplus(-fake_logits)
