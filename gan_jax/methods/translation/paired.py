"""Paired image-to-image translation: a U-Net alone (L1), or against a PatchGAN (pix2pix).

The two differ in `task.adversarial_weight` only. With 0 there is no discriminator at all: the
plain CNN. Otherwise it is Isola et al. 2017 (arXiv:1611.07004, equation 4): L1 times 100 plus the
non-saturating GAN loss, the discriminator's loss halved to slow it down (their section 3.3),
dropout as the noise, in use too (`dropout=true`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.core.choices import Choice, Sections, Several, build
from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task, Transform
from gan_jax.methods.adversarial import discriminator_loss
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.terms import DISC_TERMS
from gan_jax.methods.roles import check_generator, checked_discriminator
from gan_jax.methods.terms import make_terms, terms_of
from gan_jax.methods.update import Aux, Nets, make_net, make_update
from gan_jax.metrics.image_quality import psnr, ssim
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.models.blocks.heads import Outputs
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.unet import UNet, unet_depth
from gan_jax.objectives.adversarial import GAMES
from gan_jax.objectives.image import l1
from gan_jax.parallel.axes import example_keys
from gan_jax.training.optimizers import OPTIMIZERS


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
      l1_weight: only beside an adversarial loss.
      adversarial_weight: 0 with `model.disc=none`.
      flip: mirror pairs left to right.
      jitter: shift pairs [px].
      test_dropout: dropout at use.
    """
    return Rules(l1_weight, adversarial_weight, flip, jitter, test_dropout)


def unet(*, outputs: int, width: int = 64, dropout: float = 0.5) -> nn.Module:
    """Return a U-Net.

    Args:
      outputs: channels of the target.
      width: channels of its first layer.
      dropout: of its first decoder blocks.
    """
    return UNet(features=width, outputs=outputs, dropout_rate=dropout)


def patchgan(*, width: int = 64, layers: int = 2) -> nn.Module:
    """Return a PatchGAN.

    Args:
      width: channels of its first layer.
      layers: 2: patches of 34 px; 3: the paper's 70 px.
    """
    return PatchGAN(features=width, layers=layers)


def nobody() -> None:
    """Return no discriminator."""


GENERATORS = Choice({"unet": unet}, ("outputs",), "unet", nn.Module)
DISCRIMINATORS = Choice({"none": nobody, "patchgan": patchgan}, (), "none", nn.Module)
RULES = Choice({"paired": rules})
SEEN = ("judge", "judge_fake", "real", "fake", "real_out", "fake_out")


def sections(config: ConfigDict) -> Sections:
    """Return what the sections of a translator's config choose from; no optimizer of nobody."""
    found: dict[str, Choice | Several] = {
        "task": RULES,
        "model.gen": GENERATORS,
        "model.disc": DISCRIMINATORS,
        "optim.gen": OPTIMIZERS,
        "terms.gen": terms_of(),
    }
    disc = config.model.get("disc", "none")
    if (disc if isinstance(disc, str) else disc.name) != "none":
        found |= {"optim.disc": OPTIMIZERS, "terms.disc": DISC_TERMS}
    return found


def check_spec(config: ConfigDict, spec: DataSpec) -> None:
    """Raise UserError unless the data are pairs of images of a size that the networks take."""
    target = spec.streams.get("target")
    if target is None or target.kind != "image":
        raise UserError(
            f"task paired needs pairs, and {spec.name} has no target images: name their folder with"
            " --config.data.target_path=DIR, same file names"
        )
    unet_depth(*spec.image_shape[:2])
    disc, weight = config.model.disc, config.task.adversarial_weight
    if (weight > 0) != (disc.name != "none"):
        raise UserError(
            f"task.adversarial_weight={weight} with model.disc={disc.name}: a weight above 0"
            " belongs to patchgan, 0 to none"
        )
    if disc.name == "patchgan" and min(spec.image_shape[:2]) < (least := 3 * 2**disc.layers):
        raise UserError(
            f"model.disc.layers={disc.layers} needs images of at least {least} px, got"
            f" {spec.image_shape[0]}x{spec.image_shape[1]}: use fewer layers or a larger data.size"
        )


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a translator; see `configs/unet.py` and `configs/pix2pix.py` for its fields."""
    check_spec(config, spec)
    task, game = build("task", config.task, RULES), GAMES["non_saturating"]
    shape = spec.image_shape
    outputs = spec.streams["target"].shape[-1]
    generator = build("model.gen", config.model.gen, GENERATORS, outputs=outputs)
    discriminator = build("model.disc", config.model.disc, DISCRIMINATORS)
    adversarial = discriminator is not None
    source = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    made = jax.ShapeDtypeStruct((1, *shape[:2], outputs), jnp.float32)
    given = (source,), (*shape[:2], outputs), ("keys", "dropout")
    check_generator(config.model.gen.name, generator, *given)
    if adversarial:
        discriminator = checked_discriminator(config.model.disc.name, discriminator, (source, made))
    nets = {"gen": make_net(generator, (source,), config.optim.gen, config.train)}
    terms = make_terms("gen", config.terms.gen, terms_of())
    if adversarial:
        given = (source, made), config.optim.disc, config.train
        nets["disc"] = make_net(discriminator, *given, average=False)
        terms |= make_terms("disc", config.terms.disc, DISC_TERMS, latent=0, codes=Codes())
    microbatches = config.train.microbatches
    update = make_update(nets, terms, microbatches=microbatches, offers={"disc": SEEN})

    def init(key: Key) -> TrainState:
        gen_key, disc_key = jax.random.split(key)
        start = {"gen": nets["gen"].init(gen_key, dropout=False)}
        if adversarial:
            start["disc"] = nets["disc"].init(disc_key)
        return new_state(start, update.buffers(start))

    def augment(images: tuple[jax.Array, ...], key: Key) -> tuple[jax.Array, ...]:
        """Flip and shift both halves of a pair alike."""
        flip_key, jitter_key = jax.random.split(key)
        batch = len(images[0])
        if task.flip:
            images = random_flip(images, example_keys(flip_key, batch))
        if task.jitter:
            images = random_jitter(images, example_keys(jitter_key, batch), pad=task.jitter)
        return images

    def train_step(
        phase: Phase, state: TrainState, batch: Batch, key: Key
    ) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key = jax.random.split(key)
        source, real = augment((batch["image"][0], batch["target"][0]), augment_key)
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
        # The discriminator learns on the images that the generator is then judged by, as in the
        # paper. Both are the same pass, and XLA computes it once.
        source, real, keys = inputs
        fake = nets.gen.pure(source, keys=keys, dropout=True)
        real_logits, fake_logits = nets.disc(source, real), nets.disc(source, fake)
        loss, metrics = discriminator_loss(
            game, real_logits=real_logits, fake_logits=fake_logits, weight=0.5
        )
        judge = lambda image: Outputs(nets.disc.pure(source, image))  # noqa: E731
        seen = dict(judge=judge, judge_fake=judge, real=real, fake=fake)
        outs = dict(real_out=Outputs(real_logits), fake_out=Outputs(fake_logits))
        return loss, Aux(metrics, seen={**seen, **outs})

    def gen_loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        source, real, keys = inputs
        fake = nets.gen(source, keys=keys, dropout=True)
        distance = l1(prediction=fake, target=real).mean()
        loss, metrics = distance, {"l1": distance}
        if adversarial:
            metrics["gen"] = game.generator(fake_logits=nets.disc(source, fake)).mean()
            loss = task.l1_weight * distance + task.adversarial_weight * metrics["gen"]
        return loss, Aux(metrics)

    def translate(
        state: TrainState,
        images: jax.Array,
        keys: jax.Array,
        labels: jax.Array | None = None,
        **options: Any,
    ) -> jax.Array:
        variables = state.nets["gen"].variables(options["weights"])
        return generator.apply(
            variables, images, train=False, keys=keys, dropout=options["dropout"]
        )

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        made = translate(state, batch["image"], keys, weights="ema", dropout=task.test_dropout)
        target = batch["target"]
        values = {
            "l1": l1(prediction=made, target=target),
            "psnr": psnr(prediction=made, target=target),
        }
        if min(shape[:2]) >= 11:  # the window of SSIM
            values["ssim"] = ssim(prediction=made, target=target)
        return masked_sums(values, batch["mask"])

    def grids(state: TrainState, batch: Batch, key: Key) -> dict[str, jax.Array]:
        keys = jax.random.split(key, len(batch["image"]))
        made = translate(state, batch["image"], keys, weights="ema", dropout=task.test_dropout)
        columns = [_to_channels(batch["image"], outputs), made, batch["target"]]
        return {"input_output_target": jnp.stack(columns, 1)}

    return Task(
        name="paired",
        modules={name: net.module for name, net in nets.items()},
        example_inputs={name: net.inputs for name, net in nets.items()},
        phase=lambda step: Phase(due=update.due(step)),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        transforms={"translate": Transform("image to target", translate, target="target")},
        grids=grids,
        options={
            "weights": WEIGHTS,
            "dropout": Option(
                task.test_dropout, "drop out at use: the noise of pix2pix, results vary by seed"
            ),
        },
    )


def _to_channels(images: jax.Array, channels: int) -> jax.Array:
    """Show images [..., C] beside others of `channels`: grey repeated, colours averaged."""
    if images.shape[-1] == channels:
        return images
    grey = images[..., :3].mean(-1, keepdims=True)
    return jnp.repeat(grey, channels, -1)
