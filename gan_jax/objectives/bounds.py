"""Lower bounds of log p(x) from weights of K draws: ELBO, IWAE, MIWAE, CIWAE, PIWAE.

A log weight is log w = log p(x|z) + log p(z) - log q(z|x) for z drawn from q(z|x), in nats. All
functions take those of K draws of each of B examples and return one value an example. Gradients
flow through the weights as they are: with draws that are differentiable in q's parameters that of
`iwae` is the weighted one of arXiv:1509.00519, eq. 14.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax

from gan_jax.objectives.distributions import Normal


def log_weights(
    *,
    posterior: Normal,
    prior: Normal,
    decode: Callable[[jax.Array], jax.Array],
    likelihoods: Mapping[str, Callable[[jax.Array], jax.Array]],
    keys: jax.Array,
) -> dict[str, jax.Array]:
    """Draw latents of each example and return their log weights under each likelihood.

    Args:
      posterior: q(z|x) of B examples, z [B, D].
      prior: p(z), of one example or of B.
      decode: latents [K B, D] -> outputs [K B, ...] of the decoder.
      likelihoods: by name, outputs [B, ...] of one draw per example -> log p(x|z) [B], nats.
      keys: typed PRNG keys [K, B].

    Returns:
      [K, B] by name, nats; all of the same draws.
    """
    z, log_posterior = jax.vmap(posterior.sample_and_log_prob)(keys)
    outputs = decode(z.reshape(-1, z.shape[-1]))
    outputs = outputs.reshape(*keys.shape, *outputs.shape[1:])
    ratio = jax.vmap(prior.log_prob)(z) - log_posterior
    return {name: ratio + jax.vmap(log_prob)(outputs) for name, log_prob in likelihoods.items()}


def elbo(*, log_weights: jax.Array) -> jax.Array:
    """Return the evidence lower bound, the mean log weight (arXiv:1312.6114, eq. 2).

    Args:
      log_weights: [K, B].

    Returns:
      [B], nats.
    """
    return log_weights.mean(0)


def iwae(*, log_weights: jax.Array) -> jax.Array:
    """Return the importance-weighted bound log mean w (Burda et al., arXiv:1509.00519, eq. 8).

    In expectation it never falls with K, and tends to log p(x); K = 1 is the ELBO.

    Args:
      log_weights: [K, B].

    Returns:
      [B], nats.
    """
    return jax.nn.logsumexp(log_weights, 0) - math.log(len(log_weights))


def miwae(*, log_weights: jax.Array) -> jax.Array:
    """Return the mean of M bounds of K draws each (Rainforth et al., arXiv:1802.04537, eq. 8).

    Args:
      log_weights: [M, K, B].

    Returns:
      [B], nats.
    """
    return jax.vmap(lambda group: iwae(log_weights=group))(log_weights).mean(0)


def ciwae(*, log_weights: jax.Array, beta: float) -> jax.Array:
    """Return beta ELBO + (1 - beta) IWAE of the same draws (arXiv:1802.04537, section 4).

    Args:
      log_weights: [K, B].
      beta: in [0, 1].

    Returns:
      [B], nats.
    """
    return beta * elbo(log_weights=log_weights) + (1 - beta) * iwae(log_weights=log_weights)


def piwae(*, log_weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the two bounds of partially importance-weighted autoencoders (arXiv:1802.04537, s. 4).

    Args:
      log_weights: [M, K, B].

    Returns:
      (the encoder's, the decoder's), [B] each, nats: MIWAE of M by K, and IWAE of all M K draws.
    """
    whole = log_weights.reshape(-1, log_weights.shape[-1])
    return miwae(log_weights=log_weights), iwae(log_weights=whole)
