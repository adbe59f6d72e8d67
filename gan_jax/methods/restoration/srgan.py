"""SRGAN and ESRGAN: restored images that a discriminator takes for clean ones.

Ledig et al. 2017 (arXiv:1609.04802) and Wang et al. 2018 (arXiv:1809.00219, equation 3): a distance
of features, a weighted game, and (ESRGAN) a weighted distance of pixels. `task.loss=non_saturating`
is SRGAN's game, `relativistic` that of ESRGAN. The network starts from one that was trained by
pixels, `train.init_from`.

Features are those of VGG-19 before its last activation, as in ESRGAN, where `task.vgg` names a file
of its weights, and EfficientNet-Lite0's otherwise, a deviation. Another: a PatchGAN is the
discriminator (a deep convolutional one with dense layers in the papers).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.core.choices import Choice, Sections, build
from gan_jax.core.errors import UserError
from gan_jax.core.places import place
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.features.lpips import Distance
from gan_jax.features.perceptual import make_perceptual_loss
from gan_jax.methods.adversarial import SEEN, image_discriminator_loss
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.terms import DISC_TERMS
from gan_jax.methods.restoration.restorer import (
    make_pairs,
    make_patches,
    make_restorer,
    make_restoring_net,
    restorer_sections,
    restorer_terms,
    training_pairs,
)
from gan_jax.methods.roles import checked_discriminator
from gan_jax.methods.terms import make_terms
from gan_jax.methods.translation.networks import patchgan
from gan_jax.methods.update import Aux, Nets, make_net, make_update
from gan_jax.objectives.adversarial import make_game
from gan_jax.objectives.image import l1
from gan_jax.training.optimizers import OPTIMIZERS


class Rules(NamedTuple):
    """How both networks are trained.

    Attributes:
      loss: the game, see `gan_jax.objectives.adversarial.GAMES`.
      adversarial: weight of the game in the network's loss.
      perceptual: weight of the distance of features; 0: none.
      vgg: file of the weights of VGG-19 or VGG-16, see `gan_jax.features.perceptual`; "": none.
      pixels: weight of the L1 distance of pixels; 0: none.
      patch, flip, turn: as in `pixels.Rules`.
    """

    loss: str = "relativistic"
    adversarial: float = 5e-3
    perceptual: float = 1.0
    vgg: str = ""
    pixels: float = 1e-2
    patch: int = 0
    flip: bool = True
    turn: bool = True


RULES = Choice({"srgan": Rules})
DISCRIMINATORS = Choice({"patchgan": patchgan}, (), "patchgan")


def sections(config: ConfigDict) -> Sections:
    """Return the choices of each section."""
    more = {"model.disc": DISCRIMINATORS, "optim.disc": OPTIMIZERS, "terms.disc": DISC_TERMS}
    return {**restorer_sections(RULES), **more}


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build an SRGAN; see `configs/srgan.py` for its fields."""
    task = build("task", config.task, RULES)
    game = make_game(task.loss)
    pairs = make_pairs(config, spec)
    patches = make_patches(task, pairs)
    if task.perceptual and pairs.shape[-1] == 4:
        raise UserError(
            "task.perceptual of images with 4 channels: features are of grey or RGB images: set"
            " data.channels=3, or task.perceptual=0"
        )
    net = make_restoring_net(config, pairs)
    disc = build("model.disc", config.model.disc, DISCRIMINATORS)
    side = (task.patch, task.patch) if task.patch else pairs.shape[:2]
    judged = (jax.ShapeDtypeStruct((1, *side, pairs.shape[-1]), jnp.float32),)
    disc = checked_discriminator(config.model.disc.name, disc, judged)
    disc_net = make_net(disc, judged, config.optim.disc, config.train, average=False)
    terms = make_terms("disc", config.terms.disc, DISC_TERMS, latent=0, codes=Codes())
    update = make_update(
        {"net": net, "disc": disc_net},
        {**restorer_terms(config), **terms},
        microbatches=config.train.microbatches,
        offers={"disc": SEEN},
    )

    @functools.cache
    def features() -> Distance:
        """Read the feature network when a step is traced: using a run takes its directory only."""
        with jax.ensure_compile_time_eval():
            return make_perceptual_loss(vgg=place(task.vgg) if task.vgg else None)

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        data_key, net_key, disc_key = jax.random.split(key, 3)
        inputs = training_pairs(pairs, patches, {k: x[0] for k, x in batch.items()}, data_key)
        given = dict(key=net_key, phase=phase)
        state, metrics, fake = update(state, ("net",), net_loss, inputs, **given)
        given = dict(key=disc_key, phase=phase)
        state, found, _ = update(state, ("disc",), disc_loss, (inputs[1], fake), **given)
        return state, {**metrics, **found}

    def net_loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        degraded, clean = inputs
        made = nets.net(degraded)
        logits = {"fake_logits": nets.disc(made)}
        if game.relativistic:
            logits["real_logits"] = nets.disc(clean)
        metrics = {
            "gen": game.generator(**logits).mean(),
            "l1": l1(prediction=made, target=clean).mean(),
        }
        loss = task.adversarial * metrics["gen"] + task.pixels * metrics["l1"]
        if task.perceptual:
            seen = features()
            distance = seen.apply(seen.variables, made, clean).mean()
            metrics["perceptual"] = distance
            loss = loss + task.perceptual * distance
        return loss, Aux(metrics, outputs=jax.lax.stop_gradient(made))

    def disc_loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        clean, fake = inputs
        return image_discriminator_loss(nets.disc, game, real=clean, fake=fake)

    return make_restorer(
        *(config, spec, pairs, net, update, train_step),
        extra_init=lambda key: {"disc": disc_net.init(key)},
    )
