"""Whether a GAN's discriminator says the odds of real to generated, for rejection sampling."""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from gan_jax.core.errors import UserError
from gan_jax.methods.gan.growth import GROWING
from gan_jax.objectives.adversarial import GAMES, Game
from gan_jax.sampling.rejection import CALIBRATED, RAW


def make_check_odds(config: ConfigDict, game: Game) -> Callable[[str], None]:
    """Return how ("raw" or "calibrated") -> None, which raises UserError where it is no use.

    A discriminator's logits are log odds where the game's best one says these ("raw"). Those of the
    hinge and of least squares, and of a discriminator that saw augmented images or smoothed
    targets, still rise with the odds, and are made log odds by calibration. So are those of a
    LAPGAN's last level, which learns from images whose smaller levels are real, and in sampling are
    generated. A critic's tell images apart by comparison only: they say nothing of one image.

    Args:
      config: the whole config.
      game: that it was trained by.
    """
    loss = config.task.loss
    why = "" if game.odds else f"task.loss={loss}"
    if config.task.label_smoothing:
        why = f"task.label_smoothing={config.task.label_smoothing}"
    if config.augment.name != "none":
        why = f"augment.name={config.augment.name}"
    if config.model.gen.name == "lapgan":
        why = "model.gen=lapgan, whose last level is trained on what it makes of real images,"

    def check(how: str) -> None:
        asked = f"--rejection={how}"
        if game.boundary is None:
            able = ", ".join(name for name, each in GAMES.items() if each.boundary is not None)
            raise UserError(
                f"{asked}: this GAN was trained with task.loss={loss}, whose logits compare images"
                " and are no function of the density ratio of real to generated: it needs a"
                f" discriminator of {able}"
            )
        if config.model.disc.get("minibatch_kernels") or config.model.gen.name in GROWING:
            raise UserError(
                f"{asked}: this discriminator looks at the images of a batch together, so that its"
                " logits say nothing of one image: leave the option out"
            )
        if how == RAW and why:
            raise UserError(
                f"{asked}: the logits of a discriminator trained with {why} are no log odds of real"
                f" to generated as they are: use --rejection={CALIBRATED}"
            )

    return check
