"""The discriminator's side of a game, the same for every method that has one."""

from __future__ import annotations

from typing import Any

import jax

from gan_jax.core.metric_names import log_name
from gan_jax.core.state import TrainState
from gan_jax.core.task import Key, Metrics, Phase
from gan_jax.methods.update import Aux, Handle, Nets, Update
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.adversarial import Game

# What `judged` shows to the terms of a discriminator.
SEEN = ("judge", "judge_fake", "real", "fake", "real_out", "fake_out")


def discriminator_loss(
    game: Game, *, real_logits: jax.Array, fake_logits: jax.Array, weight: float = 1.0
) -> tuple[jax.Array, Metrics]:
    """Return the mean loss of a discriminator, weighted, and its metrics.

    Real and generated images must have passed it apart: BatchNorm would tell them by their batch.

    Args:
      game: the loss.
      real_logits: of real images, in training.
      fake_logits: of generated ones.
      weight: of the loss.

    Returns:
      (loss, metrics): "disc", the loss; "logits/real" and "logits/fake", "accuracy/real" and
      "accuracy/fake", of a game with a boundary only.
    """
    loss = weight * game.discriminator(real_logits=real_logits, fake_logits=fake_logits).mean()
    metrics = {
        "disc": loss,
        "logits/real": real_logits.mean(),
        "logits/fake": fake_logits.mean(),
    }
    if game.boundary is not None:
        metrics["accuracy/real"] = (real_logits > game.boundary).mean()
        metrics["accuracy/fake"] = (fake_logits < game.boundary).mean()
    return loss, metrics


def judged(
    disc: Handle,
    game: Game,
    *,
    real: jax.Array,
    fake: jax.Array,
    source: tuple[jax.Array, ...] = (),
    weight: float = 1.0,
) -> tuple[jax.Array, Aux]:
    """Return a discriminator's loss on images, with what its terms may see: `SEEN`.

    Args:
      disc: the network, which returns logits and is being updated.
      game: the loss.
      real: images [B, ...].
      fake: as many generated ones.
      source: what it is given before either.
      weight: of the loss.
    """
    real_logits, fake_logits = disc(*source, real), disc(*source, fake)
    given: dict[str, Any] = dict(real_logits=real_logits, fake_logits=fake_logits, weight=weight)
    loss, metrics = discriminator_loss(game, **given)
    judge = lambda image: Outputs(disc.pure(*source, image))  # noqa: E731
    seen = dict(judge=judge, judge_fake=judge, real=real, fake=fake)
    outs = dict(real_out=Outputs(real_logits), fake_out=Outputs(fake_logits))
    return loss, Aux(metrics, seen={**seen, **outs})


def update_discriminator(
    update: Update,
    state: TrainState,
    name: str,
    game: Game,
    *,
    real: jax.Array,
    fake: jax.Array,
    key: Key | None,
    phase: Phase,
) -> tuple[TrainState, Metrics]:
    """Take a step of one discriminator of several, on images that are already made.

    Args:
      update: of the method.
      state: before the step.
      name: of the network, such as "disc_a".
      game: the loss.
      real: images [B, ...].
      fake: as many generated ones.
      key: of its terms' draws.
      phase: of the step.

    Returns:
      (state, metrics): those of `discriminator_loss`, under the network's name.
    """

    def loss(nets: Nets, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Aux]:
        loss, aux = judged(nets[name], game, real=inputs[0], fake=inputs[1])
        named = {name if k == "disc" else log_name(name, k): x for k, x in aux.metrics.items()}
        return loss, aux._replace(metrics=named)

    return update(state, (name,), loss, (real, fake), key=key, phase=phase)[:2]
