"""Losses of generators and discriminators, from logits; larger means real.

A game is chosen by name from `GAMES`. All functions take logits of any shape and return one value a
logit; the discriminator's take as many real as fake ones and return one value a pair.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.outside import call_outside, is_outside
from gan_jax.parallel.axes import axis_gather, axis_mean


def discriminator_cross_entropy(
    *, real_logits: jax.Array, fake_logits: jax.Array, smoothing: float = 0.0
) -> jax.Array:
    """Return the binary cross entropy of telling real from generated.

    -log D(x) - log(1 - D(G(z))), the negative of the inner maximum of Goodfellow et al. 2014
    (arXiv:1406.2661, section 3), with D the sigmoid of the logit, which never leaves the logarithm.

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.
      smoothing: the target of real images is 1 - smoothing, that of generated ones stays 0
        (arXiv:1606.03498, section 3.4); in [0, 1).

    Returns:
      [...], nats a pair of images; 2 log 2 = 1.386 where D cannot tell.
    """
    # -(1 - s) log D - s log(1 - D), as softplus(x) = softplus(-x) + x.
    real = jax.nn.softplus(-real_logits) + smoothing * real_logits
    return real + jax.nn.softplus(fake_logits)


def minimax(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss log(1 - D(G(z))) (arXiv:1406.2661, section 3).

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


def discriminator_least_squares(
    *, real_logits: jax.Array, fake_logits: jax.Array, smoothing: float = 0.0
) -> jax.Array:
    """Return (D(x) - 1)^2 / 2 + D(G(z))^2 / 2 (Mao et al. 2016, arXiv:1611.04076: 0-1 coding).

    Args:
      real_logits: [...], of real images, with no activation; the target is 1.
      fake_logits: the same shape, of generated images; the target is 0.
      smoothing: the target of real images is 1 - smoothing instead.

    Returns:
      [...], one value a pair of images.
    """
    return (jnp.square(real_logits - (1 - smoothing)) + jnp.square(fake_logits)) / 2


def signed_least_squares(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return (D(x) - 1)^2 + (D(G(z)) + 1)^2, for logits whose sign says which is more real.

    The least squares of the relativistic average LSGAN (arXiv:1807.00734), on whose differences of
    logits `relativistic_average` calls it; the authors' code halves it.

    Args:
      real_logits: [...], of real images; the target is 1.
      fake_logits: the same shape, of generated images; the target is -1.

    Returns:
      [...], one value a pair of images; 2 where D cannot tell.
    """
    return jnp.square(real_logits - 1) + jnp.square(fake_logits + 1)


def least_squares(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss (D(G(z)) - 1)^2 / 2 (arXiv:1611.04076: 0-1 coding).

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], one value an image.
    """
    return jnp.square(fake_logits - 1) / 2


def critic_wasserstein(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return f(G(z)) - f(x) (Arjovsky et al. 2017, arXiv:1701.07875, section 3).

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

    Lim & Ye 2017 (arXiv:1705.02894), in the form of Miyato et al. 2018 (arXiv:1802.05957).

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.

    Returns:
      [...], one value a pair of images; 2 where D cannot tell.
    """
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


def raise_logits(*, fake_logits: jax.Array) -> jax.Array:
    """Return -D(G(z)), the generator's loss against a Wasserstein critic and a hinge.

    arXiv:1701.07875, algorithm 1, and arXiv:1802.05957.

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], one value an image.
    """
    return -fake_logits


def relativistic_average(
    *, real_logits: jax.Array, fake_logits: jax.Array, pair: Callable[..., jax.Array]
) -> jax.Array:
    """Return a loss of how much more real than the average image of the other side each image is.

    pair(C(x) - E C(G(z)), C(G(z)) - E C(x)) (Jolicoeur-Martineau 2018, arXiv:1807.00734). The
    generator's loss is the same with the sides exchanged, so it needs real images too. The averages
    are over the whole batch, on all devices, and gradients flow through them. (The authors' code
    halves both losses.)

    Args:
      real_logits: [...], C of real images.
      fake_logits: the same shape, of generated images.
      pair: a discriminator's loss whose sides mirror each other.

    Returns:
      [...], one value a pair of images.
    """
    real_mean, fake_mean = axis_mean((real_logits.mean(), fake_logits.mean()))
    return pair(real_logits=real_logits - fake_mean, fake_logits=fake_logits - real_mean)


def relativistic_generator(
    *, real_logits: jax.Array, fake_logits: jax.Array, pair: Callable[..., jax.Array]
) -> jax.Array:
    """Return `relativistic_average` with the sides exchanged."""
    return relativistic_average(real_logits=fake_logits, fake_logits=real_logits, pair=pair)


def top_k_share(
    *, step: jax.Array | int, epoch: float, decay: float, lowest: float
) -> jax.Array | float:
    """Return the share of generated images that the generator learns from at a step.

    decay to the power of the epochs that are over, at least `lowest` (arXiv:2002.06224, section 3).

    Args:
      step: updates of the generator so far.
      epoch: updates of the generator in which the discriminator sees the training images once.
      decay: factor an epoch, in (0, 1].
      lowest: in (0, 1].
    """
    return jnp.maximum(lowest, decay ** jnp.floor(step / epoch))


def top_k_weights(*, fake_logits: jax.Array, share: jax.Array | float) -> jax.Array:
    """Return weights that keep only the most realistic of the generated images.

    Sinha et al. 2020 (arXiv:2002.06224): the mean of weight times loss is the mean loss of the k
    images of the whole batch, on all devices, that have the largest logits.

    Args:
      fake_logits: [B].
      share: of the batch that is kept, in (0, 1]; k is rounded down, and at least 1.

    Returns:
      [B], batch / k of an image that is kept and 0 of the others; no gradient flows through it.
    """
    whole = jnp.sort(axis_gather(jax.lax.stop_gradient(fake_logits)), descending=True)
    count = jnp.maximum(jnp.floor(share * len(whole)), 1)
    kept = fake_logits >= whole[count.astype(jnp.int32) - 1]
    return jax.lax.stop_gradient(kept * (len(whole) / count))


class Game(NamedTuple):
    """The two sides of an adversarial loss.

    Attributes:
      discriminator: (real_logits=, fake_logits=) -> one value a pair.
      generator: (fake_logits=) -> one value an image; a relativistic one takes real_logits= too.
      boundary: the logit above which an image is judged real; None for a critic, whose logits mean
        nothing but by comparison.
      relativistic: whether the generator's side compares with real images.
      smoothable: whether the discriminator takes smoothing=, as its real images have a target.
      odds: whether the best discriminator's logit is log p(x) / q(x), of the densities of real and
        generated images (arXiv:1406.2661, proposition 1, for the cross entropy).
    """

    discriminator: Callable[..., jax.Array]
    generator: Callable[..., jax.Array]
    boundary: float | None
    relativistic: bool = False
    smoothable: bool = False
    odds: bool = False


def _relativistic(pair: Callable[..., jax.Array]) -> Game:
    return Game(
        functools.partial(relativistic_average, pair=pair),
        functools.partial(relativistic_generator, pair=pair),
        None,
        relativistic=True,
    )


GAMES = {
    "minimax": Game(discriminator_cross_entropy, minimax, 0.0, smoothable=True, odds=True),
    "non_saturating": Game(
        discriminator_cross_entropy, non_saturating, 0.0, smoothable=True, odds=True
    ),
    "least_squares": Game(discriminator_least_squares, least_squares, 0.5, smoothable=True),
    "wasserstein": Game(critic_wasserstein, raise_logits, None),
    "hinge": Game(discriminator_hinge, raise_logits, 0.0),
    "relativistic": _relativistic(discriminator_cross_entropy),
    "relativistic_least_squares": _relativistic(signed_least_squares),
    "relativistic_hinge": _relativistic(discriminator_hinge),
}


def make_game(name: str, *, label_smoothing: float = 0.0) -> Game:
    """Return a game of `GAMES`.

    Args:
      name: its key, `task.loss`; or a function of one's own that returns a Game, as
        "my_package.module:function".
      label_smoothing: of the discriminator's real targets only (arXiv:1606.03498, section 3.4), in
        [0, 1).

    Raises:
      UserError: no such game, or one whose real images have no target to smooth.
    """
    if is_outside(name):
        game = call_outside("task.loss", name, Game)
    else:
        check_choice("task.loss", name, GAMES)
        game = GAMES[name]
    if not label_smoothing:
        return game
    if not 0 <= label_smoothing < 1:
        raise UserError(f"task.label_smoothing={label_smoothing}: in [0, 1), 0 is none")
    if not game.smoothable:
        allowed = ", ".join(name for name, game in GAMES.items() if game.smoothable)
        raise UserError(
            f"task.label_smoothing={label_smoothing}: task.loss={name} has no target for real"
            f" images to smooth: set 0, or task.loss to one of {allowed}"
        )
    smoothed = functools.partial(game.discriminator, smoothing=label_smoothing)
    return game._replace(discriminator=smoothed, odds=False)
