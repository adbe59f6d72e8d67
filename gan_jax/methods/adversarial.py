"""The discriminator's loss and update, shared by all adversarial methods."""

from __future__ import annotations

from typing import Any

import jax

from gan_jax.core.metric_names import log_name
from gan_jax.core.state import TrainState
from gan_jax.core.task import Key, Metrics, Phase
from gan_jax.methods.update import Aux, Handle, Nets, Update
from gan_jax.models.blocks.heads import Outputs
from gan_jax.objectives.adversarial import Game

# Entries of `seen` that `image_discriminator_loss` offers to the discriminator's terms.
SEEN = ("judge", "judge_fake", "real", "fake", "real_out", "fake_out")


def discriminator_loss(
    game: Game, *, real_logits: jax.Array, fake_logits: jax.Array, weight: float = 1.0
) -> tuple[jax.Array, Metrics]:
    """Return the weighted mean loss of a discriminator, and its metrics.

    The logits must come from separate passes for real and generated images: with both in one batch,
    BatchNorm would mix their statistics.

    Args:
      game: the adversarial loss.
      real_logits: training-mode logits of real images.
      fake_logits: training-mode logits of generated images.
      weight: factor of the loss.

    Returns:
      (loss, metrics): metrics are "disc", the loss; "logits/real" and "logits/fake"; and, if the
      game has a boundary, "accuracy/real" and "accuracy/fake".
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


def image_discriminator_loss(
    disc: Handle,
    game: Game,
    *,
    real: jax.Array,
    fake: jax.Array,
    source: tuple[jax.Array, ...] = (),
    weight: float = 1.0,
) -> tuple[jax.Array, Aux]:
    """Return a discriminator's loss on images, with the entries `SEEN` for its terms.

    Args:
      disc: handle of the network being updated; it returns logits.
      game: the adversarial loss.
      real: images [B, ...].
      fake: generated images, the same shape.
      source: conditioning inputs that precede the image in the call, such as source images.
      weight: factor of the loss.
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
    """Update one of several discriminators, on images generated beforehand.

    Args:
      update: of the method.
      state: before the update.
      name: of the network, such as "disc_a".
      game: the adversarial loss.
      real: images [B, ...].
      fake: generated images, the same shape.
      key: PRNG key for the terms.
      phase: of the step.

    Returns:
      (state, metrics): metrics of `discriminator_loss`, prefixed by the network's name.
    """

    def loss(nets: Nets, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, Aux]:
        loss, aux = image_discriminator_loss(nets[name], game, real=inputs[0], fake=inputs[1])
        named = {name if k == "disc" else log_name(name, k): x for k, x in aux.metrics.items()}
        return loss, aux._replace(metrics=named)

    return update(state, (name,), loss, (real, fake), key=key, phase=phase)[:2]
