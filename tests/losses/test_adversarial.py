"""Adversarial losses against closed forms."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gan_jax.losses.adversarial import GAMES, discriminator_cross_entropy, non_saturating


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


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [  # by hand, for D(x) = 0.3 and -3, D(G(z)) = 0.4 and -2
        ("minimax", (1.467370, 3.175515), (-0.913015, -0.126928)),
        ("non_saturating", (1.467370, 3.175515), (0.513015, 2.126928)),
        ("least_squares", (0.325, 10.0), (0.18, 4.5)),
        ("wasserstein", (0.1, 1.0), (-0.4, 2.0)),
        ("hinge", (2.1, 4.0), (-0.4, 2.0)),
    ],
)
def test_games_by_hand(name: str, discriminator: tuple, generator: tuple) -> None:
    game = GAMES[name]
    real, fake = np.float32([0.3, -3.0]), np.float32([0.4, -2.0])
    got = game.discriminator(real_logits=real, fake_logits=fake)
    np.testing.assert_allclose(got, discriminator, rtol=1e-5)
    np.testing.assert_allclose(game.generator(fake_logits=fake), generator, rtol=1e-5)


@pytest.mark.parametrize("logit", [-2.5, -0.4, 0.2, 0.9, 3.0])
@pytest.mark.parametrize("name", GAMES)
def test_gradients_are_finite_differences(name: str, logit: float) -> None:
    game = GAMES[name]
    sides = {
        "real": lambda x: game.discriminator(real_logits=x, fake_logits=np.float32(0.5)),
        "fake": lambda x: game.discriminator(real_logits=np.float32(0.5), fake_logits=x),
        "generator": lambda x: game.generator(fake_logits=x),
    }
    for side, function in sides.items():
        gradient = float(jax.grad(function)(np.float32(logit)))
        ahead, behind = (float(function(np.float32(logit + step))) for step in (1e-2, -1e-2))
        assert gradient == pytest.approx((ahead - behind) / 2e-2, abs=2e-3), side


@pytest.mark.parametrize("name", GAMES)
def test_the_sides_want_opposite_things(name: str) -> None:
    """At the boundary the discriminator moves the two apart, and the generator its own up."""
    game = GAMES[name]
    middle = np.float32(game.boundary or 0.0)
    both = jax.grad(lambda a, b: game.discriminator(real_logits=a, fake_logits=b), (0, 1))
    real, fake = both(middle, middle)
    assert real < 0 < fake
    assert float(real) == pytest.approx(-float(fake), rel=1e-6)
    assert jax.grad(lambda x: game.generator(fake_logits=x))(middle) < 0


def test_least_squares_generator_at_its_best_discriminator() -> None:
    """With a = 0, b = 1 the best D is p / (p + q) (arXiv:1611.04076, equation 5)."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    loss = GAMES["least_squares"].discriminator
    gradient = jax.grad(
        lambda d: (
            (p * loss(real_logits=d, fake_logits=0.0)).sum()
            + (q * loss(real_logits=1.0, fake_logits=d)).sum()
        )
    )
    np.testing.assert_allclose(gradient((p / (p + q)).astype(np.float32)), 0, atol=1e-6)
