"""How a GAN is trained: the section `task`."""

from __future__ import annotations

from typing import NamedTuple

from gan_jax.core.choices import Choice
from gan_jax.core.errors import UserError, check_choice
from gan_jax.objectives.adversarial import Game, make_game

# Labels of generated images in training: those of the real batch, or drawn uniformly.
FAKE_LABELS = ("real", "uniform")
TOP_K_DECAY = 0.99  # per epoch, arXiv:2002.06224


class Rules(NamedTuple):
    """See `rules`."""

    game: Game
    gen_weight: float
    disc_updates: int
    fake_labels: str
    freeze_disc: int
    weight_clipping: float
    top_k: float
    top_k_decay: float


def rules(
    *,
    loss: str = "non_saturating",
    label_smoothing: float = 0.0,
    gen_weight: float = 1.0,
    disc_updates: int = 1,
    fake_labels: str = "real",
    freeze_disc: int = 0,
    weight_clipping: float = 0.0,
    top_k: float = 1.0,
    top_k_decay: float = TOP_K_DECAY,
) -> Rules:
    """Return how a GAN is trained.

    Args:
      loss: a key of `objectives.adversarial.GAMES`.
      label_smoothing: the target of real images is 1 minus this; one-sided.
      gen_weight: weight of the adversarial loss of the generator; 0 leaves its terms only.
      disc_updates: discriminator updates per generator update.
      fake_labels: labels of generated images in training: "real", those of the batch of real
        images, or "uniform", drawn uniformly.
      freeze_disc: number of the discriminator's first stages that are not trained (FreezeD), for
        `train.init_from`.
      weight_clipping: limit of the absolute value of the discriminator's weights; 0: none.
      top_k: share of generated images, the most realistic, that the generator learns from.
      top_k_decay: factor per epoch by which the share falls from 1 to `top_k`.
    """
    game = make_game(loss, label_smoothing=label_smoothing)
    if disc_updates < 1:
        raise UserError(f"task.disc_updates={disc_updates}: at least 1 per generator update")
    if weight_clipping < 0:
        raise UserError(f"task.weight_clipping={weight_clipping}: at least 0, which is none")
    check_choice("task.fake_labels", fake_labels, FAKE_LABELS)
    if gen_weight < 0:
        raise UserError(f"task.gen_weight={gen_weight}: at least 0")
    for name, value in (("top_k", top_k), ("top_k_decay", top_k_decay)):
        if not 0 < value <= 1:
            raise UserError(f"task.{name}={value}: in (0, 1], 1 keeps all generated images")
    if top_k < 1 and game.relativistic:
        raise UserError(
            f"task.top_k={top_k} with task.loss={loss}: a relativistic loss compares pairs"
            " of images, none of which can be left out: set task.top_k=1, or another loss"
        )
    if top_k == 1 and top_k_decay != TOP_K_DECAY:
        raise UserError(
            f"task.top_k_decay={top_k_decay} with task.top_k=1, which keeps all generated images:"
            " set task.top_k below 1 too"
        )
    chosen = (gen_weight, disc_updates, fake_labels, freeze_disc, weight_clipping)
    return Rules(game, *chosen, top_k, top_k_decay)


RULES = Choice({"gan": rules})
