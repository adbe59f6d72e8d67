"""Adversarial losses against closed forms."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.losses.adversarial import discriminator_cross_entropy, non_saturating


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def test_values_are_those_of_the_paper() -> None:
    draw = np.random.default_rng(0)
    real, fake = draw.normal(0, 2, (2, 5, 3)).astype(np.float32)
    loss = discriminator_cross_entropy(real_logits=real, fake_logits=fake)
    np.testing.assert_allclose(
        loss, -np.log(sigmoid(real)) - np.log(1 - sigmoid(fake)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        non_saturating(fake_logits=fake), -np.log(sigmoid(fake)), rtol=1e-5, atol=1e-6
    )


def test_a_discriminator_that_cannot_tell() -> None:
    zero = np.zeros(1, np.float32)
    loss = discriminator_cross_entropy(real_logits=zero, fake_logits=zero)
    assert loss == pytest.approx(2 * np.log(2)) and non_saturating(
        fake_logits=zero
    ) == pytest.approx(np.log(2))


def test_the_best_discriminator_gives_the_divergence() -> None:
    """With D = p / (p + q) the loss is 2 log 2 - 2 JSD(p, q) (arXiv:1406.2661, theorem 1)."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    logits = np.log(p / q).astype(np.float32)
    real = (p * discriminator_cross_entropy(real_logits=logits, fake_logits=-1e9)).sum()
    fake = (q * discriminator_cross_entropy(real_logits=1e9, fake_logits=logits)).sum()
    middle = (p + q) / 2
    divergence = ((p * np.log(p / middle)).sum() + (q * np.log(q / middle)).sum()) / 2
    assert real + fake == pytest.approx(2 * np.log(2) - 2 * divergence, rel=1e-5)


def test_gradients_stay_finite_and_do_not_saturate() -> None:
    far = np.float32(-200.0)
    assert jax.grad(lambda x: non_saturating(fake_logits=x))(far) == pytest.approx(-1)
    gradient = jax.grad(lambda x: discriminator_cross_entropy(real_logits=x, fake_logits=-x))(far)
    assert gradient == pytest.approx(-2)
