"""Paired image-to-image translation: a U-Net alone (L1), or against a PatchGAN (pix2pix).

The two differ in `task.adversarial_weight` only. With 0 there is no discriminator: a plain CNN with
an L1 loss. Otherwise this is Isola et al. 2017 (arXiv:1611.07004, equation 4): 100 times L1 plus
the non-saturating GAN loss, the discriminator's loss halved to slow it down (their section 3.3),
and dropout as the noise, also at test time (`dropout=true`).
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
from gan_jax.methods.adversarial import image_discriminator_loss
from gan_jax.methods.translation.translator import (
    augmented,
    make_players,
    make_translator,
    translator_sections,
)
from gan_jax.methods.update import Aux, Nets
from gan_jax.models.unet import unet_depth
from gan_jax.objectives.adversarial import GAMES
from gan_jax.objectives.image import l1
from gan_jax.parallel.axes import example_keys


class Rules(NamedTuple):
    """See `rules`."""

    l1_weight: float
    adversarial_weight: float
    flip: bool
    jitter: int
    test_dropout: bool


def rules(
    *,
    l1_weight: float = 100.0,
    adversarial_weight: float = 0.0,
    flip: bool = True,
    jitter: int = 4,
    test_dropout: bool = False,
) -> Rules:
    """Return how a translator is trained.

    Args:
      l1_weight: of the L1 loss; without an adversarial loss it is 1.
      adversarial_weight: of the adversarial loss; 0 with `model.disc=none`.
      flip: mirror pairs left to right at random.
      jitter: largest random shift of a pair [px].
      test_dropout: whether dropout stays on in evaluation and use.
    """
    return Rules(l1_weight, adversarial_weight, flip, jitter, test_dropout)


RULES = Choice({"paired": rules})


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section; those of the discriminator only if there is one."""
    disc = config.model.get("disc", "none")
    with_disc = (disc if isinstance(disc, str) else disc.name) != "none"
    return translator_sections(RULES, adversarial=with_disc)


def check_config(config: ConfigDict, spec: DataSpec) -> None:
    """Raise UserError unless loss, networks and image size fit together."""
    disc, weight = config.model.disc, config.task.adversarial_weight
    if (weight > 0) != (disc.name != "none"):
        raise UserError(
            f"task.adversarial_weight={weight} with model.disc={disc.name}: a weight above 0"
            " belongs to patchgan, 0 to none"
        )
    if config.model.gen.name == "unet":
        unet_depth(*spec.image_shape[:2])
    if disc.name == "patchgan" and min(spec.image_shape[:2]) < (least := 3 * 2**disc.layers):
        raise UserError(
            f"model.disc.layers={disc.layers} needs images of at least {least} px, got"
            f" {spec.image_shape[0]}x{spec.image_shape[1]}: use fewer layers or a larger data.size"
        )


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a translator; see `configs/unet.py` and `configs/pix2pix.py` for its fields."""
    task, game = build("task", config.task, RULES), GAMES["non_saturating"]
    adversarial = config.model.disc.name != "none"
    discriminators = {"disc": ("image", "target")} if adversarial else {}
    players = make_players(
        config, spec, generators={"gen": ("image", "target")}, discriminators=discriminators
    )
    check_config(config, spec)
    update, terms = players.update, players.update.terms

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key = jax.random.split(key)
        images = (batch["image"][0], batch["target"][0])
        source, real = augmented(images, augment_key, flip=task.flip, jitter=task.jitter)
        inputs = (source, real, example_keys(dropout_key, len(source)))
        metrics: Metrics = {}
        keys = (jax.random.fold_in(key, i) for i in (2, 3)) if terms else (None, None)
        disc_key, gen_key = keys
        if adversarial:
            given = dict(key=disc_key, phase=phase)
            state, metrics, _ = update(state, ("disc",), disc_loss, inputs, **given)
        given = dict(key=gen_key, phase=phase)
        state, gen_metrics, _ = update(state, ("gen",), gen_loss, inputs, **given)
        return state, {**gen_metrics, **metrics}

    def disc_loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        # The discriminator is updated on the same generated images as the generator, as in the
        # paper. Both forward passes are identical, and XLA computes them once.
        source, real, keys = inputs
        fake = nets.gen.pure(source, keys=keys, dropout=True)
        return image_discriminator_loss(
            nets.disc, game, real=real, fake=fake, source=(source,), weight=0.5
        )

    def gen_loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        source, real, keys = inputs
        fake = nets.gen(source, keys=keys, dropout=True)
        distance = l1(prediction=fake, target=real).mean()
        loss, metrics = distance, {"l1": distance}
        if adversarial:
            metrics["gen"] = game.generator(fake_logits=nets.disc(source, fake)).mean()
            loss = task.l1_weight * distance + task.adversarial_weight * metrics["gen"]
        return loss, Aux(metrics)

    paths = {"translate": ("gen",)}
    given = (config, spec, players, train_step)
    return make_translator(*given, paths=paths, test_dropout=task.test_dropout)
