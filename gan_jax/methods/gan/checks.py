"""What the section `task` of a GAN's config may be."""

from __future__ import annotations

from ml_collections import ConfigDict

from gan_jax.core.errors import UserError, check_choice
from gan_jax.objectives.adversarial import GAMES

# The classes of generated images in training: of the real batch, or drawn afresh, each as likely.
FAKE_LABELS = ("real", "uniform")


def check_task(config: ConfigDict) -> None:
    """Raise UserError unless the section `task` makes sense."""
    task = config.task
    if task.disc_updates < 1:
        raise UserError(f"task.disc_updates={task.disc_updates}: at least 1 a generator update")
    if task.weight_clipping < 0:
        raise UserError(f"task.weight_clipping={task.weight_clipping}: at least 0, which is none")
    if task.freeze_disc and config.optim.disc.weight_decay:
        raise UserError(
            f"task.freeze_disc={task.freeze_disc} with optim.disc.weight_decay, which would"
            " move what is frozen: set one of them to 0"
        )
    check_choice("task.fake_labels", task.fake_labels, FAKE_LABELS)
    if task.gen_weight < 0:
        raise UserError(f"task.gen_weight={task.gen_weight}: at least 0")
    for name in ("top_k", "top_k_decay"):
        if not 0 < task[name] <= 1:
            raise UserError(f"task.{name}={task[name]}: in (0, 1], 1 keeps all generated images")
    if task.top_k < 1 and GAMES[task.loss].relativistic:
        raise UserError(
            f"task.top_k={task.top_k} with task.loss={task.loss}: a relativistic loss is of pairs,"
            " none of which can be left out: set task.top_k=1, or another loss"
        )
