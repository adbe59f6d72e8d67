"""Distributions against scipy, numpyro, closed forms and Monte Carlo."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.core.keys import image_keys
from gan_jax.objectives.distributions import Bernoulli, Normal, PixelNormal, kl, standard_normal

RNG = np.random.default_rng(0)


def test_bernoulli_is_scipys_on_binary_pixels():
    logits = RNG.normal(0, 3, (4, 5, 3, 2)).astype(np.float32)
    pixels = RNG.integers(0, 2, logits.shape).astype(np.float32)
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = stats.bernoulli.logpmf(pixels, chance).reshape(4, -1).sum(1)
    found = Bernoulli(logits).log_prob(2 * pixels - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bernoullis_gradient_is_the_chance_minus_the_level_at_zero_too():
    logits = np.array([[0.0, -0.0, 1e-8, 0.5, -3.0]], np.float32)
    pixels = np.array([[1.0, -1.0, 0.25, 0.0, 0.9]], np.float32)
    found = jax.grad(lambda a: Bernoulli(a).log_prob(pixels).sum())(logits)
    expected = (pixels + 1) / 2 - 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_bernoulli_of_grey_levels_is_linear_in_them_and_stable():
    logits = np.array([[2.0, -1.0]], np.float32)
    value = lambda a, b: Bernoulli(logits).log_prob(  # noqa: E731
        2 * np.array([[a, b]], np.float32) - 1
    )
    np.testing.assert_allclose(value(0.25, 1), 0.75 * value(0, 1) + 0.25 * value(1, 1), rtol=1e-6)
    extreme = np.array([[1e4, -1e4]], np.float32)
    right, wrong = np.array([[1.0, -1.0]]), np.array([[-1.0, 1.0]])
    assert Bernoulli(extreme).log_prob(right)[0] == 0
    np.testing.assert_allclose(Bernoulli(extreme).log_prob(wrong), [-2e4])
    # Of a pixel that is nearly sure the digits stay.
    sure = Bernoulli(np.array([[12.0]], np.float32)).log_prob(np.ones((1, 1), np.float32))
    np.testing.assert_allclose(sure, -np.log1p(np.exp(-12.0)), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
def test_gaussian_is_scipys_with_its_constant(scale):
    mean, target = RNG.uniform(-1, 1, (2, 3, 4, 5, 3)).astype(np.float32)
    expected = stats.norm.logpdf(target, mean, scale).reshape(3, -1).sum(1)
    found = PixelNormal(mean, scale).log_prob(target)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_kl_closed_form_and_monte_carlo():
    mean = np.array([[0.0, 0.0], [1.0, -0.5]], np.float32)
    log_variance = np.array([[0.0, 0.0], [-2.0, 0.7]], np.float32)
    found = np.asarray(kl(Normal(mean, log_variance), standard_normal(2)))
    assert found[0] == 0
    deviation = np.exp(log_variance[1] / 2)
    z = mean[1] + deviation * RNG.normal(size=(200_000, 2))
    ratio = (stats.norm.logpdf(z, mean[1], deviation) - stats.norm.logpdf(z)).sum(1)
    np.testing.assert_allclose(found[1], ratio.mean(), atol=5 * ratio.std() / np.sqrt(len(z)))
    expected = 0.5 * (mean[1] ** 2 + np.exp(log_variance[1]) - 1 - log_variance[1]).sum()
    np.testing.assert_allclose(found[1], expected, rtol=1e-6)


def test_kl_near_the_prior_keeps_its_digits():
    log_variance = np.full((1, 1), 1e-3, np.float32)
    found = kl(Normal(np.zeros((1, 1)), log_variance), standard_normal(1))
    np.testing.assert_allclose(found, 0.5 * (np.expm1(1e-3) - 1e-3), rtol=1e-3)


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
        fit = PixelNormal(z @ a.T, scale).log_prob(target).mean()
        divergence = kl(Normal(mean[None], np.log(variance)[None]), standard_normal(2))[0]
        return float(fit - divergence)

    np.testing.assert_allclose(bound(posterior_mean, variance), exact, atol=0.01)
    assert bound(posterior_mean + 0.2, variance) < exact - 0.05
    assert bound(posterior_mean, 2 * variance) < exact - 0.05


def test_no_silent_broadcasting():
    a, b = jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 4, 4, 1))
    with pytest.raises(ValueError, match="agree"):
        Bernoulli(a).log_prob(b)
    with pytest.raises(ValueError, match="agree"):
        PixelNormal(a, 1.0).log_prob(b)
    with pytest.raises(ValueError, match="agree"):
        PixelNormal(a, 1.0).level_log_prob(b)
    with pytest.raises(ValueError, match="agree"):
        Normal(jnp.zeros((2, 3)), jnp.zeros((2, 3))).log_prob(jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match="agree"):
        kl(Normal(jnp.zeros((2, 3)), jnp.zeros((2, 3))), standard_normal(4))
    with pytest.raises(TypeError, match=r"no closed form of KL\(Bernoulli"):
        kl(Bernoulli(a), standard_normal(4))


MEAN = RNG.normal(size=(3, 2, 4)).astype(np.float32)
LOG_VARIANCE = RNG.normal(size=(3, 2, 4)).astype(np.float32)
CASES = {
    "normal": Normal(MEAN, LOG_VARIANCE),
    "bernoulli": Bernoulli(2 * MEAN),
    "pixels": PixelNormal(MEAN, 0.3),
}


@pytest.mark.parametrize("name", CASES)
def test_draws(name: str) -> None:
    """Their log density is that of `log_prob`, their mean `mean`; each is of its own key."""
    q = CASES[name]
    keys = image_keys(0, np.arange(3 * 4000)).reshape(4000, 3)
    x, log_q = jax.jit(jax.vmap(q.sample_and_log_prob))(keys)
    np.testing.assert_array_equal(x, jax.jit(jax.vmap(q.sample))(keys))
    np.testing.assert_allclose(log_q, jax.jit(jax.vmap(q.log_prob))(x), rtol=1e-4, atol=1e-4)
    error = np.asarray(x).std(0) / np.sqrt(4000)
    assert (np.abs(np.asarray(x).mean(0) - q.mean) < 5 * error).all()
    if name != "bernoulli":
        scale = np.exp(LOG_VARIANCE / 2) if name == "normal" else 0.3
        np.testing.assert_allclose(np.asarray(x).std(0), scale * np.ones_like(MEAN), rtol=0.06)
    part = jax.tree.map(lambda p: p[1:2] if np.ndim(p) else p, q)
    np.testing.assert_allclose(part.sample(keys[5, 1:2]), x[5, 1:2], rtol=1e-6)


def test_the_prior_is_of_any_batch() -> None:
    x = RNG.normal(size=(5, 2, 3)).astype(np.float32)
    expected = stats.norm.logpdf(x).reshape(5, -1).sum(1)
    np.testing.assert_allclose(standard_normal(2, 3).log_prob(x), expected, rtol=1e-5)
    keys = image_keys(0, np.arange(5))
    z, log_p = standard_normal(2, 3).sample_and_log_prob(keys)
    assert z.shape == (5, 2, 3)
    np.testing.assert_allclose(log_p, stats.norm.logpdf(z).reshape(5, -1).sum(1), rtol=1e-5)


def test_numpyros_are_the_same() -> None:
    theirs = pytest.importorskip("numpyro.distributions")
    normal = lambda mean, log_variance: theirs.Normal(  # noqa: E731
        mean, np.exp(log_variance / 2)
    ).to_event(2)
    x = RNG.normal(size=MEAN.shape).astype(np.float32)
    close = dict(rtol=1e-4, atol=1e-4)
    q = CASES["normal"]
    np.testing.assert_allclose(q.log_prob(x), normal(*q).log_prob(x), **close)
    other = Normal(x, -LOG_VARIANCE)
    expected = theirs.kl_divergence(normal(*q), normal(*other))
    np.testing.assert_allclose(kl(q, other), expected, **close)
    one = Normal(x[:1], LOG_VARIANCE[:1])  # of one example, for all
    expected = theirs.kl_divergence(normal(*q), normal(*one))
    np.testing.assert_allclose(kl(q, one), expected, **close)
    pixels = theirs.Normal(MEAN, 0.3).to_event(2)
    np.testing.assert_allclose(CASES["pixels"].log_prob(x), pixels.log_prob(x), **close)
    coin = theirs.BernoulliLogits(2 * MEAN).to_event(2)
    ones = RNG.integers(0, 2, MEAN.shape)
    found = CASES["bernoulli"].log_prob(2.0 * ones - 1)
    np.testing.assert_allclose(found, coin.log_prob(ones), **close)


@pytest.mark.parametrize("scale", [0.003, 0.2, 3.0])
@pytest.mark.parametrize("mean", [-0.7, 0.999, 1.7])
def test_levels_have_the_mass_of_their_bins(scale, mean):
    levels = np.arange(256)
    x = (levels / 127.5 - 1).astype(np.float32).reshape(256, 1)
    found = np.asarray(PixelNormal(np.full_like(x, mean), scale).level_log_prob(x))
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
    likelihood = PixelNormal(x + 0.1, 0.2)
    density, exact = likelihood.log_prob(x), likelihood.level_log_prob(x)
    np.testing.assert_allclose(exact, density + 2 * np.log(2 / 255), atol=1e-3)


def test_gradient_of_the_levels():
    x = np.array([[-1.0, 1.0, 0.0, 5 / 127.5 - 1]], np.float32)

    @jax.jit
    def value(mean):
        return PixelNormal(mean, 0.5).level_log_prob(x).sum()

    mean = np.array([[0.3, 0.2, -0.8, 0.4]], np.float32)
    step = 1e-2 * np.eye(4, dtype=np.float32)
    slopes = [(value(mean + s) - value(mean - s)) / 2e-2 for s in step]
    np.testing.assert_allclose(jax.jit(jax.grad(value))(mean)[0], slopes, rtol=1e-2)
