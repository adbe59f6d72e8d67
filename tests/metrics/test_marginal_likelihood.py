"""Importance-weighted likelihoods against a closed-form marginal likelihood."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.metrics.likelihood import bits_per_dimension, importance_weighted

# x = W z + b + noise of deviation S, z of 2 dimensions; W has orthogonal columns, so that the
# posterior's covariance is diagonal.
W = np.array([[1.0, 0.5], [0.5, -1.0], [1.0, 0.0], [0.0, 1.0]])
B = np.array([0.3, -0.2, 0.1, 0.5])
S = 0.7
VARIANCE = 1 / (1 + np.diag(W.T @ W) / S**2)
IMAGES = np.random.default_rng(0).normal(size=(3, 4))
MEANS = (IMAGES - B) @ W / S**2 * VARIANCE
MARGINAL = stats.multivariate_normal(B, W @ W.T + S**2 * np.eye(4)).logpdf(IMAGES)


def estimate(samples: int, at_once: int = 1, shift: float = 0.0, scale: float = 1.0, seed: int = 0):
    """Return the Estimate [3] with the posterior shifted and its variance scaled."""
    mean, variance = jnp.asarray(MEANS + shift), jnp.asarray(VARIANCE * scale)

    def log_weights(keys: jax.Array) -> dict[str, jax.Array]:
        noise = jax.vmap(jax.vmap(lambda key: jax.random.normal(key, (2,))))(keys)
        z = mean[:, None] + jnp.sqrt(variance) * noise
        fit = log_density(jnp.asarray(IMAGES)[:, None] - z @ W.T - B)
        ratio = 0.5 * (noise**2 - z**2 + jnp.log(variance)).sum(-1)  # of N(0, I) to the posterior
        return {"x": fit + ratio}

    keys = jax.random.split(jax.random.key(seed), 3)
    return importance_weighted(log_weights, keys, samples=samples, at_once=at_once)["x"]


def log_density(x: jax.Array) -> jax.Array:
    return (-0.5 * (x / S) ** 2 - np.log(S) - 0.5 * np.log(2 * np.pi)).sum(-1)


def test_one_sample_of_the_true_posterior_is_exact():
    found = estimate(1)
    np.testing.assert_allclose(found.log_likelihood, MARGINAL, atol=1e-5)
    found = estimate(8, at_once=4)
    np.testing.assert_allclose(found.log_likelihood, MARGINAL, atol=1e-5)
    np.testing.assert_allclose(found.effective_samples, 8, rtol=1e-4)


def test_weights_are_unbiased_and_the_bound_rises_to_the_marginal():
    """Of a posterior that is off, over 4,000 repetitions: the mean weight, and the mean bound."""
    off = dict(shift=0.5, scale=1.5)
    bounds = {}
    for samples in (1, 4, 32):
        repeat = jax.jit(
            jax.vmap(lambda seed, k=samples: estimate(k, k, seed=seed, **off).log_likelihood)
        )
        bounds[samples] = np.asarray(repeat(jnp.arange(4000)), np.float64)
        weights = np.exp(bounds[samples] - MARGINAL)
        error = weights.std(0) / np.sqrt(len(weights))
        assert (np.abs(weights.mean(0) - 1) < 4 * error).all() and (error < 0.05).all()
    means = [bounds[samples].mean(0) for samples in (1, 4, 32)]
    # K = 1 is the evidence lower bound: below the marginal by KL(q || posterior).
    kl = 0.5 * (1.5 - 1 - np.log(1.5) + 0.5**2 / VARIANCE).sum()
    error = bounds[1].std(0) / np.sqrt(4000)
    assert (np.abs(means[0] - (MARGINAL - kl)) < 4 * error).all()
    assert (means[0] + 0.1 < means[1]).all() and (means[1] + 0.1 < means[2]).all()
    assert (means[2] < MARGINAL).all()
    many = estimate(20_000, at_once=1000, **off)
    np.testing.assert_allclose(many.log_likelihood, MARGINAL, atol=0.05)
    assert (many.effective_samples < 0.9 * 20_000).all()


def test_samples_at_once_do_not_matter():
    off = dict(shift=0.5, scale=1.5)
    one = estimate(10, at_once=1, **off)
    for at_once in (3, 10, 16):
        other = estimate(10, at_once=at_once, **off)
        np.testing.assert_allclose(other.log_likelihood, one.log_likelihood, rtol=1e-5)
        np.testing.assert_allclose(other.effective_samples, one.effective_samples, rtol=1e-4)
    assert (one.effective_samples < 10).all()


@pytest.mark.parametrize("level", [-5e4, 5e4])
def test_weights_beyond_float32(level):
    """exp(-50,000) is 0 in every float; one weight counts as much as four others of a quarter."""

    def log_weights(keys: jax.Array) -> dict[str, jax.Array]:
        return {"x": jnp.full(keys.shape, level), "half": jnp.full(keys.shape, level / 2)}

    found = importance_weighted(log_weights, jax.random.split(jax.random.key(0), 2), samples=6)
    np.testing.assert_allclose(found["x"].log_likelihood, level, rtol=1e-6)
    np.testing.assert_allclose(found["half"].log_likelihood, level / 2, rtol=1e-6)
    np.testing.assert_allclose(found["x"].effective_samples, 6, rtol=0.02)


def test_bits_of_a_fair_coin():
    assert bits_per_dimension(12 * np.log(2), (2, 3, 2)) == pytest.approx(1)
    assert bits_per_dimension(28 * 28 * np.log(256), (28, 28, 1)) == pytest.approx(8)
