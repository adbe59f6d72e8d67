"""Each game, and each term of a discriminator's loss, covers eight Gaussians on a ring.

A tiny generator learns them in seconds; a wrong sign anywhere would leave most of them out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import smoke_config

from gan_jax.core.state import init_net
from gan_jax.methods.gan.buffers import with_averages
from gan_jax.methods.gan.discriminator import Sides, update_discriminator
from gan_jax.methods.gan.terms import Term, disc_terms
from gan_jax.methods.update import apply_gradients
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.adversarial import GAMES
from gan_jax.objectives.weights import moved_history

STEPS, BATCH, LATENT, SPREAD = 1000, 128, 8, 0.1
ADAM = functools.partial(optax.adam, b1=0.5)
RMSPROP = functools.partial(optax.rmsprop, eps_in_sqrt=False)
ANGLES = 2 * np.pi * np.arange(8) / 8
MODES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1)


class MLP(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(self.outputs)(x)


# Weights at which a term of the non-saturating game's discriminator helps or does not hinder here.
TERMS = {
    "gradient_penalty": 0.1,
    "zero_centred_penalty": 0.1,
    "one_sided_penalty": 0.1,
    "dragan": 0.1,
    "r1": 0.1,
    "r2": 0.1,
    "latent_consistency": 1.0,
    "lecam": 0.1,
    "drift": 0.01,
    "orthogonal": 1e-4,
    "historical": 1e-3,
}
SAMPLE = ("r1", "lecam")  # the others are marked slow


def covers(
    game_name: str,
    terms: dict[str, float],
    *,
    rule: Callable[[float], optax.GradientTransformation] = ADAM,
    lr: float = 1e-3,
    disc_updates: int = 1,
    clip: float = 0.0,
) -> tuple[float, int]:
    """Return the share of samples near a mode, and the samples of the rarest mode, of 2,000."""
    game, generator, discriminator = GAMES[game_name], MLP(2), MLP(1)
    gen_optimizer, disc_optimizer = rule(lr), rule(2 * lr)
    key = jax.random.key(0)
    input_of = lambda n: (jax.ShapeDtypeStruct((1, n), jnp.float32),)  # noqa: E731
    gen = init_net(generator, jax.random.fold_in(key, 0), input_of(LATENT), gen_optimizer)
    disc = init_net(discriminator, jax.random.fold_in(key, 1), input_of(2), disc_optimizer)
    functions = disc_terms(smoke_config("dcgan"))
    chosen = {name: Term(weight, 1, functions[name]) for name, weight in terms.items()}
    averages = {"real": jnp.zeros(()), "fake": jnp.zeros(())}

    def judge(variables: Any, x: jax.Array) -> Any:
        return Outputs(discriminator.apply(variables, x)[:, 0]), {}

    def step(carried: Any, drawn: Any) -> Any:
        ((gen, disc), buffers), (i, real, z) = carried, drawn
        generate = lambda z: generator.apply(gen.variables(), z)  # noqa: E731
        for j in range(disc_updates):
            disc, metrics = update_discriminator(
                disc,
                lambda inputs: Sides(
                    judge, judge, inputs[0], generate(inputs[1]), (), (inputs[1],), generate
                ),
                (real[j], z[j]),
                game=game,
                optimizer=disc_optimizer,
                microbatches=1,
                terms=chosen,
                key=jax.random.fold_in(key, i * disc_updates + j),
                buffers={**buffers, "updates": i * disc_updates + j},
                clip=clip,
            )
            buffers = with_averages(buffers, metrics)
        buffers = {
            "lecam": buffers["lecam"],
            "history_disc": moved_history(buffers["history_disc"], disc.params, i + 1),
        }

        def loss_of(params: Any) -> jax.Array:
            said, _ = judge(disc.variables(), generator.apply({"params": params}, z[-1]))
            if not game.relativistic:
                return game.generator(fake_logits=said.logits).mean()
            real_logits = judge(disc.variables(), real[-1])[0].logits
            return game.generator(fake_logits=said.logits, real_logits=real_logits).mean()

        gen, _ = apply_gradients(gen, jax.grad(loss_of)(gen.params), gen_optimizer)
        return ((gen, disc), buffers), None

    draw = np.random.default_rng(0)
    shape = (STEPS, disc_updates, BATCH)
    real = MODES[draw.integers(0, 8, shape)] + SPREAD * draw.normal(size=(*shape, 2))
    z = draw.normal(size=(STEPS, disc_updates + 1, BATCH, LATENT))
    drawn = (jnp.arange(STEPS), real.astype(np.float32), z.astype(np.float32))
    buffers = {"lecam": averages, "history_disc": disc.params}
    run = jax.jit(lambda carried, drawn: jax.lax.scan(step, carried, drawn))
    ((gen, _), _), _ = run(((gen, disc), buffers), drawn)
    made = generator.apply(gen.variables(), draw.normal(size=(2000, LATENT)).astype(np.float32))
    distances = np.linalg.norm(np.asarray(made)[:, None] - MODES, axis=-1)
    near = distances.min(1) < 4 * SPREAD
    return near.mean(), np.bincount(distances.argmin(1)[near], minlength=8).min()


@pytest.mark.parametrize("name", GAMES)
def test_every_game_covers_all_modes(name: str) -> None:
    share, least = covers(name, {"gradient_penalty": 0.3} if name == "wasserstein" else {})
    assert share > 0.5 and least > 10, (share, least)


def test_clipped_weights_cover_all_modes() -> None:
    """As arXiv:1701.07875 trains its critic: RMSProp, five updates; Adam covers half as well."""
    share, least = covers("wasserstein", {}, rule=RMSPROP, lr=5e-4, disc_updates=5, clip=0.1)
    assert share > 0.5 and least > 10, (share, least)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SAMPLE else pytest.mark.slow) for n in TERMS]
)
def test_every_term_covers_all_modes(name: str) -> None:
    share, least = covers("non_saturating", {name: TERMS[name]})
    assert share > 0.5 and least > 10, (share, least)
