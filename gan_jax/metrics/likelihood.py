"""Marginal likelihoods of latent-variable models by importance sampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.keys import fold_in_each


class Estimate(NamedTuple):
    """Per-image result of `importance_weighted`.

    Attributes:
      log_likelihood: [B], nats per image.
      effective_samples: [B] in [1, samples], effective sample size (sum w)^2 / sum w^2 (Kong 1992);
        near 1 a single sample dominates the sum, and the bound is loose.
    """

    log_likelihood: jax.Array
    effective_samples: jax.Array


def importance_weighted(
    log_weights: Callable[[jax.Array], Mapping[str, jax.Array]],
    keys: jax.Array,
    *,
    samples: int,
    at_once: int = 1,
) -> dict[str, Estimate]:
    """Estimate log p(x) = log E_q[w], w = p(x|z) p(z) / q(z|x), as the log of a mean of K weights.

    This is the bound L_K of Burda et al. 2015 (arXiv:1509.00519, eq. 8): the mean is unbiased for
    p(x), so the expectation of its log is at most log p(x), never decreases with K, and converges
    to log p(x). K = 1 is the ELBO with a sampled KL term.

    Args:
      log_weights: keys [B, n] -> log w [B, n] in nats, by name; sample i of an image depends on its
        key i only. Several names share the same samples.
      keys: one typed PRNG key per image, [B], used for nothing else.
      samples: K. Sample i is drawn from fold_in(key, i), so a larger K extends a smaller one.
      at_once: number of samples per call of `log_weights`. Memory grows with it, not with K; it
        changes the result by rounding only.

    Returns:
      An Estimate for each name.
    """

    def body(sums: dict[str, Estimate], number: jax.Array) -> tuple[dict[str, Estimate], None]:
        found = log_weights(jax.vmap(lambda key: fold_in_each(key, number))(keys))
        drawn = number < samples  # the last call may draw more than `samples`
        new = {}
        for name, logs in found.items():
            logs = jnp.where(drawn, logs.astype(jnp.float32), -jnp.inf)
            new[name] = Estimate(
                *(
                    jnp.logaddexp(before, jax.nn.logsumexp(power * logs, axis=1))
                    for power, before in zip((1, 2), sums[name], strict=True)
                )
            )
        return new, None

    calls = -(-samples // at_once)
    numbers = jnp.arange(calls * at_once).reshape(calls, at_once)
    names = jax.eval_shape(log_weights, keys[:, None]).keys()
    nothing = jnp.full(len(keys), -jnp.inf)
    # `scan` on CPU too: there are only forward passes, which XLA:CPU does not slow down in a loop.
    sums, _ = jax.lax.scan(body, {name: Estimate(nothing, nothing) for name in names}, numbers)
    return {
        name: Estimate(first - math.log(samples), jnp.exp(2 * first - second))
        for name, (first, second) in sums.items()
    }


def bits_per_dimension(nats: float, shape: tuple[int, ...]) -> float:
    """Convert a negative log *probability* of an image to bits per dimension (pixel and channel).

    Args:
      nats: -log P(x) of discrete pixel values. A density must first be integrated over the volume
        of a pixel value.
      shape: (H, W, C).
    """
    return float(nats) / (np.prod(shape) * math.log(2))
