"""Bounds of log p(x) on a linear-Gaussian model, whose log p(x) is a formula."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.objectives.bounds import ciwae, elbo, iwae, miwae, piwae
from gan_jax.objectives.distributions import Normal, PixelNormal, kl, standard_normal

# x = W z + noise of deviation S, z of 2 dimensions; W has orthogonal columns, so that the
# posterior's covariance is diagonal.
W = jnp.array([[1.0, 0.5], [0.5, -1.0], [1.0, 0.0], [0.0, 1.0]])
S = 0.7
VARIANCE = 1 / (1 + jnp.diag(W.T @ W) / S**2)
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
POSTERIOR = Normal(X @ W / S**2 * VARIANCE, jnp.broadcast_to(jnp.log(VARIANCE), (3, 2)))
OFF = Normal(POSTERIOR.mean + 0.5, POSTERIOR.log_variance + 0.4)
EXACT = stats.multivariate_normal(np.zeros(4), W @ W.T + S**2 * np.eye(4)).logpdf(X)
RNG = np.random.default_rng(1)


def likelihood(z: jax.Array) -> jax.Array:
    return PixelNormal(z @ W.T, S).log_prob(X)


def log_weights(q: Normal, key: jax.Array, *shape: int) -> jax.Array:
    """Return those of draws from q, [*shape, 3]."""

    def one(keys: jax.Array) -> jax.Array:
        z, log_q = q.sample_and_log_prob(keys)
        return likelihood(z) + standard_normal(2).log_prob(z) - log_q

    keys = jax.random.split(key, (*shape, 3)).reshape(-1, 3)
    return jax.vmap(one)(keys).reshape(*shape, 3)


def test_of_the_true_posterior_every_bound_is_exact() -> None:
    weights = log_weights(POSTERIOR, jax.random.key(0), 2, 5)
    found = {
        "elbo": elbo(log_weights=weights[0]),
        "iwae": iwae(log_weights=weights[0]),
        "ciwae": ciwae(log_weights=weights[0], beta=0.3),
        "miwae": miwae(log_weights=weights),
        **dict(zip(("encoder", "decoder"), piwae(log_weights=weights), strict=True)),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, EXACT, atol=1e-4, err_msg=name)


def test_means_of_the_bounds_rise_with_the_draws() -> None:
    """The ELBO's is log p(x) - KL(q || posterior), whatever K; IWAE's rises to log p(x)."""
    weights = log_weights(OFF, jax.random.key(1), 4000, 32)
    below = EXACT - np.asarray(kl(OFF, POSTERIOR))

    def of(bound: Callable[..., jax.Array], k: int, **given: float) -> np.ndarray:
        values = jax.vmap(lambda w: bound(log_weights=w, **given))(weights[:, :k])
        return np.asarray(values, np.float64)

    for k in (1, 8):
        values = of(elbo, k)
        assert (np.abs(values.mean(0) - below) < 5 * values.std(0) / np.sqrt(4000)).all()
    means = [of(iwae, k).mean(0) for k in (1, 2, 8, 32)]
    np.testing.assert_allclose(means[0], of(elbo, 1).mean(0), rtol=1e-6)
    assert (np.diff(means, axis=0) > 0.02).all() and (means[-1] < EXACT).all()
    between = of(ciwae, 8, beta=0.25).mean(0)
    np.testing.assert_allclose(between, 0.25 * of(elbo, 8).mean(0) + 0.75 * means[2], rtol=1e-5)


def test_groups() -> None:
    weights = jnp.asarray(RNG.normal(-90, 5, (4, 5, 3)), jnp.float32)
    each = np.log(np.exp(np.float64(weights) + 90).mean(1)) - 90
    np.testing.assert_allclose(miwae(log_weights=weights), each.mean(0), rtol=1e-6)
    encoder, decoder = piwae(log_weights=weights)
    np.testing.assert_array_equal(encoder, miwae(log_weights=weights))
    np.testing.assert_allclose(decoder, iwae(log_weights=weights.reshape(20, 3)), rtol=1e-6)
    assert (decoder >= encoder).all()
    np.testing.assert_allclose(miwae(log_weights=weights[:, :1]), elbo(log_weights=weights[:, 0]))
    np.testing.assert_allclose(miwae(log_weights=weights[:1]), iwae(log_weights=weights[0]))


@pytest.mark.parametrize("level", [-5e4, 5e4])
def test_weights_beyond_float32(level: float) -> None:
    weights = jnp.full((6, 2), level)
    np.testing.assert_allclose(iwae(log_weights=weights), level, rtol=1e-6)


def test_the_gradient_is_weighted_by_the_normalised_weights() -> None:
    """arXiv:1509.00519, equations 13 and 14, and finite differences."""
    key, shift = jax.random.key(2), jnp.array([0.3, -0.2])

    def weights_at(shift: jax.Array) -> jax.Array:
        return log_weights(Normal(POSTERIOR.mean + shift, OFF.log_variance), key, 6)

    bound = jax.jit(lambda shift: iwae(log_weights=weights_at(shift)).sum())
    found = jax.grad(bound)(shift)
    share = jax.nn.softmax(weights_at(shift), 0)[..., None]
    weighted = (share * jax.jacobian(weights_at)(shift)).sum((0, 1))
    np.testing.assert_allclose(found, weighted, rtol=1e-4)
    steps = 1e-2 * jnp.eye(2)
    slopes = [float(bound(shift + s) - bound(shift - s)) / 2e-2 for s in steps]
    np.testing.assert_allclose(found, slopes, rtol=1e-2)
