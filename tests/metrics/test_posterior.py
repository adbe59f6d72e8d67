"""Moments of the aggregated posterior against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gan_jax.metrics.posterior import AggregatedPosterior, posterior_sums

RNG = np.random.default_rng(0)


def aggregate(mean: np.ndarray, log_variance: np.ndarray, batch: int = 64) -> AggregatedPosterior:
    """Sum over batches, the last one padded with repetitions, as an evaluation does."""
    totals: dict[str, np.ndarray] = {}
    for start in range(0, len(mean), batch):
        place = np.arange(start, start + batch)
        index, mask = np.minimum(place, len(mean) - 1), (place < len(mean)).astype(np.float32)
        found = posterior_sums(mean=mean[index], log_variance=log_variance[index], mask=mask)
        for name, value in found.items():
            totals[name] = totals.get(name, 0.0) + np.asarray(value, np.float64)
    return AggregatedPosterior.from_totals(totals)


def test_moments_are_numpys():
    mixing = RNG.normal(size=(4, 4))
    mean = RNG.normal(size=(150, 4)) @ mixing + [1.0, 0.0, -2.0, 0.1]
    log_variance = RNG.normal(size=(150, 4)) - 1
    found = aggregate(mean, log_variance)
    assert found.count == 150
    np.testing.assert_allclose(found.mean, mean.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found.covariance_of_means, np.cov(mean.T, ddof=0), atol=1e-5)
    # Of the mixture by its own draws: E[z z^T] - E[z] E[z]^T.
    draws = mean + np.exp(log_variance / 2) * RNG.normal(size=(2000, 150, 4))
    np.testing.assert_allclose(found.covariance, np.cov(draws.reshape(-1, 4).T), rtol=0.05)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)
    np.testing.assert_allclose(found.kl, kl.mean(0), rtol=1e-5)
    fit = stats.multivariate_normal(found.mean, found.covariance)
    cross = 0.5 * (4 * np.log(2 * np.pi) + np.trace(found.covariance) + (found.mean**2).sum())
    assert found.moment_kl() == pytest.approx(cross - fit.entropy(), rel=1e-9)
    margins = [
        0.5 * (np.log(2 * np.pi) + v + m**2) - stats.norm(m, np.sqrt(v)).entropy()
        for m, v in zip(found.mean, np.diag(found.covariance), strict=True)
    ]
    np.testing.assert_allclose(found.moment_kl_by_dimension(), margins, rtol=1e-9)
    assert sum(margins) < found.moment_kl() - 0.1


def test_collapsed_units_are_not_active():
    """Two units hold the image, two say nothing, one says as little as a hundredth."""
    spread = np.array([0.9, 0.0, 0.5, 0.01, 0.11])
    mean = np.repeat([[-1.0], [1.0]], 40, 0) * spread
    found = aggregate(mean, np.full((80, 5), -0.3))
    assert found.active().tolist() == [True, False, True, False, True]
    assert found.active(0.0121).tolist() == [True, False, True, False, False]


def test_the_prior_has_no_divergence():
    """Means of variance 1 - v and posteriors of variance v: a mixture with the prior's moments."""
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    found = aggregate(np.sqrt(0.75) * signs, np.full((4, 2), np.log(0.25)))
    assert found.moment_kl() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.moment_kl_by_dimension(), 0, atol=1e-6)
    assert found.kl.sum() > 0.9
    assert aggregate(signs * np.sqrt(0.75), np.full((4, 2), np.log(0.5))).moment_kl() > 0.01


def test_a_flat_mixture_is_infinitely_far():
    flat = AggregatedPosterior(3, np.zeros(2), np.ones((2, 2)), np.zeros(2), np.zeros(2))
    assert flat.moment_kl() == np.inf
