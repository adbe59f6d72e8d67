"""Adversarial losses of generators and discriminators, from logits; larger means more real.

`GAMES` pairs them up by name. All functions take logits of any shape and return one value per
logit; a discriminator's loss takes equally many real and fake logits and returns one value per
pair.
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
    """Return the binary cross entropy of real against generated images.

    -log D(x) - log(1 - D(G(z))), the negative of the inner maximum of Goodfellow et al. 2014
    (arXiv:1406.2661, section 3), with D the sigmoid of the logit; computed by softplus, so that it
    does not overflow.

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.
      smoothing: the target of real images is 1 - smoothing, that of generated ones stays 0
        (arXiv:1606.03498, section 3.4); in [0, 1).

    Returns:
      [...], nats per pair of images; 2 log 2 = 1.386 where D is undecided.
    """
    # -(1 - s) log D - s log(1 - D), as softplus(x) = softplus(-x) + x.
    real = jax.nn.softplus(-real_logits) + smoothing * real_logits
    return real + jax.nn.softplus(fake_logits)


def minimax(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss log(1 - D(G(z))) (arXiv:1406.2661, section 3).

    Its gradient vanishes where the discriminator is confident; see `non_saturating`.

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], nats per image; -log 2 = -0.693 where D is undecided.
    """
    return -jax.nn.softplus(fake_logits)


def non_saturating(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss -log D(G(z)) (arXiv:1406.2661, end of section 3).

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], nats per image; log 2 = 0.693 where D is undecided.
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
      [...], one value per pair of images.
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
      [...], one value per pair of images; 2 where D is undecided.
    """
    return jnp.square(real_logits - 1) + jnp.square(fake_logits + 1)


def least_squares(*, fake_logits: jax.Array) -> jax.Array:
    """Return the generator's loss (D(G(z)) - 1)^2 / 2 (arXiv:1611.04076: 0-1 coding).

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], one value per image.
    """
    return jnp.square(fake_logits - 1) / 2


def critic_wasserstein(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return f(G(z)) - f(x) (Arjovsky et al. 2017, arXiv:1701.07875, section 3).

    The negative of its mean is the Wasserstein distance if f is the optimal 1-Lipschitz function;
    the Lipschitz constraint has to come from elsewhere, such as a gradient penalty.

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.

    Returns:
      [...], one value per pair of images.
    """
    return fake_logits - real_logits


def discriminator_hinge(*, real_logits: jax.Array, fake_logits: jax.Array) -> jax.Array:
    """Return max(0, 1 - D(x)) + max(0, 1 + D(G(z))).

    Lim & Ye 2017 (arXiv:1705.02894), in the form of Miyato et al. 2018 (arXiv:1802.05957).

    Args:
      real_logits: [...], of real images.
      fake_logits: the same shape, of generated images.

    Returns:
      [...], one value per pair of images; 2 where D is undecided.
    """
    return jax.nn.relu(1 - real_logits) + jax.nn.relu(1 + fake_logits)


def negated_logits(*, fake_logits: jax.Array) -> jax.Array:
    """Return -D(G(z)), the generator's loss against a Wasserstein critic and a hinge.

    arXiv:1701.07875, algorithm 1, and arXiv:1802.05957.

    Args:
      fake_logits: [...], of generated images.

    Returns:
      [...], one value per image.
    """
    return -fake_logits


def relativistic_average(
    *, real_logits: jax.Array, fake_logits: jax.Array, pair: Callable[..., jax.Array]
) -> jax.Array:
    """Return a loss of logits relative to the average logit of the other kind of images.

    pair(C(x) - E C(G(z)), C(G(z)) - E C(x)) (Jolicoeur-Martineau 2018, arXiv:1807.00734). The
    generator's loss is the same with real and fake exchanged, so it needs real images too. The
    averages are over the whole batch, on all devices, and gradients flow through them. (The
    authors' code halves both losses.)

    Args:
      real_logits: [...], C of real images.
      fake_logits: the same shape, of generated images.
      pair: a discriminator's loss, symmetric under exchanging real and fake with the sign flipped.

    Returns:
      [...], one value per pair of images.
    """
    real_mean, fake_mean = axis_mean((real_logits.mean(), fake_logits.mean()))
    return pair(real_logits=real_logits - fake_mean, fake_logits=fake_logits - real_mean)


def relativistic_generator(
    *, real_logits: jax.Array, fake_logits: jax.Array, pair: Callable[..., jax.Array]
) -> jax.Array:
    """Return `relativistic_average` with real and fake exchanged."""
    return relativistic_average(real_logits=fake_logits, fake_logits=real_logits, pair=pair)


def top_k_share(
    *, step: jax.Array | int, epoch: float, decay: float, lowest: float
) -> jax.Array | float:
    """Return the share of generated images that the generator learns from at a step.

    max(lowest, decay^epochs completed) (arXiv:2002.06224, section 3).

    Args:
      step: generator updates so far.
      epoch: generator updates per epoch of the discriminator.
      decay: factor per epoch, in (0, 1].
      lowest: in (0, 1].
    """
    return jnp.maximum(lowest, decay ** jnp.floor(step / epoch))


def top_k_weights(*, fake_logits: jax.Array, share: jax.Array | float) -> jax.Array:
    """Return weights that keep only the most realistic generated images.

    Sinha et al. 2020 (arXiv:2002.06224): the mean of weight times loss is the mean loss of the k
    images with the largest logits in the whole batch, over all devices.

    Args:
      fake_logits: [B].
      share: share of the batch that is kept, in (0, 1]; k is rounded down, and at least 1.

    Returns:
      [B], batch / k for the images that are kept and 0 for the others; no gradient flows through.
    """
    whole = jnp.sort(axis_gather(jax.lax.stop_gradient(fake_logits)), descending=True)
    count = jnp.maximum(jnp.floor(share * len(whole)), 1)
    kept = fake_logits >= whole[count.astype(jnp.int32) - 1]
    return jax.lax.stop_gradient(kept * (len(whole) / count))


class Game(NamedTuple):
    """An adversarial loss: those of the discriminator and of the generator.

    Attributes:
      discriminator: (real_logits=, fake_logits=) -> one value per pair.
      generator: (fake_logits=) -> one value per image; a relativistic one takes real_logits= too.
      boundary: the logit above which an image counts as real; None for a critic, whose logits are
        meaningful only relative to each other.
      relativistic: whether the generator's loss takes real logits too.
      smoothable: whether the discriminator's loss takes smoothing=, as real images have a target.
      odds: whether the optimal discriminator's logit is log p(x) / q(x), for densities p of real
        and q of generated images (arXiv:1406.2661, proposition 1, for the cross entropy).
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
    "wasserstein": Game(critic_wasserstein, negated_logits, None),
    "hinge": Game(discriminator_hinge, negated_logits, 0.0),
    "relativistic": _relativistic(discriminator_cross_entropy),
    "relativistic_least_squares": _relativistic(signed_least_squares),
    "relativistic_hinge": _relativistic(discriminator_hinge),
}


def make_game(name: str, *, label_smoothing: float = 0.0) -> Game:
    """Return a game of `GAMES`.

    Args:
      name: value of `task.loss`: a key of `GAMES`, or "my_package.module:function" for a function
        outside the package that returns a Game.
      label_smoothing: of the discriminator's real targets only (arXiv:1606.03498, section 3.4), in
        [0, 1).

    Raises:
      UserError: an unknown name, or smoothing of a loss without targets for real images.
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
