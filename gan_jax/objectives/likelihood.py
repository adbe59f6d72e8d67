"""Terms of the evidence lower bound, a value an image, in nats and summed over pixels or latents.

Sums, never means over pixels: a mean would divide the likelihood by the number of pixels and so
multiply the weight of the KL divergence by it.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import optax


def bernoulli_log_likelihood(*, logits: jax.Array, target01: jax.Array) -> jax.Array:
    """Return log p(x) of pixels under independent Bernoulli distributions (arXiv:1312.6114, C.1).

    For grey levels between 0 and 1 this is minus the cross entropy, and no normalised density
    (arXiv:1907.06845): such values compare with one another only. For pixels of 0 or 1 it is exact.

    Args:
      logits: [B, ...], log-odds of a pixel being 1.
      target01: the same shape, in [0, 1].

    Returns:
      [B], summed over pixels and channels; nats an image, at most 0.
    """
    logits, target01 = _pair("logits", logits, "target01", target01)
    return -_sum(optax.losses.sigmoid_binary_cross_entropy(logits, target01))


def gaussian_log_likelihood(*, mean: jax.Array, target: jax.Array, scale: float) -> jax.Array:
    """Return log p(x) of pixels under independent normal distributions (arXiv:1312.6114, C.2).

    The density is per unit of the target's scale, here [-1, 1], with its normalising constant
    -log(scale) - log(2 pi) / 2 a pixel; so it may be positive. Per unit of [0, 1] it is larger
    by log 2 a pixel.

    Args:
      mean: [B, ...] in the scale of the target.
      target: the same shape; images in [-1, 1].
      scale: standard deviation of a pixel, above 0, in the same scale.

    Returns:
      [B], summed over pixels and channels; nats an image.
    """
    mean, target = _pair("mean", mean, "target", target)
    constant = jnp.log(scale) + 0.5 * math.log(2 * math.pi)
    return -_sum(0.5 * jnp.square((target - mean) / scale) + constant)


def gaussian_level_log_probability(
    *, mean: jax.Array, target: jax.Array, scale: float
) -> jax.Array:
    """Return log P(x) of grey levels, each the normal distribution's mass in the level's bin.

    The discrete probability of the stored 8-bit values under the density of
    `gaussian_log_likelihood`, exact for any scale: a level of the 256 stands for the interval of
    2/255 around it, the lowest and the highest reach to infinity, so that the 256 sum to 1 (Ho et
    al. 2020, arXiv:2006.11239, eq. 13). Where the density is nearly constant over a bin it is the
    density times the bin's volume, log(2/255) a pixel more.

    Args:
      mean: [B, ...] in the scale of the target.
      target: the same shape; images in [-1, 1] of 256 levels.
      scale: standard deviation of a pixel, in (0, 10], in the same scale.

    Returns:
      [B], summed over pixels and channels; nats an image, at most 0.
    """
    mean, target = _pair("mean", mean, "target", target)
    half = 1 / 255
    # Far enough for 0 and 1 in float32, and finite, for the gradient.
    low = jnp.where(target < -1 + half, -1e4, (target - half - mean) / scale)
    high = jnp.where(target > 1 - half, 1e4, (target + half - mean) / scale)
    # The difference of two tails near 0, not of two numbers near 1.
    flip = low + high > 0
    low, high = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
    above = jax.scipy.special.log_ndtr(high)
    return _sum(above + _log1mexp(above - jax.scipy.special.log_ndtr(low)))


def gaussian_kl(*, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Return KL(N(mean, diag exp(log_variance)) || N(0, I)) (arXiv:1312.6114, appendix B).

    Args:
      mean: [B, D].
      log_variance: [B, D], small enough for its exponential.

    Returns:
      [B], summed over D; nats an image, at least 0.
    """
    mean, log_variance = _pair("mean", mean, "log_variance", log_variance)
    # expm1: exact where the posterior is nearly the prior.
    return 0.5 * _sum(jnp.square(mean) + jnp.expm1(log_variance) - log_variance)


def _log1mexp(x: jax.Array) -> jax.Array:
    """Return log(1 - exp(-x)) for x > 0, each half by the form that keeps its digits."""
    small = x < math.log(2)
    near = jnp.log(-jnp.expm1(-jnp.where(small, x, 1.0)))
    return jnp.where(small, near, jnp.log1p(-jnp.exp(-jnp.where(small, 1.0, x))))


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(tuple(range(1, x.ndim)))


def _pair(first: str, a: jax.Array, second: str, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Broadcasting here is always a mistake, and a silent one.
    if a.shape != b.shape:
        raise ValueError(f"{first} {a.shape} and {second} {b.shape} must agree")
    return a.astype(jnp.float32), b.astype(jnp.float32)
