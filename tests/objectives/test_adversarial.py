"""Adversarial losses against closed forms."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gan_jax.core.errors import UserError
from gan_jax.core.task import Phase
from gan_jax.objectives.adversarial import (
    GAMES,
    Game,
    discriminator_cross_entropy,
    make_game,
    non_saturating,
    top_k_share,
)
from gan_jax.parallel.mesh import make_parallel


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def generator_loss(game: Game, *, real: Any, fake: Any) -> jax.Array:
    compared = {"real_logits": real} if game.relativistic else {}
    return game.generator(fake_logits=fake, **compared)


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


def test_top_k_falls_by_epochs_of_the_discriminator() -> None:
    """StudioGAN multiplies k at the end of each epoch, which with five updates is 156 steps."""
    epoch = 50_000 / (64 * 5)
    found = [
        float(top_k_share(step=step, epoch=epoch, decay=0.99, lowest=0.5))
        for step in (0, 156, 157, 7813, 10**6)
    ]
    np.testing.assert_allclose(found, [1, 1, 0.99, 0.99**50, 0.5], rtol=1e-5)
    assert found[3] == pytest.approx(0.605, abs=1e-3)


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
        # The means are -1.35 and -0.8, so the differences 1.1 and -2.2, 1.75 and -0.65.
        ("relativistic", (2.1975595, 2.7251387), (1.5475595, 1.1751387)),
        ("relativistic_least_squares", (7.5725, 10.3625), (4.9725, 4.1625)),
        ("relativistic_hinge", (2.75, 3.55), (2.1, 1.65)),
    ],
)
def test_games_by_hand(name: str, discriminator: tuple, generator: tuple) -> None:
    game = GAMES[name]
    real, fake = np.float32([0.3, -3.0]), np.float32([0.4, -2.0])
    got = game.discriminator(real_logits=real, fake_logits=fake)
    np.testing.assert_allclose(got, discriminator, rtol=1e-5)
    got = generator_loss(game, real=real, fake=fake)
    np.testing.assert_allclose(got, generator, rtol=1e-5)


@pytest.mark.parametrize("logit", [-2.5, -0.4, 0.2, 0.9, 3.0])
@pytest.mark.parametrize("name", GAMES)
def test_gradients_are_finite_differences(name: str, logit: float) -> None:
    game = GAMES[name]
    sides = {
        "real": lambda x: game.discriminator(real_logits=x, fake_logits=np.float32(0.5)),
        "fake": lambda x: game.discriminator(real_logits=np.float32(0.5), fake_logits=x),
        "generator": lambda x: generator_loss(game, real=np.float32(0.5), fake=x),
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
    assert jax.grad(lambda x: generator_loss(game, real=middle, fake=x))(middle) < 0


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


@pytest.mark.parametrize("name", [name for name, game in GAMES.items() if game.relativistic])
def test_relativistic_gradients_flow_through_the_averages(name: str) -> None:
    """Each logit moves its own term and, by the average, those of the other side."""
    game = GAMES[name]
    real, fake = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    for side in (game.discriminator, game.generator):
        mean = lambda r, f, side=side: side(real_logits=r, fake_logits=f).mean()  # noqa: E731
        for argument, got in enumerate(jax.grad(mean, (0, 1))(real, fake)):
            for i in range(5):
                step = np.zeros((2, 5), np.float32)
                step[argument, i] = 1e-2
                ahead, behind = (mean(real + s * step[0], fake + s * step[1]) for s in (1, -1))
                assert got[i] == pytest.approx(float(ahead - behind) / 2e-2, abs=2e-3)


@pytest.mark.parametrize("name", [name for name, game in GAMES.items() if game.relativistic])
def test_relativistic_games_do_not_see_a_common_offset(name: str) -> None:
    game = GAMES[name]
    real, fake = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    for side in (game.discriminator, game.generator):
        moved = side(real_logits=real + 3, fake_logits=fake + 3)
        np.testing.assert_allclose(moved, side(real_logits=real, fake_logits=fake), rtol=1e-5)


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_relativistic_averages_are_over_all_devices(mode: str) -> None:
    """The loss and its gradient in a weight, on eight devices and by hand on the whole batch."""
    game = GAMES["relativistic"]
    real, fake = np.random.default_rng(2).normal(size=(2, 1, 16)).astype(np.float32)

    def loss(w: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
        return game.discriminator(real_logits=w * real, fake_logits=w * fake).mean()

    def step(phase: Phase, state: Any, batch: Any, key: jax.Array) -> Any:
        value, slope = jax.value_and_grad(loss)(state, batch["real"][0], batch["fake"][0])
        return state, {"value": value, "slope": slope}  # averaged over devices, as gradients are

    parallel = make_parallel(mode, 8)
    batch = parallel.place({"real": real, "fake": fake}, axis=1)
    start = parallel.replicate(lambda: jax.numpy.float32(1.5))
    _, got = parallel.compile_step(step)(Phase(), start, batch, jax.random.key(0))
    value, slope = jax.value_and_grad(loss)(1.5, real[0], fake[0])
    assert float(got["value"]) == pytest.approx(float(value), rel=1e-5)
    assert float(got["slope"]) == pytest.approx(float(slope), rel=1e-4)


def test_one_sided_label_smoothing() -> None:
    real, fake = np.float32([0.3, -3.0]), np.float32([0.4, -2.0])
    p, q = sigmoid(real), sigmoid(fake)
    got = make_game("minimax", label_smoothing=0.1).discriminator(
        real_logits=real, fake_logits=fake
    )
    expected = -0.9 * np.log(p) - 0.1 * np.log(1 - p) - np.log(1 - q)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    got = make_game("least_squares", label_smoothing=0.1).discriminator(
        real_logits=real, fake_logits=fake
    )
    np.testing.assert_allclose(got, ((real - 0.9) ** 2 + fake**2) / 2, rtol=1e-5)
    with pytest.raises(UserError, match=r"hinge has no target.*least_squares"):
        make_game("hinge", label_smoothing=0.1)
    with pytest.raises(UserError, match=r"label_smoothing=1\.0: in \[0, 1\)"):
        make_game("minimax", label_smoothing=1.0)


def test_the_best_smoothed_discriminator() -> None:
    """It says (1 - s) p / (p + q): the generator's density stays whole (arXiv:1606.03498, 3.4)."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])
    best = 0.9 * p / (p + q)
    logits = np.log(best / (1 - best)).astype(np.float32)
    loss = make_game("non_saturating", label_smoothing=0.1).discriminator
    gradient = jax.grad(
        lambda d: (
            (p * loss(real_logits=d, fake_logits=-1e9)).sum()
            + (q * loss(real_logits=0.0, fake_logits=d)).sum()
        )
    )(logits)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
