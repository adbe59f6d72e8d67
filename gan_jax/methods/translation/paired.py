"""Paired image-to-image translation: a U-Net alone (L1), or against a PatchGAN (pix2pix).

The two differ in `task.adversarial_weight` only. With 0 there is no discriminator at all: the
plain CNN. Otherwise it is Isola et al. 2017 (arXiv:1611.07004, equation 4): L1 times 100 plus the
non-saturating GAN loss, the discriminator's loss halved to slow it down (their section 3.3),
dropout as the noise, in use too (`dropout=true`).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gan_jax.augment.geometric import random_flip, random_jitter
from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import WEIGHTS, Option
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, new_state
from gan_jax.core.task import Batch, Key, Metrics, Phase, Task
from gan_jax.methods.adversarial import discriminator_loss
from gan_jax.methods.update import Aux, Nets, make_net, make_update
from gan_jax.metrics.image_quality import psnr, ssim
from gan_jax.metrics.totals import masked_sums, means
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.unet import UNet, unet_depth
from gan_jax.objectives.adversarial import GAMES
from gan_jax.objectives.image import l1
from gan_jax.parallel.axes import example_keys


def check_spec(config: ConfigDict, spec: DataSpec) -> None:
    """Raise UserError unless the data are pairs of images of a size that the networks take."""
    target = spec.streams.get("target")
    if target is None or target.kind != "image":
        raise UserError(
            f"task paired needs pairs, and {spec.name} has no target images: name their folder with"
            " --config.data.target_path=DIR, same file names"
        )
    unet_depth(*spec.image_shape[:2])
    least = 3 * 2**config.model.disc_layers
    if config.task.adversarial_weight and min(spec.image_shape[:2]) < least:
        raise UserError(
            f"model.disc_layers={config.model.disc_layers} needs images of at least {least} px, got"
            f" {spec.image_shape[0]}x{spec.image_shape[1]}: use fewer layers or a larger data.size"
        )


def make_task(config: ConfigDict, spec: DataSpec) -> Task:
    """Build a translator; see `configs/unet.py` and `configs/pix2pix.py` for its fields."""
    check_spec(config, spec)
    model, task = config.model, config.task
    adversarial, game = task.adversarial_weight > 0, GAMES["non_saturating"]
    shape = spec.image_shape
    outputs = spec.streams["target"].shape[-1]
    generator = UNet(features=model.width, outputs=outputs, dropout_rate=model.dropout)
    source = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    made = jax.ShapeDtypeStruct((1, *shape[:2], outputs), jnp.float32)
    nets = {"gen": make_net(generator, (source,), config.optim.gen, config.train)}
    if adversarial:
        discriminator = PatchGAN(features=model.disc_width, layers=model.disc_layers)
        given = (source, made), config.optim.disc, config.train
        nets["disc"] = make_net(discriminator, *given, average=False)
    update = make_update(nets, microbatches=config.train.microbatches)

    def init(key: Key) -> TrainState:
        gen_key, disc_key = jax.random.split(key)
        start = {"gen": nets["gen"].init(gen_key, dropout=False)}
        if adversarial:
            start["disc"] = nets["disc"].init(disc_key)
        return new_state(start)

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
        if adversarial:
            state, metrics, _ = update(state, ("disc",), disc_loss, inputs, phase=phase)
        state, gen_metrics, _ = update(state, ("gen",), gen_loss, inputs, phase=phase)
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
        return loss, Aux(metrics)

    def gen_loss(nets: Nets, inputs: Any) -> tuple[jax.Array, Aux]:
        source, real, keys = inputs
        fake = nets.gen(source, keys=keys, dropout=True)
        distance = l1(prediction=fake, target=real).mean()
        loss, metrics = distance, {"l1": distance}
        if adversarial:
            metrics["gen"] = game.generator(fake_logits=nets.disc(source, fake)).mean()
            loss = task.l1_weight * distance + task.adversarial_weight * metrics["gen"]
        return loss, Aux(metrics)

    def transform(
        state: TrainState, images: jax.Array, keys: jax.Array, **options: Any
    ) -> jax.Array:
        variables = state.nets["gen"].variables(options["weights"])
        return generator.apply(
            variables, images, train=False, keys=keys, dropout=options["dropout"]
        )

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        keys = fold_in_each(key, batch["index"])
        made = transform(state, batch["image"], keys, weights="ema", dropout=task.test_dropout)
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
        made = transform(state, batch["image"], keys, weights="ema", dropout=task.test_dropout)
        columns = [_to_channels(batch["image"], outputs), made, batch["target"]]
        return {"input_output_target": jnp.stack(columns, 1)}

    return Task(
        name="paired",
        modules={name: net.module for name, net in nets.items()},
        example_inputs={name: net.inputs for name, net in nets.items()},
        phase=lambda step: Phase(),
        init=init,
        train_step=train_step,
        eval_step=eval_step,
        eval_metrics=means,
        transform=transform,
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
