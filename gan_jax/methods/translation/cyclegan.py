"""Unpaired translation in both directions: CycleGAN (Zhu et al. 2017, arXiv:1703.10593).

Two generators and two discriminators: gen_ab translates images of domain a (stream "image") to
domain b (stream "target"), gen_ba the reverse. The generators minimise (equation 3, section 5.2.1)

    (D_b(G(a)) - 1)^2 + (D_a(F(b)) - 1)^2 + cycle * (|F(G(a)) - a| + |G(F(b)) - b|)
        + cycle * identity * (|G(b) - b| + |F(a) - a|)

and each discriminator half of (D(x) - 1)^2 + D(fake)^2 (section 4), on fakes from a history of
`pool` images. As in the authors' code, the generators are updated first, both in one optimizer
step. Deviation: images are shifted by whole pixels rather than enlarged and cropped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.adversarial import update_discriminator
from gan_jax.methods.pool import make_pool, pool_query
from gan_jax.methods.translation.translator import (
    augmented,
    make_players,
    make_translator,
    translator_sections,
)
from gan_jax.methods.update import Aux, Nets
from gan_jax.objectives.adversarial import GAMES
from gan_jax.objectives.image import l1
from gan_jax.parallel.axes import example_keys


class Rules(NamedTuple):
    """How both directions are trained.

    Attributes:
      cycle: weight of the cycle-consistency loss.
      identity: weight of the identity loss, relative to `cycle`; 0: none.
      pool: capacity of each discriminator's history of generated images; 0: none.
      flip: mirror images left to right at random.
      jitter: largest random shift [px].
    """

    cycle: float = 10.0
    identity: float = 0.5
    pool: int = 50
    flip: bool = True
    jitter: int = 4


GENS = {"gen_ab": ("image", "target"), "gen_ba": ("target", "image")}
DISCS = {"disc_a": ("image",), "disc_b": ("target",)}
PATHS = {"ab": ("gen_ab",), "ba": ("gen_ba",), "aba": (*GENS,), "bab": (*reversed(GENS),)}
RULES = Choice({"cyclegan": Rules})


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section; both generators share one, both discriminators one."""
    return translator_sections(RULES)


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a CycleGAN; see `configs/cyclegan.py` for its fields."""
    task, game = build("task", config.task, RULES), GAMES["least_squares"]
    players = make_players(config, spec, generators=GENS, discriminators=DISCS)
    shapes, update = players.shapes, players.update
    if task.identity and shapes["image"] != shapes["target"]:
        raise UserError(
            f"task.identity={task.identity} with images of {shapes['image']} and of"
            f" {shapes['target']}: a generator takes images of its source domain only: set it to 0"
        )

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        keys = jax.random.split(key, 8)
        moved = dict(flip=task.flip, jitter=task.jitter)
        a, b = (augmented((batch[s][0],), keys[i], **moved)[0] for i, s in enumerate(shapes))
        draws = [example_keys(k, len(a)) for k in keys[2:5]]
        given = dict(key=keys[5], phase=phase)
        state, metrics, fakes = update(state, (*GENS,), gen_loss, (a, b, draws[0]), **given)
        pools = dict(state.buffers["pools"])
        for name, real, draw, key in zip(DISCS, (a, b), draws[1:], keys[6:], strict=True):
            pools[name], fake = pool_query(pools[name], fakes[name], draw)
            given = dict(real=real, fake=fake, key=key, phase=phase)
            state, found = update_discriminator(update, state, name, game, **given)
            metrics |= found
        return state.replace(buffers={**state.buffers, "pools": pools}), metrics

    def gen_loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        a, b, keys = inputs
        drops = iter(jax.vmap(lambda key: jax.random.split(key, 6))(keys).T)  # one key per pass
        change = lambda net: lambda x: net(x, keys=next(drops))  # noqa: E731
        to_a, to_b = change(nets.gen_ba), change(nets.gen_ab)
        fakes = {"disc_a": to_a(b), "disc_b": to_b(a)}
        metrics = {
            # Not halved, unlike `least_squares`.
            "gen_ab": 2 * game.generator(fake_logits=nets.disc_b(fakes["disc_b"])).mean(),
            "gen_ba": 2 * game.generator(fake_logits=nets.disc_a(fakes["disc_a"])).mean(),
            "cycle_a": l1(prediction=to_a(fakes["disc_b"]), target=a).mean(),
            "cycle_b": l1(prediction=to_b(fakes["disc_a"]), target=b).mean(),
        }
        loss = metrics["gen_ab"] + metrics["gen_ba"]
        loss += task.cycle * (metrics["cycle_a"] + metrics["cycle_b"])
        if task.identity:
            metrics["identity_a"] = l1(prediction=to_a(a), target=a).mean()
            metrics["identity_b"] = l1(prediction=to_b(b), target=b).mean()
            loss += task.cycle * task.identity * (metrics["identity_a"] + metrics["identity_b"])
        return loss, Aux(metrics, outputs=fakes)

    buffers = {"pools": {name: make_pool(task.pool, shapes[s]) for name, (s,) in DISCS.items()}}
    return make_translator(config, spec, players, train_step, paths=PATHS, buffers=buffers)
