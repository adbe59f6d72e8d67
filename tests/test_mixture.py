"""Each game trains a tiny generator to cover eight Gaussians on a ring: a wrong sign would not."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan_jax.axes import example_keys
from gan_jax.losses.adversarial import GAMES
from gan_jax.state import apply_gradients, init_net
from gan_jax.tasks.discriminator import update_discriminator

STEPS, BATCH, LATENT, SPREAD = 1000, 128, 8, 0.1
ANGLES = 2 * np.pi * np.arange(8) / 8
MODES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1)


class MLP(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(self.outputs)(x)


@pytest.mark.parametrize("name", GAMES)
def test_covers_all_modes(name: str) -> None:
    game, generator, discriminator = GAMES[name], MLP(2), MLP(1)
    gen_optimizer, disc_optimizer = optax.adam(1e-3, b1=0.5), optax.adam(2e-3, b1=0.5)
    key = jax.random.key(0)
    shape = lambda n: (jax.ShapeDtypeStruct((1, n), jnp.float32),)  # noqa: E731
    gen = init_net(generator, jax.random.fold_in(key, 0), shape(LATENT), gen_optimizer)
    disc = init_net(discriminator, jax.random.fold_in(key, 1), shape(2), disc_optimizer)

    def judge(variables: Any, x: jax.Array) -> Any:
        return discriminator.apply(variables, x)[:, 0], {}

    def step(nets: Any, drawn: Any) -> Any:
        (gen, disc), (i, real, z) = nets, drawn
        penalty = 0.3 if name == "wasserstein" else 0.0
        disc, _ = update_discriminator(
            disc,
            lambda inputs: (judge, inputs[0], generator.apply(gen.variables(), inputs[1])),
            (real, z[0]),
            game=game,
            optimizer=disc_optimizer,
            microbatches=1,
            penalty_weight=penalty,
            penalty_keys=example_keys(jax.random.fold_in(key, i), BATCH) if penalty else None,
        )

        def loss_of(params: Any) -> jax.Array:
            logits, _ = judge(disc.variables(), generator.apply({"params": params}, z[1]))
            if not game.relativistic:
                return game.generator(fake_logits=logits).mean()
            real_logits, _ = judge(disc.variables(), real)
            return game.generator(fake_logits=logits, real_logits=real_logits).mean()

        gen, _ = apply_gradients(gen, jax.grad(loss_of)(gen.params), gen_optimizer)
        return (gen, disc), None

    draw = np.random.default_rng(0)
    real = MODES[draw.integers(0, 8, (STEPS, BATCH))] + SPREAD * draw.normal(size=(STEPS, BATCH, 2))
    z = draw.normal(size=(STEPS, 2, BATCH, LATENT))
    drawn = (jnp.arange(STEPS), real.astype(np.float32), z.astype(np.float32))
    (gen, _), _ = jax.jit(lambda nets, drawn: jax.lax.scan(step, nets, drawn))((gen, disc), drawn)
    made = generator.apply(gen.variables(), draw.normal(size=(2000, LATENT)).astype(np.float32))
    distances = np.linalg.norm(np.asarray(made)[:, None] - MODES, axis=-1)
    near = distances.min(1) < 4 * SPREAD
    counts = np.bincount(distances.argmin(1)[near], minlength=8)
    assert near.mean() > 0.5 and counts.min() > 10, (near.mean(), counts)
