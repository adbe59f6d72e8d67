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

from gan_jax.core.state import init_net, new_state
from gan_jax.core.task import Phase
from gan_jax.methods.adversarial import discriminator_loss
from gan_jax.methods.gan.terms import DISC_SEEN, DISC_TERMS
from gan_jax.methods.terms import make_terms
from gan_jax.methods.update import Aux, Net, make_update
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.adversarial import GAMES
from gan_jax.objectives.weights import clip_weights

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


# Weights at which a discriminator term of the non-saturating game helps or does no harm here.
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
SAMPLE = ("r1", "lecam")  # terms in the default suite; the others are marked slow


def covers(
    game_name: str,
    terms: dict[str, float],
    *,
    rule: Callable[[float], optax.GradientTransformation] = ADAM,
    lr: float = 1e-3,
    disc_updates: int = 1,
    clip: float = 0.0,
) -> tuple[float, int]:
    """Return the fraction of samples near a mode, and the count of the rarest mode, of 2,000."""
    game, generator, discriminator = GAMES[game_name], MLP(2), MLP(1)
    gen_optimizer, disc_optimizer = rule(lr), rule(2 * lr)
    key = jax.random.key(0)
    net = lambda module, inputs, rule, **more: Net(  # noqa: E731
        module,
        # An MLP has no argument `train` and no mutable collections.
        lambda variables, *x, train, mutable: (module.apply(variables, *x), {}),
        rule,
        (jax.ShapeDtypeStruct((1, inputs), jnp.float32),),
        **more,
    )
    project = functools.partial(clip_weights, limit=clip) if clip else None
    nets = {
        "gen": net(generator, LATENT, gen_optimizer),
        "disc": net(discriminator, 2, disc_optimizer, project=project),
    }
    section = {name: dict(weight=weight, every=1) for name, weight in terms.items()}
    chosen = make_terms("disc", section, DISC_TERMS)
    update = make_update(nets, chosen, offers={"disc": DISC_SEEN})
    start = {
        name: init_net(net.module, jax.random.fold_in(key, i), net.inputs, net.optimizer)
        for i, (name, net) in enumerate(nets.items())
    }

    def disc_loss(nets: Any, inputs: Any) -> tuple[jax.Array, Aux]:
        judge = lambda x: Outputs(nets.disc.pure(x)[:, 0])  # noqa: E731
        real, fake = inputs[0], nets.gen.pure(inputs[1])
        real_out, fake_out = judge(real), judge(fake)
        loss, metrics = discriminator_loss(
            game, real_logits=real_out.logits, fake_logits=fake_out.logits
        )
        seen = dict(judge=judge, judge_fake=judge, generate=nets.gen.pure, real=real, fake=fake)
        seen |= dict(real_out=real_out, fake_out=fake_out, given=(), drawn=(inputs[1],))
        return loss, Aux(metrics, seen=seen)

    def gen_loss(nets: Any, inputs: Any) -> tuple[jax.Array, Aux]:
        real_logits, fake_logits = (nets.disc(x)[:, 0] for x in (inputs[0], nets.gen(inputs[1])))
        compared = {"real_logits": real_logits} if game.relativistic else {}
        return game.generator(fake_logits=fake_logits, **compared).mean(), Aux()

    def step(state: Any, drawn: Any) -> Any:
        i, real, z = drawn
        for j in range(disc_updates):
            given = dict(key=jax.random.fold_in(key, i * disc_updates + j), phase=Phase())
            state, _, _ = update(state, ("disc",), disc_loss, (real[j], z[j]), **given)
        state, _, _ = update(state, ("gen",), gen_loss, (real[-1], z[-1]), phase=Phase())
        return state.replace(step=state.step + 1), None

    draw = np.random.default_rng(0)
    shape = (STEPS, disc_updates, BATCH)
    real = MODES[draw.integers(0, 8, shape)] + SPREAD * draw.normal(size=(*shape, 2))
    z = draw.normal(size=(STEPS, disc_updates + 1, BATCH, LATENT))
    drawn = (jnp.arange(STEPS), real.astype(np.float32), z.astype(np.float32))
    state = new_state(start, update.buffers(start))
    state, _ = jax.jit(lambda state, drawn: jax.lax.scan(step, state, drawn))(state, drawn)
    made = generator.apply(
        state.nets["gen"].variables(), draw.normal(size=(2000, LATENT)).astype(np.float32)
    )
    distances = np.linalg.norm(np.asarray(made)[:, None] - MODES, axis=-1)
    near = distances.min(1) < 4 * SPREAD
    return near.mean(), np.bincount(distances.argmin(1)[near], minlength=8).min()


@pytest.mark.parametrize("name", GAMES)
def test_every_game_covers_all_modes(name: str) -> None:
    share, least = covers(name, {"gradient_penalty": 0.3} if name == "wasserstein" else {})
    assert share > 0.5 and least > 10, (share, least)


def test_clipped_weights_cover_all_modes() -> None:
    """The critic as in arXiv:1701.07875: RMSProp, five updates; Adam covers half as well."""
    share, least = covers("wasserstein", {}, rule=RMSPROP, lr=5e-4, disc_updates=5, clip=0.1)
    assert share > 0.5 and least > 10, (share, least)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SAMPLE else pytest.mark.slow) for n in TERMS]
)
def test_every_term_covers_all_modes(name: str) -> None:
    share, least = covers("non_saturating", {name: TERMS[name]})
    assert share > 0.5 and least > 10, (share, least)
