"""Terms on logits, by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.objectives.logits import consistency, current_averages, drift, lecam, updated_averages

REAL, FAKE = np.float32([0.5, 2.0]), np.float32([-1.0, 0.25])


def test_consistency_and_drift() -> None:
    np.testing.assert_allclose(consistency(logits=REAL, changed=FAKE), [2.25, 3.0625])
    np.testing.assert_allclose(drift(logits=REAL), [0.25, 4])


def test_lecam_draws_each_side_to_the_average_of_the_other() -> None:
    averages = {"real": jnp.float32(1.5), "fake": jnp.float32(-0.5)}
    got = lecam(real_logits=REAL, fake_logits=FAKE, averages=averages)
    # (0.5 + 0.5)^2 + (-1 - 1.5)^2 and (2 + 0.5)^2 + (0.25 - 1.5)^2
    np.testing.assert_allclose(got, [7.25, 7.8125])
    slope = jax.grad(
        lambda r, f: lecam(real_logits=r, fake_logits=f, averages=averages).sum(), (0, 1)
    )(REAL, FAKE)
    np.testing.assert_allclose(slope, [[2, 5], [-5, -2.5]])


def test_averages_follow_their_means() -> None:
    averages = {"real": jnp.zeros(()), "fake": jnp.ones(())}
    for _ in range(3):
        means = {"real": jnp.float32(8), "fake": jnp.float32(-1)}
        averages = updated_averages(averages, means, 0.5)
    assert float(averages["real"]) == pytest.approx(7)
    assert float(averages["fake"]) == pytest.approx(-0.75)


def test_lecam_compares_with_averages_of_the_authors() -> None:
    """TensorFlow's assign_moving_average with zero_debias: sum of 0.99^k x / sum of 0.99^k."""
    draw = np.random.default_rng(0).normal(2, 1, 30)
    kept = {"real": jnp.zeros(()), "fake": jnp.zeros(())}
    for n, mean in enumerate(draw.astype(np.float32)):
        means = {"real": mean, "fake": -mean}
        found = current_averages(kept, means, 0.99, jnp.int32(n))
        weights = 0.99 ** np.arange(n, -1, -1)
        expected = (weights * draw[: n + 1]).sum() / weights.sum()
        assert float(found["real"]) == pytest.approx(expected, rel=1e-4)
        assert float(found["fake"]) == pytest.approx(-expected, rel=1e-4)
        kept = updated_averages(kept, means, 0.99)
    slope = jax.grad(lambda x: current_averages(kept, {"real": x, "fake": x}, 0.99, 3)["real"])(1.0)
    assert slope == 0
