"""Losses of generators and discriminators, from logits; larger means real.

A game is chosen by name from `GAMES`. All functions take logits of any shape and return one value a
logit; the discriminator's take as many real as fake ones and return one value a pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


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


def minimax(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss log(1 - D(G(z))) (arXiv:1406.2661, equation 1).

    Its gradient vanishes where the discriminator is sure; see `non_saturating`.

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], nats an image; -log 2 = -0.693 where D cannot tell.
    """
    return -jax.nn.softplus(fake_logits)


def non_saturating(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss -log D(G(z)) (arXiv:1406.2661, end of section 3).

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], nats an image; log 2 = 0.693 where D cannot tell.
    """
    return jax.nn.softplus(-fake_logits)


def discriminator_least_squares(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return (D(x) - 1)^2 / 2 + D(G(z))^2 / 2 (Mao et al. 2016, arXiv:1611.04076, equation 9).

    Args:
      real_logits: [...], of real images, with no activation; the target is 1.
      fake_logits: the same shape, of generated images; the target is 0.

    Returns:
      [...], one value a pair of images.
    """
    return (jnp.square(real_logits - 1) + jnp.square(fake_logits)) / 2


def least_squares(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss (D(G(z)) - 1)^2 / 2 (arXiv:1611.04076, equation 9).

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], one value an image.
    """
    return jnp.square(fake_logits - 1) / 2


def critic_wasserstein(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return f(G(z)) - f(x) (Arjovsky et al. 2017, arXiv:1701.07875, equation 3).

    The negative of its mean is the Wasserstein distance where f is the best 1-Lipschitz function;
    something else has to make f Lipschitz, such as a gradient penalty.

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.

    Returns:
      [...], one value a pair of images.
    """
    return fake_logits - real_logits


def discriminator_hinge(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return max(0, 1 - D(x)) + max(0, 1 + D(G(z))).

    Lim & Ye 2017 (arXiv:1705.02894), in the form of arXiv:1802.05957, equation 16.

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.

    Returns:
      [...], one value a pair of images; 2 where D cannot tell.
    """
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


def raise_logits(*, fake_logits: jax.Array) -> jax.Array:
    """Return -D(G(z)), the generator's loss against a Wasserstein critic and a hinge.

    arXiv:1701.07875, algorithm 1, line 10, and arXiv:1802.05957, equation 17.

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], one value an image.
    """
    return -fake_logits


class Game(NamedTuple):
    """The two sides of an adversarial loss.

    Attributes:
      discriminator: (real_logits=, fake_logits=) -> one value a pair.
      generator: (fake_logits=) -> one value an image.
      boundary: the logit above which an image is judged real; None for a critic, whose logits mean
        nothing but by comparison.
    """

    discriminator: Callable[..., jax.Array]
    generator: Callable[..., jax.Array]
    boundary: float | None


GAMES = {
    "minimax": Game(discriminator_cross_entropy, minimax, 0.0),
    "non_saturating": Game(discriminator_cross_entropy, non_saturating, 0.0),
    "least_squares": Game(discriminator_least_squares, least_squares, 0.5),
    "wasserstein": Game(critic_wasserstein, raise_logits, None),
    "hinge": Game(discriminator_hinge, raise_logits, 0.0),
}
