"""What a discriminator minimises and what is said of its logits, the same for every method."""

from __future__ import annotations

import jax

from gan_jax.core.task import Metrics
from gan_jax.objectives.adversarial import Game


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
