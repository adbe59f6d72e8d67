"""Posteriors, priors and likelihoods: what a batch of examples is distributed as, one value each.

A distribution holds its parameters, [B, ...] each, and is a pytree. `log_prob` and `kl` sum over
all axes but the first, in nats: never means over pixels, which would divide the likelihood by
their number and so multiply the weight of the KL divergence by it. Draws take one typed PRNG key an
example, so that an example's does not depend on its batch. For K draws of each, map over keys
[K, B]: `jax.vmap(q.sample)(keys)`.

Parameters and examples are computed in float32, whatever they are given in.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LOG_TWO_PI = math.log(2 * math.pi)


class Normal(NamedTuple):
    """Independent normal distributions (arXiv:1312.6114, C.2).

    Attributes:
      mean: [B, ...]; or [1, ...], the same for every example.
      log_variance: the same shape, small enough for its exponential.
    """

    mean: jax.Array
    log_variance: jax.Array

    def sample(self, keys: jax.Array) -> jax.Array:
        """Draw [B, ...], differentiable in the parameters: mean + exp(log_variance / 2) noise.

        Args:
          keys: typed PRNG keys [B].
        """
        return self._moved(self._noise(keys))

    def sample_and_log_prob(self, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw as `sample` does, and return the log density [B] of the draws as well.

        Computed from the noise, which keeps the digits that a narrow distribution's density loses.
        """
        noise = self._noise(keys)
        wide = jnp.broadcast_to(_wide(self.log_variance), noise.shape)
        return self._moved(noise), -0.5 * _sum(jnp.square(noise) + wide + LOG_TWO_PI)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Return the log density [B] of x [B, ...], nats."""
        mean, log_variance = _like(x, mean=self.mean, log_variance=self.log_variance)
        square = jnp.square(_wide(x) - mean) * jnp.exp(-log_variance)
        return -0.5 * _sum(square + log_variance + LOG_TWO_PI)

    def _noise(self, keys: jax.Array) -> jax.Array:
        draw = lambda key: jax.random.normal(key, self.mean.shape[1:])  # noqa: E731
        return jax.vmap(draw)(keys)

    def _moved(self, noise: jax.Array) -> jax.Array:
        return _wide(self.mean) + jnp.exp(0.5 * _wide(self.log_variance)) * noise


def standard_normal(*shape: int) -> Normal:
    """Return N(0, I) of examples of that shape, with a batch axis of 1."""
    return Normal(jnp.zeros((1, *shape)), jnp.zeros((1, *shape)))


class Bernoulli(NamedTuple):
    """Independent Bernoulli distributions of pixels that are -1 or 1 (arXiv:1312.6114, C.1).

    For grey levels in between, `log_prob` is minus the cross entropy, and no normalised density
    (arXiv:1907.06845): such values compare with one another only. For pixels of -1 and 1 it is
    exact.

    Attributes:
      logits: [B, ...], log odds of a pixel being 1.
    """

    logits: jax.Array

    @property
    def mean(self) -> jax.Array:
        """Return the mean, in [-1, 1]."""
        return 2 * jax.nn.sigmoid(_wide(self.logits)) - 1

    def sample(self, keys: jax.Array) -> jax.Array:
        """Draw images [B, ...] of -1 and 1; keys are typed PRNG keys [B]."""
        draw = jax.vmap(lambda key, p: jax.random.bernoulli(key, p))
        return jnp.where(draw(keys, jax.nn.sigmoid(_wide(self.logits))), 1.0, -1.0)

    def sample_and_log_prob(self, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw as `sample` does, and return the log probability [B] of the draws as well."""
        x = self.sample(keys)
        return x, self.log_prob(x)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Return log P(x) [B] of images in [-1, 1], the grey level (x + 1) / 2 for a target.

        Returns:
          [B], nats an image, at most 0.
        """
        _like(x, logits=self.logits)
        logits, x = _flat(self.logits), _flat(x)
        # The cross entropy with one exponential and one logarithm a pixel, which is most of what a
        # small decoder takes; nothing cancels where the level is 0 or 1. Its gradient is
        # sigmoid(logit) - level at a logit of 0 too, which dead units give: the derivative that
        # JAX's abs has there, 1, falls out of the sum.
        size = jnp.abs(logits)
        return -_sum(0.5 * (size - logits * x) + jnp.log1p(jnp.exp(-size)))


class PixelNormal(NamedTuple):
    """Independent normal distributions of one fixed scale, of pixels or of features.

    The density is per unit of their scale, for images [-1, 1], with its normalising constant
    -log(scale) - log(2 pi) / 2 a pixel; so it may be positive. Per unit of [0, 1] it is larger by
    log 2 a pixel.

    Attributes:
      mean: [B, ...], unbounded.
      scale: standard deviation, above 0.
    """

    mean: jax.Array
    scale: float

    def sample(self, keys: jax.Array) -> jax.Array:
        """Draw [B, ...]; keys are typed PRNG keys [B]."""
        return self._normal().sample(keys)

    def sample_and_log_prob(self, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw as `sample` does, and return the log density [B] of the draws as well."""
        return self._normal().sample_and_log_prob(keys)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """Return the log density [B] of x [B, ...], nats."""
        _like(x, mean=self.mean)
        square = jnp.square((_flat(x) - _flat(self.mean)) / self.scale)
        return -_sum(0.5 * square + (jnp.log(self.scale) + 0.5 * LOG_TWO_PI))

    def level_log_prob(self, x: jax.Array) -> jax.Array:
        """Return log P(x) of 8-bit levels, each the mass in the level's bin.

        The discrete probability of the stored values under this density, exact for any scale: a
        level of the 256 stands for the interval of 2/255 around it, the lowest and the highest
        reach to infinity, so that the 256 sum to 1 (Ho et al. 2020, arXiv:2006.11239, eq. 13).
        Where the density is nearly constant over a bin it is the density times the bin's volume,
        log(2/255) a pixel more.

        Args:
          x: images [B, ...] in [-1, 1] of 256 levels; `scale` at most 10.

        Returns:
          [B], nats an image, at most 0.
        """
        _like(x, mean=self.mean)
        mean, x, half = _flat(self.mean), _flat(x), 1 / 255
        # Far enough for 0 and 1 in float32, and finite, for the gradient.
        low = jnp.where(x < -1 + half, -1e4, (x - half - mean) / self.scale)
        high = jnp.where(x > 1 - half, 1e4, (x + half - mean) / self.scale)
        # The difference of two tails near 0, not of two numbers near 1.
        flip = low + high > 0
        low, high = jnp.where(flip, -high, low), jnp.where(flip, -low, high)
        above = jax.scipy.special.log_ndtr(high)
        return _sum(above + _log1mexp(above - jax.scipy.special.log_ndtr(low)))

    def _normal(self) -> Normal:
        return Normal(self.mean, jnp.full_like(_wide(self.mean), 2 * jnp.log(self.scale)))


Distribution = Normal | Bernoulli | PixelNormal


def kl(q: Normal, p: Normal) -> jax.Array:
    """Return KL(q || p) in closed form (arXiv:1312.6114, appendix B, for p = N(0, I)).

    Args:
      q: of a batch of B examples.
      p: of as many, or of one.

    Returns:
      [B], nats an example, at least 0.

    Raises:
      TypeError: there is no closed form of these two here.
    """
    if not (isinstance(q, Normal) and isinstance(p, Normal)):
        raise TypeError(f"no closed form of KL({type(q).__name__} || {type(p).__name__})")
    mean, log_variance = _like(q.mean, mean=p.mean, log_variance=p.log_variance)
    (mine,) = _like(q.mean, log_variance=q.log_variance)
    ratio = mine - log_variance
    # expm1: exact where the two are nearly the same.
    square = jnp.square(_wide(q.mean) - mean) * jnp.exp(-log_variance)
    return 0.5 * _sum(square + jnp.expm1(ratio) - ratio)


def _log1mexp(x: jax.Array) -> jax.Array:
    """Return log(1 - exp(-x)) for x > 0, each half by the form that keeps its digits."""
    small = x < math.log(2)
    near = jnp.log(-jnp.expm1(-jnp.where(small, x, 1.0)))
    return jnp.where(small, near, jnp.log1p(-jnp.exp(-jnp.where(small, 1.0, x))))


def _wide(x: Any) -> jax.Array:
    return jnp.asarray(x).astype(jnp.float32)


def _flat(x: jax.Array) -> jax.Array:
    """Return [B, F]: XLA:CPU takes a sum over [28, 28, 1] twenty times as long as over [784]."""
    return _wide(x).reshape(len(x), -1)


def _sum(x: jax.Array) -> jax.Array:
    return x.sum(tuple(range(1, x.ndim)))


def _like(x: jax.Array, **parameters: jax.Array) -> list[jax.Array]:
    """Return parameters [B, ...] or [1, ...] in the shape of x [B, ...], which must agree.

    Any other broadcasting is a mistake here, and a silent one.
    """
    for name, value in parameters.items():
        if value.shape[1:] != x.shape[1:] or value.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"{name} {value.shape} and {x.shape} must agree")
    return [jnp.broadcast_to(_wide(value), x.shape) for value in parameters.values()]
