"""Likelihood terms against scipy, closed forms and Monte Carlo."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.objectives.likelihood import (
    bernoulli_log_likelihood,
    gaussian_kl,
    gaussian_level_log_probability,
    gaussian_log_likelihood,
)

RNG = np.random.default_rng(0)


def test_bernoulli_is_scipys_on_binary_pixels():
    logits = RNG.normal(0, 3, (4, 5, 3, 2)).astype(np.float32)
    pixels = RNG.integers(0, 2, logits.shape).astype(np.float32)
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = stats.bernoulli.logpmf(pixels, chance).reshape(4, -1).sum(1)
    found = bernoulli_log_likelihood(logits=logits, target01=pixels)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bernoulli_of_grey_levels_is_linear_in_them_and_stable():
    logits = np.array([[2.0, -1.0]], np.float32)
    value = lambda a, b: bernoulli_log_likelihood(  # noqa: E731
        logits=logits, target01=np.array([[a, b]], np.float32)
    )
    np.testing.assert_allclose(value(0.25, 1), 0.75 * value(0, 1) + 0.25 * value(1, 1), rtol=1e-6)
    extreme = np.array([[1e4, -1e4]], np.float32)
    right, wrong = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert bernoulli_log_likelihood(logits=extreme, target01=right)[0] == 0
    np.testing.assert_allclose(bernoulli_log_likelihood(logits=extreme, target01=wrong), [-2e4])


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
def test_gaussian_is_scipys_with_its_constant(scale):
    mean, target = RNG.uniform(-1, 1, (2, 3, 4, 5, 3)).astype(np.float32)
    expected = stats.norm.logpdf(target, mean, scale).reshape(3, -1).sum(1)
    found = gaussian_log_likelihood(mean=mean, target=target, scale=scale)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_kl_closed_form_and_monte_carlo():
    mean = np.array([[0.0, 0.0], [1.0, -0.5]], np.float32)
    log_variance = np.array([[0.0, 0.0], [-2.0, 0.7]], np.float32)
    kl = np.asarray(gaussian_kl(mean=mean, log_variance=log_variance))
    assert kl[0] == 0
    deviation = np.exp(log_variance[1] / 2)
    z = mean[1] + deviation * RNG.normal(size=(200_000, 2))
    ratio = (stats.norm.logpdf(z, mean[1], deviation) - stats.norm.logpdf(z)).sum(1)
    np.testing.assert_allclose(kl[1], ratio.mean(), atol=5 * ratio.std() / np.sqrt(len(z)))
    expected = 0.5 * (mean[1] ** 2 + np.exp(log_variance[1]) - 1 - log_variance[1]).sum()
    np.testing.assert_allclose(kl[1], expected, rtol=1e-6)


def test_kl_near_the_prior_keeps_its_digits():
    log_variance = np.full((1, 1), 1e-3, np.float32)
    kl = gaussian_kl(mean=np.zeros((1, 1)), log_variance=log_variance)
    np.testing.assert_allclose(kl, 0.5 * (np.expm1(1e-3) - 1e-3), rtol=1e-3)


def test_bound_of_a_linear_gaussian_model():
    """With x = A z + noise and the exact posterior the bound is log p(x), which is known.

    A has orthogonal columns, so that the exact posterior has a diagonal covariance.
    """
    a, scale = np.array([[1.0, 0.5], [-1.0, 0.5], [0.0, 1.0]]), 0.6
    x = np.array([0.3, -0.8, 0.5])
    precision = np.eye(2) + a.T @ a / scale**2
    posterior_mean = np.linalg.solve(precision, a.T @ x) / scale**2
    variance = 1 / np.diag(precision)
    noise = np.asarray(jax.random.normal(jax.random.key(0), (100_000, 2)))
    noise = np.concatenate([noise, -noise])
    exact = stats.multivariate_normal.logpdf(x, np.zeros(3), a @ a.T + scale**2 * np.eye(3))

    def bound(mean: np.ndarray, variance: np.ndarray) -> float:
        z = mean + np.sqrt(variance) * noise
        target = np.broadcast_to(x, (len(z), 3))
        fit = gaussian_log_likelihood(mean=z @ a.T, target=target, scale=scale).mean()
        kl = gaussian_kl(mean=mean[None], log_variance=np.log(variance)[None])[0]
        return float(fit - kl)

    np.testing.assert_allclose(bound(posterior_mean, variance), exact, atol=0.01)
    assert bound(posterior_mean + 0.2, variance) < exact - 0.05
    assert bound(posterior_mean, 2 * variance) < exact - 0.05


def test_no_silent_broadcasting():
    a, b = jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 4, 4, 1))
    with pytest.raises(ValueError, match="agree"):
        bernoulli_log_likelihood(logits=a, target01=b)
    with pytest.raises(ValueError, match="agree"):
        gaussian_log_likelihood(mean=a, target=b, scale=1.0)
    with pytest.raises(ValueError, match="agree"):
        gaussian_kl(mean=jnp.zeros((2, 3)), log_variance=jnp.zeros((1, 3)))


@pytest.mark.parametrize("scale", [0.003, 0.2, 3.0])
@pytest.mark.parametrize("mean", [-0.7, 0.999, 1.7])
def test_levels_have_the_mass_of_their_bins(scale, mean):
    levels = np.arange(256)
    x = (levels / 127.5 - 1).astype(np.float32).reshape(256, 1)
    found = np.asarray(
        gaussian_level_log_probability(mean=np.full_like(x, mean), target=x, scale=scale)
    )
    np.testing.assert_allclose(np.exp(found).sum(), 1, rtol=1e-3)
    edges = np.concatenate([[-np.inf], (levels[1:] - 0.5) / 127.5 - 1, [np.inf]])
    z = (edges - np.float64(np.float32(mean))) / scale
    # From the nearer tail, where float64 keeps its digits.
    mass = np.where(z[1:] > 0, np.diff(-stats.norm.sf(z)), np.diff(stats.norm.cdf(z)))
    seen = mass > 1e-30
    np.testing.assert_allclose(found[seen], np.log(mass[seen]), rtol=2e-3, atol=2e-3)
    assert np.isfinite(found).all() and (found <= 1e-6).all()


def test_a_narrow_bin_is_density_times_volume():
    x = np.array([[[[-0.2], [0.6]]]], np.float32)
    x = np.rint((x + 1) * 127.5).astype(np.float32) / 127.5 - 1
    given = dict(mean=x + 0.1, target=x, scale=0.2)
    density = gaussian_log_likelihood(**given)
    exact = gaussian_level_log_probability(**given)
    np.testing.assert_allclose(exact, density + 2 * np.log(2 / 255), atol=1e-3)


def test_gradient_of_the_levels():
    x = np.array([[-1.0, 1.0, 0.0, 5 / 127.5 - 1]], np.float32)

    @jax.jit
    def value(mean):
        return gaussian_level_log_probability(mean=mean, target=x, scale=0.5).sum()

    mean = np.array([[0.3, 0.2, -0.8, 0.4]], np.float32)
    step = 1e-2 * np.eye(4, dtype=np.float32)
    slopes = [(value(mean + s) - value(mean - s)) / 2e-2 for s in step]
    np.testing.assert_allclose(jax.jit(jax.grad(value))(mean)[0], slopes, rtol=1e-2)
